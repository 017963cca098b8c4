"""``hcs inspect``: what a plate folder holds."""

from __future__ import annotations

import argparse
import json

from hcs_steps.plate import inventory_json, inventory_table, open_plate


def run(arguments: argparse.Namespace) -> int:
    """Print the inventory of a plate."""
    inventory = open_plate(
        arguments.plate,
        format=arguments.format,
        pattern=arguments.pattern,
        pixel_size_um=arguments.pixel_size_um,
    )
    if arguments.json:
        print(json.dumps(inventory_json(inventory), indent=2))
    else:
        print(inventory_table(inventory))
    return 0
