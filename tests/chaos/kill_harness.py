"""Kill a run at any moment, call Snakemake again, and see whether anything was lost.

``python tests/chaos/kill_harness.py --moments 120 --seed 1 --jobs 2`` does it many times and prints a table.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from e2e_lab import UNIT_STAGES, Lab, leftovers, small_plate, three_stages
from killed_run import KilledRun, contents_but_times

from hcs_steps.operations.watching._run_state import run_state

VICTIMS = ("runner", "snakemake", "group")
ORPHANS_END = 10.0
"""Seconds after the death of its Snakemake by which a job must have ended: it looks every second or two, and gives
what computes a few seconds to clean up.
"""


@dataclass(frozen=True)
class Variant:
    """How the lab is set up."""

    units_per_job: int
    intermediates: str

    @property
    def wells(self) -> tuple[str, ...]:
        """As few as make two jobs, or a job of several units: a run is to be short."""
        return ("A01", "A02", "B01")[: max(2, self.units_per_job)]

    def __str__(self) -> str:
        return f"{self.units_per_job}-per-job-{self.intermediates}"


VARIANTS = tuple(Variant(units, backend) for units in (1, 3) for backend in ("disk", "zarr"))


@dataclass(frozen=True)
class Moment:
    """Who is killed, when (as a fraction of an undisturbed run), and what decides everything else."""

    number: int
    variant: Variant
    victim: str
    at: float
    seed: int

    def __str__(self) -> str:
        return f"{self.number}-{self.victim}-{self.variant}-{self.at:.2f}"


def moments(count: int, seed: int, variants: Sequence[Variant] = VARIANTS) -> list[Moment]:
    """Evenly over victims and variants, at moments that are uniform over the run and a little beyond."""
    rng = random.Random(seed)
    return [
        Moment(
            number,
            variants[number // len(VICTIMS) % len(variants)],
            VICTIMS[number % len(VICTIMS)],
            rng.uniform(0.0, 1.03),
            rng.getrandbits(32),
        )
        for number in range(count)
    ]


@dataclass(frozen=True)
class Seen:
    """What came of a moment. ``phase`` says what was going on when the kill came."""

    moment: Moment
    ended_before: bool = False
    phase: str = ""
    rerun_code: int = 0
    recomputed: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    locked: bool = False
    problems: tuple[str, ...] = ()

    @property
    def well(self) -> bool:
        """Whether nothing was lost."""
        return not (self.rerun_code or self.recomputed or self.orphans or self.locked or self.problems)


@dataclass(frozen=True)
class Reference:
    """A lab that never ran, in ``fresh``, and what an undisturbed run of it left: after how many seconds each of its
    jobs had ended, and all of it.
    """

    fresh: Path
    outputs: dict[str, str]
    seconds: float
    jobs_ended: tuple[float, ...]

    @classmethod
    def make(cls, home: Path, variant: Variant) -> Reference:
        """Set up a lab and run a copy of it."""
        pipeline = three_stages()
        pipeline["config"]["vfs"]["intermediate_backend"] = variant.intermediates
        pipeline["config"]["tables"]["rois"] = ["imagej", "geojson"]
        fresh = home / str(variant)
        plate = small_plate(fresh / "P1", wells=variant.wells, sites=(1, 1))
        Lab.create(fresh / "lab", [plate], pipeline, units_per_job=variant.units_per_job)
        lab = Lab(fresh / "lab").copy(home / f"{variant}-undisturbed")
        with KilledRun(lab) as run:
            ended: list[float] = []
            while (code := run.process.poll()) is None:
                time.sleep(0.02)
                ended += [run.seconds()] * (run.jobs_ended() - len(ended))
            seconds = run.seconds()
        assert code == 0, run.output()
        outputs = contents_but_times(lab)
        shutil.rmtree(lab.root.parent)
        return cls(fresh, outputs, seconds, tuple(ended))


def wait_for(run: KilledRun, at: float, reference: Reference) -> bool:
    """Wait until the run is as far as the undisturbed one was at the second ``at``; False if it ends before.

    By its jobs, for how fast the machine is changes with what else it does.
    """
    before = [second for second in reference.jobs_ended if second <= at]
    while run.jobs_ended() < len(before):
        if run.process.poll() is not None:
            return False
        time.sleep(0.02)
    since = before[-1] if before else 0.0
    pace = run.seconds() / since if since else 1.0
    try:
        run.process.wait(timeout=(at - since) * pace)
    except subprocess.TimeoutExpired:
        return True
    return False


def strike(run: KilledRun, moment: Moment, reference: Reference) -> str:
    """Kill what the moment says when its time has come; returns the phase, or nothing if the run has ended."""
    rng = random.Random(moment.seed)
    if not wait_for(run, moment.at * reference.seconds, reference):
        return ""
    phase = run.phase()
    if moment.victim == "group":
        os.killpg(run.process.pid, signal.SIGKILL)
    elif moment.victim == "snakemake":
        run.process.kill()
    else:
        while not (found := run.runners()):
            if run.process.poll() is not None:
                return ""
            time.sleep(0.01)
        if phase == "between jobs":
            time.sleep(rng.uniform(0, 0.5))
            found = run.runners() or found
        phase = run.phase()
        victim = rng.choice(found)
        try:
            victim.kill()
        except psutil.NoSuchProcess:
            phase = f"{phase} (just ended)"
    return phase


def records_of(lab: Lab) -> dict[str, str]:
    """Stage/unit -> start time, of the finished units of stages that work on units."""
    found = {}
    for stage in UNIT_STAGES:
        for path in lab.root.glob(f"results/*/records/{stage}/*.json"):
            found[f"{stage}/{path.stem}"] = json.loads(path.read_text())["start"]
    return found


def try_moment(moment: Moment, reference: Reference, home: Path) -> Seen:
    """Run a copy of the lab, kill, run again, compare."""
    lab = Lab(reference.fresh / "lab").copy(home)
    with KilledRun(lab) as run:
        phase = strike(run, moment, reference)
        if moment.victim == "runner" or not phase:
            run.process.wait(timeout=600)
        run.process.wait(timeout=60)
        # A user may call again at once, while jobs of a dead Snakemake have not noticed yet.
        at_once = moment.victim == "snakemake" and moment.seed % 2
        orphans = () if at_once else run.wait_for_end(ORPHANS_END)
        before = records_of(lab)
        run_id = _current_run(lab) if phase and moment.victim != "runner" else ""
        with KilledRun(lab) as rerun:
            code = rerun.process.wait(timeout=600)
            orphans += run.wait_for_end(0) + rerun.wait_for_end(ORPHANS_END)
            said = rerun.output()
    seen = Seen(moment, not phase, phase or "ended", code, orphans=orphans)
    if code:
        return replace(seen, locked="working on" in said or "lock" in said.lower(), problems=(said[-2000:],))
    after = records_of(lab)
    again = tuple(unit for unit, start in before.items() if after.get(unit) != start)
    problems = [*_problems(lab, reference), *_not_told(lab, run_id)]
    return replace(seen, recomputed=again, problems=tuple(problems))


def _current_run(lab: Lab) -> str:
    """The run that run.json tells of as going on."""
    for path in lab.root.glob("results/*/run.json"):
        told = json.loads(path.read_text())
        return str(told["run_id"]) if told["state"] == "running" else ""
    return ""


def _not_told(lab: Lab, run_id: str) -> Iterator[str]:
    if not run_id:
        return
    kept, latest = lab.results / "runs" / f"{run_id}.json", lab.results / "run.json"
    # Where nothing was left to do no run has followed that could write it down; then it is seen by who asks.
    path = kept if kept.exists() else latest
    told = json.loads(path.read_text())
    state, _ = run_state(told, path, time.time())
    if (told["run_id"], state) != (run_id, "died"):
        yield f"the run that was killed is said to be {state}"


def _problems(lab: Lab, reference: Reference) -> Iterator[str]:
    now = contents_but_times(lab)
    for name in sorted(now.keys() | reference.outputs.keys()):
        if now.get(name) != reference.outputs.get(name):
            state = "differs" if name in now and name in reference.outputs else "is there or missing"
            yield f"{name} {state}"
    yield from (f"left behind: {name}" for name in leftovers(lab.root / "results"))
    if lab.failures():
        yield f"open failures: {sorted(lab.failures())}"
    idle = lab.call()
    if not idle.idle:
        yield f"not finished: {idle.output[-800:]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time")
    parser.add_argument("--keep", type=Path, help="work here, and keep what went wrong")
    arguments = parser.parse_args()
    home = (arguments.keep or Path(tempfile.mkdtemp(prefix="hcs-chaos-"))).resolve()
    chosen = moments(arguments.moments, arguments.seed)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        variants = [variant for variant in VARIANTS if any(m.variant == variant for m in chosen)]
        made = pool.map(lambda variant: Reference.make(home / "labs", variant), variants)
        references = dict(zip(variants, made, strict=True))
        print({str(variant): f"{found.seconds:.1f} s" for variant, found in references.items()}, flush=True)
        seen = list(pool.map(lambda moment: _one(moment, references[moment.variant], home), chosen))
    print(summary(seen))
    if not arguments.keep:
        shutil.rmtree(home)
    return int(not all(each.well for each in seen))


def _one(moment: Moment, reference: Reference, home: Path) -> Seen:
    folder = home / str(moment)
    try:
        seen = try_moment(moment, reference, folder)
    except Exception as error:  # the other moments go on
        seen = Seen(moment, problems=(f"{type(error).__name__}: {error}",))
    verdict = "ok" if seen.well else f"BAD {seen.problems} {seen.recomputed} {seen.orphans}"
    print(f"{moment} [{seen.phase}]: {verdict}", flush=True)
    if seen.well:
        shutil.rmtree(folder)
    return seen


def summary(seen: Sequence[Seen]) -> str:
    """A Markdown table by victim, and one of what was going on when the kills came."""
    lines = [
        "| killed | moments | ended before | rerun ok | outputs identical | recomputed | orphans | locks |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for victim in (*VICTIMS, "all"):
        own = [each for each in seen if victim in (each.moment.victim, "all")]
        cells = (
            len(own),
            sum(each.ended_before for each in own),
            sum(not each.rerun_code for each in own),
            sum(not each.rerun_code and not each.problems for each in own),
            sum(len(each.recomputed) for each in own),
            sum(len(each.orphans) for each in own),
            sum(each.locked for each in own),
        )
        lines.append(f"| {victim} | " + " | ".join(map(str, cells)) + " |")
    phases = Counter(each.phase for each in seen)
    lines += ["", "| while | kills |", "|---|---:|"]
    lines += [f"| {phase} | {count} |" for phase, count in sorted(phases.items())]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
