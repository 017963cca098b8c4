"""The tables of a plate that ran: what they say agrees with each other, with the plate map and with the truth."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hcs_steps.commands.report import run as report_command
from hcs_steps.compile.plan import PLATE_UNIT
from hcs_steps.emit.prepare import prepare_plates
from hcs_steps.emit.workflow import Workflow
from hcs_steps.plate.synthetic import make_plate
from hcs_steps.report.model import collect
from hcs_steps.report.numbers import plate_numbers
from hcs_steps.run.claim import claim
from hcs_steps.run.records import read_json
from hcs_steps.run.runner import Runner
from hcs_steps.settings import parse_settings
from hcs_steps.statistics import z_prime
from hcs_steps.storage import read_table

DOSES = (0.0, 0.01, 0.1, 0.3, 1.0, 10.0, 0.0)
WELLS = [f"{row}{column + 1:02d}" for row in "ABC" for column in range(len(DOSES))]
BROKEN = "B03"

PIPELINE = """
steps:
  - {name: quality, func: image_quality}
  - name: nuclei
    func: {DAPI: segment_nuclei}
    unlisted: pass
  - {name: measure, func: measure_objects}
config:
  tables: {csv: true, aggregate: [median, mean], rois: [imagej, geojson], well_summary: true}
"""


def cells_in(well: str) -> int:
    column = int(well[1:]) - 1
    if column == len(DOSES) - 1:
        return 3
    return round(3 + 21 / (1 + (DOSES[column] / 0.3) ** 2))


def prepare(folder: Path):
    (folder / "p.yaml").write_text(PIPELINE)
    rows = ["well,drug,dose_uM,control"]
    for well in WELLS[1:]:  # A01 has no entry
        column = int(well[1:]) - 1
        role = {0: "neg", len(DOSES) - 1: "pos"}.get(column, "")
        rows.append(f"{well.lower()},{'X' if role == '' else role},{DOSES[column]},{role}")
    (folder / "map.csv").write_text("\n".join([*rows, "h12,X,1,"]) + "\n")
    plate = {
        "path": str(folder / "P1"),
        "pipeline": str(folder / "p.yaml"),
        "plate_map": str(folder / "map.csv"),
    }
    settings = parse_settings({"output": str(folder / "out"), "plates": [plate]})
    (prepared,) = prepare_plates(settings, root=folder)
    Workflow({prepared.results.root.as_posix(): prepared.plan}, [prepared]).write()
    return prepared


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plate")
    make_plate(
        folder / "P1", wells=WELLS, sites=(1, 2), shape=(160, 160), seed=3, broken_well=BROKEN,
        cells_per_well={well: cells_in(well) * 2 for well in WELLS},
    )  # fmt: skip
    prepared = prepare(folder)
    runner = Runner(prepared.plan, prepared.results)
    for stage in prepared.plan.stages[:-1]:
        runner.run(stage, prepared.plan.units_of(stage))
    return prepared


@pytest.fixture(scope="module")
def table(ran):
    return lambda name: read_table(ran.results.table("tables", name))


def listing(ran, name):
    with ran.results.table("tables", name, ".csv").open() as file:
        return list(csv.DictReader(file))


def test_counts_agree_in_every_table(table):
    objects, wells, images, profiles = (table(n) for n in ("objects", "wells", "images", "profiles_median"))
    for row, well in enumerate(wells["Metadata_Well"]):
        rows = float((objects["Metadata_Well"] == well).sum())
        if well == BROKEN:
            assert rows == 0
            assert np.isnan(wells["Count_objects"][row])
            assert np.isnan(profiles["Metadata_Object_Count"][row])
            continue
        fields = images["Metadata_Well"] == well
        assert images["Count_objects"][fields].sum() == rows == wells["Count_objects"][row]
        assert profiles["Metadata_Object_Count"][row] == profiles["Count_objects"][row] == rows
        assert rows >= 3


def test_a_profile_is_the_median_and_the_mean_of_the_wells_objects(table):
    objects = table("objects")
    for aggregate, function in (("median", np.median), ("mean", np.mean)):
        profiles = table(f"profiles_{aggregate}")
        for row, well in enumerate(profiles["Metadata_Well"]):
            own = objects["Nuclei_AreaShape_Area"][objects["Metadata_Well"] == well]
            expected = function(own) if len(own) else np.nan
            assert profiles["Nuclei_AreaShape_Area"][row] == pytest.approx(expected, nan_ok=True)


def test_every_table_has_the_plate_map_behind_its_own_metadata(table, ran):
    for name in ("objects", "images", "wells", "profiles_median", "profiles_median_normalized"):
        columns = table(name)
        for row in range(0, len(columns["Metadata_Well"]), 7):
            well = columns["Metadata_Well"][row]
            dose = columns["Metadata_dose_uM"][row]
            if well == "A01":
                assert np.isnan(dose)
                assert columns["Metadata_control"][row] is None
            else:
                assert dose == DOSES[int(well[1:]) - 1]
        names = list(columns)
        first = next(i for i, name in enumerate(names) if not name.startswith("Metadata_"))
        assert names[0] == "Metadata_Plate"
        assert not any(name.startswith("Metadata_") for name in names[first:])


def test_what_the_map_and_the_plate_do_not_share_is_listed(ran):
    problems = {(row["kind"], row["well"]) for row in listing(ran, "plate_map_problems")}
    assert problems == {("well without entry", "A01"), ("entry without well", "H12")}
    assert any("A01" in note for note in ran.plan.notes)


def test_statistics_follow_from_the_profiles(table):
    profiles, statistics = table("profiles_median"), table("statistics")
    roles = profiles["Metadata_control"]
    row = statistics["feature"].tolist().index("Nuclei_AreaShape_Area")
    negative, positive = (profiles["Nuclei_AreaShape_Area"][roles == role] for role in ("neg", "pos"))
    assert (statistics["n_negative"][row], statistics["n_positive"][row]) == (2, 3)
    assert statistics["z_prime"][row] == pytest.approx(z_prime(negative, positive))


def test_the_dose_response_of_the_counts_is_that_of_the_cells_put_in(table):
    found = table("dose_response")
    (row,) = [i for i, name in enumerate(found["feature"]) if name == "Count_objects"]
    assert found["compound"][row] == "X"
    assert found["unit"][row] == "uM"
    assert found["status"][row] == "ok"
    assert found["ec50"][row] == pytest.approx(0.3, rel=0.25)


def test_no_feature_is_made_of_image_quality_and_of_places(table):
    names = [name for name in table("profiles_median") if not name.startswith("Metadata_")]
    assert not [
        name for name in names if "ImageQuality" in name or "Location" in name or "image_quality" in name
    ]
    assert "ImageQuality_PowerLogLogSlope_DAPI" in table("images")


def test_a_well_that_failed_is_told_and_leaves_the_others_alone(table, ran):
    wells = table("wells")
    status = dict(zip(wells["Metadata_Well"], wells["status"], strict=True))
    assert status == {well: "failed" if well == BROKEN else "done" for well in WELLS}
    assert BROKEN not in set(table("objects")["Metadata_Well"])
    assert np.isnan(table("profiles_median")["Nuclei_AreaShape_Area"][WELLS.index(BROKEN)])


def test_csv_rois_and_the_summary_come_when_asked_for(ran, table):
    rows = listing(ran, "objects")
    assert len(rows) == len(table("objects")["Metadata_Well"])
    rois = sorted(path.name for path in (ran.results.root / "exports" / "rois" / "nuclei").iterdir())
    assert len(rois) == 2 * 2 * (len(WELLS) - 1)
    assert {"A01_s1.nuclei.geojson", "A01_s2.nuclei.rois.zip"} <= set(rois)
    text = ran.results.well_summary.read_text().splitlines()
    head = text[6].split(",")
    by_well = {line.split(",")[0]: dict(zip(head, line.split(","), strict=True)) for line in text[7:]}
    wells = table("wells")
    for well, count in zip(wells["Metadata_Well"], wells["Count_objects"], strict=True):
        shown = by_well[well]["Total Cells (objects)"]
        assert shown == ("" if np.isnan(count) else str(int(count)))


def test_every_file_of_the_last_stage_is_in_its_record(ran):
    record = read_json(ran.results.record("consolidate", PLATE_UNIT))
    listed = {item["path"] for item in record["published"]}
    made = {
        path.relative_to(ran.results.root).as_posix()
        for path in [
            *(ran.results.root / "tables").glob("*.*"),
            ran.results.well_summary,
            ran.results.failures_table,
        ]
    }
    assert made - listed == {"tables/plate_map_problems.csv"}, "written before anything ran"


def test_a_run_that_was_stopped_half_way_has_tables_and_a_page_all_the_same(tmp_path, capsys):
    make_plate(tmp_path / "P1", wells=WELLS, sites=(1, 1), shape=(96, 96), cells_per_well=4)
    prepared = prepare(tmp_path)
    stage = prepared.plan.stages[0]
    Runner(prepared.plan, prepared.results).run(stage, WELLS[:5])

    class Arguments:
        screen, plan, marker, log = False, str(prepared.results.plan), None, None

    assert report_command(Arguments) == 0
    wells = read_table(prepared.results.table("tables", "wells"))
    assert wells["status"].tolist() == ["done"] * 5 + ["incomplete"] * (len(WELLS) - 5)
    page = prepared.results.report.read_text()
    assert "incomplete" in page


def test_the_page_says_how_numbers_were_made_and_that_readouts_were_not_found(ran):
    analysis = replace(ran.plan.analysis, readouts=("Nope",), positive=("pos", "X"))
    numbers = plate_numbers(
        replace(ran.plan, analysis=analysis), read_table(ran.results.table("tables", "profiles_median"))
    )
    assert any("Nope" in note and "stand for them" in note for note in numbers.notes)
    data = collect(ran.plan, ran.results)
    assert any(note.startswith("Profiles are normalised to") for note in data.notes)
    assert not collect(replace(ran.plan, analysis=analysis), ran.results).chosen


def test_a_positive_control_without_a_dose_is_no_dose_zero_of_its_compound(ran):
    profiles = dict(read_table(ran.results.table("tables", "profiles_median")))
    profiles["Metadata_drug"] = np.array(["X"] * len(profiles["Metadata_drug"]), object)
    found = plate_numbers(ran.plan, profiles).tables["dose_response"]
    (row,) = [i for i, name in enumerate(found["feature"]) if name == "Count_objects"]
    treated = 3 * (len(DOSES) - 2) - 1
    assert found["n_wells"][row] == treated + 2, (
        "with the negative controls, without the positive and the broken one"
    )


def test_numbers_over_several_time_points_are_told(tmp_path):
    make_plate(tmp_path / "P1", wells=WELLS[:2], sites=(1, 1), timepoints=2, shape=(96, 96), cells_per_well=4)
    prepared = prepare(tmp_path)
    runner = Runner(prepared.plan, prepared.results)
    for stage in prepared.plan.stages[:-1]:
        runner.run(stage, prepared.plan.units_of(stage))
    notes = read_json(prepared.results.record("consolidate", PLATE_UNIT))["notes"]
    assert any("over all its 2 time points" in note for note in notes)


def test_a_plate_map_that_was_lost_is_written_again(ran):
    ran.results.plate_map.unlink()
    Workflow({ran.results.root.as_posix(): ran.plan}, [ran]).write()
    assert ran.results.plate_map.is_file()


def test_tables_of_a_run_that_goes_on_are_left_to_it(ran, capsys):
    lock = claim(ran.results)
    before = ran.results.table("tables", "wells").stat().st_mtime_ns
    ran.results.record("consolidate", PLATE_UNIT).unlink()

    class Arguments:
        screen, plan, marker, log = False, str(ran.results.plan), None, None

    try:
        assert report_command(Arguments) == 0
    finally:
        lock.release()
    assert "a run is going on" in capsys.readouterr().err
    assert ran.results.table("tables", "wells").stat().st_mtime_ns == before
    assert report_command(Arguments) == 0
    assert ran.results.table("tables", "wells").stat().st_mtime_ns > before


def test_a_new_plate_map_makes_new_tables_and_nothing_else_again(tmp_path):
    make_plate(tmp_path / "P1", wells=WELLS[:4], sites=(1, 1), shape=(96, 96), cells_per_well=4)
    before = prepare(tmp_path).plan
    (tmp_path / "map.csv").write_text((tmp_path / "map.csv").read_text().replace("X", "Y"))
    settings = (tmp_path / "map.csv").read_text()
    assert "Y" in settings
    plate = {
        "path": str(tmp_path / "P1"),
        "pipeline": str(tmp_path / "p.yaml"),
        "plate_map": str(tmp_path / "map.csv"),
    }
    (again,) = prepare_plates(
        parse_settings({"output": str(tmp_path / "out"), "plates": [plate]}), root=tmp_path
    )
    changed = {
        a.name
        for a, b in zip(before.stages, again.plan.stages, strict=True)
        if a.fingerprint != b.fingerprint
    }
    assert changed == {"consolidate", "report"}
