"""config/config.yaml."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from hcs_steps.errors import ConfigError
from hcs_steps.pipeline import GpuPolicy, MissingPolicy
from hcs_steps.settings import GridSettings, PlateSettings, load_settings, parse_settings, plate_ids

REPOSITORY = Path(__file__).parents[1]


def plates(*paths: str, **common: Any) -> list[PlateSettings]:
    return [PlateSettings(path=Path(path), **common) for path in paths]


def test_a_plate_inherits_what_it_does_not_set_itself() -> None:
    settings = parse_settings(
        {
            "defaults": {"pipeline": "a.yaml", "units_per_job": 4, "missing": "blank", "gpu": "never"},
            "plates": [{"path": "/p/1"}, {"path": "/p/2", "pipeline": "b.yaml", "units_per_job": 1}],
        }
    )
    one, two = settings.plates
    assert (one.pipeline, one.units_per_job, one.missing, one.gpu) == (
        Path("a.yaml"), 4, MissingPolicy.BLANK, GpuPolicy.NEVER,
    )  # fmt: skip
    assert (two.pipeline, two.units_per_job, two.missing) == (Path("b.yaml"), 1, MissingPolicy.BLANK)


def test_without_defaults_the_documented_ones_hold() -> None:
    (plate,) = parse_settings({"plates": [{"path": "/p/1"}]}).plates
    assert (plate.format, plate.parallel_by, plate.units_per_job) == ("auto", "well", 1)
    assert (plate.missing, plate.gpu, plate.limits.mem_mb) == (
        MissingPolicy.FAIL_UNIT,
        GpuPolicy.AUTO,
        "auto",
    )


def test_a_plate_can_go_back_to_a_default_value() -> None:
    config = {"defaults": {"units_per_job": 4}, "plates": [{"path": "/p", "units_per_job": 1}]}
    assert parse_settings(config).plates[0].units_per_job == 1


def test_single_values_of_a_selection_are_lists_of_one() -> None:
    config = {"plates": [{"path": "/p", "select": {"channel": "DAPI", "site": [1, 2], "wells": "row:A"}}]}
    select = parse_settings(config).plates[0].select
    assert select.components() == {"channel": ["DAPI"], "site": [1, 2]}
    assert select.wells == "row:A"


def test_every_unknown_key_and_wrong_type_is_named_at_once_with_the_nearest_key() -> None:
    config = {
        "ouput": "results",
        "defaults": {"unit_per_job": 3, "gpu": "sometimes", "limits": {"mem": 3}},
        "plates": [{"path": "/p", "formt": "auto", "units_per_job": 0}, {"select": {"chanel": 1}}],
    }
    with pytest.raises(ConfigError) as caught:
        parse_settings(config, "my.yaml")
    message = str(caught.value)
    assert message.startswith("my.yaml is not valid: ")
    for key, near in [
        ("ouput", "output"),
        ("defaults.unit_per_job", "units_per_job"),
        ("defaults.limits.mem", "mem_mb"),
        ("plates.0.formt", "format"),
        ("plates.1.select.chanel", "channel"),
    ]:
        assert f"unknown key '{key}'. Did you mean '{near}'?" in message
    for wrong in ("'defaults.gpu'", "'plates.0.units_per_job'", "'plates.1.path'"):
        assert wrong in message


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"plates": None},
        {"plates": []},
        {"plates": ["/p"]},
        {"plates": {"path": "/p"}},
        {"plates": [{"path": 3}]},
    ],
)
def test_a_configuration_without_plates_is_a_config_error(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="plates"):
        parse_settings(config)


@pytest.mark.parametrize("name", ["", " ", "a/b", "..", ".hidden", "../x"])
def test_names_that_could_leave_the_results_folder_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="plain name"):
        parse_settings({"plates": [{"path": "/p", "name": name}]})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("P 1", "P_1"),
        ("a;b$(c)`d`", "a_b__c__d_"),
        ("x{y}[z]", "x_y__z_"),
        ("Plätte-1.2+3", "Plätte-1.2+3"),
        ("trailing. ", "trailing"),
        ("a\nb\x00c", "a_b_c"),
        ("***", "___"),
    ],
)
def test_a_results_name_holds_nothing_that_a_shell_or_a_rule_could_misread(name: str, expected: str) -> None:
    assert plate_ids(plates("/p", name=name)) == [expected]


def test_plates_are_named_by_their_folders() -> None:
    assert plate_ids(plates("/a/P1", "/b/P2")) == ["P1", "P2"]


def test_plates_of_the_same_name_get_a_short_hash_of_their_path() -> None:
    first, second, other = plate_ids(plates("/a/P1", "/b/P1", "/c/P2"))
    assert other == "P2"
    assert first != second
    assert all(name.startswith("P1-") and len(name) <= 12 for name in (first, second))
    assert plate_ids(plates("/b/P1", "/a/P1")) == [second, first]  # the place in the list does not matter


def test_names_that_differ_in_case_or_in_odd_characters_only_are_the_same_name() -> None:
    names = plate_ids(plates("/a/p1", "/b/P1", "/a/x y", "/a/x_y"))
    assert len({name.casefold() for name in names}) == 4


def test_the_same_plate_twice_needs_two_names() -> None:
    with pytest.raises(ConfigError, match="listed twice"):
        plate_ids(plates("/a/P1", "/a/../a/P1"))
    twice = [*plates("/a/P1"), *plates("/a/P1", name="again")]
    assert plate_ids(twice) == ["P1", "again"]


def test_the_configuration_that_ships_is_valid() -> None:
    assert load_settings(REPOSITORY / "config" / "config.yaml").plates


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="hcs init"):
        load_settings(tmp_path / "config.yaml")


def test_every_setting_survives_yaml(tmp_path: Path) -> None:
    config = {
        "output": "out",
        "defaults": {"pipeline": "p.yaml", "limits": {"mem_mb": None, "gpu_mem_mb": 8000}},
        "plates": [{"path": "/p", "channels": {1: "DAPI"}, "pixel_size_um": 0.3, "select": {"wells": 3}}],
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    (plate,) = load_settings(path).plates
    assert plate.channels == {1: "DAPI"}
    assert plate.limits.mem_mb is None
    assert plate.limits.gpu_mem_mb == 8000
    assert plate.select.wells == 3


def test_a_grid_is_a_text_or_a_mapping() -> None:
    (one, two) = parse_settings(
        {
            "defaults": {"grid": "5x5 by columns"},
            "plates": [{"path": "/p/1"}, {"path": "/p/2", "grid": {"rows": 2, "columns": 3, "snake": True}}],
        }
    ).plates
    assert one.grid == "5x5 by columns"
    assert isinstance(two.grid, GridSettings)
    assert (two.grid.rows, two.grid.columns, two.grid.order, two.grid.snake) == (2, 3, "rows", True)
    with pytest.raises(ConfigError, match="column"):
        parse_settings({"plates": [{"path": "/p/1", "grid": {"rows": 2, "column": 3}}]})
