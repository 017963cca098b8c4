"""A TIFF file per well or site, as OME-TIFF: what readers see, and that units keep out of each other's files."""

import dataclasses
import json
import shutil
import subprocess
import sys
import textwrap
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import tifffile

from hcs_steps.errors import ConfigError, StorageError
from hcs_steps.storage import PlaneKey, StorageRegistry, _tiff_write, atomic, checksum_tree, measure
from hcs_steps.storage._unit import COMPRESSORS

OME = {"ome": "http://www.openmicroscopy.org/Schemas/OME/2016-06"}
SITE_1 = [(1, c, z, t) for c in (1, 2) for z in (1, 2, 3) for t in (1, 2)]
BOTH = [*SITE_1, *((2, *key[1:]) for key in SITE_1)]


@pytest.fixture
def well_store(open_store):
    return lambda **changes: open_store("disk", **({"tiff_files": "well"} | changes))


def files_of(store):
    root = store.spec.path
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def assert_reads(store, images, labels=None, well="A01"):
    assert list(store.keys(well, labels)) == sorted(images)
    for key, image in images.items():
        back = store.read(well, key, labels)
        assert back.dtype == image.dtype
        np.testing.assert_array_equal(back, image)


def cells_of(images):
    return {key: (image > 100).astype(np.uint32) * 70_000 for key, image in images.items()}


def test_a_whole_well_is_one_file_and_one_for_its_labels(well_store, plate):
    store = well_store()
    images = plate.planes(*BOTH)
    cells = cells_of(images)
    published = store.publish("A01", images, {"cells": cells}, plate.META)
    assert files_of(store) == ["A01/A01.ome.tif", "A01/labels/cells.ome.tif", "A01/planes.json"]
    root = store.spec.path
    assert sorted(item.path for item in published) == sorted(f"blur/{name}" for name in files_of(store))
    for item in published:
        assert measure(root.parent / item.path) == (item.size, item.checksum)
    assert_reads(store, images)
    assert_reads(store, cells, "cells")


def test_readers_find_a_calibrated_series_for_every_site(well_store, plate):
    store = well_store()
    images = plate.planes(*BOTH)
    store.publish("A01", images, {"cells": cells_of(images)}, plate.META)
    with tifffile.TiffFile(store.spec.path / "A01/A01.ome.tif") as file:
        assert [(series.name, series.axes, series.shape) for series in file.series] == [
            ("A01_s1", "TCZYX", (2, 2, 3, 40, 50)),
            ("A01_s2", "TCZYX", (2, 2, 3, 40, 50)),
        ]
        for site, series in enumerate(file.series, 1):
            stack = series.asarray()
            for (_, c, z, t), image in ((key, images[key]) for key in images if key.site == site):
                np.testing.assert_array_equal(stack[t - 1, c - 1, z - 1], image)
        assert file.pages[0].get_resolution("MICROMETER") == pytest.approx((1 / 0.65, 1 / 0.65))
        xml = ET.fromstring(file.ome_metadata)
    first, second = xml.findall("ome:Image/ome:Pixels", OME)
    assert [channel.get("Name") for channel in first.findall("ome:Channel", OME)] == ["DAPI", "Näme <2>"]
    sizes = {axis: (first.get(f"PhysicalSize{axis}"), first.get(f"PhysicalSize{axis}Unit")) for axis in "XYZ"}
    assert sizes == {"X": ("0.65", "µm"), "Y": ("0.65", "µm"), "Z": ("2.0", "µm")}
    places = {(p.get("PositionX"), p.get("PositionY")) for p in first.findall("ome:Plane", OME)}
    assert places == {("1000.0", "-200.0")}
    assert second.findall("ome:Plane", OME) == []  # where site 2 was is not known
    well = xml.find("ome:Plate/ome:Well", OME)
    assert (well.get("Row"), well.get("Column")) == ("0", "0")
    assert [ref.get("ID") for ref in well.iterfind("ome:WellSample/ome:ImageRef", OME)] == [
        "Image:0",
        "Image:1",
    ]


def test_the_plate_reader_finds_well_sites_and_channels(well_store, plate):
    from hcs_steps.plate import open_plate

    store = well_store()
    for well, keys in {"A01": BOTH, "B12": SITE_1}.items():
        store.publish(well, plate.planes(*keys), {}, plate.META)
    inventory = open_plate(store.spec.path)
    assert {(p.well, p.site) for p in inventory.planes} == {("A01", 1), ("A01", 2), ("B12", 1)}
    assert len(inventory.planes) == len(BOTH) + len(SITE_1)
    assert list(inventory.channels.values()) == ["DAPI", "Näme <2>"]
    assert {p.pixel_size_um for p in inventory.planes} == {0.65}


