"""``hcs view``: napari is opened on the right folder, or the ways to open it are told."""

import os
import stat
from dataclasses import replace

import numpy as np
import pytest

from hcs_steps.cli import main
from hcs_steps.compile import CompileOptions, compile_plate
from hcs_steps.compile.stores import store_spec
from hcs_steps.pipeline import FunctionStep, GlobalPipelineConfig, Pipeline
from hcs_steps.plate.inventory import Inventory, Plane
from hcs_steps.results import Results
from hcs_steps.storage import ImageMeta, PlaneKey, StorageRegistry

KEY = PlaneKey(1, 1, 1, 1)


def compiled(name, backend="zarr"):
    planes = tuple(Plane(w, 1, 1, 1, 1, f"{w}.tif", 0, 9, 9, 64, 64, "uint16") for w in ("A01", "B02", "C03"))
    inventory = Inventory(
        plate_path=f"/plates/{name}", name=name, format="test", evidence=(), planes=planes, channels={1: "DAPI"},
        rows=8, columns=12, grid_dimensions=None, pixel_size_um=0.65, pixel_size_source="metadata", missing=(),
        problems=(), disagreements=(), digest="d", metadata={},
    )  # fmt: skip
    steps = [
        FunctionStep(("tophat", {"selem_radius": 5}), name="background"),
        FunctionStep(("count_cells_single_channel", {}), name="count"),
    ]
    config = GlobalPipelineConfig(vfs={"materialization_backend": backend, "intermediate_backend": "zarr"})
    return compile_plate(inventory, Pipeline(steps, name="p", config=config), CompileOptions(plate_id=name))


@pytest.fixture
def plate(tmp_path):
    """``plate(backend)``: results of a plate of which A01 and B02 were published by every step."""

    def make(backend="zarr", published=("A01", "B02"), **changes):
        plan = compiled("P1", backend)
        plan = replace(plan, storage=replace(plan.storage, **changes))
        results = Results(tmp_path / "results" / "P1")
        results.root.mkdir(parents=True)
        results.plan.write_text(plan.to_json())
        image = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
        for step in plan.steps:
            if step.written:
                store = StorageRegistry().open(step.backend, store_spec(plan, step, results.root))
                store.declare()
                for well in published:
                    store.publish(well, {KEY: image}, {}, ImageMeta(channels={1: "DAPI"}))
        return plan, results

    return make


@pytest.fixture
def napari(tmp_path, monkeypatch):
    """A napari on the PATH that notes how it was called; ``napari(plugins, code)`` says what it has and returns."""

    def install(plugins="napari-ome-zarr: 0.11 (1 contribution)", code=0):
        folder = tmp_path / "bin"
        folder.mkdir()
        script = folder / "napari"
        calls = tmp_path / "calls"
        script.write_text(
            "#!/bin/sh\n"
            f'if [ "$1" = --plugin-info ]; then echo "{plugins}"; exit 0; fi\n'
            f'for word in "$@"; do echo "$word" >> "{calls}"; done\nexit {code}\n'
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
        return lambda: calls.read_text().splitlines() if calls.exists() else []

    return install


@pytest.fixture
def no_napari(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_napari_opens_the_plate_or_the_image_of_a_well(plate, napari, version):
    plan, results = plate(ngff_version=version)
    store = results.root / plan.steps[-1].store
    calls = napari()
    assert main(["view", str(results.root)]) == 0
    assert calls() == ["--plugin", "napari-ome-zarr", str(store)]
    assert main(["view", str(results.root), "--well", "b2"]) == 0
    assert calls()[3:] == ["--plugin", "napari-ome-zarr", str(store / "B" / "02" / "1")]
    assert main(["view", str(store), "--well", "A01"]) == 0
    assert calls()[-1] == str(store / "A" / "01" / "1")


def test_a_step_chooses_its_own_store(plate, napari):
    plan, results = plate()
    calls = napari()
    first = plan.steps[0]
    assert first.written
    assert first.store != plan.steps[-1].store
    assert main(["view", str(results.root), "--step", first.name]) == 0
    assert calls()[-1] == str(results.root / first.store)


def test_a_plate_is_found_by_its_name_in_the_configuration(plate, napari, tmp_path, monkeypatch, capsys):
    plan, results = plate()
    calls = napari()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.yaml").write_text("name: p\nsteps:\n  - func: tophat\n")
    (tmp_path / "c.yaml").write_text("plates:\n  - {path: /plates/P1, pipeline: p.yaml}\n")
    assert main(["view", "P1", "--config", "c.yaml"]) == 0
    assert (tmp_path / calls()[-1]) == results.root / plan.steps[-1].store
    assert main(["view", "P2", "--config", "c.yaml"]) == 2
    assert "Did you mean 'P1'?" in capsys.readouterr().err


@pytest.mark.usefixtures("no_napari")
def test_without_napari_the_ways_to_look_are_told(plate, capsys):
    plan, results = plate()
    assert main(["view", str(results.root)]) == 0
    told = capsys.readouterr()
    assert "napari is not installed" in told.err
    assert 'pip install "napari[all]" napari-ome-zarr' in told.out
    for step in plan.steps:
        assert str(results.root / step.store) in told.out
    assert "MoBIE" in told.out


def test_a_napari_without_the_plugin_is_not_opened(plate, napari, capsys):
    _, results = plate()
    calls = napari(plugins="napari-svg: 0.2")
    assert main(["view", str(results.root)]) == 0
    assert calls() == []
    assert "pip install napari-ome-zarr" in capsys.readouterr().out


def test_napari_that_fails_is_said_by_the_exit_code(plate, napari):
    _, results = plate()
    napari(code=3)
    assert main(["view", str(results.root)]) == 1


@pytest.mark.usefixtures("no_napari")
def test_tiff_files_are_told_instead_of_opened(plate, capsys):
    plan, results = plate("disk")
    assert main(["view", str(results.root), "--well", "A01"]) == 0
    told = capsys.readouterr().out
    assert str(results.root / plan.steps[-1].store / "A01") in told
    assert "TIFF" in told


@pytest.mark.usefixtures("no_napari")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--well", "C03"], "Well C03 has no images"),
        (["--well", "D04"], "has no well D04"),
        (["--well", "here"], "not a well name"),
        (["--step", "backround"], "Did you mean 'background'?"),
    ],
)
def test_what_is_not_there_is_a_mistake_with_its_fix(plate, capsys, arguments, message):
    _, results = plate()
    assert main(["view", str(results.root), *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("no_napari")
def test_a_folder_of_something_else_and_a_plate_without_images_are_mistakes(plate, tmp_path, capsys):
    assert main(["view", str(tmp_path)]) == 2
    assert "neither the results of a plate nor an OME-Zarr plate" in capsys.readouterr().err
    results = Results(tmp_path / "new")
    results.root.mkdir()
    results.plan.write_text(compiled("new").to_json())
    assert main(["view", str(results.root)]) == 2
    assert "does not exist" in capsys.readouterr().err
