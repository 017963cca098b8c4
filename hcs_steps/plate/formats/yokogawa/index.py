"""``MeasurementData.mlf``: one record for every image, and for every error of the microscope.

An image's record names its file, relative to the folder of the ``.mlf``, and says when and where it was taken.
X and Y are micrometres from the well's centre, with Y *upwards*: fractal-tasks-core
(``cellvoyager/metadata.py``, "Flip Y axis to align to image coordinate system"), faim-ipa
(``hcs/cellvoyager/acquisition.py``) and fractal-uzh-converters (CellVoyager and CQ3000) all turn the sign, and
fields that are numbered from the upper left begin at the largest Y. An error's record (autofocus failed) names
the well and the position, rarely the field, and never a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from hcs_steps.errors import PlateError
from hcs_steps.plate.inventory import NAN
from hcs_steps.plate.units import number, whole
from hcs_steps.plate.xml_files import attributes, iter_xml

INDEX_NAME = "measurementdata.mlf"
IMAGE = "IMG"


class Record(NamedTuple):
    """One image. ``path`` is relative to the index's folder, POSIX style; 0, empty or NaN where nothing is known.

    ``row`` and ``column`` of the well, and all other numbers, count from 1. ``processing`` says which
    projection the image is (``Maximum``), if it is one. ``x_um`` and ``y_um`` (downwards) have their origin in
    the well's centre; ``time_s`` is in seconds since 1970.
    """

    path: str
    row: int
    column: int
    timepoint: int
    site: int
    timeline: int
    action: int
    z: int
    channel: int
    processing: str = ""
    x_um: float = NAN
    y_um: float = NAN
    z_um: float = NAN
    time_s: float = NAN
    pixel_size_um: float = NAN


@dataclass(frozen=True)
class PlaneIndex:
    """What an index lists.

    Attributes
    ----------
    path
        The index, relative to the plate; empty if there is none.
    records
        One for each image.
    errors
        What the microscope could not do: a record each (its ``path`` is empty), with its message.
    damage
        Why the index could not be read to its end; empty if it could.
    rows, columns
        Dimensions of the plate, where the index states them.
    channel_names
        Channel -> name, where the index states them.
    """

    path: str = ""
    records: tuple[Record, ...] = ()
    errors: tuple[tuple[Record, str], ...] = ()
    damage: str = ""
    rows: int = 0
    columns: int = 0
    channel_names: Mapping[int, str] | None = None

    @property
    def folder(self) -> str:
        """The index's folder, with a slash at its end unless it is the plate's own."""
        return self.path[: self.path.rfind("/") + 1]


def read_mlf(root: Path, path: str, *, max_bytes: int) -> PlaneIndex:
    """Read the index at ``path`` below ``root``; of a damaged one, all that stands before the damage."""
    records: list[Record] = []
    errors: list[tuple[Record, str]] = []
    damage = ""
    try:
        for element in iter_xml(root / path, "MeasurementRecord", max_bytes=max_bytes):
            stated = attributes(element)
            text = (element.text or "").strip()
            if stated.get("Type", IMAGE) == IMAGE:
                records.append(_record(stated, text.replace("\\", "/"), default=1))
            else:
                errors.append((_record(stated, "", default=0), text or "no reason given"))
    except PlateError as error:
        damage = error.message
    return PlaneIndex(path, tuple(records), tuple(errors), damage)


def _record(stated: Mapping[str, str], path: str, default: int) -> Record:
    return Record(
        path,
        whole(stated.get("Row")),
        whole(stated.get("Column")),
        whole(stated.get("TimePoint"), default),
        whole(stated.get("FieldIndex"), default),
        whole(stated.get("TimelineIndex"), default),
        whole(stated.get("ActionIndex"), default),
        whole(stated.get("ZIndex"), default),
        whole(stated.get("Ch")),
        stated.get("ZImageProcessing", ""),
        number(stated.get("X")),
        0.0 - number(stated.get("Y")),
        number(stated.get("Z")),
        _seconds(stated.get("Time", "")),
    )


def _seconds(text: str) -> float:
    """Seconds since 1970 of a time like ``2023-09-18T13:58:44.438+02:00``; NaN if it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return NAN
    # A plate's times all have an offset or none has, so which zone is assumed makes no difference.
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
