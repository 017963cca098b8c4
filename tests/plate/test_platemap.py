"""Plate maps: every spelling and file format the field uses, and everything that does not match said aloud."""

import csv

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hcs_steps.errors import ConfigError, PlateError
from hcs_steps.plate.map_roles import find_roles
from hcs_steps.plate.platemap import read_plate_map
from hcs_steps.plate.wells import well_name


@pytest.fixture
def plate_map(tmp_path):
    def read(text, name="map.csv", encoding="utf-8", plate="P1", **options):
        (tmp_path / name).write_bytes(text.encode(encoding))
        return read_plate_map(tmp_path / name, plate=plate, **options)

    return read


@pytest.mark.parametrize(
    ("encoding", "delimiter"),
    [
        ("utf-8", ","),
        ("utf-8-sig", ","),
        ("utf-8-sig", ";"),
        ("utf-16", "\t"),
        ("utf-16-le", "\t"),
        ("cp1252", ";"),
        ("utf-8", "\t"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_encoding_and_delimiter_are_found_out(plate_map, encoding, delimiter, end):
    rows = [
        ["Well", "Compound", "Dose (µM)"],
        ["A1", '"β; x, y"'.replace("β", "é"), "0.5"],
        ["b12", "none", "2"],
    ]
    found = plate_map(end.join(delimiter.join(row) for row in rows) + end, encoding=encoding)
    assert found.wells == ("A01", "B12")
    assert dict(found.columns) == {"Metadata_Compound": ("é; x, y", "none"), "Metadata_Dose_(µM)": (0.5, 2.0)}


@pytest.mark.parametrize(
    "header",
    [
        "well",
        "Well",
        "WELL ID",
        "well_position",
        "Metadata_Well",
        "Well Name",
        "well_id",
        "Assay_Well",
        "Vertiefung",
        "Kavität",
        "Puits",
    ],
)
def test_the_usual_names_of_the_well_column_are_known(plate_map, header):
    assert plate_map(f"{header},x\nA1,1\n").wells == ("A01",)


@given(st.integers(0, 31), st.integers(0, 47), st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_spelling_of_every_well_is_the_same_well(plate_map, row, column, data):
    name = well_name(row, column)
    letters = name.rstrip("0123456789")
    number = str(column + 1).zfill(data.draw(st.integers(1, 3)))
    separator = data.draw(st.sampled_from(["", "-", " ", ":", "_"]))
    case = data.draw(st.sampled_from([str.upper, str.lower]))
    assert plate_map(f"well,x\n {case(letters)}{separator}{number} ,1\n").wells == (name,)


@pytest.mark.parametrize("row", ["C", "c", "3", "03"])
def test_rows_and_columns_name_wells_too(plate_map, row):
    found = plate_map(f"Row,Column,x\n{row},4,1\n{row},05,2\n")
    assert (found.wells, found.columns["Metadata_x"]) == (("C04", "C05"), (1, 2))


def test_columns_have_types(plate_map):
    found = plate_map(
        "well,number,real,truth,code,text,gaps,empty,long\n"
        "A1,1,0.5,TRUE,007,x,3,,12345678901234567890\n"
        "A2,-2,1e-3,false,1,none,NA,,1\n"
        "A3,0,3,True,2,nan,n/a,,2\n"
    )
    assert {name.removeprefix("Metadata_"): values for name, values in found.columns.items()} == {
        "number": (1, -2, 0),
        "real": (0.5, 0.001, 3.0),
        "truth": (True, False, True),
        "code": ("007", "1", "2"),
        "text": ("x", "none", None),
        "gaps": (3, None, None),
        "empty": (None, None, None),
        "long": ("12345678901234567890", "1", "2"),
    }
    columns, _ = found.match(["A02", "A01"])
    assert columns["Metadata_number"].dtype == np.int64
    assert columns["Metadata_truth"].dtype == bool
    np.testing.assert_array_equal(columns["Metadata_gaps"], [np.nan, 3])
    assert columns["Metadata_text"].tolist() == ["none", "x"]
    assert columns["Metadata_empty"].tolist() == [None, None]


def test_decimal_commas_of_semicolon_files_are_points(plate_map):
    found = plate_map("sep=;\nwell;dose;count\nA1;0,5;3\nA2;1,25;4\n")
    assert found.columns["Metadata_dose"] == (0.5, 1.25)
    assert found.lines == (3, 4)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("well;dose\nA1;1,500\nA2;2,000\n", r"map\.csv, line 2: the comma in column 'dose'"),
        ("well;dose\nA1;0.5\nA2;1,5\n", r"'dose' has a comma in line 3 and a point in line 2"),
        ("well;dose\nA1;1,000,000\nA2;1,5\n", r"line 2: the comma in column 'dose'"),
        ("well;dose\nA1;10\nA2;1.000\nA3;10.000\n", r"map\.csv, line 3: the point in column 'dose'"),
        ("well;dose\nA1;0.000\nA2;1.000\n", "line 3: the point in column 'dose'"),
        ("well,dose\nA1,1,5\n", r"line 2: 3 fields under a header of 2"),
        ("well,dose\nA1,1\nA2,2\na01,3\n", r"well A01, in lines 2 and 4, that differ in 'dose'"),
        ("well,dose,dose\nA1,1,2\n", r"line 1: two columns are called 'dose'"),
        ("well,cell line,cell_line\nA1,1,2\n", r"'cell_line' and another one"),
        ("compound,dose\nx,1\n", r"no column for the well; it has 'compound', 'dose'"),
        ("well,well_id,x\nA1,B1,2\n", r"line 2: column 'well' says A1, 'well_id' B1"),
        ("well,x\nA0,1\n7,2\n", r"no entry for any well .*line 2: 'A0' is not a well name"),
        ("", "is empty"),
        ("PK\x03\x04", "is not a text file"),
        ("plate,well,x\nP2,A1,1\n", r"No row of .* is of plate 'P1' \(column 'plate'\)"),
    ],
)
def test_what_cannot_be_a_map_is_refused_with_its_lines(plate_map, text, problem):
    with pytest.raises(PlateError, match=problem) as error:
        plate_map(text)
    assert error.value.hint


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("well;dose\nA1;0.500\nA2;1.000\n", (0.5, 1.0)),
        ("well;dose\nA1;1.000\nA2;2.50\n", (1.0, 2.5)),
        ("well,dose\nA1,1.000\nA2,2.000\n", (1.0, 2.0)),
        ("well\tdose\nA1\t1.000\nA2\t10.000\n", (1.0, 10.0)),
        ("well;dose\nA1;0.000\nA2;0.000\n", (0.0, 0.0)),
    ],
)
def test_points_that_are_decimal_marks_are_read(plate_map, text, values):
    assert plate_map(text).columns["Metadata_dose"] == values


