"""Quality flags: a clean plate has none, each artefact has its own, a treatment is no artefact."""

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from hcs_steps.functions.quality import image_quality
from hcs_steps.plate.wells import well_name
from hcs_steps.statistics import FlagLimits, field_flags, unchecked_flags, well_flags

FLAGS = ["QC_Blurred", "QC_Saturated", "QC_Debris", "QC_CountOutlier", "QC_FewObjects"]


def clean_plate(rows=8, columns=12, sites=9, seed=0):
    """Fields as on a good plate: cells that are more or less dense and bright by well and by field."""
    rng = np.random.default_rng(seed)
    wells = [well_name(row, column) for row in range(rows) for column in range(columns)]
    n = len(wells) * sites
    density = np.repeat(rng.lognormal(np.log(80), 0.3, len(wells)), sites) * rng.lognormal(0, 0.25, n)
    brightness = np.repeat(rng.lognormal(np.log(2000), 0.3, len(wells)), sites)
    fields = {
        "Metadata_Well": np.repeat(np.array(wells, dtype=object), sites),
        "Metadata_Site": np.tile(np.arange(1, sites + 1), len(wells)),
        "Metadata_Z": np.ones(n, dtype=np.int64),
        "Metadata_Timepoint": np.ones(n, dtype=np.int64),
        "Count_nuclei": rng.poisson(density),
    }
    for channel in ("DAPI", "GFP"):
        fields |= {
            f"ImageQuality_PowerLogLogSlope_{channel}": rng.normal(-1.3, 0.1, n),
            f"ImageQuality_PercentMaximal_{channel}": rng.exponential(0.02, n),
            f"ImageQuality_SignalIntensity_{channel}": 200 + brightness * rng.lognormal(0, 0.1, n),
            f"ImageQuality_BackgroundIntensity_{channel}": rng.normal(200, 10, n),
            f"ImageQuality_MaxIntensity_{channel}": 200 + brightness * rng.lognormal(1, 0.3, n),
        }
    return fields


def flagged(fields, **options):
    return {name: np.flatnonzero(column).tolist() for name, column in field_flags(fields, **options).items()}


@pytest.mark.parametrize("sites", [1, 4, 9])
def test_a_clean_plate_is_hardly_flagged(sites):
    fields = clean_plate(16, 24, sites)
    flags = field_flags(fields)
    assert list(flags) == [name for name in FLAGS if sites > 1 or name != "QC_CountOutlier"]
    assert max(column.mean() for column in flags.values()) < 0.005
    assert np.logical_or.reduce(list(flags.values())).mean() < 0.01


def test_an_even_plate_is_not_flagged_for_small_differences():
    fields = clean_plate()
    rng = np.random.default_rng(1)
    fields["ImageQuality_PowerLogLogSlope_DAPI"] = rng.normal(-1.3, 0.001, 864)
    fields["ImageQuality_PowerLogLogSlope_DAPI"][5] = -1.5
    fields["Count_nuclei"] = np.full(864, 100)
    fields["Count_nuclei"][7] = 70
    assert not any(flagged(fields).values())


def test_a_blurred_a_clipped_and_a_dusty_field_have_their_flags_and_no_other():
    fields = clean_plate()
    fields["ImageQuality_PowerLogLogSlope_GFP"][10] = -2.3
    fields["ImageQuality_PercentMaximal_DAPI"][20] = 3.0
    fields["ImageQuality_MaxIntensity_DAPI"][30] = 65_535
    assert flagged(fields) == dict(zip(FLAGS, ([10], [20], [30], [], []), strict=True))


def test_large_debris_is_found_in_a_well_of_one_field_and_in_a_well_of_many():
    for sites in (1, 9):
        fields = clean_plate(sites=sites)
        for measure in ("Signal", "Max"):
            fields[f"ImageQuality_{measure}Intensity_DAPI"][40] = 60_000 if sites == 9 else 200_000
        assert flagged(fields)["QC_Debris"] == [40]


def test_bright_cells_of_a_treatment_and_a_field_without_cells_are_no_debris():
    fields = clean_plate()
    bright, empty = slice(0, 9), 100
    for measure in ("Signal", "Max"):
        fields[f"ImageQuality_{measure}Intensity_GFP"][bright] *= 15
    fields["ImageQuality_SignalIntensity_GFP"][empty] = 205
    fields["ImageQuality_MaxIntensity_GFP"][empty] = 2_000
    assert flagged(fields)["QC_Debris"] == []


def test_a_count_is_compared_with_the_other_fields_of_its_well():
    fields = clean_plate()
    fields["Count_nuclei"][fields["Metadata_Well"] == "C05"] = [80, 75, 85, 3, 78, 82, 90, 71, 80]
    fields["Count_nuclei"][fields["Metadata_Well"] == "C06"] = [30, 25, 35, 33, 28, 32, 31, 29, 400]
    found = flagged(fields)["QC_CountOutlier"]
    first = int(np.flatnonzero(fields["Metadata_Well"] == "C05")[0])
    assert {first + 3, first + 9 + 8} <= set(found)
    assert len(found) <= 4


def test_a_toxic_compound_has_few_objects_but_no_outliers():
    fields = clean_plate()
    toxic = np.isin(fields["Metadata_Well"], ["D03", "E03"])
    fields["Count_nuclei"][toxic] = np.tile([2, 0, 1, 3, 2, 1, 0, 2, 4], 2)
    found = field_flags(fields)
    assert (found["QC_FewObjects"] == toxic).all()
    assert not found["QC_CountOutlier"][toxic].any()


