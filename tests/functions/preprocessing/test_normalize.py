from __future__ import annotations

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hcs_steps.functions.declare import spec_of
from hcs_steps.functions.preprocessing.normalize import stack_percentile_normalize, stack_percentiles

SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, max_side=7)
PERCENTILES = st.one_of(st.sampled_from([0.0, 1.0, 25.0, 50.0, 99.0, 99.9, 100.0]), st.floats(0, 100))


@given(st.sampled_from(["uint8", "uint16"]).flatmap(lambda t: hnp.arrays(t, SHAPES)), PERCENTILES)
def test_histogram_percentile_is_bit_identical_to_numpy(stack, percentile):
    assert stack_percentiles(stack, percentile)[0] == np.percentile(stack, percentile)


@given(st.sampled_from(["int8", "int16"]).flatmap(lambda t: hnp.arrays(t, SHAPES)), PERCENTILES)
def test_histogram_percentile_of_signed_integers_does_not_overflow(stack, percentile):
    # np.percentile subtracts neighbours in int16 itself, which wraps; int64 holds every difference.
    assert stack_percentiles(stack, percentile)[0] == np.percentile(stack.astype(np.int64), percentile)


@pytest.mark.parametrize("dtype", ["uint32", "int32", "float32", "float64"])
def test_percentiles_of_other_types_are_numpys(dtype):
    stack = (np.random.default_rng(1).normal(size=(2, 30, 31)) * 1000 + 5000).astype(dtype)
    assert stack_percentiles(stack, 1, 99) == tuple(np.percentile(stack, [1, 99]))


def test_percentiles_leave_out_what_is_not_finite():
    stack = np.array([[[np.nan, 1, 2, 3, np.inf]]])
    assert stack_percentiles(stack, 0, 50, 100) == (1, 2, 3)
    assert np.isnan(stack_percentiles(np.full((1, 1, 1), np.nan), 50)).all()


def test_percentiles_are_not_sampled_on_large_stacks():
    stack = np.zeros((3, 2048, 2048), dtype=np.uint16)
    stack[:, 0, 0] = [11, 22, 33]
    assert stack_percentiles(stack, 0, 100) == (0, 33)
    pixels = stack.size - 1
    assert stack_percentiles(stack, 100 * (1 - 2.5 / pixels))[0] == pytest.approx(5.5, rel=1e-6)


@given(hnp.arrays(np.uint16, SHAPES))
def test_uint16_matches_the_definition(stack):
    low, high = np.percentile(stack, [5, 95])
    result = stack_percentile_normalize(stack, 5, 95)
    assert result.dtype == np.uint16
    if low == high:
        assert not result.any()
    else:
        np.testing.assert_array_equal(
            result, np.round(np.clip((stack.astype(float) - low) / (high - low), 0, 1) * 65535)
        )


@given(hnp.arrays(np.float32, SHAPES, elements=st.floats(-1e6, 1e6, width=32)))
def test_floats_end_up_between_zero_and_one(stack):
    result = stack_percentile_normalize(stack)
    assert result.dtype == np.float32
    assert result.min() >= 0
    assert result.max() <= 1


@pytest.mark.parametrize(
    ("dtype", "target", "expected"),
    [
        ("uint8", {}, "uint8"),
        ("uint8", {"target_max": 65535.0}, "uint16"),
        ("uint16", {"target_max": 255}, "uint16"),
        ("uint16", {"target_max": 65536}, "uint32"),
        ("uint16", {"target_min": -5, "target_max": 100}, "int8"),
        ("int16", {}, "int16"),
        ("float32", {"target_max": 65535.0}, "float32"),
    ],
)
def test_output_dtype_holds_the_target(dtype, target, expected):
    stack = np.arange(24).reshape(2, 3, 4).astype(dtype)
    result = stack_percentile_normalize(stack, 0, 100, **target)
    assert result.dtype == expected
    assert result.min() == target.get("target_min", 0)
    default = np.iinfo(dtype).max if np.dtype(dtype).kind != "f" else 1
    assert result.max() == target.get("target_max", default)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float64"])
def test_a_constant_stack_becomes_the_target_minimum(dtype):
    result = stack_percentile_normalize(np.full((2, 4, 4), 7, dtype), target_min=3, target_max=9)
    assert (result == 3).all()


def test_planes_stay_comparable_and_the_input_untouched():
    stack = np.stack([np.full((10, 10), value, np.uint16) for value in (100, 200, 300)])
    before = stack.copy()
    assert stack_percentile_normalize(stack, 0, 100)[:, 0, 0].tolist() == [0, 32768, 65535]
    np.testing.assert_array_equal(stack, before)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"low_percentile": 99, "high_percentile": 1}, "low_percentile < high_percentile"),
        ({"high_percentile": 101}, "100"),
        ({"target_min": 10, "target_max": 10}, "target_min < target_max"),
        ({"target_max": 1e12}, "32 bits"),
    ],
)
def test_impossible_arguments_are_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        stack_percentile_normalize(np.zeros((1, 2, 2), np.uint8), **arguments)


