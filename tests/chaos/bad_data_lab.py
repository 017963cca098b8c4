"""A small plate that is spoilt, run in this process, and looked at: what the cases of bad data are made with."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import pyarrow.parquet as pq
import pytest

from hcs_steps.emit.prepare import prepare_plates
from hcs_steps.emit.workflow import Workflow
from hcs_steps.errors import HcsError
from hcs_steps.plate.synthetic import make_plate
from hcs_steps.results import Results
from hcs_steps.run.claim import claim
from hcs_steps.run.records import open_failures, read_json
from hcs_steps.run.runner import Runner
from hcs_steps.settings import parse_settings

WELLS = ("A01", "A02", "B01")
BAD = "B01"
PLATE: Mapping[str, Any] = {
    "wells": WELLS, "sites": (1, 1), "shape": (32, 36), "cells_per_well": 4, "channels": ("DAPI", "GFP"),
}  # fmt: skip
PIPELINE = """
steps:
  - {name: normalize, func: stack_percentile_normalize}
  - {name: count, func: count_cells_single_channel}
config:
  vfs: {intermediate_backend: disk}
"""


@dataclass
class Ended:
    """How a run ended: what was refused, the open failure of every unit that has one, what every other unit published
    (path -> checksum), and every note that people see.
    """

    refusal: str = ""
    failures: dict[str, dict[str, Any]] = field(default_factory=dict)
    done: dict[str, dict[str, str]] = field(default_factory=dict)
    notes: str = ""
    half_written: list[str] = field(default_factory=list)
    rerun: Ended | None = None


@contextmanager
def nothing() -> Iterator[None]:
    """Does nothing, as a context and when it is only called."""
    yield


class Bench:
    """One plate in a folder of its own, its configuration, and hooks at the moments of a run.

    ``image`` is an image of well B01 whose header is not opened to plan the plate, ``first`` one whose header is.
    ``make_room`` takes away what disturbed the run, before another one; ``spoilt`` are results that stay damaged.
    """

    def __init__(self, root: Path, plate: Mapping[str, Any]) -> None:
        self.root = root
        self.plate = root / "P1"
        self.output = root / "out"
        self.pipeline = PIPELINE
        self.settings: dict[str, Any] = {}
        self.before_run: Callable[[], object] = nothing
        self.after_planning: Callable[[], object] = nothing
        self.after_stage: dict[str, Callable[[], object]] = {}
        self.around_run: Callable[[], Any] = nothing
        self.around_stages: Callable[[], Any] = nothing
        self.afterwards: Callable[[], object] = nothing
        self.make_room: Callable[[], object] | None = None
        self.spoilt: set[str] = set()
        self.touches_raw = False
        self.by_command = False
        shutil.copytree(_pristine(tuple(sorted({**PLATE, **plate}.items()))), self.plate)

    @property
    def results(self) -> Results:
        found = [path.parent for path in self.output.glob("*/plan.json")]
        return Results(found[0] if found else self.output / "P1")

    @property
    def image(self) -> Path:
        return self.raw(BAD, channel=2)

    @property
    def first(self) -> Path:
        return self.raw(BAD, channel=1)

    def raw(self, well: str, site: int = 1, channel: int = 1) -> Path:
        return next(self.plate.rglob(f"*_{well}_s{site}_w{channel}.TIF"))

    @property
    def htd(self) -> Path:
        return next(self.plate.rglob("*.HTD"))

    def rename(self, name: str) -> None:
        """Give the plate's folder another name."""
        self.plate = self.plate.rename(self.root / name)

    def function(self, body: str, decorator: str = "") -> None:
        """Put a function of the lab, whose body is ``body``, in the place of the first step."""
        file = self.root / "lab.py"
        head = "from hcs_steps.functions.declare import step_function\n\n"
        file.write_text(f"{head}{decorator}\ndef step(stack):\n    {body}\n")
        self.pipeline = self.pipeline.replace("stack_percentile_normalize", f"'{file}:step'", 1)

    def run(self) -> Ended:
        """Plan and run everything but the page, as Snakemake and its jobs would; once more after `make_room`."""
        with self.around_run():
            ended = self._run()
            if self.make_room is not None:
                self.make_room()
                ended.rerun = self._run()
            ended.half_written = [each for each in half_written(self.results) if each not in self.spoilt]
            self.afterwards()
        return ended

    def _run(self) -> Ended:
        ended = Ended()
        try:
            self.before_run()
            raw = snapshot(self.plate)
            prepared = self.prepare()
            lock = claim(prepared.results)
            try:
                Workflow({prepared.results.root.as_posix(): prepared.plan}, [prepared]).write()
                assert snapshot(self.plate) == raw, "planning touched the plate"
                self._stages(prepared)
                self._look(prepared, ended)
            finally:
                if lock:
                    lock.release()
        except HcsError as error:
            ended.refusal = str(error)
        return ended

    def _stages(self, prepared: Any) -> None:
        self.after_planning()
        raw = snapshot(self.plate)
        plan, results = prepared.plan, prepared.results
        with self.around_stages():
            for stage in plan.stages[:-1]:
                if self.by_command and stage.scope == "unit":
                    self._command(results, stage.name, plan.units_of(stage))
                else:
                    Runner(plan, results, log="log").run(stage, plan.units_of(stage))
                self.after_stage.get(stage.name, nothing)()
        assert self.touches_raw or snapshot(self.plate) == raw, "the run touched the plate"

    def _command(self, results: Results, stage: str, units: tuple[str, ...]) -> None:
        """The same by the command that a job calls, in a process of its own, and from another working directory."""
        call = [sys.executable, "-m", "hcs_steps", "step", "--stage", stage]
        call += [
            "--plan",
            os.path.relpath(results.plan, self.root),
            "--log",
            "log.txt",
            "--marker",
            "marker.json",
        ]
        call += [argument for unit in units for argument in ("--unit", unit)]
        done = subprocess.run(call, cwd=self.root, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr

    def _look(self, prepared: Any, ended: Ended) -> None:
        plan, results, inventory = prepared.plan, prepared.results, prepared.inventory
        ended.failures = {failure["unit"]: failure for failure in open_failures(plan, results)}
        notes = [f"{each.what}: {each.why}" for each in inventory.problems]
        notes += [*inventory.disagreements, *plan.notes]
        for stage in plan.stages[:-1]:
            for unit in set(plan.units_of(stage)) - ended.failures.keys():
                record = read_json(results.record(stage.name, unit))
                assert record, f"{unit} has neither a record nor a failure in {stage.name}"
                notes += record["notes"]
                paths = ended.done.setdefault(unit, {})
                paths.update({item["path"]: item["checksum"] for item in record["published"]})
        ended.notes = "\n".join(notes)

    def prepare(self) -> Any:
        (self.root / "p.yaml").write_text(self.pipeline)
        plate = {"path": str(self.plate), "pipeline": str(self.root / "p.yaml"), **self.settings}
        settings = parse_settings({"output": str(self.output), "plates": [plate]})
        return prepare_plates(settings, root=self.root)[0]


@lru_cache(maxsize=1)
def _kept() -> TemporaryDirectory[str]:
    """A folder for what several cases share; it goes when the process ends."""
    return TemporaryDirectory(prefix="bad-data-")


@lru_cache(maxsize=16)
def _pristine(plate: tuple[tuple[str, Any], ...]) -> Path:
    folder = Path(mkdtemp(dir=_kept().name)) / "P1"
    make_plate(folder, **{name: dict(value) if name == "cells_per_well" and isinstance(value, tuple) else value
                          for name, value in plate})  # fmt: skip
    return folder


@lru_cache(maxsize=8)
def undisturbed(plate: tuple[tuple[str, Any], ...], pipeline: str) -> dict[str, dict[str, str]]:
    """Unit -> what it publishes (path -> checksum) when nothing is wrong."""
    bench = Bench(Path(mkdtemp(dir=_kept().name)), dict(plate))
    bench.pipeline = pipeline
    ended = bench.run()
    assert not ended.failures
    assert not ended.refusal
    shutil.rmtree(bench.root)
    return ended.done


def snapshot(folder: Path) -> dict[str, Any]:
    """Relative path -> kind, mode, size, time and bytes of everything below a folder; no link is followed."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        regular = stat.S_ISREG(status.st_mode) and status.st_size < 1 << 20
        try:
            content = hashlib.blake2b(path.read_bytes()).hexdigest() if regular else ""
        except PermissionError:
            content = "?"
        time = 0 if stat.S_ISDIR(status.st_mode) else status.st_mtime_ns
        found[str(path.relative_to(folder))] = (status.st_mode, status.st_size, time, content)
    return found


def half_written(results: Results) -> list[str]:
    """What readers could stumble over: temporary siblings, and tables and records that cannot be read."""
    temporary = re.compile(r"\..*\.(tmp|old)(-.*)?")
    found = [str(path) for path in results.root.rglob(".*") if temporary.fullmatch(path.name)]
    for path in results.root.rglob("*.parquet"):
        try:
            pq.read_table(path)
        except Exception:
            found.append(str(path))
    documents = [path for path in results.root.rglob("*.json") if "images" not in path.parts]
    return found + [str(path) for path in documents if read_json(path) is None]


def there(path: Path) -> None:
    """The file must be there."""
    assert path.is_file(), f"{path} was taken away"


@contextmanager
def mounted(place: Path, *arguments: Any, read_only: bool = False) -> Iterator[None]:
    """A mount while the block runs; the test is skipped where that is not allowed."""
    place.mkdir(exist_ok=True)
    try:
        subprocess.run(["mount", *map(str, arguments), str(place)], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("nothing can be mounted here")
    try:
        if read_only:
            subprocess.run(["mount", "-o", "remount,ro,bind", str(place)], check=True)
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


@contextmanager
def without_root() -> Iterator[None]:
    """Take from root what lets it read and write everything; others have it not. Only while the block runs."""
    if os.geteuid():
        yield
        return
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    kept = (ctypes.c_uint32 * 6)()
    if libc.capget(header, kept):
        pytest.skip("root's rights cannot be asked for here")
    less = (ctypes.c_uint32 * 6)(*kept)
    less[0] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    if libc.capset(header, less):
        pytest.skip("root's rights cannot be given up for a while here")
    try:
        yield
    finally:
        libc.capset(header, kept)
