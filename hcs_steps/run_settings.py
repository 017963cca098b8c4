"""How a run goes: what stops it, what is tried again, what its stages are given, and who is told at the end."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, model_validator

from hcs_steps.pipeline.config import Model

_UNITS = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"\s*(\d{1,9}(?:\.\d{1,6})?)\s*(s|min|m|h|d)?\s*")


def seconds(value: Any) -> Any:
    """A duration in seconds: a number, or a text such as ``90s``, ``30m``, ``2h``, ``1d``. `ValueError` for others."""
    if not isinstance(value, str):
        return value
    found = _DURATION.fullmatch(value)
    if found is None:
        raise ValueError("must be a number of seconds, or a time such as 90s, 30m, 2h, 1d")
    return float(found[1]) * _UNITS[found[2] or "s"]


Duration = Annotated[float, BeforeValidator(seconds), Field(gt=0, allow_inf_nan=False)]
"""A time in seconds, written as a number or as ``30m``."""


class StageSettings(Model):
    """What one stage is given instead of what the compiler finds."""

    threads: int | None = Field(default=None, ge=1)
    """Processors that a job may use."""
    mem_mb: int | None = Field(default=None, ge=1)
    """Memory that a job asks for, in MB."""
    timeout: Duration | None = None
    """Time that one unit may take."""


class OrchestrationConfig(Model):
    """How a run goes on, and when it does not."""

    continue_on_error: bool = True
    """False: the first unit that fails stops the run; jobs that are running end first."""
    max_failed_fraction: float | None = Field(default=None, ge=0, lt=1)
    """The run stops when more than this part of a plate's units has failed."""
    checkpoint: bool = Field(default=True, validation_alias=AliasChoices("checkpoint", "checkpoint_enabled"))
    """False: nothing is resumed; every run computes everything."""
    parallel_stages: bool = True
    """False: the jobs of a stage are started before any of the next one."""
    stage_timeout: Duration | None = None
    """Time that one unit may take in one stage; then it fails, with everything it has started."""
    total_timeout: Duration | None = None
    """Time that a run may take; then it stops (exit code 3) and goes on at the next call."""
    retries: int = Field(default=0, ge=0, le=20)
    """How often ``hcs run`` tries again what died, ran out of memory or took too long; with more memory each time."""
    stages: dict[str, StageSettings] = Field(default_factory=dict)
    """Threads, memory and time of single stages, by the stage's name or that of one of its steps."""


class OnFinishSettings(Model):
    """Who is told when a run has ended, also one that failed or was stopped."""

    command: str | list[str] | None = None
    """A command line for the shell, or a list of arguments; it gets run.json on its standard input."""
    webhook: str | None = None
    """An http(s) address that run.json is posted to; ``${NAME}`` stands for an environment variable."""
    when: Literal["always", "failure", "success"] = "always"
    """After which runs."""
    timeout_s: float = Field(default=30, gt=0, allow_inf_nan=False)
    """How long the command or the server may take."""

    @model_validator(mode="after")
    def _tells_somebody(self) -> OnFinishSettings:
        if self.command is None and self.webhook is None:
            raise ValueError("needs a 'command' or a 'webhook'")
        return self
