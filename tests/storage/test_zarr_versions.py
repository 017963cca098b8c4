"""Both versions of OME-NGFF and both codec pipelines: the same values, few files, nothing lost unnoticed."""

import json
import os
import time
from importlib.util import find_spec

import numpy as np
import pytest
import zarr

from hcs_steps.errors import ConfigError, StorageError
from hcs_steps.storage import OmeZarrStore, PlaneKey, StoreSpec, checksum_tree
from hcs_steps.storage._packing import crc32c
from hcs_steps.storage.protocol import Expected

COMPRESSORS = ["lz4", "zstd", "gzip", "none"]
NEEDS_ZARRS = pytest.mark.skipif(find_spec("zarrs") is None, reason="zarrs is not installed")
PIPELINES = ["zarr", pytest.param("zarrs", marks=NEEDS_ZARRS)]


def raw(store, where):
    """The array as Zarr itself reads it, by default."""
    return zarr.open_array(store.spec.path / where, mode="r")


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "uint16", "int16", "int64", "float16", "float32", "float64"]
)
def test_version_0_4_keeps_every_dtype(open_store, plate, dtype):
    store = open_store("zarr", ngff_version="0.4")
    images = plate.planes((1, 1, 1, 1), (1, 2, 3, 1), (2, 1, 1, 1), dtype=dtype)
    store.publish("A01", images, {}, plate.META)
    for key, image in images.items():
        back = store.read("A01", key)
        assert back.dtype == image.dtype
        np.testing.assert_array_equal(back, image)
    assert list(store.keys("A01")) == list(images)


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("version", ["0.5", "0.4"])
@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_any_reader_gets_the_values(open_store, plate, compressor, version, pipeline, monkeypatch):
    """Planes that are cut into several chunks, of which some are padded, with a hole in the grid."""
    monkeypatch.setattr("hcs_steps.storage._zarr_layout.CHUNK_BYTES", 30_000)
    options = {"ngff_version": version, "compressor": compressor, "codec_pipeline": pipeline}
    store = open_store("zarr", **options)
    images = plate.planes((1, 1, 1, 1), (1, 1, 2, 1), (1, 2, 2, 1), shape=(301, 277))
    cells = {"cells": plate.planes((1, 1, 1, 1), shape=(301, 277), dtype="uint32")}
    store.publish("A01", images, cells, plate.META)
    array = raw(store, "A/01/1/0")
    assert array.metadata.zarr_format == (3 if version == "0.5" else 2)
    assert array.chunks[:3] == (1, 1, 1)
    assert np.prod(array.chunks) * 2 <= 30_000
    for (_, channel, z, _), image in images.items():
        np.testing.assert_array_equal(array[0, channel - 1, z - 1], image)
    assert not array[0, 1, 0].any()
    other = OmeZarrStore(plate.spec_for(store.spec.path.parents[1], **(options | {"codec_pipeline": "zarr"})))
    for key, image in images.items():
        np.testing.assert_array_equal(store.read("A01", key), image)
        np.testing.assert_array_equal(other.read("A01", key), image)
    key = PlaneKey(1, 1, 1, 1)
    np.testing.assert_array_equal(store.read("A01", key, labels="cells"), cells["cells"][key])


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("version", ["0.5", "0.4"])
@pytest.mark.parametrize("strategy", ["adaptive", "plane", "well"])
@pytest.mark.parametrize("limit", [1 << 30, 400_000])
def test_any_cut_of_a_grid_is_read(open_store, plate, strategy, version, pipeline, limit, monkeypatch):
    """With the small limit a shard holds two of three z planes, so the last one is half beyond the array."""
    monkeypatch.setattr("hcs_steps.storage._zarr_layout.SHARD_BYTES", limit)
    options = {"ngff_version": version, "chunk_strategy": strategy, "codec_pipeline": pipeline}
    store = open_store("zarr", **options)
    every = [(1, c, z, t) for c in (1, 2) for z in (1, 2, 3) for t in (1, 2)]
    images = plate.planes(*every[:-1], shape=(301, 277))
    store.publish("A01", images, {}, plate.META)
    array = raw(store, "A/01/1/0")[:]
    for key, image in images.items():
        np.testing.assert_array_equal(array[key.timepoint - 1, key.channel - 1, key.z_index - 1], image)
        np.testing.assert_array_equal(store.read("A01", key), image)
    assert not array[1, 1, 2].any()


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_threads_change_no_byte(open_store, plate, tmp_path, compressor, monkeypatch):
    sums = set()
    for worth in (0, 1 << 40):
        monkeypatch.setattr("hcs_steps.storage._packing._WORTH_A_THREAD", worth)
        path = tmp_path / str(worth) / "x"
        store = open_store("zarr", path=path, compressor=compressor)
        keys = [(site, channel, 1, 1) for site in (1, 2) for channel in (1, 2)]
        store.publish("A01", plate.planes(*keys, shape=(700, 800)), {}, plate.META)
        sums.add(checksum_tree(path))
    assert len(sums) == 1


