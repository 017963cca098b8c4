"""Quality per plane: against CellProfiler's definition, known planes, blur, and real focal planes."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import ndimage

from hcs_steps.functions.declare import spec_of
from hcs_steps.functions.quality import focus_score, image_quality, saturation, signal_to_background

SLOPE = "ImageQuality_PowerLogLogSlope"


def cells(shape=(256, 256), seed=0, noise=5.0):
    rng = np.random.default_rng(seed)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    image = np.zeros(shape)
    for y, x in rng.uniform(15, min(shape) - 15, (25, 2)):
        image[(rows - y) ** 2 + (columns - x) ** 2 < 64] = rng.uniform(300, 900)
    return image + 200 + rng.normal(0, noise, shape)


def slopes(*planes, **parameters):
    return [focus_score(np.asarray(p)[None], **parameters)[1][SLOPE][0] for p in planes]


def reference_slope(image):
    """The definition on the whole two-dimensional spectrum."""
    spectrum = np.abs(np.fft.fft2(image - image.mean())) ** 2
    frequency = [np.abs(np.fft.fftfreq(size, 1 / size)) for size in image.shape]
    ring = np.floor(np.hypot(frequency[0][:, None], frequency[1])).astype(int) + 1
    numbers = np.arange(2, int(min(image.shape) / 8))
    power = [spectrum[ring == number].sum() for number in numbers]
    return np.polyfit(np.log(numbers), np.log(power), 1)[0]


@pytest.mark.parametrize("shape", [(128, 128), (130, 97), (64, 201)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_the_slope_is_that_of_the_whole_spectrum(shape, dtype):
    plane = (cells((201, 201))[: shape[0], : shape[1]] / 8).astype(dtype)
    np.testing.assert_allclose(slopes(plane)[0], reference_slope(plane.astype(float)), atol=1e-4)


def test_white_noise_has_a_slope_near_one():
    # Rings are wider the larger they are, and of even power per frequency.
    assert slopes(np.random.default_rng(0).normal(size=(512, 512)))[0] == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize(("window", "widths"), [("none", (0, 1, 2, 3, 4, 6)), ("hann", (0, 1, 2, 4, 6, 8))])
def test_blur_lowers_the_slope(window, widths):
    plane = cells(noise=0.5)
    found = slopes(*(ndimage.gaussian_filter(plane, width) for width in widths), window=window)
    assert (np.diff(found) < -0.05).all()


def test_the_slope_does_not_depend_on_gain_and_offset():
    plane = cells()
    np.testing.assert_allclose(slopes(plane), slopes(plane * 37 + 1e4), atol=1e-9)


def test_planes_without_a_slope_are_nan():
    broken = cells().copy()
    broken[3, 3] = np.nan
    assert np.isnan(slopes(np.full((64, 64), 7, np.uint16), np.full((64, 64), 0.1), broken)).all()
    assert np.isnan(slopes(np.zeros((1, 1)), cells((31, 200)))).all()
    assert np.isfinite(slopes(cells((256, 256))[:32, :32]))


def test_real_planes_out_of_focus_rank_below(real_data):
    import tifffile

    root = real_data("imagexpress_export_zstack") / "9987_Plate_3433" / "TimePoint_1"
    for field in ("B03_s1_w1", "B03_s1_w2", "B03_s2_w1"):
        middle, outer = (tifffile.imread(root / f"ZStep_{z}" / f"9987_{field}.TIF") for z in (2, 3))
        assert slopes(middle)[0] > slopes(outer)[0]


def numbers(table):
    return {name.removeprefix("ImageQuality_"): column[0] for name, column in table.items()}


@pytest.mark.parametrize(
    ("low", "high", "scale", "dtype", "level"),
    [
        (0, 255, 1, np.uint8, 255),
        (0, 4095, 1, np.uint16, 4095),
        (0, 4095, 16, np.uint16, 65520),
        (0, 255, 257, np.uint16, 65535),
        (5, 16383, 1, np.uint16, 16383),
        (0, 65535, 1, np.uint16, 65535),
        (0, 65535, 1, np.int32, 65535),
        (-32768, 32767, 1, np.int16, 32767),
    ],
)
def test_clipped_pixels_are_found_at_the_depth_in_use(low, high, scale, dtype, level):
    plane = np.linspace(low + 1, high - 1, 10_000).round().reshape(100, 100)
    plane[:3] = high
    plane[3:5] = low
    found = numbers(saturation((plane * scale).astype(dtype)[None])[1])
    assert found["SaturationLevel"] == level
    assert found["PercentMaximal"] == pytest.approx(3)
    assert found["PercentMinimal"] == pytest.approx(2 if low <= 0 else 0)
    assert (found["MinIntensity"], found["MaxIntensity"]) == (low * scale, high * scale)


def test_a_dim_plane_is_not_saturated():
    found = numbers(saturation(cells().astype(np.uint16)[None])[1])
    assert (found["PercentMaximal"], found["PercentMinimal"]) == (0, 0)
    assert numbers(saturation(np.full((1, 9, 9), 65535, np.uint16))[1])["PercentMaximal"] == 100


def test_a_bit_depth_can_be_given():
    plane = np.arange(10_000, dtype=np.uint16).reshape(1, 100, 100) % 1000
    assert numbers(saturation(plane)[1])["SaturationLevel"] == 1023
    found = numbers(saturation(plane, bit_depth=9)[1])
    assert found["SaturationLevel"] == 511
    assert found["PercentMaximal"] == pytest.approx(100 * (1000 - 511) / 1000)


def test_floats_are_clipped_at_their_own_extremes():
    plane = np.linspace(0, 1, 100).reshape(10, 10)
    plane[0, :5] = 2.5
    plane[1, 0], plane[1, 1] = np.nan, np.inf
    found = numbers(saturation(plane[None])[1])
    assert found["PercentMaximal"] == pytest.approx(100 * 5 / 98)
    assert found["MaxIntensity"] == found["SaturationLevel"] == 2.5


def test_signal_to_background_is_the_ratio_of_the_medians():
    plane = np.full((100, 100), 100.0)
    plane[:10] = 450
    found = numbers(signal_to_background(plane[None])[1])
    assert found == {
        "SignalToBackground": 4.5, "SignalIntensity": 450, "BackgroundIntensity": 100, "plane": 0
    }  # fmt: skip
    assert numbers(signal_to_background(plane[None], dark=50)[1])["SignalToBackground"] == 8


def test_signal_to_background_against_otsu():
    from skimage.filters import threshold_otsu

    plane = cells(seed=3).astype(np.uint16)
    limit = threshold_otsu(plane)  # of the values themselves, for integers
    expected = np.median(plane[plane > limit]) / np.median(plane[plane <= limit])
    assert numbers(signal_to_background(plane[None])[1])["SignalToBackground"] == pytest.approx(
        expected, rel=0.02
    )


def test_hot_pixels_and_empty_planes_have_no_signal():
    noise = np.random.default_rng(0).normal(500, 10, (300, 300)).astype(np.uint16)
    plain = numbers(signal_to_background(noise[None])[1])["SignalToBackground"]
    noise[10, 10:30] = 65535
    hot = numbers(signal_to_background(noise[None])[1])["SignalToBackground"]
    assert plain == pytest.approx(1.03, abs=0.02)
    assert hot == pytest.approx(plain, abs=0.01)
    flat = numbers(signal_to_background(np.full((1, 4, 4), 9, np.uint8))[1])
    assert flat["SignalToBackground"] == 1
    dark = np.zeros((1, 20, 20), np.uint8)
    assert np.isnan(numbers(signal_to_background(dark)[1])["SignalToBackground"])
    dark[0, :5] = 9
    assert numbers(signal_to_background(dark)[1])["SignalToBackground"] == np.inf


def test_all_of_them_come_in_one_table():
    stack = np.stack([cells(seed=seed) for seed in range(3)]).astype(np.uint16)
    same, table = image_quality(stack, dark=20)
    assert same is stack
    parts = [focus_score(stack), saturation(stack), signal_to_background(stack, dark=20)]
    expected = {name: column for _, part in parts for name, column in part.items()}
    assert table.keys() == expected.keys()
    for name, column in table.items():
        np.testing.assert_array_equal(column, expected[name])
    assert table["plane"].tolist() == [0, 1, 2]
    assert table["plane"].dtype.kind == "i"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1), (3, 70), (64, 40)])
def test_any_dtype_and_size(dtype, shape):
    stack = cells()[None, : shape[0], : shape[1]].astype(dtype)
    table = image_quality(stack)[1]
    assert all(column.shape == (1,) for column in table.values())
    nothing = np.full((1, *shape), np.nan) if np.dtype(dtype).kind == "f" else stack
    image_quality(nothing)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("window", ["none", "hann"])
def test_a_device_gives_the_same_numbers(cupy_standin, dtype, window):
    stack = np.stack([cells(seed=seed) for seed in range(2)]).astype(dtype)
    device = cupy_standin.asarray(stack)
    same, table = image_quality(device, window=window)
    assert same is device
    for name, column in image_quality(stack, window=window)[1].items():
        np.testing.assert_allclose(table[name], column, rtol=1e-6)


def test_errors_name_what_is_allowed():
    stack = np.zeros((1, 40, 40), np.uint8)
    with pytest.raises(ValueError, match="none, hann"):
        focus_score(stack, window="box")
    with pytest.raises(ValueError, match="1 to 64"):
        saturation(stack, bit_depth=0)
    with pytest.raises(ValueError, match="finite"):
        signal_to_background(stack, dark=np.nan)
    with pytest.raises(ValueError, match=r"image\[None\]"):
        image_quality(stack[0])


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("function", [focus_score, saturation, signal_to_background, image_quality])
def test_peak_memory_stays_below_what_is_declared(function, dtype, planes):
    stack = np.repeat(cells((1000, 1000))[None], planes, axis=0).astype(dtype)
    function(stack[:, :64, :64])
    tracemalloc.start()
    function(stack)
    peak = stack.nbytes + tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    spec = spec_of(function)
    assert peak <= spec.cost().of(stack)
