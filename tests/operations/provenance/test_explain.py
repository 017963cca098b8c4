"""Why a unit is computed: every part of a fingerprint that changes is named, in a user's words."""

import json
from dataclasses import fields, replace

import pytest

from hcs_steps.compile import CompileOptions, compile_plate
from hcs_steps.compile.plan import AnalysisPlan, CallPlan, StepPlan, StoreSettings, TableSettings
from hcs_steps.compile.stages import CONSOLIDATE, stage_fingerprint
from hcs_steps.operations.provenance import explain
from hcs_steps.operations.provenance.explain import FORCED, NEVER, UNKNOWN, current_fingerprint, reasons
from hcs_steps.pipeline import FunctionStep, GlobalPipelineConfig, Pipeline
from hcs_steps.plate.inventory import Inventory, Plane, PlaneKey
from hcs_steps.results import Results
from hcs_steps.run.records import Failure, Record, close_failure, forget, write_failure
from hcs_steps.storage.atomic import write_text

DISK = {"vfs": {"intermediate_backend": "disk"}}
TOPHAT = ("tophat", {"selem_radius": 6})
START, END, LATER = (
    "2026-07-01T10:00:00.000+00:00",
    "2026-07-01T10:01:00.000+00:00",
    "2026-07-02T10:00:00.000+00:00",
)


def inventory(wells=("A01", "A02"), sites=2, mtime=10, missing=()):
    planes = tuple(
        Plane(well, site, channel, 1, 1, f"{well}_s{site}_w{channel}.tif", 0, 2048, mtime, 64, 64, "uint16")
        for well in wells
        for site in range(1, sites + 1)
        for channel in (1, 2)
        if (well, site, channel) not in missing
    )
    lost = tuple(PlaneKey(well, site, channel, 1, 1) for well, site, channel in missing)
    return Inventory(
        "/plates/P1", "P1", "test", (), planes, {1: "DAPI", 2: "GFP"}, 8, 12, (1, sites), 0.65, "metadata",
        lost, (), (), str(hash(planes)),
    )  # fmt: skip


def compiled(steps=None, config=DISK, plate=None, **options):
    steps = steps or [
        FunctionStep("stack_percentile_normalize", name="normalize"),
        FunctionStep(TOPHAT, name="tophat"),
        FunctionStep("count_cells_single_channel", name="count"),
    ]
    settings = CompileOptions(plate_id="P1", **options)
    return compile_plate(
        plate or inventory(), Pipeline(steps, config=GlobalPipelineConfig(**config)), settings
    )


def hashed(plan):
    """The plan with the fingerprints of what its stages hold now."""
    above = {}
    for stage in plan.stages:
        above[stage.name] = stage_fingerprint(plan, stage, [above[name] for name in stage.upstream])
    stages = tuple(replace(stage, fingerprint=above[stage.name]) for stage in plan.stages)
    return replace(plan, stages=stages)


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path)


def ran(results, plan, stage, unit, **changes):
    """The record of a unit that was made from a plan, which is kept."""
    write_text(results.plan_copy(plan.hash), plan.to_json())
    values = {
        "stage": stage, "unit": unit, "start": END if unit == "plate" else START, "end": END, "seconds": {},
        "items_processed": 1,
        "fingerprint": current_fingerprint(plan, results, plan.stage(stage), unit), "items_failed": 0,
        "peak_host_mb": 1, "peak_gpu_mb": 0, "device": "cpu", "machine": "m", "git_commit": "",
        "versions": {"hcs-steps": explain.__version__}, "published": (), "plan": plan.hash,
    }  # fmt: skip
    record = vars(Record(**(values | changes)))
    path = results.record(stage, unit)
    write_text(path, json.dumps(record, default=list))
    return json.loads(path.read_text())


def why(results, plan, stage, unit, record, attempts=0, forced=False, **options):
    return reasons(
        plan, results, plan.stage(stage), unit, record, attempts=attempts, forced=forced, **options
    )


def after(results, old, new, stage, unit):
    """Why a unit that ran from one plan runs with another."""
    return why(results, new, stage, unit, ran(results, old, stage, unit))


def test_a_unit_that_is_up_to_date_has_no_reasons(results):
    plan = compiled()
    for stage in plan.stages:
        assert (
            why(
                results,
                plan,
                stage.name,
                plan.units_of(stage)[0],
                ran(results, plan, stage.name, plan.units_of(stage)[0]),
            )
            == ()
        )


def other(value):
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return f"{value}x"
    if isinstance(value, tuple):
        return (*value, "x")
    return {**value, "x": 1}


