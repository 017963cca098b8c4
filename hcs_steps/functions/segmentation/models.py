"""Segmentation by a learned model that the user has on disk."""

from __future__ import annotations

import math
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.arrays import is_cupy, namespace, to_numpy
from hcs_steps.functions._checks import (
    finite,
    plane_column,
    require_not_negative,
    require_positive,
    require_whole,
)
from hcs_steps.functions._stacks import choice, require_stack
from hcs_steps.functions.declare import Table, step_function
from hcs_steps.functions.segmentation.learned.options import (
    KINDS,
    OUTPUTS,
    PERCENTILES,
    TARGETS,
    ModelOptions,
    require_torch,
    torch_device,
    weights_path,
)

CHANNELS = ("each", "together")


@step_function(
    outputs={"cells": "labels"},
    changes_image=False,
    memory=1.1,
    scratch=85.0,
    packages=("scipy.ndimage", "scipy.linalg", "skimage", "torch"),
    devices=("cpu", "gpu"),
    halves=("batch_size",),
    files=("weights",),
)
def segment_model(
    stack: Any,
    model: str | Enum = "torchscript",
    weights: str | Path | None = None,
    channels: str | Enum = "each",
    output: str | Enum = "probability",
    output_channel: int = 0,
    threshold: float = 0.5,
    split: bool = True,
    min_area: int = 15,
    target: str | Enum = "cells",
    normalize: bool = True,
    low_percentile: float | None = None,
    high_percentile: float | None = None,
    tile_size: int = 1024,
    tile_overlap: int = 128,
    pixel_size_um: float | None = None,
    model_pixel_size_um: float | None = None,
    diameter: float | None = None,
    flow_threshold: float = 0.4,
    cellprob_threshold: float = 0.0,
    batch_size: int = 8,
    device: str = "auto",
    planes: Table | None = None,
) -> tuple[Any, Any]:
    """Find objects with a learned model whose weights lie on this machine. The image passes through unchanged.

    Nothing is ever downloaded. ``torchscript`` is any TorchScript model that maps a float32 image (1, C, Y, X) to a
    value for each pixel: a probability, which is cut at a threshold and divided into objects at its necks, or labels.
    ``instanseg`` is the TorchScript file of an InstanSeg release (T. Goldsborough et al., arXiv:2408.15954, 2024),
    which needs only PyTorch. ``cellpose`` needs the package cellpose, version 3 or 4, and weights that belong to it
    (C. Stringer et al., Nature Methods 18, 2021).

    What a file can do: TorchScript files hold a program for PyTorch's own interpreter; Python objects in them are not
    unpickled, but a program can compute anything and write files, so use files that you trust. Files for Cellpose
    are read as tensors only (``weights_only=True``); others are refused.

    The memory that is declared does not hold the network itself, whose needs nobody knows beforehand: leave room for
    it, some GB for Cellpose 4.

    Parameters
    ----------
    stack
        (N, Y, X), integer or float. Pixels that are not finite count as the darkest.
    model, weights
        ``torchscript``, ``instanseg`` or ``cellpose``, and the file with the weights; for InstanSeg also the folder
        that holds instanseg.pt.
    channels
        ``each``: every plane is an image of one channel. ``together``: the planes of the same site, z_index and
        timepoint are the channels of one image, in the order of the stack, and get the same labels. Cellpose 3
        takes the cells first and the nuclei second.
    output, output_channel
        TorchScript: what the model returns, ``probability``, ``logits`` (through a sigmoid) or ``labels``, and in which
        of its channels.
    threshold, split
        TorchScript without labels: pixels of a higher probability are objects; whether touching ones are divided at
        their necks, by a watershed of the distance transform.
    min_area
        Smallest object in px.
    target
        InstanSeg models that find both: ``cells`` or ``nuclei``.
    normalize, low_percentile, high_percentile
        Whether each channel of an image is scaled so that two of its percentiles become 0 and 1, without clipping.
        None: 0.1 and 99.9 for InstanSeg, otherwise 1 and 99.
    tile_size, tile_overlap
        Larger images are cut into tiles of this side in px, at least 32, which overlap by at least ``tile_overlap``,
        less than half of it; choose the overlap larger than the objects. Not for Cellpose, which cuts itself.
    pixel_size_um, model_pixel_size_um
        Size of the image's pixels, instead of the plane table's, and of those which the model was trained on; the image
        is scaled by their ratio, the labels back. None: InstanSeg's own, no scaling for the others.
    diameter, flow_threshold, cellprob_threshold
        Cellpose: typical diameter in px (None: that of the training), and its two thresholds.
    batch_size
        Cellpose: how many tiles of an image go through the network at a time; more take more memory. Results agree to
        the rounding of the network's sums.
    device
        ``cpu``, ``cuda``, ``cuda:<number>``, or ``auto``: the GPU if the stack is in its memory, else the CPU.
    planes
        The plane table, for the channels and the pixel size.

    Returns
    -------
    stack
        The object that was passed in.
    cells
        uint32 (N, Y, X), 0 is background; 1..n in each plane in raster order of the first pixel. The same input gives
        the same labels on the same kind of device.

    Raises
    ------
    ValueError
        If ``stack`` is not (N, Y, X), an argument is out of range, weights are not given or of another kind, or the
        model does not return what it should.
    FileNotFoundError
        If there are no weights where ``weights`` says.
    ModuleNotFoundError
        If PyTorch or Cellpose is not installed.
    """
    require_stack(stack, "segment_model")
    kind = choice(model, KINDS, "model")
    path = weights_path(kind, weights)
    require_positive(diameter=diameter, pixel_size_um=pixel_size_um, model_pixel_size_um=model_pixel_size_um)
    require_not_negative(min_area=min_area, output_channel=output_channel, flow_threshold=flow_threshold)
    require_whole(1, batch_size=batch_size)
    if tile_size < 32 or not 0 <= 2 * tile_overlap < tile_size:
        raise ValueError(
            f"tile_size={tile_size} with tile_overlap={tile_overlap}: tiles have at least 32 px and overlap by less "
            "than half of that."
        )
    together = choice(channels, CHANNELS, "channels") == "together"
    low, high = PERCENTILES[kind]
    low, high = (
        low if low_percentile is None else low_percentile,
        high if high_percentile is None else high_percentile,
    )
    if not 0 <= low < high <= 100:
        raise ValueError(f"The percentiles must be 0 <= low < high <= 100, but are {low} and {high}.")
    require_torch()
    options = ModelOptions(
        kind=kind,
        weights=path,
        device=torch_device(device, on_gpu=is_cupy(stack)),
        output=choice(output, OUTPUTS, "output"),
        output_channel=output_channel,
        threshold=threshold,
        split=split,
        min_area=min_area,
        target=choice(target, TARGETS, "target"),
        percentiles=(low, high) if normalize else None,
        tile_size=tile_size,
        tile_overlap=tile_overlap,
        model_pixel_size_um=model_pixel_size_um,
        diameter=diameter,
        flow_threshold=flow_threshold,
        cellprob_threshold=cellprob_threshold,
        batch_size=batch_size,
    )
    sizes = plane_column(planes, "pixel_size_um", stack.shape[0])
    if pixel_size_um is not None:
        sizes[:] = pixel_size_um
    if model_pixel_size_um is not None and not np.isfinite(sizes).all():
        raise ValueError(
            "model_pixel_size_um needs the pixel size of the image, which is unknown. Give pixel_size_um."
        )
    cells = np.zeros(stack.shape, dtype=np.uint32)
    for members in _images(planes, stack.shape[0], together):
        image = np.stack([_normalized(to_numpy(stack[index]), options.percentiles) for index in members])
        found = _segment(image, options, float(sizes[members[0]]))
        for index in members:
            cells[index] = found
    return stack, namespace(stack).asarray(cells)


