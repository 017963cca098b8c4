"""The estimated illumination against known vignetting under cells, dark counts and noise; applying it; real plates."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass, field

import numpy as np
import pytest
from scipy import ndimage

from hcs_steps.functions.declare import spec_of
from hcs_steps.functions.illumination.flatfield import (
    Flatfield,
    apply_flatfield,
    estimate_flatfield,
    flatfield_from_planes,
)

SHAPE = (256, 256)


def vignette(kind="centred", shape=SHAPE):
    """A field of illumination with the mean 1."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    gain = {
        "flat": np.ones(shape),
        "centred": 1 - 0.2 * (x**2 + y**2),
        "off-centre": 1 - 0.11 * ((x - 0.4) ** 2 + (y + 0.3) ** 2),
        "gaussian": np.exp(-((x + 0.2) ** 2 + (y - 0.1) ** 2) / 3),
        "cos4": np.cos(np.arctan(0.5 * np.hypot(x, y))) ** 4,
        "tilted": 1 + 0.16 * x + 0.06 * y,
    }[kind]
    return gain / gain.mean()


@dataclass
class Scene:
    """Images of cells under a field of illumination, taken by a camera with dark counts and shot noise."""

    gain: np.ndarray
    cells: int = 20
    light: float = 300
    varies: float = 0.15
    cell_light: float = 1000
    dark: float = 200
    dtype: type = np.uint16
    seed: int = 0
    noise: float = 0.5  # grey values per electron
    disks: list = field(default_factory=list)

    def planes(self, count):
        rng = np.random.default_rng(self.seed)
        height, width = self.gain.shape
        rows, columns = np.ogrid[-9:10, -9:10]
        for _ in range(count):
            image = np.zeros((height + 30, width + 30))
            for _ in range(rng.poisson(self.cells)):
                disk = rows**2 + columns**2 < rng.uniform(5, 9) ** 2
                y, x = rng.integers(0, height + 11), rng.integers(0, width + 11)
                part = image[y : y + 19, x : x + 19]
                part[disk] = np.maximum(part[disk], rng.lognormal(np.log(self.cell_light), 0.35))
            image = ndimage.gaussian_filter(image, 1.2) + 0.05 * ndimage.gaussian_filter(image, 12)
            light = self.light * (1 + self.varies * rng.uniform(-1, 1)) + image[15:-15, 15:-15]
            counts = rng.poisson(light * self.gain / self.noise) * self.noise
            yield self._digital(counts + self.dark + rng.normal(0, 4 * self.noise, counts.shape))

    def _digital(self, image):
        if np.dtype(self.dtype).kind == "f":
            return image.astype(self.dtype)
        return np.rint(image).clip(0, np.iinfo(self.dtype).max).astype(self.dtype)


def error(found, gain):
    """Root mean square over the field, in percent; both have the mean 1."""
    assert found.gain.dtype == np.float32
    assert found.gain.mean() == pytest.approx(1, abs=1e-4)
    return 100 * np.sqrt(np.mean((found.gain - gain) ** 2))


@pytest.mark.parametrize(
    "kind",
    [
        "centred", "tilted",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("off-centre", "gaussian", "cos4")),
    ],
)  # fmt: skip
def test_vignetting_is_found_to_one_percent(kind):
    gain = vignette(kind)
    found = flatfield_from_planes(Scene(gain).planes(20))
    assert error(found, gain) < 1
    assert found.dark == pytest.approx(200, abs=40)
    assert found.corrected_spread < 0.01 < 0.04 < found.spread


@pytest.mark.parametrize(
    ("count", "scene", "limit"),
    [
        (5, {}, 2),
        (5, {"cells": 0}, 0.3),
        pytest.param(5, {"dark": 100}, 2, marks=pytest.mark.slow),
        (5, {"dark": 0}, 2),
        pytest.param(20, {"cells": 200}, 2, marks=pytest.mark.slow),  # more than half is covered
        pytest.param(20, {"varies": 0.0}, 2, marks=pytest.mark.slow),
        (20, {"light": 20, "varies": 0.3}, 2),
        pytest.param(20, {"light": 100, "varies": 0.1}, 2, marks=pytest.mark.slow),
        (8, {"dtype": np.float32}, 1.5),
        pytest.param(8, {"dtype": np.int32}, 1.5, marks=pytest.mark.slow),
        (20, {"dtype": np.uint8, "light": 15, "cell_light": 60, "dark": 3, "noise": 0.1}, 2),
    ],
)
def test_few_planes_crowds_and_dim_backgrounds(count, scene, limit):
    gain = vignette("off-centre")
    assert error(flatfield_from_planes(Scene(gain, **scene).planes(count)), gain) < limit


