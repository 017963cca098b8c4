"""Bad data: folders, names, metadata and file servers."""

from __future__ import annotations

import json
import os
import shutil
import socket
from pathlib import Path

import numpy as np
from bad_data_cases import FINE, REFUSED, SAME, TOLD, WELL, cases
from bad_data_lab import BAD, Bench, mounted, without_root

GONE = "planes are missing on the plate: site 1 channel 2 z 1 t 1"

case = cases("Files and folders of the plate")


@case("a plane is missing", WELL, GONE)
def _(bench: Bench) -> None:
    bench.image.unlink()


@case(
    "a well is missing that the metadata list",
    TOLD,
    "B01: The HTD selects this well, but no file has it.",
    units=(BAD,),
)
def _(bench: Bench) -> None:
    bench.first.unlink()
    bench.image.unlink()


@case(
    "a second file of a plane, in a folder below",
    TOLD,
    "TimePoint_1/copy/P1_B01_s1_w2.TIF: A second file of B01 s1 c2 z1 t1",
)
def _(bench: Bench) -> None:
    folder = bench.image.parent / "copy"
    folder.mkdir()
    shutil.copy2(bench.image, folder)


@case("a second file of a plane beside it, the name in other case", TOLD, "A second file of B01 s1 c2 z1 t1")
def _(bench: Bench) -> None:
    shutil.copy2(bench.image, bench.image.with_suffix(".tif"))


@case("second files of all planes beside the first ones", REFUSED, "claim planes that another file")
def _(bench: Bench) -> None:
    for path in list(bench.plate.rglob("*.TIF")):
        shutil.copy2(path, path.with_suffix(".tif"))


@case("a folder where an image should be", WELL, GONE)
def _(bench: Bench) -> None:
    path = bench.image
    path.unlink()
    path.mkdir()


@case("a folder that is called like an image, with other files in it", FINE, SAME)
def _(bench: Bench) -> None:
    (bench.plate / "overview.TIF").mkdir()
    (bench.plate / "overview.TIF" / "notes.txt").write_text("nothing")


@case("a file where the folder of the images should be", REFUSED, "0 TIFF files among 2 files")
def _(bench: Bench) -> None:
    folder = bench.image.parent
    shutil.rmtree(folder)
    folder.write_text("")


@case("an image that may not be read", WELL, "permission denied")
def _(bench: Bench) -> None:
    bench.image.chmod(0)
    bench.around_run = without_root


@case("a folder of the plate that may not be read", REFUSED, "cannot be read: permission denied")
def _(bench: Bench) -> None:
    bench.image.parent.chmod(0)
    bench.around_run = without_root


@case("an image disappears after planning", WELL, "is gone; it was there when the plate was read")
def _(bench: Bench) -> None:
    bench.after_planning = bench.image.unlink


@case(
    "all folders disappear after planning (the share is gone)", WELL, "is gone", units=("A01", "A02", "B01")
)
def _(bench: Bench) -> None:
    bench.after_planning = lambda: bench.plate.rename(bench.root / "away")


@case(
    "an image is being copied: it was half there when the plate was read",
    WELL,
    "has changed since the plate was read (it had 1672, now 3344 bytes)",
)
def _(bench: Bench) -> None:
    path, content = bench.image, bench.image.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    bench.after_planning = lambda: path.write_bytes(content)


@case(
    "an image grows during the run",
    WELL,
    "has changed since the plate was read (it had 3344, now 3348 bytes)",
)
def _(bench: Bench) -> None:
    path = bench.image
    bench.after_planning = lambda: path.write_bytes(path.read_bytes() + b"more")


@case(
    "an image is replaced after planning by one of the same size",
    WELL,
    "has changed since the plate was read (it had 3344 bytes)",
)
def _(bench: Bench) -> None:
    path = bench.image

    def replace() -> None:
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 60_000_000_000))

    bench.after_planning = replace


@case("an image is replaced when its well has been read", FINE, SAME)
def _(bench: Bench) -> None:
    path = bench.image
    bench.touches_raw = True
    bench.after_stage["normalize"] = lambda: path.write_bytes(b"new")


