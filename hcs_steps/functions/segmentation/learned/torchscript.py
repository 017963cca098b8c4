"""TorchScript models: loading, and running them tile by tile."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.functions.segmentation.learned.options import FILES, ModelOptions
from hcs_steps.functions.segmentation.learned.tiles import merge_labels, tiles_of

MULTIPLE = 32
"""Tiles are mirrored up to a multiple of this side: networks halve them up to five times."""

SAME_SCALE = 0.01
"""Relative difference of pixel sizes that is left alone."""

Image = NDArray[np.float32]


def load(kind: str, path: Path, device: str) -> Any:
    """The model in a TorchScript file, in evaluation mode; the last one is kept while its file is unchanged."""
    state = path.stat()
    return _load(kind, str(path), device, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=1)
def _load(kind: str, path: str, device: str, modified: int, size: int) -> Any:
    import torch

    try:
        # Reads code for Torch's own interpreter and tensors; Python objects in the file are not unpickled.
        model = torch.jit.load(path, map_location=device)
    except RuntimeError as error:
        raise ValueError(f"{path} is no TorchScript model. weights must be {FILES[kind]}.") from error
    return model.eval()


def _resized(image: Any, shape: tuple[int, int], mode: str) -> NDArray[Any]:
    """A (C, Y, X) array at another size, bilinear or nearest."""
    import torch

    smooth = {"align_corners": False} if mode == "bilinear" else {}
    tensor = torch.nn.functional.interpolate(
        torch.from_numpy(np.ascontiguousarray(image))[None], size=shape, mode=mode, **smooth
    )
    return np.asarray(tensor[0].numpy())


def _padded(window: Image) -> Image:
    """A copy of a (C, Y, X) tile, mirrored at its lower right up to whole multiples."""
    extra = [(0, -size % MULTIPLE) for size in window.shape[1:]]
    return np.ascontiguousarray(np.pad(window, [(0, 0), *extra], mode="reflect"), dtype=np.float32)


def _run(model: Any, window: Image, options: ModelOptions, extra: dict[str, Any]) -> NDArray[Any]:
    """What the model says about a (C, Y, X) tile, (Y, X)."""
    import torch

    padded = _padded(window)
    # The same sums in the same order every time, and in full precision, as on the CPU.
    repeatable = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    with torch.inference_mode(), repeatable:
        result = model(torch.from_numpy(padded)[None].to(options.device), **extra)
    if isinstance(result, (tuple, list)):
        result = result[0]
    if not isinstance(result, torch.Tensor):
        raise ValueError(f"The model returned {type(result).__name__}, but segment_model needs a tensor.")
    values = np.asarray(result.detach().cpu().numpy())
    values = values.reshape((-1, *values.shape[-2:])) if values.ndim >= 2 else values
    if values.shape[1:] != padded.shape[1:]:
        raise ValueError(
            f"The model returned an array of shape {tuple(result.shape)} for an image of {padded.shape[1:]}, but "
            "segment_model needs a value for each pixel."
        )
    if options.output_channel >= len(values):
        raise ValueError(
            f"output_channel={options.output_channel}, but the model returned {len(values)} channels, from 0."
        )
    return np.asarray(values[options.output_channel, : window.shape[1], : window.shape[2]])


def predict(model: Any, image: Image, options: ModelOptions, pixel_size: float, **extra: Any) -> NDArray[Any]:
    """What a model says about a normalised (C, Y, X) image, (Y, X): float32, or int32 if it gives labels.

    The image is brought to the model's pixel size, cut into overlapping tiles, and what the tiles say is put together
    and brought back.
    """
    shape = (image.shape[1], image.shape[2])
    scale = pixel_size / options.model_pixel_size_um if options.model_pixel_size_um else 1.0
    scaled = abs(scale - 1) > SAME_SCALE
    if scaled:
        image = _resized(
            image, (max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))), "bilinear"
        )
    tiles = tiles_of(image.shape[1:], options.tile_size, options.tile_overlap)
    result: NDArray[Any]
    if options.output == "labels":
        found = [
            np.rint(_run(model, image[:, *tile.window], options, extra)).astype(np.int32) for tile in tiles
        ]
        result = merge_labels(found, tiles, image.shape[1:])
        if scaled:
            result = _resized(result[None].astype(np.float64), shape, "nearest")[0].astype(np.int32)
        return result
    result = np.empty(image.shape[1:], dtype=np.float32)
    for tile in tiles:
        result[tile.core] = _run(model, image[:, *tile.window], options, extra)[tile.core_in_window]
    return _resized(result[None], shape, "bilinear")[0] if scaled else result
