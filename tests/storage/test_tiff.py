"""TIFF files as other programs see them, and names that try to leave their folder."""

import dataclasses
import json
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from hcs_steps.storage import PlaneKey
from hcs_steps.storage._names import safe_name, unique_names

KEY = PlaneKey(1, 2, 3, 4)


def only_file(store):
    (path,) = store.spec.path.rglob("*.tif")
    return path


def test_a_plane_keeps_its_name_and_tells_pixel_size_and_channel(open_store, plate):
    store = open_store("disk")
    meta = dataclasses.replace(plate.META, names={KEY: "A01_s1_w2"})
    image = plate.planes(KEY)[KEY]
    store.publish("A01", {KEY: image}, {}, meta)
    path = only_file(store)
    assert path.relative_to(store.spec.path).as_posix() == "A01/s1/A01_s1_w2.tif"
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        assert page.get_resolution("MICROMETER") == pytest.approx((1 / 0.65, 1 / 0.65))
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert "DateTime" not in page.tags
        assert file.is_ome
        np.testing.assert_array_equal(file.asarray(), image)
        xml = ET.fromstring(file.ome_metadata)
    name = {"ome": "http://www.openmicroscopy.org/Schemas/OME/2016-06"}
    pixels = xml.find("ome:Image/ome:Pixels", name)
    assert (pixels.get("PhysicalSizeX"), pixels.get("PhysicalSizeXUnit")) == ("0.65", "µm")
    assert pixels.find("ome:Channel", name).get("Name") == "Näme <2>"
    values = {item.get("K"): item.text for item in xml.iterfind(".//ome:M", name)}
    assert values == {"well": "A01", "site": "1", "channel": "2", "z_index": "3", "timepoint": "4"}


def test_an_unknown_pixel_size_is_not_made_up(open_store, plate):
    store = open_store("disk")
    store.publish("A01", plate.planes(KEY), {}, plate.BARE)
    with tifffile.TiffFile(only_file(store)) as file:
        assert file.pages[0].resolutionunit == 1  # none
        assert "PhysicalSize" not in file.ome_metadata


def test_a_channel_name_with_control_characters_is_still_xml(open_store, plate):
    store = open_store("disk")
    store.publish("A01", plate.planes(KEY), {}, dataclasses.replace(plate.META, channels={2: "a\x00b\x1b"}))
    with tifffile.TiffFile(only_file(store)) as file:
        assert 'Name="a_b_"' in file.ome_metadata


HOSTILE = ["../x", "a/b", "..", ".hidden", "/etc/x", "x" * 300, "é" * 300, "", "nul", "a\\b", "a\0b", " . "]


def test_hostile_names_stay_inside_and_apart(open_store, plate, tmp_path):
    store = open_store("disk")
    keys = [PlaneKey(1, 1, 1, number) for number in range(len(HOSTILE))]
    names = dict(zip(keys, HOSTILE, strict=True))
    images = plate.planes(*keys)
    labels = {name: {keys[0]: np.full((40, 50), number, "u4")} for number, name in enumerate(HOSTILE)}
    store.publish("A01", images, labels, dataclasses.replace(plate.META, names=names))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == len(HOSTILE) * 2 + 1
    site = store.spec.path / "A01" / "s1"
    assert all(path.resolve().is_relative_to(site) and not path.name.startswith(".") for path in files)
    for key, image in images.items():
        np.testing.assert_array_equal(store.read("A01", key), image)
    for number, name in enumerate(HOSTILE):
        assert store.read("A01", keys[0], labels=name).max() == number


def test_equal_names_are_told_apart(open_store, plate):
    store = open_store("disk")
    images = plate.planes((1, 1, 1, 1), (1, 2, 1, 1), (1, 3, 1, 1))
    meta = dataclasses.replace(plate.META, names=dict(zip(images, ["Img", "img", "img_2"], strict=True)))
    store.publish("A01", images, {}, meta)
    index = json.loads((store.spec.path / "A01/s1/planes.json").read_text())
    assert [row[4] for row in index["images"]] == ["Img.tif", "img_2.tif", "img_2_2.tif"]


@given(st.text())
def test_safe_names_are_single_visible_components(name):
    safe = safe_name(name)
    assert safe
    assert not safe.startswith(".")
    assert not set(safe) & set('/\\\0:*?"<>|')
    assert len(safe.encode()) <= 120
    assert safe_name(safe) == safe


@given(st.lists(st.sampled_from(["a", "A", "a_2", "../a", "b"])))
def test_unique_names_are_unique_on_any_disk(names):
    wanted = dict(enumerate(names))
    result = unique_names(wanted, wanted)
    assert len({name.casefold() for name in result.values()}) == len(names)
