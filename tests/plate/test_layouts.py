"""What is written in a vendor's layout is read back the same, whatever the plate.

Every layout in `LAYOUTS` is tested with random wells, sites, channels, stacks, times, lost planes and odd
names; a layout is asked only for the facts that its names and metadata can state.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hcs_steps.plate import open_plate, read_plane
from hcs_steps.plate.inventory import NAN, Plane, PlaneKey
from hcs_steps.plate.synthetic import LAYOUTS, SyntheticPlate
from hcs_steps.plate.wells import parse_well, plate_dimensions, sort_wells, well_name

SHAPE = (4, 5)
NAMES = ["DAPI", "GFP", "Cy5", "Hoechst33342", "mCherry"]
ODD_NAMES = ["Cy5 (far red)", "a & b", "<x>", 'say "DAPI"', "ä µ", "w1", "7"]
PLATES = ["P1", "my plate", "Plate_A01_x", "2023-02-21_run", "Plätte µm", "P12-s1_w2"]


def pixels(key: PlaneKey) -> np.ndarray:
    seed = abs(hash(tuple(map(str, key[1:])))) + parse_well(key.well)[0] * 48 + parse_well(key.well)[1]
    return np.random.default_rng(seed % 2**32).integers(1, 60_000, SHAPE, np.uint16)


@st.composite
def plates(draw: st.DrawFn, layout: str) -> SyntheticPlate:
    states = LAYOUTS[layout].states
    rows, columns = draw(st.sampled_from([(8, 12), (16, 24), (32, 48)]))
    places = st.tuples(st.integers(0, rows - 1), st.integers(0, columns - 1))
    wells = sort_wells(well_name(*place) for place in draw(st.sets(places, min_size=1, max_size=4)))
    grid = draw(st.tuples(st.integers(1, 3), st.integers(1, 3))) if "site" in states else (1, 1)
    depth = draw(st.integers(1, 3)) if "z_index" in states else 1
    times = draw(st.integers(1, 3)) if "timepoint" in states else 1
    odd = ODD_NAMES if LAYOUTS[layout].any_channel_name else []
    names = draw(st.lists(st.sampled_from(NAMES + odd), min_size=1, max_size=4, unique=True))
    size = draw(st.sampled_from([0.1083333, 0.325, 0.65, 1.3, 6.5]))
    planes = [
        Plane(
            well,
            1 + row * grid[1] + column,
            channel,
            z,
            t,
            path="",
            height=SHAPE[0],
            width=SHAPE[1],
            dtype="uint16",
            pixel_size_um=size,
            x_um=round((column - (grid[1] - 1) / 2) * SHAPE[1] * size * 0.9, 4),
            y_um=round((row - (grid[0] - 1) / 2) * SHAPE[0] * size * 0.9, 4),
            z_um=1.5 * z,
            time_s=30.0 * (t - 1),
            grid_row=row,
            grid_column=column,
        )
        for well in wells
        for t in range(1, times + 1)
        for z in range(1, depth + 1)
        for channel in range(1, len(names) + 1)
        for row in range(grid[0])
        for column in range(grid[1])
    ]
    keys = [PlaneKey(*plane[:5]) for plane in planes]
    lost = draw(st.sets(st.sampled_from(keys), max_size=3)) if LAYOUTS[layout].loses_planes else set()
    if len(lost) == len(keys):
        lost.pop()
    return SyntheticPlate(
        name=draw(st.sampled_from(PLATES)),
        planes=tuple(planes),
        channels=dict(enumerate(names, 1)),
        dimensions=(rows, columns),
        site_grid=grid,
        pixels=pixels,
        lost=frozenset(lost),
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_written_and_read_back(layout: str, data: st.DataObject) -> None:
    plate = data.draw(plates(layout))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / plate.name
        root.mkdir()
        LAYOUTS[layout].write(root, plate, None)
        check(root, plate, layout)


def check(root: Path, plate: SyntheticPlate, layout: str) -> None:
    states = LAYOUTS[layout].states
    inventory = open_plate(root)
    assert inventory.format == LAYOUTS[layout].format
    truth = {PlaneKey(*plane[:5]): plane for plane in plate.written}
    found = {PlaneKey(*plane[:5]): plane for plane in inventory.planes}
    assert set(found) == set(truth)
    assert {problem.kind for problem in inventory.problems} <= {"missing", "excluded"}
    present = {key.channel for key in truth}
    if "channel_names" in states:
        assert inventory.channels == {n: name for n, name in plate.channels.items() if n in present}
    if "dimensions" in states:
        assert (inventory.rows, inventory.columns) == plate.dimensions
    else:
        assert (inventory.rows, inventory.columns) == plate_dimensions({key.well for key in truth})
    if "listed" in states:
        assert set(inventory.missing) == plate.lost
    else:
        kinds = {key[2:] for key in truth}
        sites = {key[:2] for key in truth}
        if "site_list" in states:
            sites = {(well, site) for well, _ in sites for _, site in sites}
        expected = {PlaneKey(*site, *kind) for site in sites for kind in kinds}
        assert set(inventory.missing) == expected - set(truth)
    for key, plane in found.items():
        compare(plane, truth[key], states)
        np.testing.assert_array_equal(read_plane(root, plane), plate.pixels(key))
        assert (plane.height, plane.width, plane.dtype) == (*SHAPE, "uint16")
    if "positions" in states:
        compare_positions(list(found.values()), truth)


def compare(plane: Plane, truth: Plane, states: frozenset[str]) -> None:
    stated = {
        name: getattr(truth, name) if name in states else NAN for name in ("pixel_size_um", "time_s", "z_um")
    }
    assert plane.pixel_size_um == pytest.approx(stated["pixel_size_um"], rel=1e-4, nan_ok=True)
    if "time_s" in states:
        first = plane.time_s - truth.time_s
        assert first == pytest.approx(round(first / 30) * 30, abs=1e-3)
    if "z_um" in states:
        assert plane.z_um == pytest.approx(truth.z_um, abs=1e-3)


def compare_positions(planes: list[Plane], truth: dict[PlaneKey, Plane]) -> None:
    """Distances inside a well are right, whatever the origin, and whole wells find their grid."""
    for well in {plane.well for plane in planes}:
        own = [plane for plane in planes if plane.well == well]
        known = {plane.site: plane for plane in own if not math.isnan(plane.x_um)}
        if len({plane.site for plane in own}) > len(known):
            continue  # the header that would have told was lost
        first = min(known)
        origin = truth[PlaneKey(*known[first][:5])]
        for plane in known.values():
            real = truth[PlaneKey(*plane[:5])]
            assert plane.x_um - known[first].x_um == pytest.approx(real.x_um - origin.x_um, abs=2e-3)
            assert plane.y_um - known[first].y_um == pytest.approx(real.y_um - origin.y_um, abs=2e-3)