TITLED = "Plate map of 2024{0}\n\nWell{0}Compound\nA1{0}X\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "Plate map of 2024\n\nWell,Compound\nA1,X\n",
            r"'Plate map of 2024' was found in the first row, .* header in line 3",
        ),
        (TITLED.format(","), r"'Plate map of 2024' was found in the first row, .* header in line 3"),
        (TITLED.format(";"), r"'Plate map of 2024' was found in the first row, .* header in line 3"),
        (",1,2,3\nA,x,x,x\nB,x,x,x\n", r"line 1: a grid of the plate's columns \(1 to 3\)"),
        ("Compounds;;;\n;01;02;03\nA;x;x;x\n", r"line 2: a grid of the plate's columns \(1 to 3\)"),
        ("Well Compound\nA01 X\n", "no column for the well; it has 'Well Compound'"),
    ],
)
def test_what_stands_where_the_header_should_is_named(plate_map, text, problem):
    with pytest.raises(PlateError, match=problem) as error:
        plate_map(text)
    for said in ("header must be the first row", "one row per well", "'Well'", "'well_position'"):
        assert said in error.value.hint


def test_comments_above_the_header_are_left_out(plate_map):
    found = plate_map('# made by me, 2024; x\n"# and, ""you""",,\n\nWell,Compound,Dose\nA1,X,1\n')
    assert (found.columns["Metadata_Compound"], found.lines) == (("X",), (5,))
    assert plate_map("#well;x\nA1;3\n").columns["Metadata_x"] == (3,)
    _, problems = plate_map("well,x\n#REF!,1\nA1,2\n").match(["A01"])
    assert [(problem.kind, problem.well) for problem in problems] == [("unreadable well", "#REF!")]


