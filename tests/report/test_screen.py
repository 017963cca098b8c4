"""Several plates on one page and in one table."""

import re
from dataclasses import replace

import numpy as np
import pytest

from hcs_steps.errors import ConfigError
from hcs_steps.report.screen import write_screen
from hcs_steps.results import Results
from hcs_steps.storage.atomic import write_json, write_text
from hcs_steps.storage.tables import read_table


@pytest.fixture
def plate(make_results):
    """``plate(name, change=..., ran=True, ...)``: a plate that ran, with its plan and its run.json on disk."""

    def make(name, *, change=lambda plan: plan, ran=True, page=True, **options):
        fake = make_results(plate=name, **options)
        plan = change(fake.plan)
        write_text(fake.results.plan, plan.to_json())
        if ran:
            run = {
                "plan": plan.hash,
                "finished": "2026-01-31T13:00:00+00:00",
                "versions": {"hcs-steps": "0.1.0"},
            }
            write_json(fake.results.run, run)
        if page:
            write_text(fake.results.report, "<html></html>")
        return fake

    return make


def page_of(plates, output):
    path = write_screen([getattr(p, "results", p) for p in plates], output)
    assert path == output / "screen.html"
    return path.read_text()


def row_of(page, **attributes):
    wanted = " ".join(f'{name}="{value}"' for name, value in attributes.items())
    (row,) = re.findall(rf"<tr {re.escape(wanted)}.*?</tr>", page, re.DOTALL)
    return row


def test_the_joined_tables_are_the_plates_tables_one_after_the_other(plate, tmp_path):
    one, two = plate("P1", failed=["A02"]), plate("P2", features=8)
    page_of([one, two], tmp_path)
    for name in ("profiles_median", "profiles_median_normalized", "wells"):
        joined = read_table(tmp_path / "screen" / f"{name}.parquet")
        tables = [one.table(name), two.table(name)]
        lengths = [len(table["Metadata_Well"]) for table in tables]
        assert set(joined) == set(tables[0]) | set(tables[1])
        for number, table in enumerate(tables):
            rows = slice(sum(lengths[:number]), sum(lengths[: number + 1]))
            for column, values in joined.items():
                if column in table:
                    np.testing.assert_array_equal(values[rows], table[column])
                else:
                    assert np.isnan(values[rows]).all()
    lines = (tmp_path / "screen" / "wells.csv").read_text().splitlines()
    assert len(lines) == 1 + 24 + 24


def test_the_numbers_of_the_page_are_those_of_the_plates_tables(plate, tmp_path):
    def readouts(plan):
        return replace(plan, analysis=replace(plan.analysis, readouts=("Nuclei_Area_um2",)))

    plates = [plate("P1", change=readouts), plate("P2", change=readouts, failed=["A01", "B03"])]
    statistics = plates[1].table("statistics")
    statistics["z_prime"] = statistics["z_prime"] - 0.5
    plates[1].write("statistics", statistics)
    page = page_of(plates, tmp_path)
    for made in plates:
        columns = made.table("statistics")
        (at,) = np.flatnonzero(columns["feature"] == "Nuclei_Area_um2")
        row = row_of(page, **{"data-plate": made.plan.plate.id, "data-feature": "Nuclei_Area_um2"})
        for name in ("z_prime", "robust_z_prime", "ssmd", "robust_ssmd"):
            (shown,) = re.findall(rf'data-column="{name}">(.*?)<', row)
            assert float(shown.replace("\N{MINUS SIGN}", "-")) == float(f"{columns[name][at]:.4g}")
        status = made.table("wells")["status"]
        row = row_of(
            page,
            **{"data-plate": made.plan.plate.id, "data-state": "failed" if "failed" in status else "done"},
        )
        assert f">{(status == 'done').sum()} / {len(status)}<" in row
        assert f">{(made.table('wells')['QC_Flags'] != '').sum()}<" in row


def test_without_named_readouts_the_features_with_the_best_controls_on_most_plates_are_shown(plate, tmp_path):
    def nothing_named(plan):
        return replace(plan, analysis=replace(plan.analysis, readouts=()))

    plates = [plate(f"P{number}", change=nothing_named) for number in (1, 2, 3)]
    for number, made in enumerate(plates):
        columns = made.table("statistics")
        columns["z_prime"] = np.full(len(columns["z_prime"]), -1.0)
        columns["z_prime"][columns["feature"] == "Nuclei_Texture_1"] = 0.5
        # Best of all, on one plate only.
        columns["z_prime"][columns["feature"] == "Nuclei_Texture_2"] = 0.9 if number == 0 else -2.0
        made.write("statistics", columns)
    page = page_of(plates, tmp_path)
    shown = list(dict.fromkeys(re.findall(r'data-plate="P1" data-feature="(.*?)"', page)))
    assert shown[0] == "Nuclei_Texture_1"
    assert "Nuclei_Texture_2" not in shown


