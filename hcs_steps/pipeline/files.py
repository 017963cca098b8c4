"""Pipelines as files: YAML and Python, each convertible into the other without loss.

A YAML pipeline is data and is checked against `PipelineFile` before anything is built. A Python pipeline is
code and is run: only ever one of the user's own repository. It assigns a `Pipeline` to the name
``pipeline``.
"""

from __future__ import annotations

import os
import pprint
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from hcs_steps.errors import CompileError, ConfigError, HcsError, PipelineError, nearest
from hcs_steps.pipeline._yaml import check_values, plain_yaml
from hcs_steps.pipeline.config import GlobalPipelineConfig, Model
from hcs_steps.pipeline.modes import ModeConfig
from hcs_steps.pipeline.registry import describe, importable, load_file
from hcs_steps.pipeline.step import FunctionStep, Pipeline

LARGEST_FILE = 5_000_000
"""Bytes of a configuration or pipeline file."""

_shown = reprlib.Repr()
_shown.maxstring = _shown.maxother = _shown.maxlong = 80


class StepFile(Model):
    """One step of a pipeline file."""

    name: str | None = None
    """Names the step's outputs; the function's name by default."""
    func: str | list[Any] | dict[str | int, Any]
    """A function, ``{use: function, with: {arguments}}``, a list of these, or a mapping of component
    values.
    """
    variable_components: str | list[str] | None = None
    """Components stacked on axis 0: site, channel, z_index, timepoint; by default what the functions put together,
    else site.
    """
    group_by: str | None = "channel"
    """Component that selects the branch of a mapping: channel, site, z_index, timepoint, well, none."""
    input_source: str = "previous_step"
    """previous_step or pipeline_start."""
    force_disk_output: bool = False
    """Keep this step's images."""
    well_filter: int | str | list[str] | dict[str, Any] | None = None
    """Wells that the step is for."""
    scope: str = "unit"
    """unit or plate."""
    unlisted: str = "drop"
    """drop or pass: planes that a mapping does not list."""
    gate: bool = False
    """Stop here with a report, for people to look; the next call goes on."""


class PipelineFile(Model):
    """A pipeline file."""

    name: str | None = None
    """Name of the pipeline; the file's name by default."""
    description: str = ""
    """What the pipeline is for."""
    config: GlobalPipelineConfig = Field(default_factory=GlobalPipelineConfig)
    """Backends, paths and workers."""
    modes: dict[str, ModeConfig] = Field(default_factory=dict)
    """Named parts of the work (``hcs run --mode NAME``). ``full``, ``preview`` and ``analysis_only`` always exist."""
    steps: list[StepFile] = Field(min_length=1)
    """The steps, in order."""


def load_pipeline(path: Path | str) -> Pipeline:
    """The pipeline in a ``.yaml``, ``.yml`` or ``.py`` file.

    Raises
    ------
    ConfigError
        No such file, not YAML, unknown keys, wrong types (all of them at once).
    PipelineError, CompileError
        Steps that cannot be built.
    """
    path = Path(path)
    if not os.path.isfile(path):  # unlike Path.is_file, of any text
        raise ConfigError(
            f"There is no pipeline file {path}.", hint="Check 'pipeline:' in the configuration."
        )
    if path.suffix == ".py":
        return _load_python(path)
    return pipeline_from_dict(load_yaml(path), where=str(path), name=path.stem)


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping, loaded safely. `ConfigError` with line and column if it is none."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
        text = data.decode("utf-8-sig")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a path that no file can have
        raise ConfigError(
            f"{path} cannot be read: {error}.", hint="Check the path, and save the file as UTF-8 text."
        ) from None
    if len(data) > LARGEST_FILE:
        raise ConfigError(
            f"{path} has more than {LARGEST_FILE:,} bytes, more than any configuration.",
            hint="Give the YAML file itself.",
        )
    return parse_yaml(text, where=str(path))


def parse_yaml(text: str, *, where: str) -> dict[str, Any]:
    """The YAML mapping in a text; ``where`` names its origin in errors."""
    data = plain_yaml(text, where=where)
    if not isinstance(data, Mapping):
        raise ConfigError(
            f"{where} must hold a mapping of keys, not {type(data).__name__}.",
            hint="Write `key: value` lines.",
        )
    return dict(data)


def pipeline_from_dict(data: Mapping[str, Any], *, where: str, name: str = "pipeline") -> Pipeline:
    """A pipeline from the plain values of a file; ``where`` names the file in errors."""
    check_values(data, where=where)
    try:
        model = PipelineFile.model_validate(dict(data))
    except ValidationError as error:
        raise validation_error(error, PipelineFile, where) from None
    steps: list[FunctionStep] = []
    problems: list[HcsError] = []
    for step in model.steps:
        try:
            steps.append(FunctionStep(**{key: getattr(step, key) for key in step.model_fields_set}))
        except PipelineError as error:
            problems.append(error)
    if problems:
        raise CompileError(problems, what=f"{where} is not a pipeline")
    return Pipeline(
        steps,
        name=model.name or name,
        config=model.config,
        description=model.description,
        modes=model.modes,
    )


