"""From the texts in file names to well, site, channel, z and time: what they mean together, on a whole plate.

Most numbers are those of the names. Where names have none (a channel's name, a date, the place in a grid),
all that the plate has of them are sorted and counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from hcs_steps.errors import PlateError
from hcs_steps.plate.findings import Cell
from hcs_steps.plate.formats.patterns.check import ELAPSED
from hcs_steps.plate.formats.patterns.spec import PatternSpec
from hcs_steps.plate.inventory import NAN, PlaneKey
from hcs_steps.plate.sites import MAX_SIDE
from hcs_steps.plate.units import whole
from hcs_steps.plate.wells import canonical_well, row_index, well_name

Tokens = Mapping[str, str]
"""Component -> text, of one file name."""
Channel = tuple[str, str, str]
"""Step, channel and channel name, as in file names; empty where a name has none."""

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

_ELAPSED = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?", re.IGNORECASE)
_ZERO = datetime(2000, 1, 1)


@dataclass(frozen=True)
class NumberedPlanes:
    """The planes of all names, in their order.

    Attributes
    ----------
    keys
        The plane, or a sentence on why the name makes none.
    seconds
        Since a moment that the plate shares; NaN where names have no date.
    channel_names
        Channel number -> name, empty where names hold only its number.
    site_cells, grid_dimensions
        Site -> (row, column), and the grid, where names state the place of each site.
    """

    keys: Sequence[PlaneKey | str]
    seconds: Sequence[float]
    channel_names: Mapping[int, str]
    site_cells: Mapping[int, Cell]
    grid_dimensions: Cell | None


def number_planes(spec: PatternSpec, names: Sequence[Tokens]) -> NumberedPlanes:
    """What the parsed ``names`` of a plate mean together."""
    wells = _each([_texts(name, "well", "row", "column", "well_index") for name in names], _well_of(spec))
    sites, cells, grid = _sites(names)
    channels, channel_names = number_channels([_channel(name) for name in names], spec.channels)
    first_z = int(spec.constants.get("first_z", 1))
    depths = _each([name.get("z") for name in names], lambda text: _z(text, first_z))
    times, seconds = _times(spec, names)
    keys: list[PlaneKey | str] = []
    for parts in zip(wells, sites, channels, depths, times, strict=True):
        wrong = next((part.message for part in parts if isinstance(part, PlateError)), "")
        keys.append(wrong or PlaneKey(*parts))  # type: ignore[arg-type]  # none of them is an error
    return NumberedPlanes(keys, seconds, channel_names, cells, grid)


def number_channels(
    present: Sequence[Channel], renamed: Mapping[str, str]
) -> tuple[list[int], dict[int, str]]:
    """The number of each channel in ``present``, and number -> name.

    A channel has its own number where that tells it from all others (``2`` and ``02`` are one number). Else
    they are counted from 1: step by step, those of ``renamed`` first and in its order, then the others by
    number and name. Channels with the same new name are one. With several steps, a name has the step in it.
    """
    new_names = {plain(token): name for token, name in renamed.items()}
    steps = sorted({step for step, _, _ in present}, key=_natural)
    slots: dict[Channel, Channel] = {}
    for channel in dict.fromkeys(present):
        step, number, name = channel
        new = new_names.get(plain(name)) or new_names.get(plain(number))
        slots[channel] = (step, "", new) if new else (step, plain(number), name)
    numbers = _own_numbers(slots)
    if numbers is None:
        of_map = [(step, "", name) for step in steps for name in dict.fromkeys(new_names.values())]
        others = sorted(set(slots.values()).difference(of_map), key=lambda slot: tuple(map(_natural, slot)))
        # Step by step; sorting keeps the order within each.
        order = sorted((*of_map, *others), key=lambda slot: steps.index(slot[0]))
        numbers = {slot: place for place, slot in enumerate(order, 1)}
    names = {}
    for slot in slots.values():
        step, number, name = slot
        shown = name or ("" if _is_number(number) else number)
        names[numbers[slot]] = f"{shown or number} {step}" if len(steps) > 1 else shown
    return [numbers[slots[channel]] for channel in present], names


def _own_numbers(slots: Mapping[Channel, Channel]) -> dict[Channel, int] | None:
    """The number that each slot's channels have in names, if all have one and no two slots the same."""
    numbers: dict[Channel, int] = {}
    for (_, number, _), slot in slots.items():
        if not _is_number(number):
            return None
        numbers[slot] = min(int(number), numbers.get(slot, int(number)))
    return numbers if len(set(numbers.values())) == len(numbers) else None


def _channel(name: Tokens) -> Channel:
    return name.get("step", ""), name.get("channel", "1"), name.get("channel_name", "")


def plain(text: str) -> str:
    """A number without its leading zeros; any other text as it is."""
    return str(int(text)) if _is_number(text) else text


def _is_number(text: str) -> bool:
    return whole(text, -1) >= 0


def _natural(text: str) -> tuple[int, str]:
    """Numbers by size, before other texts."""
    return (int(text), "") if _is_number(text) else (1_000_000_000, text)


