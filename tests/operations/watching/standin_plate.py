"""Results folders as a run leaves them, without any images: what is done, fails and runs is written by hand."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from hcs_steps.compile.plan import (
    PLATE_UNIT,
    CallPlan,
    Layout,
    Plan,
    PlateInfo,
    StagePlan,
    StepPlan,
    UnitPlan,
)
from hcs_steps.plate.wells import well_name
from hcs_steps.results import Results
from hcs_steps.run.plate import plate_fingerprint
from hcs_steps.run.records import unit_fingerprint
from hcs_steps.storage.protocol import PlaneKey

STEPS = ("normalize", "count", "flat", "correct")
NOW = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC).timestamp()


def wells_of(rows: int, columns: int) -> list[str]:
    return [well_name(row, column) for row in range(rows) for column in range(columns)]


def plain_plan(
    wells: Sequence[str], *, skipped: Mapping[str, str] = {}, chunk: int = 1, **changes: Any
) -> Plan:
    """Two unit stages, a plate stage, a unit stage that builds on it, and the two last stages of every plan."""
    stages = [
        StagePlan("normalize", "unit", (0,), (), "n"),
        StagePlan("count", "unit", (1,), ("normalize",), "c"),
        StagePlan("flat", "plate", (2,), ("normalize",), "f"),
        StagePlan("correct", "unit", (3,), ("normalize", "flat"), "k"),
        StagePlan("consolidate", "plate", (), ("normalize", "count", "flat", "correct"), "t"),
        StagePlan("report", "plate", (), ("normalize", "count", "flat", "correct", "consolidate"), "r"),
    ]
    key = PlaneKey(1, 1, 0, 1)
    layout = Layout((key,), (), 8, 8, "uint16", (-1, 0, -1, 0), ((key,),) * 4)
    jobs = {
        (part[0] if chunk == 1 else f"{part[0]}-{part[-1]}"): tuple(part)
        for part in (wells[i : i + chunk] for i in range(0, len(wells), chunk))
    }
    last = max(int(well[-2:]) for well in wells)
    size = next(s for s in ((8, 12), (16, 24), (32, 48)) if last <= s[1] and len(wells) <= s[0] * s[1])
    plan = Plan(
        key="k",
        pipeline="p",
        plate=PlateInfo("P1", "/plates/P1", "imagexpress", *size, {"1": "DAPI"}, None, None),
        stages=tuple(replace(stage, skipped=skipped.get(stage.name, "")) for stage in stages),
        steps=tuple(_step(name, "plate" if name == "flat" else "unit") for name in STEPS),
        layouts=(layout,),
        units={well: UnitPlan(well, 0, f"raw {well}") for well in wells},
        jobs=jobs,
    )
    return replace(plan, **changes)


def _step(name: str, scope: str) -> StepPlan:
    call = CallPlan("f", {}, "", (), {}, 0, (), False, False, "same", False, False, ("cpu",))
    return StepPlan(name, scope, {"": (call,)}, ("site",), "", "previous_step", "drop", False)


class StandinPlate:
    """A plate whose files one writes: `done`, `failed`, `running`, `ran`. Times are seconds relative to `NOW`."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.plan = plan
        self.results = Results(folder)
        self._write(self.results.plan, plan.to_json())

    def done(self, stage: str, *units: str, start: float = 0.0, seconds: float = 2.0, **values: Any) -> None:
        found = self.plan.stage(stage)
        for unit in units or self.plan.units_of(found):
            fingerprint = (
                plate_fingerprint(self.plan, found, self.results)
                if unit == PLATE_UNIT
                else unit_fingerprint(self.plan, self.results, found, unit)
            )
            record = {
                "stage": stage, "unit": unit, "fingerprint": fingerprint, "success": True, "published": [],
                "start": iso(start), "end": iso(start + seconds), "outputs": {}, "plan": self.plan.hash,
            }  # fmt: skip
            self._write(self.results.record(stage, unit), json.dumps(record | values))

    def failed(
        self, stage: str, unit: str, error: str = "It broke.", *, at: float = 0.0, **values: Any
    ) -> None:
        failure = {
            "stage": stage, "unit": unit, "step": stage, "kind": "StepError", "error": error, "file": "",
            "time": iso(at), "log": f"logs/{stage}/{unit}.log", "attempt": 1, "stack": f"Traceback\n{error}\n",
        }  # fmt: skip
        self._write(self.results.failure(stage, unit), json.dumps(failure | values))

    def running(self, stage: str, unit: str, *, started: float = 0.0, **values: Any) -> Path:
        told = {
            "stage": stage, "unit": unit, "machine": platform.node(), "pid": os.getpid(),
            "process_start": psutil.Process().create_time(), "started": iso(started), "updated": iso(started),
            "step": stage, "item": 2, "items": 9, "what": "site 2, channel DAPI", "rss_mb": 250,
            "predicted_mb": 384, "log": f"logs/{stage}/{unit}.log",
        }  # fmt: skip
        path = self.results.running(stage, unit)
        self._write(path, json.dumps(told | values))
        return path

    def ran(self, state: str = "running", *, started: float = -60.0, **values: Any) -> None:
        run = {
            "run_id": "20260504-115900", "plate": self.plan.plate.id, "pipeline": "p", "mode": "full",
            "plan": self.plan.hash, "total_units": len(self.plan.units), "start_time": iso(started),
            "end_time": "" if state == "running" else iso(0.0), "updated": iso(0.0), "state": state, "reason": "",
            "success": state == "done", "current_stage": "count", "machine": platform.node(), "pid": os.getpid(),
            "process_start": psutil.Process().create_time(),
        }  # fmt: skip
        self._write(self.results.run, json.dumps(run | values))

    def _write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_text(text)
        temporary.replace(path)


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(NOW + seconds, UTC).isoformat(timespec="milliseconds")
