"""Snakemake's notes on files that are gone are told from others, and removed without a job more or less to run."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "e2e"))

from e2e_lab import Lab, one_stage, small_plate
from snakemake.persistence.file import FilePersistence

from hcs_steps.commands import clean
from hcs_steps.operations.mending._snakemake_notes import METADATA, remove_notes, stale_notes
from hcs_steps.results import Results


@pytest.fixture
def note(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a note on a file, as Snakemake names it."""
    persistence = FilePersistence(nolock=True, path=tmp_path / ".snakemake")

    def make(file: str) -> Path:
        path = Path(persistence._record_path(str(tmp_path / METADATA), file))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
        return path

    return make


def test_a_note_goes_with_its_file_whatever_the_name(tmp_path: Path, note: Callable[[str], Path]) -> None:
    results = Results(tmp_path / "results" / "P1")
    names = {f"jobs/{letter}/{'well ' * length}µ.json" for letter in "ab" for length in (1, 40, 49)}
    gone = {name: note(f"results/P1/{name}") for name in names}
    absolute = note(str(results.root / "jobs/c/A01.json"))
    there, other_plate = note("results/P1/there"), note("results/P10/jobs/a/A01.json")
    foreign = tmp_path / METADATA / "what is this?"
    foreign.write_text("")
    results.root.mkdir(parents=True)
    (results.root / "there").write_text("")
    assert any(path.parent.name.startswith("@") for path in gone.values())

    found = stale_notes(results, tmp_path)
    assert set(found) == {*gone.values(), absolute}
    remove_notes(found)
    left = {path for path in (tmp_path / METADATA).rglob("*") if path.is_file()}
    assert left == {there, other_plate, foreign}
    assert not [path for path in (tmp_path / METADATA).iterdir() if path.is_dir()]


def test_without_snakemake_there_are_no_notes(tmp_path: Path) -> None:
    assert stale_notes(Results(tmp_path / "results"), tmp_path) == ()


@pytest.mark.slow
def test_cleaning_leaves_a_note_per_job_and_nothing_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = small_plate(tmp_path / "P1", wells=("A01", "A02", "B01", "B02"), sites=(1, 1))
    lab = Lab.create(tmp_path / "lab", [raw], one_stage())
    assert lab.run().code == 0
    first = len(list((lab.root / METADATA).iterdir()))
    lab.edit_config(units_per_job=2)
    run = lab.run()
    assert run.code == 0, run.output
    assert len(list((lab.root / METADATA).iterdir())) == first + 2

    monkeypatch.chdir(lab.root)
    options = {"config": "config/config.yaml", "plates": [], "plate": False, "intermediates": False}
    assert clean.run(Namespace(**options, leftovers=True)) == 0
    assert "and 4 notes of Snakemake on files that are gone" in capsys.readouterr().out
    assert len(list((lab.root / METADATA).iterdir())) == first - 2
    assert lab.run().idle
