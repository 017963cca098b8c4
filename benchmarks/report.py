"""What the report of a plate costs: time and peak memory to collect and to render it, and how fast it redraws.

python benchmarks/report.py [--wells 384 1536] [--features 500] [--browser]

The plate has tables, records and a montage of noise-like pictures, but no images of its own: what making the pictures
costs depends on the images. ``--browser`` also opens the page in chromium (playwright) and times the choice of another
feature, up to the frame in which it is drawn.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from hcs_steps.compile.plan import Plan
from hcs_steps.plate.wells import parse_well
from hcs_steps.report.page import write_report
from hcs_steps.report.pictures import PlatePictures, WellPicture
from hcs_steps.results import Results
from hcs_steps.run.measure import peak_host_mb, reset_peak

PICTURE_BYTES = 7_500_000
"""What the pictures of 384 wells may have together, for a page below 15 MB: in it they are a third larger."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wells", type=int, nargs="+", default=[384, 1536])
    parser.add_argument("--features", type=int, default=500)
    parser.add_argument("--browser", action="store_true")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure)
        return
    print(
        f"{'wells':>6} {'features':>9} {'s':>6} {'peak MB':>8} {'page MB':>8} {'open s':>7} {'redraw ms':>10}"
    )
    for wells in arguments.wells:
        with tempfile.TemporaryDirectory() as folder:
            results = write_plate(Path(folder), wells, arguments.features)
            # In a process of its own: the peak is that of the report alone.
            command = [sys.executable, __file__, "--measure", str(results.root)]
            costs = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
            page = results.root / "report.html"
            browser = in_browser(page) if arguments.browser else ("", "")
            size = page.stat().st_size / 1e6
            print(f"{wells:>6} {arguments.features:>9} {costs[0]:>6} {costs[1]:>8} {size:>8.1f} "
                  f"{browser[0]:>7} {browser[1]:>10}", flush=True)  # fmt: skip


def write_plate(folder: Path, wells: int, features: int) -> Results:
    """A plate as the tests make it, with its plan."""
    path = Path(__file__).parents[1] / "tests" / "report" / "conftest.py"
    spec = importlib.util.spec_from_file_location("report_plates", path)
    plates = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plates)
    fake = plates.write_plate(folder, wells, features=features)
    fake.results.plan.write_text(fake.plan.to_json())
    return fake.results


def measure(root: Path) -> None:
    """Print the seconds and the peak memory in MB of collecting, rendering and writing."""
    results = Results(root)
    plan = Plan.load(results.plan)
    pictures = noise(plan)
    reset_peak()
    started = time.perf_counter()
    write_report(plan, results, pictures)
    print(f"{time.perf_counter() - started:.1f} {peak_host_mb()}")


def noise(plan: Plan) -> PlatePictures:
    """Pictures of the size that they may have, whatever is on them."""
    random = np.random.default_rng(0)
    share = PICTURE_BYTES // len(plan.units)
    wells = {
        unit: WellPicture(
            random.bytes(share * 3 // 4), "image/webp", random.bytes(share // 4), 400, 400, unit
        )
        for unit in plan.units
    }
    tile, rows, columns = 24, plan.plate.rows, plan.plate.columns
    assert all(parse_well(unit) < (rows, columns) for unit in plan.units)
    return PlatePictures(sprite(rows * tile, columns * tile), "image/png", tile, rows, columns, wells)


def sprite(height: int, width: int) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    ramp = np.add.outer(np.arange(height), np.arange(width)) % 256
    Image.fromarray(ramp.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


REDRAW = """async () => {
  const select = document.getElementById("feature"), times = [];
  for (let index = 1; index <= 21; index++) {
    select.selectedIndex = index;
    const started = performance.now();
    select.dispatchEvent(new Event("change"));
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
    times.push(performance.now() - started);
  }
  return times.sort((a, b) => a - b)[10];
}"""


def in_browser(page: Path) -> tuple[str, str]:
    """Seconds to open the page and the median of the milliseconds to draw another feature."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        chromium = running.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"],
        )
        opened = chromium.new_page(viewport={"width": 1280, "height": 800})
        started = time.perf_counter()
        opened.goto(page.as_uri())
        opened.evaluate("document.getElementById('map').scrollIntoView()")
        seconds = time.perf_counter() - started
        redraw = opened.evaluate(REDRAW)
        chromium.close()
    return f"{seconds:.1f}", f"{redraw:.0f}"


if __name__ == "__main__":
    main()
