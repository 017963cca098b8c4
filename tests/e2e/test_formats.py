"""The same plate in the layouts of several microscopes gives the same results, and reruns as any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from e2e_lab import Lab, one_stage, small_plate, snapshot

from hcs_steps.plate import open_plate
from hcs_steps.storage import read_table

pytestmark = pytest.mark.e2e

LAYOUTS = ("imagexpress", "harmony", "yokogawa", "ome-zarr-0.5", "ome-tiff")
WELLS = ("A01", "B02")
COUNT = {"name": "count", "func": {"use": "count_cells_single_channel", "with": {"gaussian_sigma": 1.0}}}


def cells(lab: Lab, plate: str) -> dict[str, list[Any]]:
    table = read_table(lab.root / "results" / plate / "tables" / "cell_counts.parquet")
    return {name: list(column) for name, column in table.items() if name != "Metadata_Plate"}


def test_the_layout_makes_no_difference(tmp_path: Path) -> None:
    plates = [small_plate(tmp_path / layout, wells=WELLS, layout=layout, z=2) for layout in LAYOUTS]
    lab = Lab.create(tmp_path / "lab", plates, {"steps": [COUNT]})
    raw = {plate.name: snapshot(plate) for plate in plates}
    run = lab.run()
    assert run.code == 0, run.output
    assert {plate.name: snapshot(plate) for plate in plates} == raw
    reference = cells(lab, "imagexpress")
    assert len(reference["Metadata_Well"]) > 20
    for layout in LAYOUTS[1:]:
        assert cells(lab, layout) == reference, layout
    assert lab.run().idle


@pytest.mark.parametrize("layout", ["harmony", "ome-zarr-0.5"])
def test_one_replaced_file_recomputes_its_well(tmp_path: Path, layout: str) -> None:
    plate = small_plate(tmp_path / "P", wells=WELLS, layout=layout)
    lab = Lab.create(tmp_path / "lab", [plate], one_stage())
    assert lab.run().code == 0
    first, second = (
        next(plate / plane.path for plane in open_plate(plate).planes if plane.well == well)
        for well in ("B02", "A01")
    )
    if first.is_dir():  # a Zarr array: its files of pixels
        first, second = (
            max((file for file in array.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
            for array in (first, second)
        )
    first.write_bytes(second.read_bytes())
    run = lab.run()
    assert run.code == 0, run.output
    assert {unit for _, unit in run.computed} == {"B02", "plate"}
