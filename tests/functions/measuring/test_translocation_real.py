"""The dose-response of a real translocation assay, with default parameters."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import tifffile
from scipy.optimize import curve_fit

from hcs_steps.functions.measuring.translocation import measure_translocation
from hcs_steps.functions.segmentation.nuclei import segment_nuclei


@pytest.fixture(scope="module")
def wells(real_data):
    """The plate map's rows, each with the median log2 ratio of its well."""
    folder = real_data("bbbc013_fkhr_translocation")
    with (folder / "truth_platemap.csv").open() as table:
        rows = list(csv.DictReader(table))
    for row in rows:
        name = f"{int(row['image_number']):02}-{row['row']}-{row['column']}.tif"
        gfp, dna = (tifffile.imread(folder / "images" / f"Channel{n}-{name}")[None] for n in (1, 2))
        _, nuclei = segment_nuclei(dna)
        _, table = measure_translocation(gfp, nuclei)
        row["nuclei"] = len(table["label"])
        row["log2 ratio"] = float(np.nanmedian(table["Translocation_Log2Ratio"]))
    return rows


def _logistic(log_dose, bottom, top, log_ec50, slope):
    return bottom + (top - bottom) / (1 + np.exp(-slope * (log_dose - log_ec50)))


def _ec50(wells, compound):
    treated = [well for well in wells if well["compound"] == compound and not well["control"]]
    log_dose = np.log([float(well["dose"]) for well in treated])
    response = np.array([well["log2 ratio"] for well in treated])
    start = [response.min(), response.max(), np.median(log_dose), 2.0]
    fitted, _ = curve_fit(_logistic, log_dose, response, start, maxfev=20_000)
    return np.exp(fitted[2])


def test_the_controls_are_far_apart(wells):
    negative, positive = (
        np.array([well["log2 ratio"] for well in wells if well["control"] == control])
        for control in ("negative", "positive")
    )
    assert (len(negative), len(positive)) == (8, 4)
    assert positive.min() > negative.max()
    spread = negative.std(ddof=1) + positive.std(ddof=1)
    assert 1 - 3 * spread / (positive.mean() - negative.mean()) >= 0.75


@pytest.mark.parametrize(("compound", "published"), [("Wortmannin", 9.4), ("LY294002", 3.2)])
def test_the_half_maximal_dose_agrees_with_the_reference(wells, compound, published):
    assert published / 1.5 <= _ec50(wells, compound) <= published * 1.5
