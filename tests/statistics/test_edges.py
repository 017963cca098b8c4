"""Edge effects: tests against SciPy's, known patterns, and which wells show them."""

import math

import numpy as np
import pytest
from scipy import stats

from hcs_steps.errors import PlateError
from hcs_steps.plate.wells import well_name
from hcs_steps.statistics import edge_effects, plate_medians, wells_for_edges

WELLS_96 = [well_name(row, column) for row in range(8) for column in range(12)]
ROW = np.array([row for row in range(8) for _ in range(12)])
COLUMN = np.array([column for _ in range(8) for column in range(12)])
EDGE = (ROW == 0) | (ROW == 7) | (COLUMN == 0) | (COLUMN == 11)


def values_with_ties_and_gaps(features=12):
    rng = np.random.default_rng(2)
    values = rng.normal(size=(96, features)).round(1)  # ties
    values[rng.random(values.shape) < 0.1] = np.nan
    return values, [f"F{index}" for index in range(features)]


def test_p_values_are_those_of_scipy_with_ties_and_missing_wells():
    values, names = values_with_ties_and_gaps()
    table = edge_effects(values, names, WELLS_96)
    for index, column in enumerate(values.T):
        there = np.isfinite(column)
        sides = column[there & EDGE], column[there & ~EDGE]
        expected = stats.mannwhitneyu(*sides, method="asymptotic").pvalue
        assert table["p_edge"][index] == pytest.approx(expected, rel=1e-9)
        for name, line in (("p_rows", ROW), ("p_columns", COLUMN)):
            groups = [column[there & (line == number)] for number in np.unique(line)]
            assert table[name][index] == pytest.approx(stats.kruskal(*groups).pvalue, rel=1e-9)
        assert (table["n_edge"][index], table["n_inner"][index]) == tuple(map(len, sides))
        spread = stats.median_abs_deviation(sides[1], scale=1 / 1.4826)
        expected = (np.median(sides[0]) - np.median(sides[1])) / spread
        assert table["edge_difference"][index] == pytest.approx(expected)


def test_medians_are_those_of_each_line():
    values, names = values_with_ties_and_gaps(3)
    table = plate_medians(values, names, WELLS_96)
    assert list(table) == ["feature", "kind", "name", "n", "median"]
    assert len(table["n"]) == 3 * (8 + 12 + 2)
    for feature, kind, name, n, median in zip(*table.values(), strict=True):
        mask = {
            "row": lambda name: ord(name) - ord("A") == ROW,
            "column": lambda name: int(name) - 1 == COLUMN,
            "edge": lambda name: (name == "edge") == EDGE,
        }[kind](name)
        expected = values[mask, names.index(feature)]
        assert n == np.isfinite(expected).sum()
        assert median == np.nanmedian(expected)
    assert table["name"][:22].tolist() == [*"ABCDEFGH", *(f"{n:02}" for n in range(1, 13)), "edge", "inner"]


def test_a_bright_edge_a_row_and_a_column_are_found():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(96, 4))
    values[EDGE, 1] += 3
    values[ROW == 4, 2] -= 3
    values[COLUMN == 6, 3] += 3
    table = edge_effects(values, ["none", "edge", "row", "column"], WELLS_96)
    assert table["p_edge"][1] < 1e-8
    assert table["edge_difference"][1] == pytest.approx(3, abs=0.7)
    assert table["p_rows"][2] < 1e-3
    assert table["strongest_row"][2] == "E"
    assert table["p_columns"][3] < 1e-2
    assert table["strongest_column"][3] == "07"
    assert min(table[name][0] for name in ("p_edge", "p_rows", "p_columns")) > 0.01


def test_the_edge_is_that_of_the_plate_not_of_the_measured_wells():
    inner = [well for well, edge in zip(WELLS_96, EDGE, strict=True) if not edge]
    table = edge_effects(np.arange(60.0)[:, None], ["A"], inner)
    assert table["n_edge"][0] == 0
    assert math.isnan(table["p_edge"][0])
    small = edge_effects(np.arange(60.0)[:, None], ["A"], inner, dimensions=(7, 11))
    assert small["n_edge"][0] == 6 + 10 - 1


def test_what_cannot_be_compared_is_nan_and_names_no_line():
    values = np.column_stack([np.ones(96), np.full(96, np.nan)])
    table = edge_effects(values, ["equal", "missing"], WELLS_96)
    for name in ("edge_difference", "p_edge", "p_rows", "p_columns"):
        assert np.isnan(table[name]).all()
    assert table["strongest_row"].tolist() == table["strongest_column"].tolist() == ["", ""]
    one_per_row = edge_effects(np.arange(8.0)[:, None], ["A"], WELLS_96[5::12])
    assert math.isnan(one_per_row["p_rows"][0])
    nothing = edge_effects(np.empty((0, 1)), ["A"], [])
    assert nothing["n_edge"].tolist() == [0]
    assert plate_medians(np.empty((0, 1)), ["A"], [])["name"].tolist() == ["edge", "inner"]


def test_wells_left_out_count_nowhere():
    values, names = values_with_ties_and_gaps(2)
    used = ROW < 4
    few = edge_effects(values, names, WELLS_96, used)
    assert (few["n_edge"] + few["n_inner"]).tolist() == np.isfinite(values[used]).sum(axis=0).tolist()
    assert "E" not in plate_medians(values, names, WELLS_96, used)["name"]


def test_negative_controls_show_the_pattern_if_they_are_spread_over_the_plate():
    none = np.zeros(96, dtype=bool)
    positive = COLUMN == 11
    scattered = (ROW + 3 * COLUMN) % 8 == 0
    in_one_column = COLUMN == 0
    assert (wells_for_edges(WELLS_96, scattered, none) == scattered).all()
    assert (wells_for_edges(WELLS_96, in_one_column, positive) == ~positive).all()
    inside_only = scattered & ~EDGE
    assert (wells_for_edges(WELLS_96, inside_only, positive) == ~positive).all()
    assert wells_for_edges(WELLS_96, none, none).all()


def test_wells_that_are_none_and_shapes_that_do_not_fit_are_told():
    with pytest.raises(PlateError, match="not a well name"):
        edge_effects(np.ones((1, 1)), ["A"], ["well 1"])
    with pytest.raises(ValueError, match="outside a plate of 8 x 12"):
        edge_effects(np.ones((1, 1)), ["A"], ["P24"], dimensions=(8, 12))
    with pytest.raises(ValueError, match="2 names of wells"):
        edge_effects(np.ones((1, 1)), ["A"], ["A01", "A02"])
