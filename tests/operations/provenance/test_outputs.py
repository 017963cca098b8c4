"""processing_results.yaml: what there is by unit and kind, also of a run that did not get to its end."""

import shutil

import pytest
import yaml

from hcs_steps.compile import CompileOptions, compile_plate
from hcs_steps.operations.provenance.outputs import outputs, write_outputs
from hcs_steps.pipeline import FunctionStep, GlobalPipelineConfig, Pipeline
from hcs_steps.plate import open_plate, write_inventory
from hcs_steps.plate.synthetic import make_plate
from hcs_steps.results import Results
from hcs_steps.run import records
from hcs_steps.run.records import Failure, forget, mark_cleaned, write_failure
from hcs_steps.run.runner import Runner

STEPS = [
    FunctionStep("estimate_flatfield", name="flat", scope="plate"),
    FunctionStep("stack_percentile_normalize", name="normalize", force_disk_output=True),
    FunctionStep("count_cells_single_channel", name="count"),
]


def compiled(plate, **config):
    return compile_plate(
        open_plate(plate),
        Pipeline(STEPS, config=GlobalPipelineConfig(**{"tables": {"rois": ["imagej"]}, **config})),
        CompileOptions(plate_id="P1"),
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A plate that ran to its end: its plan and its results."""
    folder = tmp_path_factory.mktemp("outputs")
    make_plate(folder / "plate", wells=("A01", "B02"), sites=(1, 2), shape=(48, 48), cells_per_well=4)
    plan, results = compiled(folder / "plate"), Results(folder / "results")
    results.root.mkdir()
    write_inventory(open_plate(folder / "plate"), results.inventory)
    for stage in plan.stages:
        Runner(plan, results).run(stage, plan.units_of(stage))
    return plan, results


@pytest.fixture
def ran(made, tmp_path):
    """The same, to be changed by one test."""
    plan, results = made
    shutil.copytree(results.root, tmp_path / "results")
    return plan, Results(tmp_path / "results")


def paths(value):
    """All texts in the lists and mappings of a value."""
    if isinstance(value, dict | list):
        return [p for item in (value.values() if isinstance(value, dict) else value) for p in paths(item)]
    return [value]


def test_everything_that_a_unit_made_is_there_by_kind_and_step(ran):
    plan, results = ran
    written = write_outputs(plan, results, run_id="r1")
    found = yaml.safe_load(written.read_text(encoding="utf-8"))
    assert (written, found["plate_id"], found["run"], found["mode"]) == (
        results.outputs_index,
        "P1",
        "r1",
        "full",
    )
    assert found["complete"] is True
    unit = found["units"]["B02"]
    assert (unit["status"], unit["well"]) == ("done", "B02")
    assert list(unit["images"]) == ["normalize", "count"]
    assert unit["labels"]["count"]["cells"] == [
        f"images/count.ome.zarr/B/02/{s}/labels/cells" for s in (1, 2)
    ]
    assert unit["tables"] == {"count": {"cell_counts": "tables/by_unit/count/B02.cell_counts.parquet"}}
    assert [path for path in unit["rois"]["count"] if "B02_s1" in path]
    told = [path for kind in ("images", "labels", "tables", "rois") for path in paths(unit[kind])]
    assert all((results.root / path).exists() for path in told)
    assert all(not path.startswith("/") for path in told)


def test_what_is_made_of_all_units_is_there(ran):
    plan, results = ran
    plate = outputs(plan, results)["plate"]
    assert plate["status"] == "done"
    assert plate["report"] == "report.html"
    assert plate["tables"]["wells"][0] == "tables/wells.parquet"
    assert plate["steps"]["arrays"]["flat"]["flatfield"] == ["arrays/flat/plate.flatfield.0.npy"]


def test_a_partial_run_tells_what_there_is_and_what_failed(ran):
    plan, results = ran
    forget(results, "count", "B02", "to be done again")
    failure = Failure("count", "B02", "count", "ValueError", "bad: é\n- x", "a.tif", "t", "l", 2, "")
    write_failure(results, failure)
    found = outputs(plan, results)
    assert found["complete"] is False
    assert found["units"]["A01"]["status"] == "done"
    unit = found["units"]["B02"]
    assert list(unit) == ["status", "failure", "well", "images"]
    assert list(unit["images"]) == ["normalize"]
    assert unit["failure"]["stage"] == "count"
    assert unit["failure"]["error"] == "bad: é\n- x"
    assert found["plate"]["status"] == "incomplete"
    assert yaml.safe_load(write_outputs(plan, results).read_text(encoding="utf-8")) == found


def test_a_plate_that_never_ran_has_an_index(made, tmp_path):
    plan, _ = made
    found = yaml.safe_load(write_outputs(plan, Results(tmp_path / "new")).read_text())
    assert {unit["status"] for unit in found["units"].values()} == {"incomplete"}
    assert found["units"]["A01"]["lacks"] == ["normalize", "count"]


def test_results_of_other_settings_are_not_listed(ran, made):
    plan, results = ran
    other = compiled(plan.plate.path, zarr={"compressor": "zstd"})
    found = outputs(other, results)["units"]["A01"]
    assert found == {"status": "incomplete", "lacks": ["normalize", "count"], "well": "A01"}


def test_what_is_gone_is_not_listed_and_what_was_cleaned_keeps_the_unit_done(ran):
    plan, results = ran
    image = results.root / "images" / "normalize.ome.zarr" / "A" / "01" / "1"
    shutil.rmtree(image)
    assert outputs(plan, results)["units"]["A01"]["status"] == "incomplete"
    mark_cleaned(results, "normalize", "A01", [results.relative(image)])
    found = outputs(plan, results)["units"]["A01"]
    assert found["status"] == "done"
    assert found["images"]["normalize"] == ["images/normalize.ome.zarr/A/01/2"]


def test_the_same_results_give_the_same_bytes(ran):
    plan, results = ran
    first = write_outputs(plan, results, run_id="r").read_bytes()
    assert write_outputs(plan, results, run_id="r").read_bytes() == first


NAMES = [
    "é ü",
    "no",
    "1e3",
    "null",
    "a: b",
    "- x",
    "#",
    "'\"",
    "tab\there",
    "line\nbreak",
    "\u2028\x85",
    "😀",
    "=",
    "~",
    " x ",
]


def test_names_of_any_characters_come_back_as_they_were(ran):
    plan, results = ran
    for number, name in enumerate(NAMES):
        write_failure(
            results, Failure("normalize", "B02", name, name, name, name, name, name, number + 1, "")
        )
        found = yaml.safe_load(write_outputs(plan, results, run_id=name).read_text(encoding="utf-8"))
        assert found["run"] == name
        assert found["units"]["B02"]["failure"]["error"] == name


def test_a_file_name_that_is_not_utf8_is_escaped(ran):
    plan, results = ran
    name = b"plate\xff.tif".decode(errors="surrogateescape")
    write_failure(results, Failure("normalize", "B02", "s", "k", "e", name, "t", "l", 1, ""))
    found = yaml.safe_load(write_outputs(plan, results).read_text(encoding="utf-8"))
    assert found["units"]["B02"]["failure"]["file"] == r"plate\udcff.tif"


def test_every_record_is_read_once(ran, monkeypatch):
    plan, results = ran
    opened = []

    def counted(path, read=records.read_json):
        opened.append(path)
        return read(path)

    monkeypatch.setattr(records, "read_json", counted)
    outputs(plan, results)
    assert sorted(opened) == sorted(results.root.glob("records/*/*.json"))