@pytest.mark.slow
def test_three_hundred_planes():
    gain = vignette("centred")
    assert error(flatfield_from_planes(Scene(gain).planes(300)), gain) < 0.5


@pytest.mark.parametrize("scene", [{}, {"cells": 100}, {"dark": 0}])
@pytest.mark.parametrize("count", [2, 5, pytest.param(20, marks=pytest.mark.slow)])
def test_even_illumination_comes_out_even(scene, count):
    gain = vignette("flat")
    assert error(flatfield_from_planes(Scene(gain, **scene).planes(count)), gain) < 1.5


def test_a_dark_level_that_is_given_is_used():
    gain = vignette("centred")
    scene = Scene(gain, varies=0.0, cells=0)
    assert error(flatfield_from_planes(scene.planes(6), dark=200), gain) < 0.3
    # Without cells and with backgrounds that are alike, nothing tells the dark level: it counts as 0.
    found = flatfield_from_planes(scene.planes(6))
    assert found.dark < 40
    assert np.ptp(found.gain) == pytest.approx(0.6 * np.ptp(gain), rel=0.15)


@pytest.mark.parametrize("kind", ["centred", "gaussian", "tilted"])
@pytest.mark.parametrize("cells", [0, 20])
def test_the_error_says_so_where_nothing_tells_the_dark_level(kind, cells):
    gain = vignette(kind)
    planes = list(Scene(gain, varies=0.0, cells=cells).planes(20))
    found = flatfield_from_planes(planes)
    assert found.dark_error > 0.5 * abs(found.dark - 200)
    assert found.error > 0.5 * error(found, gain) / 100
    given = flatfield_from_planes(planes, dark=200)
    assert given.dark_error == 0
    assert given.error < 0.002


@pytest.mark.parametrize(("kind", "varies"), [("centred", 0.15), ("gaussian", 0.15), ("flat", 0.0)])
def test_the_error_is_small_where_the_dark_level_is_told_or_does_not_matter(kind, varies):
    gain = vignette(kind)
    found = flatfield_from_planes(Scene(gain, varies=varies).planes(20))
    assert 0.5 * error(found, gain) / 100 < found.error < 0.01


def test_planes_of_one_place_do_not_confirm_each_other():
    # Two crowded sites, each seen in 12 focal planes, are as little evidence of uneven illumination as two planes.
    rng = np.random.default_rng(0)
    sites = list(Scene(vignette("flat"), cells=100).planes(2))
    planes = [site + rng.normal(0, 3, SHAPE) for site in sites for _ in range(12)]
    known = flatfield_from_planes(planes, 0.0, [(well, 1) for well in ("A01", "A02") for _ in range(12)])
    taken_in = flatfield_from_planes(planes, 0.0)
    assert np.std(known.gain) < np.std(taken_in.gain) / 2


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (7, 5), (16, 33), (100, 260), (300, 90)])
@pytest.mark.parametrize("count", [1, 3])
def test_any_size_and_number_of_planes(shape, count):
    scene = Scene(vignette("centred", shape), cells=0)
    found = flatfield_from_planes(scene.planes(count), dark=200)
    assert found.gain.shape == shape
    assert found.gain.min() > 0
    if min(shape) >= 90 and count == 3:
        assert error(found, scene.gain) < 1


def test_the_same_planes_give_the_same_field():
    first, second = (flatfield_from_planes(Scene(vignette()).planes(4)) for _ in range(2))
    np.testing.assert_array_equal(first.gain, second.gain)
    assert first.dark == second.dark


