"""What it costs to publish a well as OME-Zarr, against writing the same arrays with plain Zarr.

python benchmarks/storing.py [--folder FOLDER] [--repeats 7] [--cases fields small] [--version 0.5]

Cases: ``fields`` is a well of 4 sites x 4 channels of 2160 x 2160 pixels, ``small`` 24 wells of 1 site x 2 channels
of 540 x 540. Pixels are those of a camera: an offset, blurred bright cells, and noise of photons and read-out.

``publish`` is everything that `OmeZarrStore.publish` does: it halves images, takes display windows, packs, flushes to
disk, renames, and takes checksums. Plain Zarr gets the same chunks, shards and codec and ready arrays: ``one level``
writes the full resolution only; ``same levels`` all levels, ready halved; ``flushed`` those and flushes the files, as
a result that must survive a power failure takes; ``halving`` halves the images itself, and does not flush.
``pipeline`` is whose codecs plain Zarr packs with. The ways take turns in each repeat; printed are medians, in MB of
full resolution per second, and the time of each divided by that of `publish` (``ratio`` above 1: `publish` is faster).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from hcs_steps.storage import Image, ImageMeta, OmeZarrStore, PlaneKey, StoreSpec
from hcs_steps.storage._codec_pipeline import codec_pipeline
from hcs_steps.storage._dialect import dialect_of
from hcs_steps.storage._pyramid import halve, level_shapes

META = ImageMeta({1: "DAPI", 2: "GFP", 3: "Cy3", 4: "Cy5"}, 0.65)
CASES = {"fields": (1, 4, 4, 2160), "small": (24, 1, 2, 540)}
"""Wells, sites, channels, and pixels of an edge."""

Wells = Mapping[str, Mapping[PlaneKey, Image]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where to write; default: the temporary folder")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--version", default="0.5", choices=("0.5", "0.4"))
    parser.add_argument("--pipelines", nargs="+", default=("zarr", "zarrs"), choices=("zarr", "zarrs"))
    arguments = parser.parse_args()
    print(f"{'case':<8} {'pipeline':<8} {'way':<12} {'MB/s':>7} {'ratio':>6}")
    for case in arguments.cases:
        wells = pictures(*CASES[case])
        for pipeline in arguments.pipelines:
            with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
                options = {"ngff_version": arguments.version, "codec_pipeline": pipeline}
                seconds = measure(Path(folder), wells, arguments.repeats, options)
            size = sum(plane.nbytes for planes in wells.values() for plane in planes.values()) / 1e6
            for way, taken in seconds.items():
                ratio = taken / seconds["publish"]
                print(f"{case:<8} {pipeline:<8} {way:<12} {size / taken:>7.0f} {ratio:>6.2f}", flush=True)


def pictures(count: int, sites: int, channels: int, edge: int) -> Wells:
    """Wells of images that differ, each a shifted copy of one, for noise takes long to make."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:edge, :edge].astype(np.float32)
    light = np.zeros((edge, edge), np.float32)
    for _ in range(60):
        cy, cx, radius = [*rng.uniform(0, edge, 2).tolist(), rng.uniform(edge / 60, edge / 25)]
        light += np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * radius**2))
    photons = rng.poisson(20 + 800 * light)
    image = np.clip(np.rint(100 + photons + rng.normal(0, 2, light.shape)), 0, 65535).astype(np.uint16)
    return {
        f"A{well + 1:02d}": {
            PlaneKey(site, channel, 1, 1): np.roll(image, (well * 7 + site * 31, channel * 17), (0, 1))
            for site in range(1, sites + 1)
            for channel in range(1, channels + 1)
        }
        for well in range(count)
    }


def measure(folder: Path, wells: Wells, repeats: int, options: Mapping[str, str]) -> dict[str, float]:
    """Median seconds of each way."""
    ready = {well: pyramids(planes) for well, planes in wells.items()}
    spec = StoreSpec(
        folder / "x", "P", 8, 24, {w: sorted({k.site for k in p}) for w, p in wells.items()}, **options
    )
    ways: dict[str, Callable[[Path], None]] = {
        "publish": lambda path: publish(spec, path, wells),
        "one level": lambda path: plain(spec, path, ready, levels=1),
        "same levels": lambda path: plain(spec, path, ready),
        "flushed": lambda path: plain(spec, path, ready, flush=True),
        "halving": lambda path: plain(spec, path, {well: pyramids(wells[well]) for well in wells}),
    }
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for repeat in range(repeats + 1):
        order = list(ways) if repeat % 2 else list(reversed(ways))
        for way in order:
            path = folder / f"{repeat}-{way}"
            os.sync()  # what one way left to be written is not another's burden
            start = time.perf_counter()
            ways[way](path)
            if repeat:  # the first warms up
                taken[way].append(time.perf_counter() - start)
            shutil.rmtree(path)
    return {way: statistics.median(times) for way, times in taken.items()}


def publish(spec: StoreSpec, path: Path, wells: Wells) -> None:
    """Our way. Declaring is not part of what a unit does."""
    store = OmeZarrStore(replace(spec, path=path))
    for well, planes in wells.items():
        store.publish(well, planes, {}, META)


def pyramids(planes: Mapping[PlaneKey, Image]) -> dict[int, list[Image]]:
    """The levels of every site as (T, C, Z, Y, X) arrays."""
    result: dict[int, list[Image]] = {}
    for site in sorted({key.site for key in planes}):
        stack = [plane for key, plane in sorted(planes.items()) if key.site == site]
        levels = []
        for _ in level_shapes(*stack[0].shape):
            levels.append(np.stack(stack)[None, :, None])
            stack = [halve(plane, labels=False) for plane in stack]
        result[site] = levels
    return result


def plain(
    spec: StoreSpec,
    path: Path,
    wells: Mapping[str, Mapping[int, list[Image]]],
    levels: int | None = None,
    flush: bool = False,
) -> None:
    """Write ready arrays with Zarr and no metadata but the arrays' own."""
    import zarr

    dialect = dialect_of(spec.ngff_version)
    packing = (spec.compressor, spec.compression_level)
    for well, sites in wells.items():
        for site, arrays in sites.items():
            for number, array in enumerate(arrays[:levels]):
                cut = dialect.cut(spec.chunk_strategy, array.shape, array.dtype.itemsize)
                folder = path / well / str(site) / str(number)
                with codec_pipeline(spec):
                    target = zarr.create_array(
                        store=zarr.storage.LocalStore(folder),
                        shape=array.shape,
                        dtype=array.dtype,
                        config={"write_empty_chunks": True},
                        **dialect.array(*cut, *packing),
                    )
                target[...] = array
    if flush:
        for parent, _, names in os.walk(path):
            for name in names:
                descriptor = os.open(Path(parent) / name, os.O_RDONLY)
                os.fsync(descriptor)
                os.close(descriptor)


if __name__ == "__main__":
    main()
