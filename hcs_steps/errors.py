"""The errors a user can cause: what was found, where, and how to fix it.

One base class with a few children that also inherit the builtin a caller would expect. Every error carries
its ``hint`` (the fix) apart from its message (the finding), so that a report can print both, and prints as
one paragraph. The command line turns each into that paragraph and exit code 2, without a traceback.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import ClassVar

MEND = "Run hcs verify --fix, and then the workflow again: it makes what is damaged or missing."
"""The hint about a result that is not as it was published."""


class HcsError(Exception):
    """Base of all errors that a user can mend. ``str(error)`` is the message followed by the hint.

    Both quote what stands in somebody's files, so they are made fit for terminals, logs and JSON here: characters that
    cannot be printed are written as escapes, and the middle of an endless text is left out.
    """

    longest: ClassVar[int] = 4_000

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.message = _printable(message, self.longest)
        self.hint = _printable(hint, self.longest)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class PlateError(HcsError, ValueError):
    """A plate folder that cannot be read: missing, empty, of unknown or ambiguous format."""


class ConfigError(HcsError, ValueError):
    """A configuration or pipeline file with an unknown key, a wrong type or an impossible value."""


class PipelineError(HcsError, ValueError):
    """A step that cannot work: unknown function or argument, a pattern that does not fit."""


class StorageError(HcsError, OSError):
    """An output folder or image store that cannot be written or read."""


class StepError(HcsError, RuntimeError):
    """A step failed on one unit; the unit ends, its neighbours go on."""


class CompileError(HcsError, ValueError):
    """Everything that is known to be wrong with a pipeline on a plate, all at once, in ``problems``."""

    longest = 16_000

    def __init__(
        self, problems: Sequence[HcsError], *, what: str = "The pipeline cannot be compiled"
    ) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  {number}. {problem}" for number, problem in enumerate(problems, 1))
        noun = "problem" if len(problems) == 1 else "problems"
        super().__init__(f"{what}: {len(problems)} {noun}.\n{lines}")


def _printable(text: str, longest: int) -> str:
    if len(text) > longest:
        text = f"{text[: longest * 3 // 4]} ... {text[-longest // 4 :]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def nearest(name: str, allowed: Iterable[str]) -> str:
    """A hint for a misspelt ``name``: what begins so, or the nearest allowed spelling if one is close, and all."""
    options = sorted({str(option) for option in allowed})
    started = [option for option in options if len(str(name)) > 2 and option.startswith(str(name))]
    close = started or get_close_matches(str(name), options, n=1, cutoff=0.5)
    guess = f"Did you mean {close[0]!r}? " if close else ""
    return f"{guess}Allowed: {', '.join(options) if options else 'none'}."
