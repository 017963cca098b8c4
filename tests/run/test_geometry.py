"""Functions that move planes or change their pixel size: later calls, later stages and the stores know."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hcs_steps.functions.declare import step_function
from hcs_steps.pipeline import FunctionStep


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
    group = ran.results.images / "cut.ome.zarr" / "A" / "01" / "1" / "zarr.json"
    attributes = json.loads(group.read_text())["attributes"]["ome"]["multiscales"][0]
    scale, shift = attributes["datasets"][0]["coordinateTransformations"]
    assert scale["scale"][-1] == 1.3
    left_most = after["x"][after["Metadata_Site"] == 1][0]
    assert shift["translation"][-1] == pytest.approx(left_most - 99 / 2 * 1.3)


def test_a_chain_hands_the_changed_planes_on(run_steps):
    ran = run_steps(
        [FunctionStep([(cut_left, {"left": 4}), look, (cut_left, {"left": 4}), merge, look], name="chain")]
    )
    seen = ran.table("chain", "B02", "seen")
    assert set(seen["pixel"]) == {2.6}
    assert set(seen["width"]) == {104}
    assert len(seen["pixel"]) == 2  # one merged plane per channel


def test_steps_that_move_nothing_leave_no_trace(run_steps):
    ran = run_steps([FunctionStep(merge, name="merge")])
    assert "planes" not in ran.outputs("merge", "A01")
