"""The errors a user sees."""

import pickle

import pytest

from hcs_steps.errors import (
    CompileError,
    ConfigError,
    HcsError,
    PipelineError,
    PlateError,
    StepError,
    StorageError,
    nearest,
)


def test_an_error_prints_its_finding_and_its_fix() -> None:
    error = ConfigError("It is wrong.", hint="Mend it.")
    assert str(error) == "It is wrong. Mend it."
    assert (error.message, error.hint) == ("It is wrong.", "Mend it.")
    assert str(ConfigError("It is wrong.")) == "It is wrong."


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (PlateError, ValueError),
        (ConfigError, ValueError),
        (PipelineError, ValueError),
        (StorageError, OSError),
        (StepError, RuntimeError),
    ],
)
def test_errors_are_also_the_builtin_that_a_caller_expects(
    kind: type[HcsError], builtin: type[Exception]
) -> None:
    assert issubclass(kind, builtin)
    assert str(kind("found.", hint="fix.")) == "found. fix."


def test_several_problems_are_counted_numbered_and_kept() -> None:
    problems = [ConfigError("one.", hint="a."), PipelineError("two.")]
    error = CompileError(problems, what="It cannot run")
    assert str(error) == "It cannot run: 2 problems.\n  1. one. a.\n  2. two."
    assert error.problems == tuple(problems)
    assert "1 problem." in str(CompileError(problems[:1]))


def test_an_error_survives_a_trip_between_processes() -> None:
    error = pickle.loads(pickle.dumps(ConfigError("It is wrong.", hint="Mend it.")))
    assert str(error) == "It is wrong. Mend it."


@pytest.mark.parametrize(
    ("name", "allowed", "expected"),
    [
        ("chanel", ["site", "channel"], "Did you mean 'channel'? Allowed: channel, site."),
        ("zzz", ["site", "channel"], "Allowed: channel, site."),
        ("x", [], "Allowed: none."),
        (3, ["3 "], "Did you mean '3 '? Allowed: 3 ."),
    ],
)
def test_nearest_names_the_closest_and_all(name: str, allowed: list[str], expected: str) -> None:
    assert nearest(name, allowed) == expected
