"""Reader of any regular naming: a regular expression with named groups, given in the configuration.

The groups ``well`` (or ``row`` and ``column``), ``site``, ``channel``, ``z`` and ``time`` say what a name's
parts mean. What a plate's names do not contain is a constant, or 1. `BUILTIN_PATTERNS` holds namings that are
recognised without configuration; a further microscope is a further entry.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hcs_steps.errors import ConfigError, PlateError, nearest
from hcs_steps.plate.assemble import build_inventory
from hcs_steps.plate.findings import Findings, Found, collect
from hcs_steps.plate.inventory import Inventory, PlaneKey, Problem
from hcs_steps.plate.listing import FileEntry, FileListing
from hcs_steps.plate.reader import Evidence, ReadOptions
from hcs_steps.plate.wells import canonical_well, row_index, well_name

GROUPS = ("well", "row", "column", "site", "channel", "z", "time", "z_index", "timepoint")
_ALIASES = {"z_index": "z", "timepoint": "time"}
_FIELDS = ("regex", "constants", "channels", "pixel_size_um")


@dataclass(frozen=True)
class PatternSpec:
    r"""A naming.

    Attributes
    ----------
    regex
        Must match a file's whole name, or its whole path relative to the plate if it contains a ``/``. Groups
        are `GROUPS`; ``row`` takes letters or a number from 1. Site, z and time take digits, channel takes
        any text.
    constants
        Values of components that the names do not contain, such as ``{"site": 1}``.
    channels
        Channel as written in names -> channel name. Numeric channels keep their number; others are numbered
        from 1 in the order of this map, then alphabetically.
    pixel_size_um
        Micrometres per pixel, where the files do not say.

    Raises `ConfigError` on an invalid regex, an unknown group or constant, or if nothing gives the well.
    """

    regex: str
    constants: Mapping[str, str | int] = field(default_factory=dict)
    channels: Mapping[str, str] = field(default_factory=dict)
    pixel_size_um: float | None = None

    def __post_init__(self) -> None:
        stated = {_ALIASES.get(group, group) for group in (*self.compiled.groupindex, *self.constants)}
        for kind, names in (("group", self.compiled.groupindex), ("constant", self.constants)):
            for name in names:
                if name not in GROUPS:
                    raise ConfigError(
                        f"Unknown {kind} {name!r} in the file pattern.", hint=nearest(name, GROUPS)
                    )
        if "well" not in stated and not {"row", "column"} <= stated:
            raise ConfigError(
                f"The file pattern {self.regex!r} does not say which well a file belongs to.",
                hint="Add a group (?P<well>...), or both (?P<row>...) and (?P<column>...).",
            )
        if self.pixel_size_um is not None and not self.pixel_size_um > 0:
            raise ConfigError(
                f"pixel_size_um is {self.pixel_size_um}.", hint="Give micrometres per pixel, above 0."
            )

    @classmethod
    def from_config(cls, value: PatternSpec | Mapping[str, Any] | str) -> PatternSpec:
        """A pattern from a configuration value: a regex alone, or a mapping of this class's fields."""
        if isinstance(value, PatternSpec):
            return value
        if isinstance(value, str):
            return cls(value)
        for key in value:
            if key not in _FIELDS:
                raise ConfigError(f"Unknown key {key!r} in `pattern`.", hint=nearest(str(key), _FIELDS))
        if not isinstance(value.get("regex"), str):
            raise ConfigError(
                "`pattern` has no `regex`.", hint="Write one with named groups, see the documentation."
            )
        channels = {str(token): str(name) for token, name in (value.get("channels") or {}).items()}
        constants = dict(value.get("constants") or {})
        return cls(value["regex"], constants, channels, value.get("pixel_size_um"))

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        """The compiled regex; `ConfigError` that points at the mistake if it is invalid."""
        try:
            return re.compile(self.regex)
        except re.error as error:
            position = error.pos or 0
            raise ConfigError(
                f"The file pattern is not a valid regular expression: {error.msg} at character "
                f"{position + 1}, here: {self.regex[:position]}>>>{self.regex[position:]}",
                hint="Named groups are written (?P<well>...), a literal dot is written \\. .",
            ) from error

    def tokens(self, entry: FileEntry) -> dict[str, str] | None:
        """Component -> text in this file's name, constants included; None if the name does not fit."""
        match = self.compiled.fullmatch(entry.path if "/" in self.regex else entry.name)
        if match is None:
            return None
        named = {name: text for name, text in match.groupdict().items() if text is not None}
        tokens = {**{name: str(value) for name, value in self.constants.items()}, **named}
        return {_ALIASES.get(name, name): text for name, text in tokens.items()}


