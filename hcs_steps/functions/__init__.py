"""The image functions of a pipeline. Importing this package imports none of them; a name is loaded when used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hcs_steps.functions.declare import spec_of, step_function

if TYPE_CHECKING:
    from hcs_steps.functions.background import tophat
    from hcs_steps.functions.composite import create_composite
    from hcs_steps.functions.count import count_cells_single_channel
    from hcs_steps.functions.normalize import stack_percentile_normalize

_HOME = {
    "count_cells_single_channel": "count",
    "create_composite": "composite",
    "stack_percentile_normalize": "normalize",
    "tophat": "background",
}

__all__ = [
    "count_cells_single_channel",
    "create_composite",
    "spec_of",
    "stack_percentile_normalize",
    "step_function",
    "tophat",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
