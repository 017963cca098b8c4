"""Functions that move planes or change their pixel size: later calls, later stages and the stores know."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hcs_steps.functions import assemble_stack, compute_tile_positions, crop, rescale
from hcs_steps.functions.declare import step_function
from hcs_steps.pipeline import FunctionStep
from hcs_steps.run.records import read_json


def _shifted(planes, before, after, params):
    size = planes["pixel_size_um"]
    return {
        **planes,
        "x_um": planes["x_um"] + ((after[2] - before[2]) / 2 + params["left"]) * size,
        "pixel_size_um": size * 2,
    }


@step_function(geometry=_shifted)
def cut_left(stack, left=10):
    return stack[:, :, left:]


@step_function(outputs={"seen": "table"}, changes_image=False)
def look(stack, planes=None):
    return stack, {
        "plane": np.arange(len(stack)),
        "x": planes["x_um"],
        "pixel": planes["pixel_size_um"],
        "width": np.full(len(stack), stack.shape[2]),
    }


@step_function(reduces=True)
def merge(stack):
    return stack.max(axis=0, keepdims=True)


@step_function(outputs={"grid": "value"}, changes_image=False)
def look_at_grid(stack, grid_dimensions):
    return stack, grid_dimensions


@step_function()
def doubled(stack):
    return stack * 2


def stored_place(ran, step):
    """(scale, translation) of the images of well A01's first site in a step's store."""
    group = ran.results.images / f"{step}.ome.zarr" / "A" / "01" / "1" / "zarr.json"
    image = json.loads(group.read_text())["attributes"]["ome"]["multiscales"][0]
    scale, shift = image["datasets"][0]["coordinateTransformations"]
    return scale["scale"], shift["translation"]


@pytest.mark.parametrize("stored", [False, True])
def test_later_steps_and_stages_see_the_changed_planes(run_steps, stored):
    ran = run_steps(
        [
            FunctionStep(look, name="before"),
            FunctionStep((cut_left, {"left": 12}), name="cut", force_disk_output=stored),
            FunctionStep(look, name="after"),
            FunctionStep(look, name="raw_again", input_source="pipeline_start"),
        ]
    )
    assert len([stage for stage in ran.plan.stages if stage.scope == "unit"]) == 1 + stored
    before, after, raw = (ran.table(step, "A01", "seen") for step in ("before", "after", "raw_again"))
    assert set(before["pixel"]) == {0.65}
    assert set(after["pixel"]) == {1.3}
    assert set(after["width"]) == {100}
    np.testing.assert_allclose(after["x"], before["x"] + 6 * 0.65)
    np.testing.assert_array_equal(raw["x"], before["x"])
    # The image lies on the changed centre, with the changed pixel size.
    scale, corner = stored_place(ran, "cut")
    assert scale[-1] == 1.3
    left_most = after["x"][after["Metadata_Site"] == 1][0]
    assert corner[-1] == pytest.approx(left_most - 99 / 2 * 1.3)


def test_a_chain_hands_the_changed_planes_on(run_steps):
    ran = run_steps(
        [
            FunctionStep(
                [
                    (cut_left, {"left": 4}),
                    (look, {}, {"seen": "half_way"}),
                    (cut_left, {"left": 4}),
                    merge,
                    look,
                ],
                name="chain",
            )
        ]
    )
    assert set(ran.table("chain", "B02", "half_way")["pixel"]) == {1.3}
    seen = ran.table("chain", "B02", "seen")
    assert set(seen["pixel"]) == {2.6}
    assert set(seen["width"]) == {104}
    assert len(seen["pixel"]) == 2  # one merged plane per channel


def test_steps_that_move_nothing_leave_no_trace(run_steps):
    ran = run_steps([FunctionStep(merge, name="merge")])
    assert "planes" not in ran.outputs("merge", "A01")


@pytest.mark.parametrize("stored", [False, True])
def test_images_lie_where_their_own_channel_was_moved_to_and_not_where_a_dropped_one_lies(run_steps, stored):
    ran = run_steps(
        [
            FunctionStep({"GFP": (crop, {"left": 40, "width": 60})}, name="crop", force_disk_output=stored),
            FunctionStep(look, name="look"),
            FunctionStep(doubled, name="doubled"),
        ]
    )
    seen = ran.table("look", "A01", "seen")
    centre = seen["x"][seen["Metadata_Site"] == 1][0]
    for step in ["doubled", *(["crop"] if stored else [])]:
        assert stored_place(ran, step)[1][-1] == pytest.approx(centre - 59 / 2 * 0.65)


def test_a_mosaic_of_one_channel_lies_in_the_middle_of_the_sites(run_steps):
    ran = run_steps(
        [
            FunctionStep({1: compute_tile_positions}, name="positions", unlisted="pass"),
            FunctionStep({2: assemble_stack}, name="mosaic"),
            FunctionStep(look_at_grid, name="grid"),
        ],
        sites=(2, 2),
    )
    assert [call["values"]["grid"] for call in ran.outputs("grid", "A01")["calls"]] == [None]
    shape = ran.image("mosaic", "A01", 1, 2, 1, 1).shape
    corner = stored_place(ran, "mosaic")[1][-2:]
    centre = [start + (size - 1) / 2 * 0.65 for start, size in zip(corner, shape, strict=True)]
    sites = ran.truth["wells"]["A01"]["sites"].values()
    middle = np.mean([site["position_um"] for site in sites], axis=0)
    assert centre == pytest.approx(list(middle[::-1]), abs=4 * 0.65)


POSITIONS = FunctionStep({1: compute_tile_positions}, name="positions", unlisted="pass")
HALF = FunctionStep((rescale, {"factor": 0.5}), name="half")
HALF_STORED = FunctionStep((rescale, {"factor": 0.5}), name="half", force_disk_output=True)
MOSAIC = FunctionStep(assemble_stack, name="mosaic")


@pytest.mark.parametrize(
    "steps",
    [
        [POSITIONS, HALF, MOSAIC],
        [POSITIONS, HALF_STORED, MOSAIC],
        [FunctionStep([compute_tile_positions, (rescale, {"factor": 0.5})], name="positions"), MOSAIC],
        [FunctionStep([compute_tile_positions, (rescale, {"factor": 0.5}), assemble_stack], name="mosaic")],
    ],
    ids=["steps", "stages", "between", "chain"],
)
def test_positions_are_not_used_on_images_of_other_pixels(run_steps, steps):
    ran = run_steps(steps, sites=(2, 2), wells=["A01"])
    failure = read_json(ran.results.failure(ran.plan.stages[-3].name, "A01"))
    assert failure["step"] == "mosaic"
    assert "made in pixels of 0.65 um, but the images here have 1.3 um per pixel" in failure["error"]
    assert "Rescale the images before 'positions' is made" in failure["error"]


@pytest.mark.parametrize(
    "steps",
    [
        [HALF, POSITIONS, MOSAIC],
        [HALF_STORED, POSITIONS, MOSAIC],
        [POSITIONS, MOSAIC, HALF],
        [POSITIONS, FunctionStep((crop, {"left": 8}), name="crop"), MOSAIC],
        [POSITIONS, HALF, FunctionStep((rescale, {"factor": 2.0}), name="back"), MOSAIC],
    ],
    ids=["before", "stored before", "after", "crop between", "there and back"],
)
def test_positions_serve_images_of_the_same_pixels(run_steps, steps):
    ran = run_steps(steps, sites=(2, 2), wells=["A01"])
    mosaic = ran.image(ran.plan.steps[-1].name, "A01", 1, 1, 1, 1)
    assert (mosaic > 0).mean() > 0.95
