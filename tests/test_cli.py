"""The ``hcs`` command."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from hcs_steps import __version__
from hcs_steps.cli import main
from hcs_steps.pipeline import load_pipeline
from hcs_steps.pipeline.registry import BUILTINS, reference_of, resolve
from hcs_steps.plate import tiff_header
from hcs_steps.plate.synthetic import make_plate

REPOSITORY = Path(__file__).parents[1]
COMMANDS = (
    "inspect", "compile", "step", "finish", "report", "view", "pipeline", "functions", "schemas", "profiles", "init",
    "demo",
)  # fmt: skip
HEAVY = (
    "torch",
    "cupy",
    "zarr",
    "pandas",
    "skimage",
    "scipy",
    "pydantic",
    "pyarrow",
    "snakemake",
    "yaml",
    "rich",
)


@pytest.fixture(scope="session")
def plate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plates") / "P1"
    make_plate(folder, wells=["A01", "A02"], sites=(1, 2), channels=["DAPI"], shape=(32, 32))
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and a home of one's own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def configured(here: Path, plate: Path) -> Path:
    """A working directory with a configuration: one plate, two steps."""
    steps = [
        {"name": "clean", "func": "tophat", "force_disk_output": True},
        {"func": "count_cells_single_channel"},
    ]
    (here / "p.yaml").write_text(yaml.safe_dump({"steps": steps}))
    config = {
        "output": "out",
        "plates": [{"path": str(plate), "pipeline": "p.yaml", "limits": {"mem_mb": None}}],
    }
    (here / "c.yaml").write_text(yaml.safe_dump(config))
    return here


Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a command line that must be refused; returns the one paragraph that says why."""

    def refused(*argv: str) -> str:
        assert main(argv) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("hcs: ")
        assert "Traceback" not in err
        assert "\n\n" not in err.strip()
        return err

    return refused


