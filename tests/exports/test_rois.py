"""ROIs for ImageJ, read back with roifile, and GeoJSON as QuPath reads it."""

import errno
import json
import zipfile

import numpy as np
import pytest
from skimage.measure import points_in_poly

from hcs_steps.errors import StorageError
from hcs_steps.exports.rois import ROI_FILES, write_geojson, write_imagej_rois
from hcs_steps.storage import PlaneKey, atomic, checksum_file

roifile = pytest.importorskip("roifile", reason="roifile writes and reads ImageJ's ROIs")

CHANNELS = {1: "DAPI", 3: "Näme <3>"}
KEY = PlaneKey(1, 3, 2, 1)
DESCRIPTION = {"name": "cells", "well": "A01", "channels": CHANNELS}


@pytest.fixture
def labels():
    plane = np.zeros((30, 40), np.uint32)
    plane[0:5, 0:6] = 1  # at the border
    plane[0:5, 6:9] = 2  # touches 1
    plane[10:20, 10:20] = 3  # with a hole
    plane[13:16, 13:17] = 0
    plane[14, 14] = 4  # in the hole, one pixel
    plane[25:27, 2:5] = plane[27:29, 5:8] = plane[25, 35] = 70_000  # several parts
    return {KEY: plane, KEY._replace(z_index=5): plane[:, ::-1]}


def filled(shape, rings):
    centres = np.indices(shape)[::-1].reshape(2, -1).T + 0.5
    inside = sum(points_in_poly(centres, ring).astype(int) for ring in rings)
    return (inside % 2 == 1).reshape(shape)


def test_imagej_rois_fill_to_the_labels(labels, tmp_path):
    path = tmp_path / "new" / "a.rois.zip"
    write_imagej_rois(path, labels, **DESCRIPTION)
    rois = roifile.ImagejRoi.fromfile(path)
    assert len(rois) == 10
    for key, plane in labels.items():
        back = np.zeros_like(plane)
        for roi in rois:
            if f"_z{key.z_index}_" in roi.name:
                rings = roi.coordinates(multi=True)
                rings = rings if isinstance(rings, list) else [rings]
                back[filled(plane.shape, rings)] = int(roi.name.rpartition("_")[2])
        np.testing.assert_array_equal(back, plane)


def test_imagej_rois_say_which_object_of_which_plane_they_are(labels, tmp_path):
    path = tmp_path / "a.rois.zip"
    write_imagej_rois(path, labels, **DESCRIPTION)
    rois = {roi.name: roi for roi in roifile.ImagejRoi.fromfile(path)}
    assert list(rois)[:2] == ["A01_s1_w3_z2_t1_cells_0001", "A01_s1_w3_z2_t1_cells_0002"]
    positions = {(roi.c_position, roi.z_position, roi.t_position) for roi in rois.values()}
    assert positions == {(2, 1, 1), (2, 2, 1)}  # channel 3 is the second, z index 5 the second
    simple, holed = rois["A01_s1_w3_z2_t1_cells_0001"], rois["A01_s1_w3_z2_t1_cells_0003"]
    assert simple.roitype == roifile.ROI_TYPE.TRACED
    assert (simple.left, simple.top, simple.right, simple.bottom) == (0, 0, 6, 5)
    assert holed.composite
    assert zipfile.ZipFile(path).namelist() == [f"{name}.roi" for name in rois]


def test_positions_are_those_in_the_image_when_its_planes_are_given(labels, tmp_path):
    path = tmp_path / "a.rois.zip"
    planes = [
        KEY._replace(channel=c, z_index=z, timepoint=t) for c in (1, 2, 3) for z in range(6) for t in (0, 1)
    ]
    write_imagej_rois(path, labels, **DESCRIPTION, planes=planes)
    rois = roifile.ImagejRoi.fromfile(path)
    assert {(roi.c_position, roi.z_position, roi.t_position) for roi in rois} == {(3, 3, 2), (3, 6, 2)}


def test_geojson_polygons_fill_to_the_labels(labels, tmp_path):
    path = tmp_path / "a.geojson"
    write_geojson(path, labels, **DESCRIPTION)
    collection = json.loads(path.read_text(encoding="utf-8"))
    assert collection["type"] == "FeatureCollection"
    assert len(collection["features"]) == 10
    kinds = {}
    for key, plane in labels.items():
        back = np.zeros_like(plane)
        for feature in collection["features"]:
            if feature["properties"]["metadata"]["Z"] == str(key.z_index):
                geometry = feature["geometry"]
                several = geometry["type"] == "MultiPolygon"
                polygons = geometry["coordinates"] if several else [geometry["coordinates"]]
                rings = [ring for polygon in polygons for ring in polygon]
                assert all(ring[0] == ring[-1] for ring in rings)
                number = int(feature["properties"]["metadata"]["Object"])
                kinds[number] = (geometry["type"], [len(polygon) for polygon in polygons])
                back[filled(plane.shape, [ring[:-1] for ring in rings])] = number
        np.testing.assert_array_equal(back, plane)
    assert kinds[3] == ("Polygon", [2])
    assert kinds[70_000] == ("MultiPolygon", [1, 1, 1])


