"""How often the disk is asked: a plate on a network drive costs one answer per question.

Counted are folders listed, files stat'ed and files opened, exactly, for plates small enough for a test; the counts
grow with the plate as the formulas here say.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from hcs_steps.plate import headers, listing, open_plate
from hcs_steps.plate.synthetic import LAYOUTS, make_plate
from hcs_steps.plate.wells import well_name

WELLS = [well_name(row, column) for row in range(4) for column in range(6)]


@dataclass
class Operations:
    """What was asked of the files below ``plate``: path relative to it -> how often."""

    plate: Path | None = None
    listed: Counter[str] = field(default_factory=Counter)
    opened: Counter[str] = field(default_factory=Counter)
    stated: Counter[str] = field(default_factory=Counter)
    entries: int = 0

    def start(self, plate: Path) -> Operations:
        """Count what is asked of ``plate``, from 0."""
        self.plate, self.entries = plate, 0
        for counter in (self.listed, self.opened, self.stated):
            counter.clear()
        return self

    def note(self, kind: str, path: object) -> None:
        if self.plate is None or not isinstance(path, str | bytes | os.PathLike):
            return
        whole = os.path.abspath(os.fsdecode(path))
        if whole == str(self.plate) or whole.startswith(f"{self.plate}/"):
            getattr(self, kind)[whole[len(str(self.plate)) + 1 :]] += 1


ACTIVE = Operations()


def hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        ACTIVE.note("opened", arguments[0])
    elif event in ("os.scandir", "os.listdir"):
        ACTIVE.note("listed", arguments[0])


@pytest.fixture(scope="module", autouse=True)
def audited() -> None:
    sys.addaudithook(hook)  # for good: there is no way to take it out


@pytest.fixture
def operations(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], Operations]]:
    """`Operations.start`."""
    original = listing._stat

    def count_entry(entry: os.DirEntry[str], path: str) -> listing.FileEntry:
        ACTIVE.entries += 1
        return original(entry, path)

    monkeypatch.setattr(listing, "_stat", count_entry)
    for name in ("stat", "lstat"):
        function = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda path, *a, f=function, **k: (ACTIVE.note("stated", path), f(path, *a, **k))[1]
        )

    yield ACTIVE.start
    ACTIVE.plate = None


def folders(plate: Path) -> set[str]:
    return {""} | {path.relative_to(plate).as_posix() for path in plate.rglob("*") if path.is_dir()}


def files(plate: Path) -> list[Path]:
    return [path for path in plate.rglob("*") if path.is_file()]


def test_one_header_per_site_and_a_few_more(tmp_path, operations):
    plate = tmp_path / "P"
    options = {"sites": (2, 2), "channels": ["a", "b", "c"], "z": 3, "timepoints": 2}
    make_plate(plate, wells=WELLS, shape=(4, 4), cells_per_well=1, **options)
    everything, all_folders = files(plate), folders(plate)
    count = operations(plate)
    inventory = open_plate(plate)
    assert len(inventory.planes) == 24 * 4 * 3 * 3 * 2
    assert count.listed == dict.fromkeys(all_folders, 1)
    assert count.entries == len(everything)
    assert set(count.stated) <= {""}
    # A site's position each; the channels b and c; two more z planes and one more timepoint of one site.
    assert count.opened.pop("P.HTD") == 1
    assert set(count.opened.values()) == {1}
    assert len(count.opened) == 24 * 4 + 2 + 2 + 1 == int(inventory.metadata["headers_opened"])


def test_one_header_per_well_where_files_hold_no_position(tmp_path, operations):
    plate = tmp_path / "P"
    plate.mkdir()
    tifffile.imwrite(plate / "x.tif", np.zeros((4, 4), "uint16"), metadata=None)
    content = (plate / "x.tif").read_bytes()
    (plate / "x.tif").unlink()
    for well in WELLS:
        for site in range(1, 5):
            for wave in (1, 2):
                (plate / f"P_{well}_s{site}_w{wave}.TIF").write_bytes(content)
    count = operations(plate)
    open_plate(plate)
    assert count.listed == {"": 1}
    assert count.entries == 24 * 4 * 2
    # The first sites, which are those of two wells; the other wells; and the second channel.
    assert headers.PROBES == 2 * 4
    assert len(count.opened) == headers.PROBES + (24 - 2) + 1
    assert set(count.opened.values()) == {1}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_is_asked_twice_and_nothing_opened_again(tmp_path, operations, layout):
    plate, cache = tmp_path / "P", tmp_path / "cache"
    make_plate(plate, wells=["A01", "B02"], sites=(1, 2), channels=["a", "b"], shape=(8, 8), layout=layout)
    all_folders, everything = folders(plate), files(plate)
    count = operations(plate)
    first = open_plate(plate, cache=cache)
    assert count.listed == dict.fromkeys(all_folders, 1)
    assert count.entries == len(everything)
    assert {path: times for path, times in count.opened.items() if times > 1} == {}
    count = operations(plate)
    again = open_plate(plate, cache=cache)
    assert count.listed == dict.fromkeys(all_folders, 1)
    assert count.entries == len(everything)
    assert count.opened == {}
    assert repr(again) == repr(first)
