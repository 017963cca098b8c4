"""The images and tables of a run are what the functions give when they are called by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from e2e_lab import COUNT, NORMALIZE, TOPHAT, Lab, contents, raw_image, small_plate
from numpy.typing import NDArray

from hcs_steps.functions.preprocessing.background import tophat
from hcs_steps.functions.preprocessing.normalize import stack_percentile_normalize
from hcs_steps.functions.segmentation.count import count_cells_single_channel

pytestmark = pytest.mark.e2e

COMPOSITE = {"name": "composite", "func": "create_composite", "variable_components": ["channel"]}
BACKENDS = ("memory", "disk", "zarr")


def test_intermediate_backends_give_the_same_bytes(tmp_path: Path) -> None:
    """In memory a well is one job; otherwise a well and step is."""
    plate = small_plate(tmp_path / "P1", wells=["A01", "B02"])
    lab = Lab.create(tmp_path / "lab", [plate], {"steps": [NORMALIZE]})
    plates = []
    for backend in BACKENDS:
        file = lab.root / "config" / "pipelines" / f"{backend}.yaml"
        lab.set_pipeline(
            {
                "config": {"vfs": {"intermediate_backend": backend}},
                "steps": [NORMALIZE, TOPHAT, COMPOSITE, COUNT],
            }
        )
        (lab.root / "config" / "pipelines" / "p.yaml").rename(file)
        entry = {"path": "../P1", "name": "P1", "pipeline": f"config/pipelines/{backend}.yaml"}
        plates.append((backend, entry))
    found = {}
    for backend, entry in plates:
        lab.set_config({"output": f"results/{backend}"}, [entry])
        run = lab.call()
        assert run.code == 0, run.output
        stages = [name for name in run.finished if name not in ("consolidate", "report", "finish", "all")]
        assert all(run.finished[stage] == 2 for stage in stages)
        assert len(stages) == (1 if backend == "memory" else 4)
        results = lab.root / "results" / backend / "P1"
        # In one job the labels join the images that they were found in; otherwise these are a stage's own.
        store = "composite" if backend == "memory" else "count"
        found[backend] = (
            contents(results / "images" / f"{store}.ome.zarr"),
            contents(results / "tables"),
        )
    assert found["memory"][0]
    assert found["memory"][1]
    assert found["memory"] == found["disk"]
    assert found["memory"] == found["zarr"]


def test_filters_sources_and_patterns_reach_the_right_planes(tmp_path: Path) -> None:
    """A step for some wells only, a step on the original pixels, a function for each channel."""
    plate = small_plate(tmp_path / "P1", wells=["A01", "B02"])
    chosen = {
        "DAPI": {"use": "tophat", "with": {"selem_radius": 4, "downsample_factor": 1}},
        "GFP": ["stack_percentile_normalize", {"use": "functions.pixels:offset", "with": {"by": 5}}],
    }
    lab = Lab.create(
        tmp_path / "lab",
        [plate],
        {
            "config": {"vfs": {"intermediate_backend": "disk", "materialization_backend": "disk"}},
            "steps": [
                NORMALIZE,
                {**TOPHAT, "well_filter": ["A01"]},
                {"name": "shifted", "func": {"use": "functions.pixels:offset", "with": {"by": 2}}},
                {"name": "by_channel", "func": chosen, "input_source": "pipeline_start"},
                {"name": "counted", "func": "count_cells_single_channel"},
            ],
        },
        units_per_job=2,
    )
    run = lab.run()
    assert run.code == 0, run.output
    assert ("tophat", "A01") in run.computed
    assert ("tophat", "B02") not in run.computed

    counted: dict[tuple[str, str], int] = {}
    for well in ("A01", "B02"):
        for number, channel in ((1, "DAPI"), (2, "GFP")):
            raw = np.stack([raw_image(plate, well, site, number) for site in (1, 2)])
            normalized = stack_percentile_normalize(raw)
            filtered = (
                tophat(normalized, selem_radius=6, downsample_factor=1) if well == "A01" else normalized
            )
            np.testing.assert_array_equal(published(lab, "normalize", well, number), normalized)
            np.testing.assert_array_equal(published(lab, "shifted", well, number), filtered + np.uint16(2))
            branch = (
                tophat(raw, selem_radius=4, downsample_factor=1)
                if channel == "DAPI"
                else stack_percentile_normalize(raw) + np.uint16(5)
            )
            np.testing.assert_array_equal(published(lab, "by_channel", well, number), branch)
            sizes = {"pixel_size_um": np.full(2, 0.65)}
            counted[well, channel] = len(count_cells_single_channel(branch, planes=sizes)[1]["plane"])
    rows = {row["Metadata_Well"]: row for row in lab.rows("tables/wells.csv")}
    assert {
        (well, channel): int(rows[well][f"Count_cell_counts_{channel}"]) for well, channel in counted
    } == counted
    assert any(counted.values())


def published(lab: Lab, step: str, well: str, channel: int) -> NDArray[Any]:
    """The two sites of a channel, as a step left them."""
    sites = [
        sorted((lab.results / "images" / step / well / f"s{site}").glob(f"*_w{channel}.tif"))
        for site in (1, 2)
    ]
    return np.stack([tifffile.imread(path) for (path,) in sites])
