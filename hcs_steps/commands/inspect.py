"""``hcs inspect``: what a plate folder holds."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from hcs_steps.errors import PlateError, StorageError
from hcs_steps.plate import Inventory, PatternSpec, check_pixels, inventory_json, inventory_table, open_plate


def run(arguments: argparse.Namespace) -> int:
    """Print the inventory of a plate; exit code 2 if nothing of it can be used."""
    inventory = _open(arguments)
    checked = check_pixels(inventory, deep=arguments.deep)
    if arguments.json:
        print(json.dumps(inventory_json(inventory, checked), indent=2))
    else:
        print(inventory_table(inventory, checked))
    if not any(plane.dtype for plane in inventory.planes):
        raise PlateError(
            f"None of the image files that were opened in {inventory.plate_path} can be read.",
            hint="Copy the plate again from the microscope; the list above names the files.",
        )
    return 0


def _open(arguments: argparse.Namespace) -> Inventory:
    pattern = None if arguments.pattern is None else PatternSpec.from_text(arguments.pattern)
    options: dict[str, Any] = {
        "format": arguments.format,
        "pattern": pattern,
        "pixel_size_um": arguments.pixel_size_um,
        "grid": arguments.grid,
    }
    if not arguments.no_cache:
        try:
            return open_plate(arguments.plate, **options, cache=_cache(arguments.plate))
        except StorageError as error:
            print(f"hcs: the inventory is not kept: {error}", file=sys.stderr)
    return open_plate(arguments.plate, **options)


def _cache(plate: str) -> Path:
    """Where this user's inventory of a plate is kept between two calls."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = hashlib.blake2b(os.path.abspath(plate).encode("utf-8", "surrogateescape"), digest_size=12)
    return home / "hcs-steps" / "inventories" / place.hexdigest()
