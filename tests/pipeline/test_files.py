"""Pipeline files: YAML and Python, forth and back, and what is wrong with them."""

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hcs_steps.errors import CompileError, ConfigError, PipelineError
from hcs_steps.pipeline import (
    Backend,
    FunctionStep,
    GlobalPipelineConfig,
    MaterializationBackend,
    PathPlanningConfig,
    Pipeline,
    VFSConfig,
    ZarrChunkStrategy,
    ZarrCompressor,
    ZarrConfig,
    load_pipeline,
    pipeline_from_dict,
    pipeline_to_python,
    pipeline_to_yaml,
)
from hcs_steps.pipeline.enums import GroupBy, InputSource, Scope, Unlisted, VariableComponents

Write = Callable[[str, str], Path]

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
keys = text.filter(bool)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
arguments = st.dictionaries(
    keys,
    st.recursive(
        scalars, lambda x: st.lists(x, max_size=3) | st.dictionaries(keys, x, max_size=3), max_leaves=5
    ),
    max_size=3,
)
functions = st.sampled_from(["tophat", "create_composite", "lab.filters:smooth", "C:/x/own.py:f"])
renamed = st.dictionaries(keys, keys, max_size=2)
calls = functions | st.tuples(functions, arguments) | st.tuples(functions, arguments, renamed)
chains = calls | st.lists(calls, min_size=1, max_size=3)
branches = st.dictionaries(
    keys.filter(lambda k: k != "use") | st.integers(1, 9), chains, min_size=1, max_size=3
)
steps = st.builds(
    FunctionStep,
    func=chains | branches,
    name=st.none() | keys,
    variable_components=st.sets(st.sampled_from(VariableComponents)),
    group_by=st.none() | st.sampled_from(GroupBy),
    input_source=st.sampled_from(InputSource),
    force_disk_output=st.booleans(),
    well_filter=st.none()
    | st.integers(1, 9)
    | st.lists(st.sampled_from(["A01", "row:B", "col:01-06"]), min_size=1)
    | st.fixed_dictionaries({"include": st.just("row:A"), "exclude": st.just(["A01", "A02"])}),
    scope=st.sampled_from(Scope),
    unlisted=st.sampled_from(Unlisted),
)
configs = st.builds(
    GlobalPipelineConfig,
    num_workers=st.integers(1, 64),
    path_planning=st.builds(
        PathPlanningConfig,
        output_dir_suffix=text,
        global_output_folder=st.none() | st.just(Path("/data/out put")),
        enable_path_planning=st.booleans(),
        enable_smart_caching=st.booleans(),
    ),
    vfs=st.builds(
        VFSConfig,
        intermediate_backend=st.sampled_from(Backend) | st.just("lab_store"),
        materialization_backend=st.sampled_from(MaterializationBackend),
    ),
    zarr=st.builds(
        ZarrConfig,
        compressor=st.sampled_from(ZarrCompressor),
        compression_level=st.integers(0, 22),
        chunk_strategy=st.sampled_from(ZarrChunkStrategy),
    ),
)
pipelines = st.builds(
    Pipeline, steps=st.lists(steps, min_size=1, max_size=3), name=keys, config=configs, description=text
)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: str) -> Path:
        path = tmp_path / name
        path.write_text(textwrap.dedent(content), encoding="utf-8")
        return path

    return write


@given(pipelines)
@settings(max_examples=60, deadline=None)
def test_yaml_gives_the_pipeline_back_without_loss(pipeline: Pipeline) -> None:
    data = yaml.safe_load(pipeline_to_yaml(pipeline))
    assert pipeline_from_dict(data, where="it") == pipeline


@given(pipelines)
@settings(max_examples=60, deadline=None)
def test_python_gives_the_pipeline_back_without_loss(pipeline: Pipeline) -> None:
    namespace: dict[str, Any] = {}
    exec(compile(pipeline_to_python(pipeline), "pipeline.py", "exec"), namespace)
    assert namespace["pipeline"] == pipeline


def test_yaml_to_python_to_yaml_is_the_same_text(write: Write, tmp_path: Path) -> None:
    path = write(
        "count.yaml",
        """\
        description: |
          Two lines with "quotes" and a \\ backslash.
          Ends with a quote"
        config: {vfs: {intermediate_backend: disk}}
        steps:
          - func: {use: tophat, with: {selem_radius: 9}}
          - name: count
            func: {DAPI: count_cells_single_channel, 2: [tophat, count_cells_single_channel]}
            unlisted: pass
        """,
    )
    first = load_pipeline(path)
    (tmp_path / "count.py").write_text(pipeline_to_python(first))
    second = load_pipeline(tmp_path / "count.py")
    assert second == first
    assert pipeline_to_yaml(second) == pipeline_to_yaml(first)
    assert first.name == "count"


def test_short_and_long_names_of_the_configuration_mean_the_same() -> None:
    values: dict[str, dict[str, Any]] = {
        "path_planning": {"output_dir_suffix": "_x"},
        "vfs": {"intermediate_backend": "disk", "materialization_backend": "disk"},
        "zarr": {"compressor": "zstd", "compression_level": 3, "chunk_strategy": "plane"},
    }
    short = GlobalPipelineConfig(**values)  # type: ignore[arg-type]
    long = GlobalPipelineConfig(**{f"{key}_config": value for key, value in values.items()})  # type: ignore[arg-type]
    models = GlobalPipelineConfig(
        path_planning_config=PathPlanningConfig(output_dir_suffix="_x"),  # type: ignore[call-arg]
        vfs_config=VFSConfig(intermediate_backend=Backend.DISK, materialization_backend="DISK"),  # type: ignore[call-arg]
        zarr_config=ZarrConfig(  # type: ignore[call-arg]
            compressor=ZarrCompressor.ZSTD, compression_level=3, chunk_strategy=ZarrChunkStrategy.PLANE
        ),
    )
    assert short == long == models
    assert long.zarr_config is long.zarr
    assert long.vfs_config.intermediate_backend is Backend.DISK
    assert long.path_planning_config.output_dir_suffix == "_x"


