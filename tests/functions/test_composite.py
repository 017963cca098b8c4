from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hcs_steps.functions.composite import create_composite
from hcs_steps.functions.declare import spec_of


@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))),
    st.data(),
)
def test_it_is_numpys_weighted_average(stack, data):
    weight = st.floats(0.01, 100)
    weights = data.draw(st.lists(weight, min_size=len(stack), max_size=len(stack)))
    result = create_composite(stack, weights)
    assert result.shape == (1, *stack.shape[1:])
    assert result.dtype == np.uint8
    assert np.abs(result[0] - np.average(stack, axis=0, weights=weights)).max() <= 0.5 + 1e-9


def test_equal_weights_by_default_and_rounding_half_to_even():
    stack = np.array([[[0, 1, 255]], [[1, 2, 255]]], dtype=np.uint8)
    assert create_composite(stack)[0].tolist() == [[0, 2, 255]]


def test_the_highest_value_survives_uneven_weights():
    stack = np.full((3, 300, 2), 65535, np.uint16)
    assert (create_composite(stack, [0.1, 0.2, 0.7]) == 65535).all()


def test_floats_keep_their_dtype_and_a_plane_of_weight_zero_is_left_out():
    stack = np.array([[[1.0]], [[np.nan]], [[4.0]]], dtype=np.float32)
    result = create_composite(stack, [1, 0, 2])
    assert result.dtype == np.float32
    assert result[0, 0, 0] == 3


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ([1.0], "1 weights for a stack of 2 planes"),
        ([1.0, -1.0], "negative"),
        ([0.0, 0.0], "positive"),
        ([1.0, float("nan")], "finite"),
    ],
)
def test_impossible_weights_are_refused(weights, text):
    with pytest.raises(ValueError, match=text):
        create_composite(np.zeros((2, 3, 3), np.uint8), weights)


def test_only_stacks_are_accepted():
    with pytest.raises(ValueError, match="N, Y, X"):
        create_composite(np.zeros((3, 3), np.uint8))


def test_declaration():
    assert spec_of(create_composite).reduces