def test_a_unit_of_one_site_writes_that_sites_file_only(well_store, plate):
    store, other = well_store(), well_store()
    one, two = plate.planes(*SITE_1), plate.planes((2, 1, 1, 1), dtype="float32")
    store.publish("A01", one, {"cells": cells_of(one)}, plate.META)
    before = checksum_tree(store.spec.path / "A01" / "s1")
    other.publish("A01", two, {}, plate.META)
    assert checksum_tree(store.spec.path / "A01" / "s1") == before
    assert files_of(store) == [
        "A01/s1/A01_s1.ome.tif",
        "A01/s1/labels/cells.ome.tif",
        "A01/s1/planes.json",
        "A01/s2/A01_s2.ome.tif",
        "A01/s2/planes.json",
    ]
    assert_reads(store, one | two)
    store.remove("A01", [2])
    assert_reads(store, one)


def test_what_was_published_last_is_read_when_units_change(well_store, open_store, plate):
    store = well_store()
    old = plate.planes(*BOTH)
    store.publish("A01", old, {"cells": cells_of(old)}, plate.META)
    new = {PlaneKey(2, 1, 1, 1): np.full((9, 9), 7, "u1")}
    store.publish("A01", new, {}, plate.META)
    assert_reads(store, {key: image for key, image in old.items() if key.site == 1} | new)
    assert {key.site for key in store.keys("A01", "cells")} == {1}
    by_plane = open_store("disk")
    by_plane.publish("A01", new, {}, plate.META)
    store.publish("A01", old, {}, plate.META)
    assert files_of(store) == ["A01/A01.ome.tif", "A01/planes.json"]
    assert_reads(by_plane, old)


def test_files_of_an_older_layout_can_go_without_the_new_ones(well_store, open_store, plate):
    images = plate.planes(*BOTH)
    store = well_store()
    old = store.publish("A01", images, {"cells": cells_of(images)}, plate.META)
    new = open_store("disk").publish("A01", images, {}, plate.META)
    for item in old:  # as a runner does once the new ones are there
        assert not any(item.path.startswith(later.path) for later in new)
        path = store.spec.path.parent / item.path
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert_reads(store, images)


def test_sites_are_removed_one_by_one_and_the_file_with_the_last(well_store, plate):
    store = well_store()
    images = plate.planes(*BOTH)
    store.publish("A01", images, {"cells": cells_of(images)}, plate.META)
    store.remove("A01", [2])
    assert_reads(store, {key: image for key, image in images.items() if key.site == 1})
    with pytest.raises(StorageError, match="was not published"):
        store.read("A01", PlaneKey(2, 1, 1, 1), "cells")
    store.remove("A01", [1, 2])
    assert files_of(store) == []
    assert list(store.keys("A01")) == []


def test_only_the_page_asked_for_is_decoded(well_store, plate):
    store = well_store()
    images = plate.planes(*BOTH, shape=(200, 210))
    store.publish("A01", images, {}, plate.META)
    path = store.spec.path / "A01/A01.ome.tif"
    with tifffile.TiffFile(path) as file:
        damaged = [(page.dataoffsets[0], page.databytecounts[0]) for page in file.pages[1:]]
    with path.open("r+b") as file:
        for offset, size in damaged:
            file.seek(offset)
            file.write(b"\xff" * size)
    first, last = PlaneKey(1, 1, 1, 1), PlaneKey(2, 2, 3, 2)
    np.testing.assert_array_equal(store.read("A01", first), images[first])
    with pytest.raises(StorageError, match="damaged"):
        store.read("A01", last)


def test_planes_that_were_not_published_take_no_pages(well_store, plate):
    store = well_store()
    images = plate.planes((1, 1, 1, 1), (1, 1, 2, 1), (1, 1, 3, 1), (1, 4, 2, 7))
    store.publish("A01", images, {}, plate.META)
    assert_reads(store, images)
    with tifffile.TiffFile(store.spec.path / "A01/s1/A01_s1.ome.tif") as file:
        assert len(file.pages) == 4
        stack = file.series[0].asarray()
    assert stack.shape == (2, 2, 3, 40, 50)
    np.testing.assert_array_equal(stack[1, 1, 1], images[PlaneKey(1, 4, 2, 7)])
    assert not stack[1, 0].any()


def test_sites_may_differ_in_size_and_labels_in_dtype(well_store, plate):
    store = well_store()
    one, two = plate.planes((1, 1, 1, 1)), plate.planes((2, 1, 1, 1), shape=(31, 17), dtype="float32")
    labels = {key: np.ones(image.shape, f"i{2 * key.site}") for key, image in (one | two).items()}
    store.publish("A01", one | two, {"cells": labels, "../cells": labels}, plate.META)
    assert_reads(store, one | two)
    assert_reads(store, labels, "cells")
    assert_reads(store, labels, "../cells")
    assert all((store.spec.path / name).resolve().is_relative_to(store.spec.path) for name in files_of(store))


@pytest.mark.parametrize("dtype", ["bool", "uint64", "float16", "int8", "float64"])
def test_every_dtype_comes_back_as_it_was_published(well_store, plate, dtype):
    store = well_store()
    images = plate.planes(*BOTH, dtype=dtype)
    store.publish("A01", images, {}, plate.META)
    assert_reads(store, images)
    with tifffile.TiffFile(store.spec.path / next(name for name in files_of(store) if "tif" in name)) as file:
        assert file.is_ome is file.filename.endswith(".ome.tif")


