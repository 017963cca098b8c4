"""What runs again after a change: exactly the units and stages that the change reaches."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hcs_steps.compile import CompileOptions
from hcs_steps.compile.key import plan_key
from hcs_steps.compile.plan import Plan
from hcs_steps.compile.request import Request
from hcs_steps.compile.source import source_hash
from hcs_steps.pipeline import FunctionStep, Pipeline
from hcs_steps.pipeline.registry import resolve
from hcs_steps.plate.inventory import Plane

DISK = {"vfs": {"intermediate_backend": "disk"}}


def stale(before: Plan, after: Plan) -> set[tuple[str, str]]:
    """(stage, unit) pairs of ``after`` that ``before`` has no result for; the plate's own stages left out."""

    def prints(plan: Plan) -> set[tuple[str, str, str]]:
        return {
            (stage.name, unit, plan.fingerprint(stage, unit))
            for stage in plan.stages
            if stage.scope == "unit"
            for unit in plan.units_of(stage)
        }

    return {(stage, unit) for stage, unit, _ in prints(after) - prints(before)}


def stages(before: Plan, after: Plan) -> set[str]:
    return {stage for stage, _ in stale(before, after)}


def five(lab: Any, changed: int | None = None, **values: Any) -> Plan:
    """Five steps, each its own stage; the argument of one of them changed."""
    steps = [
        FunctionStep((lab.smooth, {"sigma": 9.0 if i == changed else 1.0}), name=f"s{i}") for i in range(5)
    ]
    plan: Plan = lab.plan(steps, config=values.pop("config", DISK), **values)
    return plan


@pytest.mark.parametrize("changed", range(5))
def test_a_changed_argument_reruns_its_step_and_those_after_it(lab: Any, changed: int) -> None:
    assert stages(five(lab), five(lab, changed)) == {f"s{i}" for i in range(changed, 5)}


def test_a_changed_argument_reruns_the_whole_stage_that_holds_its_step(lab: Any) -> None:
    def plan(sigma: float) -> Plan:
        steps = [
            FunctionStep(lab.smooth, name="a"),
            FunctionStep(lab.smooth, name="b", force_disk_output=True),
            FunctionStep((lab.smooth, {"sigma": sigma}), name="c"),
            FunctionStep(lab.smooth, name="d"),
        ]
        made: Plan = lab.plan(steps)
        return made

    assert [s.name for s in plan(1).stages] == ["a_to_b", "c_to_d", "consolidate", "report"]
    assert stages(plan(1), plan(2)) == {"c_to_d"}


@pytest.mark.parametrize("field", ["size", "mtime_ns"])
def test_a_replaced_file_reruns_its_unit_and_nothing_else(lab: Any, field: str) -> None:
    def replaced(plane: Plane) -> Plane:
        return plane._replace(**{field: 77}) if (plane.well, plane.site) == ("A02", 2) else plane

    before, after = five(lab), five(lab, inventory=lab.inventory(change=replaced))
    assert stale(before, after) == {(f"s{i}", "A02") for i in range(5)}
    by_site = [
        five(lab, parallel_by="site", inventory=lab.inventory(change=c)) for c in (lambda p: p, replaced)
    ]
    assert {unit for _, unit in stale(*by_site)} == {"A02_s2"}


def test_a_new_well_reruns_no_other_unit(lab: Any) -> None:
    before = five(lab, inventory=lab.inventory(["A02", "B01"]))
    after = five(lab, inventory=lab.inventory(["A01", "A02", "B01"]))
    assert {unit for _, unit in stale(before, after)} == {"A01"}


def test_a_well_that_looks_different_reruns_no_other_unit(lab: Any) -> None:
    """The numbering of layouts must not be part of any fingerprint."""
    fewer = lab.inventory(drop=lambda p: p.well == "A01" and p.site == 2)
    assert {unit for _, unit in stale(five(lab), five(lab, inventory=fewer))} == {"A01"}


def test_a_well_filter_reruns_only_the_wells_whose_images_differ(lab: Any) -> None:
    def plan(well_filter: Any) -> Plan:
        steps = [
            FunctionStep(lab.smooth, name="a"),
            FunctionStep(lab.smooth, name="b", well_filter=well_filter),
            FunctionStep(lab.find, name="c"),
        ]
        made: Plan = lab.plan(steps, config=DISK)
        return made

    assert ("c", "B01") in stale(plan(None), plan(["A01", "A02"]))
    assert "a" not in stages(plan(None), plan(["A01", "A02"]))
    assert stale(plan(["A01"]), plan(["A01", "B01"])) == {("b", "B01"), ("c", "B01")}
    assert stale(plan(["A01", "B01"]), plan(["A01"])) == {("c", "B01")}


def test_another_selection_of_wells_reruns_nothing(lab: Any) -> None:
    assert stale(five(lab), five(lab, wells="row:A")) == set()


def test_another_backend_reruns_what_it_stores(lab: Any) -> None:
    zarr = five(lab, config={"vfs": {"intermediate_backend": "zarr"}})
    assert stages(five(lab), zarr) == {f"s{i}" for i in range(5)}


def test_how_and_where_jobs_run_changes_no_fingerprint(lab: Any) -> None:
    assert stale(five(lab), five(lab, units_per_job=3)) == set()
    assert stale(five(lab), five(lab, gpu="never", limits={"mem_mb": 64_000})) == set()
    assert stale(five(lab), five(lab, config=DISK | {"num_workers": 7})) == set()


