"""The description that ImageJ and Fiji write, and the pixel size in it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tifffile

from hcs_steps.plate import open_plate
from hcs_steps.plate.formats.imagej import parse_imagej


@pytest.mark.parametrize(
    ("unit", "per_unit", "size"),
    [
        ("micron", 2.0, 0.5),
        ("um", 3.0769230769, 0.325),
        ("µm", 4.0, 0.25),
        ("\\u00B5m", 4.0, 0.25),
        ("nm", 0.01, 0.1),
        ("mm", 1000.0, 1.0),
        ("cm", 10000.0, 1.0),
    ],
)
def test_the_unit_is_in_the_text_and_the_number_in_the_tag(unit, per_unit, size):
    facts = parse_imagej(f"ImageJ=1.53t\nimages=3\nunit={unit}\nloop=false\n", per_unit)
    assert facts.pixel_size_um == pytest.approx(size)


@pytest.mark.parametrize(
    ("text", "per_unit"),
    [
        ("ImageJ=1.53t\nunit=pixel\n", 2.0),
        ("ImageJ=1.53t\nunit=inch\n", 300.0),
        ("ImageJ=1.53t\nimages=3\n", 2.0),
        ("ImageJ=1.53t\nunit=micron\n", 0.0),
        ("ImageJ=1.53t\nunit=micron\n", -1.0),
        ("ImageJ=1.53t", 2.0),
    ],
)
def test_without_a_length_the_size_is_unknown(text, per_unit):
    assert math.isnan(parse_imagej(text, per_unit).pixel_size_um)


@pytest.mark.parametrize("text", ["", "unit=micron", "<MetaData/>", "imagej=1.53t"])
def test_other_texts_are_none_of_imagej(text):
    assert parse_imagej(text, 2.0) is None


def test_a_file_of_imagej_gives_the_plate_its_pixel_size(tmp_path):
    tifffile.imwrite(
        tmp_path / "A01.tif",
        np.zeros((4, 4), "uint16"),
        imagej=True,
        resolution=(2, 2),
        metadata={"unit": "um"},
    )
    inventory = open_plate(tmp_path, pattern=r"(?P<well>\w+)\.tif")
    assert (inventory.pixel_size_um, inventory.pixel_size_source) == (0.5, "metadata")


def test_a_resolution_without_a_unit_is_no_pixel_size(tmp_path):
    tifffile.imwrite(tmp_path / "A01.tif", np.zeros((4, 4), "uint16"), imagej=True, resolution=(2, 2))
    assert open_plate(tmp_path, pattern=r"(?P<well>\w+)\.tif").pixel_size_source == "unknown"
