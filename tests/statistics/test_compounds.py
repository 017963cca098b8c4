"""All curves of a plate: who is the dose 0, units, and rows of the table; on a real plate."""

import csv
import math

import numpy as np
import pytest
import tifffile

from hcs_steps.functions.measuring.translocation import measure_translocation
from hcs_steps.functions.segmentation.nuclei import segment_nuclei
from hcs_steps.statistics import control_statistics, fit_plate, logistic, molar

SERIES = np.repeat([1.0, 3, 10, 30, 100, 300], 2)


def plate(second_unit="nM", second_factor=1.0):
    """Compound B (EC50 20) and A (EC50 5, falling) at six doses, four controls and one well of nothing."""
    compound = ["B"] * 12 + ["A"] * 12 + ["DMSO"] * 4 + [None]
    dose = np.concatenate([SERIES, SERIES, np.full(4, 0.1), [np.nan]])
    up = np.concatenate([logistic(SERIES, 1, 2, 20, 2), np.full(12, 1.0), np.ones(4), [9.0]])
    down = np.concatenate([np.full(12, 6.0), logistic(SERIES, 2, 6, 5, -1.5), np.full(4, 6.0), [9.0]])
    negative = np.array([name == "DMSO" for name in compound])
    unit = ["nM"] * 12 + ["nM", "nM", second_unit] * 4 + ["%"] * 4 + [""]
    dose[14:24:3] *= second_factor
    return compound, dose, unit, np.column_stack([up, down]), ["Up", "Down"], negative


def test_every_compound_has_a_row_per_feature_and_the_controls_as_dose_0():
    table = fit_plate(*plate())
    assert list(table) == [
        *("compound", "feature", "unit", "n_wells", "n_doses", "ec50", "ec50_low", "ec50_high"),
        *("hill", "hill_low", "hill_high", "bottom", "top", "r2", "status", "message"),
    ]
    rows = list(zip(table["compound"], table["feature"], table["status"], strict=True))
    assert rows == [("A", "Up", "flat"), ("A", "Down", "ok"), ("B", "Up", "ok"), ("B", "Down", "flat")]
    assert table["n_wells"].tolist() == [16] * 4
    assert table["n_doses"].tolist() == [6] * 4
    assert table["ec50"][[1, 2]] == pytest.approx([5, 20], rel=1e-3)
    assert table["hill"][[1, 2]] == pytest.approx([-1.5, 2], rel=1e-2)
    assert set(table["unit"]) == {"nM"}


@pytest.mark.parametrize(
    ("unit", "factor"), [("uM", 1e-3), ("µM", 1e-3), ("μM", 1e-3), ("pM", 1e3), ("mM", 1e-6)]
)
def test_doses_in_several_molar_units_are_converted(unit, factor):
    table = fit_plate(*plate(unit, factor))
    assert table["unit"][1] == "nM"
    assert table["n_doses"][1] == 6
    assert table["ec50"][1] == pytest.approx(5, rel=1e-3)


def test_units_that_cannot_be_converted_are_told():
    table = fit_plate(*plate("ug/ml"))
    assert table["status"].tolist() == ["failed", "failed", "ok", "flat"]
    assert table["message"][0].endswith("cannot be converted into each other: 'nM', 'ug/ml'.")
    assert math.isnan(table["ec50"][0])


def test_a_compound_of_a_single_dose_has_no_row():
    compound, dose, unit, values, features, negative = plate()
    dose[:12] = 10
    assert set(fit_plate(compound, dose, unit, values, features, negative)["compound"]) == {"A"}


def test_a_plate_without_compounds_gives_a_table_without_rows():
    table = fit_plate([None, ""], [1.0, 2.0], "nM", np.ones((2, 1)), ["F"], np.zeros(2, dtype=bool))
    assert {len(column) for column in table.values()} == {0}
    assert table["ec50"].dtype == np.float64


def test_units_of_concentration_are_known():
    assert [molar(unit) for unit in ("M", "mM", "uM", "nM", " pM ", "fM")] == [
        1,
        1e-3,
        1e-6,
        1e-9,
        1e-12,
        1e-15,
    ]
    assert math.isnan(molar("mg/ml"))


def test_columns_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="compound must be one for each of 2 wells"):
        fit_plate(["A"], [1.0, 2.0], "nM", np.ones((2, 1)), ["F"], np.zeros(2, dtype=bool))
    with pytest.raises(ValueError, match="concentration"):
        fit_plate(["A", "A"], [1.0], "nM", np.ones((2, 1)), ["F"], np.zeros(2, dtype=bool))


@pytest.fixture(scope="module")
def translocation(real_data):
    """The plate map's columns and the median log2 ratio of each well, of the first row of each compound."""
    folder = real_data("bbbc013_fkhr_translocation")
    with (folder / "truth_platemap.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["row"] in "AE"]
    ratios = []
    for row in rows:
        name = f"{int(row['image_number']):02}-{row['row']}-{row['column']}.tif"
        gfp, dna = (tifffile.imread(folder / "images" / f"Channel{n}-{name}")[None] for n in (1, 2))
        _, nuclei = segment_nuclei(dna)
        _, table = measure_translocation(gfp, nuclei)
        ratios.append(float(np.nanmedian(table["Translocation_Log2Ratio"])))
    columns = {name: np.array([row[name] for row in rows], dtype=object) for name in rows[0]}
    return columns, np.array(ratios)[:, None]


def test_a_real_translocation_assay_has_its_known_ec50s_and_z_prime(translocation):
    columns, ratios = translocation
    negative, positive = (columns["control"] == kind for kind in ("negative", "positive"))
    dose = np.array([float(text or "nan") for text in columns["dose"]])
    curves = fit_plate(columns["compound"], dose, columns["unit"], ratios, ["Log2Ratio"], negative)
    assert curves["compound"].tolist() == ["LY294002", "Wortmannin"]
    assert curves["unit"].tolist() == ["uM", "nM"]
    assert curves["status"].tolist() == ["ok", "ok"]
    for index, known in enumerate((3.2, 9.4)):
        assert known / 1.5 <= curves["ec50"][index] <= known * 1.5
        assert curves["ec50_low"][index] < curves["ec50"][index] < curves["ec50_high"][index]
    assert (curves["r2"] > 0.98).all()
    controls = control_statistics(ratios, ["Log2Ratio"], negative, positive)
    assert 0.7 < controls["z_prime"][0] < 0.95
