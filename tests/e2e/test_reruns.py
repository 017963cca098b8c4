"""What a run computes after a change: everything that depends on it, and nothing else."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from e2e_lab import (
    PLATE,
    PLATE_STAGES,
    UNIT_STAGES,
    Lab,
    Run,
    contents,
    final_outputs,
    image_files,
    leftovers,
    of_unit,
    one_stage,
    replace_pixels,
    small_plate,
    three_stages,
)

from hcs_steps.storage import read_table

pytestmark = pytest.mark.e2e

END = Counter({"qc": 1, "consolidate": 1, "report": 1, "finish": 1, "all": 1})


def jobs_per_stage(units_per_job: int, wells: Sequence[str]) -> int:
    return -(-len(wells) // units_per_job)


def test_first_run_makes_records_tables_and_images(
    first_run: tuple[Lab, Run], wells: Sequence[str], units_per_job: int
) -> None:
    lab, run = first_run
    everything = {(stage, well) for stage in UNIT_STAGES for well in wells} | PLATE
    count = jobs_per_stage(units_per_job, wells)

    plan = json.loads((lab.results / "plan.json").read_text())
    assert [stage["name"] for stage in plan["stages"]] == [*UNIT_STAGES, *PLATE_STAGES]
    assert run.code == 0, run.output
    assert run.computed == set(lab.records()) == everything
    assert run.finished == END + Counter(dict.fromkeys(UNIT_STAGES, count))
    assert all(record["success"] for record in lab.records().values())
    assert lab.failures() == {}
    assert lab.rows("failures.csv") == []
    assert leftovers(lab.results) == []

    cells = read_table(lab.results / "tables" / "cell_counts.parquet")
    rows = {row["Metadata_Well"]: row for row in lab.rows("tables/wells.csv")}
    assert lab.statuses() == dict.fromkeys(wells, "done")
    for well, row in rows.items():
        for channel in ("DAPI", "GFP"):
            there = (cells["Metadata_Well"] == well) & (cells["Metadata_Channel"] == channel)
            assert int(row[f"Count_cell_counts_{channel}"]) == there.sum()
    objects = {row["unit"]: int(row["objects"]) for row in lab.rows("tables/qc.csv")}
    assert objects == {well: int((cells["Metadata_Well"] == well).sum()) for well in wells}


def test_images_are_readable_by_others(first_run: tuple[Lab, Run], wells: Sequence[str]) -> None:
    import tifffile
    import zarr

    images = first_run[0].results / "images"
    planes = sorted(images.glob("tophat/*/s*/*.tif"))
    assert len(planes) == len(wells) * 2 * 2
    assert all(tifffile.imread(path).shape == (48, 48) for path in planes)
    plate = zarr.open_group(images / "count.ome.zarr", mode="r")
    listed = {well["path"] for well in plate.attrs["ome"]["plate"]["wells"]}
    assert listed == {f"{well[0]}/{well[1:]}" for well in wells}
    for path in listed:
        assert np.asarray(plate[f"{path}/1/0"]).shape[-2:] == (48, 48)


def test_each_change_reruns_what_depends_on_it(
    finished: Lab, wells: Sequence[str], units_per_job: int
) -> None:
    """One sequence, because every run starts from the finished state of the one before."""
    lab, chunks = finished, jobs_per_stage(units_per_job, wells)
    plate = lab.root.parent / "P1"
    assert lab.call().idle

    untouched = contents(lab.results / "images" / "tophat" / "A01")
    replace_pixels(image_files(plate, "B01")[0])
    run = lab.run()
    assert run.code == 0, run.output
    assert run.computed == of_unit("B01") | PLATE
    assert run.finished == END + Counter(dict.fromkeys(UNIT_STAGES, 1))
    assert contents(lab.results / "images" / "tophat" / "A01") == untouched

    lab.edit("config/pipelines/p.yaml", "gaussian_sigma: 1.0", "gaussian_sigma: 1.5")
    run = lab.run()
    assert run.code == 0, run.output
    assert run.computed == {("count", well) for well in wells} | PLATE
    assert run.finished == END + Counter(count=chunks)

    lab.edit("functions/pixels.py", "by=0", "by=3")
    run = lab.run()
    assert run.code == 0, run.output
    assert run.computed == {(stage, well) for stage in ("tophat", "count") for well in wells} | PLATE
    assert run.finished == END + Counter(tophat=chunks, count=chunks)

    lab.edit("Snakefile", "rule all:", "# A comment.\nrule all:")
    lab.edit("config/config.yaml", "output:", "# A comment.\noutput:")
    assert lab.call().idle
    assert leftovers(lab.results) == []


def test_an_edited_plate_function_reruns_its_stage_and_what_follows(
    small_finished: Callable[[Path], Lab], tmp_path: Path
) -> None:
    lab = small_finished(tmp_path)
    lab.edit("functions/summary.py", "One row per unit", "A row per unit")
    run = lab.run()
    assert (run.code, run.computed, run.finished) == (0, PLATE, END)


def test_a_well_added_later_is_computed_alone(small_finished: Callable[[Path], Lab], tmp_path: Path) -> None:
    lab = small_finished(tmp_path)
    extra = small_plate(tmp_path / "other" / "P1", wells=["C03"], sites=(1, 1))
    for path in image_files(extra, "C03"):
        shutil.copy2(path, tmp_path / "P1" / path.relative_to(extra))
    run = lab.run()
    assert run.code == 0, run.output
    assert run.computed == of_unit("C03") | PLATE
    assert run.finished == END + Counter(dict.fromkeys(UNIT_STAGES, 1))
    assert lab.statuses() == dict.fromkeys(("A01", "A02", "B01", "C03"), "done")


def test_without_snakemakes_own_notes_nothing_is_computed_again(
    small_finished: Callable[[Path], Lab], tmp_path: Path
) -> None:
    lab = small_finished(tmp_path)
    shutil.rmtree(lab.root / ".snakemake")
    run = lab.run()
    assert (run.code, run.computed) == (0, set())


@pytest.mark.xfail(strict=True, reason="Snakemake compares parameters with its own notes only")
def test_a_change_is_seen_without_snakemakes_own_notes(
    small_finished: Callable[[Path], Lab], tmp_path: Path
) -> None:
    """A results folder that is copied elsewhere comes without them."""
    lab = small_finished(tmp_path)
    shutil.rmtree(lab.root / ".snakemake")
    lab.edit("config/pipelines/p.yaml", "gaussian_sigma: 1.0", "gaussian_sigma: 1.5")
    run = lab.run()
    assert run.code == 0, run.output
    assert run.computed == {("count", well) for well in ("A01", "A02", "B01")} | PLATE
    assert lab.call().idle


def test_without_markers_all_jobs_run_and_compute_only_what_is_lost(
    small_finished: Callable[[Path], Lab], tmp_path: Path
) -> None:
    """Markers are what Snakemake sees; records, with what they list, are the checkpoints."""
    lab = small_finished(tmp_path)
    results = lab.results
    undisturbed = final_outputs(results)
    shutil.rmtree(results / "jobs")
    published = lab.records()["count", "A01"]["published"]
    shutil.rmtree(next(results / item["path"] for item in published if item["path"].startswith("images/")))
    (results / "records" / "tophat" / "A02.json").unlink()
    run = lab.run()
    assert (run.code, run.computed) == (0, {("count", "A01"), ("tophat", "A02")})
    assert run.finished == END + Counter(dict.fromkeys(UNIT_STAGES, 3))
    assert final_outputs(results) == undisturbed
    assert lab.call().idle


@pytest.mark.xfail(strict=True, reason="Snakemake does not miss a file whose followers are all there")
def test_a_marker_lost_in_the_middle_is_missed(small_finished: Callable[[Path], Lab], tmp_path: Path) -> None:
    lab = small_finished(tmp_path)
    shutil.rmtree(lab.results / "images" / "normalize" / "A01")
    (lab.results / "jobs" / "normalize" / "A01.json").unlink()
    run = lab.run()
    assert (run.code, run.computed) == (0, {("normalize", "A01")})


def test_without_smart_caching_every_call_computes_everything(tmp_path: Path) -> None:
    plate = small_plate(tmp_path / "P1", wells=["A01", "A02"], sites=(1, 1))
    lab = Lab.create(tmp_path / "lab", [plate], one_stage(enable_smart_caching=False), units_per_job=2)
    everything = {("normalize", "A01"), ("normalize", "A02"), ("consolidate", "plate"), ("report", "plate")}
    for _ in range(2):
        run = lab.run()
        assert (run.code, run.computed) == (0, everything)


def test_two_plates_of_one_name_have_results_of_their_own(tmp_path: Path) -> None:
    wells = {"monday": "A01", "tuesday": "B02"}
    plates = [small_plate(tmp_path / day / "P1", wells=[well], sites=(1, 1)) for day, well in wells.items()]
    lab = Lab.create(tmp_path / "lab", plates, three_stages())
    run = lab.run()
    assert run.code == 0, run.output
    folders = sorted((lab.root / "results").glob("P1-*"))
    assert len(folders) == 2
    found = {}
    for folder in folders:
        plan = json.loads((folder / "plan.json").read_text())
        rows = read_table(folder / "tables" / "cell_counts.parquet")
        assert set(rows["Metadata_Plate"]) == {folder.name}
        found[Path(plan["plate"]["path"]).parent.name] = set(rows["Metadata_Well"])
    assert found == {day: {well} for day, well in wells.items()}
    assert lab.call().idle
