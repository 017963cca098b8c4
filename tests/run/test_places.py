"""Where planes lie, and what functions are told of it."""

from __future__ import annotations

import math

from hcs_steps.functions.declare import PLANE_COLUMNS
from hcs_steps.plate.inventory import Plane
from hcs_steps.run.places import Place, grid_of_sites, place_of, place_row, plane_table, raw_places
from hcs_steps.storage.protocol import PlaneKey

CHANNELS = {1: "DAPI", 2: "GFP"}


def rows(table, *names):
    return list(zip(*(table[name].tolist() for name in names), strict=True))


def test_the_plane_table_has_a_row_per_plane_with_what_is_known():
    keys = (PlaneKey(1, 2, 3, 4), PlaneKey(2, 9, 3, 4))
    plane = Plane("A01", 1, 2, 3, 4, "x.tif", pixel_size_um=0.65, x_um=10.0, y_um=20.0, time_s=7.0)
    table = plane_table("A01", keys, raw_places(keys, {keys[0]: plane}), CHANNELS)
    assert tuple(table) == PLANE_COLUMNS
    assert rows(table, "well", "site", "channel", "channel_name", "z_index", "timepoint") == [
        ("A01", 1, 2, "GFP", 3, 4),
        ("A01", 2, 9, "9", 3, 4),
    ]
    assert (table["x_um"][0], table["time_s"][0]) == (10.0, 7.0)
    assert all(math.isnan(table[name][1]) for name in ("x_um", "y_um", "z_um", "time_s", "pixel_size_um"))


def test_a_blank_plane_lies_where_the_others_of_its_site_do():
    there = Plane("A01", 1, 2, 1, 1, "x.tif", x_um=10.0, y_um=20.0, z_um=3.0, grid_row=1, grid_column=2)
    keys = [PlaneKey(1, 1, 1, 1), PlaneKey(1, 2, 1, 1)]
    places = raw_places(keys, {keys[1]: there})
    table = plane_table("A01", keys, places, CHANNELS)
    assert table["x_um"].tolist() == [10.0, 10.0]
    assert table["grid_column"].tolist() == [2, 2]
    assert math.isnan(table["z_um"][0])
    assert table["z_um"][1] == 3.0
    assert grid_of_sites(keys, places) == (2, 3)


def test_a_record_gives_back_the_place_that_it_keeps():
    key = PlaneKey(1, 2, 1, 1)
    raw = {key: Place(1.0, 2.0, math.nan, 0.65, -1, -1, time_s=7.0)}
    place = Place(3.0, math.nan, 5.0, 1.3, 0, 1, 2.0, time_s=7.0)
    row = place_row(key, place)
    assert row == [1, 2, 1, 1, 3.0, None, 5.0, 1.3, 0, 1, 2.0]
    found, read = place_of(row, raw)
    assert found == key
    assert math.isnan(read.y_um)
    assert read._replace(y_um=0.0) == place._replace(y_um=0.0)
