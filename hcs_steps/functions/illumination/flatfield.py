"""Illumination correction: the field of a channel estimated from a plate, or the microscope's own, and applied."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.arrays import is_cupy, namespace, round_saturate, to_numpy
from hcs_steps.functions._checks import require_not_negative, require_whole
from hcs_steps.functions._stacks import choice, require_stack, row_blocks
from hcs_steps.functions.declare import Cost, PlateSize, Table, step_function
from hcs_steps.functions.illumination._flatfield_estimate import (
    Flatfield,
    Sample,
    flatfield_from_planes,
    require_dark,
)
from hcs_steps.functions.preprocessing.filters import working_dtype

__all__ = ["Flatfield", "apply_flatfield", "estimate_flatfield", "flatfield_from_planes"]

METHODS = ("estimate", "vendor")
MISSING = ("error", "pass")

NOTED_ERROR = 0.02
"""Standard error of a gain from which on a dark level that is not well known is noted."""

Columns = dict[str, NDArray[Any]]


def _chosen_channels(known: Mapping[int, str], wanted: Sequence[int | str] | None) -> list[int]:
    """The numbers of channels given by number or name; all if none are given."""
    if wanted is None:
        return list(known)
    numbers = {str(key): key for key in known} | {name: key for key, name in known.items()}
    if unknown := [item for item in wanted if str(item) not in numbers]:
        raise ValueError(f"There is no channel {unknown[0]!r}. The plate has: {', '.join(known.values())}.")
    return list(dict.fromkeys(numbers[str(item)] for item in wanted))


def _from_plate(plate: Any, channel: int, dark: float | None, max_planes: int, seed: int) -> Flatfield | None:
    """The estimate of a channel; None if no plane can be used. The plate gets a note of that, and of a dark level
    that the planes do not tell.
    """
    sample = Sample()
    for row, plane in plate.sample_planes(channel, max_planes, seed):
        parts = (f"{name} {row[name]}" for name in ("site", "z_index", "timepoint") if name in row)
        name = ", ".join([str(row.get("well", "?")), *parts, f"channel {channel}"])
        sample.add(to_numpy(plane), name, (row.get("well"), row.get("site")))
    plate.notes.extend(sample.skipped)
    if not sample.images:
        plate.notes.append(
            f"Channel {plate.channels[channel]} has no flat field: none of its planes can be used."
        )
        return None
    field = sample.flatfield(dark)
    if field.dark_error > 0 and field.error > NOTED_ERROR:
        told = f"to {field.dark_error:.3g} grey values" if math.isfinite(field.dark_error) else "at all"
        plate.notes.append(
            f"The planes of channel {plate.channels[channel]} do not tell the camera's dark level {told}, so its gain "
            f"may be off by {100 * field.error:.2g} %. Give dark if it is known."
        )
    return field


def _from_vendor(plate: Any, channels: Sequence[int]) -> dict[int, Flatfield]:
    """The microscope's own fields; ValueError names the channels without one."""
    found = {channel: plate.vendor_flatfield(channel) for channel in channels}
    if lacking := [plate.channels[channel] for channel, field in found.items() if field is None]:
        raise ValueError(
            f"The plate keeps no flat field of its own for: {', '.join(lacking)}. Use method='estimate' there."
        )
    nothing = (math.nan, math.nan, math.nan)
    return {
        channel: Flatfield(np.asarray(gain, np.float32), dark, math.nan, *nothing, 0, ())
        for channel, (gain, dark) in found.items()
    }


