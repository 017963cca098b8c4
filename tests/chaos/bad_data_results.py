"""Bad data: results that somebody or something damaged, and places where results cannot be written."""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bad_data_cases import FINE, REFUSED, SAME, STEP, STOPS, WELL, cases
from bad_data_lab import BAD, Bench, mounted, nothing, there, without_root

from hcs_steps.run.claim import claim

case = cases("Images between two stages")


def largest(folder: Path) -> Path:
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def stored(bench: Bench) -> Path:
    """The published image group of the bad well."""
    return bench.results.images / "normalize.ome.zarr" / "B" / "01" / "1"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def between(bench: Bench, spoil: Callable[[], object]) -> None:
    """OME-Zarr between the stages (TIFF otherwise), spoilt when the first has ended."""
    bench.pipeline = bench.pipeline.replace("intermediate_backend: disk", "intermediate_backend: zarr")
    bench.after_stage["normalize"] = spoil


@case("a chunk is damaged", WELL, "is damaged")
def _(bench: Bench) -> None:
    def spoil() -> None:
        path = largest(stored(bench) / "0")
        path.write_bytes(b"\xff" * path.stat().st_size)

    between(bench, spoil)


@case("a chunk is cut to half", WELL, "is damaged")
def _(bench: Bench) -> None:
    between(bench, lambda: cut(largest(stored(bench) / "0")))


@case("a chunk is gone", WELL, "is gone. Run hcs verify --fix")
def _(bench: Bench) -> None:
    between(bench, lambda: largest(stored(bench) / "0").unlink())


@case("the metadata of the array are cut to half", WELL, "B/01/1/0 is damaged")
def _(bench: Bench) -> None:
    between(bench, lambda: cut(stored(bench) / "0" / "zarr.json"))


@case("the metadata of the image are cut to half", WELL, "zarr.json is damaged")
def _(bench: Bench) -> None:
    between(bench, lambda: cut(stored(bench) / "zarr.json"))


@case(
    "the image of a well is deleted",
    WELL,
    "is gone",
)
def _(bench: Bench) -> None:
    between(bench, lambda: shutil.rmtree(stored(bench)))


def stored_tiff(bench: Bench) -> Path:
    return next(path for path in sorted(bench.results.images.rglob("*.tif*")) if BAD in path.name)


@case("a TIFF is cut to half", WELL, ".tif")
def _(bench: Bench) -> None:
    bench.after_stage["normalize"] = lambda: cut(stored_tiff(bench))


@case("a TIFF is gone", WELL, ".tif")
def _(bench: Bench) -> None:
    bench.after_stage["normalize"] = lambda: stored_tiff(bench).unlink()


case = cases("Damaged results, then a rerun")


def rerun(bench: Bench) -> None:
    """A good run; what is spoilt after it is met by the next one."""
    assert not bench.run().failures


def filled(value: object) -> Callable[[bytes], bytes]:
    """The same document with another value everywhere but for its version."""

    def damage(content: bytes) -> bytes:
        document = json.loads(content)
        return json.dumps({key: old if key == "version" else value for key, old in document.items()}).encode()

    return damage


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut to half": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "a list": lambda content: b"[1, 2]",
    "an empty mapping": lambda content: b"{}",
    "nested 100,000 deep": lambda content: b"[" * 100_000,
    "bytes of no text": lambda content: b"\xff\xfe" * 40,
    "every value null": filled(None),
    "every value a number": filled(7),
    "every value a list of numbers": filled([7]),
}

for _name, _damage in DAMAGE.items():

    @case(f"the record of a well: {_name}", FINE, SAME)
    def _(bench: Bench, damage: Callable[[bytes], bytes] = _damage) -> None:
        rerun(bench)
        for stage in ("normalize", "count"):
            path = bench.results.record(stage, BAD)
            path.write_bytes(damage(path.read_bytes()))

    @case(f"the open failure of a well: {_name}", FINE, SAME)
    def _(bench: Bench, damage: Callable[[bytes], bytes] = _damage) -> None:
        content = bench.image.read_bytes()
        status = bench.image.stat()
        bench.image.write_bytes(b"")
        assert set(bench.run().failures) == {BAD}
        bench.image.write_bytes(content)
        os.utime(bench.image, ns=(status.st_atime_ns, status.st_mtime_ns))
        path = bench.results.failure("normalize", BAD)
        path.write_bytes(damage(path.read_bytes()))
        # Nothing reads it any more once the well is done.
        bench.spoilt.add(str(bench.results.resolved("normalize", BAD)))


