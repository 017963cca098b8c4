"""What a Yokogawa measurement says of its plate and channels: ``.mrf``, ``.mes``, ``.wpi`` and ``.wpp`` files.

``MeasurementDetail.mrf`` names the other three, gives the plate's dimensions and each channel's pixel size,
camera and shading image; it lists all channels that are set up, whether taken or not. The measurement settings
(``.mes``) name the channels' light sources, filters and objectives; the ``.wpi`` is the plate, the ``.wpp`` its
product. Names of attributes are as in public plates (faim-ipa, JUMP Cell Painting, fractal-uzh-converters).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from hcs_steps.errors import PlateError
from hcs_steps.plate.inventory import NAN, Problem
from hcs_steps.plate.listing import FileEntry, FileListing
from hcs_steps.plate.units import number, whole
from hcs_steps.plate.xml_files import attributes, descendants, local, read_xml

DETAIL_NAME = "measurementdetail.mrf"

_ROOT_FACTS = {
    "title": "Title",
    "operator": "OperatorName",
    "begin_time": "BeginTime",
    "end_time": "EndTime",
    "instrument": "TargetSystem",
    "release": "ReleaseNumber",
}
_COUNTS = {"fields": "FieldCount", "z planes": "ZCount", "timepoints": "TimePointCount"}


@dataclass(frozen=True)
class ChannelDetail:
    """One channel as it was set up; 0, empty or NaN where nothing is known.

    ``shading`` is the file name of its shading image, ``settings`` what the ``.mes`` says of it.
    """

    pixel_size_um: float = NAN
    height: int = 0
    width: int = 0
    camera: int = 0
    shading: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MeasurementDetail:
    """All that is said of the plate as a whole.

    ``counts`` are the numbers of fields, z planes and timepoints; ``files`` the paths of what was read.
    """

    channels: Mapping[int, ChannelDetail] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    rows: int = 0
    columns: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


def read_detail(listing: FileListing, folder: str) -> MeasurementDetail:
    """Read what lies in ``folder`` (relative, with a slash at its end), the index's; damaged files are reported."""
    files = _SideFiles(listing, folder)
    detail = files.read(folder + DETAIL_NAME)
    stated = attributes(detail) if detail is not None else {}
    plate = _first(detail, "MeasurementSamplePlate")
    settings = files.read(files.find(stated.get("MeasurementSettingFileName", ""), ".mes"))
    well_plate = _root(files.read(files.find(plate.get("WellPlateFileName", ""), ".wpi")))
    product = _root(files.read(files.find(plate.get("WellPlateProductFileName", ""), ".wpp")))
    sizes = (
        (whole(stated.get("RowCount")), whole(stated.get("ColumnCount"))),
        *(
            (whole(each.get("Rows")), whole(each.get("Columns")))
            for each in (well_plate, product, _root(settings))
        ),
    )
    rows, columns = next((size for size in sizes if all(size)), (0, 0))
    by_channel = _settings(settings)
    facts = {name: stated.get(key, "") for name, key in _ROOT_FACTS.items()}
    facts["plate_id"] = plate.get("Name", "") or well_plate.get("Name", "")
    facts["plate_type"] = f"{product.get('Manufacturer', '')} {product.get('Name', '')}".strip()
    return MeasurementDetail(
        channels=_channels(detail, by_channel),
        names=_names(by_channel, _wavelengths(settings)),
        rows=rows,
        columns=columns,
        counts={name: whole(stated.get(key)) for name, key in _COUNTS.items()},
        facts={name: text for name, text in facts.items() if text},
        files=tuple(files.used),
        problems=tuple(files.problems),
    )