def test_both_spellings_at_once_are_refused() -> None:
    with pytest.raises(ValueError, match="vfs_config"):
        GlobalPipelineConfig(vfs={"intermediate_backend": "disk"}, vfs_config={})  # type: ignore[call-arg, arg-type]


@pytest.mark.parametrize("value", ["../tables", "/tables", ""])
def test_tables_cannot_be_sent_out_of_the_results(value: str) -> None:
    with pytest.raises(ValueError, match="relative folder"):
        PathPlanningConfig(materialization_results_path=value)


def test_all_problems_of_a_file_are_reported_at_once_with_the_nearest_keys(write: Write) -> None:
    path = write(
        "p.yaml",
        """\
        stepz: 3
        config:
          num_workers: many
          zarr_config: {compresor: lz4}
          vsf: {}
        steps:
          - func: tophat
            variable_component: [site]
            force_disk_output: 7.5
          - {}
        """,
    )
    with pytest.raises(ConfigError) as caught:
        load_pipeline(path)
    message = str(caught.value)
    assert str(path) in message
    for key, near in [
        ("'stepz'", "'steps'"),
        ("'config.zarr_config.compresor'", "'compressor'"),
        ("'config.vsf'", "'vfs'"),
        ("'steps.0.variable_component'", "'variable_components'"),
    ]:
        assert f"unknown key {key}. Did you mean {near}?" in message
    for wrong in ("'config.num_workers'", "'steps.0.force_disk_output'", "'steps.1.func'"):
        assert wrong in message


def test_all_steps_that_cannot_be_built_are_reported_at_once() -> None:
    data = {
        "steps": [
            {"func": "tophat", "group_by": "chanel"},
            {"func": []},
            {"func": "tophat"},
            {"func": {"use": "tophat", "sigma": 3}},
        ]
    }
    with pytest.raises(CompileError) as caught:
        pipeline_from_dict(data, where="p.yaml")
    assert len(caught.value.problems) == 3
    assert "p.yaml" in str(caught.value)
    assert "Did you mean 'channel'" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        "steps: [{func: !!python/object/apply:os.system ['true']}]",
        "steps: !!python/name:os.system",
        "steps: [{func: tophat]",
        "- tophat",
        "tophat",
        "",
        "steps: []",
        "name: x",
        "steps: [tophat]",
        "steps: [{func: 3}]",
        "steps: {func: tophat}",
    ],
)
def test_what_is_no_pipeline_is_one_config_error_that_names_the_file(write: Write, content: str) -> None:
    path = write("p.yaml", content)
    with pytest.raises(ConfigError, match=r"p\.yaml"):
        load_pipeline(path)


def test_a_missing_or_binary_file_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("absent.yaml", "binary.yaml", "absent.py"):
        with pytest.raises(ConfigError, match=name):
            load_pipeline(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("def (:", "SyntaxError"),
        ("raise ValueError('no way')", "ValueError: no way"),
        ("1 / 0", "ZeroDivisionError"),
        ("steps = []", "does not define a Pipeline named 'pipeline'"),
        ("pipeline = 3", "does not define a Pipeline named 'pipeline'"),
    ],
)
def test_a_python_pipeline_that_fails_is_one_config_error(write: Write, content: str, said: str) -> None:
    path = write("p.py", content)
    with pytest.raises(ConfigError, match=r"p\.py") as caught:
        load_pipeline(path)
    assert said in str(caught.value)


def test_a_wrong_step_in_a_python_pipeline_keeps_its_own_message(write: Write) -> None:
    path = write(
        "p.py", "from hcs_steps.pipeline import FunctionStep\nFunctionStep('tophat', group_by='chanel')\n"
    )
    with pytest.raises(PipelineError, match="Did you mean 'channel'"):
        load_pipeline(path)


def test_a_python_pipeline_may_hold_its_own_functions(write: Write) -> None:
    path = write(
        "p.py",
        """\
        from hcs_steps.pipeline import FunctionStep, Pipeline

        def smooth(stack):
            return stack

        pipeline = Pipeline([FunctionStep(smooth)])
        """,
    )
    step = load_pipeline(path).steps[0]
    assert step.func == f"{path.resolve().as_posix()}:smooth"  # which any other process can load
    assert step.name == "smooth"


def test_a_python_pipeline_may_import_from_the_working_directory(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lab_code_1").mkdir()
    write("lab_code_1/mine.py", "def smooth(stack):\n    return stack\n")
    path = write(
        "p.py",
        "from lab_code_1.mine import smooth\nfrom hcs_steps.pipeline import FunctionStep, Pipeline\n"
        "pipeline = Pipeline([FunctionStep(smooth)])\n",
    )
    monkeypatch.chdir(tmp_path)
    assert load_pipeline(path).steps[0].func == "lab_code_1.mine:smooth"


def test_a_python_pipeline_that_was_edited_is_read_again(write: Write) -> None:
    content = (
        "from hcs_steps.pipeline import FunctionStep, Pipeline\npipeline = Pipeline([FunctionStep('{}')])\n"
    )
    assert load_pipeline(write("p.py", content.format("tophat"))).steps[0].func == "tophat"
    path = write("p.py", content.format("create_composite"))
    assert load_pipeline(path).steps[0].func == "create_composite"
