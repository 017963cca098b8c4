"""Folders that hold more than the planes of one plate: nothing is merged, and nothing left out unsaid."""

from __future__ import annotations

from pathlib import Path

import pytest

from hcs_steps.errors import PlateError
from hcs_steps.plate.formats.imagexpress.files import PlateFiles, one_plate, sort_files
from hcs_steps.plate.listing import FileEntry, FileListing

GUID = "27CCB2E4-1BF4-45E7-8BC7-264B48EF9C4A"
WELLS = ("A01", "A02", "A03")


def plate_of(*paths: str) -> PlateFiles:
    listing = FileListing(Path("/plate"), tuple(FileEntry(path, 1, 0) for path in sorted(paths)))
    files = sort_files(listing)
    assert len(files.planes) == len(paths)
    plate = one_plate(files.planes, listing.root)
    accounted = [image.entry.path for image in plate.planes] + [problem.what for problem in plate.problems]
    assert sorted(accounted) == sorted(paths)
    return plate


def left_out(plate: PlateFiles) -> list[str]:
    return [problem.what for problem in plate.problems]


def names(plate: str = "P", sites: tuple[int, ...] = (1, 2), folder: str = "") -> list[str]:
    return [f"{folder}{plate}_{well}_s{site}_w1.TIF" for well in WELLS for site in sites]


def test_one_plate_needs_no_words():
    plate = plate_of(*names())
    assert (plate.name, left_out(plate), plate.sentences) == ("P", [], ())


def test_montages_and_overlays_do_not_take_the_place_of_planes():
    plate = plate_of(*names(), "AStitched/P_A01_w1.TIF", "Composite/P_A02_s1.TIF")
    assert left_out(plate) == ["AStitched/P_A01_w1.TIF", "Composite/P_A02_s1.TIF"]
    assert ["montage" in problem.why for problem in plate.problems] == [True, False]


def test_a_well_whose_names_have_no_site_is_site_one_and_said_so():
    plate = plate_of(*names(), "P_B01_w1.TIF")
    assert plate.planes[-1].key[:2] == ("B01", 1)
    assert "The names of 1 wells have no site" in plate.sentences[0]


@pytest.mark.parametrize(
    ("paths", "part"),
    [
        ([*names("P"), *names("Q")], r"2 plates \('P', 'Q'\)"),
        ([*names("P", folder="P/"), *names("Q", folder="Q/")], "2 plates"),
        (["one/one_A01_s1_w1.tif", "two/two_A01_s1_w1.tif"], r"2 plates \('one', 'two'\)"),
        ([*names("P"), "Q_B01_s1_w1.TIF", "Q_B02_s1_w1.TIF"], "2 plates"),
        (["P/P_A01_s1_w1.TIF", "P/P_A01_s2_w1.TIF", "Q/Q_B01_s1_w1.TIF", "Q/Q_B01_s2_w1.TIF"], "2 plates"),
        (
            [*names(folder="2023-02-21/1334/"), *names(folder="2023-02-22/1340/", sites=(1,))],
            "holds 3 planes of 'P' twice: in 2023-02-21/1334 and in 2023-02-22/1340",
        ),
    ],
)
def test_several_plates_or_acquisitions_are_refused(paths, part):
    with pytest.raises(PlateError, match=part):
        plate_of(*paths)


def test_stray_files_of_another_plate_are_left_out():
    stray = ["Copy of P_A01_s1_w1.TIF", "old/Q_H12_s1_w1.TIF"]
    plate = plate_of(*names(), *stray)
    assert left_out(plate) == stray
    assert plate.name == "P"


def test_stray_copies_come_after_the_plates_own_planes():
    plate = plate_of(*names(folder="raw/"), "Again/P_A01_s1_w1.TIF")
    assert [image.entry.path for image in plate.planes][-1] == "Again/P_A01_s1_w1.TIF"


def test_parts_of_one_plate_are_put_together_and_said_so():
    plate = plate_of("2023-02-21/1334/P_A01_s1_w1.tif", "2023-02-22/1335/P_A02_s1_w1.tif")
    assert plate.sentences == ("The planes are taken from 2 folders: 2023-02-21/1334, 2023-02-22/1335.",)
    plate = plate_of(*(f"{what}_A0{n}_s{s}_w1.TIF" for n, what in enumerate("xyz", 1) for s in (1, 2)))
    assert plate.sentences == ("The names begin with 3 different plate names: 'x', 'y', 'z'.",)


def test_timepoints_and_letter_case_make_no_other_plate():
    plate = plate_of("TimePoint_1/P_A01_s1_w1.TIF", "TimePoint_2/ZStep_1/p_A01_s1_w1.TIF")
    assert (left_out(plate), plate.sentences) == ([], ())


def test_a_folder_of_the_same_names_below_the_plate_is_left_out():
    backup = names(folder="backup/")
    plate = plate_of(*names(), *backup)
    assert left_out(plate) == backup
    stack = names(folder="TimePoint_1/ZStep_1/") + names(folder="TimePoint_1/ZStep_2/")
    masks = names(folder="masks/")
    plate = plate_of(*stack, *masks)
    assert left_out(plate) == masks
    assert {image.key.z_index for image in plate.planes} == {1, 2}