def change_step(plan, index, **changes):
    steps = list(plan.steps)
    steps[index] = replace(steps[index], **changes)
    return hashed(replace(plan, steps=tuple(steps)))


def change_call(plan, index, **changes):
    (call,) = plan.steps[index].branches[""]
    return change_step(plan, index, branches={"": (replace(call, **changes),)})


@pytest.mark.parametrize("name", [item.name for item in fields(CallPlan)])
def test_every_field_of_a_call_is_explained_in_its_stage_and_after_it(results, name):
    old = compiled()
    (call,) = old.steps[1].branches[""]
    changed = (("x", "value"),) if name == "outputs" else other(getattr(call, name))
    new = change_call(old, 1, **{name: changed})
    for stage, unit in (("tophat", "A01"), ("count", "A01"), (CONSOLIDATE, "plate")):
        told = after(results, old, new, stage, unit)
        assert len(told) == 1
        assert "tophat" in told[0]
        assert told[0].startswith("the result of stage tophat changed: ") == (stage != "tophat")
    assert after(results, old, new, "normalize", "A01") == ()


@pytest.mark.parametrize(
    "name", [item.name for item in fields(StepPlan) if item.name not in ("name", "branches")]
)
def test_every_field_of_a_step_is_explained(results, name):
    old = compiled()
    new = change_step(old, 1, **{name: other(getattr(old.steps[1], name))})
    told = after(results, old, new, "tophat", "A01")
    assert told
    assert all("tophat" in sentence and UNKNOWN not in sentence for sentence in told)


@pytest.mark.parametrize(
    "name",
    sorted(
        {"compressor", "compression_level", "chunk_strategy", "ngff_version", "tiff_files", "tiff_metadata"}
    ),
)
def test_every_storage_setting_is_explained_where_images_depend_on_it(results, name):
    for backend in ("disk", "zarr"):
        old = compiled(config={"vfs": {"intermediate_backend": backend, "materialization_backend": backend}})
        new = hashed(replace(old, storage=replace(old.storage, **{name: other(getattr(old.storage, name))})))
        changed = new.fingerprint(new.stage("tophat"), "A01") != old.fingerprint(old.stage("tophat"), "A01")
        told = after(results, old, new, "tophat", "A01")
        was, now = (getattr(plan.storage, name) for plan in (old, new))
        assert told == ((f"storage setting {name}: {was} -> {now}",) if changed else ())


@pytest.mark.parametrize("name", [item.name for item in fields(TableSettings)])
def test_every_table_setting_is_explained(results, name):
    old = compiled()
    new = hashed(
        replace(
            old,
            table_settings=replace(old.table_settings, **{name: other(getattr(old.table_settings, name))}),
        )
    )
    for stage in (CONSOLIDATE, "report"):
        told = after(results, old, new, stage, "plate")
        assert [sentence for sentence in told if f"table setting {name}" in sentence]


@pytest.mark.parametrize("name", [item.name for item in fields(AnalysisPlan)])
def test_everything_that_the_wells_are_is_explained(results, name):
    old = compiled()
    new = hashed(replace(old, analysis=replace(old.analysis, **{name: other(getattr(old.analysis, name))})))
    (told,) = after(results, old, new, CONSOLIDATE, "plate")
    assert name in told or {"plate_map": "the plate map is new", "notes": "the wells"}[name] in told


def test_other_tables_are_explained(results):
    steps = [
        FunctionStep("count_cells_single_channel", name="a"),
        FunctionStep("count_cells_single_channel", name="b"),
    ]
    old, new = compiled(steps), compiled(steps[:1])
    told = after(results, old, new, CONSOLIDATE, "plate")
    assert "table cell_counts is new" in told
    assert "table a_cell_counts is gone" in told
    assert "step b was removed before it" in told


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"channels": {"1": "Hoechst", "2": "GFP"}}, "channels: 1 DAPI, 2 GFP -> 1 Hoechst, 2 GFP"),
        ({"pixel_size_um": 1.3}, "pixel size: 0.65 um -> 1.3 um"),
        ({"pixel_size_um": None}, "pixel size: 0.65 um -> unknown"),
    ],
)
def test_what_a_stage_knows_of_the_plate_is_explained(results, change, text):
    old = compiled()
    new = hashed(replace(old, plate=replace(old.plate, **change)))
    assert after(results, old, new, "normalize", "A01") == (text,)


