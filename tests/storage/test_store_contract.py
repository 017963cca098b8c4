"""What every backend promises, checked on all of them."""

import dataclasses
import time

import numpy as np
import pytest

from hcs_steps.errors import ConfigError, StorageError
from hcs_steps.storage import PlaneKey, checksum_tree, measure

IMAGE_TYPES = ["bool", "uint8", "uint16", "uint32", "int16", "float32", "float64", "uint64", "float16"]


@pytest.mark.parametrize("dtype", IMAGE_TYPES)
def test_planes_come_back_as_they_were_published(backend, open_store, plate, dtype):
    store = open_store(backend)
    images = plate.planes((1, 1, 1, 1), (1, 2, 1, 1), (2, 1, 1, 1), dtype=dtype)
    store.publish("A01", images, {}, plate.META)
    for key, image in images.items():
        back = store.read("A01", key)
        assert back.dtype == image.dtype
        np.testing.assert_array_equal(back, image)


def test_keys_are_in_stacking_order_whatever_the_order_of_publication(backend, open_store, plate):
    store = open_store(backend, wells={"A01": (1, 2, 10)})
    wanted = [(10, 1, 1, 1), (1, 2, 1, 1), (1, 1, 2, 1), (1, 1, 1, 2), (1, 1, 1, 1), (2, 1, 1, 1)]
    store.publish("A01", plate.planes(*wanted), {}, plate.META)
    assert [tuple(key) for key in store.keys("A01")] == sorted(wanted)
    assert list(store.keys("B12")) == []


def test_labels_keep_their_large_values(backend, open_store, plate):
    store = open_store(backend)
    images = plate.planes((1, 1, 1, 1), (1, 2, 1, 1))
    cells = np.zeros((40, 50), np.uint32)
    cells[10:20, 10:20] = 2**32 - 1
    key = PlaneKey(1, 2, 1, 1)
    store.publish("A01", images, {"cells": {key: cells}}, plate.META)
    assert list(store.keys("A01", labels="cells")) == [key]
    back = store.read("A01", key, labels="cells")
    assert back.dtype == np.uint32
    np.testing.assert_array_equal(back, cells)
    with pytest.raises(StorageError, match=r"'cells'.*channel 1.*was not published"):
        store.read("A01", PlaneKey(1, 1, 1, 1), labels="cells")


def test_labels_without_images_are_stored(backend, open_store, plate):
    store = open_store(backend)
    labels = {"cells": plate.planes((1, 1, 1, 1), dtype="uint32")}
    store.publish("A01", {}, labels, plate.META)
    assert list(store.keys("A01")) == []
    np.testing.assert_array_equal(
        store.read("A01", PlaneKey(1, 1, 1, 1), labels="cells"), labels["cells"][PlaneKey(1, 1, 1, 1)]
    )


def test_sparse_planes_are_not_filled_in(backend, open_store, plate):
    store = open_store(backend)
    keys = [(1, 1, 1, 1), (1, 1, 2, 1), (1, 1, 3, 1), (1, 4, 2, 7)]
    images = plate.planes(*keys)
    store.publish("A01", images, {}, plate.META)
    assert [tuple(key) for key in store.keys("A01")] == keys
    np.testing.assert_array_equal(store.read("A01", PlaneKey(1, 4, 2, 7)), images[PlaneKey(1, 4, 2, 7)])
    for missing in [(1, 4, 1, 7), (1, 1, 1, 7), (2, 1, 1, 1)]:
        with pytest.raises(
            StorageError, match=r"well A01, site \d, channel \d, z_index \d.*was not published"
        ) as error:
            store.read("A01", PlaneKey(*missing))
        assert error.value.hint


def test_publishing_again_replaces_everything_of_the_site(backend, open_store, plate):
    store = open_store(backend)
    store.publish(
        "A01",
        plate.planes((1, 1, 1, 1), (1, 2, 1, 1)),
        {"old": plate.planes((1, 1, 1, 1), dtype="uint32")},
        plate.META,
    )
    assert len(list(store.keys("A01"))) == 2
    store.read("A01", PlaneKey(1, 1, 1, 1))
    new = plate.planes((1, 1, 1, 1), shape=(30, 20), dtype="float32")
    store.publish("A01", new, {}, plate.META)
    assert list(store.keys("A01")) == list(new)
    assert list(store.keys("A01", labels="old")) == []
    np.testing.assert_array_equal(store.read("A01", PlaneKey(1, 1, 1, 1)), new[PlaneKey(1, 1, 1, 1)])


def test_units_of_one_well_do_not_touch_each_other(backend, open_store, plate):
    first = open_store(backend)
    second = first if backend == "memory" else open_store(backend)
    one, two = plate.planes((1, 1, 1, 1)), plate.planes((2, 1, 1, 1), dtype="uint8")
    same_name = dict.fromkeys((*one, *two), "image")
    meta = dataclasses.replace(plate.META, names=same_name)
    first.publish("A01", one, {}, meta)
    second.publish("A01", two, {}, meta)
    first.publish("A01", one, {}, meta)
    assert [key.site for key in first.keys("A01")] == [1, 2]
    np.testing.assert_array_equal(first.read("A01", PlaneKey(2, 1, 1, 1)), two[PlaneKey(2, 1, 1, 1)])
    first.remove("A01", [1])
    first.remove("A01", [1, 7])
    assert [key.site for key in second.keys("A01")] == [2]
    with pytest.raises(StorageError, match="was not published"):
        first.read("A01", PlaneKey(1, 1, 1, 1))


