"""Plates that hcs-steps writes, opened by the programs that people open them with: ome-zarr-py and ngio."""

import itertools
import warnings
from pathlib import Path

import numpy as np
import pytest

from hcs_steps.storage import ImageMeta, OmeZarrStore, PlaneKey, StoreSpec
from hcs_steps.storage.protocol import Expected

SHAPE = (300, 280)
SITES, CHANNELS, DEPTH, TIMES = (1, 2), (1, 2), (1, 2, 3), (1, 2)
META = ImageMeta(
    {1: "DAPI", 2: "GFP"}, 0.65, z_step_um=2.0, positions_um={1: (1000.0, -200.0), 2: (1182.0, -200.0)}
)
STATES = ["announced", "half", "published"]


def keys(sites):
    return tuple(PlaneKey(*key) for key in itertools.product(sites, CHANNELS, DEPTH, TIMES))


def pixels(well):
    """A stack of two sites, two channels, three z and two timepoints, different in every well."""
    rng = np.random.default_rng(ord(well[0]))
    return {key: rng.integers(0, 4000, SHAPE, dtype="u2") for key in keys(SITES)}


def cells():
    nuclei = np.zeros(SHAPE, "u4")
    nuclei[10:50, 20:60], nuclei[100:140, 100:160] = 1, 2
    return {PlaneKey(1, 1, 1, 1): nuclei}


@pytest.fixture(params=["0.5", "0.4"])
def version(request):
    return request.param


@pytest.fixture
def write_plate(tmp_path, version):
    """A store of three wells of which none, the last, or all are published. Its first well comes first."""

    def write(state, **changes):
        wells = changes.pop("wells", None) or dict.fromkeys(("A01", "B02", "C03"), SITES)
        looks = [Expected(keys(SITES), *SHAPE, "uint16", META.channels, META.pixel_size_um)]
        values = {"expected": dict.fromkeys(wells, looks), "ngff_version": version} | changes
        store = OmeZarrStore(StoreSpec(tmp_path / "p.ome.zarr", "Plate 1", 4, 6, wells, **values))
        store.declare()
        published = {"announced": (), "half": ("C03",), "published": tuple(wells)}[state]
        for well in published:
            store.publish(well, pixels(well), {"nuclei": cells()}, META)
        return store

    return write


def ome_zarr_nodes(path: Path) -> list:
    reader = pytest.importorskip("ome_zarr.reader", reason="ome-zarr-py is not installed")
    io = pytest.importorskip("ome_zarr.io", reason="ome-zarr-py is not installed")
    location = io.parse_url(path, mode="r")
    assert location is not None
    return list(reader.Reader(location)())


@pytest.fixture
def open_plate():
    return pytest.importorskip("ngio", reason="ngio is not installed").open_ome_zarr_plate


@pytest.mark.parametrize("state", STATES)
def test_ome_zarr_py_shows_the_whole_plate(write_plate, state):
    """It opens the first well to learn what all look like."""
    store = write_plate(state)
    (plate, *_) = ome_zarr_nodes(store.spec.path)
    height, width = SHAPE
    assert plate.data[0].shape == (2, 2, 3, 4 * height, 6 * width)
    assert len(plate.data) == 2
    field = plate.data[0][0, 0, 0, 2 * height : 3 * height, 2 * width : 3 * width].compute()
    shown = pixels("C03")[PlaneKey(1, 1, 1, 1)] if state != "announced" else np.zeros(SHAPE)
    np.testing.assert_array_equal(field, shown)
    assert plate.metadata["channel_names"] == ["DAPI", "GFP"]


@pytest.mark.parametrize("state", ["announced", "published"])
def test_ome_zarr_py_reads_an_image_with_its_labels(write_plate, state):
    store = write_plate(state)
    image, *labels = ome_zarr_nodes(store.spec.path / "A/01/1")
    assert image.metadata["channel_names"] == ["DAPI", "GFP"]
    assert [axis["name"] for axis in image.metadata["axes"]] == list("tczyx")
    scale, translation = (item[item["type"]] for item in image.metadata["coordinateTransformations"][0])
    if state == "announced":
        assert (labels, scale[3:]) == ([], [0.65, 0.65])
        return
    assert scale == [1, 1, 2.0, 0.65, 0.65]
    assert translation[3:] == pytest.approx([-200 - 149.5 * 0.65, 1000 - 139.5 * 0.65])
    for _, channel, z, t in keys((1,)):
        plane = image.data[0][t - 1, channel - 1, z - 1].compute()
        np.testing.assert_array_equal(plane, pixels("A01")[PlaneKey(1, channel, z, t)])
    nuclei = next(node for node in labels if node.data)
    np.testing.assert_array_equal(nuclei.data[0][0, 0, 0].compute(), next(iter(cells().values())))
    assert set(nuclei.metadata["color"]) == {1, 2}
    assert nuclei.metadata["color"][1] != nuclei.metadata["color"][2]