@pytest.mark.parametrize("shape", [(4, 4), (1, 1, 4, 4), (0, 4, 4)])
def test_only_stacks_are_accepted(shape):
    with pytest.raises(ValueError, match="stack"):
        stack_percentile_normalize(np.zeros(shape, np.uint8))


def test_masks_are_refused():
    with pytest.raises(ValueError, match="bool"):
        stack_percentile_normalize(np.zeros((1, 2, 2), bool))


def test_declaration():
    assert spec_of(stack_percentile_normalize).devices == ("cpu", "gpu")
    assert spec_of(stack_percentile_normalize).changes_image


def _stack(dtype, seed=0):
    return (np.random.default_rng(seed).gamma(3, 9, (2, 31, 40))).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("target", [{}, {"target_max": 65535.0}, {"target_max": 1e9}, {"target_min": -3}])
def test_a_torch_tensor_comes_back_as_one_with_numpys_values(dtype, target):
    torch = pytest.importorskip("torch")
    stack = _stack(dtype)
    result = stack_percentile_normalize(torch.from_numpy(stack), **target)
    wanted = stack_percentile_normalize(stack, **target)
    assert isinstance(result, torch.Tensor)
    assert result.numpy().dtype == wanted.dtype
    if np.dtype(dtype).itemsize <= 2:
        np.testing.assert_array_equal(result.numpy(), wanted)
    else:
        np.testing.assert_allclose(result.numpy(), wanted, rtol=1e-6, atol=0.5 * (wanted.dtype.kind in "ui"))


def test_torch_percentiles_are_exact():
    torch = pytest.importorskip("torch")
    for dtype in ("uint16", "int32", "float32"):
        stack = _stack(dtype, seed=4)
        got = stack_percentiles(torch.from_numpy(stack), 1, 33.3, 99.8)
        assert got == tuple(np.percentile(stack.astype(np.float64), [1, 33.3, 99.8]))
    broken = torch.tensor([[[float("nan"), 1, 2, 3, float("inf")]]])
    assert stack_percentiles(broken, 0, 50, 100) == (1, 2, 3)


def test_torch_refusals_and_views():
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match="bool"):
        stack_percentile_normalize(torch.zeros((1, 2, 2), dtype=torch.bool))
    with pytest.raises(ValueError, match=r"image\[None\]"):
        stack_percentile_normalize(torch.zeros((2, 2)))
    with pytest.raises(ValueError, match="bfloat16"):
        stack_percentile_normalize(torch.zeros((1, 2, 2), dtype=torch.bfloat16))
    stack = _stack("uint16")
    turned = torch.from_numpy(stack).transpose(1, 2)
    np.testing.assert_array_equal(
        stack_percentile_normalize(turned).numpy(), stack_percentile_normalize(stack.transpose(0, 2, 1))
    )


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32"])
def test_cupy_gives_the_same(cupy_standin, dtype):
    stack = _stack(dtype)
    if dtype == "float32":
        stack[0, 3, 3] = np.nan
    got = stack_percentile_normalize(cupy_standin.asarray(stack), 2, 98, target_max=1000).get()
    np.testing.assert_array_equal(got, stack_percentile_normalize(stack, 2, 98, target_max=1000))


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_views_and_odd_shapes_are_counted_whole(dtype):
    base = _stack(dtype, seed=8)
    for stack in (base[:, ::2, ::3], base[:, ::-1], base.transpose(0, 2, 1), base[:, :1, :1]):
        whole = np.ascontiguousarray(stack)
        assert stack_percentiles(stack, 7, 93) == tuple(np.percentile(whole.astype(np.float64), [7, 93]))
        np.testing.assert_array_equal(stack_percentile_normalize(stack), stack_percentile_normalize(whole))


def test_nan_stays_and_infinity_is_clipped():
    stack = np.arange(100, dtype=np.float32).reshape(1, 10, 10)
    stack[0, 0, 0], stack[0, 0, 1], stack[0, 0, 2] = np.nan, np.inf, -np.inf
    result = stack_percentile_normalize(stack)
    assert np.isnan(result[0, 0, 0])
    assert result[0, 0, 1] == 1
    assert result[0, 0, 2] == 0
    assert np.isfinite(result[0, 1:]).all()


def test_float_percentiles_are_exact_where_float32_cannot_count_the_pixels():
    stack = np.zeros((1, 4200, 4200), dtype=np.float32)
    stack[0, 0, :3] = [1, 2, 3]
    pixels = stack.size - 1
    assert stack_percentiles(stack, 100 * (1 - 1.5 / pixels))[0] == pytest.approx(1.5, rel=1e-6)


def test_real_plates_are_stretched_as_numpy_would(real_data):
    folder = real_data("imagexpress_export_zstack") / "9987_Plate_3433" / "TimePoint_1" / "ZStep_2"
    stack = np.stack([tifffile.imread(folder / f"9987_B03_s{site}_w1.TIF") for site in (1, 2)])
    low, high = np.percentile(stack, [1, 99])
    result = stack_percentile_normalize(stack, target_max=65535.0)
    wanted = np.round(np.clip((stack - low) / (high - low), 0, 1) * 65535)
    np.testing.assert_array_equal(result, wanted)
    assert np.mean(result == 0) >= 0.01
    assert np.mean(result == 65535) >= 0.01