BUILTIN_PATTERNS: Mapping[str, PatternSpec] = {
    # Standardised sets of the Broad Bioimage Benchmark Collection: Channel2-14-B-02.tif (14 counts the
    # images).
    "channel-index-row-column": PatternSpec(
        r"Channel(?P<channel>\d+)-\d+-(?P<row>[A-P])-(?P<column>\d{2})\.(?:tif|TIF|tiff)"
    ),
}


@dataclass(frozen=True)
class PatternReader:
    """A format that is nothing but a naming."""

    name: str
    spec: PatternSpec

    def evidence(self, listing: FileListing) -> Evidence:
        """The share of TIFF names that fit the naming."""
        fitting = sum(self.spec.tokens(entry) is not None for entry in listing.images)
        if not fitting:
            return Evidence(0.0)
        sentence = f"{fitting} of {len(listing.images)} TIFF names fit {self.spec.regex}."
        return Evidence(fitting / len(listing.images), (sentence,))

    def read(self, listing: FileListing, options: ReadOptions, evidence: Evidence) -> Inventory:
        """Read the plate; `PlateError`, with examples of names, if no file fits."""
        problems: list[Problem] = []
        fitting: list[tuple[FileEntry, dict[str, str]]] = []
        for entry in listing.images:
            tokens = self.spec.tokens(entry)
            if tokens is None:
                problems.append(Problem("unparsed", entry.path, "The name does not fit the file pattern."))
            else:
                fitting.append((entry, tokens))
        if not fitting:
            examples = ", ".join(entry.path for entry in listing.images[:3]) or "none"
            raise PlateError(
                f"None of the {len(listing.images)} TIFF files in {listing.root} fits {self.spec.regex!r}.",
                hint=f"The first names are: {examples}.",
            )
        numbers = _channel_numbers((tokens.get("channel", "1") for _, tokens in fitting), self.spec.channels)
        parsed = []
        for entry, tokens in fitting:
            try:
                parsed.append((_key(tokens, numbers), Found(entry)))
            except PlateError as error:
                problems.append(Problem("unparsed", entry.path, error.message))
        found, duplicates = collect(parsed)
        findings = Findings(
            found,
            problems=(*duplicates, *problems),
            channel_names={
                number: self.spec.channels.get(token, "" if _is_number(token) else token)
                for token, number in numbers.items()
            },
            metadata={"pattern": self.spec.regex},
            pixel_size_um=self.spec.pixel_size_um,
        )
        return build_inventory(listing, self.name, findings, options, evidence)


def _channel_numbers(tokens: Iterable[str], named: Mapping[str, str]) -> dict[str, int]:
    """Channel text -> number: its own if all are numeric, else its place in the map, then in the alphabet.

    ``2`` and ``02`` are the same channel, so a map may use either.
    """
    present = sorted(set(tokens))
    if all(_is_number(token) for token in present):
        return {token: int(token) for token in present}
    order = [*named, *(token for token in present if token not in named)]
    return {token: order.index(token) + 1 for token in present}


def _key(tokens: Mapping[str, str], channels: Mapping[str, int]) -> PlaneKey:
    if "well" in tokens:
        well = canonical_well(tokens["well"])
    else:
        row = tokens["row"]
        index = _number(tokens, "row") - 1 if _is_number(row) else row_index(row)
        well = well_name(index, _number(tokens, "column") - 1)
    return PlaneKey(
        well=well,
        site=_number(tokens, "site"),
        channel=channels[tokens.get("channel", "1")],
        z_index=_number(tokens, "z"),
        timepoint=_number(tokens, "time"),
    )


def _number(tokens: Mapping[str, str], component: str) -> int:
    text = tokens.get(component, "1")
    if not _is_number(text):
        raise PlateError(
            f"The {component} {text!r} is not a number.", hint="Let the group match digits only."
        )
    return int(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9
