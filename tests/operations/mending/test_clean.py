"""hcs clean: what goes, what stays, and that nothing is lost by it, wherever it is stopped."""

from __future__ import annotations

import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "e2e"))

import e2e_lab
from e2e_lab import Lab, final_outputs, image_files, of_unit, replace_pixels, small_plate, snapshot
from finished_plate import COUNT, NORMALIZE, PLATE_STAGES, TOPHAT, WELLS, Plate, finished

from hcs_steps.commands import clean as command
from hcs_steps.commands import verify as verifying
from hcs_steps.compile.plan import PLATE_UNIT
from hcs_steps.operations.mending import clean
from hcs_steps.operations.mending.clean import (
    find_intermediates,
    remove_intermediates,
    remove_leftovers,
    remove_plate,
)
from hcs_steps.operations.mending.leftovers import KEPT_RUNS, find_leftovers
from hcs_steps.operations.mending.verify import verify
from hcs_steps.pipeline import FunctionStep
from hcs_steps.run.claim import claim
from hcs_steps.run.records import unit_fingerprint, valid_record
from hcs_steps.run.runner import Runner
from hcs_steps.storage import write_json

TEMPORARY = ".x.tmp-12-0a1b2c3d"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Plate:
    return finished(tmp_path_factory.mktemp("original"))


@pytest.fixture
def plate(original: Plate, tmp_path: Path) -> Plate:
    return original.copy(tmp_path)


def clean_intermediates(plate: Plate) -> int:
    return remove_intermediates(plate.plan, plate.results, find_intermediates(plate.plan, plate.results))


def clean_leftovers(plate: Plate) -> int:
    chosen = [item for item in leftovers(plate) if item.kind in ("former", "temporary")]
    return remove_leftovers(plate.results, chosen)


def leftovers(plate: Plate) -> Iterable[Any]:
    return find_leftovers(plate.plan, plate.results)


def told(plate: Plate, kind: str) -> dict[str, str]:
    """Path -> why, of the leftovers of a kind."""
    return {plate.results.relative(item.path): item.why for item in leftovers(plate) if item.kind == kind}


def stores(plate: Plate) -> list[str]:
    return sorted(path.name for path in plate.results.images.iterdir())


def done(plate: Plate, *, files: bool) -> set[tuple[str, str]]:
    """(stage, unit) of all units that have a valid record."""
    return {
        (stage.name, unit)
        for stage in plate.plan.stages
        if stage.scope == "unit"
        for unit in plate.plan.units_of(stage)
        if valid_record(
            plate.results,
            stage.name,
            unit,
            unit_fingerprint(plate.plan, plate.results, stage, unit),
            files=files,
        )
    }


def markers(plate: Plate) -> set[tuple[str, str]]:
    """(stage, job) of all markers that are there."""
    return {
        (path.parent.name, path.stem)
        for path in plate.results.marker("x", "x").parent.parent.glob("*/*.json")
    }


def arguments(plate: Plate, *options: str) -> Namespace:
    flags = {name: f"--{name}" in options for name in ("intermediates", "leftovers", "plate", "yes")}
    return Namespace(plates=[str(plate.results.root)], config="none.yaml", **flags)


