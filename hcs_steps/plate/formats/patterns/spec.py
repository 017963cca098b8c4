"""A naming: what the parts of file names mean, as a regular expression with named groups.

A user describes a microscope of their own with it, in the configuration; `hcs_steps.plate.formats.patterns.named`
holds the namings that are recognised without. `hcs_steps.plate.formats.patterns.reader` reads plates by it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from hcs_steps.errors import ConfigError, nearest
from hcs_steps.plate.formats.patterns.check import ALIASES, check_pattern
from hcs_steps.plate.listing import FileEntry

MAX_PATH = 1000
"""A longer path is not matched: the time that some expressions take grows steeply with the length."""

_FIELDS = ("regex", "constants", "channels", "pixel_size_um", "exclude", "pages")


@dataclass(frozen=True)
class PatternSpec:
    r"""A naming.

    Attributes
    ----------
    regex
        Must match a file's whole name, or its whole path relative to the plate if it contains a ``/``. Its
        groups are of `hcs_steps.plate.formats.pattern_check.GROUPS`:

        - ``well``; or ``row`` (letters or a number) and ``column``; or ``well_index``, which counts wells row
          by row and needs the constant ``plate_columns``;
        - ``site``; or ``site_row`` and ``site_column``, the place in the grid of sites: sites are then
          numbered row by row. A ``region`` has sites of its own: all are numbered through;
        - ``channel``, any text, with its ``channel_name`` where names hold both a number and a name; a
          ``step`` begins its channels anew (a read step, a cycle of staining);
        - ``z`` (or ``z_index``) and ``time`` (or ``timepoint``); or ``datetime``, from which timepoints are
          counted through;
        - ``plate``: files of several plates in one folder, with the same wells, are refused.
    constants
        Values of well, row, column, site, channel, z or time where the names do not have them (all but
        the well are 1 by default), and: ``plate_columns``; ``first_well``, the number of the first well, row
        or column (1); ``first_z``, the number of the lowest z plane (1; z 0 is a projection);
        ``datetime_format``, as in ``datetime.strptime``, or ``elapsed`` for texts like ``1d02h30m``.
    channels
        Channel, or its name, as in file names -> channel name. Two with the same new name are one
        channel. Numeric channels keep their number; others are numbered from 1 in the order of this map, then
        alphabetically.
    pixel_size_um
        Micrometres per pixel, where the files do not say.
    exclude
        A regex; files whose name (path, if it contains a ``/``) holds it anywhere are no planes.
    pages
        What the pages of a multi-page TIFF are: ``z``, ``time`` or ``channel``. Every file is then opened to
        count them.

    Raises `ConfigError` on an invalid regex, an unknown group or constant, or if nothing gives the well.
    """

    regex: str
    constants: Mapping[str, str | int] = field(default_factory=dict)
    channels: Mapping[str, str] = field(default_factory=dict)
    pixel_size_um: float | None = None
    exclude: str = ""
    pages: str = ""

    def __post_init__(self) -> None:
        check_pattern(
            self.regex,
            groups=self.compiled.groupindex,
            constants=self.constants,
            channels=self.channels,
            pixel_size_um=self.pixel_size_um,
            pages=self.pages,
        )
        if self.exclude and self.excluded.search(""):
            raise ConfigError(
                f"`exclude` is {self.exclude!r}, which excludes every file.",
                hint="Write what such names hold.",
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
        maps = {}
        for key in ("constants", "channels"):
            maps[key] = value.get(key) or {}
            if not isinstance(maps[key], Mapping):
                raise ConfigError(
                    f"`{key}` of the file pattern is {maps[key]!r}.", hint="Write `name: value`."
                )
        for key in ("exclude", "pages"):
            if not isinstance(value.get(key) or "", str):
                raise ConfigError(f"`{key}` of the file pattern is {value[key]!r}.", hint="Write a text.")
        return cls(
            regex=value["regex"],
            constants=dict(maps["constants"]),
            channels={str(token): name for token, name in maps["channels"].items()},
            pixel_size_um=value.get("pixel_size_um"),
            exclude=value.get("exclude") or "",
            pages=value.get("pages") or "",
        )

    @classmethod
    def from_text(cls, text: str) -> PatternSpec:
        """A pattern from a command line: a regex, a YAML mapping (``{regex: ..., ...}``), or ``@file.yaml``."""
        from hcs_steps.pipeline.files import load_yaml, parse_yaml

        if text.startswith("@"):
            return cls.from_config(load_yaml(Path(text[1:]).expanduser()))
        if re.match(r"\s*(\{|regex\s*:)", text):
            try:
                data = parse_yaml(text, where="The pattern")
            except ConfigError as error:
                raise ConfigError(
                    error.message,
                    hint="Put the regex into 'single quotes', as it holds characters of YAML.",
                ) from None
            return cls.from_config(data)
        return cls(text)

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        """The compiled regex; `ConfigError` that points at the mistake if it is invalid."""
        return _compiled(self.regex, "The file pattern")

    @cached_property
    def excluded(self) -> re.Pattern[str]:
        """The compiled ``exclude``."""
        return _compiled(self.exclude, "`exclude` of the file pattern")

    def excludes(self, entry: FileEntry) -> bool:
        """Whether the file is none of a plane."""
        return (
            bool(self.exclude)
            and len(entry.path) <= MAX_PATH
            and self.excluded.search(text_of(self.exclude, entry)) is not None
        )

    def fits(self, entry: FileEntry) -> bool:
        """Whether the file's name, or its path, is of this naming."""
        return len(entry.path) <= MAX_PATH and self.compiled.fullmatch(text_of(self.regex, entry)) is not None

    def tokens(self, entry: FileEntry) -> dict[str, str] | None:
        """Component -> text in this file's name, constants included; None if the name does not fit."""
        if len(entry.path) > MAX_PATH:
            return None
        match = self.compiled.fullmatch(text_of(self.regex, entry))
        if match is None:
            return None
        tokens = dict(self._given)
        for name, text in match.groupdict().items():
            if text:
                tokens[ALIASES.get(name, name)] = text
        return tokens

    @cached_property
    def _given(self) -> Mapping[str, str]:
        return {ALIASES.get(name, name): str(value) for name, value in self.constants.items()}


def text_of(regex: str, entry: FileEntry) -> str:
    """What of a file an expression is compared with: its name, or its path if the expression holds a ``/``."""
    return entry.path if "/" in regex else entry.name


def _compiled(regex: str, what: str) -> re.Pattern[str]:
    try:
        # A dot matches line breaks, which names may hold.
        return re.compile(regex, re.DOTALL)
    except re.error as error:
        position = error.pos or 0
        raise ConfigError(
            f"{what} is not a valid regular expression: {error.msg} at character "
            f"{position + 1}, here: {regex[:position]}>>>{regex[position:]}",
            hint="Named groups are written (?P<well>...), a literal dot is written \\. .",
        ) from error
    except (OverflowError, RecursionError) as error:
        raise ConfigError(f"{what} is too complex.", hint="Write a shorter one.") from error
