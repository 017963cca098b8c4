"""What it costs to read a plate: 384 wells x 9 sites x 5 channels are 17,280 images of 4 x 4 pixels.

python benchmarks/reading.py [--layouts imagexpress harmony yokogawa] [--wells 384] [--folder FOLDER]

Prints a table of seconds and of the largest memory of a process that does nothing else. ``first`` reads a plate
and keeps its inventory, in a new process whose modules are loaded already; ``again`` reads it once more, with all
that the operating system remembers; ``kept`` finds the inventory kept. The images have just been written, so on a
network drive ``first`` takes longer by the time of its answers: one per folder, per file and per opened header.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hcs_steps.plate import open_plate
from hcs_steps.plate.inventory import Inventory, Plane
from hcs_steps.plate.synthetic import LAYOUTS, SyntheticPlate, make_plate
from hcs_steps.plate.wells import plate_dimensions, well_name

SITES = (3, 3)
CHANNELS = ("DAPI", "FITC", "Cy3", "Texas Red", "Cy5")
SHAPE = (4, 4)
PIXEL_UM = 0.65
LAYOUTS_SHOWN = ("imagexpress", "imagexpress-database", "harmony", "yokogawa", "cellomics", "gen5")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layouts", nargs="+", default=LAYOUTS_SHOWN, choices=LAYOUTS)
    parser.add_argument("--wells", type=int, default=384)
    parser.add_argument("--folder", type=Path, help="where plates are written; default: the temporary folder")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    print(
        f"{'layout':<22} {'files':>6} {'first s':>8} {'again s':>8} {'kept s':>8} {'headers':>8} {'MB':>6}",
        flush=True,
    )
    for layout in arguments.layouts:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            line(Path(folder), layout, arguments.wells)


def line(folder: Path, layout: str, wells: int) -> None:
    """One line of the table."""
    plate = folder / "plate"
    plate.mkdir()
    LAYOUTS[layout].write(plate, make(plate.name, wells), None)
    command = [sys.executable, __file__, "--measure", str(plate)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    files = sum(1 for path in plate.rglob("*") if path.is_file())
    print(
        f"{layout:<22} {files:>6} {found['first']:8.2f} {found['again']:8.2f} {found['kept']:8.2f} "
        f"{found['headers']:>8} {found['peak']:6.0f}",
        flush=True,
    )


def measure(plate: Path) -> dict[str, float]:
    """Seconds of the three ways to open ``plate``, headers opened, and this process's largest memory in MB."""
    tiny, cache = plate.with_name("tiny"), plate.with_name("cache")
    make_plate(tiny, wells=["A01"], sites=(1, 1), channels=["x"], shape=(8, 8))
    open_plate(tiny, cache=cache)  # loads the modules
    shutil.rmtree(cache)
    first, inventory = timed(lambda: open_plate(plate, cache=cache))
    again, _ = timed(lambda: open_plate(plate))
    kept, _ = timed(lambda: open_plate(plate, cache=cache))
    return {
        "first": first,
        "again": again,
        "kept": kept,
        "headers": int(inventory.metadata["headers_opened"]),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
    }


def timed(action: Callable[[], Inventory]) -> tuple[float, Inventory]:
    started = time.perf_counter()
    result = action()
    return time.perf_counter() - started, result


def make(name: str, wells: int) -> SyntheticPlate:
    """A plate whose sites touch and whose images all are the same."""
    rows, columns = {96: (8, 12), 384: (16, 24), 1536: (32, 48)}.get(wells, plate_dimensions(["AF48"]))
    names = [well_name(row, column) for row in range(rows) for column in range(columns)][:wells]
    pixels = np.arange(16, dtype=np.uint16).reshape(SHAPE)
    planes = tuple(
        Plane(
            well,
            1 + row * SITES[1] + column,
            channel,
            1,
            1,
            path="",
            height=SHAPE[0],
            width=SHAPE[1],
            dtype="uint16",
            pixel_size_um=PIXEL_UM,
            x_um=(column - 1) * SHAPE[1] * PIXEL_UM,
            y_um=(row - 1) * SHAPE[0] * PIXEL_UM,
            z_um=1.5,
            time_s=0.0,
        )
        for well in names
        for row in range(SITES[0])
        for column in range(SITES[1])
        for channel in range(1, len(CHANNELS) + 1)
    )
    return SyntheticPlate(
        name=name,
        planes=planes,
        channels=dict(enumerate(CHANNELS, 1)),
        dimensions=(rows, columns),
        site_grid=SITES,
        pixels=lambda key: pixels,
    )


if __name__ == "__main__":
    main()