@pytest.mark.parametrize("state", STATES)
def test_ngio_lists_and_reads_every_image(write_plate, open_plate, state):
    store = write_plate(state)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plate = open_plate(store.spec.path, mode="r")
        images = plate.get_images(max_workers=1)
    assert sorted(plate.wells_paths()) == ["A/01", "B/02", "C/03"]
    assert len(images) == 6
    container = plate.get_image("C", "03", "2")
    image = container.get_image()
    assert container.level_paths == ["0", "1"]
    assert image.shape == (2, 2, 3, *SHAPE)
    size = image.pixel_size
    assert (size.x, size.y) == (0.65, 0.65)
    assert container.channel_labels == ["DAPI", "GFP"]
    stack = image.get_as_numpy(axes_order="tczyx")
    if state == "announced":
        assert not stack.any()
        return
    assert size.z == 2.0
    for _, channel, z, t in keys((2,)):
        np.testing.assert_array_equal(
            stack[t - 1, channel - 1, z - 1], pixels("C03")[PlaneKey(2, channel, z, t)]
        )


def test_ngio_knows_where_the_sites_lie(write_plate, open_plate):
    plate = open_plate(write_plate("published").spec.path, mode="r")
    corners = []
    for site in SITES:
        image = plate.get_image("A", "01", str(site)).get_image()
        corners.append(image.dataset.translation)
    # Coordinates of the first pixel's centre, in the order of the axes.
    for corner, (x, y) in zip(corners, META.positions_um.values(), strict=True):
        assert corner[-2:] == pytest.approx((y - 149.5 * 0.65, x - 139.5 * 0.65))


def test_ngio_reads_labels(write_plate, open_plate):
    container = open_plate(write_plate("published").spec.path, mode="r").get_image("B", "02", "1")
    assert container.list_labels() == ["nuclei"]
    label = container.get_label("nuclei")
    found = label.get_as_numpy(axes_order="tczyx" if label.has_axis("c") else "tzyx")
    np.testing.assert_array_equal(found.reshape(SHAPE), next(iter(cells().values())))
    assert (label.pixel_size.x, label.pixel_size.y) == (0.65, 0.65)


@pytest.mark.parametrize("published", [("A01",), ("A01", "B02", "C03")])
def test_a_mosaic_takes_the_place_of_a_placeholder_of_another_shape(write_plate, open_plate, published):
    mosaic = {PlaneKey(1, channel, 1, 1): np.full((500, 520), channel, "u2") for channel in CHANNELS}
    wells = dict.fromkeys(("A01", "B02", "C03"), (1,))
    store = write_plate("announced", wells=wells)
    for well in published:
        store.publish(well, mosaic, {}, META)
    plate = open_plate(store.spec.path, mode="r")
    for well in wells:
        image = plate.get_image(well[0], well[1:], "1").get_image()
        assert image.shape[-2:] == ((500, 520) if well in published else SHAPE)
    (image, *_) = ome_zarr_nodes(store.spec.path / "A/01/1")
    np.testing.assert_array_equal(image.data[0][0, 1, 0], mosaic[PlaneKey(1, 2, 1, 1)])
    if len(published) == len(wells):  # ome-zarr-py joins all wells, which must be of one shape for that
        (whole, *_) = ome_zarr_nodes(store.spec.path)
        assert whole.data[0].shape[-2:] == (4 * 500, 6 * 520)


@pytest.mark.parametrize("compressor", ["zstd", "gzip", "none"])
def test_every_codec_is_read(write_plate, open_plate, compressor):
    plate = open_plate(write_plate("half", compressor=compressor).spec.path, mode="r")
    stack = plate.get_image("C", "03", "1").get_image().get_as_numpy(axes_order="tczyx")
    np.testing.assert_array_equal(stack[1, 1, 2], pixels("C03")[PlaneKey(1, 2, 3, 2)])