@case("a broken link", WELL, "it is a link to a file that is not there")
def _(bench: Bench) -> None:
    path = bench.image
    path.unlink()
    path.symlink_to("nowhere.TIF")


@case("a link to itself", WELL, "it is a link to a file that is not there")
def _(bench: Bench) -> None:
    path = bench.image
    path.unlink()
    path.symlink_to(path.name)


@case("a link to an image somewhere else", FINE, SAME)
def _(bench: Bench) -> None:
    path = bench.image
    path.rename(bench.root / "elsewhere.TIF")
    path.symlink_to(bench.root / "elsewhere.TIF")


@case("links to folders, also to the plate itself", TOLD, "linked folders are not followed")
def _(bench: Bench) -> None:
    (bench.plate / "round").symlink_to(bench.plate)


@case("a named pipe in the place of an image", WELL, GONE)
def _(bench: Bench) -> None:
    path = bench.image
    path.unlink()
    os.mkfifo(path)


@case("a named pipe in the place of the metadata", TOLD, "P1.HTD: A pipe, a socket or a device, not a file.")
def _(bench: Bench) -> None:
    path = bench.htd
    path.unlink()
    os.mkfifo(path)


@case("a link to an endless device in the place of an image", WELL, GONE)
def _(bench: Bench) -> None:
    path = bench.image
    path.unlink()
    path.symlink_to("/dev/zero")


@case(
    "a link to an endless device in the place of the metadata",
    TOLD,
    "P1.HTD: A pipe, a socket or a device, not a file.",
)
def _(bench: Bench) -> None:
    path = bench.htd
    path.unlink()
    path.symlink_to("/dev/zero")


@case("a socket in the place of an image", WELL, GONE)
def _(bench: Bench) -> None:
    path = bench.image
    path.unlink()
    here = os.getcwd()
    try:
        os.chdir(path.parent)  # names of sockets are short
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


@case("an empty folder", REFUSED, "holds no files")
def _(bench: Bench) -> None:
    shutil.rmtree(bench.plate)
    bench.plate.mkdir()


@case("no folder", REFUSED, "does not exist")
def _(bench: Bench) -> None:
    shutil.rmtree(bench.plate)


@case("file times before 1970 and after 2100", FINE, SAME)
def _(bench: Bench) -> None:
    os.utime(bench.image, (-86400 * 365, -86400 * 365))
    os.utime(bench.first, (5e9, 5e9))


@case("a read-only mount", FINE, SAME)
def _(bench: Bench) -> None:
    bench.around_run = lambda: mounted(bench.plate, "--bind", bench.plate, read_only=True)


case = cases("Names")


NAMES = {
    "Unicode": "Plätte 板 ü",
    "decomposed Unicode": "Pla\u0308tte",
    "spaces": "my plate 1",
    "quotes": 'it\'s "P1"',
    "shell characters": "$(touch x);&|`*?[a]{b}",
    "a newline": "P\n1",
    "a backslash": "P\\1",
    "a leading dash": "-rf",
    "a leading dot": ".hidden",
    "255 bytes": "P" * 255,
    "a percent sign and braces": "%s{wildcards}{{x}}",
}

for _label, _name in NAMES.items():

    @case(f"the plate's folder: {_label}", FINE, "")
    def _(bench: Bench, name: str = _name) -> None:
        bench.rename(name)


@case("the plate's folder is not UTF-8", REFUSED, "which no file or path can hold")
def _(bench: Bench) -> None:
    bench.rename(os.fsdecode(b"P\xff1"))


@case("a stray file whose name is not UTF-8", TOLD, "The name is not valid Unicode.")
def _(bench: Bench) -> None:
    (bench.image.parent / os.fsdecode(b"P\xff_B01_s1_w2.TIF")).write_bytes(b"")


@case("an image whose name is not UTF-8", WELL, GONE)
def _(bench: Bench) -> None:
    path = bench.image
    path.rename(path.with_name(os.fsdecode(b"P\xff1_B01_s1_w2.TIF")))


