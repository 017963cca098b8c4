"""What a plate-scope function is given: samples of planes, tables, the microscope's own correction."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import tifffile

from hcs_steps.functions.declare import step_function
from hcs_steps.pipeline import FunctionStep


@step_function(scope="plate", outputs={"chosen": "table", "facts": "value"})
def sample(plate, limit=None, seed=0, channel=1):
    rows = [
        (key["well"], key["site"], float(plane.mean()))
        for key, plane in plate.sample_planes(channel, limit, seed)
    ]
    wells, sites, means = zip(*rows, strict=True)
    table = {"well": np.array(wells), "site": np.array(sites), "mean": np.array(means)}
    facts = {
        "channels": {str(number): name for number, name in plate.channels.items()},
        "planes": plate.count_planes(channel),
        "vendor": plate.vendor_flatfield(channel) is not None,
    }
    return table, facts


@step_function()
def doubled(stack):
    return stack * 2


@step_function(scope="plate", outputs={"brightest": "value"})
def find_brightest(plate):
    return max(float(plane.max()) for _, plane in plate.sample_planes(1))


@step_function(outputs={"seen": "value"}, changes_image=False)
def remember(stack, brightest):
    return stack, brightest


@step_function(outputs={"same": "value"}, changes_image=False)
def pass_on(stack, seen):
    return stack, seen


@step_function(outputs={"seen": "table"}, changes_image=False)
def look(stack, mark=0):
    return stack, {"plane": np.arange(len(stack)), "mark": np.full(len(stack), mark)}


@step_function(scope="plate", outputs={"counts": "value"})
def count_marks(plate):
    table = plate.table("seen")
    return Counter(f"{well} {mark}" for well, mark in zip(table["Metadata_Well"], table["mark"], strict=True))


@step_function(scope="plate", outputs={"seen": "table"})
def look_at_all(plate):
    return {"Metadata_Well": np.array(["all"]), "mark": np.array([len(plate.table("seen")["mark"])])}


WELLS = ["A01", "A02", "B01", "B02"]


def sampled(ran, step="sample"):
    outputs = ran.outputs(step, "plate")
    return ran.table(step, "plate", "chosen"), outputs["calls"][0]["values"]["facts"], outputs["notes"]


def test_all_planes_of_a_channel_come_once_in_plate_order(run_steps):
    table, facts, notes = sampled(run_steps([FunctionStep(sample, scope="plate")], wells=WELLS))
    assert list(zip(table["well"], table["site"], strict=True)) == [
        (well, site) for well in WELLS for site in (1, 2)
    ]
    assert facts == {"channels": {"1": "DAPI", "2": "GFP"}, "planes": 8, "vendor": False}
    assert notes == []


def test_a_sample_is_spread_over_wells_and_repeats_with_its_seed(run_steps):
    def run(seed):
        return FunctionStep((sample, {"limit": 4, "seed": seed}), name=f"sample_{seed}", scope="plate")

    ran = run_steps([run(0), run(1), run(2)], wells=WELLS)
    chosen = [tuple(sampled(ran, f"sample_{seed}")[0]["site"]) for seed in range(3)]
    for seed in range(3):
        assert Counter(sampled(ran, f"sample_{seed}")[0]["well"]) == dict.fromkeys(WELLS, 1)
    assert len(set(chosen)) > 1


def test_a_plane_that_cannot_be_read_is_left_out_and_noted(run_steps):
    ran = run_steps([FunctionStep(sample, scope="plate")], wells=WELLS, broken_well="A02")
    table, _, notes = sampled(ran)
    assert len(table["well"]) == 7
    assert [note for note in notes if note.startswith("A02, site 1") and "cannot be read" in note]


def test_the_images_are_those_that_the_step_reads(run_steps):
    ran = run_steps(
        [
            FunctionStep(doubled, name="doubled"),
            FunctionStep(sample, name="later", scope="plate"),
            FunctionStep(sample, name="raw", scope="plate", input_source="pipeline_start"),
        ]
    )
    later, raw = sampled(ran, "later")[0], sampled(ran, "raw")[0]
    np.testing.assert_allclose(later["mean"], 2 * raw["mean"])


@pytest.mark.parametrize(("layout", "there"), [("harmony", True), ("imagexpress", False)])
def test_the_correction_that_a_microscope_keeps_is_found(run_steps, layout, there):
    ran = run_steps([FunctionStep(sample, scope="plate")], layout=layout)
    assert sampled(ran)[1]["vendor"] is there


def test_a_new_image_anywhere_recomputes_what_builds_on_the_plate_in_every_well(run_steps):
    """The plate's result depends on all wells: none may keep what was made with the one before."""
    steps = [
        FunctionStep(doubled, name="doubled", force_disk_output=True),
        FunctionStep(find_brightest, name="brightest", scope="plate"),
        FunctionStep(remember, name="remember", force_disk_output=True),
        FunctionStep(pass_on, name="last"),
    ]
    first = run_steps(steps, wells=WELLS)

    def seen(ran, unit):
        outputs = {"remember": "seen", "last": "same"}
        return [ran.outputs(step, unit)["calls"][0]["values"][name] for step, name in outputs.items()]

    def times(ran, step="doubled"):
        return {unit: ran.ended(step, unit) for unit in WELLS}

    before, first_times, last_times = seen(first, "A01"), times(first), times(first, "last")
    unchanged = first.again()
    assert times(unchanged) == first_times
    assert times(unchanged, "last") == last_times
    image = next(
        path for path in sorted((first.folder / "plate").rglob("*.TIF")) if "_B02_s1_w1" in path.name
    )
    pixels = tifffile.imread(image)
    pixels[3, 3] = 30000
    tifffile.imwrite(image, pixels)
    second = first.again()
    assert seen(second, "A01") == seen(second, "B02") == [60000.0, 60000.0]
    assert before != [60000.0, 60000.0]
    # What comes before the plate's step is computed again for the changed well alone.
    assert [unit for unit in WELLS if times(second)[unit] != first_times[unit]] == ["B02"]


@pytest.mark.parametrize("stored", [False, True])
def test_a_table_is_that_of_the_last_step_before_which_ran_for_the_unit(run_steps, stored):
    ran = run_steps(
        [
            FunctionStep((look, {"mark": 1}), name="first", force_disk_output=stored),
            FunctionStep((look, {"mark": 2}), name="second", well_filter=["A01", "A02"]),
            FunctionStep(count_marks, name="counted", scope="plate"),
            FunctionStep((look, {"mark": 3}), name="third"),
        ],
        wells=["A01", "A02", "B01"],
    )
    (call,) = ran.outputs("counted", "plate")["calls"]
    assert call["values"]["counts"] == {"A01 2": 4, "A02 2": 4, "B01 1": 4}


def test_a_table_of_a_plate_step_counts_until_a_later_step_returns_it_again(run_steps):
    ran = run_steps(
        [
            FunctionStep(look, name="first"),
            FunctionStep(look_at_all, name="whole", scope="plate"),
            FunctionStep(count_marks, name="of_all", scope="plate"),
            FunctionStep((look, {"mark": 2}), name="second"),
            FunctionStep(count_marks, name="of_units", scope="plate"),
        ]
    )
    counts = [ran.outputs(s, "plate")["calls"][0]["values"]["counts"] for s in ("of_all", "of_units")]
    assert counts == [{"all 8": 1}, {"A01 2": 4, "B02 2": 4}]
