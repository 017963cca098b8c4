"""Hashes of function sources, so that an edited function is a changed function.

The hash covers the module that holds the function and, transitively, the modules of the same package (or
folder) that it imports: a helper that changes changes the result. Sources are read, never run.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

LARGEST_FOLDER = 10_000
"""Files in a folder that an argument names: every call of snakemake looks at all of them."""


def source_hash(func: Callable[..., Any]) -> str:
    """Hash of the sources that ``func`` is made of; for a function without source, of its module's
    version.
    """
    module = sys.modules.get(func.__module__)
    path = getattr(module, "__file__", None)
    if path is None or not str(path).endswith(".py"):
        root = sys.modules.get(func.__module__.partition(".")[0])
        text = f"{func.__module__}:{func.__qualname__}:{getattr(root, '__version__', '')}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    state = hashlib.blake2b(digest_size=16)
    for file in sorted(_closure(Path(path).resolve(), _root(func.__module__, Path(path).resolve()))):
        state.update(_file_hash(file, file.stat().st_mtime_ns))
    return state.hexdigest()


def named_files(
    func: Callable[..., Any], names: Iterable[str], arguments: Mapping[str, Any]
) -> dict[str, str]:
    """The paths that the parameters of these names have in a call of ``func``, their defaults included."""
    try:
        parameters = tuple(inspect.signature(func).parameters.values())
    except (TypeError, ValueError):  # compiled functions may not tell their signature
        parameters = ()
    values = {p.name: p.default for p in parameters if p.default is not p.empty} | dict(arguments)
    return {name: str(values[name]) for name in names if values.get(name) is not None}


def file_state(path: str) -> str:
    """Path, size and time of change of a file, or of all files of a folder; "" if it is not there, cannot be read,
    or is a folder of more than `LARGEST_FOLDER` files.
    """
    if not path:  # which would be the working directory
        return ""
    try:
        where = Path(path).expanduser()
        if not where.is_dir():
            return f"{path}:{_facts(where)}"
        files = list(islice(_files(where), LARGEST_FOLDER + 1))
        listing = "\n".join(sorted(f"{file.relative_to(where)}:{_state_in_folder(file)}" for file in files))
    except (OSError, ValueError, RuntimeError):  # not a path at all, a user whom nobody knows
        return ""
    if len(files) > LARGEST_FOLDER:
        return ""
    return f"{path}:{hashlib.blake2b(listing.encode('utf-8', 'surrogateescape'), digest_size=16).hexdigest()}"


def _facts(file: Path) -> str:
    facts = file.stat()
    return f"{facts.st_size}:{facts.st_mtime_ns}"


def _state_in_folder(file: Path) -> str:
    try:
        return _facts(file)
    except OSError:  # a link to nowhere
        return ""


def _files(folder: Path) -> Iterator[Path]:
    """All files in a folder and the folders in it, each folder once, whatever links there are."""

    def fail(error: OSError) -> None:
        raise error

    entered: set[str] = set()
    for here, folders, files in os.walk(folder, followlinks=True, onerror=fail):
        if os.path.realpath(here) in entered:
            folders.clear()
            continue
        entered.add(os.path.realpath(here))
        yield from (Path(here, name) for name in files)


def _root(module: str, path: Path) -> Path:
    """The folder that holds the module's top-level package."""
    return path.parents[module.count(".") + (path.name == "__init__.py")]


def _closure(path: Path, root: Path) -> set[Path]:
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.add(file)
        waiting.extend(_imports(file, root, file.stat().st_mtime_ns))
    return found


@lru_cache(maxsize=512)
def _file_hash(file: Path, mtime_ns: int) -> bytes:
    return hashlib.blake2b(file.read_bytes(), digest_size=16).digest()


@lru_cache(maxsize=512)
def _imports(file: Path, root: Path, mtime_ns: int) -> tuple[Path, ...]:
    """Files under ``root`` that ``file`` imports, at any depth of its code."""
    return tuple(sorted(set(_imported_files(file, root))))


def _imported_files(file: Path, root: Path) -> Iterator[Path]:
    top = file.relative_to(root).parts[0] if file.is_relative_to(root) else ""  # "": reached through a link
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # nothing that runs imports it
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            base = root
        elif isinstance(node, ast.ImportFrom):
            base = file.parents[node.level - 1] if node.level else root
            stem = node.module or ""
            names = [stem, *(f"{stem}.{alias.name}".strip(".") for alias in node.names)]
        else:
            continue
        for name in filter(None, names):
            target = base.joinpath(*name.split("."))
            for candidate in (target.with_suffix(".py"), target / "__init__.py"):
                # A script's folder may hold anything; only what lies in the same package, or beside it,
                # counts.
                inside = candidate.is_relative_to(root / top) or file.parent in candidate.parents
                if inside and candidate.is_file():
                    yield candidate.resolve()
