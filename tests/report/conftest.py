"""A plate on disk as a finished run leaves it: plan, records, failures and tables, without images."""

import json
from dataclasses import asdict, dataclass, replace

import numpy as np
import pytest

from hcs_steps.compile import CompileOptions, compile_plate
from hcs_steps.compile.plan import PLATE_UNIT, AnalysisPlan, Plan
from hcs_steps.pipeline import FunctionStep, GlobalPipelineConfig, Pipeline
from hcs_steps.plate import well_name
from hcs_steps.plate.inventory import Inventory, Plane
from hcs_steps.results import Results
from hcs_steps.run.records import Failure, Record, write_failure
from hcs_steps.storage.tables import read_table, write_table

SHAPES = {6: (2, 3), 24: (4, 6), 96: (8, 12), 384: (16, 24), 1536: (32, 48)}
READOUTS = ("Nuclei_Intensity_Mean", "Nuclei_Area_um2")
DOSES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


@dataclass(frozen=True)
class FakePlate:
    """What is on disk of a plate."""

    plan: Plan
    results: Results

    def table(self, name):
        return read_table(self.results.table(self.plan.tables_folder, name))

    def write(self, name, columns):
        write_table(self.results.table(self.plan.tables_folder, name), columns)


def make_plan(wells, plate, rows, columns):
    planes = tuple(
        Plane(w, s, 1, 1, 1, f"{w}{s}.tif", 0, 9, 9, 64, 64, "uint16") for w in wells for s in (1, 2)
    )
    inventory = Inventory(
        plate_path=f"/plates/{plate}",
        name=plate,
        format="test",
        evidence=(),
        planes=planes,
        channels={1: "DAPI"},
        rows=rows,
        columns=columns,
        grid_dimensions=None,
        pixel_size_um=0.65,
        pixel_size_source="metadata",
        missing=(),
        problems=(),
        disagreements=(),
        digest="digest",
    )
    steps = [
        FunctionStep(("tophat", {"selem_radius": 25}), name="background"),
        FunctionStep(("stack_percentile_normalize", {}), name="normalize"),
    ]
    config = GlobalPipelineConfig(vfs={"intermediate_backend": "disk"})
    return compile_plate(
        inventory, Pipeline(steps, name="count", config=config), CompileOptions(plate_id=plate)
    )


def write_records(plan, results, failed, missing, error):
    for stage in plan.stages:
        for number, unit in enumerate(plan.units_of(stage)):
            if unit in failed:
                if stage == plan.stages[0]:
                    failure = Failure(
                        stage=stage.name, unit=unit, step="background", kind="ImageFileError", error=error,
                        file=f"{unit}1.tif", time="2026-01-31T12:00:02+00:00", log=f"logs/{stage.name}/{unit}.log",
                        attempt=1, stack="stack",
                    )  # fmt: skip
                    write_failure(results, failure)
            elif unit not in missing:
                seconds = {"background": 0.25 + number / 64}
                record = Record(
                    stage=stage.name, unit=unit, fingerprint="f", start="2026-01-31T12:00:00.000+00:00",
                    end="2026-01-31T12:03:20.000+00:00", seconds={**seconds, "read": 0.5, "write": 0.125},
                    items_processed=2, items_failed=0, peak_host_mb=180 + number % 7, peak_gpu_mb=0, device="cpu",
                    machine="bench (Linux x86_64, 8 CPUs)", versions={"hcs-steps": "0.1.0", "numpy": "2.0"},
                    git_commit="0123456789abcdef", published=(),
                )  # fmt: skip
                # Not as a run does it, flushing each to the disk: a test has no use for that.
                path = results.record(stage.name, unit)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(asdict(record)))


