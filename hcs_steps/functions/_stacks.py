"""What all image functions share: checking the stack, reading enumerated arguments, walking in row blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

_BLOCK_ROWS = 64


def require_stack(stack: Any, function: str) -> None:
    """Raise ValueError unless ``stack`` is a non-empty (N, Y, X) array of integers or real floats."""
    shape = tuple(getattr(stack, "shape", ()))
    if len(shape) != 3:
        raise ValueError(
            f"{function} works on a stack of planes with the axes (N, Y, X), but got an array of shape "
            f"{shape}. Give a single image a first axis of length 1: image[None]."
        )
    if 0 in shape:
        raise ValueError(f"{function} got an empty stack of shape {shape}. It needs at least one pixel.")
    if np.dtype(stack.dtype).kind not in "uif":
        raise ValueError(
            f"{function} works on integer or float pixels, but the stack has dtype {stack.dtype}. "
            "Convert it first, e.g. a mask with mask.astype('uint8')."
        )


def choice_text(value: Any) -> str:
    """The string behind an enumerated argument, which may be given as a string or as an enum member."""
    return str(getattr(value, "value", value))


def choice(value: Any, allowed: Sequence[str], argument: str) -> str:
    """The string behind an enumerated argument; ValueError if it is none of those ``allowed``."""
    text = choice_text(value)
    if text not in allowed:
        raise ValueError(f"{argument}={text!r} is not known. Allowed: {', '.join(allowed)}.")
    return text


def row_blocks(height: int) -> Iterator[slice]:
    """Slices that cut ``height`` rows into blocks, so that intermediate floats stay small."""
    for start in range(0, height, _BLOCK_ROWS):
        yield slice(start, min(start + _BLOCK_ROWS, height))
