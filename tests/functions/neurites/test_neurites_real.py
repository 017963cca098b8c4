"""Neurites of a rat hippocampal neuron from the raw image, beside a mask made by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from scipy import ndimage
from skimage.morphology import skeletonize

pytest.importorskip("skan")

from hcs_steps.functions.neurites.sholl import sholl
from hcs_steps.functions.neurites.tracing import skan_axon_skeletonize_and_analyze
from hcs_steps.functions.preprocessing.background import tophat
from hcs_steps.functions.preprocessing.normalize import stack_percentile_normalize


@pytest.fixture
def neuron(real_data):
    folder = real_data("neurite_rat_hippocampal")
    image = tifffile.imread(folder / "xy_16bit__rat_hippocampal_neuron.tif")
    return image[None], tifffile.imread(folder / "truth_binary.tif") > 0


def found(labels, mask):
    """Part of the mask's skeleton within 3 px of a skeleton, and pixels of that beyond 3 px of the mask's."""
    skeleton, truth = labels[0] > 0, skeletonize(mask)
    near = ndimage.distance_transform_edt(~skeleton)[truth] <= 3
    return near.mean(), int((ndimage.distance_transform_edt(~truth)[skeleton] > 3).sum())


def course(mask):
    """The main course of the neurites without the roughness of the mask's outline."""
    return ndimage.gaussian_filter(mask.astype(float), 3) > 0.5


def test_default_parameters_find_the_neurites_in_the_raw_image(neuron):
    stack, mask = neuron
    _, _, summary, labels = skan_axon_skeletonize_and_analyze(stack)
    part, beyond = found(labels, mask)
    assert part >= 0.90
    assert beyond <= 2000
    assert found(labels, course(mask))[0] >= 0.95
    assert summary["trees"][0] <= 15


def test_default_parameters_find_them_after_the_steps_of_a_pipeline(neuron):
    stack, mask = neuron
    normalised = stack_percentile_normalize(
        stack, low_percentile=1.0, high_percentile=99.0, target_max=65535.0
    )
    _, _, _, labels = skan_axon_skeletonize_and_analyze(tophat(normalised, selem_radius=50))
    part, beyond = found(labels, mask)
    assert part >= 0.90
    assert beyond <= 2700


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turning_the_image_changes_little(neuron, turns):
    stack, mask = neuron
    labels = skan_axon_skeletonize_and_analyze(np.rot90(stack, turns, axes=(1, 2)))[3]
    assert found(labels, np.rot90(mask, turns))[0] >= 0.88


def test_pruning_leaves_the_main_course(neuron):
    stack, mask = neuron
    _, _, summary, labels = skan_axon_skeletonize_and_analyze(
        stack, min_branch_length=12, skeleton_method="lee"
    )
    assert found(labels, course(mask))[0] >= 0.93
    assert summary["branches"][0] <= 250


def test_the_soma_is_the_centre_of_the_circles(neuron):
    stack, _ = neuron
    _, profile, summary = sholl(stack)
    assert summary["centre_y_px"][0] == pytest.approx(222, abs=12)
    assert summary["centre_x_px"][0] == pytest.approx(203, abs=15)
    around = (profile["radius_px"] > 70) & (profile["radius_px"] < 130)
    assert 6 <= np.median(profile["intersections"][around]) <= 16
    assert summary["regression_coefficient_per_px"][0] > 0
    assert summary["regression_r2"][0] > 0.7
