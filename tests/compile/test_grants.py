"""Threads, memory and time that the configuration gives to stages."""

from __future__ import annotations

import pytest

from hcs_steps.compile.request import Grant
from hcs_steps.errors import CompileError

DISK = {"vfs": {"intermediate_backend": "disk"}}


def test_a_grant_is_for_the_stage_of_its_step_and_the_common_one_for_all_others(lab):
    grants = {"": Grant(timeout_s=60), "find": Grant(threads=4, mem_mb=9000, timeout_s=600)}
    plan = lab.plan([lab.smooth, lab.find], config=DISK, grants=grants)
    smooth, find = plan.stage("smooth"), plan.stage("find")
    assert (find.threads, find.mem_mb, find.timeout_s) == (4, 9000, 600)
    assert (smooth.threads, smooth.timeout_s) == (1, 60)
    assert plan.stage("report").timeout_s == 60


def test_a_cluster_gives_a_job_the_time_of_all_its_units(lab):
    one = lab.plan([lab.smooth], grants={"": Grant(timeout_s=600)})
    five = lab.plan([lab.smooth], grants={"": Grant(timeout_s=600)}, units_per_job=5)
    assert five.stage("smooth").runtime - one.stage("smooth").runtime == 40
    assert one.stage("smooth").runtime > 10


def test_grants_change_nothing_that_results_depend_on(lab):
    plain, given = lab.plan([lab.smooth]), lab.plan([lab.smooth], grants={"smooth": Grant(threads=3)})
    assert [s.fingerprint for s in plain.stages] == [s.fingerprint for s in given.stages]


def test_a_grant_for_nothing_is_refused_with_the_nearest_name(lab):
    with pytest.raises(CompileError, match=r"orchestration\.stages names 'smoth'.*smooth"):
        lab.plan([lab.smooth], grants={"smoth": Grant(threads=3)})


def test_nothing_is_resumed_where_checkpoints_are_off(lab):
    assert lab.plan([lab.smooth]).smart_caching
    assert not lab.plan([lab.smooth], resume=False).smart_caching