def test_geojson_features_are_qupath_objects(labels, tmp_path):
    path = tmp_path / "a.geojson"
    write_geojson(path, labels, **DESCRIPTION)
    first, *_, last = json.loads(path.read_text(encoding="utf-8"))["features"]
    assert first["properties"] == {
        "objectType": "detection",
        "name": "cells 1",
        "classification": {"name": "cells"},
        "metadata": {
            "Well": "A01", "Site": "1", "Channel": "Näme <3>", "Z": "2", "Timepoint": "1", "Object": "1"
        },
    }  # fmt: skip
    assert first["geometry"]["plane"] == {"c": -1, "z": 0, "t": 0}
    assert last["geometry"]["plane"] == {"c": -1, "z": 1, "t": 0}
    assert first["geometry"]["coordinates"] == [[[0, 0], [6, 0], [6, 5], [0, 5], [0, 0]]]
    write_geojson(path, labels, **DESCRIPTION, object_type="annotation")
    assert (
        json.loads(path.read_text(encoding="utf-8"))["features"][0]["properties"]["objectType"]
        == "annotation"
    )


def test_sites_have_positions_of_their_own(labels, tmp_path):
    both = labels | {PlaneKey(2, 1, 5, 1): labels[KEY]}
    write_geojson(tmp_path / "a.geojson", both, **DESCRIPTION)
    features = json.loads((tmp_path / "a.geojson").read_text(encoding="utf-8"))["features"]
    planes = {(f["properties"]["metadata"]["Site"], f["geometry"]["plane"]["z"]) for f in features}
    assert planes == {("1", 0), ("1", 1), ("2", 0)}


@pytest.mark.parametrize("format_name", ["imagej", "geojson"])
def test_the_same_labels_are_the_same_bytes_and_nothing_is_left_beside(
    labels, tmp_path, monkeypatch, format_name
):
    suffix, write = ROI_FILES[format_name]
    sums = []
    for hour, order in ((1, 1), (2, -1)):
        monkeypatch.setattr("time.time", lambda hour=hour: 1.7e9 + 3600 * hour)
        path = tmp_path / str(hour) / f"a{suffix}"
        write(path, dict(list(labels.items())[::order]), **DESCRIPTION)
        sums.append(checksum_file(path))
        assert [item.name for item in path.parent.iterdir()] == [path.name]
    assert sums[0] == sums[1]


@pytest.mark.parametrize("format_name", ["imagej", "geojson"])
def test_no_objects_are_an_empty_file_of_the_format(tmp_path, format_name):
    suffix, write = ROI_FILES[format_name]
    path = tmp_path / f"a{suffix}"
    write(path, {KEY: np.zeros((3, 3), np.uint32)}, **DESCRIPTION)
    if format_name == "imagej":
        assert zipfile.ZipFile(path).namelist() == []
    else:
        assert json.loads(path.read_text()) == {"type": "FeatureCollection", "features": []}


@pytest.mark.parametrize("format_name", ["imagej", "geojson"])
def test_what_cannot_be_written_leaves_the_old_file(labels, tmp_path, monkeypatch, format_name):
    suffix, write = ROI_FILES[format_name]
    path = tmp_path / f"a{suffix}"
    write(path, labels, **DESCRIPTION)
    before = checksum_file(path)

    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic, "_fsync", full)
    with pytest.raises(StorageError, match="No space left") as error:
        write(path, {KEY: labels[KEY]}, **DESCRIPTION)
    assert "Free space" in error.value.hint
    assert checksum_file(path) == before
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Cannot"):
        write(tmp_path / "file" / f"a{suffix}", labels, **DESCRIPTION)


def test_a_label_set_with_a_strange_name_cannot_leave_the_archive(labels, tmp_path):
    path = tmp_path / "a.rois.zip"
    write_imagej_rois(path, labels, **(DESCRIPTION | {"name": "../🦠/x"}))
    names = zipfile.ZipFile(path).namelist()
    assert not any("/" in name for name in names)
    assert [f"{roi.name}.roi" for roi in roifile.ImagejRoi.fromfile(path)] == names


@pytest.mark.parametrize("left", [40_000, 70_000])
def test_coordinates_beyond_16_bit_are_kept(tmp_path, left):
    plane = np.zeros((2, left + 10), np.uint8)
    plane[:, left : left + 9] = 1
    write_imagej_rois(tmp_path / "a.rois.zip", {KEY: plane}, **DESCRIPTION)
    (roi,) = roifile.ImagejRoi.fromfile(tmp_path / "a.rois.zip")
    corners = {tuple(map(int, corner)) for corner in np.reshape(roi.coordinates(multi=True), (-1, 2))}
    assert corners == {(left, 0), (left + 9, 0), (left + 9, 2), (left, 2)}
