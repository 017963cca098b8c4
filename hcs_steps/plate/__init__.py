"""Plates: from a microscope's folder to the inventory of its planes.

`open_plate` is the way in. Nothing here writes into a plate folder; importing this package imports neither
NumPy nor a file-format library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hcs_steps.lazy import lazy_names

if TYPE_CHECKING:
    from hcs_steps.plate.detect import (
        READERS,
    )
    from hcs_steps.plate.flatfield import (
        vendor_flatfield,
    )
    from hcs_steps.plate.formats.patterns.named import (
        NAMED_PATTERNS,
    )
    from hcs_steps.plate.formats.patterns.spec import (
        PatternSpec,
    )
    from hcs_steps.plate.inventory import (
        Inventory,
        Plane,
        Problem,
    )
    from hcs_steps.plate.listing import (
        FileListing,
        list_files,
    )
    from hcs_steps.plate.open import (
        open_plate,
    )
    from hcs_steps.plate.pixel_check import (
        PixelCheck,
        check_pixels,
    )
    from hcs_steps.plate.pixels import (
        read_plane,
    )
    from hcs_steps.plate.show import (
        inventory_json,
        inventory_table,
    )
    from hcs_steps.plate.sites import (
        SiteGrid,
    )
    from hcs_steps.plate.store import (
        holds_inventory,
        read_inventory_file,
        read_unit_planes,
        write_inventory,
    )
    from hcs_steps.plate.wells import (
        canonical_well,
        compact_wells,
        expand_wells,
        parse_well,
        plate_dimensions,
        sort_wells,
        well_name,
    )

__all__ = [
    "FileListing",
    "Inventory",
    "NAMED_PATTERNS",
    "PatternSpec",
    "PixelCheck",
    "Plane",
    "Problem",
    "READERS",
    "SiteGrid",
    "canonical_well",
    "check_pixels",
    "compact_wells",
    "expand_wells",
    "holds_inventory",
    "inventory_json",
    "inventory_table",
    "list_files",
    "open_plate",
    "parse_well",
    "plate_dimensions",
    "read_inventory_file",
    "read_plane",
    "read_unit_planes",
    "sort_wells",
    "well_name",
    "vendor_flatfield",
    "write_inventory",
]

__getattr__ = lazy_names(
    __name__,
    {
        "hcs_steps.plate.detect": ["READERS"],
        "hcs_steps.plate.inventory": ["Inventory", "Plane", "Problem"],
        "hcs_steps.plate.listing": ["FileListing", "list_files"],
        "hcs_steps.plate.open": ["open_plate"],
        "hcs_steps.plate.flatfield": ["vendor_flatfield"],
        "hcs_steps.plate.formats.patterns.named": ["NAMED_PATTERNS"],
        "hcs_steps.plate.formats.patterns.spec": ["PatternSpec"],
        "hcs_steps.plate.pixel_check": ["PixelCheck", "check_pixels"],
        "hcs_steps.plate.pixels": ["read_plane"],
        "hcs_steps.plate.show": ["inventory_json", "inventory_table"],
        "hcs_steps.plate.sites": ["SiteGrid"],
        "hcs_steps.plate.store": [
            "holds_inventory",
            "read_inventory_file",
            "read_unit_planes",
            "write_inventory",
        ],
        "hcs_steps.plate.wells": [
            "canonical_well",
            "compact_wells",
            "expand_wells",
            "parse_well",
            "plate_dimensions",
            "sort_wells",
            "well_name",
        ],
    },
)
