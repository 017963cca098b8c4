"""Intensities against NumPy on each object's pixels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.segmentation import find_boundaries

from hcs_steps.functions.measuring import intensity, regions
from hcs_steps.functions.measuring.intensity import intensities
from hcs_steps.functions.measuring.outline import find_outline
from hcs_steps.functions.measuring.regions import find_regions

REFERENCE = {
    "MeanIntensity": np.mean,
    "IntegratedIntensity": np.sum,
    "StdIntensity": np.std,
    "MinIntensity": np.min,
    "MaxIntensity": np.max,
    "MedianIntensity": np.median,
    "LowerQuartileIntensity": lambda v: np.quantile(v, 0.25),
    "UpperQuartileIntensity": lambda v: np.quantile(v, 0.75),
}


def measure(labels, image):
    found = find_regions(labels)
    return intensities(found, find_outline(found), image.ravel())


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "uint32", "float32", "float64"])
def test_every_statistic_is_numpys_on_the_pixels_of_the_object(crowd, texture_image, dtype):
    image = texture_image.astype(np.float64)
    if dtype not in ("uint16", "uint32"):
        image = image / 13 - (0 if dtype == "uint8" else 90)
    image = image.clip(0, 255).astype(dtype) if dtype == "uint8" else image.astype(dtype)
    measured = measure(crowd, image)
    for place, number in enumerate(np.unique(crowd[crowd > 0])):
        values = image[crowd == number].astype(np.float64)
        for name, function in REFERENCE.items():
            assert measured[f"Intensity_{name}"][place] == pytest.approx(function(values), rel=1e-9, abs=1e-9)


DTYPES = [
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int16",
    "int64",
    "float16",
    "float32",
    "float64",
    ">f4",
    ">f8",
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_order_statistics_of_objects_that_are_alone_in_a_block(dtype, count):
    labels = np.zeros((300, 300), dtype=np.uint8)
    labels[5:9, 5:10] = 1
    if count > 1:
        labels[20:290, 10:280] = 2
    if count > 2:
        labels[295:, 100:200] = 3
    found = find_regions(labels)
    assert (count > 1) == (found.areas.max() > found.block_pixels)
    assert {block.count for block in found.blocks()} == {1}
    image = np.random.default_rng(count).random(labels.shape)
    kind = np.dtype(dtype).kind
    image = (image - 0.5 * (kind in "if") if kind == "f" else image * np.iinfo(dtype).max / 2).astype(dtype)
    measured = measure(labels, image)
    for place in range(count):
        values = image[labels == place + 1].astype(np.float64)
        for name in intensity._QUANTILES:
            expected = REFERENCE[name](values)
            assert measured[f"Intensity_{name}"][place] == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_order_statistics_of_the_greatest_whole_numbers():
    image = np.array([[2**63 + 4096, 2**64 - 4096, 2**63 + 8192]], dtype=np.uint64)
    measured = measure(np.array([[1, 1, 2]]), image)
    np.testing.assert_array_equal(measured["Intensity_MinIntensity"], [2**63 + 4096, 2**63 + 8192])
    np.testing.assert_array_equal(measured["Intensity_MaxIntensity"], [2**64 - 4096, 2**63 + 8192])


def test_order_statistics_when_a_key_does_not_fit_into_a_word(crowd):
    image = np.random.default_rng(0).integers(-(2**62), 2**62, crowd.shape)
    measured = measure(crowd, image)
    expected = ndimage.maximum(image, crowd, np.unique(crowd[crowd > 0]))
    np.testing.assert_allclose(measured["Intensity_MaxIntensity"], expected, rtol=1e-12)


def test_the_edge_is_the_inner_boundary_within_the_plane(crowd, texture_image):
    edge = find_boundaries(crowd.astype(np.int64), mode="inner")
    numbers = np.unique(crowd[crowd > 0])
    measured = measure(crowd, texture_image)
    outlined = np.where(edge, crowd, 0)
    for place, number in enumerate(numbers):
        values = texture_image[outlined == number].astype(np.float64)
        for name in ("MeanIntensity", "IntegratedIntensity", "StdIntensity", "MinIntensity", "MaxIntensity"):
            expected = REFERENCE[name](values)
            assert measured[f"Intensity_{name}Edge"][place] == pytest.approx(expected, rel=1e-9)


def test_mass_displacement_is_the_way_from_the_centroid_to_the_centre_of_mass(crowd, texture_image):
    numbers = np.unique(crowd[crowd > 0])
    mass = np.array(ndimage.center_of_mass(texture_image, crowd, numbers))
    middle = np.array(ndimage.center_of_mass(np.ones(crowd.shape), crowd, numbers))
    measured = measure(crowd, texture_image)
    np.testing.assert_allclose(measured["Location_CenterMassIntensity_Y"], mass[:, 0], rtol=1e-10)
    np.testing.assert_allclose(measured["Location_CenterMassIntensity_X"], mass[:, 1], rtol=1e-10)
    shift = np.hypot(*(mass - middle).T)
    np.testing.assert_allclose(measured["Intensity_MassDisplacement"], shift, atol=1e-9)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_black_object_has_no_centre_of_mass_and_an_object_without_edge_no_edge_intensity():
    measured = measure(np.ones((4, 5), np.uint8), np.zeros((4, 5), np.uint16))
    assert measured["Intensity_MeanIntensity"][0] == 0
    for name in ("Intensity_MassDisplacement", "Intensity_MeanIntensityEdge", "Intensity_MaxIntensityEdge"):
        assert np.isnan(measured[name][0])


def test_the_size_of_the_blocks_does_not_matter(crowd, texture_image, monkeypatch):
    whole = measure(crowd, texture_image)
    monkeypatch.setattr(regions.Regions, "block_pixels", 300)
    cut = measure(crowd, texture_image)
    for name, values in whole.items():
        np.testing.assert_allclose(cut[name], values, rtol=1e-12)


def test_quantiles_of_an_object_do_not_depend_on_other_objects():
    labels = np.repeat([[1, 2]], 50, axis=0)
    image = np.stack([np.arange(50), np.arange(50) + 60000], axis=1).astype(np.uint16)
    measured = measure(labels.astype(np.uint8), image)
    np.testing.assert_allclose(measured["Intensity_MedianIntensity"], [24.5, 60024.5])
    assert set(intensity._QUANTILES) <= {name.removeprefix("Intensity_") for name in measured}
