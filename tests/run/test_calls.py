"""One call of a step function: what goes in, and how what comes back is checked and normalised."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from hcs_steps.compile.plan import CallPlan
from hcs_steps.errors import StepError
from hcs_steps.functions.declare import step_function
from hcs_steps.run.calls import CallResult, NamedOutput, run_chain
from hcs_steps.run.workplace import Workplace
from hcs_steps.storage.protocol import PlaneKey

KEYS = (PlaneKey(1, 1, 1, 1), PlaneKey(2, 1, 1, 1))
STACK = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
TABLE = {"site": np.array([1, 2])}


def call(name: str = "f", **values: Any) -> CallPlan:
    plain = {
        "function": name,
        "kwargs": {},
        "source": "",
        "outputs": (),
        "rows": {},
        "optional": 0,
        "injected": (),
        "reduces": False,
        "changes_image": True,
        "dtype": "same",
        "mosaic": False,
        "moves": False,
        "devices": ("cpu",),
    }
    return CallPlan(**(plain | values))


def run(
    function: Callable[..., Any], given: dict[str, NamedOutput] | None = None, **values: Any
) -> tuple[np.ndarray, CallResult]:
    result = CallResult({})
    image = applied([call(**values)], {"f": function}, given or {}, result)
    return image, result


def applied(
    chain: Sequence[CallPlan],
    functions: dict[str, Callable[..., Any]],
    given: dict[str, NamedOutput],
    result: CallResult,
    table: Any = TABLE,
    on_gpu: bool = False,
) -> np.ndarray:
    """What a chain makes of the stack, on the host."""
    work = Workplace(on_gpu)
    return run_chain(chain, functions, work.hold(STACK), KEYS, table, given, result, work).on_host()


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (bool, np.uint8),
        (np.uint8, np.uint8),
        (np.int16, np.int16),
        (np.uint64, np.uint64),
        (np.float16, np.float32),
        (np.float32, np.float32),
        (np.float64, np.float64),
        (np.longdouble, np.float64),
        (">u2", np.uint16),
    ],
)
def test_pixels_come_back_as_a_type_every_store_can_hold(returned: Any, expected: Any) -> None:
    image, _ = run(lambda stack: (stack % 2).astype(returned))
    assert image.dtype == np.dtype(expected)
    assert image.dtype.isnative
    assert np.array_equal(image, STACK % 2)


@pytest.mark.parametrize("bad", [complex, object, "U3", "M8[s]"])
def test_other_types_are_refused(bad: Any) -> None:
    with pytest.raises(StepError, match="pixels of type"):
        run(lambda stack: np.zeros(stack.shape, bad))


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda s: None, "returned nothing"),
        (lambda s: s[:1], r"shape \(1, 3, 4\) for 2 planes; expected \(2, Y, X\)"),
        (lambda s: s[0], r"shape \(1, 3, 4\)"),
        (lambda s: s.max(), "expected"),
        (lambda s: s[None], "expected"),
        (lambda s: (s, {}), "returned 2 values; expected the stack and no named outputs"),
        (lambda s: (), "returned 0 values"),
    ],
)
def test_a_result_that_is_no_stack_of_as_many_planes_is_refused(function: Any, said: str) -> None:
    with pytest.raises(StepError, match=said) as caught:
        run(function)
    assert caught.value.hint


def test_named_outputs_must_be_as_many_as_declared() -> None:
    outputs = (("spots", "table"), ("mask", "labels"))
    with pytest.raises(StepError, match="returned 2 values; expected the stack and spots, mask"):
        run(lambda s: (s, {}), outputs=outputs)


def test_a_reducing_function_returns_one_plane_with_or_without_its_axis() -> None:
    for function in (lambda s: s.max(axis=0), lambda s: s.max(axis=0, keepdims=True)):
        image, _ = run(function, reduces=True)
        assert image.shape == (1, 3, 4)
    with pytest.raises(StepError, match=r"expected \(1, Y, X\)"):
        run(lambda s: s, reduces=True)


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.int64])
def test_labels_become_uint32(dtype: Any) -> None:
    _, result = run(lambda s: (s, np.ones(s.shape, dtype)), outputs=(("mask", "labels"),))
    assert result.outputs["mask"].value.dtype == np.uint32
    assert result.outputs["mask"].keys == KEYS


@pytest.mark.parametrize("labels", [np.ones((1, 3, 4), int), np.ones((2, 3, 4)), np.ones((2, 4, 3), int), 3])
def test_labels_unlike_the_image_are_refused_with_both_shapes(labels: Any) -> None:
    with pytest.raises(StepError, match=r"'mask' of shape .* expected integers of shape \(2, 3, 4\)"):
        run(lambda s: (s, labels), outputs=(("mask", "labels"),))


def test_a_chain_hands_on_images_and_named_outputs() -> None:
    chain = [
        call("double"),
        call("project", reduces=True),
        call("count", outputs=(("n", "value"),)),
        call("use", injected=("n", "planes")),
    ]
    seen: dict[str, Any] = {}

    def use(stack: Any, n: int, planes: Any) -> Any:
        seen.update(n=n, sites=planes["site"].tolist(), shape=stack.shape)
        return stack

    functions = {
        "double": lambda s: s * 2,
        "project": lambda s: s.max(axis=0),
        "count": lambda s: (s, int(s.max())),
        "use": use,
    }
    result = CallResult({})
    image = applied(chain, functions, {"n": NamedOutput("value", -1, KEYS)}, result)
    assert seen == {"n": 46, "sites": [1], "shape": (1, 3, 4)}
    assert result.outputs["n"].keys == KEYS[:1]
    assert image.max() == 46


def test_arguments_reach_the_function_as_ordinary_lists_and_dicts_of_its_own() -> None:
    def greedy(stack: Any, weights: Any, options: Any) -> Any:
        assert type(weights) is list
        assert type(options) is dict
        weights.append(3)
        options["x"] = 1
        return stack

    one = call(kwargs={"weights": [1, 2], "options": {"a": [1]}})
    for _ in range(2):
        applied([one], {"f": greedy}, {}, CallResult({}))
    assert len(one.kwargs["weights"]) == 2


def test_what_is_not_there_to_inject_is_left_to_the_functions_default() -> None:
    def f(stack: Any, cells: Any = "default") -> Any:
        assert cells == "default"
        return stack

    run(f, injected=("cells",))


def test_what_is_not_there_and_has_no_default_is_named() -> None:
    with pytest.raises(StepError, match="f needs 'cells', which no step before returned") as caught:
        run(lambda stack, cells: stack, injected=("cells",))
    assert caught.value.hint


def test_on_a_gpu_a_function_gets_stack_and_labels_there_and_tables_on_the_host(cupy_standin: Any) -> None:
    seen: dict[str, Any] = {}

    def find(stack: Any) -> Any:
        return stack, (stack > 3).astype("uint32")

    def masked(stack: Any, cells: Any, planes: Any, spots: Any) -> Any:
        seen.update(cells=type(cells), site=type(planes["site"]), spots=type(spots["y"]))
        return stack * (cells > 0)

    chain = [
        call("find", outputs=(("cells", "labels"),), devices=("cpu", "gpu")),
        call("masked", injected=("cells", "planes", "spots"), devices=("cpu", "gpu")),
        call("host"),
    ]
    functions = {"find": find, "masked": masked, "host": lambda stack: np.add(stack, 1)}
    result = CallResult({})
    given = {"spots": NamedOutput("table", {"y": np.zeros(2)}, ())}
    image = applied(chain, functions, given, result, on_gpu=True)
    assert seen == {"cells": cupy_standin.ndarray, "site": np.ndarray, "spots": np.ndarray}
    np.testing.assert_array_equal(image, np.where(STACK > 3, STACK, 0) + 1)
    assert isinstance(result.outputs["cells"].on_host, np.ndarray)


def test_an_optional_output_may_be_left_out_and_a_required_one_not() -> None:
    outputs = (("n", "value"), ("picture", "array"))
    _, result = run(lambda stack: (stack, 1), outputs=outputs, optional=1)
    assert list(result.outputs) == ["n"]
    _, result = run(lambda stack: (stack, 1, stack[0]), outputs=outputs, optional=1)
    assert list(result.outputs) == ["n", "picture"]
    for returned in (lambda stack: stack, lambda stack: (stack, 1, 2, 3)):
        with pytest.raises(StepError, match="expected the stack and n, picture"):
            run(returned, outputs=outputs, optional=1)


def test_an_array_is_refused_on_other_pixels_also_where_their_size_is_not_known() -> None:
    """Pixels are compared with the plate's own: a plate without a pixel size has them as well."""
    table = {"pixel_size_um": np.full(2, np.nan)}

    @step_function(geometry=lambda planes, *_: {**planes, "pixel_size_um": planes["pixel_size_um"] * 2})
    def shrink(stack: Any) -> Any:
        return stack[:, ::2, ::2]

    chain = [call("find", outputs=(("spots", "array"),)), call("shrink"), call("use", injected=("spots",))]
    functions = {"find": lambda s: (s, np.zeros(3)), "shrink": shrink, "use": lambda s, spots: s}
    with pytest.raises(
        StepError, match=r"'spots', which find made in pixels 0\.5 times as wide as"
    ) as caught:
        applied(chain, functions, {}, CallResult({}), table)
    assert "before 'spots' is made" in caught.value.hint
