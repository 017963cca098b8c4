"""Functions by name."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hcs_steps.errors import PipelineError
from hcs_steps.functions import tophat
from hcs_steps.pipeline import FunctionStep, register_function
from hcs_steps.pipeline.registry import BUILTINS, _registered, known_names, reference_of, resolve


@pytest.fixture(autouse=True)
def clean_registry() -> Iterator[None]:
    before = dict(_registered)
    yield
    _registered.clear()
    _registered.update(before)


@pytest.mark.parametrize("name", sorted(BUILTINS))
def test_every_builtin_name_resolves_to_a_function_that_is_found_by_its_own_name(name: str) -> None:
    func = resolve(name)
    assert reference_of(func) == func.__name__
    # A function may have more names than its own; every name leads to the function of its own name.
    assert func is resolve(func.__name__)


def test_package_module_function_resolves() -> None:
    assert resolve("hcs_steps.functions.preprocessing.background:tophat") is tophat
    assert resolve("collections:OrderedDict.fromkeys").__name__ == "fromkeys"


def test_a_functions_folder_on_the_search_path_is_found_and_the_path_restored(tmp_path: Path) -> None:
    (tmp_path / "lab_functions").mkdir()
    (tmp_path / "lab_functions" / "my.py").write_text("def func(stack):\n    return stack\n")
    before = list(sys.path)
    assert resolve("lab_functions.my:func", (str(tmp_path),)).__name__ == "func"
    assert sys.path == before


def test_a_function_of_a_single_file_resolves(tmp_path: Path) -> None:
    (tmp_path / "own file.py").write_text("def func(stack):\n    return stack\n")
    reference = f"{tmp_path.as_posix()}/own file.py:func"
    func = resolve(reference)
    assert func(3) == 3
    assert reference_of(func) == reference
    assert resolve(reference) is func


@pytest.mark.parametrize(
    ("reference", "near"),
    [
        ("tophatt", "tophat"),
        ("count_cells", "count_cells_single_channel"),
        ("hcs_steps.functions.preprocessing.background:tophatt", "tophat"),
    ],
)
def test_an_unknown_name_gets_the_nearest_one(reference: str, near: str) -> None:
    with pytest.raises(PipelineError, match=f"Did you mean '{near}'"):
        resolve(reference)


@pytest.mark.parametrize(
    "reference",
    ["no_such_package.module:f", "absent/file.py:f", ":f", "..relative:f", "tophat:", "os:path", "a b:c", ""],
)
def test_what_cannot_be_a_function_is_a_pipeline_error(reference: str) -> None:
    with pytest.raises(PipelineError):
        resolve(reference)


@pytest.mark.parametrize(
    "code",
    [
        "import nothing_called_so",
        "raise ValueError('bad\\n  table')",
        "1 / 0",
        "def (",
        "raise KeyError('x')",
    ],
)
@pytest.mark.parametrize("form", ["module", "file"])
def test_a_module_that_raises_on_import_is_one_clear_pipeline_error(
    tmp_path: Path, code: str, form: str
) -> None:
    (tmp_path / "broken_lab_module.py").write_text(code + "\n")
    where = "broken_lab_module" if form == "module" else f"{tmp_path}/broken_lab_module.py"
    with pytest.raises(PipelineError, match="cannot be imported") as caught:
        resolve(f"{where}:f", (str(tmp_path),))
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None


def test_a_registered_name_works_and_is_written_as_what_other_processes_can_import() -> None:
    register_function("my_tophat")(tophat)
    assert resolve("my_tophat") is tophat
    assert "my_tophat" in known_names()
    assert resolve(str(FunctionStep("my_tophat").func)) is tophat
    assert ":" in str(FunctionStep("my_tophat").func)


def test_a_name_that_is_taken_is_refused_but_registering_again_is_not() -> None:
    register_function("mine")(tophat)
    register_function("mine")(tophat)
    for name in ("mine", "create_composite"):
        with pytest.raises(PipelineError, match="is taken by"):
            register_function(name)(test_package_module_function_resolves)


def test_a_function_of_a_script_is_named_by_its_file(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        "from hcs_steps.pipeline import FunctionStep\n"
        "def smooth(stack):\n    return stack\n"
        "print(FunctionStep(smooth).func)\n"
    )
    out = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True).stdout
    assert out.strip() == f"{script.resolve().as_posix()}:smooth"
    assert resolve(out.strip()).__name__ == "smooth"
