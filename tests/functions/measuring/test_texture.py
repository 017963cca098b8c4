"""Texture against scikit-image's co-occurrence matrix of each object and Haralick's formulas on it."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.feature import graycomatrix, graycoprops

from hcs_steps.functions.measuring import regions as walking
from hcs_steps.functions.measuring.regions import find_regions
from hcs_steps.functions.measuring.texture import FEATURES, TextureOptions, textures

LEVELS = 12


def measure(labels, image, scales=(1,), levels=LEVELS, directions="each", limits=None):
    options = TextureOptions(scales, levels, directions, limits)
    return textures(find_regions(labels), ["GFP"], [image.ravel()], options)[0]


def matrix(labels, number, image, scale, direction, levels=LEVELS, limits=None):
    mask = labels == number
    values = image.astype(np.float64)
    low, high = limits or (values[mask].min(), values[mask].max())
    grey = np.floor((values - low) * levels / max(high - low, 1e-300)).clip(0, levels - 1)
    grey = np.where(mask, grey, levels).astype(np.uint16)
    reach = scale * (np.sqrt(2) if direction % 2 else 1)
    counts = graycomatrix(grey, [reach], [direction * np.pi / 4], levels=levels + 1, symmetric=True)
    counts = counts[:levels, :levels]
    return counts / counts.sum()


def haralick(p):
    n = len(p)
    i, j = np.mgrid[:n, :n]
    px = p.sum(axis=1)
    sums = np.bincount((i + j).ravel(), p.ravel())
    differences = np.bincount(abs(i - j).ravel(), p.ravel())
    steps = np.arange(n)
    mean = (steps * px).sum()
    variance = ((steps - mean) ** 2 * px).sum()

    def entropy(values):
        values = values[values > 0]
        return -(values * np.log2(values)).sum()

    outer = np.outer(px, px)
    there = outer > 0
    hxy1 = -(p[there] * np.log2(outer[there])).sum()
    hxy2 = -(outer[there] * np.log2(outer[there])).sum()
    mean_sum = (np.arange(2 * n - 1) * sums).sum()
    mean_difference = (steps * differences).sum()
    return dict(
        zip(
            FEATURES,
            (
                (p**2).sum(),
                ((i - j) ** 2 * p).sum(),
                ((i - mean) * (j - mean) * p).sum() / variance,
                variance,
                (p / (1 + (i - j) ** 2)).sum(),
                mean_sum,
                ((np.arange(2 * n - 1) - mean_sum) ** 2 * sums).sum(),
                entropy(sums),
                entropy(p.ravel()),
                ((steps - mean_difference) ** 2 * differences).sum(),
                entropy(differences),
                (entropy(p.ravel()) - hxy1) / entropy(px),
                np.sqrt(1 - np.exp(-2 * (hxy2 - entropy(p.ravel())))),
            ),
            strict=True,
        )
    )


@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize("direction", range(4))
def test_the_thirteen_features_follow_haralicks_formulas(crowd, texture_image, scale, direction):
    measured = measure(crowd, texture_image, (scale,))
    numbers, areas = np.unique(crowd[crowd > 0], return_counts=True)
    for place in np.flatnonzero(areas > 150)[:4]:
        p = matrix(crowd, numbers[place], texture_image, scale, direction)[:, :, 0, 0]
        for feature, value in haralick(p).items():
            column = f"Texture_{feature}_GFP_{scale}_{direction:02}_{LEVELS}"
            assert measured[column][place] == pytest.approx(value, rel=1e-9), feature


def test_four_features_are_those_of_graycoprops(crowd, texture_image):
    measured = measure(crowd, texture_image, limits=(0, 4000))
    numbers, areas = np.unique(crowd[crowd > 0], return_counts=True)
    place = int(np.argmax(areas))
    p = matrix(crowd, numbers[place], texture_image, 1, 0, limits=(0, 4000))
    names = {"Contrast": "contrast", "AngularSecondMoment": "ASM", "Correlation": "correlation"}
    for ours, theirs in {**names, "InverseDifferenceMoment": "homogeneity"}.items():
        expected = graycoprops(p, theirs)[0, 0]
        assert measured[f"Texture_{ours}_GFP_1_00_{LEVELS}"][place] == pytest.approx(expected, rel=1e-9)


def test_the_mean_is_over_the_directions_that_have_pairs(texture_image):
    labels = np.zeros(texture_image.shape, dtype=np.uint8)
    labels[10, 10:40] = 1
    labels[20:50, 20:50] = 2
    each, mean = (measure(labels, texture_image, directions=kind) for kind in ("each", "mean"))
    for feature in FEATURES:
        ours = mean[f"Texture_{feature}_GFP_1_Mean_{LEVELS}"]
        parts = np.stack(
            [each[f"Texture_{feature}_GFP_1_{kind}_{LEVELS}"] for kind in ("00", "01", "02", "03")]
        )
        assert ours[0] == parts[0, 0]
        assert ours[1] == pytest.approx(parts[:, 1].mean())


def test_texture_ignores_brightness_and_contrast_unless_limits_are_given(crowd, texture_image):
    dim = texture_image.astype(np.float64)
    bright = 4 * dim + 100
    relative = [measure(crowd, image, directions="mean") for image in (dim, bright)]
    absolute = [measure(crowd, image, directions="mean", limits=(0, 20000)) for image in (dim, bright)]
    contrast = f"Texture_Contrast_GFP_1_Mean_{LEVELS}"
    np.testing.assert_allclose(relative[0][contrast], relative[1][contrast])
    assert np.nanmedian(absolute[1][contrast] / absolute[0][contrast]) > 4


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_flat_object_has_the_texture_of_a_single_cell_and_a_single_pixel_none():
    labels = np.zeros((20, 20), dtype=np.uint8)
    labels[2:9, 2:9], labels[15, 15] = 1, 2
    measured = measure(labels, np.full((20, 20), 9, np.uint16), directions="mean")
    values = {feature: measured[f"Texture_{feature}_GFP_1_Mean_{LEVELS}"] for feature in FEATURES}
    assert values["AngularSecondMoment"][0] == values["Correlation"][0] == 1
    assert values["Entropy"][0] == values["Contrast"][0] == values["InfoMeas2"][0] == 0
    assert all(np.isnan(column[1]) for column in values.values())


def test_256_levels_and_small_blocks_give_the_same(crowd, texture_image, monkeypatch):
    whole = measure(crowd, texture_image, levels=256, directions="mean")
    monkeypatch.setattr(walking.Regions, "block_pixels", 200)
    for name, values in measure(crowd, texture_image, levels=256, directions="mean").items():
        np.testing.assert_allclose(values, whole[name], rtol=1e-12)
