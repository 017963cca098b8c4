"""Packages that show their public names and import a module only when one of its names is used."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy_names(package: str, *homes: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package: each of ``homes`` maps modules inside ``hcs_steps`` to names they hold.

    >>> __getattr__ = lazy_names(__name__, {"hcs_steps.errors": ["HcsError"]})
    """
    home = {name: module for some in homes for module, names in some.items() for name in names}

    def find(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(home[name]), name)

    return find
