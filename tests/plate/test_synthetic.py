from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from hcs_steps.plate import open_plate
from hcs_steps.plate.synthetic import make_plate


def test_the_reader_finds_what_was_made(tmp_path):
    truth = make_plate(tmp_path / "P", wells=["A01", "P24"], sites=(2, 3), z=3, timepoints=2, shape=(24, 32))
    inventory = open_plate(tmp_path / "P")
    assert inventory.problems == inventory.disagreements == ()
    assert inventory.wells == tuple(truth["wells"])
    assert inventory.channels == {1: "DAPI", 2: "GFP"}
    assert inventory.grid_dimensions == (2, 3)
    assert (inventory.rows, inventory.columns) == (16, 24)
    assert len(inventory.planes) == 2 * 6 * 2 * 3 * 2
    for plane in inventory.planes:
        position = truth["wells"][plane.well]["sites"][str(plane.site)]["position_um"]
        assert [plane.x_um, plane.y_um] == position
        assert (plane.height, plane.width, plane.dtype) == (24, 32, "uint16")
    assert json.loads(json.dumps(truth)) == truth


def test_the_same_seed_gives_the_same_bytes(tmp_path, fingerprint):
    def contents(folder, **options):
        make_plate(tmp_path / folder / "P", shape=(16, 16), **options)
        state = fingerprint(tmp_path / folder / "P")
        return {name: content for name, (_, _, content) in state.items() if name.endswith(".TIF")}

    first = contents("a", wells=["A01"], seed=3)
    assert contents("b", wells=["A01"], seed=3) == first
    assert contents("c", wells=["A01"], seed=4) != first
    # A well does not depend on its neighbours.
    assert first.items() <= contents("d", wells=["A01", "A02"], seed=3).items()


def test_tiles_overlap_as_the_truth_says(tmp_path):
    truth = make_plate(
        tmp_path / "P", wells=["A01"], sites=(1, 2), shape=(96, 96), jitter_px=4, overlap=0.3, vignetting=0.0
    )
    left, right = (
        tifffile.imread(tmp_path / "P" / "TimePoint_1" / f"P_A01_s{s}_w1.TIF").astype(float) for s in (1, 2)
    )
    sites = truth["wells"]["A01"]["sites"]
    (y1, x1), (y2, x2) = sites["1"]["offset_px"], sites["2"]["offset_px"]
    dy, dx = y2 - y1, x2 - x1
    rows = slice(max(0, dy), 96 + min(0, dy))
    shared_left = left[rows, dx:]
    shared_right = right[rows.start - dy : rows.stop - dy, : 96 - dx]
    assert np.corrcoef(shared_left.ravel(), shared_right.ravel())[0, 1] > 0.9


def test_nuclei_are_where_the_truth_says(tmp_path):
    from scipy import ndimage

    truth = make_plate(tmp_path / "P", wells=["C05"], sites=(1, 1), shape=(200, 200), cells_per_well=12)
    pixels = tifffile.imread(tmp_path / "P" / "TimePoint_1" / "P_C05_s1_w1.TIF")
    bright = ndimage.gaussian_filter(pixels.astype(float), 1) > 350
    well = truth["wells"]["C05"]
    assert well["cells"] == 12
    y0, x0 = well["sites"]["1"]["offset_px"]
    inside = [(y - y0, x - x0) for y, x in well["nuclei"][0] if 2 < y - y0 < 197 and 2 < x - x0 < 197]
    assert all(bright[round(y), round(x)] for y, x in inside)
    assert abs(ndimage.label(bright)[1] - well["sites"]["1"]["count"][0]) <= 2


def test_cells_per_well_can_differ_and_one_well_can_be_broken(tmp_path):
    truth = make_plate(
        tmp_path / "P",
        wells=["A01", "A02"],
        shape=(32, 32),
        cells_per_well={"A01": 3, "A02": 9},
        broken_well="a2",
    )
    assert [truth["wells"][well]["cells"] for well in ("A01", "A02")] == [3, 9]
    assert truth["broken"] == "TimePoint_1/P_A02_s1_w1.TIF"
    with pytest.raises(Exception, match=r".+"):
        tifffile.imread(tmp_path / "P" / truth["broken"])
    assert len(open_plate(tmp_path / "P").planes) == 2 * 4 * 2


def test_jitter_is_bounded(tmp_path):
    with pytest.raises(ValueError, match="jitter_px"):
        make_plate(tmp_path / "P", wells=["A01"], shape=(16, 16), jitter_px=99)