def _each(keys: Sequence[Key], value: Callable[[Key], Value]) -> list[Value | PlateError]:
    """``value`` of every key, or its error; called once per distinct key."""
    known: dict[Key, Value | PlateError] = {}
    for key in keys:
        if key not in known:
            try:
                known[key] = value(key)
            except PlateError as error:
                known[key] = error
    return [known[key] for key in keys]


def _texts(name: Tokens, *components: str) -> tuple[str | None, ...]:
    return tuple(name.get(component) for component in components)


def _number(component: str, text: str | None) -> int:
    if text is None:
        return 1
    if not _is_number(text):
        raise PlateError(
            f"The {component} {text!r} is not a number.", hint="Let the group match digits only."
        )
    return int(text)


def _z(text: str | None, first: int) -> int:
    number = 1 if text is None else _number("z", text) - first + 1
    if number < 0:
        raise PlateError(f"The z plane {text!r} lies before the first one, {first}.", hint="Check `first_z`.")
    return number


def _well_of(spec: PatternSpec) -> Callable[[tuple[str | None, ...]], str]:
    first = int(spec.constants.get("first_well", 1))
    columns = int(spec.constants.get("plate_columns", 1))

    def index(component: str, text: str | None) -> int:
        place = _number(component, text) - first
        if place < 0:
            raise PlateError(
                f"The {component} {text!r} lies before the first, {first}.", hint="Check the names."
            )
        return place

    def well(texts: tuple[str | None, ...]) -> str:
        name, row, column, well_index = texts
        if name is not None:
            return canonical_well(name)
        if well_index is not None:
            return well_name(*divmod(index("well_index", well_index), columns))
        if row is None or column is None:
            raise PlateError("The name holds no well.", hint="Check the pattern's optional groups.")
        return well_name(row_index(row) if row.isalpha() else index("row", row), index("column", column))

    return well


def _sites(names: Sequence[Tokens]) -> tuple[list[int | PlateError], dict[int, Cell], Cell | None]:
    """The site of every name; the cell of each and the grid, where names have a place in a grid."""
    if any("site_row" in name for name in names):
        places = _each([_texts(name, "site_row", "site_column") for name in names], _place)
        return _gridded(places)
    if any("region" in name for name in names):
        places = _each([(name.get("region", "0"), name.get("site")) for name in names], _place)
        ranks = _ranks(place for place in places if not isinstance(place, PlateError))
        return [place if isinstance(place, PlateError) else ranks[place] for place in places], {}, None
    return _each([name.get("site") for name in names], lambda text: _number("site", text)), {}, None


def _place(texts: tuple[str | None, ...]) -> Cell:
    """Row and column in the grid of sites, or region and site."""
    return _number("site", texts[0]), _number("site", texts[1])


def _gridded(
    places: Sequence[Cell | PlateError],
) -> tuple[list[int | PlateError], dict[int, Cell], Cell | None]:
    """Sites numbered row by row over the smallest grid that holds those of all wells."""
    rows, columns = (
        {place[axis] for place in places if not isinstance(place, PlateError)} or {0} for axis in (0, 1)
    )
    height, width = max(rows) - min(rows) + 1, max(columns) - min(columns) + 1
    if height > MAX_SIDE or width > MAX_SIDE:
        raise PlateError(
            f"The file names state a grid of {height} x {width} sites.",
            hint="Are `site_row` and `site_column` the place in a grid, not a position?",
        )
    cells: dict[int, Cell] = {}
    sites: list[int | PlateError] = []
    for place in places:
        if isinstance(place, PlateError):
            sites.append(place)
            continue
        cell = place[0] - min(rows), place[1] - min(columns)
        site = cell[0] * width + cell[1] + 1
        cells[site] = cell
        sites.append(site)
    return sites, cells, (height, width) if cells else None


def _times(spec: PatternSpec, names: Sequence[Tokens]) -> tuple[list[int | PlateError], list[float]]:
    """The timepoint of every name, and its moment in seconds."""
    if "datetime_format" not in spec.constants:
        times = _each([name.get("time") for name in names], lambda text: _number("time", text))
        return times, [NAN] * len(names)
    layout = str(spec.constants["datetime_format"])
    moments = _each([name.get("datetime") for name in names], lambda text: _moment(text, layout))
    ranks = _ranks(moment for moment in moments if not isinstance(moment, PlateError))
    return (
        [moment if isinstance(moment, PlateError) else ranks[moment] for moment in moments],
        [NAN if isinstance(moment, PlateError) else (moment - _ZERO).total_seconds() for moment in moments],
    )


def _moment(text: str | None, layout: str) -> datetime:
    if text is not None and layout == ELAPSED:
        match = _ELAPSED.fullmatch(text)
        if match and any(match.groups()):
            days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
            return _ZERO + timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    elif text is not None:
        try:
            return datetime.strptime(text, layout).replace(tzinfo=None)
        except ValueError:
            pass
    raise PlateError(f"{text!r} is not a date like {layout!r}.", hint="Check `datetime_format`.")


def _ranks(values: Iterable[Key]) -> dict[Key, int]:
    return {value: rank for rank, value in enumerate(sorted(set(values)), 1)}  # type: ignore[type-var]
