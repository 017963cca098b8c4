"""What is collected of a plate equals its tables and records, whatever state it is in."""

import json
import shlex
from dataclasses import replace
from statistics import median

import numpy as np
import pandas as pd
import pytest

from hcs_steps.compile.plan import PLATE_UNIT, AnalysisPlan
from hcs_steps.report._wells import by_well
from hcs_steps.report.model import collect

CURVE = {
    "Metadata_Plate": "P1", "unit": "uM", "n_wells": 3, "n_doses": 2, "ec50": 1.0, "hill": 1.0, "bottom": 0.0,
    "top": 1.0, "r2": 0.9, "status": "ok", "message": "", "feature": "Area", "compound": "taxol",
}  # fmt: skip


def frame(fake, name):
    return pd.read_parquet(fake.results.table(fake.plan.tables_folder, name))


@pytest.fixture(scope="module")
def plate(make_results):
    return make_results(24, failed=("A03", "B02"), missing=("C01",))


@pytest.fixture(scope="module")
def data(plate):
    return collect(plate.plan, plate.results)


def test_every_profile_column_is_a_feature_with_the_values_of_the_table(plate, data):
    for name, attribute in (("profiles_median", "values"), ("profiles_median_normalized", "normalized")):
        table = frame(plate, name).set_index("Metadata_Well")
        columns = [column for column in table if not column.startswith("Metadata_")]
        expected = table.reindex([well.name for well in data.wells])
        for column in columns:
            np.testing.assert_array_equal(getattr(data.feature(column), attribute), expected[column])
    assert len(columns) == 6


def test_a_count_that_is_in_the_profiles_is_listed_once_and_has_scores(make_results):
    fake = make_results(6)
    for name, count in (("profiles_median", 7.0), ("profiles_median_normalized", 0.5)):
        fake.write(name, fake.table(name) | {"Count_nuclei_DAPI": np.full(6, count)})
    data = collect(fake.plan, fake.results)
    (feature,) = [feature for feature in data.features if feature.name == "Count_nuclei_DAPI"]
    assert (feature.group, feature.unit) == ("Counts", "objects")
    assert (feature.values[0], feature.normalized[0]) == (7.0, 0.5)


def test_wells_have_the_status_of_the_table_and_the_errors_of_the_failures(plate, data):
    expected = frame(plate, "wells").set_index("Metadata_Well")["status"].to_dict()
    assert {well.name: well.status for well in data.wells} == expected
    assert data.status("failed") == ("A03", "B02")
    assert {well.name for well in data.wells if well.error} == {"A03", "B02"}
    assert [(well.row, well.column) for well in data.wells[5:7]] == [(0, 5), (1, 0)]


def test_image_quality_is_the_median_of_the_fields_and_flags_are_counted(plate, data):
    table = frame(plate, "images")
    column = "ImageQuality_PowerLogLogSlope_DAPI"
    expected = table.groupby("Metadata_Well")[column].median().reindex([well.name for well in data.wells])
    np.testing.assert_allclose(data.feature(column).values, expected, rtol=1e-15)
    flagged = table[table["QC_Blurred"]]
    assert data.flag_counts == (("Blurred", len(flagged), len(table)),)
    assert {(f.well, site) for f in data.flags for site in f.sites["Blurred"]} == {
        (row.Metadata_Well, str(row.Metadata_Site)) for row in flagged.itertuples()
    }


def test_the_median_of_a_well_leaves_out_what_is_missing(plate):
    wells = ["A01"] * 4 + ["A02"] * 3 + ["A04"]
    values = np.array([4.0, np.nan, 1.0, 2.0, 7.0, 5.0, np.inf, np.nan])
    quality = {"Metadata_Well": np.array(wells, object), "Focus": values}
    found = by_well(quality, "Focus", middle=True)
    assert found["A01"] == 2.0
    assert found["A02"] == 6.0
    assert np.isnan(found["A04"])


def test_costs_are_those_of_the_records(plate, data):
    stage = plate.plan.stages[0]
    records = [
        json.loads(path.read_text()) for path in (plate.results.root / "records" / stage.name).iterdir()
    ]
    seconds = [sum(record["seconds"].values()) for record in records]
    cost = data.costs[0]
    assert (cost.name, cost.planned, cost.done, cost.failed) == (stage.name, 24, 21, 2)
    assert cost.median_seconds == pytest.approx(median(seconds))
    assert cost.max_seconds == max(seconds)
    assert cost.total_seconds == pytest.approx(sum(seconds))
    assert cost.measured_mb == max(record["peak_host_mb"] for record in records)
    assert cost.predicted_mb == stage.mem_mb
    assert sum(share for _, share in cost.shares) == pytest.approx(1)


def test_what_ran_comes_from_the_plan_and_the_records(data):
    assert [step.name for step in data.run.steps[:2]] == ["background", "normalize"]
    assert ("selem_radius", "25") in data.run.steps[0].calls[0].parameters
    assert data.run.machines == ("bench (Linux x86_64, 8 CPUs)",)
    assert data.run.commits == ("0123456789abcdef",)
    assert dict(data.run.versions)["hcs-steps"] == "0.1.0"
    assert data.notes == ("Channel GFP is left out.",)


