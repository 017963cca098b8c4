"""Cellpose 3 and 4 (C. Stringer et al., Nature Methods 18, 2021; M. Pachitariu et al., bioRxiv 2025.04.28.651001)."""

from __future__ import annotations

import importlib
import inspect
import zipfile
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.functions.segmentation.learned.options import FILES, ModelOptions
from hcs_steps.functions.segmentation.learned.torchscript import Image

MOST_CHANNELS = {3: 2, 4: 3}


def _package() -> Any:
    try:
        return importlib.import_module("cellpose.models")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "model='cellpose' needs the package cellpose, which is not installed here. Install it with: "
            "pip install cellpose (4, for cpsam weights) or pip install 'cellpose<4' (3, for cyto and nuclei weights)."
        ) from error


def _version(models: Any) -> int:
    """3 or 4; only version 4 has a switch for half precision."""
    return 4 if "use_bfloat16" in inspect.signature(models.CellposeModel.__init__).parameters else 3


def _weights_version(path: str) -> int:
    """Which version of Cellpose a file of weights belongs to.

    Nothing but tensors is unpickled here, before Cellpose reads the file itself.
    """
    import torch

    try:
        weights = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # whatever the unpickler makes of a file of another kind
        raise ValueError(f"{path} holds no Cellpose weights. weights must be {FILES['cellpose']}.") from error
    if not isinstance(weights, dict):
        raise ValueError(f"{path} holds no Cellpose weights, but {type(weights).__name__}.")
    return 4 if {"W2", "module.W2"} & set(weights) else 3


@lru_cache(maxsize=1)
def _load(path: str, device: str, modified: int, size: int) -> tuple[int, Any]:
    import torch

    models = _package()
    version, needed = _version(models), _weights_version(path)
    if version != needed:
        raise ValueError(
            f"{path} holds weights of Cellpose {needed}, but Cellpose {version} is installed. Install 'cellpose"
            f"{'>=4' if needed == 4 else '<4'}' or give other weights."
        )
    own = {"use_bfloat16": device != "cpu"} if version == 4 else {}
    model = models.CellposeModel(
        gpu=device != "cpu", pretrained_model=path, device=torch.device(device), **own
    )
    return version, model


def labels_of(image: Image, options: ModelOptions) -> NDArray[Any]:
    """The labels which Cellpose gives a normalised (C, Y, X) image, (Y, X); it cuts the image into tiles itself."""
    state = options.weights.stat()
    version, model = _load(str(options.weights), options.device, state.st_mtime_ns, state.st_size)
    if len(image) > MOST_CHANNELS[version]:
        raise ValueError(
            f"Cellpose {version} takes up to {MOST_CHANNELS[version]} channels, but the stack has {len(image)}. Select "
            "the channels first, or use channels='each'."
        )
    own = {"channels": [1, 2] if len(image) == 2 else [0, 0]} if version == 3 else {}
    masks = model.eval(
        image if len(image) > 1 else image[0],
        channel_axis=0 if len(image) > 1 else None,
        batch_size=options.batch_size,
        normalize=False,
        diameter=options.diameter,
        flow_threshold=options.flow_threshold,
        cellprob_threshold=options.cellprob_threshold,
        min_size=options.min_area,
        **own,
    )[0]
    return np.asarray(masks).reshape(image.shape[1:])
