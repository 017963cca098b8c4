"""One implementation for NumPy and CuPy: which namespace an array belongs to, and safe changes of data type.

Importing this module imports NumPy only; CuPy, SciPy and array-api-compat are imported by the call that needs
them, and CuPy only once a CuPy array is there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def namespace(x: Any) -> Any:
    """The array namespace of ``x``: `numpy`, `cupy`, or array-api-compat's for any other array (Torch)."""
    if isinstance(x, np.ndarray):
        return np
    if is_cupy(x):
        import cupy

        return cupy
    import array_api_compat

    return array_api_compat.array_namespace(x)


def is_cupy(x: Any) -> bool:
    """Whether ``x`` is a CuPy array; does not import CuPy."""
    return type(x).__module__.partition(".")[0] == "cupy"


def is_on_gpu(x: Any) -> bool:
    """Whether ``x`` is an array of CuPy, or a tensor of PyTorch in the memory of a GPU; imports neither."""
    return is_cupy(x) or (_is_torch(x) and bool(x.is_cuda))


def _is_torch(x: Any) -> bool:
    """Whether ``x`` is a tensor of PyTorch; does not import PyTorch."""
    return type(x).__module__.partition(".")[0] == "torch" and hasattr(x, "detach")


def ndimage_of(x: Any) -> Any:
    """The image filters which work on ``x``: `scipy.ndimage`, or `cupyx.scipy.ndimage` for a CuPy array."""
    if is_cupy(x):
        import cupyx.scipy.ndimage

        return cupyx.scipy.ndimage
    import scipy.ndimage

    return scipy.ndimage


def to_numpy(x: Any) -> NDArray[Any]:
    """``x`` in host memory; the same object if it is a NumPy array."""
    host: NDArray[Any]
    if is_cupy(x):
        host = x.get()
        return host
    if _is_torch(x):
        host = x.detach().cpu().numpy()
        return host
    return np.asarray(x)


def dtype_range(dtype: DTypeLike) -> tuple[float, float]:
    """Lowest and highest intensity of a data type: its limits for integers, (0, 1) for floats and bool.

    The limits are Python integers for integer types, so that those of 64-bit types are exact.
    """
    kind = np.dtype(dtype)
    if kind.kind in "ui":
        info = np.iinfo(kind)
        return int(info.min), int(info.max)
    if kind.kind in "fb":
        return 0.0, 1.0
    raise ValueError(f"Images have integer or float pixels; {kind} has no intensity range.")


def round_saturate(x: Any, dtype: DTypeLike) -> Any:
    """``x`` as ``dtype`` without wrapping, in the namespace of ``x``.

    To an integer type: rounded half to even and clipped to the type's range; NaN becomes 0. To a float
    type: a plain cast. ``x`` itself is returned if it has the data type already, and is never written to.
    """
    xp = namespace(x)
    target = np.dtype(dtype)
    source = np.dtype(x.dtype)
    if source == target:
        return x
    if target.kind not in "ui":
        return x.astype(target)
    low, high = dtype_range(target)
    if source.kind != "f":
        own_low, own_high = dtype_range(source)
        if own_low >= low and own_high <= high:
            return x.astype(target)
        return xp.clip(x, max(int(own_low), int(low)), min(int(own_high), int(high))).astype(target)
    rounded = xp.round(x)
    rounded[xp.isnan(rounded)] = 0
    below, above = rounded <= low, rounded >= high
    rounded[below | above] = 0
    result = rounded.astype(target)
    result[below] = int(low)
    result[above] = int(high)
    return result