def test_a_failure_has_the_commands_that_run_it_again(plate, data):
    failure = data.failures[0]
    root = plate.results.root
    assert (failure.unit, failure.stage, failure.file) == ("A03", "background", "A031.tif")
    assert shlex.split(failure.command) == [
        "hcs", "step", "--plan", f"{root}/plan.json", "--stage", "background", "--unit", "A03", "--debug",
    ]  # fmt: skip
    assert shlex.split(data.retry) == ["snakemake", f"{root}/jobs/finish.json"]


def test_controls_are_the_wells_with_the_values_of_the_settings(plate, data):
    role = {well.name: well.role for well in data.wells}
    assert {name for name in role if role[name] == "negative"} == {"A01", "B01", "C01", "D01"}
    assert {name for name in role if role[name] == "positive"} == {"A06", "B06", "C06", "D06"}


def test_without_readouts_the_features_with_the_best_controls_stand_for_them(plate):
    found = collect(replace(plate.plan, analysis=replace(plate.plan.analysis, readouts=())), plate.results)
    table = frame(plate, "statistics").dropna(subset="z_prime").sort_values("z_prime", ascending=False)
    assert found.readouts == tuple(table["feature"][:4])
    assert not found.chosen


def test_doses_are_in_the_unit_of_the_curve_and_negative_controls_are_dose_zero(make_results):
    fake = make_results(6, tables=False)
    fake.write("profiles_median", {
        "Metadata_Well": np.array(["A01", "A02", "A03", "B01", "B02"], object),
        "Metadata_role": np.array(["dmso", "", "", "", ""], object),
        "Metadata_compound": np.array(["taxol", "taxol", " taxol", "other", "taxol"], object),
        "Metadata_conc": np.array([5.0, 2.0, 500.0, 1.0, np.nan]),
        "Metadata_unit": np.array(["uM", "µM", "nM", "uM", "uM"], object),
        "Area": np.array([1.0, 2.0, 3.0, 4.0, 5.0]),
    })  # fmt: skip
    fake.write("dose_response", [CURVE])
    analysis = AnalysisPlan(
        role="Metadata_role", compound="Metadata_compound", concentration="Metadata_conc", unit="Metadata_unit",
        negative=("dmso",),
    )  # fmt: skip
    doses = collect(replace(fake.plan, analysis=analysis), fake.results).doses
    assert [(d.well, d.concentration, d.values["Area"]) for d in doses["taxol"]] == [
        ("A01", 0.0, 1.0), ("A03", pytest.approx(0.5), 3.0), ("A02", pytest.approx(2.0), 2.0),
    ]  # fmt: skip
    assert set(doses) == {"taxol"}


def test_a_plate_without_tables_is_described_by_its_records_and_failures(make_results):
    fake = make_results(6, failed="all", tables=False)
    data = collect(fake.plan, fake.results)
    assert len(data.status("failed")) == 6
    assert not data.features
    assert not data.statistics


def test_a_plate_on_which_nothing_has_run_is_incomplete(make_results):
    fake = make_results(6, missing=("A01", "A02", "A03", "B01", "B02", "B03"), tables=False)
    data = collect(fake.plan, fake.results)
    assert len(data.status("incomplete")) == 6
    assert data.run.start == ""
    assert all(cost.done == 0 for cost in data.costs)


def test_a_damaged_file_is_named_and_the_rest_is_read(make_results):
    fake = make_results(6)
    table = fake.results.table("tables", "statistics")
    table.write_bytes(table.read_bytes()[:100])
    record = fake.results.record(fake.plan.stages[0].name, "A02")
    record.write_text('{"seconds": {"back')
    fake.write("edge_effects", {"something": np.array([1])})
    data = collect(fake.plan, fake.results)
    assert len(data.damaged) == 3
    for text, path in zip(
        sorted(data.damaged), sorted([str(record), "edge_effects", str(table)]), strict=False
    ):
        assert path in text or any(path in other for other in data.damaged)
    assert data.statistics == ()
    assert data.edges == ()
    assert data.feature("Nuclei_Area_um2") is not None


def test_a_record_with_values_of_wrong_types_is_no_error(make_results):
    fake = make_results(6, tables=False)
    path = fake.results.record(fake.plan.stages[0].name, "A02")
    path.write_text(json.dumps({"seconds": [1], "start": 7, "peak_host_mb": "much", "versions": None}))
    data = collect(fake.plan, fake.results)
    assert data.costs[0].done == 6


def test_the_page_tells_nothing_of_the_stage_that_makes_it(make_results):
    fake = make_results(6)
    path = fake.results.record("report", PLATE_UNIT)
    assert path.exists()
    before = collect(fake.plan, fake.results)
    path.unlink()
    failure = json.loads(make_results(6, failed=("A01",)).results.failure("background", "A01").read_text())
    there = fake.results.failure("report", PLATE_UNIT)
    there.parent.mkdir(parents=True)
    there.write_text(json.dumps(failure | {"stage": "report", "unit": PLATE_UNIT}))
    after = collect(fake.plan, fake.results)
    assert after.failures == before.failures == ()
    assert after.costs == before.costs
    assert "report" not in [cost.name for cost in before.costs]


def test_a_column_without_any_number_is_unknown_for_every_well():
    table = {"Metadata_Well": np.array(["A01", "A02"], object), "Count": np.array([np.nan, np.nan])}
    assert all(np.isnan(value) for value in by_well(table, "Count").values())
