"""InCell plates: an index that lists every image, names with spaces, and what happens without the one or the other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tifffile

from hcs_steps.errors import PlateError
from hcs_steps.plate import open_plate
from hcs_steps.plate.formats.incell.names import number_waves, parse_incell_name, parse_indexed_name
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
            "layout": "incell",
        } | options
        make_plate(tmp_path / "P", **settings)
        return tmp_path / "P"

    return make


def image(path, value=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.full((4, 4), value, "uint16"))


def entry(name, row=1, column=1, field=0, wave=0, z=0, time=0, extra=""):
    return (
        f'<Image filename="{name}"><Well label="x"><Row number="{row}"/><Column number="{column}"/></Well>{extra}'
        f'<Identifier field_index="{field}" wave_index="{wave}" z_index="{z}" time_index="{time}"/></Image>'
    )


def write_index(folder, *entries, protocol="", encoding="UTF-8", root="<ImageStack>"):
    text = (
        f'<?xml version="1.0" encoding="{encoding}"?>{root}<AutoLeadAcquisitionProtocol>{protocol}'
        f"</AutoLeadAcquisitionProtocol><Images>{''.join(entries)}</Images></ImageStack>"
    )
    (folder / "P.xdce").write_bytes(text.encode(encoding))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("A - 01(fld 01 wv DAPI - DAPI).tif", ("A01", 1, "DAPI - DAPI", 0, 1, 1, "")),
        ("B - 2(fld 12 wv UV - DAPI z 3 time 4 - 0ms).tif", ("B02", 12, "UV - DAPI", 0, 3, 4, "")),
        ("B - 4(fld 1 wv DsRed - DsRed- time 2 - 300000 ms).tif", ("B04", 1, "DsRed - DsRed", 0, 1, 2, "")),
        ("P - 24(fld 1 wv Cy3 - Cy3 z 07).TIF", ("P24", 1, "Cy3 - Cy3", 0, 7, 1, "")),
        ("B - 02(fld 01 wv FITC - FITC2 wix 6).tif", ("B02", 1, "FITC - FITC2", 6, 1, 1, "")),
        ("A - 1(wv TL-Brightfield - Cy3).tiff", ("A01", 1, "TL-Brightfield - Cy3", 0, 1, 1, "")),
        ("A - 1(fld 3).tif", ("A01", 3, "", 0, 1, 1, "")),
        ("my_plate_A - 1(fld 3 wv 390 - Blue).tif", ("A01", 3, "390 - Blue", 0, 1, 1, "my_plate")),
        ("ZZ - 1(fld 3).tif", None),
        ("A - 01(fld 01 wv DAPI - DAPI)_thumb.tif", None),
        ("t1_B03_s1_w1_z1.tif", None),
    ],
)
def test_names(name, expected):
    assert parse_incell_name(name) == expected


def test_names_that_metaxpress_writes_beside_an_index():
    assert parse_indexed_name("t2_B03_s4_w3_z5.tif") == ("B03", 4, "", 3, 5, 2, "")
    assert parse_indexed_name("t2_B99_s4_w3_z5.tif") is None
    assert parse_indexed_name("A - 1(fld 3).tif").site == 3


def test_wavelengths_keep_their_numbers_and_others_follow():
    waves = ["Cy5 - Cy5 wix 4", "Cy5 - Cy5 wix 8", "DAPI - DAPI", "UV - FITC"]
    names = [parse_incell_name(f"A - 1(fld 1 wv {wave}).tif") for wave in waves]
    assert number_waves(names, {2: "DAPI"}) == {
        ("Cy5 - Cy5", 4): 4,
        ("Cy5 - Cy5", 8): 8,
        ("DAPI - DAPI", 0): 2,
        ("UV - FITC", 0): 9,
    }
    # Two wavelengths are called so: which one it is, is not told.
    assert number_waves(names[2:3], {1: "DAPI", 2: "DAPI"}) == {("DAPI - DAPI", 0): 3}


@pytest.mark.parametrize("layout", ["incell", "incell-2000"])
def test_the_index_and_the_names_alone_give_the_same_planes(incell, layout):
    plate = incell(layout=layout)
    first = open_plate(plate)
    assert first.format == "incell"
    assert first.channels == {1: "DAPI", 2: "GFP"}
    assert first.grid_dimensions == (2, 2)
    assert {p.site: (p.grid_row, p.grid_column) for p in first.planes}[3] == (1, 0)
    assert first.problems == first.disagreements == ()
    assert first.metadata["microscope"].startswith("IN Cell Analyzer")
    (plate / "P.xdce").unlink()
    second = open_plate(plate)
    assert [plane[:6] for plane in second.planes] == [plane[:6] for plane in first.planes]
    assert second.channels == first.channels
    assert second.pixel_size_source == "unknown"


def test_plate_positions_run_down_with_the_rows_of_the_plate(incell):
    inventory = open_plate(incell(wells=["B02", "C02"]))
    y = {plane.well: plane.y_um for plane in inventory.planes if plane.site == 1}
    assert y["C02"] > y["B02"]


def positions(folder, *extras):
    names = [f"A - 1(fld {number} wv A - A).tif" for number in range(1, len(extras) + 1)]
    for name in names:
        image(folder / name)
    write_index(
        folder,
        *(
            entry(name, field=i, extra=extra)
            for i, (name, extra) in enumerate(zip(names, extras, strict=True))
        ),
    )
    inventory = open_plate(folder)
    return inventory, [(plane.x_um, plane.y_um) for plane in inventory.planes]


def test_offsets_run_up_and_count_where_every_image_has_one(tmp_path):
    plate = '<PlatePosition_um x="{}" y="{}"/>'.format
    offset = '<OffsetFromWellCenter x="{}" y="{}"/>'.format
    both = [plate(1000, 2000) + offset(-50, 50), plate(1100, 2100) + offset(50, -50)]
    inventory, found = positions(tmp_path / "both", *both)
    assert found == [(-50, -50), (50, 50)]
    assert inventory.disagreements == ()
    _, found = positions(tmp_path / "some", both[0], plate(1100, 2100))
    assert found == [(1000, 2000), (1100, 2100)]


def test_positions_that_contradict_each_other_are_told(tmp_path):
    inventory, _ = positions(
        tmp_path,
        '<PlatePosition_um x="1000" y="2000"/><OffsetFromWellCenter x="0" y="0"/>',
        '<PlatePosition_um x="1100" y="2100"/><OffsetFromWellCenter x="100" y="100"/>',
    )
    assert "of 1 images run in other directions" in inventory.disagreements[0]


def test_a_listed_image_without_file_is_missing_even_if_all_of_its_site_are(incell):
    plate = incell(z=1, timepoints=1)
    for path in plate.glob("B - 03(fld 4 *"):
        path.unlink()
    assert [key[:3] for key in open_plate(plate).missing] == [("B03", 4, 1), ("B03", 4, 2)]


def test_a_file_that_the_index_does_not_list_is_a_plane_and_said(incell):
    plate = incell(z=1, timepoints=1)
    image(plate / "C - 05(fld 1 wv Cy5 - Cy5).tif")
    inventory = open_plate(plate)
    assert inventory.wells == ("B02", "B03", "C05")
    assert inventory.channels[3] == "Cy5"
    assert any("does not list 1 image" in sentence for sentence in inventory.disagreements)
    assert inventory.missing == ()


def test_of_a_damaged_index_what_stands_before_the_damage_is_used(incell):
    plate = incell(z=1, timepoints=1)
    index = plate / "P.xdce"
    content = index.read_bytes()
    index.write_bytes(content[: content.rindex(b"<Image ")])
    inventory = open_plate(plate)
    assert [(p.kind, p.what) for p in inventory.problems] == [("unreadable", "P.xdce")]
    assert len(inventory.planes) == 2 * 4 * 2
    assert [math.isnan(plane.x_um) for plane in inventory.planes].count(True) == 1
    assert inventory.pixel_size_um == 0.65
    index.write_bytes(b'<!DOCTYPE x [<!ENTITY e "e">]>' + content.partition(b"?>")[2])
    inventory = open_plate(plate)
    assert "DOCTYPE" in inventory.problems[0].why
    assert len(inventory.planes) == 2 * 4 * 2


def test_images_in_folders_are_found_by_their_paths_or_names(incell, tmp_path):
    plate = incell(z=1, timepoints=1)
    (plate / "images").mkdir()
    for path in plate.glob("*.tif"):
        path.rename(plate / "images" / path.name)
    inventory = open_plate(plate)
    assert inventory.missing == ()
    assert all(plane.x_um == plane.x_um for plane in inventory.planes)
    # With `use_subfolders`, one name may be in several folders.
    for folder in ("one", "two"):
        image(tmp_path / "Q" / folder / "a.tif")
    write_index(tmp_path / "Q", entry(r"One\a.tif"), entry(r".\two\a.tif", column=2))
    assert {p.well: p.path for p in open_plate(tmp_path / "Q").planes} == {
        "A01": "one/a.tif",
        "A02": "two/a.tif",
    }


def test_paths_that_leave_the_plate_lead_nowhere(tmp_path):
    image(tmp_path / "secret.tif")
    image(tmp_path / "P" / "A - 1(fld 1 wv A - A).tif")
    outside = ["../secret.tif", str(tmp_path / "secret.tif"), "file:///secret.tif"]
    write_index(tmp_path / "P", *(entry(path, field=field) for field, path in enumerate(outside)))
    inventory = open_plate(tmp_path / "P")
    assert [plane.path for plane in inventory.planes] == ["A - 1(fld 1 wv A - A).tif"]
    assert len(inventory.missing) == 2


def test_two_plates_in_one_folder_are_refused(incell):
    plate = incell()
    (plate / "other.xdce").write_text("<ImageStack/>")
    with pytest.raises(PlateError, match=r"P\.xdce, other\.xdce|other\.xdce, P\.xdce"):
        open_plate(plate)


def test_an_index_without_images(tmp_path):
    write_index(tmp_path, entry("A - 1(fld 1 wv A - A).im"))
    (tmp_path / "A - 1(fld 1 wv A - A).im").write_bytes(b"x")
    with pytest.raises(PlateError, match=r"The metadata list 1 planes.*only TIFF images"):
        open_plate(tmp_path)


def test_images_that_are_no_tiff_are_missing_and_told(tmp_path, problems):
    image(tmp_path / "A - 1(fld 1 wv A - A).tif")
    (tmp_path / "A - 1(fld 2 wv A - A).im").write_bytes(b"x")
    write_index(tmp_path, entry("A - 1(fld 1 wv A - A).tif"), entry("A - 1(fld 2 wv A - A).im", field=1))
    inventory = open_plate(tmp_path)
    assert problems(inventory, "unparsed") == ["A - 1(fld 2 wv A - A).im"]
    assert [key.site for key in inventory.missing] == [2]


def test_every_other_file_is_accounted_for(incell, problems):
    plate = incell(z=1, timepoints=1)
    index = plate / "P.xdce"
    index.write_text(
        index.read_text("latin-1").replace("<Image ", '<Image thumbnail="thumbs\\t.tif" ', 1), "latin-1"
    )
    for name in (
        "thumbs/t.tif",
        "overview.tif",
        "._B - 02(fld 1 wv A - A).tif",
        "DF_B - 02(fld 1 wv A - A).tif",
    ):
        image(plate / name)
    inventory = open_plate(plate)
    assert len(inventory.planes) == 2 * 4 * 2
    assert problems(inventory, "unparsed") == ["overview.tif"]
    assert set(problems(inventory, "excluded")) == {
        "thumbs/t.tif",
        "._B - 02(fld 1 wv A - A).tif",
        "DF_B - 02(fld 1 wv A - A).tif",
    }


def test_entries_that_name_one_file_are_one_plane(tmp_path):
    """MetaXpress pads a wavelength without a stack so."""
    for name in ("t1_B03_s1_w1_z1.tif", "t1_B03_s1_w2_z1.tif", "t1_B03_s1_w2_z2.tif", "t1_B03_s1_w3_z2.tif"):
        image(tmp_path / name)
    entries = [entry("t1_B03_s1_w1_z1.tif", row=2, column=3, z=z) for z in (0, 1)]
    entries += [entry(f"t1_B03_s1_w2_z{z + 1}.tif", row=2, column=3, wave=1, z=z) for z in (0, 1)]
    write_index(tmp_path, *entries, root='<ImageStack PlateID="p7">')
    inventory = open_plate(tmp_path)
    assert inventory.format == "incell"
    assert inventory.metadata["plate_id"] == "p7"
    assert [plane[:5] for plane in inventory.planes] == [
        ("B03", 1, 1, 1, 1),
        ("B03", 1, 2, 1, 1),
        ("B03", 1, 2, 2, 1),
        ("B03", 1, 3, 2, 1),
    ]
    assert inventory.missing == ()
    assert any("1 entries of the index name a file" in sentence for sentence in inventory.disagreements)


def test_entries_without_a_plane_are_told_and_their_names_used(tmp_path):
    image(tmp_path / "A - 2(fld 5 wv A - A).tif")
    write_index(
        tmp_path,
        entry("A - 2(fld 5 wv A - A).tif", row=99),
        entry("A - 3(fld 5 wv A - A).tif", field="x"),
        entry("A - 3(fld 5 wv A - A).tif", z=-1),
        entry(""),
    )
    inventory = open_plate(tmp_path)
    assert inventory.planes[0][:2] == ("A02", 5)
    assert any("4 entries" in sentence for sentence in inventory.disagreements)


CALIBRATION = '<ObjectiveCalibration pixel_width="{}" pixel_height="{}" unit="{}"/><Binning value="{}"/>'


@pytest.mark.parametrize(
    ("values", "encoding", "size", "said"),
    [
        ((0.325, 0.325, "µm", "1 X 1"), "UTF-8", 0.325, ""),
        ((0.325, 0.325, "µm", "1 X 1"), "ISO-8859-1", 0.325, ""),
        ((0.325, 0.5, "um", "1 X 1"), "UTF-8", 0.325, "0.5 um high"),
        ((0.325, 0.325, "um", "2 X 2"), "UTF-8", math.nan, "0.325 or 0.65"),
        ((0.325, 0.325, "px", ""), "UTF-8", math.nan, ""),
    ],
)
def test_pixel_sizes(tmp_path, values, encoding, size, said):
    name = "A - 1(fld 1 wv A - A).tif"
    image(tmp_path / name)
    write_index(tmp_path, entry(name), protocol=CALIBRATION.format(*values), encoding=encoding)
    inventory = open_plate(tmp_path)
    assert inventory.pixel_size_um == pytest.approx(size, nan_ok=True)
    assert said in "".join(inventory.disagreements)
    assert bool(said) == bool(inventory.disagreements)


def test_filters_with_two_names_stay_apart(tmp_path):
    for wave in ("UV - DAPI", "Blue - FITC", "Blue - Cy5"):
        image(tmp_path / f"A - 1(fld 1 wv {wave}).tif")
    assert sorted(open_plate(tmp_path).channels.values()) == ["Blue - Cy5", "Blue - FITC", "UV - DAPI"]


def test_wavelengths_with_the_same_filters_stay_apart(tmp_path):
    for number in (4, 8):
        image(tmp_path / f"A - 1(fld 1 wv Cy5 - Cy5 wix {number}).tif")
    assert open_plate(tmp_path).channels == {4: "Cy5_w4", 8: "Cy5_w8"}


def test_names_with_the_plate_before_the_well(tmp_path):
    for number in (1, 2):
        image(tmp_path / f"P1_A - {number}(fld 1 wv 390 - Blue).tif")
    assert open_plate(tmp_path).wells == ("A01", "A02")
    image(tmp_path / "P2_A - 3(fld 1 wv 390 - Blue).tif")
    inventory = open_plate(tmp_path)
    assert inventory.wells == ("A01", "A02", "A03")
    assert "2 different plate names" in inventory.disagreements[0]
    image(tmp_path / "P2_A - 1(fld 1 wv 390 - Blue).tif")
    with pytest.raises(PlateError, match="2 plates"):
        open_plate(tmp_path)
