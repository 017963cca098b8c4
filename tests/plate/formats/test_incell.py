"""InCell plates: an index that lists every image, names with spaces, and what happens without the one or the other."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from hcs_steps.errors import PlateError
from hcs_steps.plate import open_plate
from hcs_steps.plate.formats.incell import parse_name
from hcs_steps.plate.synthetic import make_plate


@pytest.fixture
def incell(tmp_path):
    def make(**options):
        settings = {
            "wells": ["B02", "B03"],
            "sites": (2, 2),
            "shape": (8, 8),
            "z": 2,
            "timepoints": 2,
        } | options
        make_plate(tmp_path / "P", layout="incell", **settings)
        return tmp_path / "P"

    return make


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("A - 01(fld 01 wv DAPI - DAPI).tif", ("A01", 1, "DAPI - DAPI", 1, 1)),
        ("B - 2(fld 12 wv UV - DAPI z 3 time 4 - 0ms).tif", ("B02", 12, "UV - DAPI", 3, 4)),
        ("P - 24(fld 1 wv Cy3 - Cy3 z 07).TIF", ("P24", 1, "Cy3 - Cy3", 7, 1)),
        ("A - 1(wv TL-Brightfield - Cy3).tiff", ("A01", 1, "TL-Brightfield - Cy3", 1, 1)),
        ("A - 1(fld 3).tif", ("A01", 3, "", 1, 1)),
        ("ZZ - 1(fld 3).tif", None),
        ("A - 01(fld 01 wv DAPI - DAPI)_thumb.tif", None),
        ("A01_s1_w1.tif", None),
    ],
)
def test_names(name, expected):
    assert parse_name(name) == expected


def test_the_index_and_the_names_alone_give_the_same_planes(incell):
    plate = incell()
    first = open_plate(plate)
    assert first.format == "incell"
    assert first.channels == {1: "DAPI", 2: "GFP"}
    assert first.grid_dimensions == (2, 2)
    assert first.problems == first.disagreements == ()
    (plate / "P.xdce").unlink()
    second = open_plate(plate)
    assert [plane[:6] for plane in second.planes] == [plane[:6] for plane in first.planes]
    assert second.channels == first.channels
    assert second.pixel_size_source == "unknown"


def test_y_runs_down_with_the_rows_of_the_plate(incell):
    inventory = open_plate(incell(wells=["B02", "C02"]))
    y = {plane.well: plane.y_um for plane in inventory.planes if plane.site == 1}
    assert y["C02"] > y["B02"]
    assert {p.grid_row for p in inventory.planes if p.site in (3, 4)} == {1}


def test_a_listed_image_without_file_is_missing_even_if_all_of_its_site_are(incell):
    plate = incell(z=1, timepoints=1)
    for path in plate.glob("B - 03(fld 4 *"):
        path.unlink()
    assert [key[:3] for key in open_plate(plate).missing] == [("B03", 4, 1), ("B03", 4, 2)]


def test_a_file_that_the_index_does_not_list_is_a_plane_and_said(incell):
    plate = incell(z=1, timepoints=1)
    tifffile.imwrite(plate / "C - 05(fld 1 wv Cy5 - Cy5).tif", np.ones((8, 8), "uint16"))
    inventory = open_plate(plate)
    assert inventory.wells == ("B02", "B03", "C05")
    assert inventory.channels[3] == "Cy5"
    assert any("does not list 1 image" in sentence for sentence in inventory.disagreements)
    assert inventory.missing == ()


def test_a_damaged_index_is_reported_and_the_names_are_used(incell):
    plate = incell()
    index = plate / "P.xdce"
    index.write_bytes(index.read_bytes()[:600])
    inventory = open_plate(plate)
    assert [(p.kind, p.what) for p in inventory.problems] == [("unreadable", "P.xdce")]
    assert len(inventory.planes) == 2 * 4 * 2 * 2 * 2


def test_images_in_a_folder_beside_the_index_are_found_by_their_names(incell):
    plate = incell(z=1, timepoints=1)
    (plate / "images").mkdir()
    for path in plate.glob("*.tif"):
        path.rename(plate / "images" / path.name)
    inventory = open_plate(plate)
    assert inventory.missing == ()
    assert all(plane.x_um == plane.x_um for plane in inventory.planes)


def test_two_plates_in_one_folder_are_refused(incell):
    plate = incell()
    (plate / "other.xdce").write_text("<ImageStack/>")
    with pytest.raises(PlateError, match=r"P\.xdce and other\.xdce|other\.xdce and P\.xdce"):
        open_plate(plate)


def test_filters_with_two_names_stay_apart(tmp_path):
    for wave in ("UV - DAPI", "Blue - FITC", "Blue - Cy5"):
        tifffile.imwrite(tmp_path / f"A - 1(fld 1 wv {wave}).tif", np.ones((8, 8), "uint16"))
    assert sorted(open_plate(tmp_path).channels.values()) == ["Blue - Cy5", "Blue - FITC", "UV - DAPI"]
