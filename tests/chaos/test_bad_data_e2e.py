"""Bad data through Snakemake itself: names that a shell or a rule could trip over, and markers that are damaged."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from e2e_lab import (
    Lab,
    final_outputs,
    image_files,
    leftovers,
    one_stage,
    replace_pixels,
    small_plate,
    snapshot,
    truncate,
)

pytestmark = pytest.mark.e2e


def test_a_plate_with_an_awful_name_and_a_broken_image(tmp_path: Path) -> None:
    plate = small_plate(tmp_path / 'it\'s $(touch x); "P 1"\n-ü', wells=["A01", "A02"], sites=(1, 1))
    broken = image_files(plate, "A02")[0]
    truncate(broken)
    raw = snapshot(plate)
    lab = Lab.create(tmp_path / "lab", [plate], one_stage())
    run = lab.call()
    assert run.code == 1, run.output
    assert {unit for _, unit in lab.failures()} == {"A02"}
    assert broken.name in run.output
    assert "Traceback" not in run.output
    assert leftovers(lab.results) == []
    assert snapshot(plate) == raw
    assert not list(tmp_path.rglob("x"))


def finished(folder: Path) -> tuple[Lab, list[Path]]:
    """A lab that ran, and the markers of its jobs."""
    plate = small_plate(folder / "P1", wells=["A01", "A02"], sites=(1, 1))
    lab = Lab.create(folder / "lab", [plate], one_stage())
    assert lab.call().code == 0
    return lab, sorted((lab.results / "jobs").rglob("*.json"))


def test_damaged_markers_compute_nothing_again(tmp_path: Path) -> None:
    lab, markers = finished(tmp_path)
    outputs = final_outputs(lab.results)
    for number, marker in enumerate(markers):
        status = marker.stat()
        marker.write_bytes([b"", b"[1]", b"\xff", json.dumps({"done": 7}).encode()][number % 4])
        os.utime(marker, ns=(status.st_atime_ns, status.st_mtime_ns))
    run = lab.call()
    assert run.code == 0, run.output
    assert {unit for _, unit in run.computed} <= {"plate"}
    assert final_outputs(lab.results) == outputs


def test_a_clock_that_went_backwards_is_named_and_costs_no_result(tmp_path: Path) -> None:
    lab, markers = finished(tmp_path)
    outputs = final_outputs(lab.results)
    for number, marker in enumerate(markers):
        os.utime(marker, (5e9 - number, 5e9 - number))
    assert lab.call().idle
    replace_pixels(image_files(tmp_path / "P1", "A01")[0])
    run = lab.call()
    assert run.code == 0 or "clock skew" in run.output
    assert {unit for _, unit in run.computed} <= {"A01", "plate"}
    kept = {path: content for path, content in final_outputs(lab.results).items() if "/A/02/" in path}
    assert kept == {path: content for path, content in outputs.items() if "/A/02/" in path}
