"""Memory of the GPU that this process holds: giving it back, how much it was, and whether it ran out.

CuPy and PyTorch keep what they have once been given, each for itself. Neither is imported here.
"""

from __future__ import annotations

import sys
from typing import Any

_LIBRARY_ERRORS = {
    "CUDARuntimeError",
    "CUDADriverError",
    "CuFFTError",
    "CUFFTError",
    "CUBLASError",
    "AcceleratorError",
}
"""Errors of CUDA's libraries that are told apart by what they say."""

_peak = 0


def ran_out(error: BaseException) -> bool:
    """Whether an error says that the GPU's memory ran out: of CuPy, of PyTorch, or of a library of CUDA."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if "OutOfMemoryError" in names:
        return True
    if names.isdisjoint(_LIBRARY_ERRORS):
        return False
    text = str(error).lower()
    return "out of memory" in text or "memoryallocation" in text or "alloc_failed" in text


def free() -> None:
    """Give back what nothing uses; the CUDA context and what lies in arrays stay."""
    cupy, torch = _cupy(), _torch()
    if cupy is None and torch is None:
        return
    global _peak
    _peak = max(_peak, _taken())
    if cupy is not None:
        cupy.get_default_memory_pool().free_all_blocks()
        cupy.get_default_pinned_memory_pool().free_all_blocks()
    if torch is not None:
        torch.cuda.empty_cache()


def reset_peak() -> None:
    """Give back what nothing uses, and start measuring anew."""
    free()
    global _peak
    _peak = 0
    torch = _torch()
    if torch is not None:
        torch.cuda.reset_peak_memory_stats()


def peak_mb() -> int:
    """The most that this process had taken since `reset_peak`, in MB, without the CUDA context."""
    return max(_peak, _taken()) >> 20


def _taken() -> int:
    """Bytes that CuPy's pool holds, plus the most that PyTorch's held."""
    cupy, torch = _cupy(), _torch()
    own = int(cupy.get_default_memory_pool().total_bytes()) if cupy is not None else 0
    return own + (int(torch.cuda.max_memory_reserved()) if torch is not None else 0)


def _cupy() -> Any:
    """CuPy, if it is loaded."""
    return sys.modules.get("cupy")


def _torch() -> Any:
    """PyTorch, if it is loaded and works on a GPU."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and torch.cuda.is_initialized() else None
