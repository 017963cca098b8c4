"""TIFF files for ImageJ, by the fields that ImageJ itself reads (see tests/exports for ImageJ itself)."""

import dataclasses

import numpy as np
import pytest
import tifffile

from hcs_steps.errors import StorageError
from hcs_steps.storage import PlaneKey, _tiff_layout

KEYS = [(1, c, z, t) for c in (1, 2) for z in (1, 2, 3) for t in (1, 2)]
KEY = PlaneKey(1, 1, 1, 1)


@pytest.fixture
def imagej_store(open_store):
    return lambda **changes: open_store(
        "disk", **({"tiff_files": "well", "tiff_metadata": "imagej"} | changes)
    )


def assert_reads(store, images, labels=None):
    assert list(store.keys("A01", labels)) == sorted(images)
    for key, image in images.items():
        back = store.read("A01", key, labels)
        assert back.dtype == image.dtype
        np.testing.assert_array_equal(back, image)


def only_file(store, pattern="*.tif"):
    (path,) = store.spec.path.rglob(pattern)
    return path


def test_a_site_is_a_calibrated_composite_hyperstack(imagej_store, plate):
    store = imagej_store()
    images = plate.planes(*KEYS)
    store.publish("A01", images, {}, plate.META)
    assert_reads(store, images)
    path = only_file(store)
    assert path.relative_to(store.spec.path).as_posix() == "A01/s1/A01_s1.tif"
    with tifffile.TiffFile(path) as file:
        assert file.is_imagej
        assert not file.is_bigtiff
        (series,) = file.series
        assert (series.axes, series.shape) == ("TZCYX", (2, 3, 2, 40, 50))
        stack, metadata, page = series.asarray(), file.imagej_metadata, file.pages[0]
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert page.predictor == 1  # ImageJ 1.52 does not undo it
        assert page.resolution == pytest.approx((1 / 0.65, 1 / 0.65))
    for (_, c, z, t), image in images.items():
        np.testing.assert_array_equal(stack[t - 1, z - 1, c - 1], image)
    shape = {
        name: metadata[name] for name in ("images", "channels", "slices", "frames", "hyperstack", "mode")
    }
    assert shape == {
        "images": 12, "channels": 2, "slices": 3, "frames": 2, "hyperstack": True, "mode": "composite"
    }  # fmt: skip
    assert (metadata["unit"], metadata["spacing"]) == ("micron", 2.0)
    assert metadata["Labels"][:4] == ["DAPI z1 t1", "Näme <2> z1 t1", "DAPI z2 t1", "Näme <2> z2 t1"]
    assert "Well: A01\nSite: 1\nChannel 1: DAPI\nChannel 2: Näme <2>\n" in metadata["Info"]
    blue, other = metadata["LUTs"]
    assert blue[:, 255].tolist() == [0, 0, 255]
    assert other.shape == (3, 256)


def test_each_channel_has_its_own_display_range(imagej_store, plate):
    store = imagej_store()
    ramp = np.arange(2000, dtype="u2").reshape(40, 50)
    store.publish("A01", {KEY: ramp, KEY._replace(channel=2): 10 * ramp}, {}, plate.META)
    with tifffile.TiffFile(only_file(store)) as file:
        ranges = np.array(file.imagej_metadata["Ranges"])
    wanted = np.percentile(ramp, [1.0, 99.8])
    np.testing.assert_allclose(ranges, [*wanted, *(10 * wanted)])


def test_more_channels_than_imagej_overlays_are_shown_one_by_one(imagej_store, plate):
    store = imagej_store()
    images = plate.planes(*((1, channel, 1, 1) for channel in range(1, 9)))
    store.publish("A01", images, {}, plate.META)
    with tifffile.TiffFile(only_file(store)) as file:
        assert file.imagej_metadata["mode"] == "color"
        assert file.imagej_metadata["channels"] == 8


def test_sites_are_files_of_their_own(imagej_store, plate):
    store = imagej_store()
    images = plate.planes((1, 1, 1, 1), (2, 1, 1, 1))
    labels = {key: (image > 50).astype("u4") for key, image in images.items()}
    published = store.publish("A01", images, {"cells": labels}, plate.META)
    assert [item.path for item in published] == ["blur/A01/s1", "blur/A01/s2"]
    names = sorted(path.relative_to(store.spec.path).as_posix() for path in store.spec.path.rglob("*.tif"))
    assert names == [
        "A01/s1/A01_s1.tif", "A01/s1/labels/cells.tif", "A01/s2/A01_s2.tif", "A01/s2/labels/cells.tif"
    ]  # fmt: skip
    assert_reads(store, images)
    assert_reads(store, labels, "cells")