@pytest.mark.parametrize("compressor", COMPRESSORS)
@pytest.mark.parametrize("metadata", ["ome", "imagej"])
def test_the_same_images_are_the_same_bytes(open_store, plate, tmp_path, monkeypatch, compressor, metadata):
    images, sums = plate.planes(*BOTH), []
    for hour in (1, 2):
        monkeypatch.setattr("time.time", lambda hour=hour: 1.7e9 + 3600 * hour)
        path = tmp_path / str(hour) / "blur"
        options = {"compressor": compressor, "tiff_metadata": metadata, "tiff_files": "well"}
        store = open_store("disk", path=path, **options)
        sums.append(store.publish("A01", images, {"few": {k: v % 4 for k, v in images.items()}}, plate.META))
        assert_reads(store, images)
    assert sums[0] == sums[1]


def test_files_beyond_4_gb_are_big_tiffs(well_store, plate, monkeypatch):
    images = plate.planes(*BOTH)
    size = sum(image.nbytes for image in images.values())
    for limit, big in ((size, False), (size - 1, True)):
        monkeypatch.setattr(_tiff_write, "_BIG", limit)
        store = well_store()
        store.publish("A01", images, {}, plate.META)
        with tifffile.TiffFile(store.spec.path / "A01/A01.ome.tif") as file:
            assert file.is_bigtiff is big
        assert_reads(store, images)


class Killed(BaseException):
    """Stands for a signal: not an error that any code handles."""


@pytest.mark.parametrize("moment", ["_fsync_tree", "_swap_in"])
def test_an_interrupted_publication_keeps_the_old_well(well_store, plate, monkeypatch, moment):
    store = well_store()
    old = plate.planes(*BOTH)
    store.publish("A01", old, {}, plate.META)
    with monkeypatch.context() as patch:

        def die(*args):
            raise Killed

        patch.setattr(atomic, moment, die)
        patch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)  # a killed process cleans nothing up
        with pytest.raises(Killed):
            store.publish("A01", {key: image + 1 for key, image in old.items()}, {}, plate.META)
    assert_reads(store, old)
    store.publish("A01", old, {}, plate.META)
    assert files_of(store) == ["A01/A01.ome.tif", "A01/planes.json"]


def test_a_process_killed_while_publishing_leaves_a_whole_well(plate, tmp_path):
    script = """
        import sys, numpy as np, pathlib
        from hcs_steps.storage import ImageMeta, PlaneKey, StorageRegistry, StoreSpec
        spec = StoreSpec(pathlib.Path(sys.argv[1]), "P", 8, 12, {"A01": (1, 2)}, tiff_files="well")
        store = StorageRegistry().open("disk", spec)
        for value in range(1, 10**6):
            images = {PlaneKey(s, c, 1, 1): np.full((300, 300), value, "u2") for s in (1, 2) for c in (1, 2)}
            store.publish("A01", images, {}, ImageMeta({}))
            print(value, flush=True)
    """
    spec = plate.spec_for(tmp_path, "disk", wells={"A01": (1, 2)}, tiff_files="well")
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(spec.path)], stdout=subprocess.PIPE, text=True
    )
    for _ in range(3):
        process.stdout.readline()
    process.kill()
    process.communicate()
    store = StorageRegistry().open("disk", spec)
    keys = list(store.keys("A01"))
    assert len(keys) in (0, 4)
    assert len({int(value) for key in keys for value in np.unique(store.read("A01", key))}) <= 1


def test_a_damaged_index_is_named(well_store, plate):
    store = well_store()
    store.publish("A01", plate.planes(*BOTH), {}, plate.META)
    index = store.spec.path / "A01" / "planes.json"
    index.write_text(json.dumps({"images": [[1, 1, 1, 1, "x.tif"]], "labels": {}}))
    with pytest.raises(StorageError, match=r"planes.json is damaged"):
        store.read("A01", PlaneKey(1, 1, 1, 1))


@pytest.mark.parametrize("changes", [{"tiff_files": "wells"}, {"tiff_metadata": "image_j"}])
def test_an_unknown_choice_is_refused_when_the_store_is_opened(open_store, changes):
    (name,) = changes
    with pytest.raises(ConfigError, match=f"Unknown {name}.*Did you mean"):
        open_store("disk", **changes)


def test_a_plane_file_says_the_same_in_either_layout(well_store, open_store, plate):
    image = plate.planes((1, 2, 3, 1))
    open_store("disk", path=well_store().spec.path.with_name("planes")).publish("B12", image, {}, plate.META)
    store = well_store()
    store.publish("B12", image, {}, dataclasses.replace(plate.META, names={}))
    described = []
    for path in (store.spec.path / "B12/B12.ome.tif", store.spec.path.with_name("planes") / "B12/s1"):
        with tifffile.TiffFile(path if path.is_file() else next(path.glob("*.tif"))) as file:
            described.append(ET.fromstring(file.ome_metadata).find(".//ome:Pixels", OME).attrib)
    assert described[0] == described[1]
