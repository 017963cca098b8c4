"""Which planes' labels serve for the planes of a stack."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from hcs_steps.errors import StepError
from hcs_steps.storage.protocol import PlaneKey


def labelled(keys: Iterable[PlaneKey], known: Collection[PlaneKey], name: str) -> list[PlaneKey]:
    """The planes whose labels serve for ``keys``. `StepError` if there are none for one of them."""
    found = [_nearest(key, known) for key in keys]
    if not set(found).issubset(known):
        raise StepError(
            f"There are no labels {name!r} for some planes of the stack.", hint="Segment them first."
        )
    return found


def _nearest(key: PlaneKey, known: Collection[PlaneKey]) -> PlaneKey:
    """``key``, or the first known plane that differs from it in the channel only; ``key`` itself if none
    does.
    """
    if key in known:
        return key
    same = sorted(
        k for k in known if (k.site, k.z_index, k.timepoint) == (key.site, key.z_index, key.timepoint)
    )
    return same[0] if same else key
