"""The declared memory multipliers bound what is really allocated, and do not exaggerate."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from hcs_steps.functions.declare import spec_of
from hcs_steps.functions.preprocessing.background import tophat
from hcs_steps.functions.preprocessing.composite import create_composite
from hcs_steps.functions.preprocessing.normalize import stack_percentile_normalize
from hcs_steps.functions.segmentation.count import count_cells_single_channel

NUCLEI = [(y, x, 10) for y in range(20, 1000, 45) for x in range(20, 1000, 45)]


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (stack_percentile_normalize, {"target_max": 1e9}),
        (tophat, {}),
        (tophat, {"downsample_factor": 1, "selem_radius": 8}),
        (create_composite, {}),
        (count_cells_single_channel, {}),
        (count_cells_single_channel, {"detection_method": "log"}),
    ],
)
def test_peak_memory_stays_below_what_is_declared(draw_disks, function, parameters, planes):
    stack = np.repeat(draw_disks((1000, 1000), NUCLEI)[None], planes, axis=0)
    function(stack[:, :64, :64], **parameters)
    tracemalloc.start()
    function(stack, **parameters)
    peak = stack.nbytes + tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    spec = spec_of(function)
    declared = spec.memory * stack.nbytes + spec.scratch * stack[0].size
    # Labels are predicted apart: 4 bytes per pixel.
    labels = 4 * stack.size * sum(output.kind == "labels" for output in spec.outputs)
    assert peak <= declared + labels <= 3 * peak
