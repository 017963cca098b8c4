"""Raw images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from hcs_steps.compile.plan import Layout
from hcs_steps.plate.inventory import Plane
from hcs_steps.run.images import ImageFileError, RawImages, read_raw_plane
from hcs_steps.storage.protocol import PlaneKey

PIXELS = np.arange(12, dtype=np.uint16).reshape(3, 4)


def plane(path: str, page: int = 0) -> Plane:
    return Plane("A01", 1, 1, 1, 1, path, page)


def test_a_page_of_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", np.stack([PIXELS, PIXELS + 100]), photometric="minisblack")
    assert np.array_equal(read_raw_plane(tmp_path, plane("stack.tif", 1)), PIXELS + 100)


def rgb(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((4, 5, 3), np.uint8), photometric="rgb")


def cut(path: Path) -> None:
    tifffile.imwrite(path, np.random.default_rng(0).integers(0, 9, (64, 64), np.uint16), compression="zlib")
    path.write_bytes(path.read_bytes()[:500])


def one_page(path: Path) -> None:
    tifffile.imwrite(path, PIXELS)


@pytest.mark.parametrize(
    ("make", "page", "said"),
    [
        (rgb, 0, r"shape \(4, 5, 3\), not a grey plane"),
        (cut, 0, "it has 500 bytes"),
        (one_page, 3, "cannot be read"),
        (lambda path: path.write_bytes(b""), 0, "it has 0 bytes"),
        (lambda path: path.write_bytes(b"not an image"), 0, "it has 12 bytes"),
        (lambda path: path.mkdir(), 0, "cannot be read"),
        (lambda path: None, 0, "no such file"),
    ],
    ids=["rgb", "truncated", "page missing", "empty", "text", "folder", "absent"],
)
def test_a_file_that_is_no_grey_plane_is_an_error_that_names_it(
    tmp_path: Path, make: Any, page: int, said: str
) -> None:
    (tmp_path / "sub").mkdir()
    make(tmp_path / "sub" / "x.tif")
    with pytest.raises(ImageFileError, match=said) as caught:
        read_raw_plane(tmp_path, plane("sub/x.tif", page))
    assert caught.value.file == "sub/x.tif"
    assert "sub/x.tif" in str(caught.value)
    assert caught.value.hint


def test_a_blank_plane_reads_as_zeros_of_the_plates_shape(tmp_path: Path) -> None:
    there, blank = PlaneKey(1, 1, 1, 1), PlaneKey(1, 2, 1, 1)
    tifffile.imwrite(tmp_path / "x.tif", PIXELS)
    layout = Layout((there, blank), (blank,), 3, 4, "uint16", (), ())
    images = RawImages(tmp_path, {there: plane("x.tif")}, layout)
    assert np.array_equal(images.read("A01", there), PIXELS)
    zeros = images.read("A01", blank)
    assert (zeros.shape, zeros.dtype, zeros.any()) == ((3, 4), np.uint16, np.False_)
