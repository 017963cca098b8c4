"""A unit's error ends that unit; the rest goes on, the exit code tells, and the next call tries again."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from e2e_lab import (
    PLATE,
    UNIT_STAGES,
    Lab,
    image_files,
    of_unit,
    one_stage,
    small_plate,
    three_stages,
    truncate,
)

from hcs_steps.storage import read_table

pytestmark = pytest.mark.e2e

END = Counter({"qc": 1, "consolidate": 1, "report": 1, "finish": 1, "all": 1})


def test_one_truncated_image_fails_its_well_alone_until_it_is_mended(
    tmp_path: Path, wells: Sequence[str], units_per_job: int
) -> None:
    plate = small_plate(tmp_path / "P1", wells=wells)
    broken = image_files(plate, "B01")[0]
    content = truncate(broken)
    lab = Lab.create(tmp_path / "lab", [plate], three_stages(), units_per_job=units_per_job)
    others = set(wells) - {"B01"}
    good = {(stage, well) for stage in UNIT_STAGES for well in others}

    run = lab.run()
    assert run.code == 1, run.output
    assert run.computed == set(lab.records()) == good | PLATE
    assert "Traceback" not in run.output
    assert "B01 in normalize" in run.output
    assert set(lab.failures()) == {("normalize", "B01")}
    failure = lab.failures()["normalize", "B01"]
    assert (failure["unit"], failure["step"], failure["attempt"]) == ("B01", "normalize", 1)
    assert failure["file"] == broken.relative_to(plate).as_posix()
    assert failure["file"] in failure["error"]
    assert (lab.root / failure["log"]).is_file()
    (row,) = lab.rows("failures.csv")
    assert (row["unit"], row["step"], row["file"]) == ("B01", "normalize", failure["file"])
    assert lab.statuses() == {**dict.fromkeys(wells, "done"), "B01": "failed"}
    assert {row["unit"] for row in lab.rows("tables/qc.csv")} == others
    assert set(read_table(lab.results / "tables" / "cell_counts.parquet")["Metadata_Well"]) == others

    run = lab.run()
    assert run.code == 1, run.output
    assert run.computed <= {("consolidate", "plate"), ("report", "plate")}
    assert run.announced == END + Counter(dict.fromkeys(UNIT_STAGES, 1))
    assert lab.failures()["normalize", "B01"]["attempt"] == 2
    (row,) = lab.rows("failures.csv")
    assert row["attempt"] == "2"

    broken.write_bytes(content)
    run = lab.run()
    assert run.code == 0, run.output
    assert run.computed == of_unit("B01") | PLATE
    assert lab.failures() == {}
    assert lab.rows("failures.csv") == []
    assert lab.statuses() == dict.fromkeys(wells, "done")
    assert {row["unit"] for row in lab.rows("tables/qc.csv")} == set(wells)

    assert lab.call().idle


def test_a_retry_that_is_cut_short_is_made_up_for(tmp_path: Path) -> None:
    """Snakemake takes a job's marker away when it starts it again; those of later jobs stay."""
    plate = small_plate(tmp_path / "P1", wells=["A01", "A02"], sites=(1, 1))
    broken = image_files(plate, "A02")[0]
    content = truncate(broken)
    lab = Lab.create(tmp_path / "lab", [plate], three_stages())
    assert lab.call().code == 1
    (lab.results / "jobs" / "normalize" / "A02.json").unlink()
    assert lab.call().code == 1
    assert lab.failures()["normalize", "A02"]["attempt"] == 2
    status = broken.stat()
    broken.write_bytes(content)
    os.utime(broken, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    run = lab.call()
    assert (run.code, run.computed) == (0, of_unit("A02") | PLATE)
    assert lab.call().idle


def test_a_broken_well_that_is_deselected_no_longer_fails_the_run(tmp_path: Path) -> None:
    plate = small_plate(tmp_path / "P1", wells=["A01", "A02"], sites=(1, 1))
    truncate(image_files(plate, "A02")[0])
    lab = Lab.create(tmp_path / "lab", [plate], one_stage())
    assert lab.call().code == 1
    lab.edit_config(select={"wells": ["A01"]})
    run = lab.call()
    assert run.code == 0, run.output
    assert lab.statuses() == {"A01": "done"}
    assert lab.rows("failures.csv") == []
    assert lab.call().idle


def test_a_failing_plate_step_is_reported_and_retried(
    small_finished: Callable[[Path], Lab], tmp_path: Path
) -> None:
    lab = small_finished(tmp_path)
    good = (lab.root / "functions" / "summary.py").read_text()
    lab.edit(
        "functions/summary.py", "    wells = list", "    raise ValueError('no such luck')\n    wells = list"
    )
    for attempt in (1, 2):
        run = lab.call()
        assert run.code == 1, run.output
        assert set(lab.failures()) == {("qc", "plate")}
        assert "no such luck" in lab.rows("failures.csv")[0]["error"]
        assert lab.rows("failures.csv")[0]["attempt"] == str(attempt)
        assert set(lab.statuses().values()) == {"done"}
        assert not (lab.results / "tables" / "qc.csv").exists()
    (lab.root / "functions" / "summary.py").write_text(good)
    run = lab.call()
    assert (run.code, run.computed) == (0, set(PLATE))
    assert lab.call().idle


def test_missing_planes_follow_the_plates_policy(tmp_path: Path) -> None:
    policies = ("fail_unit", "skip_site", "blank")
    plates = [small_plate(tmp_path / policy, wells=["A01", "A02"]) for policy in policies]
    for plate in plates:
        (lost,) = plate.rglob("*_A02_s2_w2.TIF")
        lost.unlink()
    lab = Lab.create(tmp_path / "lab", plates, three_stages(), units_per_job=2)
    defaults = {"pipeline": "config/pipelines/p.yaml", "units_per_job": 2}
    entries = [{"path": f"../{policy}", "missing": policy} for policy in policies]
    lab.set_config({"output": "results", "defaults": defaults}, entries)

    assert lab.call().code == 1
    tables = {p: read_table(lab.root / "results" / p / "tables" / "cell_counts.parquet") for p in policies}
    planes = {
        policy: {
            (well, int(site), channel)
            for well, site, channel in zip(
                t["Metadata_Well"], t["Metadata_Site"], t["Metadata_Channel"], strict=True
            )
        }
        for policy, t in tables.items()
    }
    first = {("A01", site, channel) for site in (1, 2) for channel in ("DAPI", "GFP")}
    assert planes["fail_unit"] == first
    assert planes["skip_site"] == first | {("A02", 1, "DAPI"), ("A02", 1, "GFP")}
    assert planes["blank"] == first | {("A02", 1, "DAPI"), ("A02", 1, "GFP"), ("A02", 2, "DAPI")}
    failed = {p: lab.root / "results" / p / "failures" / "normalize" / "A02.json" for p in policies}
    assert [policy for policy, path in failed.items() if path.exists()] == ["fail_unit"]
    assert "site 2 channel 2" in failed["fail_unit"].read_text()
    record = lab.records(lab.root / "results" / "blank")["normalize", "A02"]
    assert record["notes"] == ["1 missing planes were read as zeros"]
    assert not [path for plate in plates for path in plate.rglob("*_A02_s2_w2.TIF")]
