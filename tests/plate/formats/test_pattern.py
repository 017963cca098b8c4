"""Namings that a user describes: every option, what is refused, and what is done with odd names."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tifffile

from hcs_steps.errors import ConfigError, PlateError
from hcs_steps.plate import PatternSpec, headers, list_files, open_plate, read_plane
from hcs_steps.plate.formats.patterns.planes import number_channels, number_planes
from hcs_steps.plate.listing import FileEntry
from hcs_steps.plate.synthetic.imagexpress import metaseries_text


def images(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, np.zeros((4, 4), "uint8"))


def stack(path, *pages, **description):
    """A TIFF with these pages, each of its number in the values, one after the other."""
    with tifffile.TiffWriter(path) as writer:
        for number, shape in enumerate(pages):
            text = description.get("texts", {}).get(number)
            writer.write(np.full(shape, number + 1, "uint16"), metadata=None, description=text)


# Wells


def test_row_and_column_as_numbers_and_aliases(tmp_path):
    images(tmp_path, "r02c03f01z05t09.tif")
    spec = r"r(?P<row>\d+)c(?P<column>\d+)f(?P<site>\d+)z(?P<z_index>\d+)t(?P<timepoint>\d+)\.tif"
    (plane,) = open_plate(tmp_path, pattern=spec).planes
    assert plane[:5] == ("B03", 1, 1, 5, 9)


def test_rows_as_letters_beyond_z(tmp_path):
    images(tmp_path, "AF-48.tif", "b-7.tif")
    inventory = open_plate(tmp_path, pattern=r"(?P<row>\w+)-(?P<column>\d+)\.tif")
    assert inventory.wells == ("B07", "AF48")


@pytest.mark.parametrize(
    ("constants", "wells"),
    [
        ({"plate_columns": 12}, ("A01", "A12", "B01")),
        ({"plate_columns": 12, "first_well": 0}, ("A02", "B01", "B02")),
        ({"plate_columns": "24"}, ("A01", "A12", "A13")),
    ],
)
def test_wells_counted_row_by_row(tmp_path, constants, wells):
    images(tmp_path, "W00001.tif", "W00012.tif", "W00013.tif")
    pattern = {"regex": r"W(?P<well_index>\d+)\.tif", "constants": constants}
    assert open_plate(tmp_path, pattern=pattern).wells == wells


def test_wells_that_are_on_no_plate_are_unparsed(tmp_path, problems):
    images(tmp_path, "W0.tif", "W1.tif", "W99999.tif")
    pattern = {"regex": r"W(?P<well_index>\d+)\.tif", "constants": {"plate_columns": 48}}
    inventory = open_plate(tmp_path, pattern=pattern)
    assert inventory.wells == ("A01",)
    assert problems(inventory, "unparsed") == ["W0.tif", "W99999.tif"]


def test_rows_and_columns_from_0(tmp_path):
    images(tmp_path, "0_2.tif", "7_11.tif")
    pattern = {"regex": r"(?P<row>\d+)_(?P<column>\d+)\.tif", "constants": {"first_well": 0}}
    assert open_plate(tmp_path, pattern=pattern).wells == ("A03", "H12")


def test_a_name_may_lack_what_a_constant_gives(tmp_path):
    images(tmp_path, "B02_3.tif", "3.tif")
    pattern = {"regex": r"(?:(?P<well>\w\d\d)_)?(?P<site>\d)\.tif", "constants": {"well": "A1"}}
    assert open_plate(tmp_path, pattern=pattern).wells == ("A01", "B02")


# Sites


def test_fields_named_by_their_place(tmp_path):
    # The second well has a corner only; sites have the same numbers in both.
    images(tmp_path, *(f"A01_x{x}_y{y}.tif" for x in (1, 2, 3) for y in (4, 5)), "A02_x3_y5.tif")
    inventory = open_plate(tmp_path, pattern=r"(?P<well>\w+)_x(?P<site_column>\d)_y(?P<site_row>\d)\.tif")
    assert inventory.grid_dimensions == (2, 3)
    cells = {(p.well, p.site): (p.grid_row, p.grid_column) for p in inventory.planes}
    assert cells == {
        **{("A01", 1 + 3 * row + column): (row, column) for row in (0, 1) for column in (0, 1, 2)},
        ("A02", 6): (1, 2),
    }
    path = next(p.path for p in inventory.planes if (p.well, p.site) == ("A01", 2))
    assert path == "A01_x2_y4.tif"


def test_the_configured_grid_counts_over_the_places_in_names(tmp_path):
    images(tmp_path, "A01_x1_y1.tif", "A01_x2_y1.tif")
    pattern = r"(?P<well>\w+)_x(?P<site_column>\d)_y(?P<site_row>\d)\.tif"
    assert open_plate(tmp_path, pattern=pattern, grid="2x1").grid_dimensions == (2, 1)


def test_positions_are_no_place_in_a_grid(tmp_path):
    images(tmp_path, "A01_x0_y0.tif", "A01_x12345_y0.tif")
    with pytest.raises(PlateError, match="grid of 1 x 12346 sites"):
        open_plate(tmp_path, pattern=r"(?P<well>\w+)_x(?P<site_column>\d+)_y(?P<site_row>\d+)\.tif")


def test_regions_are_numbered_through(tmp_path):
    images(tmp_path, *(f"A01R{region}_{site}.tif" for region in (1, 2) for site in (1, 2)), "A02R2_2.tif")
    inventory = open_plate(tmp_path, pattern=r"(?P<well>[A-H]\d\d)R(?P<region>\d)_(?P<site>\d)\.tif")
    assert {p.path: p.site for p in inventory.planes} == {
        "A01R1_1.tif": 1,
        "A01R1_2.tif": 2,
        "A01R2_1.tif": 3,
        "A01R2_2.tif": 4,
        "A02R2_2.tif": 4,
    }


# Channels


@pytest.mark.parametrize(
    ("tokens", "renamed", "numbers", "names"),
    [
        (["2", "02", "11"], {}, [2, 2, 11], {2: "", 11: ""}),
        (["2", "11"], {"02": "actin"}, [2, 11], {2: "actin", 11: ""}),
        (["GFP", "DAPI"], {}, [2, 1], {1: "DAPI", 2: "GFP"}),
        (["gfp", "dapi", "x"], {"gfp": "actin", "dapi": "DNA"}, [1, 2, 3], {1: "actin", 2: "DNA", 3: "x"}),
        # The map gives numbers, even where one of its channels is not there.
        (["dapi"], {"gfp": "actin", "dapi": "DNA"}, [2], {2: "DNA"}),
        # Two spellings of one channel.
        (["DAPI", "Hoechst"], {"DAPI": "DNA", "Hoechst": "DNA"}, [1, 1], {1: "DNA"}),
        (["1", "3"], {"1": "DNA", "3": "DNA"}, [1, 1], {1: "DNA"}),
        # Numbers and words together: numbers first.
        (["BF", "10", "9"], {}, [3, 2, 1], {1: "", 2: "", 3: "BF"}),
    ],
)
def test_channel_numbers(tokens, renamed, numbers, names):
    assert number_channels([("", token, "") for token in tokens], renamed) == (numbers, names)


@pytest.mark.parametrize(
    ("channels", "renamed", "numbers", "names"),
    [
        # Numbers of the names where they tell channels apart, also over several steps.
        ([("", "1", "DAPI"), ("", "2", "GFP")], {}, [1, 2], {1: "DAPI", 2: "GFP"}),
        ([("01", "1", "DAPI"), ("02", "2", "DAPI")], {}, [1, 2], {1: "DAPI 01", 2: "DAPI 02"}),
        # The same number, but another stain, or in another step: no channel is taken for the other.
        ([("", "1", "GFP"), ("", "1", "DAPI")], {}, [2, 1], {1: "DAPI", 2: "GFP"}),
        ([("10", "1", ""), ("9", "1", "")], {}, [2, 1], {1: "1 9", 2: "1 10"}),
        ([("a", "x", ""), ("b", "x", "")], {"x": "DNA"}, [1, 2], {1: "DNA a", 2: "DNA b"}),
        ([("", "1", "DAPI"), ("", "2", "GFP")], {"GFP": "actin"}, [1, 2], {1: "DAPI", 2: "actin"}),
    ],
)
def test_channels_of_numbers_names_and_steps(channels, renamed, numbers, names):
    assert number_channels(channels, renamed) == (numbers, names)


def test_two_spellings_of_one_plane_are_a_duplicate(tmp_path, problems):
    images(tmp_path, "A01_c2.tif", "A01_c02.tif", "A1_c2.tif")
    inventory = open_plate(tmp_path, pattern=r"(?P<well>\w\d+)_c(?P<channel>\d+)\.tif")
    assert [plane.path for plane in inventory.planes] == ["A01_c02.tif"]
    assert problems(inventory, "duplicate") == ["A01_c2.tif", "A1_c2.tif"]


def test_a_channel_of_the_map_that_no_file_has_is_told(tmp_path):
    images(tmp_path, "A01_GFP.tif")
    pattern = {"regex": r"(?P<well>\w+)_(?P<channel>\w+)\.tif", "channels": {"GFP": "actin", "DAPL": "DNA"}}
    (sentence,) = open_plate(tmp_path, pattern=pattern).disagreements
    assert "DAPL" in sentence
    assert "GFP" not in sentence


def test_constants_and_map_order(tmp_path):
    images(tmp_path, "gfp.tif", "dapi.tif", "extra.tif")
    inventory = open_plate(
        tmp_path,
        pattern={
            "regex": r"(?P<channel>\w+)\.tif",
            "constants": {"well": "B2", "site": 7},
            "channels": {"gfp": "actin", "dapi": "DNA"},
            "pixel_size_um": 0.3,
        },
    )
    assert inventory.channels == {1: "actin", 2: "DNA", 3: "extra"}
    assert {plane[:2] for plane in inventory.planes} == {("B02", 7)}
    assert (inventory.pixel_size_um, inventory.pixel_size_source) == (0.3, "config")


# z and time


def test_z_counted_from_0_is_no_projection(tmp_path):
    images(tmp_path, "A01_z0.tif", "A01_z1.tif")
    regex = r"(?P<well>\w+)_z(?P<z>\d+)\.tif"
    assert open_plate(tmp_path, pattern=regex).values("z_index") == (0, 1)
    from_0 = {"regex": regex, "constants": {"first_z": 0}}
    assert open_plate(tmp_path, pattern=from_0).values("z_index") == (1, 2)


def test_a_plane_before_the_first_is_unparsed(tmp_path, problems):
    images(tmp_path, "A01_z0.tif", "A01_z3.tif")
    pattern = {"regex": r"(?P<well>\w+)_z(?P<z>\d+)\.tif", "constants": {"first_z": 3}}
    inventory = open_plate(tmp_path, pattern=pattern)
    assert inventory.values("z_index") == (1,)
    assert problems(inventory, "unparsed") == ["A01_z0.tif"]


def test_dates_are_ranked_and_timed(tmp_path, problems):
    times = ("2019-01-09_23-50", "2019-01-10_00-20", "2019-01-10_02-20")
    images(
        tmp_path,
        *(f"{well} {time}.tif" for well in ("A01", "A02") for time in times),
        "A01 2019-13-09_00-00.tif",
    )
    pattern = {
        "regex": r"(?P<well>\w+) (?P<datetime>[\d_-]+)\.tif",
        "constants": {"datetime_format": "%Y-%m-%d_%H-%M"},
    }
    inventory = open_plate(tmp_path, pattern=pattern)
    series = [(p.timepoint, p.time_s) for p in inventory.planes if p.well == "A02"]
    assert series == [(1, 0.0), (2, 1800.0), (3, 9000.0)]
    assert problems(inventory, "unparsed") == ["A01 2019-13-09_00-00.tif"]
    assert inventory.metadata["time_interval_s"] == "4500"


def test_elapsed_times(tmp_path, problems):
    images(tmp_path, "A01_00d00h30m.tif", "A01_1d2h.tif", "A01_45s.tif", "A01_12x.tif", "A01_.tif")
    pattern = {
        "regex": r"(?P<well>\w+?)_(?P<datetime>\w*)\.tif",
        "constants": {"datetime_format": "elapsed"},
    }
    inventory = open_plate(tmp_path, pattern=pattern)
    assert [(p.path, p.timepoint, p.time_s) for p in inventory.planes] == [
        ("A01_45s.tif", 1, 0.0),
        ("A01_00d00h30m.tif", 2, 1755.0),
        ("A01_1d2h.tif", 3, 93555.0),
    ]
    assert problems(inventory, "unparsed") == ["A01_.tif", "A01_12x.tif"]


# Pages


@pytest.mark.parametrize(
    ("pages", "component", "values"),
    [("z", "z_index", (1, 2, 3)), ("time", "timepoint", (1, 2, 3)), ("channel", "channel", (1, 2, 3))],
)
def test_pages_are_planes(tmp_path, pages, component, values):
    for well in ("A01", "A02"):
        stack(tmp_path / f"{well}.tif", *[(4, 5)] * 3)
    inventory = open_plate(tmp_path, pattern={"regex": r"(?P<well>\w+)\.tif", "pages": pages})
    assert inventory.values(component) == values
    assert len(inventory.planes) == 6
    for plane in inventory.planes:
        assert (plane.height, plane.width, plane.dtype) == (4, 5, "uint16")
        number = getattr(plane, component)
        assert plane.page == number - 1
        assert np.unique(read_plane(tmp_path, plane)) == number
    assert inventory.problems == inventory.disagreements == ()


def test_pages_are_channels_with_the_maps_names(tmp_path):
    stack(tmp_path / "A01.tif", (4, 4), (4, 4))
    pattern = {"regex": r"(?P<well>\w+)\.tif", "pages": "channel", "channels": {1: "DNA", 2: "actin"}}
    assert open_plate(tmp_path, pattern=pattern).channels == {1: "DNA", 2: "actin"}


def test_pages_unlike_the_first_are_excluded(tmp_path, problems):
    stack(tmp_path / "A01.tif", (8, 8), (2, 2), (8, 8), (8, 8, 3))
    inventory = open_plate(tmp_path, pattern={"regex": r"(?P<well>\w+)\.tif", "pages": "z"})
    assert [(plane.z_index, plane.page) for plane in inventory.planes] == [(1, 0), (3, 2)]
    assert problems(inventory, "excluded") == ["A01.tif page 2", "A01.tif page 4"]
    why = [each.why for each in inventory.problems]
    assert why[0] == "The page is 2 x 2 uint16, the file's first one 8 x 8 uint16."
    assert "no grey image" in why[1]


def test_a_damaged_and_an_empty_stack_keep_their_planes(tmp_path, problems):
    for well in ("A01", "A02"):
        stack(tmp_path / f"{well}.tif", (4, 4), (4, 4))
    (tmp_path / "A03.tif").write_bytes(b"II*\0 damaged")
    (tmp_path / "A04.tif").write_bytes(b"")
    inventory = open_plate(tmp_path, pattern={"regex": r"(?P<well>\w+)\.tif", "pages": "time"})
    assert len(inventory.planes) == 8
    assert problems(inventory, "unreadable") == ["A03.tif"]
    assert set(problems(inventory, "zero-byte")) == {"A04.tif"}
    assert problems(inventory, "missing") == []


def test_nothing_but_damaged_stacks(tmp_path, problems):
    (tmp_path / "A01.tif").write_bytes(b"II*\0 damaged")
    inventory = open_plate(tmp_path, pattern={"regex": r"(?P<well>\w+)\.tif", "pages": "time"})
    assert problems(inventory, "unreadable") == ["A01.tif"]
    assert [plane.dtype for plane in inventory.planes] == [""]


def test_a_shorter_stack_misses_planes(tmp_path, problems):
    stack(tmp_path / "A01.tif", *[(4, 4)] * 3)
    stack(tmp_path / "A02.tif", *[(4, 4)] * 2)
    inventory = open_plate(tmp_path, pattern={"regex": r"(?P<well>\w+)\.tif", "pages": "z"})
    assert problems(inventory, "missing") == ["A02 s1 c1 z3 t1"]


def test_pages_say_where_and_when_they_were_taken(tmp_path):
    texts = {
        number: metaseries_text(
            "A01", 1, "DAPI", position_um=(10.0, 20.0, 100.0 + 2 * number), pixel_size_um=0.5, shape=(4, 4)
        )
        for number in range(3)
    }
    stack(tmp_path / "A01.tif", *[(4, 4)] * 3, texts=texts)
    inventory = open_plate(tmp_path, pattern={"regex": r"(?P<well>\w+)\.tif", "pages": "z"})
    assert [plane.z_um for plane in inventory.planes] == [100.0, 102.0, 104.0]
    assert {(plane.x_um, plane.y_um, plane.pixel_size_um) for plane in inventory.planes} == {
        (10.0, 20.0, 0.5)
    }
    assert inventory.metadata["z_step_um"] == "2"
    assert inventory.pixel_size_source == "metadata"


def test_only_the_first_page_is_described(tmp_path):
    text = metaseries_text("A01", 1, "DAPI", position_um=(1.0, 2.0, 3.0), pixel_size_um=0.5, shape=(4, 4))
    stack(tmp_path / "A01.tif", (4, 4), (4, 4), texts={0: text})
    first, second = open_plate(tmp_path, pattern={"regex": r"(?P<well>\w+)\.tif", "pages": "z"}).planes
    assert (second.x_um, second.y_um, second.pixel_size_um) == (1.0, 2.0, 0.5)
    assert first.z_um == 3.0
    assert math.isnan(second.z_um)


def test_an_imagej_stack_with_fewer_pages_than_images_is_reported(tmp_path, problems):
    text = "ImageJ=1.53t\nimages=50\nframes=50"
    tifffile.imwrite(tmp_path / "A01.tif", np.zeros((4, 4), "uint16"), metadata=None, description=text)
    inventory = open_plate(tmp_path, pattern={"regex": r"(?P<well>\w+)\.tif", "pages": "time"})
    assert problems(inventory, "unreadable") == ["A01.tif"]
    assert "holds 50 images, but lists only 1 of them as pages" in inventory.problems[0].why
    assert len(inventory.planes) == 1


def test_pages_are_read_in_parallel_with_the_same_result(tmp_path, monkeypatch):
    for column in range(1, 13):
        stack(tmp_path / f"A{column:02d}.tif", *[(4, 4)] * 2)
    pattern = {"regex": r"(?P<well>\w+)\.tif", "pages": "z"}
    one_by_one = open_plate(tmp_path, pattern=pattern)
    monkeypatch.setattr(headers, "SLOW_S", 0.0)
    assert repr(open_plate(tmp_path, pattern=pattern)) == repr(one_by_one)


def test_without_the_option_more_pages_are_told(tmp_path):
    stack(tmp_path / "A01.tif", (4, 4), (4, 4))
    inventory = open_plate(tmp_path, pattern=r"(?P<well>\w+)\.tif")
    assert len(inventory.planes) == 1
    assert "`pages:`" in inventory.disagreements[0]


# Names


def test_a_slash_makes_the_pattern_match_the_path(tmp_path):
    images(tmp_path, "A01/DAPI/1.tif", "A01/GFP/1.tif", "other/1.tif")
    inventory = open_plate(
        tmp_path, pattern={"regex": r"(?P<well>[A-H]\d\d)/(?P<channel>\w+)/(?P<site>\d)\.tif"}
    )
    assert inventory.channels == {1: "DAPI", 2: "GFP"}
    assert [problem.what for problem in inventory.problems] == ["other/1.tif"]


@pytest.mark.parametrize("prefix", ["my plate (2) [x] ", "Plätte µ 板 ", "line\nbreak\t"])
def test_odd_names(tmp_path, prefix):
    images(tmp_path, f"{prefix}A01 - Texas Red.tif")
    inventory = open_plate(tmp_path, pattern=r".* ?(?P<well>[A-P]\d\d) - (?P<channel>.+)\.tif")
    assert inventory.wells == ("A01",)
    assert inventory.channels == {1: "Texas Red"}
    assert inventory.problems == ()


def test_names_that_fit_but_make_no_sense_are_unparsed(tmp_path):
    images(tmp_path, "A01_1.tif", "Z99_1.tif", "A02_x.tif", "A03_².tif")
    (tmp_path / "readme.txt").write_text("x")
    inventory = open_plate(tmp_path, pattern=r"(?P<well>\w\d\d)_(?P<site>\w)\.tif")
    assert inventory.wells == ("A01",)
    assert [(p.kind, p.what) for p in inventory.problems] == [
        ("unparsed", "A02_x.tif"),
        ("unparsed", "A03_².tif"),
        ("unparsed", "Z99_1.tif"),
    ]
    assert inventory.problems[0].why == "The site 'x' is not a number."


def test_excluded_names(tmp_path, problems):
    images(tmp_path, "A01.tif", "A01_thumb.tif", "masks/A02.tif", "notes.tif")
    name = {"regex": r"(?P<well>\w+)\.tif", "exclude": "_thumb"}
    assert problems(open_plate(tmp_path, pattern=name), "excluded") == ["A01_thumb.tif"]
    path = {"regex": r"(?P<well>[A-H]\d\d)\.tif", "exclude": "^masks/"}
    inventory = open_plate(tmp_path, pattern=path)
    assert inventory.wells == ("A01",)
    assert problems(inventory, "excluded") == ["masks/A02.tif"]
    assert problems(inventory, "unparsed") == ["A01_thumb.tif", "notes.tif"]


def test_files_of_two_plates_together_are_refused(tmp_path):
    images(tmp_path, "one_A01.tif", "two_A01.tif", "two_A02.tif")
    with pytest.raises(PlateError, match=r"2 plates \('one', 'two'\) with the same wells"):
        open_plate(tmp_path, pattern=r"(?P<plate>\w+)_(?P<well>\w\d\d)\.tif")


def test_two_plate_names_without_a_common_well_are_told(tmp_path):
    images(tmp_path, "one_A01.tif", "two_A02.tif")
    inventory = open_plate(tmp_path, pattern=r"(?P<plate>\w+)_(?P<well>\w\d\d)\.tif")
    assert inventory.wells == ("A01", "A02")
    assert inventory.disagreements == ("The names hold 2 different plate names.",)


def test_a_pattern_that_fits_nothing_shows_names(tmp_path):
    images(tmp_path, "a.tif")
    with pytest.raises(PlateError, match=r"None of the 1 TIFF files.*a\.tif"):
        open_plate(tmp_path, pattern=r"(?P<well>x)")


def test_paths_that_are_too_long_are_not_matched():
    spec = PatternSpec(r"(?:.*/)?(?P<well>A01)\.tif")
    assert spec.fits(FileEntry("a/" * 496 + "A01.tif", 1, 1))
    assert not spec.fits(FileEntry("a/" * 497 + "A01.tif", 1, 1))
    assert spec.tokens(FileEntry("a/" * 497 + "A01.tif", 1, 1)) is None


def test_too_long_paths_are_reported(tmp_path, problems):
    deep = "/".join(["d" * 200] * 5)
    images(tmp_path, "A01.tif", f"{deep}/A02.tif")
    inventory = open_plate(tmp_path, pattern=r"(?P<well>\w+)\.tif")
    assert inventory.wells == ("A01",)
    assert problems(inventory, "unparsed") == [f"{deep}/A02.tif"]
    assert "more than 1000 characters" in inventory.problems[0].why


def test_17280_names_get_keys_of_their_own():
    spec = PatternSpec(
        r"(?P<well>[A-P]\d\d)_s(?P<site>\d+)_(?P<channel>\w+)_(?P<datetime>\d{8})\.tif",
        constants={"datetime_format": "%Y%m%d"},
    )
    names = [
        f"{row}{column:02d}_s{site}_{channel}_2024010{site}.tif"
        for row in "ABCDEFGHIJKLMNOP"
        for column in range(1, 25)
        for site in range(1, 10)
        for channel in ("DAPI", "GFP", "RFP", "CY5", "BF")
    ]
    entries = [FileEntry(name, 1, 1) for name in names]
    numbered = number_planes(spec, [spec.tokens(entry) or {} for entry in entries])
    assert len(set(numbered.keys)) == 17280


# The description itself


@pytest.mark.parametrize(
    ("pattern", "part"),
    [
        (r"(?P<wel>.*)", "Did you mean 'well'?"),
        (r"(?P<well>[A", "at character 10, here: (?P<well>>>>[A"),
        (r"(?P<site>.*)", "does not say which well"),
        (r"(?P<row>.*)", "does not say which well"),
        ({"regex": "(?P<well>.*)", "constant": {}}, "Did you mean 'constants'?"),
        ({"regex": "(?P<well>.*)", "constants": {"sites": 1}}, "Did you mean 'site'?"),
        ({"regex": "(?P<well>.*)", "constants": {"plate": "x"}}, "Unknown constant 'plate'"),
        ({"regex": "(?P<well>.*)", "constants": ["site"]}, "`constants` of the file pattern is ['site']"),
        ({"regex": "(?P<well>.*)", "constants": {"site": None}}, "The constant `site`"),
        ({"regex": "(?P<well>.*)", "constants": {"site": True}}, "The constant `site`"),
        ({"regex": "(?P<well>.*)", "constants": {"site": "x"}}, "Write a whole number"),
        ({"regex": "(?P<site>.*)", "constants": {"well": "ZZ9"}}, "'ZZ9' is not a well name"),
        ({"constants": {}}, "no `regex`"),
        ({"regex": 7}, "no `regex`"),
        ({"regex": "(?P<well>.*)", "pixel_size_um": -1}, "pixel_size_um is -1"),
        ({"regex": "(?P<well>.*)", "pixel_size_um": "0.5"}, "pixel_size_um is 0.5"),
        ({"regex": "(?P<well>.*)", "pixel_size_um": float("inf")}, "pixel_size_um is inf"),
        ({"regex": "(?P<well_index>.*)"}, "no use without `plate_columns`"),
        ({"regex": "(?P<well_index>.*)", "constants": {"plate_columns": 0}}, "`plate_columns` is 0"),
        ({"regex": "(?P<well>.*)", "constants": {"plate_columns": 12}}, "no use without `well_index`"),
        ({"regex": "(?P<well>.*)", "constants": {"first_well": 0}}, "no use without `well_index` or `row`"),
        ({"regex": "(?P<well>.*)", "constants": {"first_z": 0}}, "no use without `z`"),
        ("(?P<well>.)(?P<region>.)", "no use without `site`"),
        ("(?P<well>.)(?P<site_row>.)", "no use without `site_column`"),
        ("(?P<well>.)(?P<site_column>.)", "no use without `site_row`"),
        ("(?P<well>.)(?P<channel_name>.)", "no use without `channel`"),
        ("(?P<well>.)(?P<datetime>.)", "no use without `datetime_format`"),
        ({"regex": "(?P<well>.)", "constants": {"datetime_format": "%Y"}}, "no use without `datetime`"),
        (
            {"regex": "(?P<well>.)(?P<datetime>.)", "constants": {"datetime_format": "%Q"}},
            "`datetime_format`",
        ),
        ({"regex": "(?P<well>.)(?P<datetime>.)", "constants": {"datetime_format": "Y"}}, "`datetime_format`"),
        ("(?P<well>.)(?P<site>.)(?P<site_row>.)(?P<site_column>.)", "twice: site and site_row"),
        (
            {"regex": "(?P<well>.)(?P<datetime>.)(?P<time>.)", "constants": {"datetime_format": "%Y"}},
            "twice: datetime and time",
        ),
        ({"regex": "(?P<well>.*)", "pages": "zz"}, "Did you mean 'z'?"),
        ({"regex": "(?P<well>.*)", "pages": 1}, "`pages` of the file pattern is 1"),
        ({"regex": "(?P<well>.)(?P<z>.)", "pages": "z"}, "takes z from the pages, but also has z"),
        ({"regex": "(?P<well>.)(?P<channel>.)", "pages": "channel"}, "but also has channel"),
        ({"regex": "(?P<well>.)", "constants": {"timepoint": 2}, "pages": "time"}, "but also has time"),
        ({"regex": "(?P<well>.*)", "exclude": "x*"}, "excludes every file"),
        ({"regex": "(?P<well>.*)", "exclude": "("}, "`exclude` of the file pattern is not a valid regular"),
        ({"regex": "(?P<well>.*)", "channels": {"1": ""}}, "the entry '1': ''"),
        ({"regex": "(?P<well>.*)", "channels": {"1": 5}}, "the entry '1': 5"),
        ({"regex": "(?P<well>.*)", "channels": "DAPI"}, "`channels` of the file pattern is 'DAPI'"),
    ],
)
def test_bad_patterns_say_what_is_wrong(pattern, part):
    with pytest.raises(ConfigError) as caught:
        PatternSpec.from_config(pattern)
    assert part in str(caught.value)


def test_a_pattern_from_a_command_line(tmp_path):
    regex = r"(?P<site>\d{2})\.tif"
    spec = PatternSpec(regex, constants={"well": "A01"})
    assert PatternSpec.from_text(rf"{{regex: '{regex}', constants: {{well: A01}}}}") == spec
    assert PatternSpec.from_text(f"regex: '{regex}'\nconstants:\n  well: A01\n") == spec
    file = tmp_path / "my pattern.yaml"
    file.write_text(f"regex: '{regex}'\nconstants: {{well: A01}}\n")
    assert PatternSpec.from_text(f"@{file}") == spec
    assert PatternSpec.from_text(r"(?P<well>\w+)\.tif") == PatternSpec(r"(?P<well>\w+)\.tif")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("@{folder}/none.yaml", "none.yaml cannot be read"),
        ("@{folder}/list.yaml", "must hold a mapping"),
        (r"{regex: (?P<well>[A-P]\d{2})_x, constants: {well: A01}}", "'single quotes'"),
        ("{regex: x, regex: y}", "stands twice"),
        ("{regexx: x}", "Did you mean 'regex'?"),
    ],
)
def test_a_bad_pattern_from_a_command_line(tmp_path, text, part):
    (tmp_path / "list.yaml").write_text("- x\n")
    with pytest.raises(ConfigError) as caught:
        PatternSpec.from_text(text.replace("{folder}", str(tmp_path)))
    assert part in str(caught.value)


def test_the_inventory_is_kept_until_the_pattern_changes(tmp_path):
    images(tmp_path / "plate", "A01_z0.tif", "A01_z1.tif")
    regex = r"(?P<well>\w+)_z(?P<z>\d+)\.tif"

    def digest(**more):
        return open_plate(
            tmp_path / "plate", pattern={"regex": regex, **more}, cache=tmp_path / "work"
        ).digest

    digests = [digest(), digest(constants={"first_z": 0}), digest(exclude="_z1"), digest(channels={"1": "x"})]
    assert len(set(digests)) == 4
    assert digest() == digests[0]


# Real sets that have no wells in their names


def test_tiles_of_one_mosaic_numbered_down_the_columns(real_data):
    inventory = open_plate(
        real_data("stitching_mist_5x5/tiles"),
        pattern={"regex": r"ImageName_t(?P<time>\d+)_p(?P<site>\d+)\.tif", "constants": {"well": "A01"}},
        grid="5x5 by columns",
    )
    assert inventory.wells == ("A01",)
    assert inventory.values("site") == tuple(range(1, 26))
    assert inventory.grid_dimensions == (5, 5)
    cells = {plane.site: (plane.grid_column, plane.grid_row) for plane in inventory.planes}
    assert (cells[1], cells[2], cells[6]) == ((0, 0), (0, 1), (1, 0))
    assert cells == {site: divmod(site - 1, 5) for site in range(1, 26)}
    assert {(p.height, p.width, p.dtype) for p in inventory.planes} == {(183, 245, "uint16")}
    assert inventory.problems == inventory.disagreements == ()


def test_a_series_with_nothing_but_times_in_its_names(real_data):
    folder = real_data("timelapse_gowt1_tracking/01")
    inventory = open_plate(folder, pattern={"regex": r"t(?P<time>\d+)\.tif", "constants": {"well": "A01"}})
    assert inventory.values("timepoint") == tuple(range(22))
    assert {p.timepoint: p.path for p in inventory.planes} == {t: f"t{t:03d}.tif" for t in range(22)}
    assert {(p.height, p.width, p.dtype) for p in inventory.planes} == {(1024, 1024, "uint8")}
    assert inventory.problems == inventory.disagreements == ()
    assert len(list_files(folder).images) == 22
