"""What became of a job's units. No import that takes time: the process that watches a job loads this."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Outcome:
    """What became of a job's units: finished (unit -> fingerprint), skipped of these, failed, blocked by
    upstream.
    """

    done: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    blocked: list[str] = field(default_factory=list)

    def note(self, unit: str, state: str, text: str = "") -> None:
        """Add a unit that is ``done`` or ``skipped`` (``text``: its fingerprint), ``failed`` (the error) or
        ``blocked``.
        """
        if state == "failed":
            self.failed[unit] = text
        elif state == "blocked":
            self.blocked.append(unit)
        else:
            self.done[unit] = text
            if state == "skipped":
                self.skipped.append(unit)

    @property
    def ended(self) -> set[str]:
        """The units that need nothing more in this job."""
        return {*self.done, *self.failed, *self.blocked}


@dataclass(frozen=True)
class Death:
    """How a unit ended its process, or had to be ended with it: what its failure will say."""

    unit: str
    kind: str
    step: str
    error: str
    stack: str = ""