@case("the record of a well lists files outside the results", FINE, SAME)
def _(bench: Bench) -> None:
    rerun(bench)
    victim = bench.root / "victim.txt"
    victim.write_text("precious")
    path = bench.results.record("count", BAD)
    record = json.loads(path.read_bytes())
    record["published"] += [{"path": str(victim)}, {"path": "../../victim.txt"}, {"path": ".."}]
    record["fingerprint"] = "other"
    path.write_text(json.dumps(record))
    bench.afterwards = lambda: there(victim)


@case("records from the future (the clock went backwards)", FINE, SAME)
def _(bench: Bench) -> None:
    rerun(bench)
    for path in bench.results.root.rglob("*.json"):
        os.utime(path, (5e9, 5e9))


for _name in ("cut to half", "empty", "a list", "every value null", "nested 100,000 deep"):

    @case(f"plan.json: {_name}", FINE, SAME)
    def _(bench: Bench, damage: Callable[[bytes], bytes] = DAMAGE[_name]) -> None:
        rerun(bench)
        path = bench.results.plan
        path.write_bytes(damage(path.read_bytes()))


def _lost(bench: Bench) -> None:
    """A well that must be computed again."""
    for stage in ("normalize", "count"):
        bench.results.record(stage, BAD).unlink()


@case(
    "inventory.parquet is cut to half, and a well must be computed again",
    FINE,
    SAME,
)
def _(bench: Bench) -> None:
    rerun(bench)
    path = bench.results.inventory
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    _lost(bench)


@case(
    "inventory.parquet is deleted, and a well must be computed again",
    FINE,
    SAME,
)
def _(bench: Bench) -> None:
    rerun(bench)
    bench.results.inventory.unlink()
    _lost(bench)


@case("the images of a well are deleted by hand", FINE, SAME)
def _(bench: Bench) -> None:
    rerun(bench)
    stored_tiff(bench).unlink()


def parts(bench: Bench, well: str = BAD) -> list[Path]:
    return sorted(bench.results.root.glob(f"tables/by_unit/*/{well}.*.parquet"))


@case("the rows of a well (a table by unit) are deleted by hand", FINE, SAME)
def _(bench: Bench) -> None:
    rerun(bench)
    parts(bench)[0].unlink()


@case(
    "the rows of a well are cut to half before they are joined",
    STEP,
    "B01.cell_counts.parquet is not a Parquet file",
    units=("plate",),
)
def _(bench: Bench) -> None:
    def spoil() -> None:
        path = parts(bench)[0]
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        bench.spoilt.add(str(path))

    bench.after_stage["count"] = spoil


@case("the rows of a well are gone before they are joined: the well counts as incomplete", FINE, "")
def _(bench: Bench) -> None:
    bench.after_stage["count"] = lambda: parts(bench)[0].unlink()


@case("results copied to another place, without the first", FINE, SAME)
def _(bench: Bench) -> None:
    rerun(bench)
    shutil.copytree(bench.output, bench.root / "moved")
    shutil.rmtree(bench.output)
    bench.output = bench.root / "moved"


@case("plate and results moved to another place", FINE, SAME)
def _(bench: Bench) -> None:
    rerun(bench)
    (bench.root / "new").mkdir()
    bench.output = bench.output.rename(bench.root / "new" / "out")
    bench.plate = bench.plate.rename(bench.root / "new" / "P1")


@case("leftovers of a killed run beside everything", FINE, SAME)
def _(bench: Bench) -> None:
    rerun(bench)
    for path in [stored_tiff(bench), *parts(bench), bench.results.record("count", BAD)]:
        (path.parent / f".{path.name}.tmp-1-0badbeef").write_bytes(b"half")
    _lost(bench)


