"""Leftovers in the folder of images: stores of former steps, wells that are left out, metadata of another version."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from hcs_steps.compile.plan import StepPlan
from hcs_steps.errors import StorageError
from hcs_steps.operations.mending._survey import FORMER, LEFT_OUT, Leftover, Listed, Survey, foreign, leftover
from hcs_steps.pipeline.enums import Backend
from hcs_steps.storage._dialect import DIALECTS, Dialect, dialect_of
from hcs_steps.storage._names import well_position
from hcs_steps.storage._tiff_layout import INDEX

_METADATA = frozenset(name for dialect in DIALECTS.values() for name in dialect.files)
_WELL_DEPTH = {Backend.ZARR.value: 4, Backend.DISK.value: 3}
"""Parts of the path of a well's folder relative to the results, by backend; those of others are not looked into."""

ByFolder = Mapping[PurePosixPath, list[tuple[str, Listed]]]


def image_leftovers(survey: Survey) -> Iterator[Leftover]:
    """What is left over among the image stores, and inside those of the plan."""
    stores = {} if survey.plan is None else {step.store: step for step in survey.plan.steps if step.written}
    for entry in survey.entries(survey.results.images):
        if isinstance(entry, Leftover):
            yield entry
        elif (step := stores.get(survey.relative(entry.path))) is not None:
            yield from _in_store(survey, entry, step)
        elif _is_store(survey, entry):
            yield leftover(FORMER, "images that the plan does not keep", entry.path)
        else:
            yield foreign(entry)


def _is_store(survey: Survey, entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a store that hcs-steps has written."""
    folder = Path(entry.path)
    prefix = f"{survey.relative(entry.path)}/"
    if any(item["path"].startswith(prefix) for r in survey.records.values() for item in r["published"]):
        return True
    if not entry.is_dir():
        return False
    for name in _METADATA:
        try:
            if b'"hcs_steps"' in (folder / name).read_bytes():
                return True
        except OSError:
            continue
    return any(folder.glob(f"*/{INDEX}")) or any(folder.glob(f"*/s*/{INDEX}"))


def _in_store(survey: Survey, store: os.DirEntry[str], step: StepPlan) -> Iterator[Leftover]:
    depth = _WELL_DEPTH.get(step.backend)
    if depth is None or not store.is_dir():
        return
    by_folder: dict[PurePosixPath, list[tuple[str, Listed]]] = defaultdict(list)
    for path, listed in survey.listed.items():
        if path.startswith(f"{step.store}/"):
            by_folder[PurePosixPath(*PurePosixPath(path).parts[:depth])].append((path, listed))
    if step.backend == Backend.DISK:
        yield from _wells(survey, Path(store.path), "", by_folder)
        return
    assert survey.plan is not None
    dialect = dialect_of(survey.plan.storage.ngff_version)
    yield from _strays(Path(store.path), dialect)
    for row in survey.entries(Path(store.path)):
        if isinstance(row, Leftover):
            yield row
        elif row.is_dir():
            yield from _strays(Path(row.path), dialect)
            yield from _wells(survey, Path(row.path), row.name, by_folder, dialect)
        elif row.name not in _METADATA:
            yield foreign(row)


def _wells(
    survey: Survey, folder: Path, row: str, by_folder: ByFolder, dialect: Dialect | None = None
) -> Iterator[Leftover]:
    """Leftovers among the folders of wells; ``row`` is what their names lack."""
    for entry in survey.entries(folder):
        if isinstance(entry, Leftover):
            yield entry
            continue
        well = f"{row}{entry.name}"
        if not entry.is_dir() or not _is_well(well):
            if entry.name not in _METADATA:
                yield foreign(entry)
            continue
        found = by_folder.get(PurePosixPath(survey.relative(entry.path)), [])
        if well not in survey.wells:
            if found:
                size = sum(listed.size for _, listed in found)
                yield leftover(LEFT_OUT, "of units that are left out", entry.path, size)
            else:
                yield leftover(FORMER, "of wells that no record lists", entry.path)
            continue
        if dialect is not None:
            yield from _strays(Path(entry.path), dialect)
        for path, listed in found:
            if survey.is_left_out(listed.unit):
                kept = survey.results.root / path
                yield leftover(LEFT_OUT, "of units that are left out", kept, listed.size)
        listed_paths = {path for path, _ in found}
        for site in survey.entries(Path(entry.path)):
            if isinstance(site, Leftover):
                yield site
            elif (
                dialect is not None
                and survey.relative(site.path) not in listed_paths
                and _is_other(site, dialect)
            ):
                yield leftover(FORMER, "images of another OME-NGFF version", site.path)


def _is_well(name: str) -> bool:
    try:
        well_position(name)
    except StorageError:
        return False
    return True


def _strays(folder: Path, dialect: Dialect) -> Iterator[Leftover]:
    """Metadata of another version in a group of this one, which would be read as either."""
    if not (folder / dialect.marker).is_file():
        return
    for name in sorted(_METADATA - set(dialect.files)):
        if (folder / name).is_file():
            yield leftover(FORMER, "metadata of another OME-NGFF version", folder / name)


def _is_other(site: os.DirEntry[str], dialect: Dialect) -> bool:
    """Whether a folder is an image group of another version only."""
    markers = {each.marker for each in DIALECTS.values() if (Path(site.path) / each.marker).is_file()}
    return bool(markers) and dialect.marker not in markers
