"""Labels lie beside the images that they were found in, and are found there by later stages."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hcs_steps.functions.declare import step_function
from hcs_steps.pipeline import FunctionStep
from hcs_steps.storage.protocol import PlaneKey


@step_function(outputs={"bright": "labels"}, changes_image=False)
def label_bright(stack, level=1000):
    return stack, (stack > level).astype(np.uint32)


@step_function(outputs={"rest": "labels"}, changes_image=False)
def label_rest(stack, bright):
    return stack, (bright == 0).astype(np.uint32)


@step_function(outputs={"measured": "table"}, changes_image=False)
def sums(stack, bright, rest):
    columns = {"plane": np.arange(len(stack)), "bright": bright.sum((1, 2)), "rest": rest.sum((1, 2))}
    return stack, columns


@step_function()
def plus_one(stack):
    return stack + 1


def test_images_are_written_once_with_the_labels_of_all_steps(run_steps):
    ran = run_steps(
        [FunctionStep(f) for f in ("gaussian",)] + [FunctionStep(f) for f in (label_bright, label_rest)]
    )
    stores = sorted(path.name for path in ran.results.images.iterdir())
    assert stores == ["gaussian.ome.zarr"]
    store = ran.runner.store(0)
    key = PlaneKey(1, 1, 1, 1)
    image, bright, rest = (store.read("A01", key, labels) for labels in (None, "bright", "rest"))
    assert np.array_equal(bright, image > 1000)
    assert np.array_equal(rest, image <= 1000)


def test_a_later_stage_finds_labels_beside_the_images_of_another_step(run_steps):
    kept = FunctionStep(plus_one, name="kept", force_disk_output=True)
    ran = run_steps(
        [
            FunctionStep("gaussian"),
            FunctionStep(label_bright),
            FunctionStep(label_rest),
            kept,
            FunctionStep(sums),
        ]
    )
    assert [stage.name for stage in ran.plan.stages][:2] == ["gaussian_to_kept", "sums"]
    table = ran.table("sums", "A01", "measured")
    bright = ran.runner.store(0).read("A01", PlaneKey(1, 1, 1, 1), "bright")
    assert table["bright"][0] == bright.sum()
    assert (table["bright"] + table["rest"] == bright.size).all()


def test_a_well_that_fails_later_leaves_no_labels_of_its_earlier_run(run_steps):
    ran = run_steps([FunctionStep(label_bright), FunctionStep(label_rest)])
    stage = ran.plan.stages[0]
    (ran.folder / "plate").joinpath(next(iter(ran.runner.planes("A01").values())).path).write_bytes(b"")
    again = ran.again()
    assert "A01" not in {
        unit for unit in again.plan.units if (again.results.record(stage.name, unit)).exists()
    }
    assert list(again.runner.store(0).keys("A01", "bright")) == []
    assert list(again.runner.store(0).keys("B02", "rest")) != []


@step_function(outputs={"bright": "labels"}, changes_image=False)
def label_unless_tiny(stack, level=1000):
    if stack.max() < 60000:
        raise ValueError("too dark")
    return stack, (stack > level).astype(np.uint32)


@pytest.mark.parametrize("route", ["another stage name", "no record"])
def test_a_well_that_fails_leaves_nothing_of_an_earlier_run_whatever_became_of_its_record(run_steps, route):
    ran = run_steps([FunctionStep(label_bright, name="found")])
    stage = ran.plan.stages[0].name
    assert list(ran.runner.store(0).keys("A01")) != []
    failing = [FunctionStep(label_unless_tiny, name="found")]
    if route == "no record":
        ran.results.record(stage, "A01").unlink()
    else:
        failing.append(FunctionStep("image_quality"))
    again = replace(ran, steps=failing).again()
    assert again.results.failure(again.plan.stages[0].name, "A01").exists()
    store = again.runner.store(0)
    assert list(store.keys("A01")) == list(store.keys("A01", "bright")) == []
    assert ("A01", 1) in store.missing(), "announced again"
