"""Which texts hold a well, and which do not."""

from __future__ import annotations

import pytest

from hcs_steps.errors import PlateError
from hcs_steps.plate.formats.scene_names import place_in
from hcs_steps.plate.formats.scenes import Scene, number_channels, place_scenes


@pytest.mark.parametrize(
    ("text", "well", "site"),
    [
        ("B02", "B02", None),
        ("AF48", "AF48", None),
        ("B - 2", "B02", None),
        ("B02 : Site 1", "B02", 1),
        ("B2, Field #12", "B02", 12),
        ("Well B2 Field 1", "B02", 1),
        ("Plate 1: Well B02: Field 3", "B02", 3),
        ("Well C3", "C03", None),
        ("A1-Site_0", "A01", 0),
        ("test_MMStack_A1-Site_0.ome.tif", "A01", 0),
        ("P3-B02", "B02", None),
        ("TR1-D4", "D04", None),
        ("Scene P1-B02", "B02", None),
        ("B02-B2", "B02", None),
        ("plate_B02_s1.ome.tif", "B02", 1),
        ("B02.ome.tif", "B02", None),
        ("B-02_f03.tif", "B02", 3),
        ("x_C03_F01.ome.tiff", "C03", 1),
        ("Plate_A01_x_B02_s1.ome.btf", "B02", 1),
        ("96 well plate_H12.czi", "H12", None),
        ("WellA01_PointA01_0007_ChannelDAPI_Seq0000.nd2", "A01", 7),
        ("PointB03_0002", "B03", 2),
        ("A01.nd2", "A01", None),
    ],
)
def test_wells_in_names(text, well, site):
    found = place_in(text)
    assert found is not None
    assert (found.well, found.site) == (well, site)


@pytest.mark.parametrize(
    "text",
    [
        "ImageName_t01_p01",
        "ImageName_T01_P01.ome.tif",
        "Image0",
        "img_0001.ome.tif",
        "plate_B02_s1_w2.ome.tif",
        "plate_B02_T03.ome.tif",
        "plate_B02_s1_extra.ome.tif",
        "t01",
        "Scene position #0",
        "stairwell plan",
        "B02-B03",
        "B99",
        "ZZ01",
        "XYPos:0",
        "",
        "A01" * 500,
    ],
)
def test_no_wells_in_names(text):
    assert place_in(text) is None


def scene(path: str, *names: str, well: str = "", rank: int = 0, document: str = "") -> Scene:
    return Scene(path, document or path, path, names, well, rank)


def fields(*scenes: Scene):
    return place_scenes(scenes, hint="a pattern").fields


def test_names_that_could_all_be_positions_are_no_wells():
    positions = [scene(f"img_P{number:02d}.ome.tif") for number in (1, 2, 3)]
    with pytest.raises(PlateError, match="No well is stated") as caught:
        fields(*positions)
    assert "a pattern" in str(caught.value)
    assert fields(*positions, scene("img_A01.ome.tif"))[:2] == (("P01", 1), ("P02", 1))


def test_the_metadata_win_then_the_image_then_the_file():
    assert fields(scene("x_B02.tif", "C03", well="D04", rank=1)) == (("D04", 1),)
    assert fields(scene("x_B02.tif", "C03")) == (("C03", 1),)
    assert fields(scene("x_B02.tif", "image 1")) == (("B02", 1),)


def test_a_file_that_is_named_for_another_well_is_told():
    placed = place_scenes([scene("x_B02.tif", well="D04", rank=1), scene("y_B03.tif", well="B03")], hint="")
    assert len(placed.disagreements) == 1
    assert "x_B02.tif holds D04" in placed.disagreements[0]


def test_sites_are_ranks_unless_these_collide():
    ranked = [scene("all.tif", well="A01", rank=rank, document="d") for rank in (1, 2)]
    assert fields(*ranked) == (("A01", 1), ("A01", 2))
    # One file per site, each with a plate of its own that has one sample.
    single = [scene(f"A01_s{site}.tif", well="A01", rank=1) for site in (2, 4)]
    assert fields(*single, scene("B01_s3.tif", well="B01", rank=1)) == (("A01", 2), ("A01", 4), ("B01", 3))


def test_sites_without_numbers_are_counted_in_their_file():
    assert fields(*[scene("x.czi", name) for name in ("P1-B2", "P2-B2", "P3-C2")]) == (
        ("B02", 1),
        ("B02", 2),
        ("C02", 1),
    )


def test_several_files_of_one_site_in_most_wells_are_refused():
    with pytest.raises(PlateError, match=r"a/B02.tif is used"):
        fields(scene("a/B02.tif"), scene("b/B02.tif"))


def test_a_few_second_files_are_duplicates():
    placed = place_scenes([scene(f"{n}.tif") for n in ("B02", "old/B02", "B03", "B04")], hint="")
    assert [field for field in placed.fields if field] == [("B02", 1), ("B03", 1), ("B04", 1)]
    assert [(problem.kind, problem.what) for problem in placed.problems] == [("duplicate", "old/B02.tif")]


def test_images_without_a_well_are_told():
    placed = place_scenes([scene("B02.tif"), scene("overview.tif")], hint="")
    assert [(problem.kind, problem.what) for problem in placed.problems] == [("unparsed", "overview.tif")]


def test_a_channel_has_one_number_wherever_it_stands():
    numbers, names = number_channels([["GFP"], ["DAPI", "GFP"], ["", ""]])
    assert numbers == [(2,), (1, 2), (1, 2)]
    assert names == {1: "DAPI", 2: "GFP"}
