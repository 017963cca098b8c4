"""The real plates against what their README files state."""

from __future__ import annotations

from collections import Counter

import pytest

from hcs_steps.plate import inventory_table, open_plate


def test_export_with_z_stack(real_data, fingerprint):
    plate = real_data("imagexpress_export_zstack/9987_Plate_3433")
    before = fingerprint(plate)
    inventory = open_plate(plate)
    assert inventory.format == "imagexpress"
    assert inventory.name == "9987_Plate_3433"
    assert inventory.wells == ("B02", "B03")
    assert inventory.channels == {1: "DAPI", 2: "FITC"}
    assert inventory.values("site") == (1, 2)
    assert inventory.values("z_index") == (0, 1, 2, 3)
    assert inventory.values("timepoint") == (1,)
    assert len(inventory.planes) == 2 * 2 * 2 * 4
    assert (inventory.rows, inventory.columns) == (8, 12)
    assert inventory.grid_dimensions == (1, 2)
    assert (inventory.pixel_size_um, inventory.pixel_size_source) == (1.3672, "metadata")
    assert {(p.height, p.width, p.dtype) for p in inventory.planes} == {(256, 256, "uint16")}
    x = {p.site: p.x_um for p in inventory.planes if p.well == "B02"}
    assert x == {1: 22985, 2: 23300}
    assert inventory.problems == ()
    assert inventory.disagreements == ()
    assert float(inventory.metadata["z_step_um"]) == pytest.approx(3, abs=0.05)
    assert inventory.metadata["objective"] == "40X Plan Apo Lambda"
    assert inventory.metadata["exposure"] == "100 ms"
    assert inventory.metadata["plate_id"] == "00400b39-31cb-40e4-8be6-a183fe9831ec"
    assert inventory.metadata["description"].splitlines()[1] == "DAPI: 3z + MIP"
    assert fingerprint(plate) == before


def test_export_without_site_wave_and_z(real_data):
    inventory = open_plate(real_data("imagexpress_export_single/9987_Plate_3420"))
    (plane,) = inventory.planes
    assert plane[:5] == ("B02", 1, 1, 1, 1)
    assert inventory.channels == {1: "DAPI"}
    assert inventory.problems == inventory.disagreements == ()


def test_timelapse_reports_what_the_plan_promised(real_data, problems):
    inventory = open_plate(real_data("imagexpress_export_timelapse/9987_Plate_3435"))
    assert len(inventory.planes) == 2 * 2 * 2 * 2
    assert inventory.channels == {1: "DAPI", 2: "FITC"}
    assert inventory.values("timepoint") == (1, 2)
    assert inventory.values("z_index") == (1,)
    assert problems(inventory, "missing") == ["c3", "c4", "t3-6"]
    assert any("6 timepoints" in sentence for sentence in inventory.disagreements)
    assert any("3 Texas Red, 4 Cy5" in sentence for sentence in inventory.disagreements)
    assert len(inventory.disagreements) == 2
    assert float(inventory.metadata["time_interval_s"]) == pytest.approx(30, abs=0.5)
    assert "t3-6" in inventory_table(inventory)


def test_database_names_with_guid(real_data, problems):
    inventory = open_plate(real_data("imagexpress_database_guid/Projection-Mix"))
    assert inventory.wells == ("E07",)
    assert Counter(p.channel for p in inventory.planes) == {1: 3, 2: 3, 3: 1, 4: 1}
    assert {(p.channel, p.z_index) for p in inventory.planes} == {
        *((channel, z) for channel in (1, 2) for z in (0, 1, 2)),
        (3, 0),
        (4, 1),
    }
    assert inventory.channels == {n: f"FITC_05_w{n}" for n in (1, 2, 3, 4)}
    assert inventory.pixel_size_um == 1.3668
    assert inventory.metadata["objective"] == "20X Plan Apo Lambda"
    assert inventory.metadata["exposure"] == "15 ms"
    assert len(problems(inventory, "excluded")) == 8
    assert all("_thumb" in name for name in problems(inventory, "excluded"))
    assert problems(inventory, "missing") == []
    assert {(p.height, p.width, p.dtype) for p in inventory.planes} == {(512, 512, "uint16")}
