"""What every fuzz target shares: hostile values, mutations of good documents, and what must hold of any outcome.

A target hands what it does with a damaged input to `outcome`. Whatever the input, either the call returns, or an
`HcsError` comes out that says something; in bounded time and memory, without writing anywhere but where it may,
without starting a process, opening a connection, or unpickling anything.
"""

from __future__ import annotations

import atexit
import faulthandler
import os
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from hcs_steps.errors import HcsError

FACTOR = float(os.environ.get("HCS_FUZZ") or 1)
"""Examples per target, over those of a usual run."""
SECONDS = 20
"""An example that takes longer hangs; the slowest take a fraction of a second."""
HEADROOM = 3 << 30
"""Bytes of address space that an example may ask for beyond what the process has: threads reserve much of it."""
LONGEST = 20_000
"""Characters of a message that somebody can still read."""

_WRITING = frozenset(
    {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod",
     "os.chown", "os.utime", "shutil.rmtree", "shutil.move", "shutil.copyfile"}
)  # fmt: skip
_NEVER = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "socket.connect",
     "os.kill", "os.killpg", "pickle.find_class"}
)  # fmt: skip
_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Hang(BaseException):
    """An example that took too long. No `Exception`, so that nothing in between takes it for an error of a file."""


class Trespass(BaseException):
    """Something that no input may lead to."""


def new_folder() -> Path:
    """An empty folder that is there until the process ends; a plate is made once for thousands of examples."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def examples(count: int, **options: Any) -> settings:
    """Settings of a target: the same examples every time, or many others with ``HCS_FUZZ``."""
    chosen: dict[str, Any] = {
        "max_examples": max(1, round(count * FACTOR)),
        "deadline": None,
        "derandomize": FACTOR <= 1,
        "database": None,
        "print_blob": True,
        "suppress_health_check": list(HealthCheck),
    }
    return settings(**(chosen | options))


class _Watch:
    """What the audit hook, which cannot be taken off again, looks at while an example runs."""

    installed = False
    active = False
    writable: Path | None = None
    processes = False
    seen: ClassVar[list[str]] = []

    @classmethod
    def note(cls, event: str, arguments: tuple[Any, ...]) -> None:
        if not cls.active:
            return
        if event == "open":
            path, mode, flags = arguments
            if not (set(mode or "") & set("wax+") or (flags or 0) & _FLAGS):
                return
        elif event in _WRITING:
            path = arguments[0]
        elif event in _NEVER and not (cls.processes and event != "pickle.find_class"):
            cls._refuse(f"{event} {arguments!r}"[:300])
        else:
            return
        if event == "open" or event in _WRITING:
            cls._check(event, path)

    @classmethod
    def _check(cls, event: str, path: Any) -> None:
        if isinstance(path, int):
            return  # an open file
        real = os.path.realpath(os.fsdecode(path))
        if "__pycache__" in real or real == "/dev/null":  # imported for the first time
            return
        if cls.writable is None or not Path(real).is_relative_to(os.path.realpath(cls.writable)):
            cls._refuse(f"{event} {path!r}"[:300])

    @classmethod
    def _refuse(cls, what: str) -> None:
        cls.seen.append(what)
        raise Trespass(what)


@contextmanager
def _watched(writable: Path | None, processes: bool) -> Iterator[None]:
    if not _Watch.installed:
        sys.addaudithook(_Watch.note)
        _Watch.installed = True
    _Watch.writable, _Watch.processes, _Watch.seen = writable, processes, []
    _Watch.active = True
    try:
        yield
    finally:
        _Watch.active = False
    assert not _Watch.seen, _Watch.seen


def _rang(*_: object) -> None:
    raise Hang(f"longer than {SECONDS} s")


@contextmanager
def _bounded() -> Iterator[None]:
    """Time by a signal, with a process that ends where no signal gets through; memory by the address space."""
    before = signal.signal(signal.SIGALRM, _rang)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    faulthandler.dump_traceback_later(3 * SECONDS, exit=True)
    resource.setrlimit(resource.RLIMIT_AS, (size + HEADROOM, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def outcome(
    work: Callable[[], Any], *, writable: Path | None = None, processes: bool = False
) -> tuple[Any, HcsError | None]:
    """What ``work`` returns, or the error that it ends with; fails for anything else.

    ``writable`` is the only folder that may change; ``processes`` allows to start some.
    """
    try:
        with _bounded(), _watched(writable, processes):
            return work(), None
    except HcsError as error:
        check_message(error)
        return None, error
    finally:
        _Watch.active = False  # also where time or memory ran out on the way out


def check_message(error: HcsError) -> None:
    """It can be shown and read, and says how to go on."""
    text = str(error)
    assert text.strip()
    assert error.hint.strip() or all(p.hint for p in getattr(error, "problems", ("",)) if p), text
    text.encode()  # or no terminal could show it
    assert all(character.isprintable() or character == "\n" for character in text), repr(text)
    assert len(text) <= LONGEST, f"{len(text)} characters: {text[:300]}"


# Values and texts that somebody else's file may hold.

TEXTS = (
    "", " ", "\0", "a\0b", "\n", "a\nb", "\x1b[31m", "..", "../..", "../../escaped", "/etc/passwd", "/escaped", "C:\\x",
    "a/b", "a\\b", ".", "-", "~", "$HOME", "{x}", "{{x}}", "%s", "\ufeff", "\u202e", "ä µ", "\U0001f9eb", "\ud800",
    "\udcff",
    "x" * 300, "A01", "Z99", "AF48", "0", "-1", "1e400", "nan", "inf", "-inf", "NaN", "1_000", "0x10", "1,5", "٣",
    "9" * 30, "9" * 5000, "1" + "0" * 400, "true", "null", "[]", "{}", "<a>", "&lt;", "!!python/name:os.system",
    "2001-99-99", "1:2:3", "=1+1", "(a+)+$", "\u2028", "\x85", "\r", "\t",
)  # fmt: skip
NUMBERS = (
    0, 1, -1, 2, 48, 49, 1000, 10**6, 10**9, 2**31, 2**32, 2**63 - 1, 2**63, 2**64, 10**30, -(10**9), 10**400, 0.0,
    -0.0, 0.5,
    -1.5, 1e-320, 1e308, -1e308, float("nan"), float("inf"), float("-inf"), 3.0000001,
)  # fmt: skip


def deep(levels: int, leaf: Any = 0) -> Any:
    """A list in a list in a list ..."""
    value = leaf
    for _ in range(levels):
        value = [value]
    return value


CONTAINERS = (
    [],
    {},
    [[]],
    [None],
    {"": ""},
    {"x": {}},
    [1, 2, 3],
    ["a", "b"],
    [["a", "b"]],
    {"a": [1]},
    deep(60),
)

hostile_text = st.sampled_from(TEXTS) | st.text(max_size=8) | st.text("./\\ab\0\n", max_size=6)
hostile_number = st.sampled_from(NUMBERS) | st.integers() | st.floats()
hostile = (
    st.none() | st.booleans() | hostile_number | hostile_text | st.sampled_from(CONTAINERS)
    | st.recursive(
        st.none() | hostile_number | hostile_text,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hostile_text, inner, max_size=3),
        max_leaves=4,
    )
)  # fmt: skip


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a tree of mappings and lists, but the root's."""
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        here = (*path, key)
        yield here
        if isinstance(tree[key], dict | list):
            yield from places(tree[key], here)


