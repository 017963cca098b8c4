from __future__ import annotations

import numpy as np
import pytest
import tifffile

from hcs_steps.errors import ConfigError, PlateError
from hcs_steps.plate import PatternSpec, detect, list_files, open_plate
from hcs_steps.plate.formats.pattern import PatternReader
from hcs_steps.plate.reader import Evidence


def images(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, np.zeros((4, 4), "uint8"))


def test_row_and_column_as_numbers_and_aliases(tmp_path):
    images(tmp_path, "r02c03f01z05t09.tif")
    spec = r"r(?P<row>\d+)c(?P<column>\d+)f(?P<site>\d+)z(?P<z_index>\d+)t(?P<timepoint>\d+)\.tif"
    (plane,) = open_plate(tmp_path, pattern=spec).planes
    assert plane[:5] == ("B03", 1, 1, 5, 9)


def test_a_slash_makes_the_pattern_match_the_path(tmp_path):
    images(tmp_path, "A01/DAPI/1.tif", "A01/GFP/1.tif", "other/1.tif")
    inventory = open_plate(
        tmp_path, pattern={"regex": r"(?P<well>[A-H]\d\d)/(?P<channel>\w+)/(?P<site>\d)\.tif"}
    )
    assert inventory.channels == {1: "DAPI", 2: "GFP"}
    assert [problem.what for problem in inventory.problems] == ["other/1.tif"]


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


def test_names_that_fit_but_make_no_sense_are_unparsed(tmp_path):
    images(tmp_path, "A01_1.tif", "Z99_1.tif", "A02_x.tif")
    (tmp_path / "readme.txt").write_text("x")
    inventory = open_plate(tmp_path, pattern=r"(?P<well>\w\d\d)_(?P<site>\w)\.tif")
    assert inventory.wells == ("A01",)
    assert [(p.kind, p.what) for p in inventory.problems] == [
        ("unparsed", "A02_x.tif"),
        ("unparsed", "Z99_1.tif"),
    ]


@pytest.mark.parametrize(
    ("pattern", "part"),
    [
        (r"(?P<wel>.*)", "Did you mean 'well'?"),
        (r"(?P<well>[A", "at character 10, here: (?P<well>>>>[A"),
        (r"(?P<site>.*)", "does not say which well"),
        (r"(?P<row>.*)", "does not say which well"),
        ({"regex": "(?P<well>.*)", "constant": {}}, "Did you mean 'constants'?"),
        ({"regex": "(?P<well>.*)", "constants": {"sites": 1}}, "Did you mean 'site'?"),
        ({"constants": {}}, "no `regex`"),
        ({"regex": "(?P<well>.*)", "pixel_size_um": -1}, "pixel_size_um is -1"),
    ],
)
def test_bad_patterns_say_what_is_wrong(pattern, part):
    with pytest.raises(ConfigError) as caught:
        PatternSpec.from_config(pattern)
    assert part in str(caught.value)


def test_a_pattern_that_fits_nothing_shows_names(tmp_path):
    images(tmp_path, "a.tif")
    with pytest.raises(PlateError, match=r"None of the 1 TIFF files.*a\.tif"):
        open_plate(tmp_path, pattern=r"(?P<well>x)")


def test_unknown_format_shows_names_and_the_fix(tmp_path):
    images(tmp_path, "r02c03f01p01-ch1sk1fk1fl1.tiff")
    with pytest.raises(PlateError) as caught:
        open_plate(tmp_path)
    assert "r02c03f01p01-ch1sk1fk1fl1.tiff" in str(caught.value)
    assert "pattern:" in caught.value.hint


def test_a_well_alone_is_no_evidence_for_imagexpress(tmp_path):
    images(tmp_path, *(f"ImageName_t01_p{number:02d}.tif" for number in range(1, 10)))
    with pytest.raises(PlateError, match="is unknown"):
        open_plate(tmp_path)


def test_builtin_pattern_is_detected_with_evidence(tmp_path):
    images(tmp_path, "Channel1-01-A-01.tif", "Channel2-01-A-01.tif")
    (reader, evidence), *_ = detect.detect(list_files(tmp_path))
    assert reader.name == "channel-index-row-column"
    assert evidence == Evidence(1.0, evidence.sentences)
    assert open_plate(tmp_path, format="channel-index-row-column").values("channel") == (1, 2)


def test_two_equally_good_formats_are_both_named(tmp_path, monkeypatch):
    images(tmp_path, "A01.tif")
    spec = PatternSpec(r"(?P<well>A01)\.tif")
    readers = (PatternReader("this", spec), PatternReader("that", spec))
    monkeypatch.setattr(detect, "READERS", readers)
    with pytest.raises(PlateError) as caught:
        open_plate(tmp_path)
    assert "this:" in str(caught.value)
    assert "`format: that`" in caught.value.hint