class _SideFiles:
    """The metadata files of one folder, looked up in the listing alone."""

    def __init__(self, listing: FileListing, folder: str) -> None:
        self._listing, self._folder = listing, folder
        self.used: list[str] = []
        self.problems: list[Problem] = []

    def find(self, name: str, suffix: str) -> str:
        """The path of the file that the ``.mrf`` names, or of the folder's only one of the kind, or nothing."""
        if name:
            return self._folder + name
        own = [each for each in self._listing.with_suffix(suffix) if _folder(each) == self._folder]
        return own[0].path if len(own) == 1 else ""

    def read(self, path: str) -> Element | None:
        """The file's root, or None if there is no such file or it is damaged."""
        entry = self._listing.by_path.get(path.lower())
        if entry is None:
            return None
        try:
            root = read_xml(self._listing.root / entry.path)
        except PlateError as error:
            self.problems.append(
                Problem("unreadable", entry.path, f"{error.message} The plate was read without it.")
            )
            return None
        self.used.append(entry.path)
        return root


def _folder(entry: FileEntry) -> str:
    return entry.path[: entry.path.rfind("/") + 1]


def _root(element: Element | None) -> dict[str, str]:
    return {} if element is None else attributes(element)


def _first(element: Element | None, name: str) -> dict[str, str]:
    """The attributes of the first element with a name."""
    return _root(next(descendants(element, name), None)) if element is not None else {}


def _channels(detail: Element | None, settings: Mapping[int, Mapping[str, str]]) -> dict[int, ChannelDetail]:
    stated = (
        [] if detail is None else [attributes(each) for each in descendants(detail, "MeasurementChannel")]
    )
    own = {whole(each.get("Ch")): each for each in reversed(stated)}
    return {
        channel: _channel(own.get(channel, {}), settings.get(channel, {})) for channel in {*own, *settings}
    }


def _channel(stated: Mapping[str, str], settings: Mapping[str, str]) -> ChannelDetail:
    size = number(stated.get("HorizontalPixelDimension"))
    return ChannelDetail(
        size if size > 0 else NAN,
        whole(stated.get("VerticalPixels")),
        whole(stated.get("HorizontalPixels")),
        whole(stated.get("CameraNumber")),
        stated.get("ShadingCorrectionSource", ""),
        settings,
    )


def _settings(settings: Element | None) -> dict[int, dict[str, str]]:
    """Channel -> what the ``.mes`` states, with its light sources, one per line, as ``LightSources``."""
    if settings is None:
        return {}
    channels = {}
    for each in descendants(settings, "Channel"):
        sources = [(child.text or "").strip() for child in each if local(child.tag) == "LightSourceName"]
        stated = attributes(each)
        channels[whole(stated.get("Ch"))] = stated | {"LightSources": "\n".join(filter(None, sources))}
    return channels


def _wavelengths(settings: Element | None) -> dict[str, str]:
    """Light source -> its wavelength in nm, for those that have one (lamps state 0)."""
    sources = [] if settings is None else [attributes(each) for each in descendants(settings, "LightSource")]
    lengths = {each.get("Name", ""): number(each.get("WaveLength")) for each in sources}
    return {name: f"{length:g}nm" for name, length in lengths.items() if length > 0}


def _names(settings: Mapping[int, Mapping[str, str]], wavelengths: Mapping[str, str]) -> dict[int, str]:
    """Channel -> its fluorophore, else the target that the user typed in, else its light sources.

    Where channels would share a name, the filter is added.
    """
    names = {}
    for channel, stated in settings.items():
        sources = [wavelengths.get(name, name) for name in stated["LightSources"].splitlines()]
        target = stated.get("Target", "")
        typed = target if _is_typed(target, sources) else ""
        name = stated.get("Fluorophore", "") or typed or "+".join(sources) or target
        names[channel] = name or stated.get("Acquisition", "")
    times = Counter(names.values())
    return {
        channel: f"{name} {settings[channel].get('Acquisition', '')}".strip() if times[name] > 1 else name
        for channel, name in names.items()
        if name
    }


def _is_typed(target: str, sources: Iterable[str]) -> bool:
    """Whether a target is a name (``DNA``), not what the software fills in: ``405``, ``Ch1_..._405nm/100mW``."""
    return any(letter.isalpha() for letter in target) and not any(source in target for source in sources)
