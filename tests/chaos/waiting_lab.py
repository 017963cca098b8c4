"""A lab in which the first unit that is computed waits, so that it can be caught in the act."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
from e2e_lab import Lab, small_plate
from killed_run import KilledRun

WAITING = '''\
"""A function that waits when it is called for the first time."""

import os
import time


def wait(stack):
    """Say who waits, in a file, then wait; for ever, as far as a test is concerned."""
    try:
        file = os.open("waits", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return stack
    os.write(file, f"{os.getpid()}\\n".encode())
    os.close(file)
    time.sleep(300)
    return stack
'''


def waiting_lab(home: Path, units_per_job: int = 1) -> Lab:
    """Three wells, one stage, no plate stage of its own."""
    plate = small_plate(home / "P1", wells=["A01", "A02", "B01"], sites=(1, 1))
    pipeline = {"steps": [{"name": "wait", "func": "functions.waiting:wait"}]}
    lab = Lab.create(home / "lab", [plate], pipeline, units_per_job=units_per_job)
    (lab.root / "functions" / "waiting.py").write_text(WAITING)
    return lab


def who_waits(lab: Lab, run: KilledRun) -> psutil.Process:
    """The process that computes the unit that waits, as soon as there is one."""
    while True:
        text = (lab.root / "waits").read_text() if (lab.root / "waits").exists() else ""
        if text.endswith("\n"):
            return psutil.Process(int(text))
        assert run.process.poll() is None, run.output()
        time.sleep(0.05)
