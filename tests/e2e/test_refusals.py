"""What keeps a bare ``snakemake`` from starting: one paragraph, exit code 2, and nothing is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from e2e_lab import COUNT, Lab, one_stage, small_plate

pytestmark = pytest.mark.e2e


def missing_plate(lab: Lab) -> None:
    lab.edit("config/config.yaml", "../P1", "../P2")


def unknown_function(lab: Lab) -> None:
    lab.edit("config/pipelines/p.yaml", "stack_percentile_normalize", "stack_percentile_normalise")


def unknown_argument(lab: Lab) -> None:
    lab.set_pipeline(
        {"steps": [{**COUNT, "func": {"use": "count_cells_single_channel", "with": {"sigma": 1}}}]}
    )


def unknown_key(lab: Lab) -> None:
    lab.edit_config(unit_per_job=3)


def unknown_well(lab: Lab) -> None:
    lab.edit_config(select={"wells": ["H12"]})


def plate_inside_output(lab: Lab) -> None:
    small_plate(lab.root / "results" / "P1", wells=["A01"], sites=(1, 1))
    lab.edit("config/config.yaml", "../P1", "results/P1")


def output_inside_plate(lab: Lab) -> None:
    lab.edit("config/config.yaml", "output: results", "output: ../P1/results")


def too_little_memory(lab: Lab) -> None:
    lab.edit_config(limits={"mem_mb": 100})


def no_plates(lab: Lab) -> None:
    lab.edit("config/config.yaml", "- path: ../P1", "  []")


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (missing_plate, "P2 does not exist"),
        (unknown_function, "Did you mean 'stack_percentile_normalize'?"),
        (unknown_argument, "has no argument 'sigma'"),
        (unknown_key, "units_per_job"),
        (unknown_well, "H12"),
        (plate_inside_output, "inside"),
        (output_inside_plate, "raw data is never written to"),
        (too_little_memory, "100 MB are there"),
        (no_plates, "plates"),
    ],
)
def test_a_bare_call_refuses_in_one_paragraph(
    tmp_path: Path, spoil: Callable[[Lab], None], expected: str
) -> None:
    plate = small_plate(tmp_path / "P1", wells=["A01"], sites=(1, 1))
    lab = Lab.create(tmp_path / "lab", [plate], one_stage())
    spoil(lab)
    before = lab.tree()
    run = lab.call()
    assert run.code == 2, run.output
    assert expected in run.output
    assert "Traceback" not in run.output
    assert "hcs-steps: " in run.output
    assert lab.tree() == before
