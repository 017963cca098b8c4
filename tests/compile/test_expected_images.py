"""What a store is told of images before they are made."""

from pathlib import Path

import pytest

from hcs_steps.compile.stores import store_spec
from hcs_steps.pipeline import FunctionStep


def expected(lab, steps, step=-1, **shape):
    plan = lab.plan(steps, lab.inventory(**shape))
    return store_spec(plan, plan.steps[step], Path("results")).expected


def test_planes_type_and_names_are_those_that_the_steps_will_leave(lab):
    found = expected(lab, [lab.smooth, lab.widen], wells=["A01"], sites=2)
    ((look,),) = found.values()
    assert (look.dtype, look.height, look.width) == ("float64", 512, 512)
    assert len(look.planes) == 4
    assert dict(look.channels) == {1: "DAPI", 2: "GFP"}
    assert look.pixel_size_um == 0.65


def test_a_projection_leaves_one_plane_of_its_stack(lab):
    step = FunctionStep(lab.project, variable_components="z_index")
    ((look,),) = expected(lab, [step], wells=["A01"], sites=1, channels=["DAPI"], z=5).values()
    assert len(look.planes) == 1


def test_of_a_well_by_sites_every_unit_is_expected(lab):
    plan = lab.plan([lab.smooth], lab.inventory(wells=["A01"], sites=2), parallel_by="site")
    found = store_spec(plan, plan.steps[0], Path("results")).expected
    assert [sorted({key.site for key in look.planes}) for look in found["A01"]] == [[1], [2]]


@pytest.mark.parametrize(
    "resizing",
    [("rescale", {"factor": 2}), ("crop", {"size": 100}), ("assemble_stack", {"positions": [[0, 0]] * 4})],
)
def test_nothing_is_expected_where_the_size_is_not_known(lab, resizing):
    assert expected(lab, [FunctionStep(resizing)]) == {}
    assert expected(lab, [FunctionStep(resizing), lab.smooth]) == {}


def test_intermediates_are_not_announced(lab):
    plan = lab.plan([lab.smooth, lab.widen], config={"vfs": {"intermediate_backend": "zarr"}})
    assert store_spec(plan, plan.steps[0], Path("results")).expected == {}