def test_the_plate_that_was_sought_and_found_are_named_once(plate_map):
    with pytest.raises(PlateError, match=r"No row of .* is of plate 'P1' \(") as error:
        plate_map("plate,well,x\n1,A1,1\n", barcode="P1")
    assert str(error.value).count("'1'") == 1


def test_a_missing_map_is_named(tmp_path):
    with pytest.raises(PlateError, match=r"none\.csv"):
        read_plate_map(tmp_path / "none.csv", plate="P1")


def test_everything_that_does_not_match_is_reported(plate_map):
    found = plate_map("well,x,Site,,y\nA1,1,7,u,\nA3,3,7,,\n\nQQ1,4,7,,\n,5,7,,\na01,1,7,u,\nA4,6,7,,\n")
    columns, problems = found.match(["A01", "A02", "A03"])
    np.testing.assert_array_equal(columns["Metadata_x"], [1, np.nan, 3])
    assert "Metadata_Site" not in columns
    np.testing.assert_array_equal(columns["Metadata_Map_Site"], [7, np.nan, 7])
    assert {(kind, well) for kind, well, _ in problems} == {
        ("unreadable well", "QQ1"),
        ("unreadable well", ""),
        ("duplicate", "A01"),
        ("renamed column", ""),
        ("ignored column", ""),
        ("well without entry", "A02"),
        ("entry without well", "A04"),
    }
    details = {kind: detail for kind, _, detail in problems}
    assert "line 8" in details["entry without well"]
    assert "lines 2 and 7" in details["duplicate"]


def test_row_and_column_that_say_another_well_are_reported(plate_map):
    _, problems = plate_map("well,row,column\nA1,A,1\nA2,B,2\n").match(["A01", "A02"])
    assert [(problem.kind, problem.well) for problem in problems] == [("contradiction", "A02")]


def test_only_the_rows_of_the_plate_count(plate_map):
    text = "Assay_Plate_Barcode,well,x\nBC1,A1,1\nBC2,A1,2\nbc1,A2,3\n"
    assert plate_map(text, barcode="BC1").columns["Metadata_x"] == (1, 3)
    assert plate_map(text, plate="BC2").columns["Metadata_x"] == (2,)
    kept = plate_map("plate,well,x\nP1,A1,1\nP2,A1,2\n")
    assert dict(kept.columns) == {"Metadata_x": (1,)}


@pytest.fixture
def barcodes(tmp_path):
    folder = tmp_path / "metadata"
    (folder / "platemap").mkdir(parents=True)
    (folder / "barcode_platemap.csv").write_text(
        "Assay_Plate_Barcode,Plate_Map_Name\nBR0011,MAP-A\nBR0012,MAP-B\nBR0013,../escape\nBR0014,gone\n"
    )
    text = "plate_map_name\twell_position\tbroad_sample\tmmoles_per_liter\nMAP-A\tA01\tBRD-1\t1.5\nMAP-A\tA02\t\t\n"
    (folder / "platemap" / "MAP-A.txt").write_text(text)
    (folder / "platemap" / "MAP-B.csv").write_text("well_position,broad_sample\nA01,BRD-2\n")
    (tmp_path / "escape.txt").write_text("well,x\nA1,1\n")
    return folder


@pytest.mark.parametrize("name", ["", "barcode_platemap.csv"])
def test_the_barcode_table_names_the_map(barcodes, name):
    found = read_plate_map(barcodes / name, plate="folder name", barcode="BR0011")
    assert found.wells == ("A01", "A02")
    assert found.columns["Metadata_broad_sample"] == ("BRD-1", None)
    assert [file.name for file in found.files] == ["barcode_platemap.csv", "MAP-A.txt"]
    assert read_plate_map(barcodes / name, plate="BR0012").columns["Metadata_broad_sample"] == ("BRD-2",)