@case("an image with a newline in its name", FINE, "")
def _(bench: Bench) -> None:
    for path in list(bench.plate.rglob("*.TIF")):
        path.rename(path.with_name(path.name.replace("P1_", "P\n1_")))


@case("images with leading dashes and quotes in their names", FINE, "")
def _(bench: Bench) -> None:
    for path in list(bench.plate.rglob("*.TIF")):
        path.rename(path.with_name(path.name.replace("P1_", "--P'\"1 $(x)_")))


@case("images with names of 255 bytes", FINE, "")
def _(bench: Bench) -> None:
    for path in list(bench.plate.rglob("*.TIF")):
        path.rename(path.with_name("P" * (255 - len(path.name)) + path.name))


@case("names in other case than the metadata say", FINE, "")
def _(bench: Bench) -> None:
    for path in list(bench.plate.rglob("*.TIF")):
        path.rename(path.with_name(path.name.lower()))


@case("a well outside the plate (Z99)", TOLD, "P1_Z99_s1_w2.TIF: The name is not an ImageXpress one.")
def _(bench: Bench) -> None:
    shutil.copy2(bench.image, bench.image.with_name("P1_Z99_s1_w2.TIF"))


@case("a well that no plate has (AZ77)", TOLD, "P1_AZ77_s1_w2.TIF: The name is not an ImageXpress one.")
def _(bench: Bench) -> None:
    shutil.copy2(bench.image, bench.image.with_name("P1_AZ77_s1_w2.TIF"))


@case("a site number of 40 digits", TOLD, "The name is not an ImageXpress one.")
def _(bench: Bench) -> None:
    shutil.copy2(bench.image, bench.image.with_name(f"P1_B01_s{'9' * 40}_w2.TIF"))


case = cases("Metadata")


@case("images without metadata", FINE, SAME)
def _(bench: Bench) -> None:
    bench.htd.unlink()


@case("metadata without images", REFUSED, "0 TIFF files among 1 files, for example P1.HTD")
def _(bench: Bench) -> None:
    for path in list(bench.plate.rglob("*.TIF")):
        path.unlink()


@case(
    "the metadata file is an HTML error page",
    TOLD,
    "states neither wells nor sites nor waves. The plate was read without it.",
)
def _(bench: Bench) -> None:
    bench.htd.write_text("<html>404</html>")


