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
    return screen_of(plates, output).page.read_text()


def screen_of(plates, output):
    made = write_screen([getattr(p, "results", p) for p in plates], output)
    assert made.page == output / "screen.html"
    return made


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


def with_batches(made, values):
    """The plate with a column of its plate map: one value per well, the same in all tables."""
    wells = made.table("wells")["Metadata_Well"].tolist()
    for name in ("wells", "profiles_median", "profiles_median_normalized"):
        columns = made.table(name)
        rows = [wells.index(well) for well in columns["Metadata_Well"]]
        made.write(name, columns | {"Metadata_Batch": np.asarray(values)[rows]})
    return made


def test_plate_map_columns_of_several_types_become_text(plate, tmp_path):
    gaps = np.where(np.arange(24) % 2, np.nan, 1.0)
    words = np.array(["2b", "BRD-1"] * 12, object)
    plates = [
        with_batches(plate("P1"), gaps),
        with_batches(plate("P2"), np.full(24, 1234)),
        with_batches(plate("P3"), words),
    ]
    made = screen_of(plates, tmp_path)
    page = made.page.read_text()
    assert made.problems == ()
    note = "Metadata_Batch is text in the joined tables, because plate maps differ: numbers on P1 and P2, text on P3."
    assert made.notes == (note,)
    assert f"<li>{note}</li>" in page
    assert "not joined" not in page
    assert "All wells of 3 plates done.<" in page
    for name in ("wells", "profiles_median", "profiles_median_normalized"):
        joined = read_table(tmp_path / "screen" / f"{name}.parquet")
        assert joined["Metadata_Batch"].tolist() == ["1", None] * 12 + ["1234"] * 24 + ["2b", "BRD-1"] * 12
        assert joined["Metadata_dose"].dtype == np.float64
    lines = (tmp_path / "screen" / "wells.csv").read_text().splitlines()
    assert [line.count("1234") for line in lines[25:49]] == [1] * 24


def test_a_column_is_text_in_all_joined_tables_or_in_none(plate, tmp_path):
    """The plate with words has no profiles."""
    one, two = with_batches(plate("P1"), np.arange(24)), with_batches(plate("P2"), ["2b"] * 24)
    for name in ("profiles_median", "profiles_median_normalized"):
        two.results.table(two.plan.tables_folder, name).unlink()
    page_of([one, two], tmp_path)
    joined = read_table(tmp_path / "screen" / "profiles_median.parquet")
    assert joined["Metadata_Batch"].tolist() == [str(number) for number in range(24)]


def test_of_many_plates_with_the_same_kind_the_number_is_told(plate, tmp_path):
    plates = [with_batches(plate(f"P{number}"), np.full(24, number)) for number in range(5)]
    plates.append(with_batches(plate("odd"), ["x"] * 24))
    (note,) = screen_of(plates, tmp_path).notes
    assert note.endswith("numbers on 5 plates, text on odd.")


def test_tables_that_cannot_be_joined_are_told_and_no_old_one_stays(plate, tmp_path):
    one, two = plate("P1"), plate("P2")
    assert "also there as" in page_of([one, two], tmp_path)
    columns = two.table("profiles_median")
    two.write("profiles_median", columns | {"Nuclei_Area_um2": columns["Metadata_Well"]})
    for made in (one, two):
        made.results.table(made.plan.tables_folder, "profiles_median_normalized").unlink()
    made = screen_of([one, two], tmp_path)
    page = made.page.read_text()
    assert "not joined" in row_of(page, **{"data-table": "profiles_median"})
    assert "Nuclei_Area_um2" in page
    assert "All wells of 2 plates done. 1 of 2 joined tables could not be made." in page
    assert '<header class="title poor">' in page
    (problem,) = made.problems
    assert problem.startswith("profiles_median was not joined: Cannot join")
    assert sorted(path.name for path in (tmp_path / "screen").iterdir()) == ["wells.csv", "wells.parquet"]
    assert '<a href="screen/wells.csv">CSV</a>' in page


def test_the_page_promises_no_table_that_is_not_there(plate, tmp_path):
    one, two = with_batches(plate("P1"), np.arange(24)), with_batches(plate("P2"), ["2b"] * 24)
    page_of([one, two], tmp_path)
    for name in ("wells", "profiles_median", "profiles_median_normalized"):
        two.write(name, two.table(name) | {"Metadata_Well": np.zeros(24)})
    made = screen_of([one, two], tmp_path)
    page = made.page.read_text()
    assert len(made.problems) == 3
    assert made.notes == ()
    assert "3 of 3 joined tables could not be made." in page
    assert 'class="title good"' not in page
    assert "screen/" not in page
    assert "Rows are those of" not in page
    assert list((tmp_path / "screen").iterdir()) == []


def test_plates_of_several_pipelines_versions_and_plans_are_joined_as_they_are(plate, tmp_path):
    pandas = pytest.importorskip("pandas")

    def other(plan):
        return replace(plan, pipeline="other", tables_folder="measurements")

    plates = [plate("P1", failed=["A02"]), plate("P2", features=9), plate("P3"), plate("P4", features=3)]
    write_json(plates[1].results.run, {"plan": "another", "versions": {"hcs-steps": "0.0.9"}})
    moved = other(plates[2].plan)
    plates[2].results.table(plates[2].plan.tables_folder, "wells").parent.rename(
        plates[2].results.root / moved.tables_folder
    )
    write_text(plates[2].results.plan, moved.to_json())
    plates[2] = replace(plates[2], plan=moved)
    page = page_of(plates, tmp_path)
    assert 'data-warned="P3"' in page
    for name in ("wells", "profiles_median", "profiles_median_normalized"):
        frames = [pandas.read_parquet(p.results.table(p.plan.tables_folder, name)) for p in plates]
        joined = pandas.read_parquet(tmp_path / "screen" / f"{name}.parquet")
        expected = pandas.concat(frames, ignore_index=True)
        pandas.testing.assert_frame_equal(joined, expected[joined.columns], check_dtype=False)
        assert set(joined) == set(expected)


def test_the_same_plates_give_the_same_bytes(plate, tmp_path):
    plates = [plate("P1"), plate("P2", failed=["A01"])]
    first = page_of(plates, tmp_path)
    table = (tmp_path / "screen" / "profiles_median.parquet").read_bytes()
    assert page_of(plates, tmp_path) == first
    assert (tmp_path / "screen" / "profiles_median.parquet").read_bytes() == table


def test_no_plates_are_a_mistake_of_the_configuration(tmp_path):
    with pytest.raises(ConfigError, match="no plates"):
        write_screen([], tmp_path)