def test_a_branch_from_the_pipeline_start_is_independent(lab: Any) -> None:
    def plan(sigma: float) -> Plan:
        steps = [
            FunctionStep((lab.smooth, {"sigma": sigma}), name="a"),
            FunctionStep(lab.smooth, name="b"),
            FunctionStep(lab.find, name="c", input_source="pipeline_start"),
        ]
        made: Plan = lab.plan(steps, config=DISK)
        return made

    assert plan(1).stage("c").upstream == ()
    assert stages(plan(1), plan(2)) == {"a", "b"}


def test_a_step_that_takes_a_named_output_depends_on_its_maker(lab: Any) -> None:
    steps = [
        FunctionStep(lab.segment, name="a"),
        FunctionStep(lab.measure, name="b", input_source="pipeline_start"),
    ]
    assert lab.plan(steps, config=DISK).stage("b").upstream == ("a",)


def test_any_change_of_a_unit_reaches_the_consolidated_tables(lab: Any) -> None:
    def key(plan: Plan) -> str:
        return plan.fingerprint(plan.stage("consolidate"), "plate")

    changed = lab.inventory(change=lambda p: p._replace(size=1) if p.well == "B01" else p)
    assert len({key(five(lab)), key(five(lab, 0)), key(five(lab, inventory=changed))}) == 3


Edit = Callable[[Path], None]


@pytest.mark.parametrize(
    ("edit", "changes"),
    [
        ("mine.py", True),
        ("helper.py", True),
        ("deep/inner.py", True),
        ("lazy.py", True),
        ("unrelated.py", False),
        ("notes.txt", False),
    ],
)
def test_the_source_hash_covers_helpers_and_nothing_else(tmp_path: Path, edit: str, changes: bool) -> None:
    package = tmp_path / f"lab_{abs(hash(edit))}"
    (package / "deep").mkdir(parents=True)
    files = {
        "__init__.py": "",
        "mine.py": f"from {package.name} import helper\n\ndef f(s):\n    from .lazy import late\n    return s\n",
        "helper.py": "from .deep.inner import value\n",
        "deep/__init__.py": "",
        "deep/inner.py": "value = 1\n",
        "lazy.py": "late = 1\n",
        "unrelated.py": "import os\n",
        "notes.txt": "",
    }
    for name, content in files.items():
        (package / name).write_text(content)
    func = resolve(f"{package.name}.mine:f", (str(tmp_path),))
    before = source_hash(func)
    append(package / edit, "# changed\n")
    assert (source_hash(func) != before) == changes


def test_the_source_hash_follows_absolute_imports_of_a_package_file(tmp_path: Path) -> None:
    package = tmp_path / "lab_in_init"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from lab_in_init.helper import value\n\ndef f(stack):\n    return stack\n"
    )
    (package / "helper.py").write_text("value = 1\n")
    func = resolve("lab_in_init:f", (str(tmp_path),))
    before = source_hash(func)
    append(package / "helper.py", "# changed\n")
    assert source_hash(func) != before


def test_the_source_hash_survives_odd_neighbours(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "linked.py").write_text("import os\n")
    home = tmp_path / "home"
    home.mkdir()
    (home / "own.py").write_text(
        "import linked\n\ndef f(stack):\n    import broken\n    return stack\n".replace(
            "import linked", "", 1
        )
        + "\n    import linked\n"
    )
    (home / "broken.py").write_text("def (:\n")
    (home / "linked.py").symlink_to(elsewhere / "linked.py")
    func = resolve(f"{home.as_posix()}/own.py:f")
    before = source_hash(func)
    append(elsewhere / "linked.py", "# changed\n")
    assert source_hash(func) != before


def append(path: Path, text: str) -> None:
    """Change a file so that its time of change differs, however coarse the clock."""
    path.write_text(path.read_text() + text)
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10_000_000))


def test_the_key_of_a_plan_follows_everything_it_is_made_of(lab: Any, tmp_path: Path) -> None:
    module = tmp_path / "keyed.py"
    module.write_text("def f(stack, a=1):\n    return stack\n")
    step = FunctionStep(f"{module.as_posix()}:f")

    def key(inventory: Any = None, step: FunctionStep = step, **options: Any) -> str:
        settings = CompileOptions(**{"plate_id": "P1", **options})
        return plan_key(Request(inventory or lab.inventory(), Pipeline([step]), settings))

    first = key()
    assert key() == first
    others = [
        key(lab.inventory(["A01"])),
        key(step=FunctionStep((f"{module.as_posix()}:f", {"a": 2}))),
        key(units_per_job=2),
        key(plate_id="P2"),
    ]
    append(module, "# changed\n")
    others.append(key())
    assert len({first, *others}) == 6


def test_a_key_can_be_made_for_a_pipeline_that_cannot_be_compiled(lab: Any) -> None:
    request = Request(lab.inventory(), Pipeline([FunctionStep("nothing")]), CompileOptions(plate_id="P1"))
    assert plan_key(request) == plan_key(request)


@pytest.mark.parametrize(
    ("backend", "change", "matters"),
    [
        ("zarr", {"tiff": {"files": "well"}}, False),
        ("zarr", {"zarr": {"ngff_version": "0.4"}}, True),
        ("zarr", {"zarr": {"codec_pipeline": "zarrs"}}, False),
        ("disk", {"tiff": {"files": "well"}}, True),
        ("disk", {"zarr": {"ngff_version": "0.4"}}, False),
        ("disk", {"zarr": {"compressor": "zstd"}}, True),
        ("zarr", {"tables": {"csv": True}}, False),
    ],
)
def test_only_settings_that_the_written_images_depend_on_make_them_anew(lab, backend, change, matters):
    def fingerprint(extra):
        config = {"vfs": {"materialization_backend": backend}} | extra
        return lab.plan([lab.smooth], config=config).stages[0].fingerprint

    assert (fingerprint({}) != fingerprint(change)) == matters
