"""A plate is valid and whole before, while and after its images are published, and tells what is missing."""

import dataclasses
import itertools
import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zarr

from hcs_steps.errors import StorageError
from hcs_steps.storage import (
    ImageMeta,
    OmeZarrStore,
    PlaneKey,
    _placeholder,
    atomic,
    checksum_tree,
    sweep_store,
)
from hcs_steps.storage.protocol import Expected

VERSIONS = ["0.5", "0.4"]
SHAPE = (300, 280)
MARKERS = {"0.5": "zarr.json", "0.4": ".zattrs"}


def models(version):
    name = "v05" if version == "0.5" else "v04"
    return pytest.importorskip(f"ome_zarr_models.{name}", reason="ome-zarr-models is not installed")


def expected(sites, *, channels=(1, 2), z=(1,), t=(1,), shape=SHAPE, dtype="uint16"):
    planes = tuple(PlaneKey(*key) for key in itertools.product(sites, channels, z, t))
    return Expected(planes, *shape, dtype, {1: "DAPI", 2: "GFP"}, 0.65)


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


@pytest.fixture
def announced(open_store, version):
    """Store of two wells with two and one sites, nothing published."""
    wells = {"A01": (1, 2), "B12": (1,)}
    looks = {well: [expected(sites)] for well, sites in wells.items()}
    return open_store("zarr", wells=wells, expected=looks, ngff_version=version)


def own(store, where):
    document = json.loads((store.spec.path / where / store.dialect.marker).read_text())
    return document.get("attributes", document)["hcs_steps"]


def validate(store, version):
    """Every group of the plate by ome-zarr-models, whose warnings are errors, and the levels' shapes."""
    known = models(version)
    root = zarr.open_group(store.spec.path, mode="r")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        known.HCS.from_zarr(root)
        for well, sites in store.spec.wells.items():
            where = f"{well[0]}/{well[1:]}"
            known.Well.from_zarr(root[where])
            for site in sites:
                known.Image.from_zarr(root[f"{where}/{site}"])
                if "labels" in root[f"{where}/{site}"]:
                    known.Labels.from_zarr(root[f"{where}/{site}/labels"])


def images(plate, sites, shape=SHAPE):
    return plate.planes(*itertools.product(sites, (1, 2), (1,), (1,)), shape=shape)


def test_a_plate_is_valid_while_it_fills(announced, version, plate):
    validate(announced, version)
    announced.publish("A01", images(plate, (2,)), {}, plate.META)
    validate(announced, version)
    cells = {"cells": plate.planes((1, 1, 1, 1), shape=SHAPE, dtype="uint32")}
    announced.publish("A01", images(plate, (1,)), cells, plate.META)
    announced.publish("B12", {}, cells, plate.META)
    validate(announced, version)


def test_a_placeholder_has_all_levels_and_no_pixels(announced):
    root = zarr.open_group(announced.spec.path / "A/01/2", mode="r")
    assert [root[str(level)].shape for level in range(2)] == [(1, 2, 1, 300, 280), (1, 2, 1, 150, 140)]
    assert root["0"].dtype == np.uint16
    assert not root["0"][:].any()
    names = {path.name for path in (announced.spec.path / "A/01/2").rglob("*") if path.is_file()}
    assert names <= {"zarr.json", ".zarray", ".zattrs", ".zgroup"}
    found = own(announced, "A/01/2")
    assert (found["state"], found["planes"], found["channels"]) == ("expected", [], [1, 2])


def test_arrays_of_placeholders_are_those_that_will_be_published(announced, plate):
    def arrays():
        files = (path for level in "01" for path in (announced.spec.path / "A/01/1" / level).iterdir())
        return {str(path): path.read_bytes() for path in files if path.is_file()}

    before = arrays()
    announced.publish("A01", images(plate, (1,)), {}, plate.META)
    assert before
    assert arrays() == before


