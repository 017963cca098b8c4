"""The text of the rules."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from hcs_steps.compile.plan import Plan
from hcs_steps.emit.rules import emit_rules, group_plans

MakePlan = Callable[..., Plan]


def text_of(plans: Mapping[str, Plan]) -> str:
    return emit_rules(group_plans(plans), plans)


def rules_in(text: str) -> list[str]:
    return re.findall(r"^rule (\w+):$", text, flags=re.MULTILINE)


def test_the_same_plans_give_the_same_text(make_plan: MakePlan) -> None:
    first, second = (text_of({"results/P1": make_plan("a", "b")}) for _ in range(2))
    assert first == second


def test_there_is_one_rule_per_stage_for_one_plate_and_for_a_hundred(make_plan: MakePlan) -> None:
    one = text_of({"results/P0": make_plan("a", "b")})
    plans = {
        f"results/P{n}": make_plan("a", "b", plate=f"P{n}", wells=[f"A{n % 12 + 1:02d}"]) for n in range(100)
    }
    hundred = text_of(plans)
    assert rules_in(one) == rules_in(hundred) == ["a", "b", "consolidate"]
    assert one == hundred


def test_the_text_names_no_well_no_plate_and_no_parameter(make_plan: MakePlan) -> None:
    text = text_of({"results/SecretPlate": make_plan("a", plate="SecretPlate", wells=["C07"], radius=4711)})
    for word in ("C07", "SecretPlate", "4711"):
        assert word not in text


def test_a_changed_parameter_or_plate_does_not_change_the_text(make_plan: MakePlan) -> None:
    assert text_of({"results/P1": make_plan("a")}) == text_of(
        {"results/P2": make_plan("a", radius=6, plate="P2")}
    )


def test_two_pipelines_get_rules_with_prefixes(make_plan: MakePlan) -> None:
    text = text_of({"r/1": make_plan("a", pipeline="count"), "r/2": make_plan("b", pipeline="find it")})
    assert rules_in(text) == ["count_a", "count_consolidate", "find_it_b", "find_it_consolidate"]


@pytest.mark.parametrize(
    "pipelines",
    [
        [("count", ["a"]), ("count", ["b"]), ("count", ["c"])],
        [("a", ["b_c"]), ("a b", ["c"])],
        [("a b", ["c"]), ("a", ["b_c"])],
        [("count_2", ["x"]), ("count", ["x"]), ("count", ["y"])],
        [("count", ["x"]), ("count", ["y"]), ("count_2", ["z"])],
        [("count!", ["x"]), ("count?", ["x"])],
        [("a", ["b_consolidate"]), ("a_b", ["z"])],
        [("µ", ["x"]), ("é", ["y"]), ("", ["z"])],
    ],
)
def test_rule_names_never_clash(make_plan: MakePlan, pipelines: list[tuple[str, list[str]]]) -> None:
    plans = {f"r/{n}": make_plan(*steps, pipeline=name) for n, (name, steps) in enumerate(pipelines)}
    names = rules_in(text_of(plans))
    assert len(set(names)) == len(names) == sum(len(plan.stages) - 1 for plan in plans.values())
    assert not {"all", "report", "finish"} & set(names)
    groups = group_plans(plans)
    assert sorted(folder for group in groups for folder in group.folders) == sorted(plans)
    assert len({group.name for group in groups}) == len(groups)


def test_odd_step_names_give_valid_rule_names(make_plan: MakePlan) -> None:
    names = rules_in(text_of({"r/1": make_plan("top hat", "2nd", "ünïcode {x}", '"; rm -rf')}))
    assert len(names) == 5
    assert all(name.isidentifier() for name in names)


def test_a_rule_has_everything_a_rule_needs_and_no_more(make_plan: MakePlan) -> None:
    text = text_of({"r/1": make_plan("a", "b")})
    first, second, last = text.split("\nrule ")[1:]
    for rule in (first, second, last):
        for part in ("output:", "log:", "params:", "fingerprint", "threads:", "resources:", "shell:"):
            assert part in rule
        for resource in ("mem_mb=", "runtime="):
            assert resource in rule
        assert "gpu" not in rule, "a resource that is 0 costs Snakemake time for every job"
        for part in ("run:", "script:", "retries", "group:"):
            assert part not in rule
    assert "input:" not in first
    assert '"{results}/jobs/a/{job}.json"' in second
    assert 'HCS.inputs("consolidate")' in last


def test_plain_inputs_only_where_every_job_has_the_same_job_upstream(make_plan: MakePlan) -> None:
    plain = text_of({"r/1": make_plan("a", "b", "c")})
    filtered = text_of({"r/1": make_plan("a", "b", "c", filters={"b": "A01"})})
    assert 'HCS.inputs("c")' not in plain
    assert 'HCS.inputs("c")' in filtered


def test_a_stage_on_a_gpu_asks_for_one_and_for_its_memory(make_plan: MakePlan) -> None:
    plan = make_plan("a")
    stages = tuple(replace(stage, gpu=1, gpu_mem_mb=640) for stage in plan.stages)
    text = text_of({"r/1": replace(plan, stages=stages)})
    assert '        gpu=1,\n        gpu_mem_mb=HCS.gpu_memory("a"),\n' in text
