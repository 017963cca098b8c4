"""What a naming may say, and whether it says enough: every mistake is a `ConfigError` that names the fix."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from hcs_steps.errors import ConfigError, PlateError, nearest
from hcs_steps.plate.units import whole
from hcs_steps.plate.wells import canonical_well

GROUPS = (
    *("well", "row", "column", "well_index"),
    *("site", "region", "site_row", "site_column"),
    *("channel", "channel_name", "step"),
    *("z", "time", "datetime", "z_index", "timepoint"),
    "plate",
)
CONSTANTS = (
    *("well", "row", "column", "site", "channel", "z", "time", "z_index", "timepoint"),
    *("plate_columns", "first_well", "first_z", "datetime_format"),
)
ALIASES = {"z_index": "z", "timepoint": "time"}
PAGES = {
    "z": frozenset({"z"}),
    "time": frozenset({"time", "datetime"}),
    "channel": frozenset({"channel", "channel_name"}),
}
"""What pages can be -> the groups that say the same."""
ELAPSED = "elapsed"

_WHOLE = ("column", "site", "z", "time", "plate_columns", "first_well", "first_z")
_NEEDS = (
    # What is given, and what it is no use without (one of them).
    ("well_index", ("plate_columns",)),
    ("plate_columns", ("well_index",)),
    ("first_well", ("well_index", "row", "column")),
    ("region", ("site",)),
    ("site_row", ("site_column",)),
    ("site_column", ("site_row",)),
    ("channel_name", ("channel",)),
    ("first_z", ("z",)),
    ("datetime", ("datetime_format",)),
    ("datetime_format", ("datetime",)),
)
_SAME = ({"site", "site_row"}, {"time", "datetime"})


def check_pattern(
    regex: str,
    *,
    groups: Collection[str],
    constants: Mapping[str, Any],
    channels: Mapping[str, Any],
    pixel_size_um: Any,
    pages: str,
) -> None:
    """Raise `ConfigError` for the first thing that is unknown, lacking, twice there, or of no possible value."""
    _known("group", groups, GROUPS)
    _known("constant", constants, CONSTANTS)
    stated = {ALIASES.get(name, name) for name in (*groups, *constants)}
    if "well" not in stated and not {"row", "column"} <= stated and "well_index" not in stated:
        raise ConfigError(
            f"The file pattern {regex!r} does not say which well a file belongs to.",
            hint="Add a group (?P<well>...), or both (?P<row>...) and (?P<column>...), or a constant: "
            "`constants: {well: A01}`.",
        )
    for name, others in _NEEDS:
        if name in stated and not stated.intersection(others):
            raise ConfigError(
                f"The file pattern has `{name}`, which is of no use without `{'` or `'.join(others)}`.",
                hint=f"Add `{others[0]}` as a {'group' if others[0] in GROUPS else 'constant'}.",
            )
    for names in _SAME:
        if names <= stated:
            raise ConfigError(
                f"The file pattern says the same twice: {' and '.join(sorted(names))}.",
                hint="Leave one of them out.",
            )
    _check_pages(pages, stated)
    _check_constants(constants)
    for token, new_name in channels.items():
        if not (isinstance(token, str) and isinstance(new_name, str) and new_name.strip()):
            raise ConfigError(
                f"`channels` of the file pattern has the entry {token!r}: {new_name!r}.",
                hint="Write the channel as in file names, and its name: GFP: actin.",
            )
    if pixel_size_um is not None and not (
        isinstance(pixel_size_um, int | float)
        and not isinstance(pixel_size_um, bool)
        and 0 < pixel_size_um < math.inf
    ):
        raise ConfigError(f"pixel_size_um is {pixel_size_um}.", hint="Give micrometres per pixel, above 0.")


def _known(kind: str, names: Collection[str], allowed: Collection[str]) -> None:
    for name in names:
        if name not in allowed:
            raise ConfigError(
                f"Unknown {kind} {name!r} in the file pattern.", hint=nearest(str(name), allowed)
            )


def _check_pages(pages: str, stated: Collection[str]) -> None:
    if pages and pages not in PAGES:
        raise ConfigError(f"`pages` is {pages!r}.", hint=nearest(pages, PAGES))
    told = PAGES.get(pages, frozenset()).intersection(stated)
    if told:
        raise ConfigError(
            f"The file pattern takes {pages} from the pages, but also has {', '.join(sorted(told))}.",
            hint="Leave one of them out.",
        )


def _check_constants(constants: Mapping[str, Any]) -> None:
    for name, value in constants.items():
        possible = isinstance(value, str | int) and not isinstance(value, bool)
        if not possible or (ALIASES.get(name, name) in _WHOLE and whole(str(value), -1) < 0):
            raise ConfigError(
                f"The constant `{name}` of the file pattern is {value!r}.",
                hint="Write a whole number." if possible else "Write a number or a text.",
            )
    if "well" in constants:
        try:
            canonical_well(str(constants["well"]))
        except PlateError as error:
            raise ConfigError(f"The constant `well`: {error.message}", hint=error.hint) from None
    if whole(str(constants.get("plate_columns", 1))) == 0:
        raise ConfigError("The constant `plate_columns` is 0.", hint="A 96-well plate has 12.")
    layout = str(constants.get("datetime_format", ELAPSED))
    if layout != ELAPSED and not _is_date_format(layout):
        raise ConfigError(
            f"The constant `datetime_format` is {layout!r}.",
            hint="Write it for Python's strptime, such as '%Y-%m-%d_%H-%M-%S', or `elapsed`.",
        )


def _is_date_format(layout: str) -> bool:
    try:
        datetime.strptime(datetime(2000, 1, 1).strftime(layout), layout)
    except ValueError:
        return False
    return "%" in layout
