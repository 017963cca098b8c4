"""hcs verify: every damage is found and named, and exactly what is damaged is computed again."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from finished_plate import PLATE_STAGES, Plate, finished

from hcs_steps.commands.verify import run
from hcs_steps.compile.plan import PLATE_UNIT
from hcs_steps.errors import ConfigError, StorageError
from hcs_steps.operations.mending.verify import Damage, extent, fix, lost_plans, verify
from hcs_steps.run.claim import claim
from hcs_steps.run.records import attempts, mark_cleaned
from hcs_steps.storage.atomic import measure


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Plate:
    return finished(tmp_path_factory.mktemp("original"))


@pytest.fixture
def plate(original: Plate, tmp_path: Path) -> Plate:
    return original.copy(tmp_path)


def found(plate: Plate, **options: bool) -> list[tuple[str, str, str]]:
    return [(d.stage, d.unit, d.problem) for d in verify(plate.plan, plate.results, **options)]


def file_in(path: Path) -> Path:
    """The largest file of a file or group."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return max(files, key=lambda file: (file.stat().st_size, file))


def flip(path: Path) -> None:
    """Another bit in a file, which nothing else tells."""
    times = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_a_finished_plate_is_sound(original: Plate) -> None:
    assert verify(original.plan, original.results) == ()
    there = extent(original.plan, original.results)
    stages = len(original.plan.stages) - len(PLATE_STAGES)
    assert (there.records, there.undone) == (stages * 3 + len(PLATE_STAGES), 0)
    assert there.entries > there.records
    assert there.size > 10_000


PLACES = [
    ("normalize", "A01", "images/normalize"),
    ("count", "B02", "images/count.ome.zarr"),
    ("count", "C03", "tables/by_unit"),
    ("consolidate", PLATE_UNIT, "tables/wells.csv"),
    ("report", PLATE_UNIT, "report.html"),
]


@pytest.mark.parametrize(("stage", "unit", "prefix"), PLACES)
def test_every_kind_of_damage_is_named(
    original: Plate, tmp_path: Path, stage: str, unit: str, prefix: str
) -> None:
    kinds: dict[str, Callable[[Path], None]] = {
        "missing": remove,
        "size ": lambda path: append(file_in(path)),
        "checksum differs": lambda path: flip(file_in(path)),
    }
    for number, (problem, damage) in enumerate(kinds.items()):
        plate = original.copy(tmp_path / str(number))
        path = plate.paths(stage, unit, prefix)[0]
        damage(path)
        (only,) = verify(plate.plan, plate.results)
        assert (only.stage, only.unit, only.path) == (stage, unit, plate.results.relative(path))
        assert only.problem.startswith(problem)
        assert only.well == ("" if unit == PLATE_UNIT else unit)
        assert bool(verify(plate.plan, plate.results, quick=True)) == (problem != "checksum differs")


def test_a_file_too_many_in_an_image_group_is_found(plate: Plate) -> None:
    group = plate.paths("count", "A01", "images/")[0]
    (group / "empty").touch()
    assert found(plate) == [("count", "A01", "checksum differs")]


def test_a_file_that_cannot_be_read_is_found(plate: Plate, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = plate.paths("count", "A01", "tables/")[0]

    def read(path: Path) -> tuple[int, str]:
        if path == broken:
            raise StorageError("no") from OSError(errno.EIO, "Input/output error")
        return measure(path)

    monkeypatch.setattr("hcs_steps.operations.mending.verify.measure", read)
    assert found(plate) == [("count", "A01", "cannot be read: Input/output error")]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"success": true, "fingerprint": "f", "published": [3]}'])
def test_a_damaged_record_is_found(plate: Plate, content: bytes) -> None:
    plate.results.record("tophat", "A01").write_bytes(content)
    assert found(plate) == [("tophat", "A01", "not a record, or damaged")]


def test_units_that_are_not_done_and_what_was_cleaned_are_no_damage(plate: Plate) -> None:
    plate.results.record("count", "A01").unlink()
    paths = plate.paths("normalize", "B02", "images/")
    mark_cleaned(plate.results, "normalize", "B02", [plate.results.relative(path) for path in paths])
    for path in paths:
        remove(path)
    assert found(plate) == []
    there = extent(plate.plan, plate.results)
    assert (there.undone, there.cleaned) == (1, len(paths))


def test_the_table_of_failures_may_be_written_anew(plate: Plate) -> None:
    plate.results.failures_table.write_text("unit\n")
    assert found(plate) == []
    plate.results.failures_table.unlink()
    assert found(plate) == [("consolidate", PLATE_UNIT, "missing")]


def test_records_of_a_newer_version_cannot_be_verified(plate: Plate) -> None:
    path = plate.results.record("count", "A01")
    path.write_text(json.dumps(plate.record("count", "A01") | {"version": 99}))
    with pytest.raises(ConfigError, match="newer"):
        verify(plate.plan, plate.results)


def test_what_a_run_replaces_meanwhile_is_no_damage(plate: Plate) -> None:
    path = plate.paths("count", "A01", "tables/")[0]
    append(path)

    def replaced(size: int) -> None:
        plate.results.record("count", "A01").unlink(missing_ok=True)

    assert verify(plate.plan, plate.results, told=replaced, threads=1) == ()


def test_a_plan_that_is_not_kept_as_it_was_is_told(plate: Plate) -> None:
    record = plate.record("count", "A01")
    for kept in (True, False):
        plate.results.record("count", "A01").write_text(json.dumps(record | {"plan": plate.plan.hash}))
        copy = plate.results.plan_copy(plate.plan.hash)
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(plate.plan.to_json() + ("" if kept else " "))
        assert lost_plans(plate.plan, plate.results) == (() if kept else (plate.plan.hash,))


