"""Parents, children and joined rows."""

from __future__ import annotations

import numpy as np
import pytest

from hcs_steps.functions.measuring.regions import find_regions
from hcs_steps.functions.measuring.relate import Rows, children_per_parent, largest_overlap, same_number


@pytest.mark.parametrize("seed", range(5))
def test_the_parent_is_the_object_that_shares_most_pixels(seed):
    rng = np.random.default_rng(seed)
    children, parents = (np.kron(rng.integers(0, 9, (12, 12)), np.ones((3, 3), int)) for _ in range(2))
    parents = np.roll(parents, 1, axis=(0, 1)) * 100
    found = largest_overlap(find_regions(children), find_regions(parents))
    numbers = np.unique(parents[parents > 0])
    for place, child in enumerate(np.unique(children[children > 0])):
        shared = [np.sum((children == child) & (parents == number)) for number in numbers]
        assert found[place] == (np.argmax(shared) if max(shared) else -1)


def test_a_tie_goes_to_the_lowest_label_and_an_orphan_to_none():
    children = np.array([[1, 1, 0, 2]])
    parents = np.array([[9, 4, 0, 0]])
    assert largest_overlap(find_regions(children), find_regions(parents)).tolist() == [0, -1]
    assert largest_overlap(find_regions(children), find_regions(0 * parents)).tolist() == [-1, -1]
    assert largest_overlap(find_regions(0 * children), find_regions(parents)).tolist() == []


def test_children_are_counted_per_parent():
    assert children_per_parent(np.array([2, 0, 2, -1]), 4).tolist() == [1, 0, 2, 0]


def test_objects_of_the_same_number():
    one, other = (find_regions(np.array([numbers])) for numbers in ([1, 5, 9], [5, 7, 9]))
    assert same_number(one, other).tolist() == [-1, 0, 2]


def test_joining_loses_no_object_and_keeps_the_order_of_the_first_set():
    rows = Rows()
    rows.join("Nuclei", 3)
    rows.join("Cells", 4, "Nuclei", np.array([2, 2, -1]))
    rows.join("Cytoplasm", 5, "Cells", np.array([0, 1, 2, -1]))
    assert rows.objects["Nuclei"].tolist() == [0, 1, 2, -1, -1, -1, -1, -1]
    assert rows.objects["Cells"].tolist() == [2, 2, -1, 0, 1, 3, -1, -1]
    assert rows.objects["Cytoplasm"].tolist() == [2, 2, -1, 0, 1, -1, 3, 4]
    assert rows.count == 8
