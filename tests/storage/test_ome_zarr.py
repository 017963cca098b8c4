"""OME-Zarr as other programs see it: valid NGFF 0.5, right pixels and sizes at every level, few files."""

import json
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zarr

from hcs_steps.errors import StorageError
from hcs_steps.storage import ImageMeta, OmeZarrStore, PlaneKey
from hcs_steps.storage._display import channel_color, contrast_window
from hcs_steps.storage._pyramid import halve, level_shapes
from hcs_steps.storage._zarr_layout import CHUNK_BYTES, SHARD_BYTES, chunk_shape, shard_shape

models = pytest.importorskip("ome_zarr_models.v05")


@pytest.fixture
def published(open_store, plate):
    store = open_store("zarr")
    images = plate.planes((1, 1, 1, 1), (1, 2, 1, 1), shape=(601, 520))
    labels = {"cells": plate.planes((1, 1, 1, 1), shape=(601, 520), dtype="uint32")}
    store.publish("A01", images, labels, plate.META)
    return store, images, labels


def attributes(store, where):
    return json.loads((store.spec.path / where / "zarr.json").read_text())["attributes"]


def test_plate_well_image_and_labels_are_valid_ngff(published):
    store, _, _ = published
    root = zarr.open_group(store.spec.path, mode="r")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plate = models.HCS.from_zarr(root).ome_attributes.plate
        well = models.Well.from_zarr(root["A/01"]).ome_attributes.well
        models.Image.from_zarr(root["A/01/1"])
        models.Labels.from_zarr(root["A/01/1/labels"])
        label = models.ImageLabel.from_zarr(root["A/01/1/labels/cells"])
    assert plate.name == "Plate 1"
    assert [item.path for item in plate.wells] == ["A/01", "B/12"]
    assert [row.name for row in plate.rows] == list("ABCDEFGH")
    assert [image.path for image in well.images] == ["1", "2"]
    assert label.attributes.ome.image_label.source.image == "../../"


def test_labels_without_an_image_are_a_valid_image(open_store, plate):
    store = open_store("zarr")
    store.publish("A01", {}, {"cells": plate.planes((1, 1, 1, 1), dtype="uint32")}, plate.BARE)
    root = zarr.open_group(store.spec.path, mode="r")
    models.Image.from_zarr(root["A/01/1"])
    models.Labels.from_zarr(root["A/01/1/labels"])


def test_wells_of_the_largest_plates_have_two_letters(open_store):
    store = open_store("zarr", rows=32, columns=48, wells={"AF48": (1,), "Z01": (1,)})
    plate = models.HCS.from_zarr(zarr.open_group(store.spec.path, mode="r")).ome_attributes.plate
    assert [(well.path, well.rowIndex, well.columnIndex) for well in plate.wells] == [
        ("Z/01", 25, 0),
        ("AF/48", 31, 47),
    ]
    assert plate.rows[31].name == "AF"
    with pytest.raises(StorageError, match="AF48 lies outside a plate of 8 x 12"):
        open_store("zarr", wells={"AF48": (1,)})


def test_each_level_is_the_mean_of_the_one_before_and_labels_the_nearest(published):
    store, images, labels = published
    root = zarr.open_group(store.spec.path / "A/01/1", mode="r")
    assert [root[str(level)].shape[-2:] for level in range(3)] == [(601, 520), (301, 260), (151, 130)]
    image = images[PlaneKey(1, 2, 1, 1)].astype(float)
    expected = np.floor(image[:600].reshape(300, 2, 260, 2).mean(axis=(1, 3)) + 0.5)
    np.testing.assert_array_equal(root["1"][0, 1, 0, :300], expected)
    assert root["1"].dtype == np.uint16
    cells = labels["cells"][PlaneKey(1, 1, 1, 1)]
    np.testing.assert_array_equal(root["labels/cells/2"][0, 0, 0], cells[::2, ::2][::2, ::2])
    assert root["labels/cells/2"].dtype == np.uint32


def test_levels_keep_size_and_place_of_the_image(published):
    store, _, _ = published
    scales = attributes(store, "A/01/1")["ome"]["multiscales"][0]
    assert [axis["name"] for axis in scales["axes"]] == list("tczyx")
    assert [axis.get("unit") for axis in scales["axes"]] == [None, None] + ["micrometer"] * 3
    for level, dataset in enumerate(scales["datasets"]):
        scale, translation = (item[item["type"]] for item in dataset["coordinateTransformations"])
        pixel = 0.65 * 2**level
        assert scale == pytest.approx([1, 1, 2.0, pixel, pixel])
        # At every level the outer corner is half an image from the stage position.
        assert np.array(translation[3:]) - pixel / 2 == pytest.approx(
            [-200 - 0.65 * 601 / 2, 1000 - 0.65 * 520 / 2]
        )
    label = attributes(store, "A/01/1/labels/cells")["ome"]["multiscales"][0]
    assert label["datasets"] == scales["datasets"]


