"""In whose store labels lie: beside the images they were found in, which are kept once."""

import pytest

from hcs_steps.pipeline import FunctionStep

FIND = """
from hcs_steps.functions.declare import step_function


@step_function(outputs={"nuclei": "labels"}, changes_image=False)
def nuclei(stack):
    return stack, stack


@step_function(outputs={"cells": "labels"}, changes_image=False)
def cells(stack, nuclei=None):
    return stack, stack


@step_function(outputs={"nuclei": "labels"})
def sharpened(stack):
    return stack, stack
"""


@pytest.fixture
def find(lab):
    (lab.folder / "find.py").write_text(FIND)
    return lambda name: f"{lab.folder.as_posix()}/find.py:{name}"


def stores(plan):
    """Step -> the name of the step in whose store its labels lie."""
    return {step.name: plan.steps[step.labels_in].name for step in plan.steps if step.labels}


def written(plan):
    return [step.name for step in plan.steps if step.written]


def test_labels_of_one_stage_join_the_images_that_they_were_found_in(lab, find):
    plan = lab.plan([lab.smooth, find("nuclei"), find("cells"), lab.measure])
    assert stores(plan) == {"nuclei": "smooth", "cells": "smooth"}
    assert written(plan) == ["smooth"]
    assert plan.steps[0].kept


def test_labels_of_the_plates_own_images_come_with_one_copy_of_them(lab, find):
    plan = lab.plan([find("nuclei"), find("cells")])
    assert stores(plan) == {"nuclei": "nuclei", "cells": "nuclei"}
    assert written(plan) == ["nuclei"]


def test_a_step_that_changes_images_drops_channels_or_is_to_be_kept_has_its_own(lab, find):
    steps = [lab.smooth, find("nuclei"), FunctionStep(find("sharpened"), name="other"), find("cells")]
    assert stores(lab.plan(steps)) == {"nuclei": "smooth", "other": "other", "cells": "other"}
    dropping = FunctionStep({"DAPI": find("nuclei")}, name="nuclei")
    assert stores(lab.plan([lab.smooth, dropping])) == {"nuclei": "nuclei"}
    passing = FunctionStep({"DAPI": find("nuclei")}, name="nuclei", unlisted="pass")
    assert stores(lab.plan([lab.smooth, passing])) == {"nuclei": "smooth"}
    kept = FunctionStep(find("nuclei"), name="nuclei", force_disk_output=True)
    assert stores(lab.plan([lab.smooth, kept])) == {"nuclei": "nuclei"}


def test_a_store_takes_a_name_once(lab, find):
    again = FunctionStep({"use": find("cells"), "as": {"cells": "Nuclei"}}, name="again")
    plan = lab.plan([lab.smooth, find("nuclei"), again])
    assert stores(plan) == {"nuclei": "smooth", "again": "again"}


def test_images_of_an_earlier_stage_are_not_touched_any_more(lab, find):
    first = FunctionStep(lab.smooth, name="smooth", force_disk_output=True)
    assert stores(lab.plan([first, find("nuclei")])) == {"nuclei": "nuclei"}
    estimate = FunctionStep(lab.estimate, name="estimate", scope="plate")
    assert stores(lab.plan([lab.smooth, estimate, find("nuclei")])) == {"nuclei": "nuclei"}
    on_disk = {"vfs": {"intermediate_backend": "disk"}}
    plan = lab.plan([lab.smooth, find("nuclei"), find("cells")], config=on_disk)
    assert stores(plan) == {"nuclei": "nuclei", "cells": "cells"}


def test_a_step_for_wells_whose_images_another_step_made_has_its_own(lab, find):
    some = FunctionStep(lab.smooth, name="smooth", well_filter=["A01"])
    plan = lab.plan([some, find("nuclei")])
    assert stores(plan) == {"nuclei": "nuclei"}
    fewer = FunctionStep(find("nuclei"), name="nuclei", well_filter=["A01"])
    assert stores(lab.plan([lab.smooth, fewer])) == {"nuclei": "smooth"}
