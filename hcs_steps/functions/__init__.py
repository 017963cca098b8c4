"""The image functions of a pipeline. Importing this package imports none of them; a name is loaded when used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hcs_steps.lazy import lazy_names

if TYPE_CHECKING:
    from hcs_steps.functions.declare import spec_of, step_function
    from hcs_steps.functions.illumination.flatfield import (
        apply_flatfield,
        estimate_flatfield,
        flatfield_from_planes,
    )
    from hcs_steps.functions.measuring.objects import measure_objects
    from hcs_steps.functions.measuring.translocation import measure_translocation
    from hcs_steps.functions.neurites.sholl import sholl
    from hcs_steps.functions.neurites.tracing import skan_axon_skeletonize_and_analyze
    from hcs_steps.functions.preprocessing.background import tophat
    from hcs_steps.functions.preprocessing.composite import create_composite, rgb_composite
    from hcs_steps.functions.preprocessing.filters import gaussian, median
    from hcs_steps.functions.preprocessing.geometry import crop, rescale
    from hcs_steps.functions.preprocessing.normalize import stack_percentile_normalize
    from hcs_steps.functions.preprocessing.project import project
    from hcs_steps.functions.preprocessing.tiles import subtract_background
    from hcs_steps.functions.quality import focus_score, image_quality, saturation, signal_to_background
    from hcs_steps.functions.segmentation.cells import segment_cells, segment_cytoplasm
    from hcs_steps.functions.segmentation.count import count_cells_single_channel
    from hcs_steps.functions.segmentation.models import segment_model
    from hcs_steps.functions.segmentation.nuclei import segment_nuclei
    from hcs_steps.functions.segmentation.phase import segment_log_std
    from hcs_steps.functions.segmentation.spots import segment_spots
    from hcs_steps.functions.stitching.assemble import assemble_stack, assemble_stack_cpu, assemble_stack_cupy
    from hcs_steps.functions.stitching.positions import (
        ashlar_compute_tile_positions_cpu,
        ashlar_compute_tile_positions_gpu,
        compute_tile_positions,
    )

__all__ = [
    "STEP_FUNCTIONS",
    "apply_flatfield",
    "ashlar_compute_tile_positions_cpu",
    "ashlar_compute_tile_positions_gpu",
    "assemble_stack",
    "assemble_stack_cpu",
    "assemble_stack_cupy",
    "compute_tile_positions",
    "count_cells_single_channel",
    "create_composite",
    "crop",
    "estimate_flatfield",
    "flatfield_from_planes",
    "focus_score",
    "gaussian",
    "image_quality",
    "measure_objects",
    "measure_translocation",
    "median",
    "project",
    "rescale",
    "rgb_composite",
    "saturation",
    "segment_cells",
    "segment_cytoplasm",
    "segment_log_std",
    "segment_model",
    "segment_nuclei",
    "segment_spots",
    "sholl",
    "signal_to_background",
    "skan_axon_skeletonize_and_analyze",
    "spec_of",
    "stack_percentile_normalize",
    "step_function",
    "subtract_background",
    "tophat",
]

STEP_FUNCTIONS = {
    "hcs_steps.functions.preprocessing.background": ["tophat"],
    "hcs_steps.functions.segmentation.cells": ["segment_cells", "segment_cytoplasm"],
    "hcs_steps.functions.preprocessing.composite": ["create_composite"],
    "hcs_steps.functions.segmentation.count": ["count_cells_single_channel"],
    "hcs_steps.functions.preprocessing.filters": ["gaussian", "median"],
    "hcs_steps.functions.illumination.flatfield": ["apply_flatfield", "estimate_flatfield"],
    "hcs_steps.functions.preprocessing.geometry": ["crop", "rescale"],
    "hcs_steps.functions.measuring.objects": ["measure_objects"],
    "hcs_steps.functions.segmentation.models": ["segment_model"],
    "hcs_steps.functions.neurites.tracing": ["skan_axon_skeletonize_and_analyze"],
    "hcs_steps.functions.preprocessing.normalize": ["stack_percentile_normalize"],
    "hcs_steps.functions.segmentation.nuclei": ["segment_nuclei"],
    "hcs_steps.functions.segmentation.phase": ["segment_log_std"],
    "hcs_steps.functions.preprocessing.project": ["project"],
    "hcs_steps.functions.quality": ["focus_score", "image_quality", "saturation", "signal_to_background"],
    "hcs_steps.functions.neurites.sholl": ["sholl"],
    "hcs_steps.functions.segmentation.spots": ["segment_spots"],
    "hcs_steps.functions.stitching.assemble": ["assemble_stack", "assemble_stack_cpu", "assemble_stack_cupy"],
    "hcs_steps.functions.stitching.positions": [
        "compute_tile_positions",
        "ashlar_compute_tile_positions_cpu",
        "ashlar_compute_tile_positions_gpu",
    ],
    "hcs_steps.functions.preprocessing.tiles": ["subtract_background"],
    "hcs_steps.functions.measuring.translocation": ["measure_translocation"],
}
"""Module -> its step functions; a pipeline file names them as they are. A new function is one more name here."""

_TOOLS = {
    "hcs_steps.functions.preprocessing.composite": ["rgb_composite"],
    "hcs_steps.functions.declare": ["spec_of", "step_function"],
    "hcs_steps.functions.illumination.flatfield": ["flatfield_from_planes"],
}

__getattr__ = lazy_names(__name__, STEP_FUNCTIONS, _TOOLS)
