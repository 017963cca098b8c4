"""The pipelines in config/ do what they say, on a plate whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hcs_steps.pipeline.files import load_pipeline

PIPELINES = Path(__file__).parents[2] / "config" / "pipelines"


def steps(name):
    return load_pipeline(PIPELINES / f"{name}.yaml").steps


def test_cells_measures_nuclei_cells_and_cytoplasm_in_every_channel(run_steps):
    ran = run_steps(steps("cells"), wells=["A01", "B02"], shape=(300, 300), sites=(1, 2), cells_per_well=40)
    table = ran.table("measure", "A01", "objects")
    for site, truth in ran.truth["wells"]["A01"]["sites"].items():
        found = int((table["Metadata_Site"] == int(site)).sum())
        assert found == pytest.approx(
            truth["count"][0], abs=4
        )  # nuclei cut by the border count in one way only
    area = {name: table[f"{name}_AreaShape_Area"] for name in ("Nuclei", "Cells", "Cytoplasm")}
    assert (area["Cells"] >= area["Nuclei"]).all()
    np.testing.assert_array_equal(area["Cells"] - area["Nuclei"], area["Cytoplasm"])
    for channel in ("DAPI", "GFP"):
        assert (table[f"Cells_Intensity_MeanIntensity_{channel}"] > 0).all()
    brighter = table["Nuclei_Intensity_MeanIntensity_DAPI"] > table["Cytoplasm_Intensity_MeanIntensity_DAPI"]
    assert brighter.mean() > 0.95
    np.testing.assert_array_equal(table["Nuclei_Parent_Cells"], table["Cells_Number_Object_Number"])
    field = ran.outputs("flatfield", "plate")["calls"][0]["arrays"]["flatfield"]
    assert (ran.results.root / field).is_file()


def test_stitch_makes_a_mosaic_of_each_channel_that_lies_where_the_sites_lie(run_steps):
    ran = run_steps(
        steps("stitch"), wells=["A01"], shape=(200, 240), sites=(2, 3), cells_per_well=80, jitter_px=3
    )
    mosaics = [ran.image("mosaic", "A01", 1, channel, 1, 1) for channel in (1, 2)]
    assert mosaics[0].shape == mosaics[1].shape
    assert mosaics[0].shape[0] == pytest.approx(380, abs=8)
    assert mosaics[0].shape[1] == pytest.approx(672, abs=10)
    assert mosaics[0].dtype == np.uint16
    assert all((mosaic > 0).mean() > 0.98 for mosaic in mosaics)
    # The mosaic lies on the sites' commanded positions, which the stage missed by at most 3 px.
    (_, _, _, _, x, y, *_), _ = ran.outputs("mosaic", "A01")["planes"]
    middle = np.mean([site["position_um"] for site in ran.truth["wells"]["A01"]["sites"].values()], axis=0)
    assert (x, y) == pytest.approx(tuple(middle), abs=4 * 0.65)
    # What the stage really did, from the tables: sites lie where the truth cut them out of the well.
    table = ran.table("positions", "A01", "tile_positions")
    offsets = np.array([site["offset_px"] for site in ran.truth["wells"]["A01"]["sites"].values()], float)
    true = (offsets - offsets.min(axis=0))[:, ::-1]
    found = np.stack([table["x_px"], table["y_px"]], axis=1)
    assert np.abs((found - found.mean(axis=0)) - (true - true.mean(axis=0))).max() < 1


def test_neurites_traces_and_counts_crossings(run_steps):
    pytest.importorskip("skan")
    ran = run_steps(steps("neurites"), wells=["A01"], shape=(200, 240), sites=(1, 1))
    assert ran.outputs("trace", "A01")["tables"]
    assert ran.outputs("sholl", "A01")["tables"]
