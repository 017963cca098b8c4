"""What a plate reader is: the small interface that every microscope format implements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from hcs_steps.plate.inventory import Inventory
from hcs_steps.plate.listing import FileListing
from hcs_steps.plate.sites import SiteGrid

READER_VERSION = 4
"""Part of every inventory's digest: raise it when a reader's result changes for the same files."""


@dataclass(frozen=True)
class Evidence:
    """How well a listing fits a format, and why.

    ``score`` is the share of image files whose names fit, from 0 to 1, plus up to 0.5 for the vendor's own
    metadata files; ``sentences`` say it in words.
    """

    score: float
    sentences: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReadOptions:
    """What the configuration says of a plate, over what the plate's metadata say.

    Channel number -> name, pixel size in micrometres, and the grid of the sites.
    """

    channels: Mapping[int, str] = field(default_factory=dict)
    pixel_size_um: float | None = None
    grid: SiteGrid | None = None


class Reader(Protocol):
    """One format. ``name`` is what ``format:`` takes in the configuration."""

    @property
    def name(self) -> str:
        """The format's name."""

    def evidence(self, listing: FileListing) -> Evidence:
        """Judge from names alone whether the listing is of this format; opens no file."""

    def read(self, listing: FileListing, options: ReadOptions, evidence: Evidence) -> Inventory:
        """Build the inventory; `PlateError` if the listing holds no plane of this format."""
