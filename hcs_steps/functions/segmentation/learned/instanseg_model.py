"""InstanSeg models (T. Goldsborough et al., arXiv:2408.15954, 2024): TorchScript that returns labels."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.functions.segmentation.learned.options import ModelOptions
from hcs_steps.functions.segmentation.learned.torchscript import Image, load, predict


def labels_of(image: Image, options: ModelOptions, pixel_size: float) -> NDArray[Any]:
    """The labels which an InstanSeg model gives a normalised (C, Y, X) image, int32 (Y, X)."""
    import torch

    model = load("instanseg", options.weights, options.device)
    both = getattr(model, "cells_and_nuclei", None)
    if both is None:
        raise ValueError(
            f"{options.weights} is no InstanSeg model: it does not say whether it finds cells and nuclei. Use "
            "model='torchscript' for other TorchScript files."
        )
    own_size = float(getattr(model, "pixel_size", 0.0)) or None
    size = options.model_pixel_size_um or own_size
    if size is not None and not math.isfinite(pixel_size):
        raise ValueError(
            f"The InstanSeg model works at {size:g} um per px, but the pixel size of the image is unknown. Give "
            "pixel_size_um."
        )
    chosen = replace(options, output="labels", output_channel=0, model_pixel_size_um=size)
    extra = {}
    if both:
        wanted = [int(options.target == name) for name in ("nuclei", "cells")]
        extra["target_segmentation"] = torch.tensor(wanted)
    return np.asarray(predict(model, image, chosen, pixel_size, **extra))
