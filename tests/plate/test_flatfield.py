"""The illumination correction that a microscope keeps with a plate."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from hcs_steps.errors import PlateError
from hcs_steps.plate import open_plate, vendor_flatfield

SHAPE = (6, 8)
BOWL = {
    "character": "NonFlat",
    "mean": 100.0,
    "type": "Polynomial",
    "coefficients": [[1.0], [0.1, 0.0], [-0.02, 0.0, -0.02]],
    "dims": [8.0, 6.0],
    "origin": [3.5, 2.5],
    "scale": [1.0, 1.0],
}


def harmony(**parts):
    return {"flatfield": json.dumps({"1": parts})}


def test_a_profile_becomes_a_gain_of_mean_one():
    gain, dark = vendor_flatfield(None, harmony(foreground=BOWL), 1, SHAPE)
    assert gain.shape == SHAPE
    assert gain.dtype == dark.dtype == np.float32
    assert gain.mean() == pytest.approx(1, abs=1e-6)
    y, x = np.mgrid[:6, :8] - np.array([2.5, 3.5]).reshape(2, 1, 1)
    expected = 1 + 0.1 * x - 0.02 * x**2 - 0.02 * y**2
    np.testing.assert_allclose(gain, expected / expected.mean(), rtol=1e-5)
    assert not dark.any()


def test_the_foreground_is_used_before_the_background():
    both = vendor_flatfield(None, harmony(background={"character": "Flat"}, foreground=BOWL), 1, SHAPE)
    only = vendor_flatfield(None, harmony(foreground=BOWL), 1, SHAPE)
    np.testing.assert_array_equal(both[0], only[0])
    flat = vendor_flatfield(None, harmony(background={"character": "Flat"}), 1, SHAPE)
    assert (flat[0] == 1).all()


def test_a_plate_without_a_profile_for_the_channel_has_none():
    assert vendor_flatfield(None, {}, 1, SHAPE) is None
    assert vendor_flatfield(None, harmony(foreground=BOWL), 2, SHAPE) is None
    assert vendor_flatfield(None, {"shading_files": json.dumps({"1": "s.tif"})}, 2, SHAPE) is None


def test_images_that_are_corrected_already_are_not_corrected_twice():
    with pytest.raises(PlateError, match="corrected the illumination"):
        vendor_flatfield(None, {**harmony(foreground=BOWL), "flatfield_corrected": "yes"}, 1, SHAPE)


@pytest.fixture
def shading(tmp_path):
    """A shading image of gain 2 : 4 over a dark image of 100."""
    rng = np.random.default_rng(0)
    image = np.full(SHAPE, 300, np.uint16)
    image[:, 4:] = 500
    tifffile.imwrite(tmp_path / "SC.tif", image)
    tifffile.imwrite(tmp_path / "DC.tif", np.full(SHAPE, 100, np.uint16))
    tifffile.imwrite(tmp_path / "wrong.tif", rng.integers(0, 9, (3, 3)).astype(np.uint16))
    return tmp_path


def test_shading_images_are_taken_over_the_cameras_dark_image(shading):
    metadata = {"shading_files": json.dumps({"2": "SC.tif"}), "dark_files": json.dumps({"2": "DC.tif"})}
    gain, dark = vendor_flatfield(shading, metadata, 2, SHAPE)
    assert (dark == 100).all()
    np.testing.assert_allclose(gain[0], [2 / 3] * 4 + [4 / 3] * 4, rtol=1e-6)
    gain, dark = vendor_flatfield(shading, {"shading_files": metadata["shading_files"]}, 2, SHAPE)
    assert not dark.any()
    np.testing.assert_allclose(gain[0], [0.75] * 4 + [1.25] * 4, rtol=1e-6)


@pytest.mark.parametrize(
    ("light", "dark", "why"),
    [
        ("DC.tif", "DC.tif", "not brighter than the dark"),
        ("wrong.tif", "", "wrong.tif is"),
        ("no.tif", "", "cannot be read"),
    ],
)
def test_a_correction_image_that_cannot_serve_is_an_error(shading, light, dark, why):
    metadata = {
        "shading_files": json.dumps({"1": light}),
        "dark_files": json.dumps({"1": dark} if dark else {}),
    }
    with pytest.raises(PlateError, match=why):
        vendor_flatfield(shading, metadata, 1, SHAPE)


def test_the_profile_of_an_operetta_falls_off_smoothly(real_data):
    folder = real_data("operetta_harmony_plate")
    plate = next(path.parent for path in folder.rglob("Images"))
    inventory = open_plate(plate)
    gain, _ = vendor_flatfield(plate, inventory.metadata, 1, (1080, 1080))
    assert gain.mean() == pytest.approx(1, abs=1e-5)
    assert 0.3 < gain.min() < gain.max() < 2
    assert np.abs(np.diff(gain, axis=0)).max() < 0.01
