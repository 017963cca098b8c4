"""What the units of a plate share, written before any of them publishes: plate, rows, wells and placeholders.

Any number of processes may do this at the same time: each writes the same, and none replaces an image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from hcs_steps.errors import StorageError
from hcs_steps.storage import _ngff
from hcs_steps.storage._dialect import DIALECTS, Dialect
from hcs_steps.storage._names import well_position
from hcs_steps.storage._placeholder import (
    Files,
    Outlook,
    Placeholder,
    content_of,
    outlooks,
    placeholders,
    put_placeholders,
)
from hcs_steps.storage.atomic import json_bytes, storage_errors, write_bytes
from hcs_steps.storage.protocol import StoreSpec

_AT_ONCE = 4
"""Wells that are declared at a time: flushing their metadata is mostly waiting."""


def well_folder(spec: StoreSpec, well: str) -> Path:
    """Where the images of a well are; `StorageError` for a name that is none."""
    place = well_position(well)
    return spec.path / place.row_folder / place.column_folder


class Declaration:
    """The declaration of one store."""

    def __init__(self, spec: StoreSpec, dialect: Dialect) -> None:
        self.spec = spec
        self.dialect = dialect

    def write(self) -> None:
        """Write everything; the plate's metadata comes last and tells that all is there."""
        spec = self.spec
        places = {well: well_position(well) for well in spec.wells}
        for well, place in places.items():
            if place.row >= spec.rows or place.column >= spec.columns:
                size = f"{spec.rows} x {spec.columns}"
                raise StorageError(
                    f"Cannot declare {spec.path}: well {well} lies outside a plate of {size} wells.",
                    hint="Correct the well or the dimensions of the plate.",
                )
        plate = self.dialect.group(_ngff.plate_attributes(spec), {"layout": self._layout()})
        if content_of(spec.path / self.dialect.marker) == plate[self.dialect.marker]:
            return
        for letters in sorted({place.row_folder for place in places.values()}):
            self._write_shared(spec.path / letters, self.dialect.group({}))
        with self._placeholders(self._distinct) as ready, ThreadPoolExecutor(_AT_ONCE) as pool:
            for done in [pool.submit(self._declare_well, well, ready) for well in spec.wells]:
                done.result()
        self._write_shared(spec.path, plate)

    def restore(self, well: str, sites: Iterable[int]) -> None:
        """Put placeholders where images of these sites are expected and none are."""
        expected = self._expected.get(well, {})
        wanted = {site: expected[site] for site in sites if site in expected}
        with self._placeholders(wanted.values()) as ready:
            self._put_placeholders(well, wanted, ready)

    @cached_property
    def _expected(self) -> dict[str, dict[int, Outlook]]:
        return outlooks(self.spec)

    @cached_property
    def _distinct(self) -> dict[Outlook, int]:
        """Different outlooks, numbered in the order of the wells."""
        every = dict.fromkeys(each for sites in self._expected.values() for each in sites.values())
        return {outlook: number for number, outlook in enumerate(every)}

    def _layout(self) -> str:
        """A hash of the wells, their sites, and what is expected there."""
        wells = {well: sorted(set(sites)) for well, sites in self.spec.wells.items()}
        layout: list[Any] = [wells]
        if self._expected:
            numbers = {
                well: {site: self._distinct[outlook] for site, outlook in sites.items()}
                for well, sites in self._expected.items()
            }
            arrays = [self.spec.chunk_strategy, self.spec.compressor, self.spec.compression_level]
            layout += [numbers, [each.describe() for each in self._distinct], arrays, self.spec.pyramid]
        return hashlib.blake2b(json_bytes(layout), digest_size=16).hexdigest()

    def _declare_well(self, well: str, ready: Mapping[Outlook, Placeholder]) -> None:
        self._put_placeholders(well, self._expected.get(well, {}), ready)
        attributes = self.dialect.group(_ngff.well_attributes(self.spec.wells[well]))
        self._write_shared(well_folder(self.spec, well), attributes)

    @contextmanager
    def _placeholders(self, wanted: Iterable[Outlook]) -> Iterator[Mapping[Outlook, Placeholder]]:
        if not self._expected:
            yield {}
            return
        with storage_errors("write", self.spec.path), placeholders(self.spec, self.dialect, wanted) as ready:
            yield ready

    def _put_placeholders(
        self, well: str, wanted: Mapping[int, Outlook], ready: Mapping[Outlook, Placeholder]
    ) -> None:
        by_site = {site: ready[outlook] for site, outlook in wanted.items()}
        put_placeholders(well_folder(self.spec, well), self.dialect, by_site)

    def _write_shared(self, folder: Path, files: Files) -> None:
        """Write what every process would write alike; processes that race replace it by the same bytes."""
        for name, content in files.items():
            if content_of(folder / name) != content:
                write_bytes(folder / name, content)
        others = {name for each in DIALECTS.values() for name in each.files} - set(self.dialect.files)
        for name in others:  # a group of two versions would be read as either
            (folder / name).unlink(missing_ok=True)
