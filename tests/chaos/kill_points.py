"""Every moment at which a kill could matter: work is cut short before its first, second, ... change of files.

The work is that of a real command (`hcs step`, `hcs report`), in a forked copy of the test's process, which kills
itself and its children with SIGKILL, so that no clean-up runs. What a kill can leave changes only with a call that
changes files, so cutting before each of them, and after the last, is every kill there is. Files that Arrow opens by
itself are not counted: they are temporary, and the calls around them are.
"""

from __future__ import annotations

import builtins
import importlib
import io
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e_lab import COUNT, NORMALIZE, Lab, leftovers, small_plate
from killed_run import contents_but_times

from hcs_steps.results import Results
from hcs_steps.storage import atomic

Work = Callable[[], int]

STORES = {"zarr": "zarr", "tiff": "disk"}
"""Kinds of stores, and what the configuration calls them."""
JOB = "A01-A02"
STAGE = "normalize_to_count"
"""The stage on wells of the small lab: it publishes images, labels, a table and outlines of each."""
_CHANGED = "func: {use: stack_percentile_normalize, with: {low_percentile: 5.0}}"

CHANGES = ("replace", "rename", "unlink", "remove", "rmdir", "mkdir", "link", "fsync")
"""Functions of the module `os`; opening a file to write counts as well, and the exchange of two names."""

_VARYING = ("start", "end", "seconds", "peak_host_mb", "peak_gpu_mb", "measured", "run", "machine", "because")
"""What a record says of the run that wrote it, and not of the result."""


def small_lab(home: Path, store: str) -> Lab:
    """A lab of two wells in one job whose plan is written; nothing has run."""
    tables = {"csv": True, "rois": ["imagej", "geojson"]}
    pipeline = {
        "config": {"vfs": {"materialization_backend": STORES[store]}, "tables": tables},
        "steps": [NORMALIZE, COUNT],
    }
    plate = small_plate(home / "P1", wells=["A01", "A02"], sites=(1, 1))
    lab = Lab.create(home / "lab", [plate], pipeline, units_per_job=2)
    return compiled(lab)


def compiled(lab: Lab) -> Lab:
    """The lab with its plan written, as the start of a run does it."""
    assert run(hcs(lab, "compile", "--write"))[0] == 0
    return lab


def changed(lab: Lab) -> Lab:
    """The lab with another plan, by which all that was made is to be replaced; markers go, as Snakemake does it."""
    shutil.rmtree(lab.results / "jobs")
    lab.edit("config/pipelines/p.yaml", "gaussian_sigma: 1.0", "gaussian_sigma: 2.5")
    lab.edit("config/pipelines/p.yaml", "func: stack_percentile_normalize", _CHANGED)
    return compiled(lab)


def done(lab: Lab, *stages: str) -> Lab:
    """The lab with these stages done."""
    for stage in stages:
        assert run(step(lab, stage))[0] == 0
    return lab


def job_of(stage: str) -> str:
    """The only job of a stage."""
    return JOB if stage == STAGE else "plate"


def hcs(lab: Lab, *arguments: str) -> Work:
    """The work of a command, in the folder of a lab."""

    def work() -> int:
        from hcs_steps.cli import main

        os.chdir(lab.root)
        return int(main(list(arguments)) or 0)

    return work


def step(lab: Lab, stage: str) -> Work:
    """The work of the job of a stage, as Snakemake calls it."""
    return hcs(lab, *step_arguments(lab, stage))


def step_arguments(lab: Lab, stage: str) -> list[str]:
    """The arguments of the command of a job."""
    results, job = Results(lab.results.relative_to(lab.root)), job_of(stage)
    marker, log = results.marker(stage, job), results.log(stage, job)
    chosen = ["--stage", stage, "--job", job]
    return ["step", "--plan", str(results.plan), *chosen, "--marker", str(marker), "--log", str(log)]


def run(work: Work, cut_before: int = 0, *, whole: bool = True) -> tuple[int, int]:
    """Do the work in a forked process; returns exit code and changes.

    Before the change of the number ``cut_before`` the process that makes it is killed, and all of the work (``whole``)
    or, if the process is one that the work forked, only that.
    """
    context = multiprocessing.get_context("fork")
    changes = context.RawValue("i", 0)  # without a lock, which whoever is killed might hold
    child = os.fork()
    if child == 0:
        code = 70
        with suppress(BaseException):
            os.setpgid(0, 0)
            sys.stdin = open(os.devnull)  # noqa: SIM115
            _count(changes, cut_before, whole)
            code = work()
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with suppress(ProcessLookupError):  # what it may have left
        os.killpg(child, signal.SIGKILL)
    return code, changes.value


