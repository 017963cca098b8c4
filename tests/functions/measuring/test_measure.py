"""The table of objects: names, rows, fields, units, errors, devices, memory and real images."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from skimage.measure import regionprops_table

from hcs_steps.functions.declare import spec_of
from hcs_steps.functions.measuring.objects import CHEAP_FEATURES, FEATURES, measure_objects

SMALL = {"granularity_sizes": 2, "granularity_downsample": 2, "granularity_background": 4, "radial_bins": 2}


def columns(table, prefix):
    return {name.removeprefix(prefix): values for name, values in table.items() if name.startswith(prefix)}


def objects(*args, **kwargs):
    return measure_objects(*args, **kwargs)[1]


@pytest.fixture
def culture():
    """Two channels; cells of 12 x 12 px with a nucleus of 4 x 4 px, kept apart by gaps."""
    shape = (64, 80)
    nuclei, cells = np.zeros(shape, np.uint32), np.zeros(shape, np.uint32)
    for number, (y, x) in enumerate([(2, 2), (2, 20), (20, 2), (20, 20), (45, 60)], start=1):
        cells[y : y + 12, x : x + 12] = number
        nuclei[y + 4 : y + 8, x + 4 : x + 8] = number
    cytoplasm = np.where(nuclei > 0, 0, cells).astype(np.uint32)
    noise = np.random.default_rng(0).integers(0, 100, (2, *shape))
    stack = (noise + 300 * (cells > 0) + 1000 * (nuclei > 0) * np.array([1, 0])[:, None, None]).astype(
        np.uint16
    )
    return stack, nuclei, cells, cytoplasm


def test_a_table_of_nuclei_cells_and_cytoplasms_has_one_row_per_cell(culture):
    stack, nuclei, cells, cytoplasm = culture
    planes = {"channel_name": ["DAPI", "GFP"], "pixel_size_um": [0.5, 0.5], "site": [3, 3]}
    same, table = measure_objects(
        stack, *(np.stack([labels] * 2) for labels in (nuclei, cells, cytoplasm)), planes=planes
    )
    assert same is stack
    assert {len(values) for values in table.values()} == {5}
    for name in ("ObjectNumber", "Nuclei_Number_Object_Number", "Cells_Number_Object_Number"):
        assert table[name].dtype == np.int64
        assert table[name].tolist() == [1, 2, 3, 4, 5]
    assert (
        table["Nuclei_Parent_Cells"].tolist() == table["Cytoplasm_Parent_Cells"].tolist() == [1, 2, 3, 4, 5]
    )
    assert table["Cells_Children_Nuclei_Count"].tolist() == [1] * 5
    assert table["Nuclei_AreaShape_Area"].tolist() == [16] * 5
    assert table["Cytoplasm_AreaShape_Area_um2"].tolist() == [32] * 5
    assert table["Nuclei_Location_Center_X"][0] == 7.5
    assert table["Nuclei_Location_Center_X_um"][0] == 4
    assert (table["Nuclei_Intensity_MeanIntensity_DAPI"] > 1250).all()
    assert (table["Cells_Intensity_MeanIntensity_GFP"] < 400).all()
    assert table["Cells_Neighbors_NumberOfNeighbors_5"].tolist() == [0] * 5
    assert "Cells_Correlation_Manders_GFP_DAPI" in table
    assert all(values.dtype in (np.int64, np.float64) for values in table.values())
    inside = stack[1][cells == 4].astype(float)
    assert table["Cells_Intensity_StdIntensity_GFP"][3] == pytest.approx(inside.std())


def test_several_nuclei_per_cell_and_objects_without_partner_keep_their_rows(culture):
    stack, nuclei, cells, cytoplasm = culture
    nuclei = nuclei * 10
    nuclei[2:4, 2:4] = 7
    nuclei[60:63, 2:5] = 8
    nuclei[nuclei == 50] = 0
    table = objects(stack, nuclei[None], cells[None], cytoplasm[None], features="shape")
    assert table["Nuclei_Number_Object_Number"].tolist() == [7, 8, 10, 20, 30, 40, 0]
    assert table["Cells_Number_Object_Number"].tolist() == [1, 0, 1, 2, 3, 4, 5]
    assert table["Cytoplasm_Number_Object_Number"].tolist() == [1, 0, 1, 2, 3, 4, 5]
    assert table["ObjectNumber"].tolist() == [7, 8, 10, 20, 30, 40, 41]
    assert table["Cells_Children_Nuclei_Count"].tolist()[:1] == [2]
    assert table["Nuclei_Parent_Cells"].tolist() == [1, 0, 1, 2, 3, 4, 0]
    assert np.isnan(table["Nuclei_AreaShape_Area"][6])
    assert np.isnan(table["Cells_AreaShape_Area"][1])
    assert table["Cells_AreaShape_Area"][6] == 144


def test_without_cells_a_nucleus_gets_the_cytoplasm_of_its_number(culture):
    stack, nuclei, _, cytoplasm = culture
    cytoplasm = np.where(cytoplasm == 2, 0, cytoplasm)
    table = objects(stack, nuclei[None], cytoplasm=cytoplasm[None], features=())
    assert table["Cytoplasm_Number_Object_Number"].tolist() == [1, 0, 3, 4, 5]


def test_spots_are_counted_in_every_set_and_other_labels_are_joined(culture):
    stack, nuclei, cells, cytoplasm = culture
    spots = np.zeros_like(nuclei)
    spots[7, 7], spots[3, 3], spots[3, 5], spots[60, 3] = 1, 2, 3, 4
    table = objects(
        stack, nuclei[None], cells[None], cytoplasm[None], labels=(cells > 3)[None] * cells[None], spots=spots[None],
        name="Vesicles", features="shape",
    )  # fmt: skip
    assert table["Cells_Children_Spots_Count"].tolist() == [3, 0, 0, 0, 0]
    assert table["Nuclei_Children_Spots_Count"].tolist() == [1, 0, 0, 0, 0]
    assert table["Cytoplasm_Children_Spots_Count"].tolist() == [2, 0, 0, 0, 0]
    assert table["Vesicles_Number_Object_Number"].tolist() == [0, 0, 0, 4, 5]
    assert table["Cells_Children_Vesicles_Count"].tolist() == [0, 0, 0, 1, 1]
    assert table["Vesicles_Parent_Cells"].tolist() == [0, 0, 0, 4, 5]
    assert not any(name.startswith("Spots") for name in table)


def test_planes_of_several_fields_are_measured_field_by_field(culture):
    stack, nuclei, *_ = culture
    four = np.concatenate([stack, stack[:, ::-1]])
    labels = np.stack([nuclei, nuclei, nuclei[::-1] * (nuclei[::-1] > 2), nuclei[::-1] * (nuclei[::-1] > 2)])
    order = [0, 2, 1, 3]
    planes = {
        "site": np.array([1, 2, 1, 2]),
        "channel_name": np.array(["DAPI", "DAPI", "GFP", "GFP"]),
        "pixel_size_um": np.array([0.5, 0.25, 0.5, 0.25]),
    }
    table = objects(four[order], nuclei=labels[order], planes=planes)
    assert table["plane"].tolist() == [0] * 5 + [1] * 3
    assert table["ObjectNumber"].tolist() == [1, 2, 3, 4, 5, 3, 4, 5]
    assert table["Nuclei_AreaShape_Area_um2"].tolist() == [4] * 5 + [1] * 3
    alone = objects(stack, nuclei=nuclei[None], planes={"channel_name": ["DAPI", "GFP"]})
    for name in ("Intensity_MeanIntensity_GFP", "Correlation_Correlation_DAPI_GFP"):
        np.testing.assert_allclose(table[f"Nuclei_{name}"][:5], alone[f"Nuclei_{name}"])
        np.testing.assert_allclose(table[f"Nuclei_{name}"][5:], alone[f"Nuclei_{name}"][2:])


def test_a_field_that_lacks_a_channel_has_nan_in_its_columns(culture):
    stack, nuclei, *_ = culture
    planes = {"site": [1, 1, 2], "channel_name": ["DAPI", "GFP", "DAPI"]}
    table = objects(stack[[0, 1, 0]], nuclei=nuclei[None], planes=planes)
    gfp = table["Nuclei_Intensity_MeanIntensity_GFP"]
    assert np.isfinite(gfp[:5]).all()
    assert np.isnan(gfp[5:]).all()
    assert np.isfinite(table["Nuclei_Intensity_MeanIntensity_DAPI"]).all()


def test_unnamed_channels_are_numbered_and_repeated_names_told_apart(culture):
    stack, nuclei, *_ = culture
    names = [
        {name.rpartition("_")[2] for name in objects(stack, nuclei=nuclei[None], features="intensity", planes=planes)
         if "MeanIntensity_" in name}
        for planes in (None, {"channel_name": ["", ""]}, {"channel_name": ["", "GFP"]})
    ]  # fmt: skip
    assert names == [{"Channel1", "Channel2"}, {"Channel1", "Channel2"}, {"Channel1", "GFP"}]
    table = objects(stack, nuclei=nuclei[None], planes={"channel_name": ["GFP", "GFP"]})
    assert "Nuclei_Intensity_MeanIntensity_GFP_2" in table


def test_feature_groups_can_be_chosen(culture):
    stack, nuclei, *_ = culture
    names = {feature: set(objects(stack, nuclei=nuclei[None], features=feature)) for feature in FEATURES}
    default = set(objects(stack, nuclei=nuclei[None]))
    assert default == set().union(*(names[feature] for feature in CHEAP_FEATURES))
    always = set(objects(stack, nuclei=nuclei[None], features=[]))
    assert "Nuclei_Location_Center_X" in always
    for one, other in itertools.pairwise(FEATURES):
        assert names[one] & names[other] == always
    assert any("Texture_Contrast_Channel1_3_Mean_64" in name for name in names["texture"])
    assert "Nuclei_Granularity_16_Channel2" in names["granularity"]
    assert "Nuclei_RadialDistribution_FracAtD_Channel1_4of4" in names["radial"]


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_no_objects_give_an_empty_table_with_all_columns(culture):
    stack, nuclei, cells, cytoplasm = culture
    sets = {"nuclei": nuclei[None], "cells": cells[None], "cytoplasm": cytoplasm[None], "spots": nuclei[None]}
    full = objects(stack, **sets, features=FEATURES, **SMALL)
    empty = objects(stack, **{name: 0 * labels for name, labels in sets.items()}, features=FEATURES, **SMALL)
    assert list(empty) == list(full)
    for name, values in empty.items():
        assert len(values) == 0
        assert values.dtype == full[name].dtype


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (3, 4)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
def test_planes_of_any_size_and_type(shape, dtype):
    stack = np.arange(2 * shape[0] * shape[1]).reshape(2, *shape).astype(dtype)
    for labels in (np.ones((1, *shape), np.uint32), np.arange(1, stack[0].size + 1).reshape(1, *shape)):
        table = objects(stack, labels=labels, features=FEATURES, **SMALL)
        assert table["Objects_Intensity_MaxIntensity_Channel1"].max() == stack[0].max()
        assert len(table["plane"]) == len(np.unique(labels[labels > 0]))


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_pixels_that_are_not_finite_spoil_their_object_in_their_channel_only(culture):
    stack, nuclei, *_ = culture
    good = stack.astype(np.float32)
    bad = good.copy()
    bad[0, 6, 6], bad[0, 60, 60], bad[0, 25, 25] = np.nan, np.inf, -np.inf
    clean, table = (
        objects(image, nuclei=nuclei[None], features=FEATURES, granularity_background=0, **{
            name: value for name, value in SMALL.items() if name != "granularity_background"
        })
        for image in (good, bad)
    )  # fmt: skip
    for name, values in table.items():
        touched = "Channel1" in name
        spoilt = [True, False, False, True, False] if touched else [False] * 5
        if "Granularity" in name or "Neighbors" in name:
            continue
        np.testing.assert_array_equal(
            np.isnan(values) & ~np.isnan(clean[name]), spoilt & ~np.isnan(clean[name])
        )
        np.testing.assert_allclose(values[~np.array(spoilt)], clean[name][~np.array(spoilt)], rtol=1e-6)


def test_the_same_input_gives_the_same_bytes(culture):
    stack, nuclei, *_ = culture
    first, second = (objects(stack, nuclei=nuclei[None], features=FEATURES, **SMALL) for _ in range(2))
    assert {name: values.tobytes() for name, values in first.items()} == {
        name: values.tobytes() for name, values in second.items()
    }


def test_the_gpu_path_gives_the_result_of_the_cpu(culture, cupy_standin):
    stack, nuclei, cells, cytoplasm = culture
    spots = np.where(nuclei == 3, 1, 0).astype(np.uint32)
    stack, sets = stack[:, :32], [labels[None, :32] for labels in (nuclei, cells, cytoplasm)]
    for image in (stack, stack.astype(np.float32), stack.astype(np.float64)):
        expected = objects(image, *sets, spots=spots[None, :32], features=FEATURES, **SMALL)
        device = cupy_standin.asarray(image)
        same, table = measure_objects(
            device,
            cupy_standin.asarray(sets[0]),
            *sets[1:],
            spots=spots[None, :32],
            features=FEATURES,
            **SMALL,
        )
        assert same is device
        assert list(table) == list(expected)
        for name, values in table.items():
            assert type(values) is np.ndarray
            np.testing.assert_allclose(values, expected[name], rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"nuclei": None}, "no objects"),
        ({"nuclei": np.zeros((3, 64, 80), np.uint32)}, "shape"),
        ({"nuclei": np.zeros((1, 64, 80), np.float32)}, "whole numbers"),
        ({"nuclei": np.full((1, 64, 80), -1)}, "negative"),
        ({"features": "colour"}, "features='colour'"),
        ({"features": ["shape", "taste"]}, "features='taste'"),
        ({"neighbor_distance": 0}, "neighbor_distance"),
        ({"neighbor_distance": "far"}, "neighbor_distance"),
        ({"neighbor_distance": None}, "neighbor_distance must be a number"),
        ({"manders_threshold": -1}, "manders_threshold"),
        ({"manders_threshold": 150}, "manders_threshold must be at most 100"),
        ({"manders_threshold": None}, "manders_threshold must be a number"),
        ({"features": None}, "features='None'"),
        ({"texture_scales": [0]}, "texture_scales"),
        ({"texture_scales": None}, "texture_scales"),
        ({"texture_scales": 2.5}, "texture_scales"),
        ({"texture_scales": "3"}, "texture_scales"),
        ({"texture_levels": 1}, "texture_levels"),
        ({"texture_directions": "up"}, "texture_directions"),
        ({"texture_limits": (5, 5)}, "texture_limits"),
        ({"texture_limits": (0, np.inf)}, "texture_limits"),
        ({"texture_limits": (np.nan, 5)}, "texture_limits"),
        ({"texture_limits": ("0", "5")}, "texture_limits"),
        ({"texture_limits": (0,)}, "texture_limits"),
        ({"texture_limits": 5}, "texture_limits"),
        ({"granularity_downsample": 1.5}, "granularity_downsample"),
        ({"granularity_background": -1}, "granularity_background"),
        (
            {"granularity_background": 3000, "features": "granularity"},
            "granularity_background must be at most",
        ),
        ({"radial_bins": 0}, "radial_bins"),
        ({"planes": {"site": [1]}}, "1 rows"),
        ({"labels": np.zeros((1, 64, 80), int), "name": "Cells"}, "name='Cells'"),
    ],
)
def test_errors_say_what_was_given(culture, wrong, message):
    with pytest.raises(ValueError, match=message):
        measure_objects(culture[0], **{"nuclei": culture[1][None], **wrong})


@pytest.mark.parametrize("scales", [3, np.int64(3), np.uint8(3), 3.0, np.array([3]), (3,)])
def test_texture_scales_may_be_one_whole_number_of_any_type_or_several(culture, scales):
    expected = objects(culture[0], nuclei=culture[1][None], features="texture")
    table = objects(culture[0], nuclei=culture[1][None], features="texture", texture_scales=scales)
    assert list(table) == list(expected)
    for name, values in table.items():
        np.testing.assert_array_equal(values, expected[name])


def test_labels_that_differ_between_the_channels_of_a_field_are_refused(culture):
    stack, nuclei, *_ = culture
    labels = np.stack([nuclei, np.roll(nuclei, 1)])
    with pytest.raises(ValueError, match="differ between the channels 'Channel1' and 'Channel2'"):
        measure_objects(stack, nuclei=labels)
    assert len(objects(stack, nuclei=labels, planes={"site": [1, 2]})["plane"]) == 10


def tiles(size, step):
    labels = np.arange((size // step) ** 2, dtype=np.uint32).reshape(size // step, -1) + 1
    return np.kron(labels, np.ones((step, step), np.uint32))


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("features", [CHEAP_FEATURES, FEATURES])
def test_peak_memory_stays_below_what_is_declared(channels, features):
    cells = tiles(800, 20)
    cells[::20] = 0
    nuclei = np.where(tiles(800, 10) % 2, cells, 0)
    stack = np.random.default_rng(0).integers(0, 4000, (channels, 800, 800)).astype(np.uint16)
    sets = {"nuclei": nuclei[None], "cells": cells[None], "cytoplasm": np.where(nuclei, 0, cells)[None]}
    corner = {name: labels[:, :40, :40] for name, labels in sets.items()}
    measure_objects(stack[:, :40, :40], **corner, features=features)
    tracemalloc.start()
    measure_objects(stack, **sets, features=features, granularity_sizes=2)
    peak = stack.nbytes + tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    spec = spec_of(measure_objects)
    declared = spec.cost().of(stack)
    assert peak <= declared <= 3 * peak


@pytest.mark.parametrize("name", ["t1", "t70"])
def test_areas_of_mitotic_nuclei_are_those_beside_the_label_images(real_data, name):
    from tifffile import imread

    folder = real_data("nuclei_mitocheck_labels")
    labels, image = (
        imread(folder / f"xy_8bit__mitocheck_incenp_{name}{kind}.tif") for kind in ("_labels", "")
    )
    expected = np.loadtxt(folder / f"xy_8bit__mitocheck_incenp_{name}.txt", skiprows=1)
    table = objects(image[None], nuclei=labels[None], planes={"pixel_size_um": [0.1]})
    np.testing.assert_array_equal(table["ObjectNumber"], expected[:, 0])
    np.testing.assert_allclose(table["Nuclei_AreaShape_Area_um2"], expected[:, 1], atol=5e-4)


def test_three_thousand_real_nuclei_have_scikit_images_shapes_and_the_areas_measured_upstream(real_data):
    zarr = pytest.importorskip("zarr")
    folder = real_data("omezarr_cardiomyocyte_plate") / (
        "20200812-CardiomyocyteDifferentiation14-Cycle1_B03_mip_half.zarr/B/03/0"
    )
    labels = zarr.open_array(folder / "labels/nuclei/0", mode="r")[:]
    stack = zarr.open_array(folder / "0", mode="r")[:, 0]
    upstream = zarr.open_array(folder / "tables/regionprops_DAPI/X", mode="r")[:]
    table = objects(stack, nuclei=labels, planes={"channel_name": ["DAPI", "nanog", "Lamin B1"]})
    assert table["ObjectNumber"].tolist() == list(range(1, 3007))
    area = table["Nuclei_AreaShape_Area"]
    mean = table["Nuclei_Intensity_MeanIntensity_DAPI"]
    # Upstream measured the plane four times as fine; its small copies of the labels are a little thicker.
    assert np.corrcoef(area, upstream[:, 0])[0, 1] > 0.995
    assert np.median(area / upstream[:, 0]) == pytest.approx(1 / 16, rel=0.1)
    assert np.corrcoef(mean, upstream[:, 4])[0, 1] > 0.98
    cut = labels[0, :300, :300]
    small = objects(stack[:1, :300, :300], labels=cut[None], features=("shape", "intensity"))
    expected = regionprops_table(
        cut.astype(np.int64),
        stack[0, :300, :300],
        properties=("label", "area", "perimeter", "solidity", "eccentricity", "intensity_std"),
    )
    ours = ("Number_Object_Number", "AreaShape_Area", "AreaShape_Perimeter", "AreaShape_Solidity",
            "AreaShape_Eccentricity", "Intensity_StdIntensity_Channel1")  # fmt: skip
    for name, values in zip(ours, expected.values(), strict=True):
        np.testing.assert_allclose(small[f"Objects_{name}"], values, rtol=1e-9, atol=1e-9)
