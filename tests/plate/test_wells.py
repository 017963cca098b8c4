from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcs_steps.errors import ConfigError, PlateError
from hcs_steps.plate import (
    canonical_well,
    compact_wells,
    expand_wells,
    parse_well,
    plate_dimensions,
    sort_wells,
    well_name,
)

indices = st.tuples(st.integers(0, 31), st.integers(0, 47))
plates = st.sets(indices, min_size=1, max_size=60).map(lambda cells: sort_wells(well_name(*c) for c in cells))
WELLS = tuple(well_name(row, column) for row in range(3) for column in range(12))


@given(indices)
def test_names_round_trip(index):
    name = well_name(*index)
    assert parse_well(name) == index
    letters, digits = name[:-2], name[-2:]
    for spelling in (name.lower(), f"{letters}{int(digits)}", f"{letters}0{digits}"):
        assert canonical_well(spelling) == name


@pytest.mark.parametrize(
    ("name", "index"),
    [("A1", (0, 0)), ("a01", (0, 0)), ("Z48", (25, 47)), ("AA01", (26, 0)), ("AF48", (31, 47))],
)
def test_spellings(name, index):
    assert parse_well(name) == index


@pytest.mark.parametrize(
    "name", ["", "A", "1", "A0", "A49", "AG01", "AZ01", "A1B", "A-1", "A٣", "Ä1", "A1\n1"]
)
def test_other_texts_are_no_wells(name):
    with pytest.raises(PlateError):
        parse_well(name)


@given(st.text(max_size=6))
def test_parse_never_fails_otherwise(text):
    try:
        row, column = parse_well(text)
    except PlateError:
        return
    assert 0 <= row < 32
    assert 0 <= column < 48


@pytest.mark.parametrize(
    ("wells", "size"),
    [(["A01"], (8, 12)), (["H12"], (8, 12)), (["I01"], (16, 24)), (["A13"], (16, 24)), (["AA01"], (32, 48))],
)
def test_smallest_plate(wells, size):
    assert plate_dimensions(wells) == size


@pytest.mark.parametrize(
    ("well_filter", "expected"),
    [
        (None, WELLS),
        ("all", WELLS),
        (3, WELLS[:3]),
        (["c1", "A01"], ("A01", "C01")),
        ("A1, B2", ("A01", "B02")),
        ("row:B", WELLS[12:24]),
        ("row:A-B", WELLS[:24]),
        ("col:03", ("A03", "B03", "C03")),
        ("col:01-02", ("A01", "A02", "B01", "B02", "C01", "C02")),
        ("A11:B12", ("A11", "A12", "B11", "B12")),
        ("B12:A11", ("A11", "A12", "B11", "B12")),
        (["row:A", "C05"], (*WELLS[:12], "C05")),
        ({"include": "row:A", "exclude": "col:02-12"}, ("A01",)),
        ({"exclude": ["row:A", "row:B"]}, WELLS[24:]),
    ],
)
def test_filters(well_filter, expected):
    assert expand_wells(well_filter, WELLS) == expected


@pytest.mark.parametrize(
    ("well_filter", "part"),
    [
        ("A13", "no images of well A13"),
        ("row:H", "no images of any well"),
        ("rwo:A", "is not a well filter"),
        ("A01:", "is not a well filter"),
        ("col:A", "not a column"),
        ("row:12", "not a row"),
        (0, "selects nothing"),
        (True, "is not a well filter"),
        (1.5, "is not a well filter"),
        ([1], "Quote well names"),
        ([], "selects none"),
        ("", "is not a well filter"),
        ({"includes": "A01"}, "Did you mean 'include'?"),
        ({"include": "A01", "exclude": "A01"}, "selects none"),
    ],
)
def test_bad_filters_say_what_is_wrong(well_filter, part):
    with pytest.raises(ConfigError) as caught:
        expand_wells(well_filter, WELLS)
    assert part in str(caught.value)


@given(plates, st.integers(1, 70))
def test_first_wells_are_row_by_row(wells, count):
    assert expand_wells(count, wells) == wells[:count]


@given(plates, st.data())
def test_include_and_exclude_partition_the_plate(wells, data):
    part = data.draw(st.lists(st.sampled_from(wells), min_size=1, max_size=len(wells)))
    inside = expand_wells(part, wells)
    assert set(inside) == set(part)
    if len(inside) < len(wells):
        outside = expand_wells({"exclude": part}, wells)
        assert sort_wells((*inside, *outside)) == wells
        assert not set(inside) & set(outside)


@given(plates)
def test_a_rectangle_over_the_whole_plate_selects_all(wells):
    assert expand_wells("A01:AF48", wells) == wells


def test_compact_text():
    assert compact_wells(["A02", "A01", "A03", "B03", "B05", "AA01"]) == "A01-A03, B03, B05, AA01"
