"""Pipeline x plate -> plan; see `hcs_steps.compile.compiler`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hcs_steps.lazy import lazy_names

if TYPE_CHECKING:
    from hcs_steps.compile.compiler import (
        compile_plate,
    )
    from hcs_steps.compile.request import (
        CompileOptions,
        Limits,
    )

__all__ = [
    "CompileOptions",
    "Limits",
    "compile_plate",
]

__getattr__ = lazy_names(
    __name__,
    {
        "hcs_steps.compile.compiler": ["compile_plate"],
        "hcs_steps.compile.request": ["CompileOptions", "Limits"],
    },
)
