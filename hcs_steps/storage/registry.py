"""Which storage backend a name in the configuration stands for; users add their own by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from hcs_steps.errors import ConfigError, nearest
from hcs_steps.storage.protocol import ImageStore, StoreSpec

StoreFactory = Callable[[StoreSpec], ImageStore]

BUILT_IN: Mapping[str, str] = {
    "memory": "hcs_steps.storage.memory:MemoryStore",
    "disk": "hcs_steps.storage.tiff:TiffStore",
    "zarr": "hcs_steps.storage.ome_zarr:OmeZarrStore",
}
"""The backends that are always there."""

_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_FIX = "Define the factory at the top level of an importable module and register it, or its 'module:name'."


class StorageRegistry:
    """Backend names and the factories they stand for, kept as ``module:qualname`` references.

    References, not objects: the job that writes the images is another process and imports the factory anew.

    >>> registry = StorageRegistry()
    >>> registry.register("archive", "hcs_steps.storage.tiff:TiffStore")
    >>> StorageRegistry.from_references(registry.references()).names()
    ('archive', 'disk', 'memory', 'zarr')
    """

    def __init__(self) -> None:
        self._references = dict(BUILT_IN)

    @classmethod
    def from_references(cls, references: Mapping[str, str]) -> StorageRegistry:
        """The registry that `references` came from."""
        registry = cls()
        for name, reference in references.items():
            registry.register(name, reference)
        return registry

    def register(self, name: str, factory: StoreFactory | str) -> None:
        """Let ``name`` stand for a factory, replacing what it stood for.

        A factory is called with a `StoreSpec` and returns an `ImageStore`. Given as ``module:qualname``, it
        is imported when it is first opened. Raises `ConfigError` for one that another process could not
        import.
        """
        if isinstance(factory, str):
            if _REFERENCE.fullmatch(factory) is None:
                raise ConfigError(f"Storage backend {name!r}: {factory!r} is not a 'module:name'.", hint=_FIX)
            self._references[name] = factory
            return
        module = getattr(factory, "__module__", None)
        qualname = getattr(factory, "__qualname__", None)
        reference = f"{module}:{qualname}"
        importable = _REFERENCE.fullmatch(reference) is not None and module != "__main__"
        if not importable or _resolve(name, reference) is not factory:
            raise ConfigError(
                f"Storage backend {name!r}: another process cannot import {factory!r}.", hint=_FIX
            )
        self._references[name] = reference

    def names(self) -> tuple[str, ...]:
        """All backend names, sorted."""
        return tuple(sorted(self._references))

    def references(self) -> dict[str, str]:
        """``module:qualname`` by backend name, sorted: plain data for a plan file."""
        return dict(sorted(self._references.items()))

    def open(self, name: str, spec: StoreSpec) -> ImageStore:
        """The store of one step. `ConfigError` for an unknown name or a factory that cannot be imported."""
        if name not in self._references:
            raise ConfigError(f"Unknown storage backend {name!r}.", hint=nearest(name, self._references))
        store = _resolve(name, self._references[name])(spec)
        if not isinstance(store, ImageStore):
            raise ConfigError(
                f"Storage backend {name!r} ({self._references[name]}) returned a {type(store).__name__}.",
                hint="A store has the methods declare, publish, read, keys and remove.",
            )
        return store


def _resolve(name: str, reference: str) -> Any:
    module, _, qualname = reference.partition(":")
    try:
        target: Any = import_module(module)
        for part in qualname.split("."):
            target = getattr(target, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"Storage backend {name!r}: cannot import {reference!r}: {error}.", hint=_FIX
        ) from error
    if not callable(target):
        raise ConfigError(f"Storage backend {name!r}: {reference!r} is not callable.", hint=_FIX)
    return target
