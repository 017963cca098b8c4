"""A run of a lab all of whose processes can be found, however they are related by now; and what runs leave."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import psutil
from e2e_lab import ENVIRONMENT, Lab, contents

MARK = "HCS_CHAOS_RUN"
"""Environment variable by which all processes of a run are known, whoever their parent is by now."""
_COMMANDS = ("step", "finish")
_STARTED = re.compile(r"^(?:local)?rule (\w+):", re.MULTILINE)
_ENDED = re.compile(r"^(?:Finished jobid: \d+ \(Rule: (\w+)\)|Error in rule (\w+))", re.MULTILINE)


@dataclass
class KilledRun:
    """A call of Snakemake in a process group of its own, whose processes can all be found."""

    lab: Lab
    command: tuple[str, ...] = (sys.executable, "-m", "snakemake", "--cores", "2")
    process: subprocess.Popen[bytes] = field(init=False)
    started: float = field(init=False)

    def __enter__(self) -> KilledRun:
        self.mark = f"{os.getpid()}-{random.SystemRandom().getrandbits(64):x}"
        self.log = Path(tempfile.mkstemp(prefix="run-", suffix=".log", dir=self.lab.root.parent)[1])
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.lab.root,
                env={**ENVIRONMENT, MARK: self.mark},
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.started = time.monotonic()
        return self

    def __exit__(self, *error: object) -> None:
        for each in [self.process, *self.living()]:
            try:
                each.kill()
            except (psutil.NoSuchProcess, ProcessLookupError):
                continue
        self.process.wait()

    def living(self) -> list[psutil.Process]:
        """The processes of this run that live, but for its first one."""
        found = []
        for each in psutil.process_iter():
            try:
                mine = each.pid != self.process.pid and each.environ().get(MARK) == self.mark
                if mine and each.status() != psutil.STATUS_ZOMBIE:
                    found.append(each)
            except psutil.Error:
                continue
        return found

    def runners(self) -> list[psutil.Process]:
        """The processes that do the work of jobs: `hcs step` and its like, and what they started."""
        found = []
        for each in self.living():
            try:
                words = each.cmdline()
            except psutil.Error:
                continue
            if any(Path(a).name == "hcs" and b in _COMMANDS for a, b in pairwise(words)):
                found.append(each)
        return sorted(found, key=lambda each: each.pid)

    def seconds(self) -> float:
        """Since it was started."""
        return time.monotonic() - self.started

    def jobs_ended(self) -> int:
        """Jobs that have ended, well or not."""
        return len(_ENDED.findall(self.output()))

    def output(self) -> str:
        """What was printed so far."""
        return self.log.read_text(errors="replace")

    def phase(self) -> str:
        """The rules whose jobs are running, by what was printed."""
        text = self.output()
        going = Counter(_STARTED.findall(text))
        going.subtract(a or b for a, b in _ENDED.findall(text))
        return "+".join(sorted(name for name, count in going.items() if count > 0)) or "between jobs"

    def wait_for_end(self, seconds: float) -> tuple[str, ...]:
        """Wait until no process of the run is left; returns the command lines of those that stayed."""
        deadline = time.monotonic() + seconds
        while (found := self.living()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return tuple(_described(found))


def _described(processes: Sequence[psutil.Process]) -> Iterator[str]:
    for each in processes:
        try:
            yield f"{each.pid} {' '.join(each.cmdline())[:160]}"
        except psutil.Error:
            continue


def contents_but_times(lab: Lab) -> dict[str, str]:
    """What a run leaves for people: images, tables, outlines, arrays, and the page without its times."""
    results = lab.results
    found = {
        f"{part}/{name}": content
        for part in ("images", "tables", "exports", "arrays")
        for name, content in contents(results / part).items()
    }
    for name, text in (("report.html", _page), ("failures.csv", str)):
        if (results / name).exists():
            found[name] = text((results / name).read_text().replace(str(lab.root.parent), "HOME"))
    return found


def _page(text: str) -> str:
    text = re.sub(r'<section id="cost".*?</section>', "", text, flags=re.DOTALL)
    text = re.sub(r'\{"group":"Time and memory"[^}]*\}', "COST", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "TIME", text)
    text = re.sub(r"(\d+(\.\d+)? (s|min|h)\b ?)+", "DURATION", text)
    return re.sub(r"plan [0-9a-f]{12}", "PLAN", text)