@case("the metadata file is cut to half", FINE, SAME)
def _(bench: Bench) -> None:
    bench.htd.write_bytes(bench.htd.read_bytes()[: bench.htd.stat().st_size // 2])


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="latin-1")
    assert old in text, text
    path.write_text(text.replace(old, new), encoding="latin-1")


@case(
    "the metadata know fewer channels than there are",
    TOLD,
    "The files have wave 2, which the HTD does not name.",
)
def _(bench: Bench) -> None:
    edit(bench.htd, '"NWavelengths", 2', '"NWavelengths", 1')


@case(
    "the metadata know more channels than there are", TOLD, "The HTD names wave 3 (Cy5), but no file has it."
)
def _(bench: Bench) -> None:
    edit(bench.htd, '"NWavelengths", 2', '"NWavelengths", 3\n"WaveName3", "Cy5"\n"WaveCollect3", 1')


@case(
    "the metadata know other sites",
    TOLD,
    "The HTD selects 1 sites per well, the files have 1-2.",
    sites=(1, 2),
)
def _(bench: Bench) -> None:
    edit(bench.htd, '"XSites", 2', '"XSites", 1')


def harmony(bench: Bench) -> Path:
    return next(bench.plate.rglob("*.xml"))


for _label, _lie in {
    "by a path upwards (../../secret.tiff)": "../../secret.tiff",
    "by its absolute path": "{root}/secret.tiff",
    "by an address (file://)": "file://{root}/secret.tiff",
}.items():

    @case(
        f"the metadata name a file outside the plate {_label}",
        WELL,
        "planes are missing on the plate",
        layout="harmony",
    )
    def _(bench: Bench, lie: str = _lie) -> None:
        image = next(bench.plate.rglob("r02c01f01p01-ch1*.tif*"))
        shutil.copy2(image, bench.root / "secret.tiff")
        edit(harmony(bench), f">{image.name}<", f">{lie.format(root=bench.root)}<")
        image.unlink()


@case(
    "the metadata are XML that grows without end (billion laughs)",
    TOLD,
    "declares a DOCTYPE and was not read",
    layout="harmony",
)
def _(bench: Bench) -> None:
    entities = "".join(f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(12))
    harmony(bench).write_text(f'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "aaa">{entities}]><r>&m;</r>')


@case(
    "the metadata list other sizes than the files have; those of the files count",
    FINE,
    SAME,
    layout="harmony",
)
def _(bench: Bench) -> None:
    edit(harmony(bench), "<ImageSizeX>36<", "<ImageSizeX>77<")


def zarr_array(bench: Bench) -> Path:
    return bench.plate / "B" / "01" / "1" / "0"


def chunk(folder: Path) -> Path:
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


case = cases("OME-Zarr plates")


@case(
    "a chunk is damaged",
    WELL,
    "Stored and computed checksum do not match",
    layout="ome-zarr-0.5",
    compression="zstd",
)
def _(bench: Bench) -> None:
    path = chunk(zarr_array(bench))
    path.write_bytes(b"\xff" * path.stat().st_size)


@case("a chunk is cut to half", WELL, "Zstd decompression error", layout="ome-zarr-0.4", compression="zstd")
def _(bench: Bench) -> None:
    path = chunk(zarr_array(bench))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@case(
    "a chunk file is missing",
    TOLD,
    "No chunk is stored; every pixel is the fill value 0.",
    layout="ome-zarr-0.4",
)
def _(bench: Bench) -> None:
    chunk(zarr_array(bench)).unlink()


@case(
    "a shard is missing", TOLD, "No chunk is stored; every pixel is the fill value 0.", layout="ome-zarr-0.5"
)
def _(bench: Bench) -> None:
    chunk(zarr_array(bench)).unlink()


@case(
    "a chunk disappears after planning",
    WELL,
    "B/01/1/0 has changed since the plate was read",
    layout="ome-zarr-0.4",
)
def _(bench: Bench) -> None:
    bench.after_planning = chunk(zarr_array(bench)).unlink


@case(
    "zarr.json of an array is cut to half",
    WELL,
    "none of its 2 planes is on the plate",
    layout="ome-zarr-0.5",
)
def _(bench: Bench) -> None:
    path = zarr_array(bench) / "zarr.json"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@case("zarr.json of the plate is cut to half", TOLD, "zarr.json: It is not JSON", layout="ome-zarr-0.5")
def _(bench: Bench) -> None:
    path = bench.plate / "zarr.json"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@case(
    "zarr.json claims 100,000 x 100,000 pixels",
    WELL,
    "it claims 100000 x 100000 pixels, but the others have 32 x 36",
    layout="ome-zarr-0.5",
)
def _(bench: Bench) -> None:
    path = zarr_array(bench) / "zarr.json"
    document = json.loads(path.read_text())
    document["shape"] = [1, 2, 1, 100_000, 100_000]
    path.write_text(json.dumps(document))


@case("a field is missing altogether", WELL, "none of its 2 planes is on the plate", layout="ome-zarr-0.5")
def _(bench: Bench) -> None:
    shutil.rmtree(zarr_array(bench).parent)


@case(
    "floats with NaN in one chunk",
    WELL,
    "1 pixels that are not a number or are infinite",
    layout="ome-zarr-0.4",
)
def _(bench: Bench) -> None:
    import zarr

    for well in ("A/01", "A/02", "B/01"):
        folder = bench.plate / well / "1" / "0"
        old = zarr.open_array(folder, mode="r")
        pixels, chunks = np.asarray(old[:]).astype(np.float32), old.chunks
        shutil.rmtree(folder)
        if well == "B/01":
            pixels[..., 0, 0] = np.nan
        made = zarr.create_array(
            store=folder, shape=pixels.shape, chunks=chunks, dtype="float32", zarr_format=2,
            chunk_key_encoding={"name": "v2", "separator": "/"},
        )  # fmt: skip
        made[:] = pixels