def test_a_placeholder_counts_as_nothing(announced, plate):
    assert list(announced.keys("A01")) == []
    with pytest.raises(StorageError, match=r"was not published \(nothing of this well is there\)"):
        announced.read("A01", PlaneKey(1, 1, 1, 1))
    assert announced.missing() == [("A01", 1), ("A01", 2), ("B12", 1)]
    announced.publish("A01", images(plate, (2,)), {}, plate.META)
    assert announced.missing() == [("A01", 1), ("B12", 1)]
    assert {key.site for key in announced.keys("A01")} == {2}
    cells = {"cells": plate.planes((1, 1, 1, 1), shape=SHAPE, dtype="uint32")}
    announced.publish("B12", {}, cells, plate.META)
    assert announced.missing() == [("A01", 1)]


def test_removed_images_are_expected_again(announced, plate):
    before = checksum_tree(announced.spec.path)
    announced.publish("A01", images(plate, (1, 2)), {}, plate.META)
    announced.remove("A01", [1, 2, 7])
    announced.remove("A01", [1])
    assert checksum_tree(announced.spec.path) == before
    assert len(announced.missing()) == 3
    assert not (announced.spec.path / "A/01/7").exists()


def test_declaring_again_keeps_what_is_published(announced, open_store, plate, version):
    published = images(plate, (1,))
    announced.publish("A01", published, {}, plate.META)
    before = checksum_tree(announced.spec.path)
    (announced.spec.path / announced.dialect.marker).unlink()  # a killed declaration
    shutil.rmtree(announced.spec.path / "A/01/2")
    announced.declare()
    assert checksum_tree(announced.spec.path) == before
    for key, image in published.items():
        np.testing.assert_array_equal(announced.read("A01", key), image)


def test_another_layout_replaces_placeholders_and_no_image(announced, open_store, plate, version):
    published = images(plate, (1,))
    announced.publish("A01", published, {}, plate.META)
    looks = {"A01": [expected((1, 2), shape=(90, 80), dtype="uint8")], "B12": [expected((1,), channels=(2,))]}
    store = open_store("zarr", expected=looks, ngff_version=version)
    root = zarr.open_group(store.spec.path, mode="r")
    assert root["A/01/1/0"].shape == (1, 2, 1, *SHAPE)
    assert (root["A/01/2/0"].shape, root["A/01/2/0"].dtype) == ((1, 2, 1, 90, 80), np.uint8)
    assert "1" not in root["A/01/2"]
    assert root["B/12/1/0"].shape == (1, 1, 1, *SHAPE)
    np.testing.assert_array_equal(store.read("A01", PlaneKey(1, 1, 1, 1)), published[PlaneKey(1, 1, 1, 1)])
    # Only the dtype is another one: nothing in the group's own file but a hash tells.
    looks["A01"] = [expected((1, 2), shape=(90, 80), dtype="int8")]
    open_store("zarr", expected=looks, ngff_version=version)
    assert zarr.open_array(store.spec.path / "A/01/2/0", mode="r").dtype == np.int8


def test_a_store_in_the_other_version_is_replaced_as_a_whole(announced, open_store, plate, version):
    announced.publish("A01", images(plate, (1,)), {}, plate.META)
    (other,) = set(VERSIONS) - {version}
    store = open_store("zarr", expected=announced.spec.expected, ngff_version=other)
    assert len(store.missing()) == 3
    validate(store, other)
    store.publish("A01", images(plate, (1,)), {}, plate.META)
    validate(store, other)
    left = {path.name for path in store.spec.path.rglob("*") if path.is_file()}
    assert MARKERS[version] not in left - {".zattrs"}


def test_images_that_are_not_declared_are_not_announced(open_store):
    store = open_store(
        "zarr", wells={"A01": (1,)}, expected={"A01": [expected((1, 2))], "C03": [expected((1,))]}
    )
    assert not (store.spec.path / "A/01/2").exists()
    assert not (store.spec.path / "C").exists()


def test_an_image_of_another_shape_takes_the_place_of_its_placeholder(announced, version, plate):
    mosaic = plate.planes((1, 1, 1, 1), shape=(700, 900))
    announced.publish("A01", mosaic, {}, plate.META)
    validate(announced, version)
    np.testing.assert_array_equal(announced.read("A01", PlaneKey(1, 1, 1, 1)), mosaic[PlaneKey(1, 1, 1, 1)])
    root = zarr.open_group(announced.spec.path / "A/01", mode="r")
    assert (root["1/0"].shape[3:], root["2/0"].shape[3:]) == ((700, 900), SHAPE)