def test_planes_that_cannot_be_used_are_left_out_and_named():
    good = list(Scene(vignette()).planes(6))
    bad = [
        np.zeros(SHAPE, np.uint16),
        np.zeros((10, 10), np.uint16),
        np.full(SHAPE, np.nan),
        np.where(np.arange(256) < 200, 65535, good[0]).astype(np.uint16),
    ]
    found = flatfield_from_planes([*good, *bad])
    np.testing.assert_array_equal(found.gain, flatfield_from_planes(good).gain)
    assert found.planes == 6
    for text, reason in zip(found.skipped, ("equal", "size", "finite", "saturated"), strict=True):
        assert reason in text
    with pytest.raises(ValueError, match="at least one usable plane"):
        flatfield_from_planes(bad[:1])
    with pytest.raises(ValueError, match="at least one usable plane"):
        flatfield_from_planes([])
    with pytest.raises(ValueError, match="finite"):
        flatfield_from_planes(good, dark=np.inf)
    with pytest.raises(ValueError, match="dark must be a number"):
        flatfield_from_planes(good, dark="100")


def test_planes_are_taken_one_at_a_time():
    shape, count = (400, 400), 30

    def planes():
        rng = np.random.default_rng(0)
        for _ in range(count):
            yield rng.normal(500, 10, shape)

    flatfield_from_planes(planes(), dark=0)
    tracemalloc.start()
    flatfield_from_planes(planes(), dark=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.3 * count * 8 * shape[0] * shape[1]


@dataclass
class Plate:
    """What a plate-scope function is given, of two channels and 24 wells."""

    gains: dict
    vendor: dict = field(default_factory=dict)
    scene: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)
    asked: list = field(default_factory=list)
    blank: tuple = ()

    channels = {1: "DAPI", 2: "GFP"}  # noqa: RUF012

    def count_planes(self, channel):
        return 48

    def sample_planes(self, channel, limit=None, seed=0):
        self.asked.append((channel, limit, seed))
        for number, plane in enumerate(
            Scene(self.gains[channel], seed=channel, **self.scene).planes(min(limit, 8))
        ):
            row = {"well": f"A{number // 2 + 1:02d}", "site": number % 2 + 1, "z_index": 1, "timepoint": 1}
            yield row, plane * 0 if channel in self.blank else plane

    def vendor_flatfield(self, channel):
        return self.vendor.get(channel)


def test_a_plate_gives_a_field_per_channel():
    plate = Plate({1: vignette("centred"), 2: vignette("tilted")})
    flatfield, channels, quality = estimate_flatfield(plate, max_planes=7, seed=3)
    assert plate.asked == [(1, 7, 3), (2, 7, 3)]
    assert flatfield.shape == (2, 2, *SHAPE)
    assert flatfield.dtype == np.float32
    assert channels == [1, 2]
    for place, kind in enumerate(("centred", "tilted")):
        assert np.std(flatfield[place, 0] - vignette(kind)) < 0.015
        assert np.ptp(flatfield[place, 1]) == 0
        assert flatfield[place, 1, 0, 0] == pytest.approx(200, abs=50)
    assert quality["channel_name"].tolist() == ["DAPI", "GFP"]
    assert quality["planes_used"].tolist() == [7, 7]
    assert (quality["corrected_spread_percent"] < quality["background_spread_percent"] / 3).all()
    assert {len(column) for column in quality.values()} == {2}
    assert plate.notes == []


def test_a_dark_level_that_is_not_told_is_noted():
    plate = Plate({1: vignette("centred"), 2: vignette("flat")}, scene={"varies": 0.0})
    quality = estimate_flatfield(plate)[2]
    (note,) = plate.notes
    assert note.startswith("The planes of channel DAPI do not tell the camera's dark level")
    assert "Give dark" in note
    assert quality["gain_error_percent"][0] > 2
    plate.notes.clear()
    estimate_flatfield(plate, dark=200)
    assert plate.notes == []


def test_channels_are_chosen_by_name_or_number():
    plate = Plate({1: vignette("flat"), 2: vignette("flat")})
    assert estimate_flatfield(plate, channels=["GFP"])[1] == [2]
    assert estimate_flatfield(plate, channels=[2, 1])[1] == [2, 1]
    with pytest.raises(ValueError, match=r"'Cy5'.*DAPI, GFP"):
        estimate_flatfield(plate, channels=["Cy5"])


def test_a_channel_without_usable_planes_is_left_out_and_noted():
    plate = Plate({1: vignette("flat"), 2: vignette("flat")}, blank=(2,))
    flatfield, channels, _ = estimate_flatfield(plate)
    assert channels == [1]
    assert len(flatfield) == 1
    assert any(note.startswith("A01, site 1") and "equal" in note for note in plate.notes)
    assert any("GFP has no flat field" in note for note in plate.notes)
    with pytest.raises(ValueError, match="No channel"):
        estimate_flatfield(Plate({1: vignette("flat"), 2: vignette("flat")}, blank=(1, 2)))