def write_tables(fake, failed, missing, features, names):
    """Tables as the contract has them, of random numbers; the numbers mean nothing but are all different."""
    random = np.random.default_rng(1)
    plate, wells = fake.plan.plate.id, list(fake.plan.units)
    count, rows, columns = len(wells), fake.plan.plate.rows, fake.plan.plate.columns
    roles = np.array(["compound"] * count, object)
    column = np.array([int(well[-2:]) - 1 for well in wells])
    roles[column == 0], roles[column == columns - 1] = "dmso", "kill"
    inner = np.flatnonzero(roles == "compound")
    doses = np.full(count, np.nan)
    doses[inner] = [DOSES[i % len(DOSES)] for i in range(len(inner))]
    compounds = np.array([None] * count, object)
    compounds[inner] = [names[(i // len(DOSES)) % len(names)] for i in range(len(inner))]
    unit_status = np.array(
        ["failed" if w in failed else "incomplete" if w in missing else "done" for w in wells], object
    )
    there = unit_status == "done"
    objects = random.integers(80, 400, count)
    plate_map = {"Metadata_role": roles, "Metadata_compound": compounds, "Metadata_dose": doses}
    identity = {"Metadata_Plate": np.array([plate] * count, object), "Metadata_Well": np.array(wells, object)}
    flags = np.array(["Blurred" if i % 11 == 3 else "" for i in range(count)], object)
    fake.write("wells", {
        **identity, "unit": np.array(wells, object), "status": unit_status,
        "failed_stage": np.array(["background" if s == "failed" else "" for s in unit_status], object),
        "error": np.array([""] * count, object),
        "Count_nuclei_DAPI": np.where(there, objects, np.nan), **plate_map, "QC_Flags": flags,
    })  # fmt: skip
    response = np.where(
        roles == "kill", 40.0, np.where(roles == "dmso", 10.0, 10 + 30 / (1 + (0.2 / doses) ** 1.5))
    )
    response = response + random.normal(0, 1.5, count)
    values = {READOUTS[0]: response, READOUTS[1]: random.normal(150, 20, count)}
    values |= {
        f"Nuclei_Texture_{i}": random.normal(i, 1 + i, count) * 10.0 ** (i % 9 - 4)
        for i in range(features - 2)
    }
    profiles = {name: column[there] for name, column in {**identity, **plate_map}.items()}
    profiles["Metadata_Object_Count"] = objects[there]
    fake.write("profiles_median", profiles | {n: v[there] for n, v in values.items()})
    scores = {n: (v[there] - np.median(v[there])) / v[there].std() for n, v in values.items()}
    fake.write("profiles_median_normalized", profiles | scores)
    fields = np.repeat(np.arange(count)[there], 2)
    fake.write("images", {
        "Metadata_Plate": np.array([plate] * len(fields), object),
        "Metadata_Well": np.array(wells, object)[fields],
        "Metadata_Site": np.tile([1, 2], there.sum()),
        "ImageQuality_PowerLogLogSlope_DAPI": random.normal(-2, 0.2, len(fields)),
        "QC_Blurred": np.array([f % 11 == 3 and i % 2 == 1 for i, f in enumerate(fields)], bool),
    })  # fmt: skip
    write_statistics(fake, list(values), random, names)
    edge_columns = ("median_edge", "median_inner", "edge_difference", "p_edge", "p_rows", "p_columns")
    total = len(values)
    fake.write("edge_effects", {
        "Metadata_Plate": np.array([plate] * total, object), "feature": np.array(list(values), object),
        "n_edge": np.full(total, 12), "n_inner": np.full(total, 12),
        **{name: random.random(total) for name in edge_columns},
        "strongest_row": np.array(["B"] * total, object), "strongest_column": np.array(["03"] * total, object),
    })  # fmt: skip
    places = [("row", well_name(r, 0)[:-2]) for r in range(rows)] + [
        ("column", f"{c + 1:02d}") for c in range(columns)
    ]
    fake.write("plate_medians", {
        "Metadata_Plate": np.array([plate] * len(places), object),
        "feature": np.array([READOUTS[0]] * len(places), object),
        "kind": np.array([kind for kind, _ in places], object), "name": np.array([n for _, n in places], object),
        "n": np.full(len(places), 4), "median": random.random(len(places)),
    })  # fmt: skip


def write_statistics(fake, features, random, names):
    total = len(features)
    numbers = ("mean_negative", "mean_positive", "sd_negative", "sd_positive", "median_negative", "median_positive",
               "mad_negative", "mad_positive", "z_prime", "robust_z_prime", "ssmd", "robust_ssmd",
               "signal_to_background", "cv_negative", "cv_positive")  # fmt: skip
    columns = {name: random.normal(0, 3, total) for name in numbers}
    columns["z_prime"][:2] = 0.6543219876, 0.25
    columns["z_prime"][-1] = np.nan
    fake.write("statistics", {
        "Metadata_Plate": np.array([fake.plan.plate.id] * total, object),
        "feature": np.array(features, object),
        "n_negative": np.full(total, 4), "n_positive": np.full(total, 4), **columns,
    })  # fmt: skip
    curves = [
        {"Metadata_Plate": fake.plan.plate.id, "compound": name, "feature": feature, "unit": "uM", "n_wells": 12,
         "n_doses": 6, "ec50": 0.2123456 if ok else np.nan, "ec50_low": 0.15 if ok else np.nan,
         "ec50_high": 0.3 if ok else np.nan, "hill": 1.5 if ok else np.nan, "hill_low": 1.2, "hill_high": 1.8,
         "bottom": 10.0, "top": 40.0, "r2": 0.97, "status": "ok" if ok else "flat",
         "message": "" if ok else "The response does not change with the dose."}
        for name in names for feature, ok in zip(READOUTS, (True, False), strict=True)
    ]  # fmt: skip
    fake.write("dose_response", curves)


def write_plate(
    folder,
    wells=24,
    *,
    plate="P1",
    failed=(),
    missing=(),
    features=6,
    tables=True,
    error="The image file cannot be read.",
    names=("staurosporine", "taxol"),
):
    """A plate in a results folder; ``tables=False`` leaves the tables out."""
    rows, columns = SHAPES[wells]
    all_wells = [well_name(row, column) for row in range(rows) for column in range(columns)]
    analysis = AnalysisPlan(
        role="Metadata_role", compound="Metadata_compound", concentration="Metadata_dose",
        negative=("dmso",), positive=("kill",), readouts=READOUTS,
    )  # fmt: skip
    plan = replace(
        make_plan(all_wells, plate, rows, columns), notes=("Channel GFP is left out.",), analysis=analysis
    )
    failed = set(all_wells) if failed == "all" else set(failed)
    fake = FakePlate(plan, Results(folder))
    write_records(plan, fake.results, failed, set(missing) | ({PLATE_UNIT} if not tables else set()), error)
    if tables:
        write_tables(fake, failed, set(missing), features, names)
    return fake


@pytest.fixture(scope="session")
def make_results(tmp_path_factory):
    """``make_results(wells, ...)``: `write_plate` in a folder of its own."""
    return lambda *given, **named: write_plate(tmp_path_factory.mktemp("results"), *given, **named)