def test_images_of_the_other_byte_order_keep_their_values(open_store, plate):
    for version in ("0.5", "0.4"):
        store = open_store("zarr", ngff_version=version)
        images = plate.planes((1, 1, 1, 1), dtype=">u2", shape=(300, 200))
        store.publish("A01", images, {}, plate.META)
        back = store.read("A01", PlaneKey(1, 1, 1, 1))
        assert back.dtype == np.uint16
        np.testing.assert_array_equal(back, images[PlaneKey(1, 1, 1, 1)])


def test_checksums_of_indices_are_those_of_the_standard():
    """Vectors of RFC 3720, appendix B.4."""
    vectors = {bytes(32): 0x8A9136AA, b"\xff" * 32: 0x62A8AB43, bytes(range(32)): 0x46DD794E}
    assert {content: crc32c(content) for content in vectors} == vectors


@NEEDS_ZARRS
@pytest.mark.parametrize("version", ["0.5", "0.4"])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint64", "float16", "float32"])
def test_zarrs_keeps_every_dtype(open_store, plate, dtype, version):
    store = open_store("zarr", ngff_version=version, codec_pipeline="zarrs")
    images = plate.planes((1, 1, 1, 1), (1, 2, 1, 1), dtype=dtype)
    store.publish("A01", images, {}, plate.META)
    for index, (key, image) in enumerate(images.items()):
        np.testing.assert_array_equal(store.read("A01", key), image)
        np.testing.assert_array_equal(raw(store, "A/01/1/0")[0, index, 0], image)


@NEEDS_ZARRS
def test_zarrs_is_used_in_its_store_only(open_store, plate):
    from zarrs import ZarrsCodecPipeline

    path = zarr.config.get("codec_pipeline.path")
    images = plate.planes((1, 1, 1, 1))
    used = {}
    for pipeline in ("zarrs", "zarr"):
        store = open_store("zarr", codec_pipeline=pipeline)
        store.publish("A01", images, {}, plate.META)
        store.read("A01", PlaneKey(1, 1, 1, 1))
        array = store._stored(store.spec.path / "A/01/1", None).arrays[0]
        used[pipeline] = isinstance(array._async_array.codec_pipeline, ZarrsCodecPipeline)
    assert used == {"zarrs": True, "zarr": False}
    assert zarr.config.get("codec_pipeline.path") == path


