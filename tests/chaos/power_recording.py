"""Recordings of the calls that change files, of real commands: by strace where it is installed, else from within."""

from __future__ import annotations

import builtins
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import kill_points
from e2e_lab import ENVIRONMENT
from power_model import Event

from hcs_steps.storage import atomic

STRACE = shutil.which("strace")
_TRACED = (
    "open,openat,creat,write,pwrite64,writev,pwritev,ftruncate,truncate,fsync,fdatasync,rename,renameat,renameat2,"
    "unlink,unlinkat,rmdir,mkdir,mkdirat,link,linkat"
)
_LINE = re.compile(r"^(\d+) +(.*)$")
_CALL = re.compile(r"^(\w+)\((.*)\)\s*= (-?\d+)(?:<(.*?)>)?")
_PLACE = re.compile(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"([^"]*)"')
_DESCRIPTOR = re.compile(r"^\d+<([^>]*)>")


def from_within(work: kill_points.Work, root: Path, home: Path) -> list[Event]:
    """Do the work in a forked process whose own calls, and those of its forked children, are noted."""
    log = home / "calls.jsonl"
    log.unlink(missing_ok=True)

    def noting() -> int:
        _note_calls(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
        return work()

    code, _ = kill_points.run(noting)
    assert code == 0
    events = [Event(*fields[:3], fields[3] and tuple(fields[3])) for fields in map(json.loads, log.open())]
    return [*_below(root, events), *_last_look(root)]


def _note_calls(log: int) -> None:
    lock = threading.RLock()

    def note(op: str, path: str, other: str = "") -> None:
        stamp = None
        seen = other or path
        if op not in ("mkdir", "remove") and os.path.isfile(seen):
            status = os.stat(seen)
            stamp = (status.st_size, status.st_mtime_ns)
        os.write(log, (json.dumps([op, path, other, stamp]) + "\n").encode())

    def noted(op: str, function: Callable[..., Any], paths: int = 1) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            with lock:
                names = [_path_of(each, keywords.get("dir_fd")) for each in arguments[:paths]]
                result = function(*arguments, **keywords)
                if result is not False:  # two names that could not be exchanged
                    note(op, *names)
                return result

        return call

    for name in ("replace", "rename"):
        setattr(os, name, noted("rename", getattr(os, name), 2))
    for name in ("unlink", "remove", "rmdir"):
        setattr(os, name, noted("remove", getattr(os, name)))
    os.mkdir, os.link = noted("mkdir", os.mkdir), noted("link", os.link, 2)
    os.fsync = noted("sync", os.fsync)
    atomic._exchange = noted("exchange", atomic._exchange, 2)
    plain = io.open

    def opened(file: Any, mode: str = "r", *arguments: Any, **keywords: Any) -> Any:
        result = plain(file, mode, *arguments, **keywords)
        if not set(mode).isdisjoint("wax+") and not isinstance(file, int):
            note("write", _path_of(file, None))
        return result

    io.open = builtins.open = opened


def _path_of(place: Any, folder: int | None) -> str:
    if isinstance(place, int):
        return os.readlink(f"/proc/self/fd/{place}")
    above = os.getcwd() if folder is None else os.readlink(f"/proc/self/fd/{folder}")
    return os.path.normpath(os.path.join(above, os.fspath(place)))


def _last_look(root: Path) -> Iterator[Event]:
    """What is found at last: something that was written after it had been flushed has another time by then."""
    for path in root.rglob("*"):
        if path.is_file():
            status = path.stat()
            yield Event("look", str(path), "", (status.st_size, status.st_mtime_ns))


def by_strace(command: Sequence[str], folder: Path, root: Path, home: Path) -> list[Event]:
    """Run a command under strace."""
    log = home / "calls.strace"
    done = subprocess.run(
        [
            STRACE or "strace",
            "-f",
            "-y",
            "-qq",
            "-s",
            "0",
            "-e",
            f"trace={_TRACED}",
            "-o",
            str(log),
            *command,
        ],
        cwd=folder,
        env={**ENVIRONMENT, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode in (0, 1), done.stdout
    return list(_below(root, _parsed(folder, log.read_text(errors="replace").splitlines())))


def _parsed(folder: Path, lines: Sequence[str]) -> Iterator[Event]:
    begun: dict[str, str] = {}
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            continue
        process, text = match.groups()
        if text.endswith("<unfinished ...>"):
            begun[process] = text.removesuffix("<unfinished ...>")
            continue
        resumed = re.match(r"^<\.\.\. \w+ resumed>(.*)$", text)
        if resumed:
            text = begun.pop(process, "") + resumed[1]
        call = _CALL.match(text)
        if call is not None and int(call[3]) >= 0:
            yield from _event(folder, call[1], call[2], call[4] or "")


def _event(folder: Path, call: str, arguments: str, result: str) -> Iterator[Event]:
    if call in ("open", "openat", "creat"):
        if re.search(r"O_(CREAT|TRUNC)", arguments) or call == "creat":
            yield Event("write", result)
        return
    descriptor = _DESCRIPTOR.match(arguments)
    if call in ("fsync", "fdatasync"):
        yield Event("sync", descriptor[1] if descriptor else "")
        return
    if "write" in call or call == "ftruncate":
        yield Event("write", descriptor[1] if descriptor else "")
        return
    places = [
        os.path.normpath(os.path.join(folder, above, name)) for above, name in _PLACE.findall(arguments)
    ]
    if call.startswith("rename"):
        yield Event("exchange" if "RENAME_EXCHANGE" in arguments else "rename", *places[:2])
    elif call.startswith("link"):
        yield Event("link", *places[:2])
    else:
        yield Event("mkdir" if call.startswith("mkdir") else "remove", places[0])


def _below(root: Path, events: Sequence[Event] | Iterator[Event]) -> Iterator[Event]:
    """The events of what is below the results, or is them."""
    for event in events:
        inside = [Path(path).is_relative_to(root) for path in (event.path, event.other) if path]
        if inside and all(inside):
            yield event