case = cases("Where results go")


@case("the output folder may not be written", REFUSED, "cannot be written")
def _(bench: Bench) -> None:
    bench.output.mkdir()
    bench.output.chmod(0o555)
    bench.around_run = without_root


@case("the output folder is a file", REFUSED, "out is a file. Choose another 'output:'")
def _(bench: Bench) -> None:
    bench.output.write_text("")


@case("the output folder is a broken link", REFUSED, "cannot be written")
def _(bench: Bench) -> None:
    bench.output.symlink_to("nowhere")


@case("the output folder lies in the plate", REFUSED, "raw data is never written to")
def _(bench: Bench) -> None:
    bench.output = bench.plate / "out"


@case("the output folder is on a read-only disk", REFUSED, "is read-only for this user")
def _(bench: Bench) -> None:
    bench.around_run = lambda: mounted(bench.output, "-t", "tmpfs", "-o", "ro", "tmpfs")


@case("the folder of a table may not be written any more", STOPS, "Permission denied. Make")
def _(bench: Bench) -> None:
    folder = bench.results.part("tables", "count", BAD, "x").parent

    def lock() -> None:
        folder.mkdir(parents=True)
        folder.chmod(0o555)

    bench.around_run = without_root
    bench.after_stage["normalize"] = lock
    bench.make_room = lambda: (folder.chmod(0o755), bench.after_stage.clear())


def full(bench: Bench, leave: int) -> Callable[[], None]:
    """The results are on a disk of 2 MB; what is returned leaves only so many bytes of it free."""

    def fill() -> None:
        status = os.statvfs(bench.output)
        with (bench.output / "ballast").open("wb") as file:
            file.write(bytes(max(0, status.f_bavail * status.f_frsize - leave)))

    def make_room() -> None:
        (bench.output / "ballast").unlink()
        bench.before_run = bench.after_planning = nothing
        bench.after_stage.clear()

    bench.around_run = lambda: mounted(bench.output, "-t", "tmpfs", "-o", "size=2000k", "tmpfs")
    bench.make_room = make_room
    return fill


@case("the disk is full before the run", STOPS, "No space left on device")
def _(bench: Bench) -> None:
    bench.before_run = full(bench, 0)


@case(
    "the disk is full when the first well is computed",
    STOPS,
    "No space left on device. Free space (or quota)",
)
def _(bench: Bench) -> None:
    bench.after_planning = full(bench, 0)


@case(
    "the disk becomes full while images are written", STOPS, "No space left on device. Free space (or quota)"
)
def _(bench: Bench) -> None:
    bench.after_planning = full(bench, 32_000)


@case(
    "the disk becomes full while tables by unit are written",
    STOPS,
    "No space left on device. Free space (or quota)",
)
def _(bench: Bench) -> None:
    bench.after_stage["normalize"] = full(bench, 32_000)


@case(
    "the disk becomes full while tables are joined", STOPS, "No space left on device. Free space (or quota)"
)
def _(bench: Bench) -> None:
    bench.after_stage["count"] = full(bench, 32_000)


@contextmanager
def limited(kind: int, soft: int) -> Iterator[None]:
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


@case(
    "no file may be larger than 24 kB (ulimit -f), a plane has 32",
    STOPS,
    "File too large. Free space (or quota)",
    shape=(128, 128),
)
def _(bench: Bench) -> None:
    bench.around_stages = lambda: limited(resource.RLIMIT_FSIZE, 24_000)
    bench.make_room = lambda: setattr(bench, "around_stages", nothing)


@case("too few files may be open (ulimit -n)", STOPS, "Too many open files")
def _(bench: Bench) -> None:
    def few() -> Any:
        free = os.open("/", os.O_RDONLY)
        os.close(free)
        return limited(resource.RLIMIT_NOFILE, free)

    bench.around_stages = few
    bench.make_room = lambda: setattr(bench, "around_stages", nothing)


@case("two runs at the same time on one plate", REFUSED, "Another Snakemake is working on")
def _(bench: Bench) -> None:
    rerun(bench)
    lock = claim(bench.results)
    bench.afterwards = lock.release