def test_a_plane_file_has_scale_range_and_channel(imagej_store, plate):
    store = imagej_store(tiff_files="plane")
    images = plate.planes((1, 1, 2, 1), dtype="uint8")
    meta = dataclasses.replace(plate.META, names={PlaneKey(1, 1, 2, 1): "delivered"})
    store.publish("A01", images, {}, meta)
    assert_reads(store, images)
    path = only_file(store)
    assert path.name == "delivered.tif"
    with tifffile.TiffFile(path) as file:
        metadata = file.imagej_metadata
        assert file.pages[0].resolution == pytest.approx((1 / 0.65, 1 / 0.65))
    assert metadata["unit"] == "micron"
    assert np.atleast_1d(metadata["Labels"]).tolist() == ["DAPI"]
    assert metadata["min"] < metadata["max"]


def test_an_unknown_pixel_size_is_not_made_up(imagej_store, plate):
    store = imagej_store()
    store.publish("A01", plate.planes(*KEYS), {}, dataclasses.replace(plate.BARE, z_step_um=2.0))
    with tifffile.TiffFile(only_file(store)) as file:
        assert not {"unit", "spacing"} & set(file.imagej_metadata)
        assert file.pages[0].resolution == (1, 1)


STORED = {
    "bool": "uint8", "uint8": "uint8", "uint16": "uint16", "float32": "float32", "float16": "float32",
    "uint32": "uint16", "int32": "uint16", "uint64": "uint16", "int8": "uint16", "float64": "float32",
}  # fmt: skip


@pytest.mark.parametrize(("dtype", "stored"), STORED.items())
def test_dtypes_become_those_of_imagej_and_come_back(imagej_store, plate, dtype, stored):
    store = imagej_store()
    images = {key: np.trunc(plane / 2).astype(dtype) for key, plane in plate.planes(*KEYS).items()}
    store.publish("A01", images, {}, plate.META)
    assert_reads(store, images)
    with tifffile.TiffFile(only_file(store)) as file:
        assert str(file.series[0].dtype) == stored


@pytest.mark.parametrize(
    ("values", "stored"),
    [([0, 65535], "uint16"), ([0, 65536], "float32"), ([-1, 3], "float32"), ([0, 2**24], "float32")],
)
def test_labels_are_stored_exactly(imagej_store, plate, values, stored):
    store = imagej_store()
    labels = {KEY: np.array([values] * 3, np.int32)}
    store.publish("A01", plate.planes((1, 1, 1, 1), shape=(3, 2)), {"cells": labels}, plate.META)
    assert_reads(store, labels, "cells")
    with tifffile.TiffFile(only_file(store, "cells.tif")) as file:
        assert str(file.series[0].dtype) == stored
        np.testing.assert_array_equal(file.asarray(), labels[KEY])


@pytest.mark.parametrize(
    ("plane", "what"),
    [
        (np.array([[0, 2**24 + 1]], "u4"), "uint32"),
        (np.array([[0.1]]), "float64"),
        (np.array([[1e300]]), "float64"),
    ],
)
@pytest.mark.parametrize("layout", ["plane", "well"])
def test_what_imagej_cannot_hold_is_refused_before_anything_is_written(
    imagej_store, plate, plane, what, layout
):
    store = imagej_store(tiff_files=layout)
    good = plate.planes((1, 1, 1, 1), (2, 1, 1, 1))
    store.publish("A01", good, {}, plate.META)
    images = {KEY: np.zeros_like(plane), KEY._replace(site=2): plane}
    with pytest.raises(StorageError, match=rf"ImageJ cannot hold the images.*site 2: it is {what}") as error:
        store.publish("A01", images, {}, plate.META)
    assert "ome" in error.value.hint
    assert_reads(store, good)


def test_a_float64_image_that_float32_holds_is_stored(imagej_store, plate):
    store = imagej_store()
    images = {KEY: np.array([[0.5, np.nan], [-np.inf, 2.0**100]])}
    store.publish("A01", images, {}, plate.META)
    assert_reads(store, images)


def test_more_than_imagej_reads_is_refused_with_the_fix(imagej_store, plate, monkeypatch):
    images = plate.planes(*KEYS)
    monkeypatch.setattr(_tiff_layout, "MAX_BYTES", sum(image.nbytes for image in images.values()) - 1)
    with pytest.raises(StorageError, match="no TIFF beyond 4") as error:
        imagej_store().publish("A01", images, {}, plate.META)
    assert "tiff_files: plane" in error.value.hint
    imagej_store(tiff_files="plane").publish("A01", images, {}, plate.META)


def test_the_gaps_of_a_hyperstack_are_black_but_not_published(imagej_store, plate):
    store = imagej_store()
    images = plate.planes((1, 1, 1, 1), (1, 1, 2, 1), (1, 2, 2, 1))
    store.publish("A01", images, {}, plate.META)
    assert_reads(store, images)
    with tifffile.TiffFile(only_file(store)) as file:
        stack = file.asarray()
    assert stack.shape == (2, 2, 40, 50)
    assert not stack[0, 1].any()
    with pytest.raises(StorageError, match="was not published"):
        store.read("A01", PlaneKey(1, 2, 1, 1))
