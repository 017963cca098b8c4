"""Concentrations as labs write them become numbers and units, and what is none is told."""

import numpy as np
import pytest

from hcs_steps.errors import PlateError
from hcs_steps.plate.map_concentrations import read_concentrations
from hcs_steps.plate.map_roles import find_roles
from hcs_steps.plate.platemap import read_plate_map


@pytest.fixture
def concentrations(tmp_path):
    def read(text, **settings):
        (tmp_path / "map.csv").write_text(text, encoding="utf-8")
        found = read_plate_map(tmp_path / "map.csv", plate="P1")
        found, roles = read_concentrations(found, find_roles(found.columns, **settings), found.wells)
        columns, problems = found.match(found.wells)
        return columns, roles, [(p.kind, p.well, p.detail) for p in problems]

    return read


def table(doses, header="Well;Compound;Dose", extra=()):
    extra = extra or [""] * len(doses)
    rows = [f"A{n};X;{dose}{more}" for n, (dose, more) in enumerate(zip(doses, extra, strict=True), 1)]
    return "\n".join([header, *rows]) + "\n"


def test_numbers_with_units_are_read_as_both(concentrations):
    columns, roles, problems = concentrations(
        table(["0", "10 uM", "10µM", "0.3 nM", "1e-3 mM", "5 µmol/L", "2 ug/mL"])
    )
    assert columns["Metadata_Dose"].dtype == np.float64
    assert columns["Metadata_Dose"].tolist() == [0, 10, 10, 0.3, 0.001, 5, 2]
    assert roles.concentration == "Metadata_Dose"
    assert (roles.unit_column, roles.unit) == ("Metadata_Dose_unit", "")
    assert columns["Metadata_Dose_unit"].tolist() == [None, "uM", "µM", "nM", "mM", "µM", "ug/mL"]
    assert problems == []


@pytest.mark.parametrize(
    ("doses", "unit"),
    [(["0", "10 uM", "3 uM"], "uM"), (["1", "10 uM", "3 uM"], ""), (["0 %", "10 uM", "3 uM"], "uM")],
)
def test_one_unit_of_all_doses_is_the_unit(concentrations, doses, unit):
    _, roles, _ = concentrations(table(doses))
    assert (roles.unit_column, roles.unit) == ("Metadata_Dose_unit", unit)


def test_decimal_commas_beside_a_text_are_points_and_the_text_is_told(concentrations):
    columns, _, problems = concentrations(table(["0", "0,01", "0,3", "1", ">10", "n/a", "about 3", ""]))
    np.testing.assert_array_equal(columns["Metadata_Dose"], [0, 0.01, 0.3, 1, *[np.nan] * 4])
    assert [(kind, well) for kind, well, _ in problems] == [
        ("unreadable concentration", well) for well in ("A05", "A06", "A07")
    ]
    assert "map.csv, line 6: '>10' in column 'Dose'" in problems[0][2]


def test_whole_numbers_are_floats_too(concentrations):
    columns, roles, _ = concentrations(table(["0", "1", "10"]))
    assert columns["Metadata_Dose"].dtype == np.float64
    assert roles.unit_column is None
    assert set(columns) == {"Metadata_Compound", "Metadata_Dose"}


def test_controls_need_no_concentration_but_what_is_written_there_is_read(concentrations):
    text = "Well;Compound;Dose\nA1;DMSO;-\nA2;DMSO;n/a\nA3;DMSO;>1\nA4;X;-\nA5;X;3\n"
    _, _, problems = concentrations(text)
    assert [well for _, well, _ in problems] == ["A03", "A04"]


def test_other_columns_stay_as_they_are(concentrations):
    text = table(
        ["1 uM", "2 uM"], header="Well;Compound;Dose;Volume;Stock", extra=[";5 uL;0,5 mM", ";>5;1,5"]
    )
    columns, _, _ = concentrations(text)
    assert columns["Metadata_Volume"].tolist() == ["5 uL", ">5"]
    assert columns["Metadata_Stock"].tolist() == ["0,5 mM", "1,5"]


def test_a_unit_column_that_agrees_stays_the_unit(concentrations):
    text = table(["1 uM", "20"], header="Well;Compound;Dose;Unit", extra=[";µM", ";nM"])
    columns, roles, _ = concentrations(text)
    assert roles.unit_column == "Metadata_Unit"
    assert columns["Metadata_Unit"].tolist() == ["µM", "nM"]
    assert "Metadata_Dose_unit" not in columns


def test_gaps_of_a_unit_column_are_filled_beside_it(concentrations):
    text = table(["1 uM", "20"], header="Well;Compound;Dose;Dose unit", extra=[";", ";nM"])
    columns, roles, _ = concentrations(text)
    assert roles.unit_column == "Metadata_Dose_unit_2"
    assert columns["Metadata_Dose_unit_2"].tolist() == ["uM", "nM"]
    assert columns["Metadata_Dose_unit"].tolist() == [None, "nM"]


def test_the_unit_in_the_name_of_the_column_holds_for_texts_that_agree(concentrations):
    columns, roles, _ = concentrations(table(["1 uM", "20"], header="Well;Compound;Dose (µM)"))
    assert (roles.unit_column, roles.unit) == (None, "µM")
    assert set(columns) == {"Metadata_Compound", "Metadata_Dose_(µM)"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            table(["1 uM", "2 nM", "3 uM"], header="Well;Compound;Dose;Unit", extra=[";nM"] * 3),
            r"map\.csv, lines 2, 4: the concentration '1 uM' is not in 'nM', as column 'Unit' says",
        ),
        (
            table(["1", "300 nM"], header="Well;Compound;Dose_uM"),
            r"line 3: the concentration '300 nM' is not in 'uM', the unit of column 'Dose_uM'",
        ),
        (table(["1,5 uM", "1.5 uM"]), "'Dose' has a comma in line 2 and a point in line 3"),
        (table(["1.000,5", "2.000,5"]), "'Dose' has a comma in line 2 and a point in line 2"),
        (table(["1,000 nM", "10 nM"]), "line 2: the comma in column 'Dose'"),
        (table(["100 nM", "1.000 nM", "10.000 nM"]), "line 3: the point in column 'Dose'"),
        (table(["1.000.000", "x"]), "line 2: the point in column 'Dose'"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused_with_its_lines(concentrations, text, problem):
    with pytest.raises(PlateError, match=problem) as error:
        concentrations(text)
    assert error.value.hint


def test_a_column_that_also_tells_roles_stays_and_has_numbers_beside_it(concentrations):
    columns, roles, _ = concentrations(table(["0 uM", "3 uM"]), role_column="Dose", negative=["0 uM"])
    assert roles.is_negative(columns).tolist() == [True, False]
    assert roles.concentration == "Metadata_Dose_number"
    assert columns["Metadata_Dose_number"].tolist() == [0, 3]


def test_only_wells_of_the_plate_are_told(tmp_path):
    (tmp_path / "map.csv").write_text(table(["low", "high"]))
    found = read_plate_map(tmp_path / "map.csv", plate="P1")
    read, _ = read_concentrations(found, find_roles(found.columns), ["A02"])
    assert [problem.well for problem in read.problems] == ["A02"]
