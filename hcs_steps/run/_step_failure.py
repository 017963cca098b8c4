"""An error of a step, with the step's name."""

from __future__ import annotations

from hcs_steps.errors import HcsError, StepError

LONGEST = 1000
"""Characters of a foreign error's text that are shown."""


class StepFailure(StepError):
    """An error with the step it happened in; the original is its ``__cause__``."""

    def __init__(self, step: str, error: BaseException) -> None:
        message = str(error) if isinstance(error, HcsError) else f"{type(error).__name__}: {_said(error)}"
        super().__init__(f"Step {step}: {message}")
        self.step = step
        self.error = error


def _said(error: BaseException) -> str:
    """What a foreign error says, in one line of limited length; its stack has all of it."""
    try:
        text = " ".join(str(error).split())
    except Exception as other:  # its class is somebody's code, too
        return f"(its text cannot be shown: {type(other).__name__})"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