def test_an_unknown_pixel_size_has_no_unit(open_store, plate):
    store = open_store("zarr", pyramid=False)
    store.publish("A01", plate.planes((1, 3, 1, 1), shape=(300, 300)), {}, plate.BARE)
    found = attributes(store, "A/01/1")
    (scales,) = found["ome"]["multiscales"]
    assert found["hcs_steps"]["pixel_size"] == "unknown"
    assert not any("unit" in axis for axis in scales["axes"])
    assert len(scales["datasets"]) == 1
    assert scales["datasets"][0]["coordinateTransformations"][0]["scale"] == [1.0] * 5
    assert found["ome"]["omero"]["channels"][0]["label"] == "channel 3"


def test_sparse_planes_are_listed_by_component(open_store, plate):
    store = open_store("zarr")
    store.publish("A01", plate.planes((1, 2, 5, 1), (1, 7, 5, 1), (1, 7, 9, 1)), {}, plate.META)
    own = attributes(store, "A/01/1")["hcs_steps"]
    assert own["planes"] == [[2, 5, 1], [7, 5, 1], [7, 9, 1]]
    assert (own["channels"], own["z_indices"], own["timepoints"], own["site"]) == ([2, 7], [5, 9], [1], 1)


def test_an_image_takes_few_files_and_a_plane_is_read_alone(open_store, plate, monkeypatch):
    store = open_store("zarr", compressor="none")
    keys = [(1, channel, z, 1) for channel in (1, 2) for z in range(10)]
    images = plate.planes(*keys, shape=(100, 100))
    store.publish("A01", images, {}, plate.META)
    files = [path for path in (store.spec.path / "A/01/1").rglob("*") if path.is_file()]
    assert len(files) == 3  # group, array, one shard
    fetched = []
    get = zarr.storage.LocalStore.get

    async def counted(self, *args, **kwargs):
        result = await get(self, *args, **kwargs)
        fetched.append(0 if result is None else len(result))
        return result

    monkeypatch.setattr(zarr.storage.LocalStore, "get", counted)
    plane_bytes = 100 * 100 * 2
    store.read("A01", PlaneKey(1, 2, 3, 1))
    assert sum(fetched) < 1.5 * plane_bytes
    np.testing.assert_array_equal(store.read("A01", PlaneKey(1, 2, 3, 1)), images[PlaneKey(1, 2, 3, 1)])


def test_a_level_is_written_shard_by_shard(open_store, plate, monkeypatch):
    monkeypatch.setattr("hcs_steps.storage._zarr_layout.SHARD_BYTES", 50_000)
    store = open_store("zarr")
    images = plate.planes(*[(1, c, z, t) for c in (1, 2) for z in (1, 2, 3) for t in (1, 2)], shape=(90, 90))
    store.publish("A01", images, {}, plate.META)
    shards = list((store.spec.path / "A/01/1/0/c").rglob("0/0"))
    assert sum(path.is_file() for path in shards) == 4  # 3 planes of 16 kB each fit
    for key, image in images.items():
        np.testing.assert_array_equal(store.read("A01", key), image)


@pytest.mark.parametrize("size", [(1080, 1080), (2160, 2160), (2048, 2048), (5000, 300), (1, 9_000_000)])
@pytest.mark.parametrize("itemsize", [1, 2, 4, 8])
def test_adaptive_chunks_are_bounded_and_waste_little(size, itemsize):
    shape = (1, 4, 7, *size)
    chunk = chunk_shape("adaptive", shape, itemsize)
    bytes_each = np.prod(chunk) * itemsize
    assert chunk[:3] == (1, 1, 1)
    assert bytes_each <= CHUNK_BYTES
    shard = shard_shape(shape, chunk, itemsize)
    assert all(whole % part == 0 for whole, part in zip(shard, chunk, strict=True))
    assert np.prod(shard[3:]) <= np.prod(size) * 1.02
    assert np.prod(shard) * itemsize <= SHARD_BYTES


