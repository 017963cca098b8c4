from __future__ import annotations

import math
from datetime import datetime

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from hcs_steps.errors import PlateError
from hcs_steps.plate.formats.metaseries import parse_metaseries
from hcs_steps.plate.synthetic.imagexpress import metaseries_text
from hcs_steps.plate.tiff_header import HeaderFacts, read_header

TEXT = metaseries_text("B02", 3, "DAPI", position_um=(1.5, -2.25, 7), pixel_size_um=0.65, shape=(4, 6))


def test_facts():
    meta = parse_metaseries(TEXT)
    assert (meta.x_um, meta.y_um, meta.z_um, meta.pixel_size_um) == (1.5, -2.25, 7, 0.65)
    assert meta.channel_name == "DAPI"
    assert meta.acquired == datetime(2024, 1, 1, 12)


def test_slightly_malformed_text_costs_one_value_only():
    broken = TEXT.replace(
        "<PlaneInfo>", '<PlaneInfo><prop id="Description" type="string" value="a < b & c"/>'
    )
    broken = broken.replace("</MetaData>", "").replace('value="7"', 'value="seven"') + "\0\x01"
    meta = parse_metaseries(broken)
    assert (meta.x_um, meta.pixel_size_um) == (1.5, 0.65)
    assert math.isnan(meta.z_um)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('value="um"', 'value="nm"', 0.65e-3),
        ('value="um"', 'value="pixels"', math.nan),
        ('"bool" value="on"', '"bool" value="off"', math.nan),
        ('value="0.65"', 'value="0"', math.nan),
        ('value="0.65"', 'value="inf"', math.nan),
    ],
)
def test_calibration(old, new, expected):
    assert parse_metaseries(TEXT.replace(old, new)).pixel_size_um == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("extra", ["<!DOCTYPE x>", '<!doctype x [<!ENTITY a "b">]>', '<! ENTITY a "b">'])
def test_declarations_are_refused(extra):
    with pytest.raises(PlateError, match="DOCTYPE"):
        parse_metaseries(extra + TEXT)


@given(st.text(max_size=200))
def test_any_text(text):
    assert parse_metaseries(text) is None or "prop" in text


def test_header_of_a_file_with_doctype_keeps_shape_and_says_why(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((4, 6), "uint16"), description="<!DOCTYPE x>" + TEXT, metadata=None)
    header = read_header(path)
    assert (header.height, header.width, header.dtype) == (4, 6, "uint16")
    assert repr(header.facts) == repr(HeaderFacts())
    assert "DOCTYPE" in header.note


@pytest.mark.parametrize("content", [b"", b"II*\0", b"not a tiff at all", b"II*\0\xff\xff\xff\x7f"])
def test_damaged_files_are_plate_errors(tmp_path, content):
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    with pytest.raises(PlateError, match="cannot be read as TIFF"):
        read_header(path)


def test_colour_images_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((4, 6, 3), "uint8"), photometric="rgb")
    with pytest.raises(PlateError, match="not a grey image"):
        read_header(path)