def test_a_publication_wins_over_a_placeholder_at_any_moment(announced, plate, monkeypatch):
    """A publication takes the name just before each call that could put a placeholder there or take it away."""
    image = images(plate, (1,))
    store = announced
    # Another process declares another layout: it would empty this placeholder and put another one there.
    later = dataclasses.replace(store.spec, expected={"A01": [expected((1,), shape=(50, 50))]})
    for name in ("mkdir", "open", "listdir", "unlink", "rename"):
        store.remove("A01", [1])
        real = getattr(os, name)
        calls = []

        def publish_first(path, *args, real=real, calls=calls, **kwargs):
            if not calls:
                calls.append(path)
                store.publish("A01", image, {}, plate.META)
            return real(path, *args, **kwargs)

        class Patched:
            def __getattr__(self, attribute, name=name, replaced=publish_first):
                return replaced if attribute == name else getattr(os, attribute)

        with monkeypatch.context() as patch:
            # Only what the declaration itself calls, not the publication in its middle.
            patch.setattr(_placeholder, "os", Patched())
            OmeZarrStore(later).declare()
        assert calls, name
        np.testing.assert_array_equal(store.read("A01", PlaneKey(1, 1, 1, 1)), image[PlaneKey(1, 1, 1, 1)])
        (later.path / store.dialect.marker).unlink()


def test_a_placeholder_that_gets_in_the_way_is_replaced(announced, plate, monkeypatch):
    """Between the look at a free name and the rename onto it, another process puts its placeholder there."""
    shutil.rmtree(announced.spec.path / "A/01/1")
    swap = atomic._swap_in
    raced = []

    def late(new, path):
        if not raced:
            raced.append(path)
            monkeypatch.setattr(os.path, "lexists", lambda path: False)
            announced._declaration.restore("A01", [1])
        try:
            swap(new, path)
        finally:
            monkeypatch.undo()

    monkeypatch.setattr(atomic, "_swap_in", late)
    image = images(plate, (1,))
    announced.publish("A01", image, {}, plate.META)
    assert raced
    np.testing.assert_array_equal(announced.read("A01", PlaneKey(1, 1, 1, 1)), image[PlaneKey(1, 1, 1, 1)])


def test_threads_that_declare_and_publish_lose_nothing(tmp_path, plate, version):
    wells = {f"A{column:02d}": (1, 2) for column in range(1, 5)}
    layouts = [{well: [expected((1, 2), shape=shape)] for well in wells} for shape in (SHAPE, (60, 60))]
    specs = [plate.spec_for(tmp_path, wells=wells, expected=looks, ngff_version=version) for looks in layouts]
    stop = threading.Event()

    def declare():
        for spec in itertools.cycle(specs):
            OmeZarrStore(spec).declare()
            if stop.is_set():
                return

    OmeZarrStore(specs[0]).declare()
    store = OmeZarrStore(specs[0])
    published = {well: images(plate, (1, 2), shape=(60, 60)) for well in wells}
    with ThreadPoolExecutor(2) as pool:
        declaring = [pool.submit(declare) for _ in range(2)]
        try:
            for well in wells:
                store.publish(well, published[well], {}, plate.META)
                assert len(list(store.keys(well))) == 4
        finally:
            stop.set()
    assert [each.result() for each in declaring] == [None, None]
    for well, own_images in published.items():
        for key, image in own_images.items():
            np.testing.assert_array_equal(store.read(well, key), image)
    assert store.missing() == []


def test_processes_that_declare_together_write_what_one_writes(tmp_path, version):
    script = """
        import sys, itertools, pathlib
        from hcs_steps.storage import OmeZarrStore, PlaneKey, StoreSpec
        from hcs_steps.storage.protocol import Expected
        folder, version = sys.argv[1:]
        wells = {f"{row}{column:02d}": (1, 2) for row in "AB" for column in range(1, 9)}
        planes = tuple(PlaneKey(site, channel, 1, 1) for site in (1, 2) for channel in (1, 2))
        looks = {well: [Expected(planes, 300, 280, "uint16", {1: "DAPI"}, 0.65)] for well in wells}
        spec = StoreSpec(pathlib.Path(folder), "P", 8, 12, wells, expected=looks, ngff_version=version)
        store = OmeZarrStore(spec)
        print("ready", flush=True)
        sys.stdin.readline()
        store.declare()
    """

    def start(folder):
        command = [sys.executable, "-c", textwrap.dedent(script), str(folder), version]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    sums = {}
    for name, count in (("alone", 1), ("together", 3)):
        processes = [start(tmp_path / name) for _ in range(count)]
        for process in processes:
            process.stdout.readline()
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            process.communicate()
            assert process.returncode == 0
        sums[name] = checksum_tree(tmp_path / name)
    assert sums["together"] == sums["alone"]
    assert not list(tmp_path.rglob(".expected.*"))