def test_few_objects_is_told_from_the_controls_where_most_wells_are_toxic():
    fields = clean_plate(sites=1)
    controls = np.arange(96) % 12 == 0
    fields["Count_nuclei"] = np.where(controls, 100, 3) + np.arange(96) % 2
    assert not field_flags(fields)["QC_FewObjects"].any()
    assert (field_flags(fields, controls)["QC_FewObjects"] == ~controls).all()


def test_a_readout_that_falls_to_nothing_does_not_flag_wells_with_cells():
    fields = clean_plate()
    fields["Count_spots"] = fields["Count_nuclei"] * 5
    fields["Count_spots"][:90] = 0
    assert flagged(fields)["QC_FewObjects"] == []
    assert flagged(fields, counts=["Count_spots"])["QC_FewObjects"] == list(range(90))


def test_planes_of_a_stack_are_compared_at_the_same_z():
    fields = clean_plate(sites=1)
    z = {name: np.concatenate([column] * 3) for name, column in fields.items()}
    z["Metadata_Z"] = np.repeat([1, 2, 3], 96)
    z["ImageQuality_PowerLogLogSlope_DAPI"][:96] -= 1.5
    assert flagged(z)["QC_Blurred"] == []
    z["ImageQuality_PowerLogLogSlope_DAPI"][150] -= 1.5
    assert flagged(z)["QC_Blurred"] == [150]


def test_missing_values_are_not_flagged():
    fields = clean_plate()
    for name, column in fields.items():
        if not name.startswith("Metadata"):
            fields[name] = np.full(len(column), np.nan)
    assert not any(flagged(fields).values())


def test_what_cannot_be_checked_is_left_out_and_told():
    fields = clean_plate()
    counts_only = {name: column for name, column in fields.items() if not name.startswith("Image")}
    assert list(field_flags(counts_only)) == FLAGS[3:]
    assert list(unchecked_flags(counts_only)) == FLAGS[:3]
    assert "image_quality" in unchecked_flags(counts_only)["QC_Blurred"]
    few = {name: column[:5] for name, column in fields.items()}
    why = unchecked_flags(few)
    assert "8 fields on; here: 5" in why["QC_Blurred"]
    assert "8 wells on; here: 1" in why["QC_FewObjects"]
    assert list(field_flags(few)) == ["QC_Saturated", "QC_CountOutlier"]
    single = clean_plate(sites=1)
    assert "4 fields" in unchecked_flags(single)["QC_CountOutlier"]
    assert unchecked_flags(fields) == {}
    assert list(unchecked_flags({})) == FLAGS


def test_limits_can_be_set():
    fields = clean_plate()
    fields["ImageQuality_PercentMaximal_DAPI"][20] = 3.0
    assert flagged(fields, limits=FlagLimits(saturated_percent=5))["QC_Saturated"] == []


def test_wells_have_the_flags_of_their_fields():
    wells = ["A01", "A01", "A01", "A02", "A02", "A03"]
    flags = {
        "QC_Blurred": np.array([True, False, False, True, True, False]),
        "QC_Debris": np.array([False, True, False, False, False, False]),
    }
    assert well_flags(wells, flags) == {"A01": "Blurred,Debris", "A02": "Blurred", "A03": ""}
    assert well_flags(wells, flags, above=0.5) == {"A01": "", "A02": "Blurred", "A03": ""}
    assert well_flags([], {}) == {}


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="one boolean for each of 864"):
        field_flags(clean_plate(), np.ones(3, dtype=bool))
    with pytest.raises(ValueError, match="no column 'Count_cells'"):
        field_flags(clean_plate(), counts=["Count_cells"])


def test_a_real_plate_is_not_flagged_until_its_fields_are_spoilt(real_data):
    folder = real_data("bbbc013_fkhr_translocation") / "images"
    paths = sorted(folder.glob("Channel2-*.tif"))
    noise = np.random.default_rng(0)
    # In 12 of 16 bits with a camera's offset and noise, so that something brighter than cells can be shown.
    planes = [tifffile.imread(path) * 8.0 + noise.normal(40, 3, (640, 640)) for path in paths]
    wells = np.array(["".join(path.stem.split("-")[2:]) for path in paths], dtype=object)

    def checked():
        _, table = image_quality(np.stack(planes).round().clip(0, 65_535).astype(np.uint16))
        columns = {f"{name}_DNA": column for name, column in table.items() if name != "plane"}
        return flagged({"Metadata_Well": wells} | columns)

    clean = checked()
    assert clean == {"QC_Blurred": [], "QC_Saturated": [], "QC_Debris": []}
    planes[3] = ndimage.gaussian_filter(planes[3], 2)
    planes[7] = ndimage.gaussian_filter(planes[7], 8)
    planes[11] = (planes[11] * 150).clip(0, 65_535)
    for index, radius in ((15, 3), (19, 12)):
        planes[index][(np.hypot(*np.ogrid[-300:340, -200:440])) < radius] = 40_000
    spoilt = checked()
    assert spoilt["QC_Blurred"] == [3, 7]
    assert spoilt["QC_Saturated"] == [11]
    assert set(spoilt["QC_Debris"]) - {11} == {15, 19}
