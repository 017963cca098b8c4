"""The declared memory multipliers bound what is really allocated, and do not exaggerate."""

from __future__ import annotations

import tracemalloc

import pytest

from hcs_steps.functions.composite import create_composite
from hcs_steps.functions.count import count_cells_single_channel
from hcs_steps.functions.declare import spec_of
from hcs_steps.functions.normalize import stack_percentile_normalize
from hcs_steps.functions.tophat import tophat

NUCLEI = [(y, x, 10) for y in range(20, 1000, 45) for x in range(20, 1000, 45)]


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
def test_peak_memory_stays_below_the_declared_multiple(draw_disks, function, parameters):
    stack = draw_disks((1080, 1080), NUCLEI)[None]
    function(stack[:, :64, :64], **parameters)
    tracemalloc.start()
    function(stack, **parameters)
    peak = 1 + tracemalloc.get_traced_memory()[1] / stack.nbytes
    tracemalloc.stop()
    assert peak <= spec_of(function).memory <= 2.5 * peak
