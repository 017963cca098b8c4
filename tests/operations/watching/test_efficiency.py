"""What stages asked for against what they used."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from standin_plate import StandinPlate, plain_plan

from hcs_steps.cli import build_parser
from hcs_steps.commands import status
from hcs_steps.learning.summary import Asked, Summary, write_summary
from hcs_steps.operations.watching.efficiency import StageEfficiency, efficiency
from hcs_steps.operations.watching.status import StatusReader

WELLS = ["A01", "A02", "B01"]


def plate_in(folder: Path, **changes: Any) -> StandinPlate:
    plan = plain_plan(WELLS, **changes)
    stages = tuple(replace(stage, mem_mb=1000, runtime=60, threads=2) for stage in plan.stages)
    return StandinPlate(folder / "P1", replace(plan, stages=stages))


@pytest.fixture
def plate(tmp_path: Path) -> StandinPlate:
    return plate_in(tmp_path)


def told(plate: StandinPlate, stage: str = "count") -> StageEfficiency:
    reader = StatusReader(plate.plan, plate.results)
    reader.read()
    (found,) = [one for one in efficiency(reader) if one.stage == stage]
    return found


def printed(plate: StandinPlate, capsys: pytest.CaptureFixture[str], **values: Any) -> str:
    defaults = {"json": False, "watch": False, "efficiency": True, "config": "none"}
    assert status.run(Namespace(plates=[str(plate.results.root)], **(defaults | values))) == 0
    return capsys.readouterr().out


def test_memory_and_time_are_told_by_median_and_largest(plate: StandinPlate) -> None:
    for well, mb, seconds in zip(WELLS, (300, 500, 400), (60, 600, 120), strict=True):
        plate.done("count", well, seconds=seconds, peak_host_mb=mb)
    found = told(plate)
    assert found.memory is not None
    assert found.time is not None
    assert (found.units, found.threads, found.gpu_memory) == (3, 2, None)
    assert (found.memory.asked, found.memory.median, found.memory.largest) == (1000, 400, 500)
    assert (found.time.asked, found.time.median, found.time.largest) == (3600, 120, 600)
    assert (found.memory.share, found.remarks) == (0.5, ())


def test_a_job_takes_as_long_as_all_its_units_and_counts_when_all_are_done(tmp_path: Path) -> None:
    plate = plate_in(tmp_path, chunk=2)
    plate.done("count", "A01", "A02", seconds=30, peak_host_mb=300)
    found = told(plate)
    assert found.time is not None
    assert (found.units, found.time.largest) == (2, 60)
    plate.done("count", "B01", seconds=10, peak_host_mb=300)
    found = told(plate)
    assert found.time is not None
    assert (found.time.median, found.time.largest) == (35, 60)


def test_what_the_latest_run_asked_for_counts_and_not_the_plan(plate: StandinPlate) -> None:
    plate.done("count", peak_host_mb=300, peak_gpu_mb=700, device="cuda:0")
    write_summary(plate.results, Summary(asked={"count": Asked(400, 6, 1400, 3)}))
    found = told(plate)
    assert found.memory is not None
    assert found.gpu_memory is not None
    assert (found.memory.asked, found.threads) == (400, 3)
    assert (found.gpu_memory.asked, found.gpu_memory.share) == (1400, 0.5)


def test_a_stage_that_never_ran_has_nothing_to_tell(plate: StandinPlate) -> None:
    found = told(plate)
    assert (found.units, found.memory, found.time, found.remarks) == (0, None, None, ())


@pytest.mark.parametrize(
    ("values", "remark"),
    [
        ({"peak_host_mb": 90, "seconds": 1200}, "asked for more than 10 times the memory"),
        ({"peak_host_mb": 970, "seconds": 1200}, "used 97% of the memory"),
        ({"peak_host_mb": 1200, "seconds": 1200}, "used 120% of the memory"),
        ({"peak_host_mb": 500, "seconds": 60}, "asked for more than 10 times the time"),
        ({"peak_host_mb": 500, "seconds": 3500}, "used 97% of the time"),
    ],
)
def test_what_is_far_off_is_said_in_a_sentence(
    plate: StandinPlate, values: dict[str, Any], remark: str
) -> None:
    plate.done("count", **values)
    (found,) = told(plate).remarks
    assert found.startswith(remark)


def test_the_table_names_every_stage_and_what_is_far_off(
    plate: StandinPlate, capsys: pytest.CaptureFixture[str]
) -> None:
    plate.done("count", peak_host_mb=90, seconds=1200)
    text = printed(plate, capsys)
    rows = [line.split() for line in text.splitlines()]
    assert [row[0] for row in rows if row and row[0] in {s.name for s in plate.plan.stages}][
        : len(plate.plan.stages)
    ] == [stage.name for stage in plate.plan.stages]
    assert ["count", "3", "1000", "90", "90", "9%", "1", "h", "0", "min"] in [row[:10] for row in rows]
    assert "count: asked for more than 10 times the memory" in text
    assert "GPU" not in text


def test_stages_that_are_far_off_alike_share_a_sentence(
    plate: StandinPlate, capsys: pytest.CaptureFixture[str]
) -> None:
    for stage in ("normalize", "count"):
        plate.done(stage, peak_host_mb=500, seconds=60)
    assert "normalize, count: asked for more than 10 times the time" in printed(plate, capsys)


def test_a_plate_with_a_gpu_has_columns_for_it(
    plate: StandinPlate, capsys: pytest.CaptureFixture[str]
) -> None:
    plate.done("count", peak_host_mb=500, peak_gpu_mb=700, device="cuda:0")
    assert "GPU MB" in printed(plate, capsys)


def test_for_programs_it_is_a_part_of_the_document(
    plate: StandinPlate, capsys: pytest.CaptureFixture[str]
) -> None:
    plate.done("count", peak_host_mb=500, seconds=1200)
    document = json.loads(printed(plate, capsys, json=True))
    (found,) = [one for one in document["efficiency"] if one["stage"] == "count"]
    assert found["memory_mb"] == {"asked": 1000, "median": 500, "largest": 500, "share": 0.5}
    assert found["gpu_memory_mb"] is None
    assert set(found) == {"stage", "units", "memory_mb", "seconds", "gpu_memory_mb", "threads", "remarks"}
    assert "efficiency" not in json.loads(printed(plate, capsys, json=True, efficiency=False))


def test_a_plate_that_never_ran_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plate = plate_in(tmp_path)
    plate.results.plan.write_text("{}")
    assert "plan" in printed(plate, capsys)


def test_it_is_not_watched() -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["status", "--efficiency", "--watch"])