@pytest.mark.parametrize(
    ("barcode", "problem"),
    [
        ("BR0019", "no plate map for 'BR0019'"),
        ("BR0013", r"line 4: '\.\./escape' is not the name"),
        ("BR0014", "line 5: there is no plate map 'gone'"),
    ],
)
def test_a_barcode_table_that_leads_nowhere_is_refused(barcodes, barcode, problem):
    with pytest.raises(PlateError, match=problem):
        read_plate_map(barcodes, plate=barcode)


def test_the_digest_follows_the_content(barcodes):
    first = read_plate_map(barcodes, plate="BR0011").digest
    assert read_plate_map(barcodes, plate="BR0011").digest == first
    path = barcodes / "platemap" / "MAP-A.txt"
    path.write_text(path.read_text() + "MAP-A\tA03\tBRD-3\t2\n")
    assert read_plate_map(barcodes, plate="BR0011").digest != first


def test_the_real_map_of_bbbc013_is_read_and_understood(real_data):
    path = real_data("bbbc013_fkhr_translocation/truth_platemap.csv")
    found = read_plate_map(path, plate="bbbc013")
    with path.open(newline="") as file:
        truth = {row["well"]: row for row in csv.DictReader(file)}
    assert set(found.wells) == set(truth)
    columns, problems = found.match(truth)
    assert problems == []
    doses = [float(row["dose"] or "nan") for row in truth.values()]
    np.testing.assert_array_equal(columns["Metadata_dose"], doses)
    assert columns["Metadata_column"].tolist() == [row["column"] for row in truth.values()]
    roles = find_roles(columns)
    assert (roles.role, roles.compound, roles.concentration, roles.unit_column) == (
        "Metadata_control", "Metadata_compound", "Metadata_dose", "Metadata_unit",
    )  # fmt: skip
    for mask, word in ((roles.is_negative(columns), "negative"), (roles.is_positive(columns), "positive")):
        assert mask.tolist() == [row["control"] == word for row in truth.values()]


@pytest.mark.parametrize(
    ("column", "name", "unit"),
    [
        ("Metadata_conc_uM", True, "uM"),
        ("Metadata_Concentration_(nM)", True, "nM"),
        ("Metadata_dose_[µM]", True, "µM"),
        ("Metadata_mmoles_per_liter", True, "mM"),
        ("Metadata_dose_um", True, "uM"),
        ("Metadata_Concentration", True, ""),
        ("Metadata_volume_uL", False, ""),
    ],
)
def test_a_unit_in_the_name_of_the_concentration_is_found(column, name, unit):
    roles = find_roles({column: [1.0, 2.0], "Metadata_x": ["a", "b"]})
    assert (roles.concentration, roles.unit) == (column if name else None, unit)


def test_the_jump_controls_are_known_and_other_values_listed():
    kinds = ["negcon", "poscon_cp", "poscon_diverse", "trt", None]
    columns = {"Metadata_pert_type": ["control"] * 3 + ["trt", None], "Metadata_control_type": kinds}
    roles = find_roles(columns)
    assert roles.role == "Metadata_control_type"
    assert (roles.negative, roles.positive, roles.other) == (
        ("negcon",), ("poscon_cp", "poscon_diverse"), ("trt",),
    )  # fmt: skip
    assert roles.is_positive(columns).tolist() == [False, True, True, False, False]


def test_without_a_role_column_the_vehicle_is_the_negative_control():
    columns = {"Metadata_treatment": ["DMSO", "drug", "drug"]}
    roles = find_roles(columns)
    assert (roles.role, roles.negative) == ("Metadata_treatment", ("DMSO",))
    assert roles.is_negative(columns).tolist() == [True, False, False]
    assert not find_roles({"Metadata_x": [1.0]}).is_negative({"Metadata_x": [1.0]}).any()


@pytest.mark.parametrize(
    "value",
    [
        "DMSO 0.1%",
        "dmso (0.5% v/v)",
        "DMSO_2",
        "Vehicle control",
        "untreated cells",
        "mock-transfected",
        "0.1 % DMSO",
    ],
)
def test_a_vehicle_is_a_word_of_its_name(value):
    assert find_roles({"Metadata_compound": [value, "X"]}).negative == (value,)