def _count(changes: Any, cut_before: int, whole: bool) -> None:
    """Count changes of files in this process and those that it forks; kill as `run` says."""

    first, lock = os.getpid(), threading.RLock()

    def noticed(function: Callable[..., Any], matters: Callable[..., bool] = lambda *a, **k: True) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            if matters(*arguments, **keywords):
                with lock:
                    changes.value += 1
                    if changes.value == cut_before:
                        if whole:
                            os.kill(first, signal.SIGKILL)
                        os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **keywords)

        return call

    for name in CHANGES:
        setattr(os, name, noticed(getattr(os, name)))
    atomic._exchange = noticed(atomic._exchange)
    opened = noticed(io.open, lambda file, mode="r", *a, **k: not set(mode).isdisjoint("wax+"))
    io.open = builtins.open = opened


def warm(work: Work) -> None:
    """Do the work once in a forked process, and import here what it imported."""
    with tempfile.TemporaryFile("w+") as told:  # a pipe would hold too little of it

        def telling() -> int:
            code = work()
            own = ("functions", "__main__", "__mp_main__")
            told.write("\n".join(name for name in sys.modules if name.partition(".")[0] not in own))
            told.flush()
            return code

        code, _ = run(telling)
        assert code == 0, "the undisturbed work failed"
        told.seek(0)
        for name in told.read().splitlines():
            with suppress(Exception):
                importlib.import_module(name)


@dataclass(frozen=True)
class Scene:
    """A lab as it is before some work, what it is afterwards, and how many changes lie in between."""

    before: Lab
    after: Lab
    stage: str
    changes: int

    @classmethod
    def play(cls, before: Lab, stage: str, home: Path) -> Scene:
        """Do the work on copies of the lab: one to get warm, one to count and keep."""
        warm(step(before.copy(home / "warm"), stage))
        shutil.rmtree(home / "warm")
        after = before.copy(home / "after")
        code, changes = run(step(after, stage))
        assert code == 0
        return cls(before, after, stage, changes)

    def problems(self, cut_before: int, home: Path, *, whole: bool = True) -> list[str]:
        """What is wrong after a kill at that change (of the ``whole`` job?), or after the same work is done again."""
        lab = self.before.copy(home)
        work = step(lab, self.stage)
        code, _ = run(work, cut_before, whole=whole)
        expected = {-signal.SIGKILL} if whole else {-signal.SIGKILL, 0}
        found = [] if code in expected else [f"the killed work ended with {code}"]
        found += [f"when killed: {problem}" for problem in self._seen(lab)]
        code, _ = run(work)
        found += [f"again: exit code {code}"] if code else []
        now, then = state(lab), state(self.after)
        found += [
            f"afterwards: {name} differs"
            for name in sorted(now.keys() | then.keys())
            if now.get(name) != then.get(name)
        ]
        found += [f"open failure of {failure}" for failure in lab.failures()]
        found += [f"left behind: {name}" for name in leftovers(lab.results)]
        if not found:
            shutil.rmtree(home)
        return found

    def _seen(self, lab: Lab) -> Iterator[str]:
        """What a reader may not see: half of something, a record without its files, a marker without its records."""
        results = Results(lab.results)
        for path, record in _records(results):
            for item in record["published"]:
                if _measured(results.root / item["path"]) != (item["size"], item["checksum"]):
                    yield f"the record {path.name} lists {item['path']}, which is not that"
        marker = results.marker(self.stage, job_of(self.stage))
        if marker.exists():
            for unit in json.loads(marker.read_bytes())["done"]:
                if not results.record(self.stage, unit).exists():
                    yield f"the marker lists {unit}, which has no record"
        known = [Results(each.results) for each in (self.before, self.after)]
        whole = {
            item["path"] for each in known for _, record in _records(each) for item in record["published"]
        }
        for name in sorted(whole):
            now = _measured(results.root / name)
            if (
                now
                and now not in [_measured(each.root / name) for each in known]
                and not _announced(results.root / name)
            ):
                yield f"{name} is neither as before nor as afterwards"


def state(lab: Lab) -> dict[str, Any]:
    """All results but for times, logs, and what says which run it was."""
    results = Results(lab.results)
    found: dict[str, Any] = contents_but_times(lab)
    for path, record in _records(results):
        kept = {key: value for key, value in record.items() if key not in _VARYING}
        if record["stage"] == "report":  # has times in it
            del kept["published"]
        found[results.relative(path)] = kept
    for path in results.root.glob("jobs/*/*.json"):
        found[results.relative(path)] = json.loads(path.read_bytes())
    return found


def _records(results: Results) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(results.root.glob("records/*/*.json")):
        yield path, json.loads(path.read_bytes())


def _measured(path: Path) -> tuple[int, str] | None:
    return atomic.measure(path) if path.exists() else None


def _announced(path: Path) -> bool:
    """Whether an image is not there yet and says so."""
    return any(b'"expected"' in file.read_bytes() for file in path.glob("*") if file.is_file())
