"""Several files of one plane: which one counts, and when the folder is that of several plates."""

from __future__ import annotations

import pytest

from hcs_steps.errors import PlateError
from hcs_steps.plate.findings import Found, collect
from hcs_steps.plate.inventory import PlaneKey
from hcs_steps.plate.listing import FileEntry


def files(folder, wells):
    return [(PlaneKey(well, 1, 1, 1, 1), Found(FileEntry(f"{folder}{well}.tif", 9, 9))) for well in wells]


WELLS = [f"A{number:02d}" for number in range(1, 13)]


@pytest.mark.parametrize("first", [True, False])
def test_the_file_in_the_fewest_folders_counts_in_any_order(first):
    masks, plate = files("a_masks/", WELLS), files("", WELLS)
    kept, problems = collect(masks + plate if first else plate + masks)
    assert {found.file.path for found in kept.values()} == {f"{well}.tif" for well in WELLS}
    assert [problem.what for problem in problems] == [f"a_masks/{well}.tif" for well in WELLS]


def test_two_plates_beside_each_other_are_refused():
    with pytest.raises(PlateError, match=r"one/A01\.tif and two/A01\.tif are both A01 s1 c1 z1 t1"):
        collect(files("one/", WELLS) + files("two/", WELLS))


def test_a_few_copies_beside_the_plate_are_reported():
    kept, problems = collect(files("one/", WELLS) + files("two/", WELLS[:2]))
    assert len(kept) == 12
    assert [problem.kind for problem in problems] == ["duplicate", "duplicate"]