@pytest.mark.parametrize("value", ["Taxol in DMSO", "DMSO + X", "mocetinostat", "DMSO positive control"])
def test_a_compound_that_names_a_vehicle_is_none(value):
    assert find_roles({"Metadata_compound": [value, "X"]}).negative == ()


@pytest.mark.parametrize(("control", "sample"), [("control", "sample"), ("yes", "no"), (True, False), (1, 0)])
def test_a_role_column_with_unknown_words_does_not_hide_the_vehicle(control, sample):
    columns = {"Metadata_Control": [control, sample], "Metadata_Compound": ["DMSO", "X"]}
    roles = find_roles(columns)
    assert (roles.role, roles.negative, roles.passed) == (
        "Metadata_Compound",
        ("DMSO",),
        ("Metadata_Control",),
    )
    assert find_roles(columns, role_column="Control").negative == ()
    without = find_roles({"Metadata_Control": [control, sample]})
    assert (without.role, without.negative, without.passed) == ("Metadata_Control", (), ())


def test_the_second_column_of_roles_counts_where_the_first_has_no_known_word():
    roles = find_roles({"Metadata_Control": ["yes", "no"], "Metadata_Role": ["neg", "pos"]})
    assert (roles.role, roles.negative, roles.positive) == ("Metadata_Role", ("neg",), ("pos",))


def test_asked_values_are_sought_in_the_compounds_too():
    columns = {"Metadata_Role": ["control", "sample"], "Metadata_Compound": ["H2O", "X"]}
    roles = find_roles(columns, negative=["h2o"])
    assert (roles.role, roles.negative, roles.absent) == ("Metadata_Compound", ("H2O",), ())


@pytest.mark.parametrize(
    ("columns", "role", "negative", "positive"),
    [
        (
            {"Metadata_pert_type": ["control"] * 2 + ["trt"], "Metadata_control_type": ["negcon", "poscon_cp", None]},
            "Metadata_control_type", ("negcon",), ("poscon_cp",),
        ),
        (
            {"Metadata_pert_type": ["control", "trt"], "Metadata_pert_iname": ["DMSO", "X"]},
            "Metadata_pert_iname", ("DMSO",), (),
        ),
        (
            {"Metadata_pert_type": ["ctl_vehicle", "ctl_untrt", "ctl_vector.cns", "trt_cp", "trt_poscon"]},
            "Metadata_pert_type", ("ctl_untrt", "ctl_vector.cns", "ctl_vehicle"), ("trt_poscon",),
        ),
    ],
)  # fmt: skip
def test_the_words_of_broad_and_cmap_are_known(columns, role, negative, positive):
    roles = find_roles(columns)
    assert (roles.role, roles.negative, roles.positive) == (role, negative, positive)


def test_asked_numbers_are_compared_as_numbers():
    roles = find_roles({"Metadata_role": [1, 2, 3]}, negative=["1.0"], positive=[2.0, "03"])
    assert (roles.negative, roles.positive, roles.absent) == (("1",), ("2",), ("03",))
    roles = find_roles({"Metadata_role": [0.5, 1.0]}, negative=["0.50"])
    assert (roles.negative, roles.absent) == (("0.5",), ())


def test_settings_decide_over_names():
    columns = {
        "Metadata_control": ["negative", "x"],
        "Metadata_group": np.array([0.0, 1.0]),
        "Metadata_u": ["nM"] * 2,
    }
    roles = find_roles(
        columns, role_column="Group", unit="u", negative=[0], positive=[1, 2], concentration_column="group"
    )
    assert (roles.role, roles.negative, roles.positive, roles.absent) == (
        "Metadata_group", ("0",), ("1",), ("2",),
    )  # fmt: skip
    assert (roles.unit_column, roles.unit) == ("Metadata_u", "nM")
    assert roles.is_negative(columns).tolist() == [True, False]
    with pytest.raises(ConfigError, match=r"role_column is 'contrl'") as error:
        find_roles(columns, role_column="contrl")
    assert "control" in error.value.hint
    with pytest.raises(ConfigError, match="'x' of column Metadata_control"):
        find_roles(columns, negative=["x"], positive=["X"])
