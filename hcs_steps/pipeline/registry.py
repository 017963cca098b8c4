"""Step functions by name: the built-in ones, a lab's own, and what the decorator registers.

A function is written down as a *reference*, a string that any process can turn into the function again:

- ``tophat``: a built-in or registered function,
- ``package.module:function``: importable code, also ``functions.my_module:my_function`` from a ``functions/``
  folder in the lab's own repository (the working directory is searched),
- ``path/to/file.py:function``: a function of a single file or script.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from hcs_steps.errors import PipelineError, nearest
from hcs_steps.functions import STEP_FUNCTIONS

BUILTINS: dict[str, str] = {
    name: f"{module}:{name}" for module, names in STEP_FUNCTIONS.items() for name in names
}
"""Short names of the functions that come with the package."""

SCRIPT = "hcs_steps_script_"
"""What the names of modules begin with that are single files."""

_registered: dict[str, str] = {}
_loading: dict[str, ModuleType] = {}

F = TypeVar("F", bound=Callable[..., Any])


def register_function(name: str) -> Callable[[F], F]:
    """Give a step function of one's own a short name for use in Python pipelines of the same process.

    Pipeline files that other processes read name the function by ``package.module:function``; a registered
    short name is replaced by that reference when a pipeline is compiled or saved.
    """

    def remember(func: F) -> F:
        reference = reference_of(func)
        reference = BUILTINS.get(reference, reference)
        known = {**BUILTINS, **_registered}.get(name)
        if known not in (None, reference):
            raise PipelineError(
                f"The function name {name!r} is taken by {known}.", hint="Register it under another name."
            )
        _registered[name] = reference
        return func

    return remember


def known_names() -> tuple[str, ...]:
    """All short names, sorted."""
    return tuple(sorted({**BUILTINS, **_registered}))


def reference_of(func: Callable[..., Any] | str) -> str:
    """The reference of a function (short for built-ins). Raises `PipelineError` for what no process can
    import.
    """
    if isinstance(func, str):
        return _registered.get(func, func)
    module, name = getattr(func, "__module__", None), getattr(func, "__qualname__", None)
    if not callable(func) or module is None or name is None:
        raise PipelineError(
            f"{func!r} is not a function.",
            hint="A step takes a function, its name, (function, {arguments}), a list of these, or a "
            "mapping of component values to these.",
        )
    if "<" in name:
        raise PipelineError(
            f"The function {name} is a lambda or is defined inside another function, so the jobs cannot "
            "import it.",
            hint="Define it at the top level of a module.",
        )
    if module == "__main__":
        script = getattr(sys.modules["__main__"], "__file__", None)
        if script is None:
            raise PipelineError(
                f"The function {name} was typed into an interactive session, so the jobs cannot import it.",
                hint=f"Save it in a file, for instance functions/mine.py, and use 'functions.mine:{name}'.",
            )
        return f"{Path(script).resolve().as_posix()}:{name}"
    if module.startswith(SCRIPT):
        return f"{Path(str(sys.modules[module].__file__)).as_posix()}:{name}"
    reference = f"{module}:{name}"
    return next((short for short, full in BUILTINS.items() if full == reference), reference)


def resolve(reference: str, search_path: tuple[str, ...] = ()) -> Callable[..., Any]:
    """The function behind a reference; folders of ``search_path`` are importable meanwhile.

    Raises
    ------
    PipelineError
        Unknown name (with the nearest one), module that cannot be imported, or no such function in it.
    """
    full = {**BUILTINS, **_registered}.get(reference, reference)
    if ":" not in full:
        raise PipelineError(
            f"There is no step function named {reference!r}.",
            hint=nearest(reference, known_names())
            + " A function of your own is written package.module:function.",
        )
    where, _, name = full.rpartition(":")
    try:
        with importable(search_path):
            module = load_file(where) if where.endswith(".py") else importlib.import_module(where)
    except (
        Exception,
        SystemExit,
    ) as error:  # a module runs code when it is imported, so it can raise anything
        raise PipelineError(
            f"The module of the step function {reference!r} cannot be imported: {describe(error)}.",
            hint="Write it as package.module:function; the working directory, and so a functions/ folder "
            "in it, is searched.",
        ) from error
    func: Any = module
    for part in name.split("."):
        func = getattr(func, part, None)
    if not callable(func):
        public = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise PipelineError(f"{where} has no function {name!r}.", hint=nearest(name, public))
    return func  # type: ignore[no-any-return]


def describe(error: BaseException) -> str:
    """An exception of somebody's code in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


@contextmanager
def importable(search_path: tuple[str, ...]) -> Iterator[None]:
    """Put folders in front of the module search path for the time of the block."""
    added = [folder for folder in search_path if folder not in sys.path]
    sys.path[:0] = added
    try:
        yield
    finally:
        for folder in added:
            sys.path.remove(folder)


def load_file(path: str) -> ModuleType:
    """A Python file as a module, loaded again when it has changed. Its ``__name__`` is not ``__main__``.

    The script that is running is not run a second time, and neither is a file that is being loaded right now.
    """
    main = sys.modules["__main__"]
    if Path(getattr(main, "__file__", None) or "-").resolve() == Path(path).resolve():
        return main
    return _loading.get(path) or _load_file(path, Path(path).stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _load_file(path: str, mtime_ns: int) -> ModuleType:
    name = SCRIPT + hashlib.blake2b(path.encode(), digest_size=6).hexdigest()
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = _loading[path] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del _loading[path]
    return module
