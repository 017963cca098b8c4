"""What Snakemake's log records mean for the display."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import hcs_steps
from hcs_steps.compile.plan import Plan
from hcs_steps.emit.workflow import FINISH
from hcs_steps.errors import HcsError
from hcs_steps.operations.watching.display import Display, view_for
from hcs_steps.results import Results
from snakemake_logger_plugin_hcs.dry_run import DryRun, stage_of

_OWN = os.path.dirname(os.path.abspath(hcs_steps.__file__))
_STYLES = {logging.WARNING: "yellow", logging.ERROR: "red", logging.CRITICAL: "bold red"}
_MOVES = frozenset({"job_started", "job_finished", "job_error", "group_error", "progress"})
_COMMANDS = ("hcs step ", "hcs report ", "hcs finish ")
_CLOSING = ("Exiting because a job execution failed", "At least one job did not complete successfully")
KEPT = 500
"""Messages that are kept until it is known whether this is a workflow of plates."""


class Watcher:
    """Shows plates as soon as it knows of one; a workflow without any is shown as Snakemake shows it.

    Plates are told by a record with the attribute ``hcs_plates`` (plans by results folder); where none comes, a job of
    theirs tells the folder, and the plan is read from there.
    """

    def __init__(self, output: Any, settings: Any, text: Callable[[logging.LogRecord], str]) -> None:
        quiet = {str(choice).rpartition(".")[2].lower() for choice in output.quiet or ()}
        self.stream = sys.stdout if output.stdout else sys.stderr
        view = view_for(self.stream, plain=bool(settings and settings.plain), colours=not output.nocolor)
        interval = settings.interval if settings else 2.0
        self.display = Display(view, interval_s=interval, quiet=bool(quiet & {"all", "progress"}))
        self.dry_run = DryRun() if output.dryrun else None
        self.other = False
        self._text = text
        self._passes = _snakemakes_filter(output)
        self._kept: list[logging.LogRecord] = []
        self._folders: set[str] = set()
        self._errors = 0

    def take(self, record: logging.LogRecord) -> None:
        """Show a record, use it, or leave it to Snakemake's log file."""
        event = str(getattr(record, "event", None) or "")
        plates = getattr(record, "hcs_plates", None)
        if plates:
            self.display.begin(plates)
        if event == "job_info":
            self._job(record)
        if self.other:
            self._as_snakemake(record)
        elif record.levelno >= logging.WARNING:
            self._tell_trouble(record, event)
        elif _is_own(record):
            self.display.say(record.getMessage())
        elif not self._ours():
            self._kept = [*self._kept[-KEPT:], record]
        if event in _MOVES:
            self.display.poke()

    def end(self) -> None:
        """Show the end, or what a dry run would do; of a workflow without plates what was kept."""
        if self.dry_run is not None and self.dry_run.plates:
            for line in self.dry_run.lines():
                self.display.say(line)
        elif not self._ours():
            self._become_other()
        if self.display.begun:
            self.display.stop()

    def _tell_trouble(self, record: logging.LogRecord, event: str) -> None:
        """Show a warning or an error: of a job of a plate in one line, as its log says what there is to say.

        An error of the last job says no more than that units have failed: so Snakemake comes to its exit code.
        """
        text = record.getMessage()
        if not self.display.begun:
            self._tell(record)
        elif event == "job_error" and _is_job(record):
            if record.rule_name != FINISH:  # type: ignore[attr-defined]
                self._errors += 1
                self.display.say(_job_error(record), "red")
        elif "CalledProcessError" in text and any(command in text for command in _COMMANDS):
            return
        elif self._errors or not any(part in text for part in _CLOSING):
            self._tell(record)

    def _ours(self) -> bool:
        """Whether it is known that this is a workflow of plates."""
        return self.display.begun or bool(self.dry_run and self.dry_run.plates)

    def _job(self, record: logging.LogRecord) -> None:
        """Learn from a job what the workflow is about."""
        wildcards: Mapping[str, Any] = getattr(record, "wildcards", None) or {}
        command = str(getattr(record, "shellcmd", None) or "")
        folder = str(wildcards.get("results", ""))
        if folder and _is_job(record):
            if self.dry_run is not None:
                self.dry_run.add(record, folder)
            elif folder not in self._folders:
                self._folders.add(folder)
                self._begin(folder)
        elif command and not self._ours():
            self._become_other()

    def _begin(self, folder: str) -> None:
        """Show a plate that nobody has told of."""
        results = Results(Path(folder))
        try:
            self.display.begin({folder: Plan.load(results.plan)})
        except HcsError as error:
            self.display.say(str(error), "yellow")
            self._become_other()

    def _become_other(self) -> None:
        """Show everything as Snakemake does."""
        self.other = True
        kept, self._kept = self._kept, []
        for record in kept:
            self._as_snakemake(record)

    def _as_snakemake(self, record: logging.LogRecord) -> None:
        if self._passes(record):
            self._tell(record)

    def _tell(self, record: logging.LogRecord) -> None:
        text = self._text(record)
        if text and text != "None":
            self.display.say(text, _STYLES.get(record.levelno, ""))


def _is_job(record: logging.LogRecord) -> bool:
    """Whether it is about a job of a plate."""
    return str(getattr(record, "shellcmd", None) or "").lstrip().startswith(_COMMANDS)


def _job_error(record: logging.LogRecord) -> str:
    """A job that ended without saying what became of its units, in one line."""
    output = getattr(record, "output", None) or ()
    log = ", ".join(getattr(record, "log", None) or ())
    job = PurePosixPath(str(next(iter(output), ""))).stem
    stage = stage_of(output, str(getattr(record, "rule_name", "")))
    return f"The job {job} of {stage} ended without a result{f' (log: {log})' if log else ''}."


def _is_own(record: logging.LogRecord) -> bool:
    """Whether hcs-steps says it, and not Snakemake."""
    return os.path.abspath(record.pathname).startswith(_OWN + os.sep)


def _snakemakes_filter(output: Any) -> Callable[[logging.LogRecord], bool]:
    """What Snakemake itself would show."""
    from snakemake.logging import DefaultFilter

    chosen = DefaultFilter(
        output.quiet, output.debug_dag, output.verbose, output.dryrun, output.printshellcmds
    )
    return lambda record: bool(chosen.filter(record))