def test_the_microscopes_own_field_is_taken():
    gain = vignette("tilted").astype(np.float32)
    plate = Plate({}, vendor={1: (gain, np.zeros_like(gain)), 2: (gain**2, 100.0)})
    flatfield, channels, quality = estimate_flatfield(plate, method="vendor")
    assert channels == [1, 2]
    np.testing.assert_array_equal(flatfield[:, 0], [gain, gain**2])
    assert flatfield[1, 1].tolist() == np.full(SHAPE, 100).tolist()
    assert quality["dark_level"].tolist() == [0, 100]
    del plate.vendor[2]
    with pytest.raises(ValueError, match=r"GFP.*estimate"):
        estimate_flatfield(plate, method="vendor")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"method": "basic"}, "estimate, vendor"),
        ({"max_planes": 0}, "max_planes"),
        ({"max_planes": None}, "max_planes"),
        ({"seed": -1}, "seed"),
    ],
)
def test_errors_of_a_plate_name_what_is_allowed(parameters, message):
    with pytest.raises(ValueError, match=message):
        estimate_flatfield(Plate({}), **parameters)


def a_field(channels=(1, 2), shape=SHAPE):
    layers = [[vignette("centred", shape), np.full(shape, 100 * number)] for number in channels]
    return np.array(layers, dtype=np.float32), list(channels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64])
def test_correcting_inverts_the_illumination(dtype):
    flatfield, channels = a_field((1,))
    flatfield[0, 1] = 20
    even = np.random.default_rng(0).uniform(20, 90, (3, *SHAPE))
    stack = even * flatfield[0, 0] + 20
    stack = np.rint(stack).astype(dtype) if np.dtype(dtype).kind in "ui" else stack.astype(dtype)
    result = apply_flatfield(stack, flatfield, channels)
    assert result.dtype == dtype
    np.testing.assert_allclose(result, even, atol=1.5 if np.dtype(dtype).kind in "ui" else 1e-3)
    expected = (stack.astype(float) - 20) / flatfield[0, 0]
    if np.dtype(dtype).kind in "ui":
        expected = np.rint(expected.clip(np.iinfo(dtype).min, np.iinfo(dtype).max))
    np.testing.assert_allclose(result, expected, atol=1.01 if np.dtype(dtype).kind in "ui" else 1e-4)
    kept = apply_flatfield(stack, flatfield, channels, keep_dark=True)
    np.testing.assert_allclose(kept, result.astype(float) + 20, atol=1.01)


def test_each_plane_is_corrected_by_its_channel():
    flatfield, channels = a_field()
    stack = np.full((3, *SHAPE), 1000, np.uint16)
    planes = {"channel": np.array([2, 1, 2])}
    result = apply_flatfield(stack, flatfield, channels, planes)
    np.testing.assert_array_equal(result[0], np.rint(800 / flatfield[1, 0]))
    np.testing.assert_array_equal(result[1], np.rint(900 / flatfield[0, 0]))
    np.testing.assert_array_equal(result[2], result[0])
    assert (stack == 1000).all()


def test_results_saturate():
    flatfield, channels = a_field((1,))
    assert apply_flatfield(np.full((1, *SHAPE), 65535, np.uint16), flatfield, channels).max() == 65535
    assert apply_flatfield(np.zeros((1, *SHAPE), np.uint16), flatfield, channels).max() == 0


def test_channels_without_a_field_are_refused_or_passed():
    flatfield, channels = a_field()
    stack, planes = np.full((2, *SHAPE), 500, np.uint16), {"channel": np.array([1, 3])}
    with pytest.raises(ValueError, match=r"channel 3.*1, 2"):
        apply_flatfield(stack, flatfield, channels, planes)
    result = apply_flatfield(stack, flatfield, channels, planes, missing="pass")
    np.testing.assert_array_equal(result[1], stack[1])
    assert (result[0] != stack[0]).any()


