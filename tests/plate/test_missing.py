"""What is missing is told by the metadata's list if there is one, else by the neighbours."""

from __future__ import annotations

from itertools import product

from hcs_steps.plate.inventory import PlaneKey
from hcs_steps.plate.missing import absent_sites, missing_planes, missing_problems


def keys(wells, sites=(1, 2), channels=(1, 2), z=(1,), t=(1,)):
    return {PlaneKey(*key) for key in product(wells, sites, channels, z, t)}


def test_a_list_is_believed_over_the_neighbours():
    found = keys(["A01"]) | keys(["A02"], sites=(1,), channels=(1,))
    listed = found | keys(["B01"], sites=(3,), channels=(1,))
    assert missing_planes(found, listed) == (("B01", 3, 1, 1, 1),)
    assert missing_planes(found, found) == ()
    assert missing_planes(found, None) == (("A02", 1, 2, 1, 1),)


def test_a_site_that_a_well_lacks_altogether_is_a_hint_only():
    found = keys(["A01", "A02", "A03"]) - keys(["A02"], sites=(2,))
    assert missing_planes(found, None) == ()
    assert [problem.what for problem in absent_sites(found)] == ["A02 s2"]


def test_wells_with_sites_of_their_own_are_no_problem():
    found = set().union(*(keys([f"A0{n}"], sites=(10 * n, 10 * n + 1)) for n in (1, 2, 3)))
    assert missing_planes(found, None) == ()
    assert absent_sites(found) == ()


def test_a_stack_of_one_channel_is_not_expected_of_another():
    found = keys(["A01", "A02"], channels=(1,), z=(0,)) | keys(["A01", "A02"], channels=(2,), z=(1, 2, 3))
    assert missing_planes(found, None) == ()
    lost = PlaneKey("A02", 2, 2, 3, 1)
    assert missing_planes(found - {lost}, None) == (lost,)


def test_whole_wells_channels_and_timepoints_are_one_problem_each():
    listed = keys(["A01", "A02", "B10", "AA01"], t=(1, 2))
    lost = keys(["AA01"], t=(1, 2)) | keys(["A02"], channels=(2,), t=(1, 2)) | keys(["B10"], t=(2,))
    single = PlaneKey("A01", 1, 1, 1, 1)
    missing = missing_planes(listed - lost - {single}, listed)
    assert missing[0] == single
    assert missing[-1].well == "AA01"
    problems = missing_problems(listed - lost - {single}, missing)
    assert [problem.what for problem in problems] == ["A01 s1 c1 z1 t1", "A02 c2", "B10 t2", "AA01"]
    assert problems[-1].why == "The well has none of its 8 planes."
