"""How planes become stacks, as the field's existing engines do it."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcs_steps.pipeline.stacks import best_match, branch_value, group_stacks, output_keys
from hcs_steps.storage.protocol import PlaneKey

COMPONENTS = ("site", "channel", "z_index", "timepoint")
numbers = st.integers(0, 4)
planes = st.lists(st.builds(PlaneKey, numbers, numbers, numbers, numbers), unique=True, max_size=30)
stacked = st.lists(st.sampled_from(COMPONENTS), unique=True)

GRID = [PlaneKey(s, c, z, t) for s in (1, 2) for c in (1, 2, 3) for z in (1, 2) for t in (1, 2)]


@given(planes, stacked)
def test_every_plane_is_in_exactly_one_stack(keys: list[PlaneKey], variable: list[str]) -> None:
    stacks = group_stacks(keys, variable)
    assert sorted(key for _, stack in stacks for key in stack) == sorted(keys)


@given(planes, stacked, st.randoms())
def test_neither_the_order_of_planes_nor_of_components_matters(
    keys: list[PlaneKey], variable: list[str], random: object
) -> None:
    mixed, listed = list(keys), list(variable)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    random.shuffle(listed)  # type: ignore[attr-defined]
    assert group_stacks(mixed, listed) == group_stacks(keys, variable)


@given(planes, stacked)
def test_planes_of_a_stack_share_the_other_components_and_are_in_stacking_order(
    keys: list[PlaneKey], variable: list[str]
) -> None:
    stacks = group_stacks(keys, variable)
    for group, stack in stacks:
        assert set(group) == set(COMPONENTS) - set(variable)
        assert all(getattr(key, name) == value for key in stack for name, value in group.items())
        assert list(stack) == sorted(stack, key=lambda k: (k.site, k.channel, k.z_index, k.timepoint))
    groups = [tuple(group.items()) for group, _ in stacks]
    assert len(set(groups)) == len(groups)


@pytest.mark.parametrize("order", list(permutations(["timepoint", "channel"])))
def test_two_components_are_flattened_into_one_axis_channel_before_time(order: tuple[str, str]) -> None:
    stacks = group_stacks(GRID, order)
    assert len(stacks) == 4  # 2 sites x 2 z
    group, stack = stacks[0]
    assert group == {"site": 1, "z_index": 1}
    assert [(k.channel, k.timepoint) for k in stack] == [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2)]


def test_by_default_sites_are_stacked_one_call_per_channel_z_and_time() -> None:
    stacks = group_stacks(GRID, ["site"])
    assert len(stacks) == 3 * 2 * 2
    assert all([key.site for key in stack] == [1, 2] for _, stack in stacks)


def test_without_variable_components_every_plane_is_its_own_stack() -> None:
    assert [stack for _, stack in group_stacks(GRID, [])] == [(key,) for key in GRID]


def test_numbers_sort_as_numbers() -> None:
    ((_, stack),) = group_stacks([PlaneKey(s, 1, 1, 1) for s in (10, 9, 2, 1)], ["site"])
    assert [key.site for key in stack] == [1, 2, 9, 10]


@pytest.mark.parametrize(
    ("group_by", "listed", "expected"),
    [
        ("channel", ["DAPI"], "DAPI"),
        ("channel", ["2"], "2"),
        ("channel", ["2", "DAPI"], "DAPI"),
        ("channel", ["GFP"], None),
        ("channel", ["3"], None),
        ("z_index", ["5"], "5"),
        ("well", ["B02"], "B02"),
        ("well", ["B03"], None),
        ("site", ["1"], None),  # stacked: no single branch
        ("none", ["1"], None),
    ],
)
def test_the_branch_of_a_stack(group_by: str, listed: list[str], expected: str | None) -> None:
    group = {"channel": 2, "z_index": 5, "timepoint": 1}
    assert branch_value(group, group_by, "B02", {1: "GFP", 2: "DAPI"}, listed) == expected


def test_a_reduced_stack_is_called_like_its_first_plane() -> None:
    stack = (PlaneKey(1, 1, 1, 1), PlaneKey(1, 2, 1, 1))
    assert output_keys(stack, reduces=True) == stack[:1]
    assert output_keys(stack, reduces=False) == stack


def test_best_match_contradicts_least_then_agrees_most_then_comes_first() -> None:
    wanted = {"channel": 1, "z_index": 2}
    assert best_match([], wanted) is None
    assert best_match([{"channel": 2}, {"channel": 1}], wanted) == 1
    assert best_match([{"site": 7}, {"channel": 1}], wanted) == 1
    assert best_match([{}, {"channel": 2}], wanted) == 0
    assert best_match([{"channel": 1}, {"channel": 1, "z_index": 2}], wanted) == 1
    assert best_match([{"channel": 1, "site": 2}, {"channel": 1, "site": 1}], wanted) == 0


@given(st.lists(st.dictionaries(st.sampled_from(COMPONENTS), numbers), max_size=6), st.integers(0, 5))
def test_a_call_with_the_same_components_is_matched_by_one_that_contradicts_nothing(
    candidates: list[dict[str, int]], pick: int
) -> None:
    if candidates:
        wanted = candidates[pick % len(candidates)]
        found = best_match(candidates, wanted)
        assert found is not None
        assert all(wanted.get(name, value) == value for name, value in candidates[found].items())
