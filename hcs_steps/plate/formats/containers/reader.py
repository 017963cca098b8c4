"""Reader of plates of ND2 and CZI files.

The well of a field is the one in its scene's name, else the one in the file's; `hcs_steps.plate.formats.scenes` says
which site it is. The tiles of a scene are sites in the order of the file. Channels, z planes and times are numbered
from 1, and a channel that files place differently goes by its name. A file's size and time stand for all its planes.

`Inventory.metadata` gets ``containers``, the number of files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from hcs_steps.errors import PlateError
from hcs_steps.plate.assemble import build_inventory
from hcs_steps.plate.findings import Findings, Found, collect
from hcs_steps.plate.formats.containers.czi import read_czi
from hcs_steps.plate.formats.containers.facts import ContainerFacts, FieldFacts, PlaneIndex
from hcs_steps.plate.formats.containers.nd2 import read_nd2
from hcs_steps.plate.formats.scenes import Field, Scene, number_channels, place_scenes
from hcs_steps.plate.headers import read_files
from hcs_steps.plate.inventory import NAN, Inventory, PlaneKey, Problem
from hcs_steps.plate.listing import FileEntry, FileListing
from hcs_steps.plate.reader import Evidence, ReadOptions


@dataclass(frozen=True)
class _Kind:
    """One vendor's files: what they are called, the packages that read them, and how."""

    name: str
    packages: tuple[str, ...]
    read: Callable[[Path], ContainerFacts]


_KINDS: Mapping[str, _Kind] = {
    ".czi": _Kind("Zeiss CZI", ("bioio_czi", "aicspylibczi"), read_czi),
    ".nd2": _Kind("Nikon ND2", ("bioio_nd2", "nd2"), read_nd2),
}
CONTAINER_SUFFIXES = tuple(_KINDS)

_HINT = (
    "Name the scenes or the files for their wells (A01.nd2, plate_A01_s1.czi), or export TIFF files and give a "
    "`pattern`."
)


@dataclass(frozen=True)
class _Image:
    """One field of one file."""

    entry: FileEntry
    facts: ContainerFacts
    scene: int
    tile: int

    @property
    def field(self) -> FieldFacts:
        return self.facts.fields[self.scene, self.tile]


@dataclass(frozen=True)
class ContainerReader:
    """ND2 and CZI files, one or many wells in each."""

    name: str = "bioio"

    def evidence(self, listing: FileListing) -> Evidence:
        """The share of images that are ND2 or CZI files."""
        files = listing.with_suffix(*CONTAINER_SUFFIXES)
        if not files:
            return Evidence(0.0)
        images = len(files) + len(listing.images)
        return Evidence(len(files) / images, (f"{len(files)} of {images} images are ND2 or CZI files.",))

    def read(self, listing: FileListing, options: ReadOptions, evidence: Evidence) -> Inventory:
        """Read the plate; `PlateError` if the packages are not installed, or no file tells its wells."""
        files = tuple(sorted(listing.with_suffix(*CONTAINER_SUFFIXES)))
        require_packages(files)
        problems: list[Problem] = []
        images: list[_Image] = []
        notes: dict[str, list[str]] = {}
        for entry, facts in zip(files, read_files(listing.root, files, _read), strict=True):
            if isinstance(facts, str):
                kind = "unreadable" if entry.size else "zero-byte"
                problems.append(Problem(kind, entry.path, facts if entry.size else "The file is empty."))
                continue
            images += [_Image(entry, facts, scene, tile) for scene, tile in sorted(facts.fields)]
            for sentence in facts.notes:
                notes.setdefault(sentence, []).append(entry.path)
        if not images:
            raise PlateError(
                f"None of the {len(files)} ND2 and CZI files in {listing.root} can be used."
                + (f" {problems[0].what}: {problems[0].why}" if problems else ""),
                hint="Copy them again from the microscope.",
            )
        placed = place_scenes(list(_scenes(images)), hint=_HINT)
        numbers, names = number_channels([image.facts.channels for image in images])
        parsed: list[tuple[PlaneKey, Found]] = []
        for image, field, channels in zip(images, placed.fields, numbers, strict=True):
            if field is not None:
                parsed += _planes(image, field, channels)
        found, duplicates = collect(parsed)
        findings = Findings(
            found,
            problems=(*problems, *placed.problems, *duplicates, *_others(listing)),
            disagreements=(*_sentences(notes), *placed.disagreements),
            channel_names=names,
            metadata={"containers": str(len(files))},
        )
        return build_inventory(listing, self.name, findings, options, evidence)


def require_packages(files: Sequence[FileEntry]) -> None:
    """Raise `PlateError` if a package that reads one of the ``files`` is not installed."""
    for suffix, kind in _KINDS.items():
        of_kind = [entry for entry in files if entry.path.lower().endswith(suffix)]
        lacking = [package for package in kind.packages if find_spec(package) is None]
        if of_kind and lacking:
            raise PlateError(
                f"{len(of_kind)} files, such as {of_kind[0].path}, are {kind.name} files, and "
                f"{' and '.join(lacking)}, which reads them, is not installed.",
                hint="pip install 'hcs-steps[formats]'",
            )


def _read(path: Path) -> ContainerFacts:
    kind = _KINDS[path.suffix.lower()]
    try:
        return kind.read(path)
    except PlateError:
        raise
    except Exception as error:
        # The libraries raise many unrelated types on damaged files.
        raise PlateError(
            f"{path} cannot be read as {kind.name}: {error or type(error).__name__}.",
            hint="Copy the file again from the microscope.",
        ) from error


def _scenes(images: Iterable[_Image]) -> Iterator[Scene]:
    for image in images:
        names = image.facts.scene_names[image.scene]
        several = len(image.facts.fields) > 1
        what = f" scene {image.scene + 1}" + (
            f" tile {image.tile + 1}" if image.facts.sizes.tiles > 1 else ""
        )
        path = image.entry.path
        # The tiles of a scene have its name, with whose number they would all be one site.
        tile = image.tile + 1 if image.facts.sizes.tiles > 1 else 0
        yield Scene(path + what * several, path, path, names, rank=tile)


def _planes(image: _Image, field: Field, channels: Sequence[int]) -> Iterator[tuple[PlaneKey, Found]]:
    facts, here = image.facts, image.field
    for time, channel, z in sorted(here.planes):
        yield (
            PlaneKey(*field, channels[channel], z + 1, time + 1),
            Found(
                image.entry,
                facts.sizes.page(PlaneIndex(image.scene, image.tile, time, channel, z)),
                here.height,
                here.width,
                facts.dtype,
                pixel_size_um=facts.pixel_size_um,
                x_um=here.x_um,
                y_um=here.y_um,
                z_um=z * facts.z_step_um if facts.sizes.depth > 1 else NAN,
                time_s=time * facts.interval_s if facts.sizes.times > 1 else NAN,
            ),
        )


def _others(listing: FileListing) -> Iterator[Problem]:
    for entry in listing.files:
        if entry.name.startswith(".") and entry.path.lower().endswith(CONTAINER_SUFFIXES):
            yield Problem("excluded", entry.path, "A hidden file.")
        elif entry.is_image:
            yield Problem("unparsed", entry.path, "A TIFF file beside ND2 or CZI files.")


def _sentences(notes: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for sentence, paths in notes.items():
        others = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        yield f"{sentence} ({paths[0]}{others})"
