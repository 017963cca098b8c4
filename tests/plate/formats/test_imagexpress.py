"""Plates with lost, doubled, damaged and foreign files, and the layouts between export and database."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import tifffile

from hcs_steps.errors import ConfigError, PlateError
from hcs_steps.plate import headers, open_plate
from hcs_steps.plate.synthetic.imagexpress import htd_text, metaseries_text


def image(path, shape=(4, 4), **text):
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = {"position_um": (0.0, 0.0, 0.0), "pixel_size_um": 0.5, "shape": shape} | text
    description = metaseries_text("A01", 1, "DAPI", **settings) if text is not None else None
    tifffile.imwrite(path, np.zeros(shape, "uint16"), description=description, metadata=None)


def test_a_lost_file_is_named(tiny_plate, problems):
    plate = tiny_plate()
    (plate / "TimePoint_1" / "P1_B03_s2_w1.TIF").unlink()
    inventory = open_plate(plate)
    assert problems(inventory, "missing") == ["B03 s2 c1 z1 t1"]
    assert inventory.missing == (("B03", 2, 1, 1, 1),)


def test_lost_sites_and_channels_are_summarised(tiny_plate, problems):
    plate = tiny_plate(wells=["B02", "B03", "B04"])
    for name in ("B03_s2_w1", "B03_s2_w2", "B04_s1_w2", "B04_s2_w2"):
        (plate / "TimePoint_1" / f"P1_{name}.TIF").unlink()
    inventory = open_plate(plate)
    assert problems(inventory, "missing") == ["B03 s2", "B04 c2"]
    assert len(inventory.missing) == 4


def test_without_a_plan_a_whole_site_is_only_hinted_at(tiny_plate, problems):
    plate = tiny_plate(wells=["B02", "B03", "B04"])
    (plate / "P1.HTD").unlink()
    for wave in (1, 2):
        (plate / "TimePoint_1" / f"P1_B03_s2_w{wave}.TIF").unlink()
    inventory = open_plate(plate)
    assert problems(inventory, "missing") == ["B03 s2"]
    assert inventory.missing == ()


def test_sites_that_the_plan_does_not_know_leave_it_to_the_neighbours(tiny_plate, problems):
    plate = tiny_plate(wells=["B02", "B03", "B04"])
    image(plate / "TimePoint_1" / "P1_B02_s7_w1.TIF")
    (plate / "TimePoint_1" / "P1_B03_s2_w1.TIF").unlink()
    (plate / "TimePoint_1" / "P1_B03_s2_w2.TIF").unlink()
    inventory = open_plate(plate)
    assert inventory.missing == (("B02", 7, 2, 1, 1),)
    assert "2 sites per well, the files have 1-2,7" in inventory.disagreements[0]


def test_a_site_that_no_well_has_is_summarised(tiny_plate, problems):
    plate = tiny_plate(sites=(2, 2))
    for path in plate.rglob("*_s3_*"):
        path.unlink()
    inventory = open_plate(plate)
    assert inventory.missing == ()
    assert problems(inventory, "missing") == ["s3"]
    assert {(p.site, p.grid_row, p.grid_column) for p in inventory.planes} == {
        (1, 0, 0),
        (2, 0, 1),
        (4, 1, 1),
    }


def test_sites_of_a_grid_with_holes_get_their_cells(tmp_path):
    plan = htd_text(["A01", "A02"], sites=(2, 3), channels=["a"])
    plan = plan.replace('"SiteSelection1", TRUE, TRUE, TRUE', '"SiteSelection1", FALSE, TRUE, FALSE')
    for well in ("A01", "A02"):
        for site in (1, 2, 3, 4):
            image(tmp_path / f"P_{well}_s{site}.TIF")
    (tmp_path / "P.HTD").write_text(plan)
    inventory = open_plate(tmp_path)
    assert inventory.grid_dimensions == (2, 3)
    assert {(p.site, p.grid_row, p.grid_column) for p in inventory.planes} == {
        (1, 0, 1),
        (2, 1, 0),
        (3, 1, 1),
        (4, 1, 2),
    }


MIXED = [
    *(f"TimePoint_1/P_{well}_s1_w{wave}.TIF" for well in ("A01", "A02") for wave in (1, 2, 3)),
    *(
        f"TimePoint_1/ZStep_{z}/P_{well}_s1_w{wave}.TIF"
        for well in ("A01", "A02")
        for wave in (1, 2, 4)
        for z in (1, 2)
    ),
    *(f"TimePoint_2/P_{well}_s1_w1.TIF" for well in ("A01", "A02")),
]


@pytest.mark.parametrize("with_plan", [True, False])
def test_stacks_projections_and_single_planes_in_one_plate(tmp_path, problems, with_plan):
    """Waves 1 and 2 as stack and projection, 3 as one plane, 4 in the stack only, and 1 again later."""
    for name in MIXED:
        image(tmp_path / name)
    if with_plan:
        plan = htd_text(["A01", "A02"], sites=(1, 1), channels=list("abcd"), z=2, timepoints=2)
        (tmp_path / "P.HTD").write_text(plan)
    for name in ("TimePoint_1/P_A02_s1_w3.TIF", "TimePoint_1/ZStep_2/P_A01_s1_w4.TIF"):
        (tmp_path / name).unlink()
    inventory = open_plate(tmp_path)
    kinds = {plane[2:5] for plane in inventory.planes}
    stack = {(wave, z, 1) for wave in (1, 2, 4) for z in (1, 2)}
    assert kinds == stack | {(1, 0, 1), (2, 0, 1), (3, 0, 1), (1, 0, 2)}
    assert inventory.missing == (("A01", 1, 4, 2, 1), ("A02", 1, 3, 0, 1))
    promised = ["c2 t2", "c3 t2", "c4 t2"] if with_plan else []
    assert set(problems(inventory, "missing")) == {"A01 s1 c4 z2 t1", "A02 c3", *promised}
    assert inventory.disagreements == ()


def test_a_well_without_any_file_is_not_refused_but_reported(tiny_plate, problems):
    plate = tiny_plate()
    for path in plate.rglob("*_B03_*"):
        path.unlink()
    inventory = open_plate(plate)
    assert inventory.missing == ()
    assert problems(inventory, "missing") == ["B03"]


def test_a_channel_without_stack_is_not_missed_in_it(tmp_path, problems):
    for well in ("A01", "A02"):
        image(tmp_path / "p" / f"x_{well}_w1.tif")
        for step in (1, 2):
            image(tmp_path / "p" / f"ZStep_{step}" / f"x_{well}_w2.tif")
    (tmp_path / "p" / "ZStep_2" / "x_A02_w2.tif").unlink()
    inventory = open_plate(tmp_path / "p")
    assert {(plane.channel, plane.z_index) for plane in inventory.planes} == {(1, 0), (2, 1), (2, 2)}
    assert problems(inventory, "missing") == ["A02 s1 c2 z2 t1"]


def test_empty_files_stay_planes_and_are_reported(tiny_plate, problems):
    plate = tiny_plate()
    for name in ("P1_B02_s1_w1.TIF", "P1_B02_s1_w2.TIF"):
        (plate / "TimePoint_1" / name).write_bytes(b"")
    inventory = open_plate(plate)
    assert len(inventory.planes) == 8
    assert problems(inventory, "zero-byte") == [
        "TimePoint_1/P1_B02_s1_w1.TIF",
        "TimePoint_1/P1_B02_s1_w2.TIF",
    ]
    lost = inventory.planes[0]
    assert (lost.size, lost.height, lost.dtype) == (0, 16, "uint16")
    assert np.isnan(lost.x_um)


def test_damaged_files_stay_planes_and_their_site_is_known_from_another(tiny_plate, problems):
    plate = tiny_plate()
    (plate / "TimePoint_1" / "P1_B02_s1_w1.TIF").write_bytes(b"II*\0 damaged")
    inventory = open_plate(plate)
    assert problems(inventory, "unreadable") == ["TimePoint_1/P1_B02_s1_w1.TIF"]
    assert len(inventory.planes) == 8
    assert not np.isnan(inventory.planes[0].x_um)


def test_a_second_file_of_a_plane_is_a_duplicate(tiny_plate, problems):
    plate = tiny_plate()
    image(plate / "TimePoint_1" / "again" / "P1_B02_s1_w1.tif")
    inventory = open_plate(plate)
    assert problems(inventory, "duplicate") == ["TimePoint_1/again/P1_B02_s1_w1.tif"]
    assert inventory.planes[0].path == "TimePoint_1/P1_B02_s1_w1.TIF"


def test_foreign_thumbnail_and_hidden_files(tiny_plate, problems):
    plate = tiny_plate()
    image(plate / "overview.tif")
    image(plate / "TimePoint_1" / "P1_B02_s1_w1_thumb.TIF")
    image(plate / "TimePoint_1" / "._P1_B02_s1_w1.TIF")
    image(plate / "ShadingCorrection_w1.tif")
    (plate / "notes.txt").write_text("x")
    (plate / "Thumbs.db").write_bytes(b"x")
    (plate / "P1_B02_s1.stk").write_bytes(b"x")
    inventory = open_plate(plate)
    assert len(inventory.planes) == 8
    assert problems(inventory, "unparsed") == ["ShadingCorrection_w1.tif", "overview.tif", "P1_B02_s1.stk"]
    assert len(problems(inventory, "excluded")) == 2
    assert inventory.metadata["sidecar_files"] == "4"


def test_flat_plates_with_dates_spaces_and_1536_wells(tmp_path):
    for well in ("AA01", "AF48"):
        image(tmp_path / "2023-02-21" / "1334" / f"my plate_{well}_w2_s3.tiff")
    inventory = open_plate(tmp_path)
    assert inventory.wells == ("AA01", "AF48")
    assert inventory.planes[0][:5] == ("AA01", 3, 2, 1, 1)
    assert (inventory.rows, inventory.columns) == (32, 48)


def test_a_refused_plan_does_not_stop_the_plate(tiny_plate, problems):
    plate = tiny_plate()
    with (plate / "P1.HTD").open("wb") as file:
        file.truncate(1_000_000_000)
    inventory = open_plate(plate)
    assert problems(inventory, "unreadable") == ["P1.HTD"]
    assert inventory.channels == {1: "DAPI", 2: "GFP"}
    assert inventory.grid_dimensions == (1, 2)


@pytest.mark.parametrize("sites", [(1, 1), (2, 2), (3, 2), (1, 4)])
def test_grid_from_jittered_stage_positions(tiny_plate, sites):
    plate = tiny_plate(sites=sites, shape=(64, 64), jitter_px=3)
    (plate / "P1.HTD").unlink()
    assert open_plate(plate).grid_dimensions == sites


def test_changed_binning_in_one_site_is_noticed(tiny_plate):
    plate = tiny_plate(wells=["B02", "B03", "B04"])
    for wave in (1, 2):
        image(plate / "TimePoint_1" / f"P1_B03_s1_w{wave}.TIF", shape=(8, 8), pixel_size_um=1.3)
    inventory = open_plate(plate)
    odd = {(p.well, p.site, p.channel) for p in inventory.planes if p.height == 8}
    assert odd == {("B03", 1, 1), ("B03", 1, 2)}
    assert sum("B03 s1" in sentence for sentence in inventory.disagreements) == 2


def test_few_headers_are_opened(tiny_plate, opened_headers):
    plate = tiny_plate(wells=["B02", "B03"], sites=(2, 2), z=3, timepoints=2)
    inventory = open_plate(plate)
    assert len(inventory.planes) == 2 * 4 * 2 * 3 * 2
    # 8 sites, the second channel, two more z planes and one more timepoint.
    assert len(opened_headers) == 8 + 1 + 2 + 1
    assert inventory.metadata["headers_opened"] == "12"
    assert inventory.metadata["z_step_um"] == "3"
    assert inventory.metadata["time_interval_s"] == "30"


def test_a_slow_disk_is_read_in_parallel_with_the_same_result(tiny_plate, monkeypatch):
    plate = tiny_plate(wells=["B02", "B03", "B04"], sites=(2, 2))
    (plate / "TimePoint_1" / "P1_B04_s4_w1.TIF").write_bytes(b"damaged")
    one_by_one = open_plate(plate)
    monkeypatch.setattr(headers, "SLOW_S", 0.0)
    assert repr(open_plate(plate)) == repr(one_by_one)


def test_names_and_pixel_size_from_the_config_win(tiny_plate):
    inventory = open_plate(tiny_plate(), channels={2: "actin"}, pixel_size_um=0.5)
    assert inventory.channels == {1: "DAPI", 2: "actin"}
    assert (inventory.pixel_size_um, inventory.pixel_size_source) == (0.5, "config")
    assert {plane.pixel_size_um for plane in inventory.planes} == {0.5}
    assert "0.5 um per pixel" in inventory.disagreements[0]


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"channels": {3: "x"}}, "channel 3"),
        ({"channels": {"DAPI": "x"}}, "entry 'DAPI'"),
        ({"channels": {1: "x", 2: "x"}}, "more than one channel"),
        ({"pixel_size_um": 0}, "pixel_size_um is 0"),
        ({"format": "imagexpres"}, "Did you mean 'imagexpress'?"),
        ({"format": "pattern"}, "needs a `pattern`"),
        ({"format": "imagexpress", "pattern": "(?P<well>.*)"}, "Both"),
    ],
)
def test_options_that_do_not_fit(tiny_plate, options, part):
    with pytest.raises(ConfigError) as caught:
        open_plate(tiny_plate(), **options)
    assert part in str(caught.value)


def test_a_new_name_that_another_channel_has_makes_that_one_unique(tiny_plate):
    assert open_plate(tiny_plate(), channels={1: "GFP"}).channels == {1: "GFP", 2: "GFP_w2"}


def test_a_stated_format_without_planes(tmp_path):
    image(tmp_path / "x.tif")
    with pytest.raises(PlateError, match="No file"):
        open_plate(tmp_path, format="imagexpress")


def test_a_copied_plate_reads_the_same(tiny_plate, tmp_path):
    plate = tiny_plate()
    shutil.copytree(plate, tmp_path / "copy" / "P1")
    first, second = open_plate(plate), open_plate(tmp_path / "copy" / "P1")
    assert first.planes == second.planes
    assert first.digest == second.digest