def _images(planes: Table | None, count: int, together: bool) -> list[tuple[int, ...]]:
    """The planes of the stack which the model sees as one image."""
    if not together:
        return [(index,) for index in range(count)]
    from hcs_steps.functions.measuring.fields import fields_of

    return [field.planes for field in fields_of(planes, count)]


def _normalized(plane: NDArray[Any], percentiles: tuple[float, float] | None) -> NDArray[np.float32]:
    """A (Y, X) plane as float32 with its percentiles at 0 and 1; a plane without contrast becomes 0."""
    values = finite(plane)
    if percentiles is None:
        return values.astype(np.float32)
    low, high = (float(level) for level in np.percentile(values, percentiles))
    scaled = values.astype(np.float32)
    scaled -= np.float32(low)
    scaled *= np.float32(1 / (high - low) if high > low else 0)
    return scaled


def _segment(image: NDArray[np.float32], options: ModelOptions, pixel_size: float) -> NDArray[np.uint32]:
    """Numbered labels of a normalised (C, Y, X) image."""
    from hcs_steps.functions.segmentation._objects import number_objects

    found: NDArray[Any]
    if options.kind == "cellpose":
        from hcs_steps.functions.segmentation.learned import cellpose_model

        found = cellpose_model.labels_of(image, options)
    elif options.kind == "instanseg":
        from hcs_steps.functions.segmentation.learned import instanseg_model

        found = instanseg_model.labels_of(image, options, pixel_size)
    else:
        from hcs_steps.functions.segmentation.learned.torchscript import load, predict

        loaded = load("torchscript", options.weights, options.device)
        found = predict(loaded, image, options, pixel_size)
        if options.output != "labels":
            found = _objects(found, options)
    return number_objects(found.astype(np.int32), min_area=options.min_area)


def _objects(values: NDArray[np.float32], options: ModelOptions) -> NDArray[np.int32]:
    """Labels of what exceeds the threshold in a plane of probabilities or logits; NaN does not."""
    from hcs_steps.functions.segmentation._masks import label_regions

    level = options.threshold
    if options.output == "logits":
        level = math.log(level / (1 - level)) if 0 < level < 1 else math.copysign(math.inf, level - 0.5)
    mask = values > level
    if not options.split or not mask.any():
        return np.asarray(label_regions(mask)[0])
    from scipy import ndimage

    from hcs_steps.functions.segmentation._declump import cut
    from hcs_steps.functions.segmentation._watershed import SEED_DISTANCE, SEED_SMOOTHING, typical_radius

    radius = typical_radius(mask)
    distance = ndimage.distance_transform_edt(mask).astype(np.float32)
    height = ndimage.gaussian_filter(distance, max(0.5, SEED_SMOOTHING * radius))
    height[~mask] = 0
    return cut(height, mask, SEED_DISTANCE * radius)