def test_declaring_again_changes_nothing(backend, open_store, plate, tmp_path):
    store = open_store(backend)
    store.publish("A01", plate.planes((1, 1, 1, 1)), {}, plate.META)
    before = checksum_tree(tmp_path)
    open_store(backend)
    assert checksum_tree(tmp_path) == before
    assert len(list(store.keys("A01"))) == 1


@pytest.mark.parametrize("backend", ["disk", "zarr"])
def test_published_names_what_is_on_disk(backend, open_store, plate):
    store = open_store(backend)
    published = store.publish("A01", plate.planes((1, 1, 1, 1), (2, 1, 1, 1)), {}, plate.META)
    assert len(published) == 2
    for item in published:
        path = store.spec.path.parent / item.path
        assert measure(path) == (item.size, item.checksum)
        assert item.checksum.startswith("blake2b:")
        assert len(item.checksum) == len("blake2b:") + 32


@pytest.mark.parametrize("backend", ["disk", "zarr"])
@pytest.mark.parametrize("compressor", ["lz4", "zstd", "gzip", "none"])
def test_the_same_images_are_the_same_bytes(backend, compressor, open_store, plate, tmp_path, monkeypatch):
    sums = []
    for hour, root in enumerate(("one", "two")):
        # Some formats record when they were written.
        monkeypatch.setattr(time, "time", lambda hour=hour: 1.7e9 + 3600 * hour)
        spec_path = tmp_path / root / "blur"
        store = open_store(backend, path=spec_path, compressor=compressor)
        labels = {"cells": plate.planes((1, 1, 1, 1), shape=(300, 310), dtype="uint32")}
        images = plate.planes((1, 1, 1, 1), (1, 2, 1, 1), shape=(300, 310))
        published = store.publish("A01", images, labels, plate.META)
        np.testing.assert_array_equal(store.read("A01", PlaneKey(1, 2, 1, 1)), images[PlaneKey(1, 2, 1, 1)])
        sums.append((published, checksum_tree(spec_path)))
    assert sums[0] == sums[1]


@pytest.mark.parametrize("chunk_strategy", ["adaptive", "plane", "well"])
def test_chunking_does_not_change_pixels(chunk_strategy, open_store, plate):
    store = open_store("zarr", chunk_strategy=chunk_strategy)
    images = plate.planes((1, 1, 1, 1), (1, 1, 2, 1), (1, 2, 2, 1), shape=(301, 299))
    store.publish("A01", images, {}, plate.META)
    for key, image in images.items():
        np.testing.assert_array_equal(store.read("A01", key), image)


BAD = {
    "several shapes": ({(1, 1, 1, 1): np.zeros((4, 4)), (1, 2, 1, 1): np.zeros((4, 5))}, {}),
    "several dtypes": ({(1, 1, 1, 1): np.zeros((4, 4)), (1, 2, 1, 1): np.zeros((4, 4), "u1")}, {}),
    "plane of shape": ({(1, 1, 1, 1): np.zeros((2, 4, 4))}, {}),
    "plane of dtype": ({(1, 1, 1, 1): np.zeros((4, 4), complex)}, {}),
    "labels 'cells' of dtype float64": ({}, {"cells": {(1, 1, 1, 1): np.zeros((4, 4))}}),
    "site 9 is not declared": ({(9, 1, 1, 1): np.zeros((4, 4))}, {}),
}


@pytest.mark.parametrize("problem", BAD)
def test_what_cannot_be_stored_is_refused_before_anything_is_written(backend, open_store, plate, problem):
    store = open_store(backend)
    images, labels = BAD[problem]
    good = plate.planes((1, 1, 1, 1))
    store.publish("A01", good, {}, plate.META)
    with pytest.raises(StorageError, match=problem) as error:
        store.publish(
            "A01",
            {PlaneKey(*key): image for key, image in images.items()},
            {name: {PlaneKey(*key): image for key, image in own.items()} for name, own in labels.items()},
            plate.META,
        )
    assert error.value.hint
    assert list(store.keys("A01")) == list(good)


@pytest.mark.parametrize("well", ["../x", "C01", "A00", "", "A01/..", "a01"])
def test_a_well_that_is_none_is_refused(backend, open_store, plate, well):
    store = open_store(backend)
    with pytest.raises(StorageError):
        store.publish(well, plate.planes((1, 1, 1, 1)), {}, plate.META)


@pytest.mark.parametrize("backend", ["disk", "zarr"])
def test_an_unknown_compressor_is_refused_when_the_store_is_opened(backend, open_store):
    with pytest.raises(ConfigError, match=r"'gzp'.*Did you mean 'gzip'"):
        open_store(backend, compressor="gzp")


def test_memory_images_cannot_be_changed_by_a_reader(open_store, plate):
    store = open_store("memory")
    images = plate.planes((1, 1, 1, 1))
    store.publish("A01", images, {}, plate.META)
    key = PlaneKey(1, 1, 1, 1)
    assert np.shares_memory(store.read("A01", key), images[key])
    with pytest.raises(ValueError, match="read-only"):
        store.read("A01", key)[:] = 0
    assert images[key].flags.writeable
