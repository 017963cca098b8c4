"""What modes, from, until, skip and gates leave out, and what they leave alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hcs_steps.compile.request import Choice
from hcs_steps.errors import CompileError
from hcs_steps.pipeline import FunctionStep

DISK = {"vfs": {"intermediate_backend": "disk"}}


def steps(lab, *gates):
    names = {"smooth": lab.smooth, "cells": lab.segment, "sizes": lab.measure}
    return [FunctionStep(f, name=name, gate=name in gates) for name, f in names.items()]


def skipped(plan):
    return {stage.name: stage.skipped for stage in plan.stages if stage.skipped}


def test_the_full_mode_leaves_nothing_out(lab):
    plan = lab.plan(steps(lab), config=DISK)
    assert (skipped(plan), plan.mode, plan.gate) == ({}, "full", "")


@pytest.mark.parametrize(
    ("choice", "left_out"),
    [
        ({"from_step": "cells"}, {"smooth"}),
        ({"until": "cells"}, {"sizes"}),
        ({"from_step": "cells", "until": "cells"}, {"smooth", "sizes"}),
        ({"skip": ("cells",)}, {"cells"}),
        ({"existing_images": True}, {"smooth", "cells"}),
    ],
)
def test_what_is_left_out_has_no_jobs_and_a_reason(lab, choice, left_out):
    plan = lab.plan(steps(lab), config=DISK, choice=Choice(mode="some", **choice))
    assert set(skipped(plan)) == left_out
    assert all("mode some" in reason for reason in skipped(plan).values())
    for stage in plan.stages:
        assert bool(plan.jobs_of(stage)) == (stage.name not in left_out)


def test_no_choice_changes_what_a_unit_is_known_by(lab):
    """Or a run after a preview of the stages would compute everything again."""
    full = lab.plan(steps(lab), config=DISK)
    part = lab.plan(steps(lab), config=DISK, choice=Choice(until="smooth"))
    for stage in full.stages[:3]:
        assert part.stage(stage.name).fingerprint == stage.fingerprint


def test_the_last_stages_tell_of_what_is_there_and_not_of_what_comes_later(lab):
    full = lab.plan(steps(lab), config=DISK)
    part = lab.plan(steps(lab), config=DISK, choice=Choice(until="cells"))
    late = lab.plan(steps(lab), config=DISK, choice=Choice(from_step="sizes"))
    assert part.stage("consolidate").upstream == ("smooth", "cells")
    assert part.stage("report").upstream == ("smooth", "cells", "consolidate")
    assert part.stage("consolidate").fingerprint != full.stage("consolidate").fingerprint
    assert (list(part.tables), list(full.tables)) == ([], ["sizes"])
    assert late.stage("consolidate") == full.stage("consolidate")


def test_a_gate_ends_the_plan_until_its_results_were_shown(lab):
    closed = lab.plan(steps(lab, "cells"))
    assert [stage.name for stage in closed.stages] == ["smooth_to_cells", "sizes", "consolidate", "report"]
    assert closed.gate == "smooth_to_cells"
    assert "gate smooth_to_cells" in skipped(closed)["sizes"]
    shown = {"smooth_to_cells": closed.stage("smooth_to_cells").fingerprint}
    opened = lab.plan(steps(lab, "cells"), choice=Choice(shown=shown))
    assert (skipped(opened), opened.gate) == ({}, "")


def test_a_gate_closes_again_when_what_was_shown_has_changed(lab):
    shown = {"smooth_to_cells": lab.plan(steps(lab, "cells")).stage("smooth_to_cells").fingerprint}
    changed = [FunctionStep((lab.smooth, {"sigma": 2.0}), name="smooth"), *steps(lab, "cells")[1:]]
    assert lab.plan(changed, choice=Choice(shown=shown)).gate == "smooth_to_cells"


def test_one_gate_opens_after_the_other(lab):
    first = lab.plan(steps(lab, "smooth", "cells"))
    assert (first.gate, set(skipped(first))) == ("smooth", {"cells", "sizes"})
    shown = {"smooth": first.stage("smooth").fingerprint}
    second = lab.plan(steps(lab, "smooth", "cells"), choice=Choice(shown=shown))
    assert (second.gate, set(skipped(second))) == ("cells", {"sizes"})


def test_a_gate_at_the_end_stops_nothing(lab):
    assert lab.plan(steps(lab, "sizes")).gate == ""


def test_a_gated_step_keeps_its_images_and_one_that_only_measures_makes_none(lab):
    plan = lab.plan(steps(lab, "smooth"))
    assert plan.steps[0].kept
    assert plan.steps[0].store
    alone = lab.plan([FunctionStep(lab.find, name="spots", gate=True), FunctionStep(lab.smooth)])
    assert not alone.steps[0].own_images
    assert [stage.name for stage in alone.stages[:2]] == ["spots", "smooth"]


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"from_step": "sizess"}, "Did you mean 'sizes'"),
        ({"until": "smooth"}, "runs in one job with cells"),
        ({"from_step": "sizes"}, "runs in one job with smooth, cells"),
        ({"skip": ("cells",)}, "force_disk_output"),
    ],
)
def test_a_stage_that_there_is_not_is_refused_with_the_fix(lab, choice, said):
    with pytest.raises(CompileError, match=said):
        lab.plan(steps(lab), choice=Choice(**choice))


def test_bounds_that_leave_nothing_are_refused(lab):
    with pytest.raises(CompileError, match="Nothing is left to run"):
        lab.plan(steps(lab), config=DISK, choice=Choice(from_step="sizes", until="smooth"))


def test_a_plan_with_a_choice_survives_its_file(lab):
    plan = lab.plan(steps(lab, "cells"), choice=Choice(mode="some"))
    assert type(plan).from_json(plan.to_json(), where="x") == plan
    assert replace(plan, gate="").to_json() != plan.to_json()