@pytest.mark.parametrize("damage", [remove, lambda path: append(file_in(path))], ids=["missing", "changed"])
def test_fixing_computes_exactly_what_is_damaged_and_gives_the_same_bytes(
    plate: Plate, damage: Callable[[Path], None]
) -> None:
    undisturbed = plate.outputs()
    damage(plate.paths("normalize", "A01", "images/")[0])
    damage(plate.paths("count", "B02", "tables/")[0])
    damage(plate.paths("count", "C03", "images/")[0])
    damaged = {("normalize", "A01"), ("count", "B02"), ("count", "C03")}
    dropped = fix(plate.plan, plate.results, verify(plate.plan, plate.results))
    assert {(item.stage, item.unit) for item in dropped if item.damaged} == damaged == set_of(dropped)
    assert all(attempts(plate.results, stage, unit) == 1 for stage, unit in damaged)
    assert plate.run() == damaged
    assert plate.outputs() == undisturbed
    assert found(plate) == []


def set_of(dropped: object) -> set[tuple[str, str]]:
    return {(item.stage, item.unit) for item in dropped}  # type: ignore[attr-defined]


def test_later_results_are_given_up_where_they_may_have_been_made_of_damaged_files(plate: Plate) -> None:
    """A bit that flips on a disk leaves no time behind: whoever read the file may have got it wrong."""
    undisturbed = plate.outputs()
    flip(file_in(plate.paths("tophat", "A01", "images/")[0]))
    dropped = fix(plate.plan, plate.results, verify(plate.plan, plate.results))
    assert set_of(dropped) == {("tophat", "A01"), ("count", "A01")} | PLATE_STAGES
    assert [item.damaged for item in dropped] == [True, False, False, False]
    assert plate.run() == set_of(dropped)
    assert plate.outputs() == undisturbed


def test_a_contaminated_table_is_not_believed(plate: Plate) -> None:
    """A table that went into others when it was damaged already."""
    undisturbed = plate.outputs()
    part = plate.paths("count", "A01", "tables/")[0]
    whole = part.read_bytes()
    other = plate.paths("count", "B02", "tables/")[0]
    part.write_bytes(other.read_bytes())
    plate.results.record("consolidate", PLATE_UNIT).unlink()
    plate.run()
    assert plate.outputs() != undisturbed
    dropped = fix(plate.plan, plate.results, verify(plate.plan, plate.results))
    assert set_of(dropped) >= {("count", "A01"), ("consolidate", PLATE_UNIT)}
    plate.run()
    assert part.read_bytes() == whole
    assert plate.outputs() == undisturbed


def test_fixing_removes_the_markers_of_what_follows_and_no_others(plate: Plate) -> None:
    """A copy of the results comes without Snakemake's own notes, and then only a missing marker starts a job."""
    remove(plate.paths("tophat", "B02", "images/")[0])
    fix(plate.plan, plate.results, verify(plate.plan, plate.results))
    gone = {
        (stage.name, job)
        for stage in plate.plan.stages
        for job in plate.plan.jobs_of(stage)
        if not plate.results.marker(stage.name, job).exists()
    }
    assert gone == {("tophat", "B02"), ("count", "B02")} | PLATE_STAGES


def command(plate: Plate, **options: object) -> Namespace:
    given = {
        "plates": [str(plate.results.root)],
        "fix": False,
        "quick": False,
        "jobs": 2,
        "config": "none.yaml",
    }
    return Namespace(**(given | options))


def test_the_command_names_unit_stage_file_and_what_is_wrong(
    plate: Plate, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command(plate)) == 0
    assert "nothing is damaged" in capsys.readouterr().out
    path = plate.paths("count", "A01", "tables/")[0]
    size = path.stat().st_size
    append(path)
    (plate.results.root / "notes.txt").write_text("mine")
    assert run(command(plate, quick=True)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["A01", "count", f"{plate.results.relative(path)}:", "size",
                                f"{size + 1:,}", "instead", "of", f"{size:,}"]  # fmt: skip
    assert any("1 file or folder not of hcs-steps: notes.txt" in line for line in lines)
    assert any("hcs verify --fix" in line for line in lines)
    assert run(command(plate, fix=True)) == 1
    assert "1 result given up" in capsys.readouterr().out
    plate.run()
    assert run(command(plate)) == 0


def test_nothing_is_fixed_while_a_run_is_going_on(plate: Plate, capsys: pytest.CaptureFixture[str]) -> None:
    remove(plate.paths("count", "A01", "tables/")[0])
    lock = claim(plate.results)
    assert run(command(plate, fix=True)) == 2
    assert run(command(plate)) == 1, "looking is allowed"
    lock.release()
    assert plate.results.record("count", "A01").exists()
    assert "Another" in capsys.readouterr().err


def test_a_plate_that_cannot_be_verified_keeps_no_other_from_it(
    plate: Plate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = plate.copy(tmp_path / "other")
    plate.results.plan.write_text("{}")
    paths = [str(plate.results.root), str(other.results.root)]
    assert run(command(plate, plates=paths)) == 2
    said = capsys.readouterr()
    assert "nothing is damaged" in said.out
    assert "plan.json" in said.err


def test_a_damage_says_where_and_what() -> None:
    assert str(Damage("count", "A01", "A01", "tables/x", "missing")) == "A01 in count: tables/x: missing"
