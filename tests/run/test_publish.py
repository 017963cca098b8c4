"""What the images of a unit are called."""

from __future__ import annotations

import pytest

from hcs_steps.plate.inventory import Plane
from hcs_steps.run.publish import _delivered_names
from hcs_steps.storage.protocol import PlaneKey


@pytest.mark.parametrize(
    ("places", "names"),
    [
        ([("T1/a_w1.TIF", 0), ("T1/a_w2.TIF", 0)], ["a_w1", "a_w2"]),
        ([("stack.tif", 0), ("stack.tif", 1)], [None, None]),
        ([("stack.tif", 1)], [None]),
        ([("B/03/0/0", 0)], [None]),
        ([("plate.czi", 0), ("other.tif", 0)], [None, "other"]),
    ],
)
def test_only_a_file_of_one_plane_gives_it_its_name(places, names):
    planes = {
        PlaneKey(1, channel, 1, 1): Plane("B03", 1, channel, 1, 1, path, page)
        for channel, (path, page) in enumerate(places, 1)
    }
    found = _delivered_names(planes)
    assert [found.get(key) for key in planes] == names