def test_a_codec_pipeline_that_is_not_there_is_refused(plate, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"'zars'.*Did you mean 'zarrs'"):
        OmeZarrStore(plate.spec_for(tmp_path, codec_pipeline="zars"))
    monkeypatch.setattr("hcs_steps.storage._codec_pipeline.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"'zarrs' is not installed.*pip install zarrs"):
        OmeZarrStore(plate.spec_for(tmp_path, codec_pipeline="zarrs"))


def test_a_version_that_is_not_written_is_refused(plate, tmp_path):
    with pytest.raises(ConfigError, match=r"'0.6' cannot be written.*Allowed: 0.4, 0.5"):
        OmeZarrStore(plate.spec_for(tmp_path, ngff_version="0.6"))


@pytest.mark.parametrize("version", ["0.5", "0.4"])
@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_the_same_images_are_the_same_bytes(plate, tmp_path, compressor, version, monkeypatch):
    """At any time, and with any codec pipeline, which is for reading."""
    sums = []
    for hour, pipeline in enumerate(("zarr", "zarrs") if find_spec("zarrs") else ("zarr", "zarr")):
        monkeypatch.setattr(time, "time", lambda hour=hour: 1.7e9 + 3600 * hour)
        options = {"ngff_version": version, "compressor": compressor, "codec_pipeline": pipeline}
        store = OmeZarrStore(plate.spec_for(tmp_path / str(hour), **options))
        store.declare()
        cells = {"cells": plate.planes((1, 1, 1, 1), shape=(300, 310), dtype="uint32")}
        store.publish("A01", plate.planes((1, 1, 1, 1), shape=(300, 310)), cells, plate.META)
        sums.append(checksum_tree(tmp_path / str(hour)))
    assert sums[0] == sums[1]


def test_version_0_4_is_where_its_readers_look(open_store, plate):
    store = open_store("zarr", ngff_version="0.4")
    images = plate.planes((1, 1, 1, 1), (1, 2, 1, 1), shape=(300, 300))
    store.publish(
        "A01", images, {"cells": plate.planes((1, 1, 1, 1), shape=(300, 300), dtype="uint32")}, plate.META
    )
    root = store.spec.path

    def read(where):
        return json.loads((root / where).read_text())

    assert {
        read(where)["zarr_format"] for where in (".zgroup", "A/.zgroup", "A/01/.zgroup", "A/01/1/.zgroup")
    } == {2}
    array = read("A/01/1/0/.zarray")
    assert (array["dimension_separator"], array["order"], array["filters"]) == ("/", "C", None)
    assert array["compressor"]["id"] == "blosc"
    assert (root / "A/01/1/0/0/1/0/0/0").is_file()
    found = read("A/01/1/.zattrs")
    assert found["multiscales"][0]["version"] == found["omero"]["version"] == "0.4"
    assert "ome" not in found
    assert read(".zattrs")["plate"]["version"] == read("A/01/.zattrs")["well"]["version"] == "0.4"
    assert read("A/01/1/labels/.zattrs")["labels"] == ["cells"]
    assert read("A/01/1/labels/cells/.zattrs")["image-label"]["version"] == "0.4"
    assert not list(root.rglob("zarr.json"))


def test_every_lost_chunk_of_a_plane_is_noticed(open_store, plate, monkeypatch):
    monkeypatch.setattr("hcs_steps.storage._zarr_layout.CHUNK_BYTES", 30_000)
    store = open_store("zarr", ngff_version="0.4", pyramid=False)
    store.publish("A01", plate.planes((1, 1, 1, 1), (1, 2, 1, 1), shape=(200, 200)), {}, plate.META)
    chunks = sorted(path for path in (store.spec.path / "A/01/1/0/0/0").rglob("*") if path.is_file())
    assert len(chunks) > 1
    for chunk in chunks:
        content = chunk.read_bytes()
        chunk.unlink()
        with pytest.raises(StorageError, match=rf"{chunk.name} is gone"):
            store.read("A01", PlaneKey(1, 1, 1, 1))
        store.read("A01", PlaneKey(1, 2, 1, 1))
        chunk.write_bytes(content)
    chunks[-1].write_bytes(b"nonsense")
    with pytest.raises(StorageError, match="is damaged"):
        store.read("A01", PlaneKey(1, 1, 1, 1))


def count_files(store):
    return sum(len(names) for _, _, names in os.walk(store.spec.path))


def test_a_384_well_plate_is_a_few_files_per_well_and_level(tmp_path, plate, monkeypatch):
    """Both before and after its images are there, and not more with more channels, planes and timepoints."""
    monkeypatch.setattr("hcs_steps.storage._pyramid.SMALLEST", 4)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    wells = {f"{chr(65 + row)}{column:02d}": (1,) for row in range(16) for column in range(1, 25)}
    planes = tuple(PlaneKey(1, channel, 1, 1) for channel in (1, 2))
    looks = [Expected(planes, 16, 16, "uint16", {})]
    spec = StoreSpec(tmp_path / "p.ome.zarr", "P", 16, 24, wells, expected=dict.fromkeys(wells, looks))
    store = OmeZarrStore(spec)
    store.declare()
    levels = 3  # 16, 8 and 4 pixels
    groups = 1 + 16 + 384 + 384  # plate, rows, wells, images
    assert count_files(store) == groups + 384 * levels
    images = {key: np.full((16, 16), key.channel, "u2") for key in planes}
    for well in wells:
        store.publish(well, images, {}, plate.META)
    assert count_files(store) == groups + 384 * levels * 2  # an array and one shard each
    assert count_files(store) / (384 * levels) < 3
    assert store.missing() == []


@pytest.mark.parametrize(("version", "files"), [("0.5", 1 + 5 * 2), ("0.4", 2 + 5 * (2 + 3 * 2 * 4))])
def test_files_of_a_field_by_version(open_store, plate, version, files):
    """0.5: an array and its shard for each level. 0.4, which has no shards: array, attributes, and every chunk."""
    store = open_store("zarr", ngff_version=version)
    keys = [(1, channel, z, t) for channel in (1, 2, 3) for z in (1, 2) for t in (1, 2, 3, 4)]
    store.publish("A01", plate.planes(*keys, shape=(2160, 30)), {}, plate.META)
    found = [path for path in (store.spec.path / "A/01/1").rglob("*") if path.is_file()]
    assert len(found) == files


@pytest.mark.parametrize(
    ("shape", "shapes"),
    [
        ((256, 256), [(256, 256)]),
        ((257, 3), [(257, 3), (129, 2)]),
        ((5000, 3000), [(5000, 3000), (2500, 1500), (1250, 750), (625, 375), (313, 188), (157, 94)]),
    ],
)
def test_pyramids_go_down_to_one_tile(open_store, plate, shape, shapes):
    store = open_store("zarr")
    store.publish("A01", {PlaneKey(1, 1, 1, 1): np.zeros(shape, "u1")}, {}, plate.META)
    scales = json.loads((store.spec.path / "A/01/1/zarr.json").read_text())["attributes"]["ome"][
        "multiscales"
    ]
    paths = [dataset["path"] for dataset in scales[0]["datasets"]]
    assert [raw(store, f"A/01/1/{path}").shape[3:] for path in paths] == shapes
    assert max(raw(store, f"A/01/1/{paths[-1]}").chunks[3:]) <= 256
