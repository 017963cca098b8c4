"""Plate-scope steps: what they cannot be told, and what their result depends on."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest

from hcs_steps.errors import CompileError
from hcs_steps.functions.declare import step_function
from hcs_steps.pipeline import FunctionStep


@step_function(scope="plate", outputs={"other": "value"})
def needs_flat_field(plate, flat_field):
    return flat_field


@step_function(scope="plate", outputs={"other": "value"})
def takes_flat_field(plate, flat_field=None, planes=None):
    return flat_field


@step_function(scope="plate", outputs={"other": "value"})
def needs_planes(plate, planes):
    return planes


def problem(lab, *steps):
    with pytest.raises(CompileError) as caught:
        lab.plan(steps)
    (found,) = caught.value.problems
    return str(found)


@pytest.mark.parametrize("channels", [["DAPI"], ["DAPI", "GFP"]])
def test_a_plate_step_cannot_map_channels_to_functions(lab, channels):
    found = problem(lab, FunctionStep(dict.fromkeys(channels, lab.estimate), name="flat", scope="plate"))
    assert f"cannot be chosen by channel ({', '.join(channels)})" in found
    assert "channels: [DAPI]" in found


def test_a_plate_step_cannot_have_a_well_filter(lab):
    found = problem(lab, FunctionStep(lab.estimate, name="flat", scope="plate", well_filter=["A01"]))
    assert "cannot have a well_filter" in found
    assert "'select' chooses the wells" in found


@pytest.mark.parametrize("function", [needs_flat_field, takes_flat_field])
def test_the_parameters_of_a_plate_function_are_not_filled_with_outputs(lab, function):
    flat = FunctionStep(lab.estimate, name="flat", scope="plate")
    found = problem(lab, flat, FunctionStep(function, name="second", scope="plate"))
    assert "Step 'second'" in found
    assert "parameter 'flat_field'" in found
    assert "plate.table(name)" in found
    plan = lab.plan([flat, FunctionStep((function, {"flat_field": 1}), name="second", scope="plate")])
    assert plan.steps[1].calls[0].injected == ()


def test_what_nothing_can_fill_is_missed(lab):
    found = problem(lab, FunctionStep(needs_planes, scope="plate"))
    assert "needs 'planes'" in found
    assert "outputs so far" not in found


def fingerprint(lab, inventory, **options):
    plan = lab.plan(
        [FunctionStep(lab.estimate, name="flat", scope="plate"), lab.smooth], inventory, **options
    )
    return plan.fingerprint(plan.stage("flat"), "plate")


def test_what_a_missing_plane_does_is_part_of_a_plate_steps_result(lab):
    inventory = lab.inventory(drop=lambda p: (p.well, p.site, p.channel) == ("A02", 2, 1))
    policies = ("fail_unit", "skip_site", "blank")
    assert len({fingerprint(lab, inventory, missing=policy) for policy in policies}) == 3
    assert len({fingerprint(lab, lab.inventory(), missing=policy) for policy in policies}) == 1


def test_the_microscopes_profile_is_part_of_a_plate_steps_result(lab):
    def kept(**metadata):
        return replace(lab.inventory(), metadata=metadata)

    profiles = [json.dumps({"1": {"background": {"mean": mean}}}) for mean in (1, 2)]
    inventories = [
        kept(),
        kept(flatfield=profiles[0]),
        kept(flatfield=profiles[1]),
        kept(flatfield=profiles[1], flatfield_corrected="yes"),
    ]
    assert len({fingerprint(lab, inventory) for inventory in inventories}) == 4
    assert fingerprint(lab, kept(operator="A")) == fingerprint(lab, kept(operator="B"))

    def of_a_well(inventory):
        plan = lab.plan([lab.smooth], inventory)
        return [plan.fingerprint(stage, unit) for stage in plan.stages for unit in plan.units_of(stage)]

    assert of_a_well(inventories[0]) == of_a_well(inventories[1]), "only a plate's step can read it"


def test_the_microscopes_correction_images_are_part_of_a_plate_steps_result(lab, tmp_path):
    (tmp_path / "DC.tif").write_bytes(b"dark")
    (tmp_path / "SC.tif").write_bytes(b"shading")
    files = {"shading_files": json.dumps({"1": "SC.tif", "2": ""}), "dark_files": json.dumps({"1": "DC.tif"})}
    inventory = replace(lab.inventory(), plate_path=str(tmp_path), metadata=files)
    seen = [fingerprint(lab, inventory)]
    assert fingerprint(lab, inventory) == seen[0]
    os.utime(tmp_path / "DC.tif", ns=(1, 1))
    seen.append(fingerprint(lab, inventory))
    (tmp_path / "SC.tif").write_bytes(b"other shading")
    seen.append(fingerprint(lab, inventory))
    (tmp_path / "SC.tif").unlink()
    seen.append(fingerprint(lab, inventory))
    assert len(set(seen)) == 4
