"""What settings and plate map say of the wells, before anything runs."""

from __future__ import annotations

import csv

import pytest

from hcs_steps.compile.plan import AnalysisPlan
from hcs_steps.emit.wells import map_wells, write_well_map
from hcs_steps.errors import ConfigError
from hcs_steps.plate.inventory import Inventory, Plane
from hcs_steps.results import Results
from hcs_steps.settings import PlateSettings
from hcs_steps.storage import read_table

MAP = "Well,Drug,Dose,Unit,Control\na1,DMSO,0,nM,neg\nA02,X,1.5,nM,\nb1,X,3,nM,\nH12,Y,3,nM,pos\n"


@pytest.fixture
def mapped(tmp_path):
    (tmp_path / "map.csv").write_text(MAP)

    def mapped(wells=("A01", "A02", "B01"), content=None, **settings):
        if content is not None:
            (tmp_path / "map.csv").write_text(content)
        planes = tuple(Plane(w, 1, 1, 1, 1, f"{w}.tif", 0, 9, 9, 64, 64, "uint16") for w in wells)
        inventory = Inventory(
            plate_path="/p/P1", name="P1", format="test", evidence=(), planes=planes, channels={1: "DAPI"}, rows=8,
            columns=12, grid_dimensions=None, pixel_size_um=0.65, pixel_size_source="metadata", missing=(),
            problems=(), disagreements=(), digest="d",
        )  # fmt: skip
        settings.setdefault("plate_map", tmp_path / "map.csv")
        return map_wells(PlateSettings(path="/p/P1", **settings), "P1", inventory)

    return mapped


def test_roles_are_found_by_their_usual_names_among_the_wells_of_the_plate(mapped):
    assert mapped(wells=("A01", "H12")).analysis.positive == ("pos",)
    analysis = mapped().analysis
    assert (analysis.role, analysis.negative, analysis.positive) == ("Metadata_Control", ("neg",), ())
    assert (analysis.compound, analysis.concentration, analysis.unit) == (
        "Metadata_Drug",
        "Metadata_Dose",
        "Metadata_Unit",
    )


def test_settings_go_before_what_is_found(mapped):
    analysis = mapped(analysis={"role_column": "Drug", "negative": ["dmso"], "positive": ["X"]}).analysis
    assert (analysis.role, analysis.negative, analysis.positive) == ("Metadata_Drug", ("DMSO",), ("X",))


def test_every_well_and_every_entry_without_the_other_is_told(mapped, tmp_path):
    found = mapped(wells=("A01", "A02", "C07"))
    told = {(p.kind, p.well) for p in found.problems}
    assert told == {
        ("well without entry", "C07"),
        ("entry without well", "B01"),
        ("entry without well", "H12"),
    }
    notes = " ".join(found.analysis.notes)
    assert "well without entry: C07" in notes
    assert "entry without well: B01, H12" in notes
    results = Results(tmp_path / "r")
    write_well_map(found, results, "tables")
    with results.table("tables", "plate_map_problems", ".csv").open() as file:
        assert {(row["kind"], row["well"]) for row in csv.DictReader(file)} == told
    assert read_table(results.plate_map)["Metadata_Well"].tolist() == ["A01", "A02", "C07"]


def test_a_map_that_is_not_there_any_more_leaves_nothing_behind(mapped, tmp_path):
    results = Results(tmp_path / "r")
    write_well_map(mapped(), results, "tables")
    write_well_map(mapped(plate_map=None), results, "tables")
    assert not results.plate_map.exists()
    assert not results.table("tables", "plate_map_problems", ".csv").exists()


def test_settings_that_need_a_map_are_refused_without_one(mapped):
    with pytest.raises(ConfigError, match="negative, but the plate has no plate map"):
        mapped(plate_map=None, analysis={"negative": ["DMSO"]})
    assert mapped(plate_map=None, analysis={"readouts": ["x"]}).analysis == AnalysisPlan(readouts=("x",))


def test_another_map_makes_another_plan(mapped, tmp_path):
    before = mapped().analysis
    (tmp_path / "map.csv").write_text(MAP.replace("1.5", "1.6"))
    assert mapped().analysis.plate_map != before.plate_map


def test_concentrations_are_numbers_whatever_the_map_says(mapped, tmp_path):
    found = mapped(content="Well;Drug;Dose\nA1;DMSO;0\nA2;X;1,5 uM\nB1;X;>10\nC1;X;?\n")
    assert found.columns["Metadata_Dose"].dtype == float
    assert found.columns["Metadata_Dose"].tolist()[:2] == [0, 1.5]
    assert found.columns["Metadata_Dose_unit"].tolist() == [None, "uM", None]
    assert (found.analysis.unit, found.analysis.unit_name) == ("Metadata_Dose_unit", "uM")
    assert [(p.kind, p.well) for p in found.problems][:1] == [("unreadable concentration", "B01")]
    assert "Plate map map.csv: 1 x unreadable concentration: B01." in found.analysis.notes
    results = Results(tmp_path / "r")
    write_well_map(found, results, "tables")
    stored = read_table(results.plate_map)["Metadata_Dose"]
    assert (stored.dtype, str(stored[2])) == (float, "nan")


def test_roles_that_are_not_known_are_named_with_the_setting_that_decides(mapped):
    words = "Well,Role,{}\nA1,control,{}\nA2,sample,X\nB1,sample,X\n"
    notes = " ".join(mapped(content=words.format("Note", "a")).analysis.notes)
    assert (
        "analysis.negative and analysis.positive decide. Its values: 'sample' (2 wells), 'control' (1 well"
        in notes
    )
    analysis = mapped(content=words.format("Drug", "DMSO 0.1%")).analysis
    assert (analysis.role, analysis.negative) == ("Metadata_Drug", ("DMSO 0.1%",))
    assert "no value of Role is known as a control, so Drug tells them" in analysis.notes[0]
    assert "Values of Role: 'sample' (2 wells), 'control' (1 well" in analysis.notes[0]
    assert "analysis.positive decides. Its other values: 'X' (2 wells)." in analysis.notes[2]


def test_compounds_that_differ_in_case_or_spaces_are_told_and_not_merged(mapped):
    found = mapped(content="Well,Drug\nA1,Tax ol\nA2,taxol\nB1,Y\n")
    assert found.columns["Metadata_Drug"].tolist() == ["Tax ol", "taxol", "Y"]
    assert any("'Tax ol', 'taxol' differ in case or spaces only" in note for note in found.analysis.notes)
    assert not any(
        "differ" in note for note in mapped(content="Well,Drug\nA1,X\nA2,Y\nB1,Z\n").analysis.notes
    )


def test_a_renamed_column_is_named_in_the_notes(mapped):
    notes = mapped(content="Well,Drug,Site,\nA1,X,1,u\nA2,X,1,u\nB1,X,1,u\n").analysis.notes
    assert any("column 'Site' is called Metadata_Map_Site" in note for note in notes)
    assert any("column 4 has values but no name" in note for note in notes)
