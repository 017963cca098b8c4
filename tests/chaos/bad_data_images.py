"""Bad data: files of images."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from bad_data_cases import FINE, SAME, TOLD, WELL, cases
from bad_data_lab import BAD, PLATE, WELLS, Bench

case = cases("Image files")

HEIGHT, WIDTH = PLATE["shape"]
TYPES = {"H": 3, "I": 4, "s": 2}


def cut(path: Path, size: int) -> None:
    """Keep the first bytes; a negative number: all but so many."""
    path.write_bytes(path.read_bytes()[:size])


def rewrite(path: Path, pixels: Any = None, **options: Any) -> None:
    """Write other pixels, or the same in another way, with the description that the file had."""
    with tifffile.TiffFile(path) as file:
        old, text = file.pages[0].asarray(), file.pages[0].description
    settings = {"description": text, "metadata": None, "photometric": "minisblack", **options}
    tifffile.imwrite(path, old if pixels is None else pixels, **settings)


def bare_tiff(path: Path, tags: Mapping[int, tuple[str, list[int]]], data: bytes, order: str = "<") -> None:
    """A TIFF of exactly these tags, number -> (struct type, values), and one strip."""
    entries, extra = b"", b""
    tags = {273: ("I", [8]), 279: ("I", [len(data)]), **tags}
    start = 8 + len(data) + len(data) % 2
    ends = start + 2 + 12 * len(tags) + 4
    for number, (kind, values) in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(packed) > 4:
            place = struct.pack(f"{order}I", ends + len(extra))
            extra += packed
            packed = place
        entries += struct.pack(f"{order}HHI", number, TYPES[kind], len(values)) + packed.ljust(4, b"\0")
    mark = b"II*\0" if order == "<" else b"MM\0*"
    body = mark + struct.pack(f"{order}I", start) + data + b"\0" * (len(data) % 2)
    path.write_bytes(body + struct.pack(f"{order}H", len(tags)) + entries + b"\0" * 4 + extra)


def grey(
    bits: int, width: int = WIDTH, height: int = HEIGHT, **more: Any
) -> dict[int, tuple[str, list[int]]]:
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 277: 1, 278: height}
    return {
        number: ("I" if number in (256, 257, 278) else "H", [value]) for number, value in tags.items()
    } | {int(number[1:]): ("H", [value]) for number, value in more.items()}


CANNOT = "cannot be read"


@case("truncated: 4 bytes of the header are left", WELL, "cannot be read (it has 4 bytes)")
def _(bench: Bench) -> None:
    cut(bench.image, 4)


@case(
    "truncated: the header is whole, the directory (IFD) is gone",
    WELL,
    "cannot be read (it has 20 bytes): TiffFileError: corrupted IFD structure",
)
def _(bench: Bench) -> None:
    cut(bench.image, 20)


@case("truncated: half of the pixels are left", WELL, "cannot be read (it has 1672 bytes)")
def _(bench: Bench) -> None:
    cut(bench.image, bench.image.stat().st_size // 2)


@case("truncated: the last byte is gone", WELL, "failed to read 2304 bytes, got 2303")
def _(bench: Bench) -> None:
    cut(bench.image, -1)


@case("truncated: the first image of the well, whose header is read for the plate", WELL, CANNOT)
def _(bench: Bench) -> None:
    cut(bench.first, 20)


@case("truncated: strips behind each other, the last one is gone", WELL, CANNOT)
def _(bench: Bench) -> None:
    rewrite(bench.image, rowsperstrip=4)
    with tifffile.TiffFile(bench.image) as file:
        place = file.pages[0].dataoffsets[-1]
    cut(bench.image, place)


@case("truncated: compressed strips, the last one is cut", WELL, CANNOT)
def _(bench: Bench) -> None:
    rewrite(bench.image, rowsperstrip=4, compression="zlib")
    with tifffile.TiffFile(bench.image) as file:
        place = file.pages[0].dataoffsets[-1]
    cut(bench.image, place + 3)


@case("zero bytes", WELL, "cannot be read (it has 0 bytes)")
def _(bench: Bench) -> None:
    bench.image.write_bytes(b"")


@case("zero bytes, the first image of the well", WELL, "cannot be read (it has 0 bytes)")
def _(bench: Bench) -> None:
    bench.first.write_bytes(b"")


@case("a file of zeros only, as long as the others (a disk that died)", WELL, "not a TIFF file")
def _(bench: Bench) -> None:
    bench.image.write_bytes(bytes(bench.image.stat().st_size))


for _dtype in ("uint8", "float32", "int32", "int16", "float64"):

    @case(
        f"another dtype in one plane: {_dtype}",
        WELL,
        f"holds 32 x 36 {_dtype} pixels, but those of its channel are 32 x 36 uint16",
    )
    def _(bench: Bench, dtype: str = _dtype) -> None:
        rewrite(bench.image, np.ones((HEIGHT, WIDTH), dtype))

    @case(
        f"another dtype in one plane, the first of the well: {_dtype}",
        WELL,
        f"cannot go into one: DAPI (TimePoint_1/P1_B01_s1_w1.TIF) is 32 x 36 {_dtype}",
    )
    def _(bench: Bench, dtype: str = _dtype) -> None:
        rewrite(bench.first, np.ones((HEIGHT, WIDTH), dtype))


@case("another shape in one plane", WELL, "holds 16 x 18 uint16 pixels, but those of its channel are 32 x 36")
def _(bench: Bench) -> None:
    rewrite(bench.image, np.ones((HEIGHT // 2, WIDTH // 2), np.uint16))


@case(
    "another shape in one plane, the first of the well",
    WELL,
    "is 16 x 18 uint16, GFP (TimePoint_1/P1_B01_s1_w2.TIF) is 32 x 36",
)
def _(bench: Bench) -> None:
    rewrite(bench.first, np.ones((HEIGHT // 2, WIDTH // 2), np.uint16))


@case(
    "another shape in one site of several", WELL, "P1_B01_s2_w2.TIF holds 64 x 36 uint16 pixels", sites=(1, 2)
)
def _(bench: Bench) -> None:
    rewrite(bench.raw(BAD, 2, 2), np.ones((HEIGHT * 2, WIDTH), np.uint16))


@case(
    "one very large image among small ones", WELL, "it claims 3000 x 3000 pixels, but the others have 32 x 36"
)
def _(bench: Bench) -> None:
    rewrite(bench.image, np.ones((3000, 3000), np.uint16))


@case(
    "one very large image among small ones, the first of the well",
    WELL,
    "it claims 3000 x 3000 pixels, but the others have 32 x 36",
)
def _(bench: Bench) -> None:
    rewrite(bench.first, np.ones((3000, 3000), np.uint16))


@case("1 x 1 pixel in one plane", WELL, "holds 1 x 1 uint16 pixels")
def _(bench: Bench) -> None:
    rewrite(bench.image, np.ones((1, 1), np.uint16))


@case("no pixels: the header says 0 x 0", WELL, "its strips or tiles were never written")
def _(bench: Bench) -> None:
    bare_tiff(bench.image, grey(16, 0, 0), b"")


@case("RGB", WELL, "not a grey plane")
def _(bench: Bench) -> None:
    rewrite(bench.image, np.ones((HEIGHT, WIDTH, 3), np.uint8), photometric="rgb")


@case("RGB, the first image of the well", WELL, "not a grey plane")
def _(bench: Bench) -> None:
    rewrite(bench.first, np.ones((HEIGHT, WIDTH, 3), np.uint8), photometric="rgb")


@case("RGB with the colours in planes of their own (planar)", WELL, "not a grey plane")
def _(bench: Bench) -> None:
    rewrite(bench.image, np.ones((3, HEIGHT, WIDTH), np.uint8), photometric="rgb", planarconfig="separate")


@case("RGB in all images of the plate", WELL, "not a grey plane", units=WELLS)
def _(bench: Bench) -> None:
    for path in bench.plate.rglob("*.TIF"):
        rewrite(path, np.ones((HEIGHT, WIDTH, 3), np.uint8), photometric="rgb")


@case("palette (colour table)", WELL, "holds 32 x 36 uint8 pixels, but those of its channel")
def _(bench: Bench) -> None:
    colours = np.zeros((3, 256), np.uint16)
    rewrite(bench.image, np.ones((HEIGHT, WIDTH), np.uint8), photometric="palette", colormap=colours)


@case("1 bit per pixel", WELL, "bool pixels, which are no grey values")
def _(bench: Bench) -> None:
    rewrite(bench.image, np.ones((HEIGHT, WIDTH), bool))


@case(
    "1 bit per pixel in all images of the plate", WELL, "bool pixels, which are no grey values", units=WELLS
)
def _(bench: Bench) -> None:
    for path in bench.plate.rglob("*.TIF"):
        rewrite(path, np.eye(HEIGHT, WIDTH, dtype=bool))


@case("12 bits per pixel, packed", FINE, "")
def _(bench: Bench) -> None:
    bare_tiff(bench.image, grey(12), bytes([0x12, 0x34, 0x56]) * (HEIGHT * WIDTH // 2))


@case("white is zero: the stored numbers are used as they are", FINE, SAME)
def _(bench: Bench) -> None:
    rewrite(bench.image, photometric="miniswhite")


@case("complex numbers", WELL, "complex64 pixels, which are no grey values")
def _(bench: Bench) -> None:
    rewrite(bench.image, np.ones((HEIGHT, WIDTH), np.complex64))


@case(
    "complex numbers in all images of the plate",
    WELL,
    "complex64 pixels, which are no grey values",
    units=WELLS,
)
def _(bench: Bench) -> None:
    for path in bench.plate.rglob("*.TIF"):
        rewrite(path, np.ones((HEIGHT, WIDTH), np.complex64))


def _floats(bench: Bench, value: float) -> None:
    """All images as floats, with one bad pixel in one of them."""
    for path in bench.plate.rglob("*.TIF"):
        with tifffile.TiffFile(path) as file:
            pixels = file.pages[0].asarray().astype(np.float32)
        if path == bench.image:
            pixels[3, 4] = value
        rewrite(path, pixels)


for _value in (np.nan, np.inf, -np.inf):

    @case(
        f"a plate of floats, one pixel is {_value}",
        WELL,
        "1 pixels that are not a number or are infinite, the first in row 3, column 4",
    )
    def _(bench: Bench, value: float = _value) -> None:
        _floats(bench, value)


@case(
    "a plate of 64-bit floats, one pixel is NaN",
    WELL,
    "1 pixels that are not a number or are infinite, the first in row 0, column 0",
)
def _(bench: Bench) -> None:
    for path in bench.plate.rglob("*.TIF"):
        pixels = tifffile.imread(path).astype(np.float64)
        if path == bench.image:
            pixels[0, 0] = np.nan
        rewrite(path, pixels)


@case("signed 16 bit in all images, with values below zero", FINE)
def _(bench: Bench) -> None:
    for path in bench.plate.rglob("*.TIF"):
        rewrite(path, tifffile.imread(path).astype(np.int16) - 200)


@case("big-endian, one of two sites", FINE, SAME, sites=(1, 2))
def _(bench: Bench) -> None:
    rewrite(bench.raw(BAD, 2, 2), byteorder=">")


@case("BigTIFF", FINE, SAME)
def _(bench: Bench) -> None:
    rewrite(bench.image, bigtiff=True)


@case("tiles instead of strips", FINE, SAME)
def _(bench: Bench) -> None:
    rewrite(bench.image, tile=(16, 16))


@case(
    "several pages where the others have one",
    TOLD,
    "Files hold up to 2 pages; only the first page of each is used",
)
def _(bench: Bench) -> None:
    pixels = tifffile.imread(bench.first)
    rewrite(bench.first, np.stack([pixels, pixels + 1]))


for _name in ("lzw", "zlib", "zstd", "packbits", "lzma"):

    @case(f"compression {_name}", FINE, SAME)
    def _(bench: Bench, name: str = _name) -> None:
        rewrite(bench.image, compression=name)


@case("compression LZW with a predictor", FINE, SAME)
def _(bench: Bench) -> None:
    rewrite(bench.image, compression="lzw", predictor=True)


@case("compression JPEG 2000", FINE, SAME)
def _(bench: Bench) -> None:
    rewrite(bench.image, compression="jpeg2000")


@case("compression JPEG (8 bits)", WELL, "holds 32 x 36 uint8 pixels")
def _(bench: Bench) -> None:
    rewrite(bench.image, np.ones((HEIGHT, WIDTH), np.uint8), compression="jpeg")


@case("a compression that nobody knows", WELL, "54321 is not a known COMPRESSION")
def _(bench: Bench) -> None:
    bare_tiff(bench.image, {**grey(16), 259: ("H", [54321])}, bytes(HEIGHT * WIDTH * 2))


@case("a predictor that nobody knows", WELL, "77 is not a known PREDICTOR")
def _(bench: Bench) -> None:
    data = zlib.compress(bytes(HEIGHT * WIDTH * 2))
    bare_tiff(bench.image, {**grey(16), 259: ("H", [8]), 317: ("H", [77])}, data)


@case("a damaged compressed strip (zlib)", WELL, CANNOT)
def _(bench: Bench) -> None:
    _damaged_strip(bench.image, "zlib")


@case("a damaged compressed strip (LZW)", WELL, CANNOT)
def _(bench: Bench) -> None:
    _damaged_strip(bench.image, "lzw")


def _damaged_strip(path: Path, compression: str) -> None:
    rewrite(path, compression=compression, rowsperstrip=8)
    with tifffile.TiffFile(path) as file:
        start, count = file.pages[0].dataoffsets[1], file.pages[0].databytecounts[1]
    content = bytearray(path.read_bytes())
    content[start + 2 : start + count] = b"\xff" * (count - 2)
    path.write_bytes(content)


@case("a strip that lies behind the end of the file", WELL, CANNOT)
def _(bench: Bench) -> None:
    bare_tiff(bench.image, {**grey(16), 273: ("I", [1 << 30])}, bytes(HEIGHT * WIDTH * 2))


@case("fewer pixels than the header says", WELL, CANNOT)
def _(bench: Bench) -> None:
    bare_tiff(bench.image, grey(16), bytes(HEIGHT * WIDTH))


@case(
    "a strip of no bytes (lost by the acquisition software)",
    WELL,
    "some of its strips or tiles were never written",
)
def _(bench: Bench) -> None:
    data = bytes(HEIGHT * WIDTH)
    tags = {**grey(16), 278: ("I", [HEIGHT // 2]), 273: ("I", [8, 0]), 279: ("I", [len(data), 0])}
    bare_tiff(bench.image, tags, data)


@case("an orientation tag (upside down): rows and columns are used as they are stored", FINE, SAME)
def _(bench: Bench) -> None:
    rewrite(bench.image, extratags=[(274, "H", 1, 3, True)])


@case("a directory of pages that points to itself", FINE, SAME)
def _(bench: Bench) -> None:
    content = bytearray(bench.image.read_bytes())
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    struct.pack_into("<I", content, start + 2 + 12 * count, start)
    bench.image.write_bytes(content)


@case(
    "decompression bomb: a small file that claims 100,000 x 100,000 pixels",
    WELL,
    "it claims 100000 x 100000 pixels, but the others have 32 x 36",
)
def _(bench: Bench) -> None:
    bare_tiff(bench.image, {**grey(16, 100_000, 100_000), 259: ("H", [8])}, zlib.compress(bytes(10_000)))


@case(
    "decompression bomb, the first image of the well",
    WELL,
    "it claims 100000 x 100000 pixels, but the others have 32 x 36",
)
def _(bench: Bench) -> None:
    bare_tiff(bench.first, {**grey(16, 100_000, 100_000), 259: ("H", [8])}, zlib.compress(bytes(10_000)))


for _name, _content in {
    "garbage": bytes(range(256)) * 9,
    "PNG": b"\x89PNG\r\n\x1a\n" + bytes(64),
    "JPEG": b"\xff\xd8\xff\xe0" + bytes(64),
    "PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "HTML error page": b"<!DOCTYPE html><html><body>403 Forbidden</body></html>",
    "zip": b"PK\x03\x04" + bytes(64),
}.items():

    @case(f"{_name} with the name of a TIFF", WELL, "TiffFileError: not a TIFF file")
    def _(bench: Bench, content: bytes = _content) -> None:
        bench.image.write_bytes(content)


@case("every image of the plate is garbage", WELL, "TiffFileError: not a TIFF file", units=WELLS)
def _(bench: Bench) -> None:
    for path in bench.plate.rglob("*.TIF"):
        path.write_bytes(b"garbage")


for _name, _value in {"zero": 0, "one value": 117, "saturated": 65535}.items():

    @case(f"every pixel of an image is {_name}", FINE, "")
    def _(bench: Bench, value: int = _value) -> None:
        rewrite(bench.image, np.full((HEIGHT, WIDTH), value, np.uint16))


@case("a well without any cell", FINE, "")
def _(bench: Bench) -> None:
    for path in (bench.first, bench.image):
        rewrite(path, np.zeros((HEIGHT, WIDTH), np.uint16))


@case("24 sites in one well", FINE, "", wells=(BAD,), sites=(4, 6), shape=(8, 8))
def _(bench: Bench) -> None:
    pass


@case("a plate of one well", FINE, "", wells=(BAD,))
def _(bench: Bench) -> None:
    pass


@case("1 x 1 pixel in all images", FINE, "", shape=(1, 1))
def _(bench: Bench) -> None:
    pass
