"""Segmentation of real nuclei against hand-made and reference labels, with one default parameter set."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import tifffile

from hcs_steps.functions.segmentation.nuclei import segment_nuclei


def match(truth, found, iou=0.5):
    """Numbers of true positives, false positives and false negatives at an intersection over union above ``iou``.

    Above 0.5 an object has at most one partner, so that no assignment is needed.
    """
    count = int(found.max()) + 1
    pairs = truth.astype(np.int64) * count + found.astype(np.int64)
    shared = np.bincount(pairs.ravel(), minlength=(int(truth.max()) + 1) * count).reshape(-1, count)
    sizes, others = shared.sum(axis=1)[1:, None], shared.sum(axis=0)[None, 1:]
    union = np.maximum(sizes + others - shared[1:, 1:], 1)
    hits = int(np.count_nonzero(shared[1:, 1:] > iou * union))
    return np.array([hits, np.count_nonzero(others) - hits, np.count_nonzero(sizes) - hits])


def f1(counts):
    return 2 * counts[0] / (2 * counts[0] + counts[1] + counts[2])


def _segment(image, **parameters):
    return segment_nuclei(image[None], **parameters)[1][0]


def test_the_score_counts_what_it_should():
    truth = np.zeros((20, 20), int)
    truth[2:8, 2:8], truth[10:16, 2:8], truth[2:8, 12:18] = 1, 2, 5
    found = np.zeros_like(truth)
    found[2:8, 2:7], found[10:16, 6:12] = 3, 1
    assert match(truth, found).tolist() == [1, 1, 2]
    assert f1(match(truth, truth)) == 1
    assert match(truth, 0 * found).tolist() == [0, 0, 3]


def test_hand_annotated_nuclei_dsb2018(real_data):
    folder = real_data("nuclei_dsb2018_masks")
    names = sorted(path.name for path in (folder / "images").glob("*.tif"))
    scores = np.array(
        [
            match(
                tifffile.imread(folder / "truth_labels" / name),
                _segment(tifffile.imread(folder / "images" / name)),
            )
            for name in names
        ]
    )
    assert len(names) == 24
    assert f1(scores.sum(axis=0)) >= 0.915
    truth = scores[:, 0] + scores[:, 2]
    assert np.mean(np.abs(scores[:, 1] - scores[:, 2]) / truth) <= 0.06


def test_mitotic_and_polylobed_nuclei_mitocheck(real_data):
    folder = real_data("nuclei_mitocheck_labels")
    image, truth = (
        tifffile.imread(folder / f"xy_8bit__mitocheck_incenp_t1{end}.tif") for end in ("", "_labels")
    )
    assert f1(match(truth, _segment(image))) == 1
    image, truth = (
        tifffile.imread(folder / f"xy_8bit__mitocheck_incenp_t70{end}.tif") for end in ("", "_labels")
    )
    # The lobes of a nucleus are one object here, down to its dimmest lobe.
    whole = _segment(image, declump_method="none", threshold_correction=0.5)
    assert f1(match(truth, whole)) == 1


def test_cellprofiler_counts_cytation(real_data):
    folder = real_data("cytation_nf1_cellpainting")
    with (folder / "truth_counts.csv").open() as table:
        truth = {row["well"]: int(row["cellprofiler_nuclei_in_image"]) for row in csv.DictReader(table)}
    for well, wanted in truth.items():
        (path,) = (folder / "images").glob(f"{well}_*_DAPI_*.tif")
        found = _segment(tifffile.imread(path), remove_border=True)
        assert abs(int(found.max()) - wanted) <= 2
        mask = tifffile.imread(next((folder / "truth_masks").glob(f"{well}_*_MaskNuclei.tiff"))) > 0
        assert np.count_nonzero(mask & (found > 0)) >= 0.85 * np.count_nonzero(mask)


def test_noisy_nuclei_with_dark_nucleoli_gowt1(real_data):
    paths = sorted((real_data("timelapse_gowt1_tracking") / "01").glob("*.tif"))[::7]
    found = [int(_segment(tifffile.imread(path)).max()) for path in paths]
    assert np.abs(np.array(found) - 23.5).max() <= 4
    assert np.mean(found) == pytest.approx(23.5, abs=2)


def test_confluent_cardiomyocytes(real_data):
    zarr = pytest.importorskip("zarr")
    (plate,) = real_data("omezarr_cardiomyocyte_plate").glob("*.zarr")
    image = np.asarray(zarr.open_array(plate / "B" / "03" / "0" / "0", mode="r")[0, 0])
    truth = np.asarray(zarr.open_array(plate / "B" / "03" / "0" / "labels" / "nuclei" / "0", mode="r")[0])
    found = _segment(image)
    assert int(found.max()) == pytest.approx(3006, rel=0.06)
    assert f1(match(truth, found)) >= 0.84
