"""Where the weights are and how a model is applied."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

KINDS = ("cellpose", "instanseg", "torchscript")
OUTPUTS = ("probability", "logits", "labels")
TARGETS = ("cells", "nuclei")

PERCENTILES = {"cellpose": (1.0, 99.0), "instanseg": (0.1, 99.9), "torchscript": (1.0, 99.0)}
"""What the models were trained on; plain TorchScript models usually with percentiles like Cellpose's."""

FILES = {
    "cellpose": "a file of Cellpose weights, e.g. ~/.cellpose/models/cyto3",
    "instanseg": "the instanseg.pt of an InstanSeg release or the folder that holds it",
    "torchscript": "a TorchScript file written by torch.jit.save",
}


@dataclass(frozen=True)
class ModelOptions:
    """Checked parameters of `hcs_steps.functions.segmentation.models.segment_model`."""

    kind: str
    weights: Path
    device: str
    output: str
    output_channel: int
    threshold: float
    split: bool
    min_area: int
    target: str
    percentiles: tuple[float, float] | None
    tile_size: int
    tile_overlap: int
    model_pixel_size_um: float | None
    diameter: float | None
    flow_threshold: float
    cellprob_threshold: float
    batch_size: int


def weights_path(kind: str, weights: str | Path | None) -> Path:
    """The file with the weights; raises ValueError or FileNotFoundError, which say what is missing."""
    if weights is None or not str(weights):
        raise ValueError(
            f"segment_model needs weights for model={kind!r}: the path of {FILES[kind]}. Nothing is downloaded."
        )
    path = Path(weights).expanduser()
    if kind == "instanseg" and path.is_dir():
        path = path / "instanseg.pt"
    if not path.is_file():
        raise FileNotFoundError(
            f"There are no weights at {path.absolute()}. For model={kind!r}, weights must be {FILES[kind]}, on this "
            "machine; nothing is downloaded."
        )
    return path


def require_torch() -> None:
    """Raise ModuleNotFoundError with the fix if PyTorch is missing."""
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "segment_model needs PyTorch, which is not installed here. Install it with: pip install 'hcs-steps[torch]'"
        ) from error


def torch_device(device: str, *, on_gpu: bool) -> str:
    """The Torch device for ``auto``, ``cpu``, ``cuda`` or ``cuda:<number>``; ``on_gpu``: the stack is there."""
    import torch

    if device == "auto":
        return "cuda" if on_gpu and torch.cuda.is_available() else "cpu"
    name, _, number = device.partition(":")
    if name not in ("cpu", "cuda") or not (number.isdigit() if ":" in device else True):
        raise ValueError(f"device={device!r} is not known. Allowed: auto, cpu, cuda, cuda:<number>.")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device={device!r}, but PyTorch finds no CUDA device here. Use device='auto' or 'cpu'."
        )
    return device
