"""What a dry run would do, by plate and stage."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

REASONS = {
    "Missing output files": "has not run yet",
    "Input files updated by another job": "something before it runs",
    "Updated input files": "what it reads has changed",
    "Set of input files has changed": "other jobs come before it",
    "Params have changed": "its steps, its images or its failures have changed",
    "Code has changed": "its rule has changed",
    "Forced execution": "it is forced",
    "Incomplete output files": "it was interrupted",
    "Rules with a run or shell declaration but no output": "it always runs",
}
"""Beginnings of Snakemake's reasons, and what they mean for a job here."""


class DryRun:
    """The jobs that would run: results folder -> stage -> reasons."""

    def __init__(self) -> None:
        self.plates: dict[str, dict[str, Counter[str]]] = {}

    def add(self, record: logging.LogRecord, folder: str) -> None:
        """A job that would run."""
        stage = stage_of(getattr(record, "output", None) or (), str(getattr(record, "rule_name", "")))
        reasons = self.plates.setdefault(folder, {}).setdefault(stage, Counter())
        reasons[meaning(str(getattr(record, "reason", "")))] += 1

    def lines(self) -> list[str]:
        """A table per plate."""
        lines = []
        for folder, stages in self.plates.items():
            width = max(len("stage"), *(len(stage) for stage in stages))
            lines += ["", f"{folder}: would run", f"  {'stage':<{width}}  {'jobs':>5}  because"]
            for stage, reasons in stages.items():
                several = len(reasons) > 1
                why = ", ".join(f"{r} ({n})" if several else r for r, n in reasons.most_common(3))
                lines.append(f"  {stage:<{width}}  {sum(reasons.values()):>5}  {why}")
        return [*lines, "", "Nothing was run: this was a dry run."]


def stage_of(output: object, rule: str) -> str:
    """The stage of a job, from its marker ``.../jobs/<stage>/<job>.json``; else the name of its rule."""
    for path in output if isinstance(output, Iterable) else ():
        parts = PurePosixPath(str(path)).parts
        if len(parts) > 2 and parts[-3] == "jobs":
            return parts[-2]
    return rule


def meaning(reason: str) -> str:
    """Snakemake's reason in terms of plates; the first one if there are several."""
    for beginning, meant in REASONS.items():
        if reason.startswith(beginning):
            return meant
    return reason.partition(":")[0].strip() or "not known"
