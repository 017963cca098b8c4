"""Which plates are run, in which mode, and where their results go."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hcs_steps.compile import CompileOptions
from hcs_steps.emit.configured import choice_of, configured_plates, narrowed
from hcs_steps.errors import ConfigError
from hcs_steps.plate import open_plate
from hcs_steps.plate.synthetic import make_plate
from hcs_steps.settings import parse_settings
from hcs_steps.storage import write_json

PIPELINE = {
    "steps": [{"name": "a", "func": "tophat"}],
    "modes": {"late": {"from": "a"}, "few": {"wells": "row:B"}},
}


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Makes settings of two plates."""
    monkeypatch.chdir(tmp_path)
    Path("p.yaml").write_text(yaml.safe_dump(PIPELINE))

    def settings(*names, **values):
        plates = [{"path": f"/data/{name}"} for name in names or ("P1", "P2")]
        return parse_settings({"defaults": {"pipeline": "p.yaml"}, "plates": plates, **values})

    return settings


def folders(settings):
    return {name: plate.results.root.as_posix() for name, plate in configured_plates(settings).items()}


def test_a_mode_that_narrows_the_plate_has_a_folder_of_its_own(settings):
    assert folders(settings()) == {"P1": "results/P1", "P2": "results/P2"}
    assert folders(settings(mode="late")) == folders(settings())
    assert folders(settings(mode="preview")) == {"P1": "results/P1-preview", "P2": "results/P2-preview"}


@pytest.mark.parametrize("mode", ["full", "few", "preview"])
def test_a_plate_named_like_the_preview_of_another_is_refused(settings, mode):
    with pytest.raises(ConfigError, match="The plate P1-few and the mode few of the plate P1"):
        configured_plates(settings("P1", "P1-few", mode=mode))


def test_a_plate_with_results_does_not_lose_them_to_another_of_the_same_name(settings):
    both = settings("batch1/P1", "batch2/P1")
    anew = list(folders(both))
    write_json(Path("results/P1/plan.json"), {"plate": {"path": "/data/elsewhere/P1"}})
    assert list(folders(both)) == anew
    write_json(Path("results/P1/plan.json"), {"plate": {"path": "/data/batch1/P1"}})
    assert folders(settings("batch1/P1")) == {"P1": "results/P1"}
    with pytest.raises(ConfigError, match=r"results/P1 holds results of the plate /data/batch1/P1.* 'name:'"):
        folders(both)


def test_only_the_plates_that_are_asked_for_are_run(settings):
    assert list(folders(settings(only_plates="P2"))) == ["P2"]
    assert list(folders(settings(only_plates=["P2", "P1"]))) == ["P1", "P2"]
    with pytest.raises(ConfigError, match="no plate 'P3'"):
        folders(settings(only_plates="P3"))


def test_an_unknown_mode_is_refused_with_the_nearest(settings):
    with pytest.raises(ConfigError, match=r"no mode 'prevew'.*preview"):
        configured_plates(settings(mode="prevew"))


def test_a_mode_looks_at_its_part_of_what_is_selected(tmp_path, settings):
    make_plate(tmp_path / "P", wells=["A01", "A02", "A03", "B01", "B02"], sites=(1, 3), shape=(8, 8))
    inventory = open_plate(tmp_path / "P", keep=False)
    options = CompileOptions(plate_id="P", wells={"exclude": "A01"}, select={"channel": [1]})
    mode = configured_plates(settings(mode="preview"))["P1"].mode.model_copy(update={"every": 2, "sites": 2})
    found = narrowed(options, mode, inventory)
    assert found.wells == {"include": ["A02", "A03", "B01", "B02"], "every": 2}
    assert found.select == {"channel": [1], "site": [1, 2]}
    few = narrowed(options, configured_plates(settings(mode="few"))["P1"].mode, inventory)
    assert few.wells == {"include": ["B01", "B02"]}
    assert narrowed(options, configured_plates(settings())["P1"].mode, inventory) == options


def test_what_is_asked_for_now_goes_over_the_mode_and_gates_are_read(settings):
    chosen = settings(mode="late", until="a")
    plate = configured_plates(chosen)["P1"]
    write_json(plate.results.gate("a"), {"stage": "a", "fingerprint": "f", "plan": "p"})
    plate.results.gate("b").write_text("{}")
    choice = choice_of(chosen, plate)
    assert (choice.mode, choice.from_step, choice.until, choice.shown) == ("late", "a", "a", {"a": "f"})
