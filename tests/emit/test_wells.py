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

    def mapped(wells=("A01", "A02", "B01"), **settings):
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