class _Dumper(yaml.SafeDumper):
    """PyYAML's, with text quoted that holds line separators which it would read back as other ones."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        style = '"' if any(c in data for c in "\x85\u2028\u2029") else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)


def pipeline_to_yaml(pipeline: Pipeline) -> str:
    """The pipeline as the text of a YAML file that loads to an equal pipeline."""
    data: dict[str, Any] = {"name": pipeline.name}
    if pipeline.description:
        data["description"] = pipeline.description
    config = _config_dict(pipeline.config)
    if config:
        data["config"] = config
    if pipeline.modes:
        data["modes"] = _modes_dict(pipeline)
    data["steps"] = [step.settings() for step in pipeline.steps]
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)


def pipeline_to_python(pipeline: Pipeline) -> str:
    """The pipeline as the text of a Python file that loads to an equal pipeline."""
    steps = []
    for step in pipeline.steps:
        settings = step.settings()
        func = settings.pop("func")
        arguments = [
            f"func={_literal(func)}",
            *(f"{key}={_literal(value)}" for key, value in settings.items()),
        ]
        steps.append(
            "        FunctionStep(\n" + "".join(f"            {a},\n" for a in arguments) + "        ),\n"
        )
    config = _config_dict(pipeline.config)
    modes = f"    modes={_literal(_modes_dict(pipeline))},\n" if pipeline.modes else ""
    return (
        f'"""{_docstring(pipeline.description or f"Pipeline {pipeline.name}.")}"""\n\n'
        "from hcs_steps.pipeline import FunctionStep, GlobalPipelineConfig, Pipeline\n\n"
        "pipeline = Pipeline(\n"
        f"    name={pipeline.name!r},\n"
        f"    description={pipeline.description!r},\n"
        f"    config=GlobalPipelineConfig.model_validate({_literal(config)}),\n"
        f"{modes}"
        "    steps=[\n" + "".join(steps) + "    ],\n"
        ")\n"
    )


def validation_error(error: ValidationError, model: type[Model], where: str) -> ConfigError:
    """All findings of a pydantic validation as one paragraph; unknown keys name the nearest valid one."""
    findings = []
    for item in error.errors(include_url=False):
        location = ".".join(str(part) for part in item["loc"]) or "the file"
        if item["type"] == "extra_forbidden":
            allowed = _keys_at(model, item["loc"][:-1])
            findings.append(f"unknown key '{location}'. {nearest(str(item['loc'][-1]), allowed)}")
        else:
            got = "" if item["type"] == "missing" else f" (got {_shown.repr(item['input'])})"
            findings.append(f"'{location}': {item['msg']}{got}.")
    return ConfigError(
        f"{where} is not valid: " + " ".join(findings),
        hint="'hcs schemas FOLDER' writes down what is allowed.",
    )


def _keys_at(model: type[Model], location: tuple[int | str, ...]) -> list[str]:
    """Valid keys of the model found by walking ``location`` down from ``model``."""
    current: Any = model
    for part in location:
        if isinstance(part, int):
            continue
        named = dict(getattr(current, "model_fields", {}))
        info = named.get(part) or named.get(part.removesuffix("_config"))
        if info is None:
            continue
        nested = [t for t in _types_in(info.annotation) if isinstance(t, type) and issubclass(t, Model)]
        current = nested[0] if nested else None
    return list(getattr(current, "model_fields", {}))


def _types_in(annotation: Any) -> list[Any]:
    inner = [t for arg in getattr(annotation, "__args__", ()) for t in _types_in(arg)]
    return [annotation, *inner]


def _modes_dict(pipeline: Pipeline) -> dict[str, Any]:
    return {
        name: mode.model_dump(mode="json", exclude_defaults=True, by_alias=True)
        for name, mode in pipeline.modes.items()
    }


def _config_dict(config: GlobalPipelineConfig) -> dict[str, Any]:
    return config.model_dump(mode="json", exclude_defaults=True)


def _docstring(text: str) -> str:
    """``text`` as it can stand between triple quotes; exactness is left to the ``description`` argument."""
    shown = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
    return shown.replace("\\", "/").replace('"', "'")


def _literal(value: Any) -> str:
    return pprint.pformat(value, width=84, sort_dicts=False).replace("\n", "\n            ")


def _load_python(path: Path) -> Pipeline:
    try:
        with importable((str(Path.cwd()),)):
            module = load_file(str(path.resolve()))
    except HcsError:
        raise
    except Exception as error:  # it is code: it can raise anything
        raise ConfigError(f"{path} cannot be run: {describe(error)}.") from error
    pipeline = getattr(module, "pipeline", None)
    if not isinstance(pipeline, Pipeline):
        raise ConfigError(
            f"{path} does not define a Pipeline named 'pipeline'.",
            hint="End the file with: pipeline = Pipeline(steps=[...], name=...).",
        )
    return pipeline
