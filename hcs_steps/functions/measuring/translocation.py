"""Translocation between nucleus and cytoplasm: one ratio for each nucleus."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.arrays import namespace, to_numpy
from hcs_steps.functions._checks import (
    plane_column,
    require_labels,
    require_not_negative,
    require_numbers,
    require_positive,
)
from hcs_steps.functions._coverage import covered
from hcs_steps.functions._stacks import choice, require_stack
from hcs_steps.functions.declare import Table, step_function
from hcs_steps.functions.segmentation._rings import ring_around

BACKGROUND_PERCENTILE = 1.0
"""The darkest hundredth of a plane counts as background: there is some of it even where cells are confluent."""

BACKGROUND_BLOCK = 4
"""Side in px of the blocks whose means are compared, so that the noise of single pixels does not count."""

BLOCK_PIXELS = 1 << 16

ROUNDING = 1e-12
"""Relative deviation from the mean below which a channel is constant."""

Columns = dict[str, NDArray[Any]]


@step_function(
    outputs={"translocation": "table"},
    changes_image=False,
    memory=1.4,
    scratch=30.0,
    packages=("scipy.ndimage",),
    devices=("cpu", "gpu"),
)
def measure_translocation(
    stack: Any,
    nuclei: Any,
    cytoplasm: Any = None,
    background: str | Enum | float = "auto",
    ring_width: float = 4.0,
    ring_gap: float = 1.0,
    nuclear_channel: str | None = None,
    planes: Table | None = None,
) -> tuple[Any, Columns]:
    """Compare the intensity of each nucleus with that of its cytoplasm. The image passes through unchanged.

    The cytoplasm is a ring around the nucleus, beyond a small gap, in which light from the nucleus would still
    be found; rings of neighbours neither overlap nor enter nuclei (A. E. Carpenter et al., Genome Biology 7,
    R100, 2006, measure the same assay in such rings). Or it is what an earlier step found as ``cytoplasm``; where
    that was found in the channel which is measured, cells whose cytoplasm has emptied have none, so that a ring tells
    more.

    Parameters
    ----------
    stack
        (N, Y, X), integer or float; NumPy or CuPy. Each plane is a channel to measure at some place. Pixels that
        are not finite are left out.
    nuclei
        Label stack like ``stack``, or (1, Y, X) for all planes; 0 is background.
    cytoplasm
        The same with the numbers of the nuclei, e.g. from `segment_cytoplasm`. None: a ring.
    background
        Intensity that is subtracted from all means: a number, or ``auto``: the 1st percentile of the means of
        4 x 4 px blocks of each plane. 0 leaves the means as they are.
    ring_width, ring_gap
        The ring's extent in px: pixels more than ``ring_gap`` and at most ``ring_gap + ring_width`` from their
        nucleus.
    nuclear_channel
        Name of the channel with the nuclear stain among the planes of the stack. Each other plane is correlated
        with that of the same site, z_index and timepoint. None: no correlation.
    planes
        The plane table; only ``nuclear_channel`` needs it.

    Returns
    -------
    stack
        The object that was passed in.
    translocation
        One row per plane and nucleus, in the order of their labels:

        - ``plane`` (along axis 0), ``label``;
        - ``Nuclei_AreaShape_Area``, ``Cytoplasm_AreaShape_Area`` in px;
        - ``Nuclei_Intensity_MeanIntensity``, ``Cytoplasm_Intensity_MeanIntensity`` in units of the image, with the
          background; ``Intensity_Background``;
        - ``Translocation_Ratio``: nucleus / cytoplasm without the background; ``Translocation_Log2Ratio``, whose
          median is a robust value of a well; ``Translocation_Difference``: nucleus - cytoplasm;
        - ``Correlation_Correlation``: Pearson's coefficient of the plane and the nuclear stain over the pixels of
          nucleus and cytoplasm.

        NaN where a value has no meaning: no cytoplasm (a nucleus shut in by others), a mean that does not
        exceed the background, a constant channel, no nuclear stain. No nuclei: no rows.

    Raises
    ------
    ValueError
        If ``stack`` is not (N, Y, X), labels are missing or do not fit it, a number is out of range or the
        nuclear channel is not among the planes.
    """
    require_stack(stack, "measure_translocation")
    nuclei = require_labels(nuclei, stack, "nuclei", "measure_translocation")
    if cytoplasm is not None:
        cytoplasm = require_labels(cytoplasm, stack, "cytoplasm", "measure_translocation")
    require_positive(ring_width=ring_width)
    require_not_negative(ring_gap=ring_gap)
    given = _background_argument(background)
    stains = _stains(planes, nuclear_channel, stack.shape[0])
    rows = []
    for index in range(stack.shape[0]):
        nucleus = nuclei[index]
        around = ring_around(nucleus, ring_width, ring_gap) if cytoplasm is None else cytoplasm[index]
        stain = None if stains[index] is None else stack[stains[index]]
        level = _background(stack[index]) if given is None else given
        rows.append(_plane_rows(index, stack[index], nucleus, around, level, stain))
    return stack, {name: np.concatenate([table[name] for table in rows]) for name in rows[0]}


def _background_argument(background: str | Enum | float) -> float | None:
    if isinstance(background, (str, Enum)):
        choice(background, ("auto",), "background")
        return None
    require_numbers(background=background)
    return float(background)


def _background(plane: Any) -> float:
    """The percentile of block means of a (Y, X) plane; NaN if no block shows something throughout (`covered`)."""
    xp = namespace(plane)
    shown = covered(plane)
    if shown is not None:
        plane = xp.where(shown, plane, xp.nan)
    block = min(BACKGROUND_BLOCK, *plane.shape)
    height, width = (size // block * block for size in plane.shape)
    shape = (height // block, block, width // block, block)
    means = plane[:height, :width].reshape(shape).mean(axis=(1, 3), dtype=xp.float64)
    means = means[xp.isfinite(means)]
    return float(xp.percentile(means, BACKGROUND_PERCENTILE)) if means.size else math.nan


def _stains(planes: Table | None, channel: str | None, count: int) -> list[int | None]:
    """For each plane of the stack, the plane with the nuclear stain at the same place and time."""
    if channel is None:
        return [None] * count
    if planes is None or "channel_name" not in planes:
        raise ValueError(
            f"nuclear_channel={channel!r} needs the names of the channels in the plane table. Leave it out or give "
            "planes with the column channel_name."
        )
    names = [str(name) for name in np.asarray(planes["channel_name"]).tolist()]
    if channel not in names:
        raise ValueError(
            f"nuclear_channel={channel!r} is not among the channels of the stack, {sorted(set(names))}. Stack the "
            "channels of a site, e.g. variable_components: [channel]."
        )
    columns = [plane_column(planes, name, count) for name in ("site", "z_index", "timepoint")]
    places = list(zip(*(np.nan_to_num(column, nan=-1.0).tolist() for column in columns), strict=True))
    stains = {place: index for index, place in enumerate(places) if names[index] == channel}
    return [stains.get(place) for place in places]


def _places(labels: Any, numbers: Any) -> Any:
    """Places 1..n of label ``numbers`` in the sorted ``labels``; 0 for other numbers."""
    xp = namespace(labels)
    if not labels.size:
        return xp.zeros(numbers.shape, dtype=xp.int64)
    place = xp.minimum(xp.searchsorted(labels, numbers), labels.size - 1)
    return (place + 1) * (labels[place] == numbers)


def _sums(places: Any, values: Any, count: int) -> NDArray[np.float64]:
    """Sum of ``values`` (their number, if None) at each of the places 1..``count``."""
    total = namespace(places).bincount(places, values, minlength=count + 1)[1:]
    return to_numpy(total).astype(np.float64)


@dataclass(frozen=True)
class _Block:
    """Pixels of nuclei and cytoplasms: their places among the nuclei, and the channels, with 0 where not finite."""

    nucleus: Any
    cytoplasm: Any
    channels: tuple[Any, ...]
    finite: Any

    def either(self) -> Any:
        """Places of the pixels, of which all channels are finite, whichever part they belong to."""
        xp = namespace(self.nucleus)
        return xp.where(self.nucleus > 0, self.nucleus, self.cytoplasm) * self.finite


def _blocks(labels: Any, nucleus: Any, around: Any, channels: Sequence[Any]) -> Iterator[_Block]:
    """The pixels of nuclei and cytoplasms in blocks, so that what is computed of them stays small."""
    xp = namespace(nucleus)
    step = max(1, BLOCK_PIXELS // nucleus.shape[1])
    for start in range(0, nucleus.shape[0], step):
        rows = slice(start, start + step)
        inner, outer = (plane[rows].ravel().astype(xp.uint32) for plane in (nucleus, around))
        used = xp.flatnonzero((inner > 0) | (outer > 0))
        if not used.size:
            continue
        values = [channel[rows].ravel()[used].astype(xp.float64) for channel in channels]
        finite = xp.isfinite(values[0])
        for other in values[1:]:
            finite &= xp.isfinite(other)
        yield _Block(
            _places(labels, inner[used]),
            _places(labels, outer[used]),
            tuple(xp.where(finite, channel, 0.0) for channel in values),
            finite,
        )


def _plane_rows(index: int, plane: Any, nucleus: Any, around: Any, level: float, stain: Any) -> Columns:
    """The rows of one plane."""
    xp = namespace(plane)
    labels = xp.unique(nucleus)
    labels = labels[labels > 0].astype(xp.uint32)
    count = int(labels.size)
    area, number, total = np.zeros((3, 2, count))
    for block in _blocks(labels, nucleus, around, [plane]):
        for part, places in enumerate((block.nucleus, block.cytoplasm)):
            area[part] += _sums(places, None, count)
            number[part] += _sums(places * block.finite, None, count)
            total[part] += _sums(places, block.channels[0], count)
    with np.errstate(divide="ignore", invalid="ignore"):
        inside, outside = total / number
        above = [np.where(mean > level, mean - level, np.nan) for mean in (inside, outside)]
        ratio = above[0] / above[1]
    return {
        "plane": np.full(count, index, dtype=np.int64),
        "label": to_numpy(labels),
        "Nuclei_AreaShape_Area": area[0].astype(np.int64),
        "Cytoplasm_AreaShape_Area": area[1].astype(np.int64),
        "Nuclei_Intensity_MeanIntensity": inside,
        "Cytoplasm_Intensity_MeanIntensity": outside,
        "Intensity_Background": np.full(count, level),
        "Translocation_Ratio": ratio,
        "Translocation_Log2Ratio": np.log2(ratio),
        "Translocation_Difference": inside - outside,
        "Correlation_Correlation": (
            np.full(count, np.nan)
            if stain is None
            else _pearson(lambda: _blocks(labels, nucleus, around, [plane, stain]), count)
        ),
    }


def _pearson(blocks: Callable[[], Iterator[_Block]], count: int) -> NDArray[np.float64]:
    """Pearson's coefficient of two channels for each place 1..``count``, of centred values."""
    number, total = np.zeros(count), np.zeros((2, count))
    for block in blocks():
        places = block.either()
        number += _sums(places, None, count)
        total += [_sums(places, channel, count) for channel in block.channels]
    mean = total / np.maximum(number, 1)
    products, squares = np.zeros(count), np.zeros((2, count))
    for block in blocks():
        places = block.either()
        xp = namespace(places)
        centred = [
            channel - xp.asarray(np.append(0.0, level))[places]
            for channel, level in zip(block.channels, mean, strict=True)
        ]
        products += _sums(places, centred[0] * centred[1], count)
        squares += [_sums(places, rest * rest, count) for rest in centred]
    # What is left of a constant channel is rounding.
    squares[squares <= number * (ROUNDING * mean) ** 2] = np.nan
    coefficient: NDArray[np.float64] = products / np.sqrt(squares[0] * squares[1])
    return coefficient
