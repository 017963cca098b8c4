from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hcs_steps import functions
from hcs_steps.arrays import dtype_range, namespace, ndimage_of, round_saturate, to_numpy

INTEGERS = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]


@given(
    hnp.arrays(np.float64, st.integers(1, 20), elements=st.floats(allow_nan=True, allow_infinity=True)),
    st.sampled_from(INTEGERS),
)
def test_floats_are_rounded_half_to_even_and_never_wrap(values, dtype):
    before = values.copy()
    result = round_saturate(values, dtype)
    low, high = dtype_range(dtype)
    assert result.dtype == dtype
    for value, got in zip(values.tolist(), result.tolist(), strict=True):
        wanted = 0 if np.isnan(value) else low if value <= low else high if value >= high else round(value)
        assert got == wanted
    np.testing.assert_array_equal(values, before)


@given(st.sampled_from(INTEGERS), st.sampled_from(INTEGERS), st.data())
def test_integers_saturate_between_any_two_types(source, target, data):
    values = data.draw(hnp.arrays(source, 5))
    low, high = dtype_range(target)
    result = round_saturate(values, target)
    assert result.dtype == target
    assert result.tolist() == [min(max(value, low), high) for value in values.tolist()]


def test_floats_are_cast_and_the_same_dtype_is_passed_on():
    values = np.array([0.5, 1.5])
    assert round_saturate(values, "float32").dtype == np.float32
    assert round_saturate(values, "float64") is values


def test_numpy_arrays_get_numpy_and_scipy():
    import scipy.ndimage

    array = np.zeros(3)
    assert namespace(array) is np
    assert ndimage_of(array) is scipy.ndimage
    assert to_numpy(array) is array


def test_other_arrays_get_their_own_namespace():
    torch = pytest.importorskip("torch")
    assert "torch" in namespace(torch.zeros(2)).__name__


def test_no_range_for_other_kinds():
    with pytest.raises(ValueError, match="complex"):
        dtype_range("complex128")


def test_importing_the_functions_imports_only_numpy():
    code = (
        "import sys, hcs_steps.functions\n"
        "import hcs_steps.functions.preprocessing.normalize, hcs_steps.functions.preprocessing.background\n"
        "import hcs_steps.functions.preprocessing.composite, hcs_steps.functions.segmentation.count\n"
        "heavy = {'skimage', 'scipy', 'torch', 'cupy', 'zarr', 'snakemake', 'pandas', 'array_api_compat'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_loads_a_function_when_its_name_is_used():
    code = (
        "import sys, hcs_steps.functions as f\n"
        "before = 'hcs_steps.functions.segmentation.count' in sys.modules\n"
        "print(before, f.count_cells_single_channel.__module__, all(hasattr(f, name) for name in f.__all__))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "hcs_steps.functions.segmentation.count", "True"]


def test_no_function_is_hidden_by_a_module_of_its_name():
    """A module becomes an attribute of its package once it is imported, and would stand in the function's place."""
    for module in functions.STEP_FUNCTIONS:
        importlib.import_module(module)
    assert all(
        inspect.isfunction(getattr(functions, name))
        for names in functions.STEP_FUNCTIONS.values()
        for name in names
    )


def test_device_arrays_are_recognised_by_their_module_and_copied_to_the_host(monkeypatch):
    class DeviceArray:
        __module__ = "cupy._core.core"

        def get(self):
            return np.arange(3)

    fake = type(sys)("cupyx")
    fake.scipy = type(sys)("cupyx.scipy")
    fake.scipy.ndimage = type(sys)("cupyx.scipy.ndimage")
    for module in (fake, fake.scipy, fake.scipy.ndimage):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    assert to_numpy(DeviceArray()).tolist() == [0, 1, 2]
    assert ndimage_of(DeviceArray()) is fake.scipy.ndimage