def test_plates_that_have_not_run_or_not_to_their_end_are_named_with_the_reason(plate, tmp_path):
    never = Results(tmp_path / "never")
    stopped = plate("stopped", tables=False, ran=False, page=False)
    half = plate("half", missing=["A03", "A04"])
    stale = plate("stale")
    write_json(stale.results.run, {"plan": "another"})
    damaged = Results(tmp_path / "damaged")
    write_text(damaged.plan, "{")
    page = page_of([never, stopped, half, stale, damaged, plate("fine")], tmp_path)
    for name, reason in {
        "never": "It has not run",
        "stopped": "there is no table of its wells",
        "half": "2 of its wells are incomplete",
        "stale": "another one than when it last ran",
        "damaged": "is not a plan",
    }.items():
        assert reason in row_of(page, **{"data-warned": name})
    assert 'data-warned="fine"' not in page
    assert "6 plates: 2 done, 2 incomplete, 1 not run, 1 unreadable." in page
    assert set(read_table(tmp_path / "screen" / "wells.parquet")["Metadata_Plate"]) == {
        "half",
        "stale",
        "fine",
    }


def test_a_plate_of_other_settings_is_not_compared_silently(plate, tmp_path):
    def radius(plan):
        step = plan.steps[0]
        call = replace(step.branches[""][0], kwargs={"selem_radius": 30})
        return replace(plan, steps=(replace(step, branches={"": (call,)}), *plan.steps[1:]))

    def moved(plan):
        return replace(
            plan, steps=tuple(replace(step, store=f"elsewhere/{step.name}") for step in plan.steps)
        )

    page = page_of(
        [plate("P1"), plate("P2"), plate("other", change=radius), plate("moved", change=moved)], tmp_path
    )
    assert "(different: step background)" in row_of(page, **{"data-warned": "other"})
    assert page.count("not analysed as most plates") == 1


def test_a_plate_that_ran_with_another_version_is_named(plate, tmp_path):
    plates = [plate("P1"), plate("P2"), plate("old")]
    run = {"plan": plates[2].plan.hash, "versions": {"hcs-steps": "0.0.9"}, "git_commit": "abc"}
    write_json(plates[2].results.run, run)
    page = page_of(plates, tmp_path)
    assert "hcs-steps 0.0.9 abc, most plates with 0.1.0" in row_of(page, **{"data-warned": "old"})


def test_links_are_relative_and_names_from_outside_are_text(plate, tmp_path):
    hostile = '<img src=x onerror="alert(1)">'
    made = plate(hostile, failed=["A01"], error=f"{hostile} & so on")
    wells = made.table("wells")
    wells["error"][wells["status"] == "failed"] = f"{hostile} & so on"
    made.write("wells", wells)
    columns = made.table("statistics")
    columns["feature"][0] = f"{hostile}</svg><script>"
    made.write("statistics", columns)
    folder = tmp_path / 'a "b" <i>#?%' / "P1"
    folder.parent.mkdir()
    made.results.root.rename(folder)
    page = page_of([Results(folder)], tmp_path)
    assert "<img" not in page
    assert "<script" not in page
    assert "&lt;img src=x onerror=&#34;alert(1)&#34;&gt; &amp; so on" in page
    assert 'href="a%20%22b%22%20%3Ci%3E%23%3F%25/P1/report.html"' in page


def test_tables_that_cannot_be_joined_are_told_and_no_old_one_stays(plate, tmp_path):
    one, two = plate("P1"), plate("P2")
    page_of([one, two], tmp_path)
    columns = two.table("profiles_median")
    two.write("profiles_median", columns | {"Nuclei_Area_um2": columns["Metadata_Well"]})
    for made in (one, two):
        made.results.table(made.plan.tables_folder, "profiles_median_normalized").unlink()
    page = page_of([one, two], tmp_path)
    assert "not joined" in row_of(page, **{"data-table": "profiles_median"})
    assert "Nuclei_Area_um2" in page
    assert sorted(path.name for path in (tmp_path / "screen").iterdir()) == ["wells.csv", "wells.parquet"]


def test_the_same_plates_give_the_same_bytes(plate, tmp_path):
    plates = [plate("P1"), plate("P2", failed=["A01"])]
    first = page_of(plates, tmp_path)
    table = (tmp_path / "screen" / "profiles_median.parquet").read_bytes()
    assert page_of(plates, tmp_path) == first
    assert (tmp_path / "screen" / "profiles_median.parquet").read_bytes() == table


def test_no_plates_are_a_mistake_of_the_configuration(tmp_path):
    with pytest.raises(ConfigError, match="no plates"):
        write_screen([], tmp_path)
