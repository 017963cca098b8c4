"""Grids from stage positions that are jittered, turned, irregular, incomplete and in any order."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcs_steps.errors import ConfigError
from hcs_steps.plate import SiteGrid
from hcs_steps.plate.sites import cells_from_positions, grid_dimensions

PITCH = (231.0, 172.0)


def positions(cells, well="A01", jitter=0.0, shear=0.0, origin=(5000.0, -3000.0), seed=0):
    noise = random.Random(seed)
    return {
        (well, site): (
            origin[0] + PITCH[0] * (column + shear * row) + noise.uniform(-jitter, jitter) * PITCH[0],
            origin[1] + PITCH[1] * (row - shear * column) + noise.uniform(-jitter, jitter) * PITCH[1],
        )
        for site, (row, column) in enumerate(cells, 1)
    }


def in_rows(rows, columns):
    return [(row, column) for row in range(rows) for column in range(columns)]


SNAKE = [(0, 0), (0, 1), (0, 2), (1, 2), (1, 1), (1, 0)]
SPIRAL = [(1, 1), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0), (0, 0), (0, 1), (0, 2)]
DOWN = [(row, column) for column in range(5) for row in range(5)]
DISC = [cell for cell in in_rows(5, 5) if cell not in ((0, 0), (0, 4), (4, 0), (4, 4))]


@pytest.mark.parametrize("layout", [SNAKE, SPIRAL, DOWN, DISC, in_rows(1, 4), in_rows(3, 1), in_rows(12, 12)])
@pytest.mark.parametrize("jitter", [0.0, 0.03, 0.08])
def test_sites_in_any_order_find_their_cells(layout, jitter):
    cells = cells_from_positions(positions(layout, jitter=jitter))
    assert [cells["A01", site] for site in range(1, len(layout) + 1)] == layout


@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.floats(-0.02, 0.02),
    st.integers(0, 999),
    st.randoms(use_true_random=False),
)
def test_any_complete_grid_with_shear_and_jitter(rows, columns, shear, seed, order):
    layout = in_rows(rows, columns)
    order.shuffle(layout)
    cells = cells_from_positions(positions(layout, jitter=0.02, shear=shear, seed=seed))
    assert [cells["A01", site] for site in range(1, len(layout) + 1)] == layout


def test_hand_picked_positions_are_no_grid():
    noise = random.Random(1)
    places = {("A01", site): (noise.uniform(0, 3000), noise.uniform(0, 3000)) for site in range(1, 8)}
    assert cells_from_positions(places) == {}
    assert grid_dimensions({}, places) is None


def test_wells_with_other_sites_keep_their_distances():
    places = (
        positions(in_rows(2, 3)) | positions([(0, 0), (0, 2)], well="A02") | positions([(0, 0)], well="A03")
    )
    cells = cells_from_positions(places)
    assert cells["A02", 2] == (0, 2)
    assert cells["A03", 1] == (0, 0)
    assert grid_dimensions(cells, places) == (2, 3)


def test_an_empty_row_stays_empty():
    holes = [cell for cell in in_rows(4, 3) if cell[0] != 1]
    cells = cells_from_positions(positions(in_rows(4, 3)) | positions(holes, well="B01"))
    assert cells["B01", 4] == (2, 0)


def test_two_sites_at_one_place_or_an_unknown_one_leave_a_well_without_grid():
    places = (
        positions(in_rows(2, 2)) | positions(in_rows(2, 2), well="B01") | positions(in_rows(2, 2), well="C01")
    )
    places["A01", 2] = places["A01", 1]
    places["B01", 3] = (math.nan, 0.0)
    assert {well for well, _ in cells_from_positions(places)} == {"C01"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2x3", {1: (0, 0), 2: (0, 1), 3: (0, 2), 4: (1, 0), 5: (1, 1), 6: (1, 2)}),
        ("2x3 by columns", {1: (0, 0), 2: (1, 0), 3: (0, 1), 4: (1, 1), 5: (0, 2), 6: (1, 2)}),
        ("2 x 3 by rows snake", {1: (0, 0), 2: (0, 1), 3: (0, 2), 4: (1, 2), 5: (1, 1), 6: (1, 0)}),
        ({"rows": 2, "columns": 3, "order": "columns", "snake": True},
         {1: (0, 0), 2: (1, 0), 3: (1, 1), 4: (0, 1), 5: (0, 2), 6: (1, 2)}),
    ],
)  # fmt: skip
def test_configured_grids(text, expected):
    assert SiteGrid.from_config(text).cells(range(1, 7)) == expected


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("five", "`grid` is 'five'"),
        ("0x3", "0 x 3 sites is not possible"),
        ({"rows": 2}, "whole numbers"),
        ({"rows": 2, "column": 2}, "Did you mean 'columns'?"),
        ({"rows": 2, "columns": 2, "order": "row"}, "Did you mean 'rows'?"),
    ],
)
def test_impossible_grids(value, part):
    with pytest.raises(ConfigError) as caught:
        SiteGrid.from_config(value)
    assert part in str(caught.value)


def test_more_sites_than_cells():
    with pytest.raises(ConfigError, match="2 x 2 cells, but the plate has 5 sites, numbered 0 to 4"):
        SiteGrid(2, 2).cells(range(5))


def test_a_lost_site_leaves_its_cell_empty():
    assert SiteGrid(3, 3).cells([1, 3, 7, 9]) == {1: (0, 0), 3: (0, 2), 7: (2, 0), 9: (2, 2)}
    assert SiteGrid(2, 2).cells([0, 3]) == {0: (0, 0), 3: (1, 1)}
    assert SiteGrid(2, 2).cells([101, 104]) == {101: (0, 0), 104: (1, 1)}


def test_a_well_that_lost_its_first_row_keeps_the_cells_of_the_others():
    half = {
        place: position for place, position in positions(in_rows(2, 3), well="B01").items() if place[1] > 3
    }
    cells = cells_from_positions(positions(in_rows(2, 3)) | half)
    assert [cells["B01", site] for site in (4, 5, 6)] == [(1, 0), (1, 1), (1, 2)]


def test_a_site_that_is_alone_needs_no_position():
    assert cells_from_positions({("A01", 4): (math.nan, math.nan)}) == {("A01", 4): (0, 0)}


def test_a_well_of_one_site_does_not_speak_for_the_others():
    places = {
        ("A01", 1): (math.nan, math.nan),
        ("A02", 1): (math.nan, math.nan),
        ("A02", 2): (math.nan, math.nan),
    }
    cells = cells_from_positions(places)
    assert cells == {}
    assert grid_dimensions(cells, places) is None