def test_without_flags_nothing_goes(plate: Plate, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(plate.results.root)
    assert command.run(arguments(plate)) == 0
    said = capsys.readouterr().out
    assert snapshot(plate.results.root) == before
    for text in (
        "--intermediates",
        "intermediate images of normalize",
        "intermediate images of tophat",
        "3 units",
    ):
        assert text in said


def test_intermediate_images_of_finished_units_go_and_their_records_stay(plate: Plate) -> None:
    everything = done(plate, files=True)
    expected = sum(
        item["size"]
        for stage in ("normalize", "tophat")
        for well in WELLS
        for item in plate.record(stage, well)["published"]
    )
    assert clean_intermediates(plate) == expected > 0
    assert stores(plate) == ["count.ome.zarr"]
    assert done(plate, files=False) == everything
    assert everything - done(plate, files=True) == {(s, w) for s in ("normalize", "tophat") for w in WELLS}
    assert markers(plate) == {("count", well) for well in WELLS} | PLATE_STAGES
    assert verify(plate.plan, plate.results) == ()
    assert clean_intermediates(plate) == 0


def test_plate_stages_labels_and_outlines_work_without_intermediate_images(plate: Plate) -> None:
    undisturbed = plate.outputs()
    clean_intermediates(plate)
    runner = Runner(plate.plan, plate.results)
    for stage in plate.plan.stages:
        if stage.scope == "plate":
            assert runner.run(stage, [PLATE_UNIT]).skipped == [PLATE_UNIT], "nothing has changed for it"
    forced = Runner(plate.plan, plate.results, force=True)
    for stage in plate.plan.stages:
        if stage.scope == "plate":
            assert not forced.run(stage, [PLATE_UNIT]).failed
    kept = {
        path: content
        for path, content in undisturbed.items()
        if "/normalize/" not in path and "/tophat/" not in path
    }
    assert plate.outputs() == kept
    assert any(path.startswith("exports/rois/count/") for path in kept)
    assert any("/labels/" in path for path in kept)


def test_what_is_needed_again_is_made_again(plate: Plate) -> None:
    undisturbed = plate.outputs()
    clean_intermediates(plate)
    assert plate.run() == {(stage, well) for stage in ("normalize", "tophat") for well in WELLS}
    assert plate.outputs() == undisturbed
    assert done(plate, files=True) == done(plate, files=False)


@pytest.mark.parametrize("units_per_job", [1, 3])
def test_units_that_are_not_done_keep_their_intermediate_images(plate: Plate, units_per_job: int) -> None:
    plate = plate.replan(units_per_job=units_per_job)
    plate.run()
    plate.results.record("count", "B02").unlink()
    clean_intermediates(plate)
    left = {path.name for path in (plate.results.images / "tophat").iterdir()}
    # A job runs for all its units, so those of a chunk go or stay together.
    assert left == ({"B02"} if units_per_job == 1 else set(WELLS))
    assert plate.paths("normalize", "B02")[0].exists()
    reasons = {item.kept for item in find_intermediates(plate.plan, plate.results)}
    assert reasons == {"units that are not done need them"}


def test_images_that_a_plate_scope_step_reads_stay(plate: Plate, capsys: pytest.CaptureFixture[str]) -> None:
    """One well that changes would need the images of all."""
    qc = FunctionStep("finished_plate:summary", name="qc", scope="plate")
    plate = plate.replan(steps=[NORMALIZE, TOPHAT, qc, COUNT])
    plate.run()
    assert command.run(arguments(plate, "--intermediates")) == 0
    assert stores(plate) == ["count.ome.zarr", "tophat"]
    assert "the plate-scope step qc reads all of them" in capsys.readouterr().out
    plate.results.record("qc", PLATE_UNIT).unlink()
    assert plate.run() >= {("qc", PLATE_UNIT)}
    assert plate.record("qc", PLATE_UNIT)["notes"] == []


def stopped_after(calls: int, monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> bool:
    """Do work, but end it as it removes or writes the next thing after so many; whether it was ended."""
    left = calls

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*given: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return change(*given, **named)

        return changed

    with monkeypatch.context() as patch:
        for name in ("mark_cleaned", "remove_path"):
            patch.setattr(clean, name, counted(getattr(clean, name)))
        patch.setattr(Path, "unlink", counted(Path.unlink))
        patch.setattr(os, "rename", counted(os.rename))
        try:
            work()
        except KeyboardInterrupt:
            return True
    return False


def assert_a_plain_run_mends_it(plate: Plate) -> None:
    """Snakemake starts a job for a missing marker if it is needed, so no marker may stand for files that are gone; and
    a record that is gone must be missed by the marker of its job and of all that follows.
    """
    there, marked = done(plate, files=True), markers(plate)
    for stage in plate.plan.stages:
        for job, units in plate.plan.jobs_of(stage).items():
            if stage.scope == "unit" and (stage.name, job) in marked:
                assert all((stage.name, unit) in there for unit in units)
    if done(plate, files=False) != {
        (s.name, u) for s in plate.plan.stages if s.scope == "unit" for u in WELLS
    }:
        assert not marked & PLATE_STAGES
        assert not marked & {("count", well) for well in WELLS}


def test_cleaning_intermediates_leaves_a_strange_file_in_their_store(plate: Plate) -> None:
    notes = plate.results.images / "normalize" / "notes.txt"
    notes.write_text("mine")
    clean_intermediates(plate)
    assert notes.read_text() == "mine"
    left = [path for path in (plate.results.images / "normalize").rglob("*") if path.is_file()]
    assert left == [notes]


def test_cleaning_intermediates_can_be_stopped_anywhere(
    original: Plate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    while True:
        plate = original.copy(tmp_path / str(calls))
        stopped = stopped_after(calls, monkeypatch, lambda plate=plate: clean_intermediates(plate))
        assert_a_plain_run_mends_it(plate)
        assert len(done(plate, files=False)) == 9
        clean_intermediates(plate)
        clean_leftovers(plate)
        assert stores(plate) == ["count.ome.zarr"]
        assert markers(plate) == {("count", well) for well in WELLS} | PLATE_STAGES
        shutil.rmtree(plate.home / "results")
        if not stopped:
            break
        calls += 1
    assert calls > 12


def test_removing_a_plate_can_be_stopped_anywhere(
    original: Plate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    while True:
        plate = original.copy(tmp_path / str(calls))
        stopped = stopped_after(
            calls, monkeypatch, lambda plate=plate: remove_plate(plate.plan, plate.results)
        )
        if stopped:
            assert_a_plain_run_mends_it(plate)
            remove_plate(plate.plan, plate.results)
        assert not plate.results.root.exists()
        if not stopped:
            break
        calls += 1
    assert calls > 12


def test_what_a_former_pipeline_left_is_found_and_goes(plate: Plate) -> None:
    background = FunctionStep(("tophat", {"selem_radius": 4, "downsample_factor": 1}), name="background")
    plate = plate.replan(steps=[NORMALIZE, background], config={"tables": {"csv": True}})
    plate.run()
    for path in ("tables/cell_counts.parquet", "exports/well_summary.csv"):  # of a run that lost its record
        (plate.results.root / path).write_text("")
    result = plate.outputs()
    former = told(plate, "former")
    for path in ("images/tophat", "images/count.ome.zarr", "images/normalize", "records/count/A01.json",
                 "jobs/tophat/C03.json", "tables/cell_counts.parquet", "exports/well_summary.csv"):  # fmt: skip
        assert path in former, former
    assert former["records/count/A01.json"] == "stage count is not in the plan"
    assert {path.split("/")[0] for path in former} == {"images", "records", "jobs", "tables", "exports"}
    assert clean_leftovers(plate) > 0
    assert told(plate, "former") == {}
    assert not (plate.results.root / "exports").exists(), "an empty folder is nobody's"
    assert plate.run() == set()
    assert verify(plate.plan, plate.results) == ()
    gone = tuple(former)
    assert plate.outputs() == {path: content for path, content in result.items() if not path.startswith(gone)}
    assert stores(plate) == ["background.ome.zarr"]


def test_wells_that_are_left_out_stay_and_come_back_for_nothing(plate: Plate) -> None:
    undisturbed = plate.outputs()
    narrow = plate.replan(wells=["A01", "B02"])
    assert narrow.run() == PLATE_STAGES
    left_out = told(narrow, "left out")
    assert {"records/count/C03.json", "images/count.ome.zarr/C/03", "images/normalize/C03"} <= set(left_out)
    assert all("C03" in path or "C/03" in path for path in left_out)
    assert told(narrow, "former") == {}
    clean_intermediates(narrow)
    assert (narrow.results.images / "tophat" / "C03").is_dir()
    clean_leftovers(narrow)
    wide = narrow.replan()
    computed = wide.run()
    assert not [unit for _, unit in computed if unit == "C03"]
    assert wide.outputs() == undisturbed


def test_units_that_are_cut_otherwise_now_are_left_of_a_former_plan(plate: Plate) -> None:
    by_site = plate.replan(parallel_by="site")
    by_site.run()
    former = told(by_site, "former")
    assert former["records/count/A01.json"] == "of units or jobs that were cut otherwise"
    assert not told(by_site, "left out")
    clean_leftovers(by_site)
    assert by_site.run() == set()
    assert verify(by_site.plan, by_site.results) == ()


def test_temporary_things_metadata_of_two_versions_and_old_notes_go(plate: Plate) -> None:
    root = plate.results.root
    expected = set()
    for folder in (".", "images", "images/count.ome.zarr", "images/count.ome.zarr/A/01", "images/tophat/B02",
                   "records/count", "tables", "tables/by_unit/count", "plans"):  # fmt: skip
        (root / folder / TEMPORARY).mkdir(parents=True)
        expected.add((Path(folder) / TEMPORARY).as_posix())
    assert set(told(plate, "temporary")) == expected

    for folder in ("", "A/", "A/01/"):
        (root / f"images/count.ome.zarr/{folder}.zattrs").write_text("{}")
    other = root / "images/count.ome.zarr/B/02/7"
    other.mkdir()
    (other / ".zattrs").write_text("{}")
    write_json(plate.results.plan_copy("0" * 32), {})
    write_json(plate.results.plan_copy(plate.plan.hash), {})
    for number in range(KEPT_RUNS + 2):
        write_json(plate.results.runs_folder / f"20260101-0000{number:02d}-abc.json", {})
    write_json(plate.results.gate("count"), {})
    write_json(plate.results.gate("gone"), {})
    assert set(told(plate, "former")) == {
        "images/count.ome.zarr/.zattrs",
        "images/count.ome.zarr/A/.zattrs",
        "images/count.ome.zarr/A/01/.zattrs",
        "images/count.ome.zarr/B/02/7",
        f"plans/{'0' * 32}.json",
        "runs/20260101-000000-abc.json",
        "runs/20260101-000001-abc.json",
        "gates/gone.json",
    }
    before = done(plate, files=True)
    clean_leftovers(plate)
    assert (told(plate, "former"), told(plate, "temporary")) == ({}, {})
    assert done(plate, files=True) == before
    assert plate.run() == set()


FOREIGN = ("notes.txt", "analysis/plot.png", "tables/mine.csv", "images/overlay.png", "images/other.zarr/zarr.json",
           "records/readme.md", "records/count/readme.md", "exports/slides.pptx", "arrays/x.npy")  # fmt: skip


def test_removing_a_plate_takes_what_hcs_steps_made_and_nothing_else(
    plate: Plate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.tif").write_text("pixels")
    root = plate.results.root
    for path in FOREIGN:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("{}")
    (root / "link").symlink_to(outside)
    (root / "images" / "linked.ome.zarr").symlink_to(outside)
    raw = snapshot(plate.home / "plate")
    assert command.run(arguments(plate, "--plate", "--yes")) == 0
    left = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if not path.is_dir() or path.is_symlink()
    }
    assert left == {*FOREIGN, "link", "images/linked.ome.zarr"}
    assert snapshot(plate.home / "plate") == raw
    assert (outside / "precious.tif").read_text() == "pixels"
    said = capsys.readouterr().out
    assert all(path.split("/")[0] in said for path in FOREIGN)
    again = plate.replan()
    assert len(again.run()) == 9 + len(PLATE_STAGES)


@pytest.mark.parametrize("content", ["{}", "", '{"version": 99}'])
def test_a_plate_whose_plan_cannot_be_read_can_be_removed(plate: Plate, content: str) -> None:
    plate.results.plan.write_text(content)
    assert command.run(arguments(plate, "--intermediates")) == 2
    assert command.run(arguments(plate, "--plate", "--yes")) == 0
    assert not plate.results.root.exists()


def test_a_plate_goes_only_with_a_yes(plate: Plate, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(arguments(plate, "--plate")) == 2
    assert plate.results.plan.exists()
    assert "--yes" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--intermediates", "--leftovers", "--plate"])
@pytest.mark.parametrize("how", ["a run", "a job on a cluster", "a job that has lost its run"])
def test_nothing_goes_while_a_run_is_going_on(
    plate: Plate, option: str, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    me = psutil.Process()
    lock = claim(plate.results) if how == "a run" else None
    if lock is None:
        own = {"machine": os.uname().nodename, "pid": me.pid, "process_start": me.create_time()}
        there = {"machine": "node17", "pid": 1, "process_start": 0.0}
        write_json(plate.results.running("count", "A01"), there if "cluster" in how else own)
    before = snapshot(plate.results.root)
    assert command.run(arguments(plate, option, "--yes")) == 2
    assert {
        path: found for path, found in snapshot(plate.results.root).items() if path != ".lock"
    } == before or lock
    assert stores(plate) == ["count.ome.zarr", "normalize", "tophat"]
    assert "Wait until it has ended" in capsys.readouterr().err
    if lock is not None:
        lock.release()
    plate.results.running("count", "A01").unlink(missing_ok=True)
    assert command.run(arguments(plate, option, "--yes")) == 0


@pytest.mark.e2e
@pytest.mark.slow
def test_snakemake_makes_again_what_is_needed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sequence, because every run starts from the state that the one before has left."""
    raw = small_plate(tmp_path / "P1", wells=["A01", "B01"], sites=(1, 1))
    count = {"name": "count", "func": ["functions.pixels:offset", e2e_lab.COUNT["func"]]}
    steps = [e2e_lab.NORMALIZE, e2e_lab.TOPHAT, count]
    disk = {"vfs": {"intermediate_backend": "disk"}}
    lab = Lab.create(tmp_path / "lab", [raw], {"config": disk, "steps": steps})
    assert lab.call().code == 0
    images = lab.results / "images"
    monkeypatch.chdir(lab.root)
    nothing = {"intermediates": False, "leftovers": False, "plate": False, "yes": False}
    cleaning = Namespace(plates=[], config="config/config.yaml", **(nothing | {"intermediates": True}))

    assert command.run(cleaning) == 0
    assert [path.name for path in images.iterdir()] == ["count.ome.zarr"]
    assert lab.call().idle
    replace_pixels(image_files(raw, "B01")[0])
    run = lab.run()
    assert (run.code, run.computed) == (0, of_unit("B01") | PLATE_STAGES), run.output
    assert [path.name for path in (images / "tophat").iterdir()] == ["B01"]

    lab.edit("functions/pixels.py", "Add a constant.", "Add a number.")
    before = final_outputs(lab.results)
    run = lab.run()
    assert (run.code, run.computed) == (0, of_unit("A01") | {("count", "B01")} | PLATE_STAGES), run.output
    after = final_outputs(lab.results)
    assert {path: content for path, content in after.items() if path in before} == before
    assert lab.call().idle


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.parametrize("notes", ["snakemake's notes", "a copy without them"])
def test_snakemake_computes_again_what_was_damaged_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: str
) -> None:
    raw = small_plate(tmp_path / "P1", wells=["A01", "B01"], sites=(1, 1))
    lab = Lab.create(tmp_path / "lab", [raw], e2e_lab.three_stages())
    assert lab.call().code == 0
    undisturbed = final_outputs(lab.results)
    if notes.startswith("a copy"):
        shutil.rmtree(lab.root / ".snakemake")
    monkeypatch.chdir(lab.root)
    shutil.rmtree(lab.results / "images/tophat/B01")
    (part,) = lab.results.glob("tables/by_unit/count/A01.*.parquet")
    part.write_bytes(part.read_bytes()[:-7])
    assert lab.call().idle, "Snakemake does not look into files"

    looking = Namespace(plates=[], config="config/config.yaml", fix=False, quick=True, jobs=2)
    assert verifying.run(looking) == 1
    assert verifying.run(Namespace(**{**vars(looking), "fix": True})) == 1
    run = lab.run()
    assert (run.code, run.computed) == (0, {("tophat", "B01"), ("count", "A01")}), run.output
    assert final_outputs(lab.results) == undisturbed
    assert verifying.run(looking) == 0
    assert lab.call().idle