def test_errors_of_applying_name_what_is_wrong():
    flatfield, channels = a_field()
    stack = np.zeros((2, *SHAPE), np.uint16)
    with pytest.raises(ValueError, match="plane table must say"):
        apply_flatfield(stack, flatfield, channels)
    with pytest.raises(ValueError, match=r"3 rows.*2 planes"):
        apply_flatfield(stack, flatfield, channels, {"channel": np.ones(3, int)})
    with pytest.raises(ValueError, match=r"\(2, 2, 9, 256\)"):
        apply_flatfield(stack[:, :9], flatfield, channels)
    with pytest.raises(ValueError, match="not above 0"):
        apply_flatfield(stack, flatfield * 0, channels, {"channel": np.array([1, 2])})
    with pytest.raises(ValueError, match="error, pass"):
        apply_flatfield(stack, flatfield, channels, missing="skip")


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("on_device", [True, False])
def test_a_device_gives_the_same_pixels(cupy_standin, dtype, on_device):
    flatfield, channels = a_field()
    stack = np.random.default_rng(0).uniform(0, 60_000, (2, *SHAPE)).astype(dtype)
    planes = {"channel": np.array([2, 1])}
    given = cupy_standin.asarray(flatfield) if on_device else flatfield
    device = apply_flatfield(cupy_standin.asarray(stack), given, channels, planes, keep_dark=True)
    host = apply_flatfield(stack, flatfield, channels, planes, keep_dark=True)
    np.testing.assert_array_equal(device.get(), host)


def test_a_device_field_corrects_a_host_stack(cupy_standin):
    flatfield, channels = a_field((1,))
    stack = np.full((1, *SHAPE), 700, np.uint16)
    found = apply_flatfield(stack, cupy_standin.asarray(flatfield), channels)
    np.testing.assert_array_equal(found, apply_flatfield(stack, flatfield, channels))


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_peak_memory_stays_below_what_is_declared(planes, dtype):
    stack = np.full((planes, 1000, 1000), 500, dtype)
    flatfield, channels = a_field((1,), stack.shape[1:])
    apply_flatfield(stack, flatfield, channels)
    tracemalloc.start()
    apply_flatfield(stack, flatfield, channels)
    peak = stack.nbytes + flatfield[0].nbytes + tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    spec = spec_of(apply_flatfield)
    assert peak <= spec.cost().of(stack) <= 3 * peak


def background_spread(planes):
    """Standard deviation over 8 x 8 sub-regions of the median over planes of their lower quantile."""
    parts = [
        [np.quantile(p, 0.3) for row in np.array_split(plane, 8) for p in np.array_split(row, 8, axis=1)]
        for plane in planes
    ]
    parts = np.array(parts) / np.mean(parts, axis=1, keepdims=True)
    return np.median(parts, axis=0).std()


@pytest.mark.parametrize(
    ("name", "folder", "channel", "ratio"),
    [
        ("arrayscan_transfluor_multisite", "", 2, 4),
        ("bbbc013_fkhr_translocation", "images", 2, 1),
        ("imagexpress_export_zstack", "", 2, 4),
    ],
)
def test_real_plates_become_more_even(real_data, name, folder, channel, ratio):
    from hcs_steps.plate import open_plate, read_plane

    root = real_data(name) / folder
    chosen = [plane for plane in open_plate(root).planes if plane.channel == channel][:16]
    planes = [read_plane(root, plane).astype(np.float32) for plane in chosen]
    found = flatfield_from_planes(planes, places=[(plane.well, plane.site) for plane in chosen])
    before = background_spread([plane - found.dark for plane in planes])
    after = background_spread([(plane - found.dark) / found.gain for plane in planes])
    assert after < before / ratio


def test_a_real_plate_agrees_with_the_microscopes_own_field(real_data):
    from hcs_steps.plate import open_plate, read_plane, vendor_flatfield

    root = real_data("operetta_harmony_plate") / "operetta_plate"
    inventory = open_plate(root)
    planes = [read_plane(root, plane) for plane in inventory.planes]
    own, _ = vendor_flatfield(root, inventory.metadata, 1, planes[0].shape)
    found = flatfield_from_planes(planes)
    assert isinstance(found, Flatfield)
    # Two crowded images: near the corners, which the polynomial of the microscope lets fall far, they differ.
    assert np.corrcoef(found.gain.ravel(), own.ravel())[0, 1] > 0.8
    assert np.std(found.gain / own) < 0.75 * np.std(own)