def test_a_parameter_is_told_with_both_values(results):
    def plan(**kwargs):
        return compiled([FunctionStep(("tophat", kwargs), name="tophat")])

    def told(old, new):
        return after(results, plan(**old), plan(**new), "tophat", "A01")

    assert told({"selem_radius": 6}, {"selem_radius": 8}) == (
        "parameter selem_radius of tophat in step tophat: 6 -> 8",
    )
    assert told({}, {"selem_radius": 8}) == (
        "parameter selem_radius of tophat in step tophat: its default -> 8",
    )
    assert told({"selem_radius": 8}, {}) == (
        "parameter selem_radius of tophat in step tophat: 8 -> its default",
    )
    assert told({"selem_radius": 6}, {"selem_radius": 6.0}) == (
        "parameter selem_radius of tophat in step tophat: 6 -> 6.0",
    )


def test_branches_and_functions_that_come_and_go_are_told(results):
    def plan(pattern):
        return compiled([FunctionStep(pattern, name="s", group_by="channel", unlisted="pass")])

    both = {"DAPI": "tophat", "GFP": "tophat"}
    assert after(results, plan({"DAPI": "tophat"}), plan(both), "s", "A01") == (
        "step s (channel GFP) is new: tophat",
    )
    assert after(results, plan(both), plan({"DAPI": "tophat"}), "s", "A01") == (
        "step s (channel GFP) is gone",
    )
    chain = plan({"DAPI": ["tophat", "stack_percentile_normalize"]})
    assert after(results, plan({"DAPI": "tophat"}), chain, "s", "A01") == (
        "the functions of step s (channel DAPI): tophat -> tophat + stack_percentile_normalize",
    )


def steps(*names, **special):
    return [special.get(name, FunctionStep("stack_percentile_normalize", name=name)) for name in names]


@pytest.mark.parametrize(
    ("before", "now", "text"),
    [
        ("ac", "abc", "step b was added before it"),
        ("abc", "ac", "step b was removed before it"),
        ("abc", "bac", "the order of the steps: a, b, c -> b, a, c"),
    ],
)
def test_steps_that_come_and_go_before_a_stage_are_told(results, before, now, text):
    told = after(results, compiled(steps(*before)), compiled(steps(*now)), "c", "A01")
    assert text in told
    assert UNKNOWN not in told


@pytest.mark.parametrize(
    ("before", "now", "text"),
    [("acd", "abcd", "step b was added to it"), ("abcd", "acd", "step b was removed from it")],
)
def test_steps_that_come_and_go_inside_a_stage_are_told(results, before, now, text):
    last = before[-1]
    told = after(results, compiled(steps(*before), {}), compiled(steps(*now), {}), f"a_to_{last}", "A01")
    assert text in told


def test_a_step_on_another_branch_is_told_where_it_shifts_the_others(results):
    start = {name: FunctionStep("tophat", name=name, input_source="pipeline_start") for name in "xb"}
    old = compiled(steps("a", "b", "c", **start))
    new = compiled(steps("a", "x", "b", "c", **start))
    assert old.stage("c").upstream == new.stage("c").upstream == ("b",)
    assert after(results, old, new, "c", "A01") == (
        "its steps have other places in the pipeline (x was added)",
    )


def test_a_step_that_reads_other_images_is_told(results):
    old = compiled(steps("a", "b", "c"))
    branch = FunctionStep("stack_percentile_normalize", name="c", input_source="pipeline_start")
    told = after(results, old, compiled(steps("a", "b", "c", c=branch)), "c", "A01")
    assert (
        "it no longer builds on step b" not in told
        or "input_source of step c: previous_step -> pipeline_start" in told
    )
    assert "step c reads the images of the plate, not of b" in told


def test_a_well_filter_is_told_to_the_wells_that_it_takes_out(results):
    chosen = FunctionStep("stack_percentile_normalize", name="b", well_filter=["A01"])
    old, new = compiled(steps("a", "b", "c")), compiled(steps("a", "b", "c", b=chosen))
    assert "step b is no longer for this unit" in after(results, old, new, "c", "A02")
    # The other wells read the images of a now, so the stage waits for that, too.
    assert after(results, old, new, "c", "A01") == ("stages whose results it reads: b -> a, b",)


def test_another_cut_of_the_same_steps_into_stages_is_told(results):
    def plan(**b):
        return compiled(
            steps("a", "b", "c", "d", b=FunctionStep("stack_percentile_normalize", name="b", **b)), {}
        )

    gated, kept = plan(gate=True), plan(force_disk_output=True)
    for stage in {s.name for s in gated.stages} & {s.name for s in kept.stages}:
        unit = gated.units_of(gated.stage(stage))[0]
        assert UNKNOWN not in after(results, gated, kept, stage, unit)