def test_chunks_of_a_whole_well_stay_below_the_codecs_limit():
    shape = (100, 3, 20, 2160, 2160)
    chunk = chunk_shape("well", shape, 2)
    assert np.prod(chunk, dtype=np.int64) * 2 <= SHARD_BYTES
    assert shard_shape(shape, chunk, 2) == chunk


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "int32", "int64", "uint64"])
def test_halving_integers_rounds_and_never_wraps(dtype):
    info = np.iinfo(dtype)
    plane = np.array([[info.max, info.max, 1, 2], [info.max, info.max, 2, 1]], dtype)
    np.testing.assert_array_equal(halve(plane, labels=False), np.array([[info.max, 2]], dtype))
    low = np.full((2, 2), info.min, dtype)
    assert halve(low, labels=False)[0, 0] == info.min


def test_halving_floats_and_odd_edges():
    plane = np.array([[0, 1, 10], [2, 3, 20], [8, 8, 7]], "f4")
    np.testing.assert_array_equal(halve(plane, labels=False), np.array([[1.5, 15], [8, 7]], "f4"))
    assert halve(np.full((2, 2), 6e4, "f2"), labels=False).dtype == np.float16
    assert np.isfinite(halve(np.full((2, 2), 6e4, "f2"), labels=False)).all()
    assert [len(level_shapes(*size)) for size in [(1, 1), (256, 256), (257, 2), (2160, 2160)]] == [1, 1, 2, 5]


def test_contrast_windows_ignore_what_is_not_finite():
    plane = np.array([[np.nan, np.inf], [1.0, 3.0]], "f4")
    window = contrast_window([plane])
    assert (window["min"], window["max"]) == (1.0, 3.0)
    assert 1.0 <= window["start"] <= window["end"] <= 3.0
    assert contrast_window([np.full((2, 2), np.nan)]) == {"min": 0.0, "max": 1.0, "start": 0.0, "end": 1.0}
    assert contrast_window([np.array([[False, True]])])["max"] == 1.0


def test_channel_colors_follow_the_dye():
    assert [channel_color(name, 0) for name in ("DAPI", "GFP", "Cy5", "Brightfield")] == [
        "0000FF", "00FF00", "FF00FF", "FFFFFF",
    ]  # fmt: skip
    assert channel_color("?", 1) != channel_color("?", 2)


def test_declaring_again_rewrites_nothing_and_a_new_layout_everything(open_store):
    store = open_store("zarr")
    files = {path: path.stat().st_mtime_ns for path in store.spec.path.rglob("zarr.json")}
    assert len(files) == 5  # plate, 2 rows, 2 wells
    open_store("zarr")
    assert {path: path.stat().st_mtime_ns for path in store.spec.path.rglob("zarr.json")} == files
    open_store("zarr", wells={"A01": (1, 2), "B12": (1, 5)})
    assert [image["path"] for image in attributes(store, "B/12")["ome"]["well"]["images"]] == ["1", "5"]


def test_declaring_and_publishing_may_race(tmp_path, plate):
    wells = {f"A{column:02d}": (1, 2) for column in range(1, 7)}
    images = {site: plate.planes((site, 1, 1, 1)) for site in (1, 2)}

    def unit(well_and_site):
        well, site = well_and_site
        store = OmeZarrStore(plate.spec_for(tmp_path, wells=wells))
        store.declare()
        store.publish(well, images[site], {}, plate.META)
        return store.read(well, PlaneKey(site, 1, 1, 1)).sum()

    units = [(well, site) for well in wells for site in (1, 2)]
    with ThreadPoolExecutor(6) as pool:
        sums = list(pool.map(unit, units))
    assert sums == [images[site][PlaneKey(site, 1, 1, 1)].sum() for _, site in units]
    store = OmeZarrStore(plate.spec_for(tmp_path, wells=wells))
    assert all([key.site for key in store.keys(well)] == [1, 2] for well in wells)
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_a_plane_is_read_at_any_level_of_its_pyramid(open_store, version):
    store = open_store("zarr", ngff_version=version, pyramid=True)
    image = np.arange(600 * 520, dtype=np.uint16).reshape(600, 520)
    labels = (image // 5000).astype(np.uint32)
    key = PlaneKey(1, 1, 1, 1)
    store.publish("A01", {key: image}, {"cells": {key: labels}}, ImageMeta(channels={1: "DAPI"}))
    assert store.level_shapes("A01", key) == [(600, 520), (300, 260), (150, 130)]
    assert store.level_shapes("A01", key, "cells") == [(600, 520), (300, 260), (150, 130)]
    assert np.array_equal(store.read_level("A01", key, level=0), image)
    small = store.read_level("A01", key, level=1)
    assert np.array_equal(small, halve(image, labels=False))
    assert np.array_equal(store.read_level("A01", key, "cells", level=2), labels[::4, ::4])
