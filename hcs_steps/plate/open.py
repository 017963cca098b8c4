"""Open a plate: list, choose the reader, read, and keep the result for next time."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from hcs_steps.errors import ConfigError, StorageError
from hcs_steps.plate.detect import choose_reader
from hcs_steps.plate.formats.patterns.spec import PatternSpec
from hcs_steps.plate.inventory import Inventory
from hcs_steps.plate.listing import list_files
from hcs_steps.plate.reader import READER_VERSION, ReadOptions
from hcs_steps.plate.sites import SiteGrid
from hcs_steps.plate.store import read_inventory_file, refuse_inside_plate, write_inventory

CACHE_NAME = "inventory.parquet"


def open_plate(
    path: Path | str,
    *,
    format: str = "auto",
    pattern: PatternSpec | Mapping[str, Any] | str | None = None,
    channels: Mapping[int, str] | None = None,
    pixel_size_um: float | None = None,
    grid: SiteGrid | Mapping[str, Any] | str | None = None,
    cache: Path | None = None,
    keep: bool = True,
) -> Inventory:
    """Read a plate folder into an `Inventory`.

    Parameters
    ----------
    path
        The plate folder; it is only read.
    format, pattern
        A reader's name or ``auto``; or a file-name pattern, see `PatternSpec`.
    channels
        Channel number -> name, over the names of the plate's metadata.
    pixel_size_um
        Micrometres per pixel, over the metadata's.
    grid
        How the sites of a well are laid out, such as ``5x5 by columns``: see `SiteGrid`; by default metadata
        and stage positions tell.
    cache
        Folder (in the work folder, not in the plate) that keeps ``inventory.parquet``. While the listing
        (paths, sizes, times), these options and the reader's version are unchanged, the plate is listed but
        no file opened.
    keep
        Write the inventory to ``cache`` when it was read anew; False leaves that to the caller (dry runs).

    Raises `PlateError` for a plate that cannot be read, `ConfigError` for options that do not fit it, and
    `StorageError` if the cache cannot be written.
    """
    if pixel_size_um is not None and not 0 < pixel_size_um < math.inf:
        raise ConfigError(f"pixel_size_um is {pixel_size_um}.", hint="Give micrometres per pixel, above 0.")
    spec = None if pattern is None else PatternSpec.from_config(pattern)
    listing = list_files(path)
    if cache is not None:
        refuse_inside_plate(cache, listing.root)
    layout = None if grid is None else SiteGrid.from_config(grid)
    options = ReadOptions(_numbered(channels or {}), pixel_size_um, layout)
    digest = _digest(listing.digest, format, spec, options)
    if cache is not None:
        kept = _cached(cache / CACHE_NAME, digest)
        if kept is not None:
            # The plate may have moved: its place is not part of the digest.
            return replace(kept, plate_path=str(listing.root), name=listing.root.name)
    reader, evidence = choose_reader(listing, format, spec)
    inventory = replace(reader.read(listing, options, evidence), digest=digest)
    if cache is not None and keep:
        write_inventory(inventory, cache / CACHE_NAME)
    return inventory


def _digest(listing: str, plate_format: str, pattern: PatternSpec | None, options: ReadOptions) -> str:
    parts = {
        "listing": listing,
        "version": READER_VERSION,
        "format": plate_format,
        "pattern": None if pattern is None else asdict(pattern),
        # Pairs, because the order of a pattern's channels numbers them.
        "order": [] if pattern is None else list(pattern.channels.items()),
        "channels": sorted(options.channels.items()),
        "pixel_size_um": options.pixel_size_um,
        "grid": None if options.grid is None else asdict(options.grid),
    }
    return blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()


def _cached(path: Path, digest: str) -> Inventory | None:
    """The kept inventory if it is current; a missing, damaged or outdated one is read anew from the plate."""
    try:
        kept = read_inventory_file(path)
    except StorageError:
        return None
    return kept if kept.digest == digest else None


def _numbered(channels: Mapping[Any, str]) -> dict[int, str]:
    """Channel map with whole numbers as keys; YAML and JSON may deliver them as text."""
    numbered = {}
    for key, name in channels.items():
        text = str(key).removeprefix("w")
        if not (text.isascii() and text.isdigit() and len(text) < 10) or not str(name).strip():
            raise ConfigError(
                f"`channels` has the entry {key!r}: {name!r}.",
                hint="Write the channel's number and its name: 1: DAPI.",
            )
        numbered[int(text)] = str(name)
    return numbered
