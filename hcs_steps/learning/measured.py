"""How much memory and time units took, in a few figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

HIGH = 0.9
"""Nine of ten units took at most what `Spread.high` says."""


@dataclass(frozen=True)
class Spread:
    """The median, what nine of ten units did not exceed, and the largest."""

    median: float = 0.0
    high: float = 0.0
    largest: float = 0.0

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of some figures; zeros for none."""
        if not values:
            return cls()
        ordered = sorted(values)
        rank = min(len(ordered) - 1, int(HIGH * len(ordered)))
        return cls(float(median(ordered)), float(ordered[rank]), float(ordered[-1]))


@dataclass(frozen=True)
class Measured:
    """What ``count`` units of one need took: MB of memory on the host and on the device, seconds from start to end.

    Of ``on_device`` of them the device's memory is known.
    """

    count: int
    host_mb: Spread
    gpu_mb: Spread
    seconds: Spread
    on_device: int = 0


def joined(parts: Iterable[Measured]) -> Measured | None:
    """What several plates have measured of the same need, as one; the upper figures are those of the worst plate."""
    found = [part for part in parts if part.count]
    if not found:
        return None
    counts = [part.count for part in found]
    on_device = [part.on_device for part in found]
    return Measured(
        sum(counts),
        _joined([part.host_mb for part in found], counts),
        _joined([part.gpu_mb for part in found], on_device),
        _joined([part.seconds for part in found], counts),
        sum(on_device),
    )


def _joined(spreads: Sequence[Spread], weights: Sequence[int]) -> Spread:
    total = sum(weights)
    middle = sum(s.median * w for s, w in zip(spreads, weights, strict=True)) / total if total else 0.0
    return Spread(middle, max(s.high for s in spreads), max(s.largest for s in spreads))