@pytest.mark.parametrize(
    ("was", "now", "text"),
    [
        ({}, {"select": {"site": [2]}}, "planes in use changed (site 1 left out)"),
        ({"select": {"site": [2]}}, {}, "planes in use changed (site 1 added)"),
        ({}, {"select": {"channel": ["DAPI"]}}, "planes in use changed (channel 2 left out)"),
    ],
)
def test_another_choice_of_planes_is_told(results, was, now, text):
    assert text in after(results, compiled(**was), compiled(**now), "normalize", "A01")


def test_missing_planes_are_told(results):
    whole, broken = inventory(), inventory(missing={("A01", 1, 2)})

    def told(policy, unit="A01", stage="normalize"):
        return after(results, compiled(plate=whole), compiled(plate=broken, missing=policy), stage, unit)

    assert "missing planes that are read as zeros: 0 -> 1" in told("blank")
    assert "planes in use changed (site 1 left out)" in told("skip_site")
    assert "it cannot run: planes are missing on the plate: site 1 channel 2 z 1 t 1" in told("fail_unit")
    assert told("fail_unit", "A02") == ()
    back = after(results, compiled(plate=broken), compiled(plate=whole), "normalize", "A01")
    assert any(sentence.startswith("it can run now (before, planes are missing") for sentence in back)
    assert any(
        sentence.startswith("A01: it cannot run") for sentence in told("fail_unit", "plate", CONSOLIDATE)
    )


def test_raw_images_that_changed_are_named(results):
    now = 1_800_000_000_000_000_000
    old, new = compiled(), compiled(plate=inventory(mtime=now))
    record = ran(results, old, "normalize", "A01")
    planes = [p for p in inventory(mtime=now).planes if p.well == "A01"]
    assert why(results, new, "normalize", "A01", record, planes=planes) == (
        "its raw images changed: A01_s1_w1.tif, A01_s1_w2.tif, A01_s2_w1.tif and 1 more",
    )
    assert why(results, new, "normalize", "A01", record, planes=()) == ("its raw images changed",)
    assert why(results, new, "normalize", "A01", record) == ("its raw images changed",)


def test_changes_of_units_are_told_to_plate_stages(results):
    old = compiled(plate=inventory(("A01", "A02", "A03")))
    new = compiled(plate=inventory(("A01", "A02", "B01"), mtime=11))
    assert after(results, old, new, CONSOLIDATE, "plate") == (
        "units were added: B01", "units were left out: A03", "the raw images of A01, A02 changed",
    )  # fmt: skip


def plate_step(*after_it):
    flat = FunctionStep("estimate_flatfield", name="flat", scope="plate")
    return [FunctionStep("stack_percentile_normalize", name="a"), flat, *after_it]


CORRECT = FunctionStep("apply_flatfield", name="fix", input_source="pipeline_start")


def test_the_correction_of_the_microscope_is_told_to_the_plates_steps(results):
    old = compiled(plate_step(CORRECT))
    new = hashed(replace(old, plate=replace(old.plate, correction="new")))
    assert after(results, old, new, "flat", "plate") == (
        "the illumination correction that came with the plate changed",
    )


def test_results_of_plate_stages_that_were_made_again_or_went_are_told(results):
    plan = compiled(plate_step(CORRECT))
    ran(results, plan, "flat", "plate")
    record = ran(results, plan, "fix", "A01", start=END)
    ran(results, plan, "flat", "plate", fingerprint="another", start=LATER, end=LATER)
    assert why(results, plan, "fix", "A01", record) == ("the result of stage flat was made again",)
    ran(results, plan, "flat", "plate", fingerprint="another")
    assert why(results, plan, "fix", "A01", record) == ("the result of stage flat changed",)
    results.record("flat", "plate").unlink()
    assert why(results, plan, "fix", "A01", record) == ("the result of stage flat is missing",)


def test_units_that_ran_or_failed_since_are_told_to_plate_stages(results):
    plan = compiled()
    for unit in plan.units:
        for stage in ("normalize", "tophat", "count"):
            ran(results, plan, stage, unit)
    record = ran(results, plan, CONSOLIDATE, "plate", start=END)
    results.record("count", "A02").unlink()
    failure = Failure("count", "A02", "count", "ValueError", "no", "", LATER, "", 1, "")
    write_failure(results, failure)
    assert why(results, plan, CONSOLIDATE, "plate", record) == ("stage count failed for A02",)
    ran(results, plan, "count", "A02", start=LATER, end=LATER)
    close_failure(results, "count", "A02")
    record["fingerprint"] = "another"
    assert why(results, plan, CONSOLIDATE, "plate", record) == ("stage count was run for A02",)


