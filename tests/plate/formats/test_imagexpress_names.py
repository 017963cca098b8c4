from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcs_steps.plate.formats.imagexpress.names import (
    FolderNumbers,
    ImageName,
    format_image_name,
    parse_folders,
    parse_image_name,
)
from hcs_steps.plate.wells import well_name

GUID = "27CCB2E4-1BF4-45E7-8BC7-264B48EF9C4A"

names = st.builds(
    ImageName,
    # A plate name that ends in a well or token by itself would be read as one, as by MetaXpress.
    plate=st.from_regex(r"[A-Za-z0-9 _.-]{0,12}[x-z]", fullmatch=True).map(lambda text: text.lstrip("_")),
    well=st.builds(well_name, st.integers(0, 31), st.integers(0, 47)),
    site=st.none() | st.integers(0, 99_999),
    wave=st.none() | st.integers(1, 99),
    guid=st.just("") | st.uuids().map(lambda value: str(value).upper()),
    thumbnail=st.booleans(),
)


@given(names, st.sampled_from([".TIF", ".tif", ".tiff", ".Tiff"]))
def test_names_round_trip(name, extension):
    assert parse_image_name(format_image_name(name, extension)) == name


@given(st.text(max_size=60))
def test_any_text_is_a_name_or_none(text):
    parsed = parse_image_name(text)
    assert parsed is None or parsed.well


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("9987_B02_s1_w2.TIF", ("9987", "B02", 1, 2, "", False)),
        ("9987_B02_w2_s1.TIF", ("9987", "B02", 1, 2, "", False)),
        ("9987_B02.TIF", ("9987", "B02", None, None, "", False)),
        ("9987_B02_s12.tif", ("9987", "B02", 12, None, "", False)),
        ("9987_B02_w10.tif", ("9987", "B02", None, 10, "", False)),
        ("my plate_v2_A01_AF48_s1_w1.tif", ("my plate_v2_A01", "AF48", 1, 1, "", False)),
        ("B02_s1_w1.tif", ("", "B02", 1, 1, "", False)),
        ("p_a1_S1_W1.tif", ("p", "A01", 1, 1, "", False)),
        (f"P-M_E07_s1_w4{GUID}.tif", ("P-M", "E07", 1, 4, GUID, False)),
        (f"P-M_E07_s1_w10{GUID}.tif", ("P-M", "E07", 1, 10, GUID, False)),
        (f"P-M_E07_s1{GUID}.tif", ("P-M", "E07", 1, None, GUID, False)),
        (f"P-M_E07_s1_w1_thumb{GUID}.tif", ("P-M", "E07", 1, 1, GUID, True)),
        ("P_E07_s1_w1_Thumb.tif", ("P", "E07", 1, 1, "", True)),
        (f"P_E07_s1_[{GUID}].tif", ("P", "E07", 1, None, GUID, False)),
        (f"P_E07_s1_w2_thumb_[{GUID}].tif", ("P", "E07", 1, 2, GUID, True)),
        (f"P_E07{GUID}.tif", ("P", "E07", None, None, GUID, False)),
        ("P12_A01_B02_s1_w1.TIF", ("P12_A01", "B02", 1, 1, "", False)),
        ("P_s1_w2_A01_s3_w1.TIF", ("P_s1_w2", "A01", 3, 1, "", False)),
        ("P\n1_A01_s1.TIF", ("P\n1", "A01", 1, None, "", False)),
        ("P_W01.TIF", ("P", "W01", None, None, "", False)),
        ("p_w01_s2_w1.tif", ("p", "W01", 2, 1, "", False)),
        ("p_z01_s2.tif", ("p", "Z01", 2, None, "", False)),
    ],
)
def test_forms(name, expected):
    assert parse_image_name(name) == expected


@pytest.mark.parametrize(
    "name",
    [
        "Index.tif",
        "P_AG01_s1.tif",
        "P_A49_s1.tif",
        "P_A01_s1_w1_x.tif",
        "P_A01_sx.tif",
        # Sites and waves of names without a well, as MetaMorph writes them, are no wells.
        "ShadingCorrection_w1.tif",
        "ShadingCorrection_W1.TIF",
        "exp_w1_s2.TIF",
        "exp_s3_w1.TIF",
        "exp_s1_t2.TIF",
        "exp_w01_s01.tif",
        "exp_t01.tif",
        f"P_A01_s1_[{GUID}.tif",
    ],
)
def test_other_names(name):
    assert parse_image_name(name) is None


def test_folders_in_any_case_and_depth():
    assert parse_folders("2023-02-21/1334/TimePoint_3/ZStep_12") == FolderNumbers(3, 12, "2023-02-21/1334")
    assert parse_folders("timepoint_2/x") == FolderNumbers(2, None, "")
    assert parse_folders("ZSTEP_0") == FolderNumbers(None, 0, "")
    assert parse_folders("a/b") == FolderNumbers(None, None, "a/b")
    assert parse_folders("") == FolderNumbers(None, None, "")