def _copied(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    return [_copied(value) for value in tree] if isinstance(tree, list) else tree


@st.composite
def mutated(draw: st.DrawFn, tree: Any, values: st.SearchStrategy[Any] = hostile, most: int = 3) -> Any:
    """A tree with one to ``most`` of its values dropped, doubled, swapped, renamed, or replaced by hostile ones."""
    tree = _copied(tree)
    for _ in range(draw(st.integers(1, most))):
        paths = list(places(tree))
        if not paths:
            return tree
        path = draw(st.sampled_from(paths))
        parent = tree
        for key in path[:-1]:
            parent = parent[key]
        key = path[-1]
        match draw(st.sampled_from(["replace", "replace", "drop", "double", "swap", "rename", "wrap"])):
            case "replace":
                parent[key] = _copied(draw(values))  # drawn again, it must not have changed
            case "drop":
                del parent[key]
            case "double" if isinstance(parent, list):
                parent.insert(key, _copied(parent[key]))
            case "double":
                parent[draw(hostile_text)] = _copied(parent[key])
            case "swap":
                other = draw(
                    st.sampled_from(
                        sorted(parent, key=str) if isinstance(parent, dict) else range(len(parent))
                    )
                )
                parent[key], parent[other] = parent[other], parent[key]
            case "rename" if isinstance(parent, dict):
                parent[draw(hostile_text)] = parent.pop(key)
            case _:
                parent[key] = [parent[key]]
    return tree


ENCODINGS = ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "utf-7")
PIECES = (
    b"", b"\0", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\r", b"\n", b"\x1b", b'"', b"'", b"<", b">", b"&", b"&a;",
    b"]]>",
    b"<!DOCTYPE a>", b"<!--", b"[" * 3000, b"<a>" * 3000, b"{", b"}", b",", b"\t", b";", b"9" * 5000, b"-1",
    b"1e400", b"NaN",
    b"Infinity", b"../../escaped", b"/etc/passwd", b"\xed\xa0\x80", b"*a", b"&a ", b"!!python/name:os.system",
    b"\xc3\xa4",
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, data: bytes, most: int = 3) -> bytes:
    """Bytes of a good file, cut, flipped, repeated, with pieces put in, or in another encoding."""
    for _ in range(draw(st.integers(1, most))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["cut", "flip", "insert", "insert", "remove", "repeat", "encode"])):
            case "cut":
                data = data[:at]
            case "flip" if at < len(data):
                data = data[:at] + bytes([data[at] ^ draw(st.integers(1, 255))]) + data[at + 1 :]
            case "remove":
                data = data[:at] + data[at + draw(st.integers(1, 40)) :]
            case "repeat":
                data = (
                    data[:at]
                    + data[at : at + draw(st.integers(1, 200))] * draw(st.integers(2, 5))
                    + data[at:]
                )
            case "encode":
                text = data.decode("utf-8", "replace")
                data = text.encode(draw(st.sampled_from(ENCODINGS)), "replace")
            case _:
                piece = draw(st.sampled_from(PIECES) | st.binary(max_size=8))
                data = data[:at] + piece + data[at:]
    return data


def token_mutations(data: bytes, tokens: Sequence[tuple[int, int]]) -> st.SearchStrategy[bytes]:
    """A file with one to four of its values (``tokens`` are their spans) replaced by hostile ones."""

    @st.composite
    def build(draw: st.DrawFn) -> bytes:
        chosen = draw(st.lists(st.sampled_from(list(tokens)), min_size=1, max_size=4, unique=True))
        content = data
        for begin, end in sorted(chosen, reverse=True):
            value = draw(hostile_text | hostile_number.map(str))
            content = content[:begin] + value.encode("utf-8", "surrogatepass") + content[end:]
        return content

    return build()
