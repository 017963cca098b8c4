"""``hcs explain``: the story of a well, stage by stage, as text and for programs."""

import json
import os
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import psutil
import pytest
import yaml

from hcs_steps.commands import explain
from hcs_steps.emit.prepare import prepare_plates
from hcs_steps.emit.workflow import Workflow
from hcs_steps.errors import ConfigError, PlateError
from hcs_steps.plate.synthetic import make_plate
from hcs_steps.run.records import Failure, forget, write_failure
from hcs_steps.run.runner import Runner
from hcs_steps.settings import load_settings
from hcs_steps.storage.atomic import write_json

PIPELINE = {
    "config": {"vfs": {"intermediate_backend": "disk"}},
    "steps": [
        {"name": "flat", "func": "estimate_flatfield", "scope": "plate"},
        {"name": "tophat", "func": {"use": "tophat", "with": {"selem_radius": 6}}},
        {"name": "count", "func": "count_cells_single_channel"},
    ],
}


class Lab:
    """A lab repository whose plate ran in this process."""

    def __init__(self, root):
        self.root = root

    def prepare(self):
        (prepared,) = prepare_plates(load_settings(Path("config.yaml")), root=self.root)
        return prepared

    def run(self, *stages):
        prepared = self.prepare()
        Workflow({prepared.results.root.as_posix(): prepared.plan}, [prepared]).write()
        for stage in prepared.plan.stages:
            if not stages or stage.name in stages:
                Runner(prepared.plan, prepared.results).run(stage, prepared.plan.units_of(stage))

    def write(self, pipeline=PIPELINE, plates=("plate",), **settings):
        (self.root / "p.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
        values = {"output": "results", "defaults": {"pipeline": "p.yaml"}, **settings}
        values["plates"] = [{"path": name} for name in plates]
        (self.root / "config.yaml").write_text(yaml.safe_dump(values))

    def change(self, **arguments):
        steps = [*PIPELINE["steps"]]
        steps[1] = {"name": "tophat", "func": {"use": "tophat", "with": arguments}}
        self.write({**PIPELINE, "steps": steps})

    def explain(self, well="A01", **options):
        values = {
            "well": well,
            "stage": None,
            "plate": None,
            "mode": None,
            "json": False,
            "config": "config.yaml",
        }
        return explain.run(Namespace(**(values | options)))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = tmp_path_factory.mktemp("lab")
    make_plate(root / "plate", wells=("A01", "B02"), sites=(1, 1), shape=(48, 48), cells_per_well=4)
    lab = Lab(root)
    before = Path.cwd()
    os.chdir(root)
    try:
        lab.write()
        lab.run()
    finally:
        os.chdir(before)
    return root


@pytest.fixture
def lab(finished, tmp_path, monkeypatch):
    """A finished plate, to be changed by one test."""
    shutil.copytree(finished, tmp_path / "lab")
    monkeypatch.chdir(tmp_path / "lab")
    return Lab(tmp_path / "lab")


@pytest.fixture
def told(lab, capsys):
    """``told(well)``: stage -> what is told of it for programs."""

    def tell(well="A01", **options):
        capsys.readouterr()
        assert lab.explain(well, json=True, **options) == 0
        document = json.loads(capsys.readouterr().out)
        assert list(document) == ["plate", "results", "plan", "mode", "well", "stages"]
        return {(one["stage"], one["unit"]): one for one in document["stages"]}

    return tell


def states(told):
    return {stage: one["state"] for (stage, _), one in told.items()}


def test_a_finished_well_says_how_its_results_were_made(lab, told, capsys):
    found = told("a1")
    assert states(found) == {"tophat": "up to date", "count": "up to date"}
    one = found["tophat", "A01"]
    assert one["would_run"] == []
    assert one["parameters"] == [["tophat", "tophat", {"selem_radius": 6}]]
    assert one["record"]["because"] == ["no record: it has not run yet"]
    lab.explain("A01")
    text = capsys.readouterr().out
    for piece in (
        "plate, A01   plan", "tophat   up to date", "because   no record: it has not run yet", "mode full",
        "tophat: tophat(selem_radius=6)", "made      images/tophat/A01/s1", "hcs-steps ", "now       up to date",
    ):  # fmt: skip
        assert piece in text


def test_nothing_is_written(lab, told):
    before = {p: p.stat().st_mtime_ns for p in lab.root.rglob("*") if "__pycache__" not in p.parts}
    lab.change(selem_radius=8)
    told("A01")
    after = {p: p.stat().st_mtime_ns for p in lab.root.rglob("*") if "__pycache__" not in p.parts}
    changed = {p.name for p in after if before.get(p) != after[p]}
    assert changed <= {"p.yaml", "config.yaml"}


def test_a_changed_parameter_is_why_a_well_would_run_and_later_why_it_ran(lab, told):
    lab.change(selem_radius=8)
    now = told()
    sentence = "parameter selem_radius of tophat in step tophat: 6 -> 8"
    assert now["tophat", "A01"]["would_run"] == [sentence]
    assert now["count", "A01"]["would_run"] == [f"the result of stage tophat changed: {sentence}"]
    assert now["count", "A01"]["waits"] == ["stage tophat is out of date"]
    lab.run()
    now = told()
    assert states(now) == {"tophat": "up to date", "count": "up to date"}
    assert now["tophat", "A01"]["record"]["because"] == [sentence]


def test_a_replaced_file_is_named_to_its_well_and_to_no_other(lab, told):
    (file,) = lab.root.glob("plate/**/*_A01_*w1*")
    os.utime(file)
    path = file.relative_to(lab.root / "plate").as_posix()
    assert told()["tophat", "A01"]["would_run"] == [f"its raw images changed: {path}"]
    assert told("B02")["tophat", "B02"]["would_run"] == []
    assert told("plate")["flat", "plate"]["would_run"] == ["the raw images of A01 changed"]


def test_a_failure_is_told_with_what_to_do_and_blocks_what_comes_after(lab, told, capsys):
    results = lab.prepare().results
    for stage in ("tophat", "count"):
        results.record(stage, "A01").unlink()
    failure = Failure(
        "tophat",
        "A01",
        "tophat",
        "ValueError",
        "no light",
        "a.tif",
        "2026-07-01T10:00:00+00:00",
        "l.log",
        2,
        "",
    )
    write_failure(results, failure)
    found = told()
    assert states(found) == {"tophat": "failed", "count": "blocked"}
    assert found["tophat", "A01"]["would_run"] == ["its last attempt failed: no light"]
    assert found["count", "A01"]["waits"] == ["stage tophat is failed: no light"]
    lab.explain()
    text = capsys.readouterr().out
    for piece in (
        "attempt 2, in step tophat: ValueError",
        "no light",
        "file a.tif",
        "log l.log",
        "hcs retry",
        "hcs step --plan",
    ):
        assert piece in text


def test_a_dropped_record_says_why(lab, told):
    forget(lab.prepare().results, "count", "A01", "images/count is damaged")
    one = told()["count", "A01"]
    assert (one["state"], one["would_run"]) == ("not run yet", ["it was dropped: images/count is damaged"])


def test_units_at_work_and_those_that_died_are_told(lab, told, capsys):
    results = lab.prepare().results
    results.record("count", "A01").unlink()
    me = psutil.Process()
    file = {"stage": "count", "unit": "A01", "machine": os.uname().nodename, "pid": me.pid, "step": "count"}
    file |= {"process_start": me.create_time(), "started": "2026-07-01T10:00:00.000+00:00"}
    file |= {"item": 1, "items": 2, "what": "site 1"}
    write_json(results.running("count", "A01"), file)
    assert states(told())["count"] == "running"
    lab.explain()
    assert "step count 1 of 2 (site 1)" in capsys.readouterr().out
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    write_json(results.running("count", "A01"), file | {"pid": int(ended.stdout)})
    assert states(told())["count"] == "died"


def test_a_stage_that_is_left_out_says_why_and_would_not_run(lab, told):
    lab.write(until="tophat")
    one = told()["count", "A01"]
    assert (one["state"], one["left_out"], one["would_run"]) == ("left out", "it comes after tophat", [])


def test_before_the_first_run_everything_would_run(lab, told):
    shutil.rmtree(lab.root / "results")
    found = told()
    assert states(found) == {"tophat": "not run yet", "count": "not run yet"}
    assert found["count", "A01"]["waits"] == ["stage tophat is not run yet"]
    assert not (lab.root / "results").exists()


def test_a_well_that_builds_on_the_plate_waits_for_its_stage(lab, told, capsys):
    lab.write({**PIPELINE, "steps": [PIPELINE["steps"][0], {"name": "fix", "func": "apply_flatfield"}]})
    lab.run("fix")
    (file,) = lab.root.glob("plate/**/*_A01_*w1*")
    os.utime(file)
    one = told("B02")["fix", "B02"]
    assert (one["state"], one["would_run"]) == ("up to date", [])
    assert one["waits"] == ["stage flat (of the plate) is out of date"]
    lab.explain("B02")
    assert "would run again if what it waits for comes out otherwise" in capsys.readouterr().out


def test_one_stage_can_be_asked_for_and_the_plates_stages_too(told):
    assert list(told(stage="count")) == [("count", "A01")]
    assert list(told(stage="consolidate")) == [("consolidate", "plate")]
    assert [stage for stage, _ in told("plate")] == ["flat", "consolidate", "report"]


def test_every_site_is_told_where_units_are_sites(lab, told):
    lab.write(defaults={"pipeline": "p.yaml", "parallel_by": "site"})
    assert list(told(stage="count")) == [("count", "A01_s1")]
    assert list(told("A01_s1", stage="count")) == [("count", "A01_s1")]


def test_a_record_of_before_plans_were_kept_is_told_as_far_as_it_goes(lab, told, capsys):
    path = lab.prepare().results.record("tophat", "A01")
    record = json.loads(path.read_text())
    for name in ("plan", "mode", "because", "version"):
        del record[name]
    path.write_text(json.dumps(record))
    assert states(told())["tophat"] == "up to date"
    lab.change(selem_radius=8)
    assert "does not say which plan made it" in told()["tophat", "A01"]["would_run"][0]
    assert lab.explain() == 0
    assert "not known" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"well": "C03"}, PlateError, "no well C03. It has A01, B02"),
        ({"stage": "cuont"}, ConfigError, "count"),
        ({"plate": "other"}, ConfigError, "no plate 'other'"),
        ({"config": "nowhere.yaml"}, ConfigError, "nowhere.yaml"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(lab, options, error, text):
    with pytest.raises(error) as caught:
        lab.explain(**options)
    assert text in str(caught.value)


def test_of_several_plates_one_has_to_be_named(lab):
    shutil.copytree(lab.root / "plate", lab.root / "plate2")
    lab.write(plates=("plate", "plate2"))
    with pytest.raises(ConfigError, match=r"2 plates.*plate, plate2"):
        lab.explain()
    assert lab.explain(plate="plate2") == 0


def test_a_stage_that_a_well_is_left_out_of_is_said_to_be(lab):
    steps = [*PIPELINE["steps"]]
    steps[2] = {**steps[2], "well_filter": ["B02"]}
    lab.write({**PIPELINE, "steps": steps})
    with pytest.raises(PlateError, match="count is not for A01"):
        lab.explain(stage="count")