@pytest.mark.parametrize("arguments", [["step", "--help"], ["--help"], ["finish", "--help"]])
def test_a_job_starts_without_importing_anything_heavy(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "hcs_steps.cli", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "argparse" in imported
    assert not imported & {*HEAVY, "numpy"}


def test_the_runner_itself_imports_no_workflow_engine_and_no_configuration_models() -> None:
    code = "import sys, hcs_steps.commands.step; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {
        "torch",
        "cupy",
        "zarr",
        "pandas",
        "skimage",
        "scipy",
        "snakemake",
        "pydantic",
        "rich",
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_every_subcommand_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert f"hcs {command}" in capsys.readouterr().out


def test_the_list_of_subcommands_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert set(COMMANDS) <= set(text.split())
    with pytest.raises(SystemExit):
        main(["--version"])
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize("argv", [[], ["unknown"], ["step"], ["step", "--plan", "p", "--stage", "s"]])
def test_a_wrong_command_line_ends_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert "usage: hcs" in capsys.readouterr().err


def test_inspect_shows_a_plate_and_leaves_no_trace(
    plate: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(plate.rglob("*"))
    assert main(["inspect", str(plate)]) == 0
    assert "A01" in capsys.readouterr().out
    assert main(["inspect", str(plate), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)
    assert sorted(plate.rglob("*")) == before
    assert list(here.iterdir()) == []


def test_inspect_refuses_what_is_no_plate(here: Path, refused: Refused) -> None:
    assert "absent" in refused("inspect", "absent")
    (here / "empty").mkdir()
    assert "empty" in refused("inspect", "empty")
    (here / "unknown").mkdir()
    (here / "unknown" / "x.doc").write_text("")
    assert "unknown" in refused("inspect", "unknown")
    (here / "file.tif").write_text("")
    assert "file.tif" in refused("inspect", "file.tif")


def test_inspect_names_the_nearest_format(plate: Path, refused: Refused) -> None:
    assert "imagexpress" in refused("inspect", str(plate), "--format", "imagexpres").lower()


def test_compile_shows_stages_what_they_write_and_jobs(
    configured: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["compile", "--config", "c.yaml"]) == 0
    out = capsys.readouterr().out
    for word in (
        "P1",
        "clean",
        "count_cells_single_channel",
        "consolidate",
        "images/",
        "failures.csv",
        "MB",
        "cpu",
    ):
        assert word in out
    assert not (configured / "out").exists(), "nothing is written unless asked for"


def test_compile_writes_plans_and_rules_when_asked(
    configured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compile", "--config", "c.yaml", "--json", "--write"]) == 0
    (plan,) = json.loads(capsys.readouterr().out).values()
    assert [stage["name"] for stage in plan["stages"]] == [
        "clean",
        "count_cells_single_channel",
        "consolidate",
        "report",
    ]
    assert json.loads((configured / "out" / "P1" / "plan.json").read_text()) == plan
    assert "rule clean:" in (configured / "out" / "rules.smk").read_text()
    assert (configured / "out" / "P1" / "inventory.parquet").is_file()


def test_compile_refuses_a_bad_configuration(configured: Path, refused: Refused) -> None:
    assert "hcs init" in refused("compile")
    (configured / "bad.yaml").write_text("plates: [{path: /p}]\nouput: x\n")
    assert "Did you mean 'output'?" in refused("compile", "--config", "bad.yaml")
    (configured / "p.yaml").write_text("steps: [{func: tophatt}]\n")
    assert "Did you mean 'tophat'?" in refused("compile", "--config", "c.yaml")
    (configured / "p.yaml").write_text("steps: [{func: tophat, groupby: x}]\n")
    assert "Did you mean 'group_by'?" in refused("compile", "--config", "c.yaml")
    (configured / "p.yaml").unlink()
    assert "p.yaml" in refused("compile", "--config", "c.yaml")


def test_step_refuses_what_is_not_in_the_plan(configured: Path, refused: Refused) -> None:
    assert "hcs compile --write" in refused("step", "--plan", "absent.json", "--stage", "x", "--unit", "A01")
    (configured / "garbage.json").write_text("{}")
    assert "garbage.json" in refused("step", "--plan", "garbage.json", "--stage", "x", "--unit", "A01")


def test_step_names_the_nearest_stage_unit_and_job(
    configured: Path, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["compile", "--config", "c.yaml", "--write"])
    capsys.readouterr()
    plan = ["step", "--plan", "out/P1/plan.json"]
    assert "Did you mean 'clean'?" in refused(*plan, "--stage", "claen", "--unit", "A01")
    assert "Did you mean 'A01'?" in refused(*plan, "--stage", "clean", "--unit", "A1")
    assert "Did you mean 'A02'?" in refused(*plan, "--stage", "clean", "--job", "A002")


def test_a_stage_runs_alone_and_is_up_to_date_the_second_time(
    configured: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    main(["compile", "--config", "c.yaml", "--write"])
    step = ["step", "--plan", "out/P1/plan.json", "--unit", "A01", "--stage"]
    assert main([*step, "count_cells_single_channel"]) == 1
    assert "an earlier stage has no result" in capsys.readouterr().err
    assert main([*step, "clean"]) == 0
    record = configured / "out" / "P1" / "records" / "clean" / "A01.json"
    before = record.read_bytes()
    assert main([*step, "clean"]) == 0
    assert record.read_bytes() == before
    assert main([*step, "clean", "--force"]) == 0
    assert record.read_bytes() != before


def test_pipeline_converts_both_ways(configured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pipeline", "to-python", "p.yaml", "-o", "sub/p.py"]) == 0
    assert load_pipeline("sub/p.py") == load_pipeline("p.yaml")
    assert main(["pipeline", "to-yaml", "sub/p.py"]) == 0
    (configured / "again.yaml").write_text(capsys.readouterr().out)
    assert load_pipeline("again.yaml") == load_pipeline("p.yaml")


def test_pipeline_refuses_what_is_none(here: Path, refused: Refused) -> None:
    assert "absent.yaml" in refused("pipeline", "to-yaml", "absent.yaml")
    (here / "bad.py").write_text("raise ValueError('x')\n")
    assert "bad.py" in refused("pipeline", "to-yaml", "bad.py")


def test_functions_lists_every_builtin_and_describes_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["functions"]) == 0
    listed = capsys.readouterr().out
    names = {line.split()[0] for line in listed.partition("\n\n")[0].splitlines()}
    assert names == {reference_of(resolve(name)) for name in BUILTINS}
    assert main(["functions", "tophat"]) == 0
    described = capsys.readouterr().out
    assert "selem_radius=50" in described
    assert "devices: cpu, gpu" in described


def test_functions_names_the_nearest(refused: Refused) -> None:
    assert "Did you mean 'tophat'?" in refused("functions", "tophatt")


def test_schemas_are_json_schemas_that_know_the_keys(here: Path) -> None:
    assert main(["schemas", "schemas"]) == 0
    config = json.loads((here / "schemas" / "config.schema.json").read_text())
    pipeline = json.loads((here / "schemas" / "pipeline.schema.json").read_text())
    assert {"output", "defaults", "plates"} <= set(config["properties"])
    assert {"name", "config", "steps"} <= set(pipeline["properties"])


def test_profiles_are_installed_once_and_replaced_only_by_force(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["profiles", "install"]) == 0
    folder = here.parent / "home" / "snakemake"
    names = sorted(p.name for p in folder.iterdir())
    assert "slurm" in names
    assert "default" not in names
    config = folder / "slurm" / "config.yaml"
    original = config.read_text()
    config.write_text("mine: 1\n")
    capsys.readouterr()
    assert main(["profiles", "install"]) == 0
    assert "left alone" in capsys.readouterr().err
    assert config.read_text() == "mine: 1\n"
    assert main(["profiles", "install", "--force"]) == 0
    assert config.read_text() == original
    capsys.readouterr()
    assert main(["profiles", "list"]) == 0
    assert all(f"{name}: " in capsys.readouterr().out for name in names[:1])


def test_init_makes_a_repository_that_compiles(
    here: Path, plate: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "screen", "--plate", str(plate)]) == 0
    for name in ("Snakefile", "rules", "profiles", "config/config.yaml", "functions", ".gitignore"):
        assert (here / "screen" / name).exists()
    monkeypatch.chdir(here / "screen")
    assert main(["compile"]) == 0
    assert "P1" in capsys.readouterr().out


def test_init_refuses_to_overwrite(here: Path, refused: Refused) -> None:
    (here / "screen" / "config").mkdir(parents=True)
    (here / "screen" / "config" / "config.yaml").write_text("mine")
    assert "config" in refused("init", "screen")
    assert (here / "screen" / "config" / "config.yaml").read_text() == "mine"
    assert sorted(p.name for p in (here / "screen").iterdir()) == ["config"]


def test_the_module_can_be_run(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hcs_steps", "inspect", str(tmp_path / "absent")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_second_inspect_reads_the_kept_inventory(
    here: Path, plate: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    original = tiff_header.read_header
    monkeypatch.setattr(tiff_header, "read_header", lambda path: opened.append(path.name) or original(path))
    assert main(["inspect", str(plate)]) == 0
    first = capsys.readouterr().out
    assert opened
    opened.clear()
    assert main(["inspect", str(plate)]) == 0
    assert capsys.readouterr().out == first
    assert opened == []
    assert main(["inspect", str(plate), "--no-cache"]) == 0
    assert opened


def test_a_cache_that_cannot_be_written_is_said_and_does_not_stop_inspect(
    here: Path, plate: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "file"))
    assert main(["inspect", str(plate)]) == 0
    out, err = capsys.readouterr()
    assert "2: A01-A02" in out
    assert "the inventory is not kept" in err


def test_inspect_deep_finds_a_copy_and_says_so_in_json(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_plate(here / "P", wells=["A01", "A02"], sites=(1, 3), channels=["DAPI"], shape=(16, 16))
    folder = here / "P" / "TimePoint_1"
    shutil.copyfile(folder / "P_A01_s3_w1.TIF", folder / "P_A02_s3_w1.TIF")
    assert main(["inspect", "P", "--deep", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["pixels_compared"] == {"planes": 6, "of": 6}
    assert facts["problems"]["copy"]["examples"] == [
        ["A02 s3 c1 z1 t1", "Its pixels are exactly those of A01 s3 c1 z1 t1."]
    ]


def test_a_plate_of_which_nothing_can_be_read_ends_with_code_2(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_plate(here / "P", wells=["A01"], sites=(1, 2), channels=["DAPI"], shape=(16, 16))
    for path in (here / "P").rglob("*.TIF"):
        path.write_bytes(b"II*\0 damaged")
    assert main(["inspect", "P"]) == 2
    out, err = capsys.readouterr()
    assert "unreadable (2)" in out
    assert "None of the image files" in err


def test_inspect_takes_a_pattern_as_yaml_and_a_grid(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_plate(here / "P", wells=["A01"], sites=(2, 2), channels=["DAPI"], shape=(16, 16))
    for number, path in enumerate(sorted((here / "P").rglob("*.TIF")), 1):
        path.rename(here / "P" / f"img_t01_p{number:02d}.tif")
    pattern = r"{regex: 'img_t(?P<time>\d+)_p(?P<site>\d+)\.tif', constants: {well: C05}}"
    assert main(["inspect", "P", "--pattern", pattern, "--grid", "2x2 by columns", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["wells"] == ["C05"]
    assert facts["grid_dimensions"] == [2, 2]
