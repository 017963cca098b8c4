"""pycytominer reads the tables as they are, and its numbers are ours."""

import numpy as np
import pytest

from hcs_steps.report.profiles import features_of, normalize, well_profiles
from hcs_steps.storage import concat_tables, write_table

pycytominer = pytest.importorskip("pycytominer", reason="pycytominer is not installed")
load = pytest.importorskip("pycytominer.cyto_utils.load")

WELLS = [f"{row}{column:02d}" for row in "ABCD" for column in range(1, 7)]
FEATURES = [
    f"{part}_{name}" for part in ("Nuclei", "Cells") for name in ("AreaShape_Area", "Intensity_Mean_DAPI")
]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """An object table, profiles and normalised profiles of a plate, on disk."""
    folder = tmp_path_factory.mktemp("tables")
    random = np.random.default_rng(3)
    parts = {}
    for number, well in enumerate(WELLS):
        count = int(random.integers(5, 40))
        values = {name: random.lognormal(size=count) * (1 + number % 6) for name in FEATURES}
        values["Cells_Intensity_Mean_DAPI"][::5] = np.nan
        parts[well] = [folder / f"{well}.parquet"]
        write_table(
            parts[well][0],
            {
                "Metadata_Plate": np.full(count, "P"),
                "Metadata_Well": np.full(count, well),
                "Metadata_Channel": np.full(count, "DAPI"),
                "Nuclei_Location_Center_X": random.random(count),
                **values,
                "Nuclei_Constant": np.ones(count),
            },
        )
    control = np.array(["negative" if well.endswith(("01", "02")) else None for well in WELLS], object)
    entries = {"Metadata_Well": np.array(WELLS, object), "Metadata_control": control}
    concat_tables(
        [path for paths in parts.values() for path in paths], folder / "objects.parquet", wells=entries
    )
    profiles = well_profiles({"objects": parts}, WELLS, plate="P", aggregates=("median", "mean"))
    for aggregate, columns in profiles.items():
        head = {name: columns[name] for name in ("Metadata_Plate", "Metadata_Well")}
        rest = {name: column for name, column in columns.items() if name not in head}
        table = {**head, "Metadata_control": control, **rest}
        write_table(folder / f"profiles_{aggregate}.parquet", table)
        normalized = normalize(table, control == "negative")
        assert normalized.constant == ("Nuclei_Constant",)
        write_table(folder / f"profiles_{aggregate}_normalized.parquet", normalized.columns)
    return folder


def test_pycytominer_reads_the_profiles(tables):
    frame = load.load_profiles(str(tables / "profiles_median.parquet"))
    assert len(frame) == len(WELLS)
    assert frame["Metadata_Well"].tolist() == WELLS
    inferred = pycytominer.cyto_utils.infer_cp_features(frame)
    assert sorted(inferred) == sorted([*FEATURES, "Nuclei_Constant"])
    assert set(features_of(frame.columns)) - set(inferred) == {"Count_objects"}
    metadata = pycytominer.cyto_utils.infer_cp_features(frame, metadata=True)
    assert metadata == ["Metadata_Plate", "Metadata_Well", "Metadata_control", "Metadata_Object_Count"]


@pytest.mark.parametrize("operation", ["median", "mean"])
def test_aggregated_objects_are_our_profiles(tables, operation):
    objects = load.load_profiles(str(tables / "objects.parquet"))
    theirs = pycytominer.aggregate(
        objects, strata=["Metadata_Plate", "Metadata_Well", "Metadata_control"], features=FEATURES,
        operation=operation, compute_object_count=True, object_feature="Nuclei_AreaShape_Area",
    )  # fmt: skip
    ours = load.load_profiles(str(tables / f"profiles_{operation}.parquet"))
    theirs = theirs.set_index("Metadata_Well").loc[WELLS]
    np.testing.assert_allclose(theirs[FEATURES], ours[FEATURES], rtol=1e-12)
    # pandas' count leaves out the wells that are no controls, whose group is missing
    counted = theirs["Metadata_Object_Count"].notna()
    assert counted.any()
    counts = ours.set_index("Metadata_Well")["Metadata_Object_Count"]
    np.testing.assert_array_equal(theirs["Metadata_Object_Count"][counted], counts[counted])


def test_normalised_profiles_are_those_of_mad_robustize(tables):
    theirs = pycytominer.normalize(
        str(tables / "profiles_median.parquet"), features=[*FEATURES, "Count_objects"],
        samples="Metadata_control == 'negative'", method="mad_robustize",
    )  # fmt: skip
    ours = load.load_profiles(str(tables / "profiles_median_normalized.parquet"))
    for name in (*FEATURES, "Count_objects"):
        np.testing.assert_allclose(theirs[name], ours[name], rtol=1e-10, atol=1e-12)


def test_features_are_selected_from_our_normalised_profiles(tables):
    chosen = pycytominer.feature_select(
        str(tables / "profiles_median_normalized.parquet"),
        operation=["variance_threshold", "drop_na_columns", "blocklist"],
    )
    assert "Nuclei_Constant" not in chosen
    assert set(FEATURES) <= set(chosen.columns)