def test_another_version_is_told(results):
    plan = compiled()
    record = ran(results, plan, "tophat", "A01", versions={"hcs-steps": "0.0.9"}, fingerprint="another")
    assert why(results, plan, "tophat", "A01", record) == (f"hcs-steps 0.0.9 -> {explain.__version__}",)


def test_files_that_are_gone_are_named_and_cleaned_ones_only_if_needed(results):
    plan = compiled()
    items = [{"path": "images/a"}, {"path": "images/b", "cleaned": True}]
    record = ran(results, plan, "tophat", "A01", published=items)
    gone, cleaned = (
        "files that it published are gone: images/a",
        "files that are needed again were cleaned: images/b",
    )
    assert why(results, plan, "tophat", "A01", record) == (gone, cleaned)
    assert why(results, plan, "tophat", "A01", record, files=False) == (gone,)
    (results.root / "images" / "a").mkdir(parents=True)
    assert why(results, plan, "tophat", "A01", record) == (cleaned,)
    assert why(results, plan, "tophat", "A01", record, files=False) == ()


def test_without_a_record_failures_and_drops_are_told(results):
    plan = compiled()
    assert why(results, plan, "tophat", "A01", None) == (NEVER,)
    write_failure(results, Failure("tophat", "A01", "tophat", "ValueError", "bad\nplane", "", END, "", 1, ""))
    assert why(results, plan, "tophat", "A01", None, attempts=1) == ("its last attempt failed: bad plane",)
    forget(results, "tophat", "A02", "images/x is damaged")
    assert why(results, plan, "tophat", "A02", None, attempts=1) == ("it was dropped: images/x is damaged",)


def test_what_was_asked_for_is_told_first(results):
    plan = compiled()
    record = ran(results, plan, "tophat", "A01")
    assert why(results, plan, "tophat", "A01", record, forced=True) == (FORCED,)
    assert why(results, plan, "tophat", "A01", None, forced=True) == (FORCED, NEVER)
    anew = replace(plan, smart_caching=False)
    assert why(results, anew, "tophat", "A01", record) == (explain.ANEW,)


@pytest.mark.parametrize(
    ("break_it", "text"),
    [
        (lambda path: path.unlink(), "is not kept or cannot be read"),
        (lambda path: path.write_text("{}"), "is not kept or cannot be read"),
        (
            lambda path: path.write_text(path.read_text().replace('"version": ', '"version": 9')),
            "another version",
        ),
    ],
)
def test_a_plan_that_cannot_be_read_is_said_to_be(results, break_it, text):
    old, new = compiled(), compiled([FunctionStep("tophat", name="tophat")])
    record = ran(results, old, "tophat", "A01")
    break_it(results.plan_copy(old.hash))
    (told,) = why(results, new, "tophat", "A01", record)
    assert text in told
    assert old.hash[:12] in told


@pytest.mark.parametrize(
    "changes",
    [
        {"plan": "../../etc"}, {"plan": ""}, {"published": [3]}, {"versions": None}, {"versions": {}}, {"start": "x"},
        {"success": False}, {"fingerprint": None},
    ],
)  # fmt: skip
def test_damaged_records_never_raise_and_always_say_something(results, changes):
    plan = compiled([FunctionStep("tophat", name="tophat")])
    record = ran(results, compiled(), "tophat", "A01") | changes
    assert why(results, plan, "tophat", "A01", record)


def test_nothing_is_read_where_there_is_no_record(results, monkeypatch):
    plan = compiled()

    def refuse(*args, **kwargs):
        raise AssertionError("a file was opened")

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr("io.open", refuse)
    monkeypatch.setattr("os.scandir", refuse)
    assert why(results, plan, "tophat", "A01", None) == (NEVER,)


def test_the_plan_of_the_records_is_read_once_for_all_units(results, monkeypatch):
    old, new = compiled(), change_call(compiled(), 1, source="x")
    records = {unit: ran(results, old, "tophat", unit) for unit in ("A01", "A02")}
    told = {why(results, new, "tophat", "A01", records["A01"])}
    results.plan_copy(old.hash).unlink()
    told.add(why(results, new, "tophat", "A02", records["A02"]))
    assert told == {("the source of tophat, or a file that it is given, changed (step tophat)",)}


def test_the_settings_that_are_tried_are_all_there_are():
    assert {item.name for item in fields(StoreSettings)} - {"codec_pipeline"} == {
        "compressor", "compression_level", "chunk_strategy", "ngff_version", "tiff_files", "tiff_metadata",
    }  # fmt: skip