def test_a_placeholder_that_lost_its_content_is_no_image(announced, plate):
    """A placeholder is not flushed, so a power failure can leave an empty file."""
    marker = announced.spec.path / "A/01/1" / announced.dialect.marker
    marker.write_bytes(b"")
    assert list(announced.keys("A01")) == []
    assert ("A01", 1) in announced.missing()
    announced.publish("A01", images(plate, (1,)), {}, plate.META)
    assert len(list(announced.keys("A01"))) == 2


def test_what_nobody_announced_is_left_alone(announced, tmp_path):
    """A folder that is neither a placeholder nor an image of this plate is not ours to empty."""
    folder = announced.spec.path / "A/01/1"
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    announced._declaration.restore("A01", [1])
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_links_between_placeholders_are_not_needed(
    open_store, announced, plate, version, tmp_path, monkeypatch
):
    """Some network file systems have no hard links."""
    before = checksum_tree(announced.spec.path)
    shutil.rmtree(announced.spec.path)

    def refuse(*args, **kwargs):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    announced.declare()
    assert checksum_tree(announced.spec.path) == before


def test_a_layout_is_told_by_what_it_holds_not_by_which_object(open_store):
    """Every process makes its own objects; a new one for each must not declare anew. NaN is not equal to itself."""
    looks = [dataclasses.replace(expected((1,)), pixel_size_um=float(text)) for text in ("nan", "NaN")]
    store = open_store("zarr", wells={"A01": (1,)}, expected={"A01": [looks[0]]})
    marker = store.spec.path / "zarr.json"
    before = marker.stat().st_mtime_ns
    open_store("zarr", wells={"A01": (1,)}, expected={"A01": [looks[1]]})
    assert marker.stat().st_mtime_ns == before


def test_put_placeholders_names_what_is_in_the_way(announced, tmp_path):
    (announced.spec.path / "A/02").write_text("a file")
    with (
        announced._declaration._placeholders(announced._declaration._distinct) as ready,
        pytest.raises(StorageError, match=r"A/02"),
    ):
        _placeholder.put_placeholders(
            announced.spec.path / "A/02", announced.dialect, {1: next(iter(ready.values()))}
        )


def test_meta_of_placeholders_is_that_of_images(announced, plate):
    def ome(site):
        root = zarr.open_group(announced.spec.path / f"A/01/{site}", mode="r").attrs.asdict()
        return root.get("ome", root)

    announced.publish("A01", images(plate, (1,)), {}, ImageMeta({1: "DAPI", 2: "GFP"}, 0.65))
    image, waiting = ome(1), ome(2)
    assert waiting["multiscales"][0]["datasets"] == image["multiscales"][0]["datasets"]
    assert waiting["multiscales"][0]["axes"] == image["multiscales"][0]["axes"]
    shown = [(channel["label"], channel["color"]) for channel in waiting["omero"]["channels"]]
    assert shown == [(channel["label"], channel["color"]) for channel in image["omero"]["channels"]]
    assert waiting["omero"]["channels"][0]["window"] == {"min": 0, "max": 65535, "start": 0, "end": 65535}
    assert "not there" in waiting["multiscales"][0]["name"]


def test_what_killed_declarations_left_is_swept_from_a_store(tmp_path):
    left = [tmp_path / ".expected.tmp-12-0badcafe", tmp_path / "A" / "01" / ".expected.tmp-13-1badcafe"]
    kept = tmp_path / "A" / "01" / "1"
    for folder in (*left, kept):
        folder.mkdir(parents=True)
        (folder / "zarr.json").write_text("{}")
    sweep_store(tmp_path)
    assert not any(folder.exists() for folder in left)
    assert (kept / "zarr.json").is_file()
