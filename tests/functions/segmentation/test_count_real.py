"""One default parameter set on real nuclei of several microscopes, magnifications and densities."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import tifffile

from hcs_steps.functions.segmentation.count import count_cells_single_channel


def _counts(images):
    return [int(count_cells_single_channel(image[None])[2].max()) for image in images]


def test_hand_annotated_nuclei_dsb2018(real_data):
    folder = real_data("nuclei_dsb2018_masks")
    with (folder / "truth_counts.csv").open() as table:
        truth = {row["file"]: int(row["nuclei"]) for row in csv.DictReader(table)}
    found = _counts(tifffile.imread(folder / "images" / f"{name}.tif") for name in truth)
    wanted = np.array(list(truth.values()))
    assert np.mean(np.abs(np.array(found) - wanted) / wanted) <= 0.06


def test_dense_wells_bbbc013(real_data):
    folder = real_data("bbbc013_fkhr_translocation") / "images"
    paths = sorted(folder.glob("Channel2-*.tif"))
    found = _counts(tifffile.imread(path) for path in paths)
    assert len(found) == 48
    assert sum(found) == pytest.approx(9298, rel=0.15)
    assert np.median(found) == pytest.approx(200, rel=0.2)


def test_two_wells_at_low_magnification(real_data):
    folder = real_data("imagexpress_export_zstack") / "9987_Plate_3433" / "TimePoint_1" / "ZStep_2"
    wanted = {"B02": (15, 30), "B03": (54, 73)}
    for well, sites in wanted.items():
        found = _counts(tifffile.imread(folder / f"9987_{well}_s{site}_w1.TIF") for site in (1, 2))
        assert sum(found) == pytest.approx(sum(sites), rel=0.15)
        assert np.abs(np.array(found) - sites).max() <= 9


def test_nuclei_of_a_time_lapse(real_data):
    folder = real_data("nuclei_mitocheck_labels")
    assert _counts([tifffile.imread(folder / "xy_8bit__mitocheck_incenp_t1.tif")]) == [7]
