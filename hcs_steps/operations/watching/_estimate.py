"""How fast a plate goes, and how long it still takes: from the times that records tell."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from hcs_steps.operations.watching._stage_reader import Done, StageReader, seconds_of

RECENT_UNITS = 20
"""A stage's rate is that of its last so many units."""
RECENT_S = 900.0
"""How many units run side by side is seen over the last so many seconds."""


def usual_seconds(reader: StageReader) -> float | None:
    """The median time of a unit in seconds: of the done ones, else of what former plans left; None if none is known."""
    known: Iterable[Done] = reader.done.values() or reader.records.items.values()
    times = [record.end - record.start for record in known if record.end >= record.start > 0]
    return median(times) if times else None


def units_per_minute(records: Sequence[Done], now: float | None) -> float | None:
    """The rate of the last units that ended, counted from where the first of them started; it sinks while nothing ends.

    ``records`` are in the order of their ends; ``now`` is None for what does not go on. None without any.
    """
    recent = records[-RECENT_UNITS:]
    if not recent:
        return None
    seconds = max(now or 0.0, recent[-1].end) - min(record.start for record in recent)
    return 60.0 * len(recent) / seconds if seconds > 0 else None


def units_at_once(readers: Iterable[StageReader], began: float, now: float) -> float | None:
    """How many units were computed side by side lately, on average; at least 1, and None before anything has run."""
    since = max(began, now - RECENT_S)
    spans = [
        (max(start, since), min(end, now))
        for reader in readers
        for start, end in (
            *((record.start, record.end) for record in reader.done.values()),
            *((seconds_of(told.get("started")), now) for told in reader.alive.values()),
        )
        if end > since and start > 0
    ]
    busy = sum(end - start for start, end in spans if end > start)
    span = now - min((start for start, _ in spans), default=now)
    return max(1.0, busy / span) if span > 0 and busy > 0 else None


def seconds_left(
    reader: StageReader,
    usual: float | None,
    at_once: float | None,
    now: float,
    wanted: Collection[str] | None = None,
) -> float | None:
    """How long the units of a stage that wait or run still take, ``at_once`` of them at a time.

    Never less than one unit takes on its own. None if units are left and one of the two figures is not known. Of the
    units that wait only the ``wanted`` ones count; None for all.
    """
    chosen = None if reader.stage.scope == "plate" else wanted
    waiting = sum(1 for u, s in reader.states.items() if s == "waiting" and (chosen is None or u in chosen))
    running = [told for unit, told in reader.alive.items() if reader.states.get(unit) == "running"]
    if not waiting and not running:
        return 0.0
    if usual is None or at_once is None:
        return None
    rests = [_rest(told, usual, now) for told in running] + ([usual] if waiting else [])
    return max(max(rests), (usual * max(waiting - 1, 0) + sum(rests)) / at_once)


def _rest(told: Mapping[str, Any], usual: float, now: float) -> float:
    """Seconds that a running unit still takes if it is like the others; one that is late is taken to end soon."""
    return max(usual - max(0.0, now - seconds_of(told.get("started"))), usual / 10)
