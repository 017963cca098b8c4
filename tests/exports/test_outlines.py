"""Outlines along pixel edges: filled by another program's rule, they give back the labels they were made from."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage
from skimage.measure import points_in_poly

from hcs_steps.exports._outlines import outlines


def filled(found, shape):
    """The pixels whose centres lie inside an odd number of rings, as scikit-image sees it."""
    centres = np.indices(shape)[::-1].reshape(2, -1).T + 0.5
    image = np.zeros(shape, np.int64)
    for outline in found:
        rings = [ring for part in outline.parts for ring in part]
        inside = sum(points_in_poly(centres, ring).astype(int) for ring in rings)
        image[(inside % 2 == 1).reshape(shape)] = outline.label
    return image


def area(ring):
    x, y = ring.T.astype(float)
    return (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2


PICTURES = {
    "a single pixel": ["1"],
    "a pixel at every border": ["1.2", "...", "3.4"],
    "a hole": ["111", "1.1", "111"],
    "an object in a hole": ["11111", "1...1", "1.2.1", "1...1", "11111"],
    "touching objects": ["1122", "1322", "3332"],
    "two parts of one label": ["11..", "....", "..11"],
    "parts that share a corner": ["11..", "11..", "..11", "..11"],
    "a hole that opens at a corner": ["1111", "1..1", "1.1.", "111."],
    "two holes that share a corner": ["1111", "1.11", "11.1", "1111"],
    "a hole that shares a corner with the outside": [".11", "1.1", "111"],
    "all of the image": ["22", "22"],
}


@pytest.mark.parametrize("name", PICTURES)
def test_filling_the_outlines_gives_the_labels(name):
    labels = np.array([[int(c) if c != "." else 0 for c in row] for row in PICTURES[name]], np.uint16)
    np.testing.assert_array_equal(filled(outlines(labels), labels.shape), labels)


def test_a_pixel_is_its_four_corners_clockwise():
    labels = np.zeros((4, 5), np.int32)
    labels[2, 3] = 7
    (outline,) = outlines(labels)
    ((ring,),) = outline.parts
    assert outline.label == 7
    assert ring.tolist() == [[3, 2], [4, 2], [4, 3], [3, 3]]


def test_no_corner_is_listed_where_an_outline_goes_straight_on():
    (outline,) = outlines(np.ones((30, 40), bool).astype("u1"))
    assert outline.parts[0][0].tolist() == [[0, 0], [40, 0], [40, 30], [0, 30]]


def test_no_objects_have_no_outlines():
    assert outlines(np.zeros((5, 5), np.uint32)) == []


def test_large_numbers_and_any_integer_dtype_are_kept():
    assert [o.label for o in outlines(np.array([[0, 2**32 - 1, 5]], np.uint32))] == [5, 2**32 - 1]
    assert [o.label for o in outlines(np.array([[3, -2]], np.int64))] == [-2, 3]


images = arrays.arrays(
    np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 3)
)


@settings(max_examples=150, deadline=None)
@given(images)
def test_any_image_comes_back_and_every_part_is_a_simple_polygon(labels):
    found = outlines(labels)
    np.testing.assert_array_equal(filled(found, labels.shape), labels)
    for outline in found:
        own = labels == outline.label
        assert len(outline.parts) == ndimage.label(own)[1]  # 4-connected
        assert sum(area(ring) for part in outline.parts for ring in part) == own.sum()
        for outer, *holes in outline.parts:
            assert area(outer) > 0
            assert all(area(hole) < 0 for hole in holes)
            for ring in (outer, *holes):
                assert len({tuple(corner) for corner in ring.tolist()}) == len(ring)


@settings(max_examples=60, deadline=None)
@given(images)
def test_parts_are_valid_polygons_for_shapely(labels):
    shapely = pytest.importorskip("shapely", reason="shapely judges whether polygons are valid")
    for outline in outlines(labels):
        for outer, *holes in outline.parts:
            assert shapely.Polygon(outer, holes).is_valid