def _layers(fields: Mapping[int, Flatfield]) -> NDArray[np.float32]:
    """(channels, 2, Y, X): gain and dark of each channel."""
    shapes = {channel: field.gain.shape for channel, field in fields.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(
            f"The channels' planes differ in size: {shapes}. Estimate them in steps of their own, by 'channels'."
        )
    (shape,) = set(shapes.values())
    result = np.empty((len(fields), 2, *shape), dtype=np.float32)
    for layer, field in zip(result, fields.values(), strict=True):
        layer[0] = field.gain
        layer[1] = field.dark
    return result


def _quality(plate: Any, fields: Mapping[int, Flatfield]) -> Columns:
    values = list(fields.values())
    return {
        "channel": np.array(list(fields), dtype=np.int64),
        "channel_name": np.array([plate.channels[channel] for channel in fields], dtype=str),
        "planes_used": np.array([field.planes for field in values], dtype=np.int64),
        "planes_on_plate": np.array([plate.count_planes(channel) for channel in fields], dtype=np.int64),
        "gain_min": np.array([field.gain.min() for field in values], dtype=np.float64),
        "gain_max": np.array([field.gain.max() for field in values], dtype=np.float64),
        "gain_error_percent": np.array([100 * field.error for field in values]),
        "dark_level": np.array([np.mean(field.dark) for field in values], dtype=np.float64),
        "dark_level_error": np.array([field.dark_error for field in values]),
        "background_spread_percent": np.array([100 * field.spread for field in values]),
        "corrected_spread_percent": np.array([100 * field.corrected_spread for field in values]),
    }


def _estimate_needs(params: Mapping[str, Any], plate: PlateSize) -> Cost:
    """A plane at a time, the reduced planes of a channel with what is computed of them, and the fields of all."""
    reduced = 64 * 1024 * min(plate.planes, int(params.get("max_planes", 300)))
    return Cost(0.0, 12.0 + 16.0 * plate.channels, 5.0 * reduced)


def _apply_needs(params: Mapping[str, Any], plate: PlateSize) -> Cost:
    """The stack, the result, and gain and dark level of all channels as float32."""
    return Cost(2.1, 3.0 + 8.0 * plate.channels)


@step_function(
    scope="plate",
    outputs={"flatfield": "array", "flatfield_channels": "value", "flatfield_quality": "table"},
    rows={"flatfield_quality": "other"},
    needs=_estimate_needs,
    packages=("scipy.linalg", "scipy.optimize"),
)
def estimate_flatfield(
    plate: Any,
    method: str | Enum = "estimate",
    channels: Sequence[int | str] | None = None,
    dark: float | None = None,
    max_planes: int = 300,
    seed: int = 0,
) -> tuple[NDArray[np.float32], list[int], Columns]:
    """Find the uneven illumination of each channel of a plate, for `apply_flatfield`.

    ``estimate`` finds it in the images themselves, see `flatfield_from_planes`: from planes spread evenly over
    wells and sites, read one at a time. ``vendor`` takes what the microscope keeps with the plate.

    Parameters
    ----------
    plate
        The plate, as plate-scope functions are given it.
    method
        ``estimate`` or ``vendor``.
    channels
        Numbers or names of the channels; all if None.
    dark
        ``estimate``: the camera's level without light, in grey values; None estimates it where it can be told, and
        notes where that leaves the gain uncertain.
    max_planes
        ``estimate``: the most planes that are read of a channel, at least 1.
    seed
        ``estimate``: which planes are read, if not all.

    Returns
    -------
    flatfield
        float32 (channels, 2, Y, X): the gain, with the mean 1, and the dark level of each channel.
    flatfield_channels
        The channels' numbers, in that order. A channel without usable planes is left out and noted.
    flatfield_quality
        One row per channel: ``channel``, ``channel_name``, ``planes_used``, ``planes_on_plate``, ``gain_min``,
        ``gain_max``, ``gain_error_percent``, ``dark_level``, ``dark_level_error``, ``background_spread_percent``,
        ``corrected_spread_percent``; see `Flatfield`. The errors and spreads are NaN with ``vendor``.

    Raises
    ------
    ValueError
        If a name or a channel is not known, a number is out of range, no channel has a usable plane, planes of
        channels differ in size, or ``vendor`` finds no field for a channel.
    """
    how = choice(method, METHODS, "method")
    require_dark(dark)
    require_not_negative(seed=seed)
    require_whole(1, max_planes=max_planes)
    numbers = _chosen_channels(plate.channels, channels)
    if how == "vendor":
        fields = _from_vendor(plate, numbers)
    else:
        estimates = {number: _from_plate(plate, number, dark, int(max_planes), seed) for number in numbers}
        fields = {number: field for number, field in estimates.items() if field is not None}
    if not fields:
        raise ValueError("No channel of the plate has a plane that a flat field can be estimated from.")
    return _layers(fields), list(fields), _quality(plate, fields)


def _layer_of_planes(
    channels: Sequence[int], count: int, planes: Table | None, missing: str
) -> list[int | None]:
    """Which layer of the flat field corrects each plane; None: none does."""
    if planes is None or "channel" not in planes:
        if len(channels) == 1:
            return [0] * count
        raise ValueError(
            f"The flat field has {len(channels)} channels; the plane table must say which one each plane is of."
        )
    numbers = [int(number) for number in planes["channel"]]
    if len(numbers) != count:
        raise ValueError(f"The plane table has {len(numbers)} rows, but the stack has {count} planes.")
    places = {int(channel): place for place, channel in enumerate(channels)}
    if missing == "error" and (lacking := sorted(set(numbers) - set(places))):
        raise ValueError(
            f"There is no flat field for channel {', '.join(map(str, lacking))}; it has {', '.join(map(str, places))}. "
            "missing='pass' leaves such planes as they are."
        )
    return [places.get(number) for number in numbers]


def _beside(stack: Any, values: Any) -> Any:
    """``values`` in the memory where ``stack`` is."""
    return namespace(stack).asarray(values) if is_cupy(stack) else to_numpy(values)


@step_function(needs=_apply_needs, packages=(), devices=("cpu", "gpu"), planewise=True)
def apply_flatfield(
    stack: Any,
    flatfield: Any,
    flatfield_channels: Sequence[int],
    planes: Table | None = None,
    keep_dark: bool = False,
    missing: str | Enum = "error",
) -> Any:
    """Correct each plane for uneven illumination: (plane - dark) / gain of its channel.

    Parameters
    ----------
    stack
        (N, Y, X), integer or float; NumPy or CuPy.
    flatfield
        (channels, 2, Y, X): gain and dark level of each channel, as `estimate_flatfield` returns them.
    flatfield_channels
        The channels' numbers, in that order.
    planes
        The plane table; its ``channel`` says which gain corrects a plane. Not needed for one channel.
    keep_dark
        Add the dark level again, so that backgrounds keep their height and noise around the dark level does not
        end at 0 in unsigned images.
    missing
        What to do with a plane whose channel has no flat field: ``error``, or ``pass`` it as it is.

    Returns
    -------
    (N, Y, X) in the dtype of ``stack``; integers are rounded half to even and saturated. NaN pixels stay NaN.

    Raises
    ------
    ValueError
        If ``stack`` is not (N, Y, X), ``flatfield`` has another shape than (channels, 2, Y, X) with the planes' size,
        a gain is not above 0 everywhere, a plane's channel has no flat field, or the plane table is missing with
        several channels.
    """
    require_stack(stack, "apply_flatfield")
    rule = choice(missing, MISSING, "missing")
    expected = (len(flatfield_channels), 2, *stack.shape[1:])
    if tuple(flatfield.shape) != expected:
        raise ValueError(
            f"The flat field has the shape {tuple(flatfield.shape)}; {len(flatfield_channels)} channels of planes "
            f"{tuple(stack.shape[1:])} need {expected}: channels, gain and dark, Y, X."
        )
    layers = _layer_of_planes(flatfield_channels, len(stack), planes, rule)
    dtype = working_dtype(stack.dtype)
    result = stack.copy()
    for place in sorted({layer for layer in layers if layer is not None}):
        gain, dark = _beside(stack, flatfield[place, 0]), _beside(stack, flatfield[place, 1])
        if not bool((gain > 0).all()):
            raise ValueError(
                f"The gain of channel {flatfield_channels[place]} is not above 0 everywhere, so nothing can be "
                "divided by it."
            )
        for source, target, layer in zip(stack, result, layers, strict=True):
            if layer != place:
                continue
            for rows in row_blocks(source.shape[0]):
                values = source[rows].astype(dtype)
                values -= dark[rows]
                values /= gain[rows]
                if keep_dark:
                    values += dark[rows]
                target[rows] = round_saturate(values, stack.dtype)
    return result
