"""config.yaml: settings, or an error that says what is wrong with the file."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzz_lab import TEXTS, damaged, examples, mutated, new_folder, outcome
from hypothesis import given
from hypothesis import strategies as st

from hcs_steps.errors import ConfigError, HcsError
from hcs_steps.pipeline.files import load_yaml, parse_yaml
from hcs_steps.plate import PatternSpec, SiteGrid, expand_wells
from hcs_steps.settings import GridSettings, WorkflowSettings, load_settings, parse_settings, plate_ids

GOOD: dict[str, Any] = {
    "output": "results",
    "defaults": {
        "pipeline": "config/pipelines/count.yaml",
        "format": "auto",
        "channels": {1: "DAPI", 2: "GFP"},
        "select": {"wells": ["A01", "row:B", "col:01-06"], "site": [1, 2], "channel": "DAPI", "z_index": 1},
        "missing": "skip_site",
        "units_per_job": 4,
        "limits": {"mem_mb": 4000, "gpu_mem_mb": None},
        "analysis": {
            "negative": ["dmso", 0],
            "positive": "tox",
            "readouts": ["count"],
            "normalize_to": "auto",
        },
    },
    "plates": [
        {"path": "plates/P1", "name": "first", "plate_map": "maps/P1.csv", "grid": "5x5 by columns snake"},
        {
            "path": "plates/P2",
            "pattern": {"regex": r"(?P<well>[A-P]\d\d)_s(?P<site>\d+)\.tif", "constants": {"channel": 1}},
            "grid": {"rows": 2, "columns": 3, "order": "columns", "snake": True},
            "select": {"wells": {"include": "A01:C12", "exclude": ["B02"]}},
            "plate_map": {"barcodes": "barcode_platemap.csv", "barcode": "X1"},
            "pixel_size_um": 0.65,
            "parallel_by": "site",
            "gpu": "never",
        },
    ],
    "storage_backends": {"mine": "lab.stores:make"},
    "search_path": ["lab"],
}
TEXT = yaml.safe_dump(GOOD).encode()
WELLS = tuple(f"{row}{column:02d}" for row in "ABCDEFGH" for column in range(1, 13))

ALIASES = "a0: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i}\n  <<: [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)
)

scalars = st.sampled_from(
    ["1", "-", "~", "null", "yes", "a", "''", '"\\ud800"', '"\\0"', "!!int x", "!!float ''", "!!bool 7",
    "!!timestamp x",
     "2001-99-99", "2001-01-01", "9" * 5000, "1e400", ".inf", ".nan", "0o9", "0b2", "1:99:1", "!!binary '%'",
     "!!set {a}",
     "!!omap [1]", "!!pairs [a: 1]", "!!python/name:os.system", "!!python/object/apply:os.getcwd []", "!unknown x",
     "*a",
     "&a x", "<<", "=", "? x", "%TAG", "---", "...", "@", "`", "|", ">-\n x", "\ufeff"]
)  # fmt: skip
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(scalars, inner, max_size=3).map(
            lambda items: "{" + ", ".join(f"{key}: {value}" for key, value in items.items()) + "}"
        )
        | st.lists(st.tuples(st.sampled_from(["plates", "path", "a", "<<", "? [x]"]), inner), max_size=3).map(
            lambda items: "\n" + "\n".join(f"{key}: {value}" for key, value in items)
        )
    ),
    max_leaves=8,
)


@lru_cache
def folder() -> Path:
    return new_folder()


def use(settings: WorkflowSettings) -> None:
    """What is done with settings before a plate is opened; they can be written and read again."""
    plate_ids(settings.plates)
    for plate in settings.plates:
        plate.select.components()
        with suppress(HcsError):
            PatternSpec.from_config(plate.pattern or "")
        with suppress(HcsError):
            SiteGrid.from_config(
                plate.grid.model_dump() if isinstance(plate.grid, GridSettings) else plate.grid or ""
            )
        with suppress(HcsError):
            expand_wells(plate.select.wells, WELLS)
    text = yaml.safe_dump(settings.model_dump(mode="json", exclude_unset=True), sort_keys=False)
    again = parse_settings(parse_yaml(text, where="again"), "again")
    assert repr(again) == repr(settings)  # nan is not equal to itself


@examples(120)
@given(tree=mutated(GOOD))
def test_a_configuration_with_other_values_is_one_or_is_refused(tree: Any) -> None:
    _, error = outcome(lambda: use(parse_settings(tree, "config.yaml")))
    assert error is None or isinstance(error, ConfigError)


@examples(60)
@given(
    content=damaged(TEXT)
    | documents.map(lambda text: text.encode("utf-8", "replace"))
    | st.binary(max_size=60)
)
def test_a_damaged_file_is_settings_or_is_refused(content: bytes) -> None:
    path = folder() / "config.yaml"
    path.write_bytes(content)
    _, error = outcome(lambda: use(load_settings(path)))
    if error is not None:
        assert isinstance(error, ConfigError)
        assert str(path) in str(error) or "plate" in str(error) or "grid" in str(error)


@pytest.mark.parametrize(
    "content",
    [
        ALIASES,
        MERGES,
        "a: &a [*a]",
        "plates: &a [*a]",
        "a: &a {b: *a}",
        "[" * 50_000,
        "a: " * 50_000,
        "- " * 50_000,
        "{a: " * 50_000,
        "a: '" + "x" * 1_000_000 + "'",
        "plates: [" + "{path: 3, x: y}, " * 2000 + "]",
    ],
    ids=[
        "aliases",
        "merges",
        "loop",
        "loop in plates",
        "mapping loop",
        "lists",
        "keys",
        "items",
        "flow",
        "long",
        "many errors",
    ],
)
def test_bombs_are_refused_at_once(content: str) -> None:
    path = folder() / "bomb.yaml"
    path.write_text(content, encoding="utf-8")
    _, error = outcome(lambda: load_settings(path))
    assert isinstance(error, ConfigError)
    assert "bomb.yaml" in str(error)


@pytest.mark.parametrize("value", TEXTS)
@pytest.mark.parametrize("place", ["name", "path", "output"])
def test_no_text_leads_results_elsewhere(place: str, value: str) -> None:
    """Results of a plate go into the output folder, whatever the plate is called."""
    config: dict[str, Any] = {"plates": [{"path": "plates/P1"}]}
    (config if place == "output" else config["plates"][0])[place] = value
    ids, error = outcome(lambda: plate_ids(parse_settings(config).plates))
    if error is None:
        assert len(ids) == 1
        assert ids[0] not in ("", ".", "..")
        assert not set(ids[0]) & set("/\\\0\n{}")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "latin-1"])
def test_other_encodings_are_read_or_refused_by_name(encoding: str) -> None:
    path = folder() / "encoded.yaml"
    path.write_bytes("plates: [{path: plätte}]".encode(encoding))
    _, error = outcome(lambda: load_yaml(path))
    assert error is None or "encoded.yaml" in str(error)


@pytest.mark.parametrize(
    "text",
    ["? [a]\n: b", "a: !!int x", "a: !!bool 7", "a: !!timestamp x", "a: 2001-99-99", "a: " + "9" * 5000, 'a: "\\ud800"',
     "plates: [{path: x, pixel_size_um: .inf}]", "plates: [{path: x, pattern: {regex: .nan}}]"],
)  # fmt: skip
def test_what_fuzzing_has_found_is_refused(text: str) -> None:
    _, error = outcome(lambda: parse_settings(parse_yaml(text, where="c.yaml"), "c.yaml"))
    assert isinstance(error, ConfigError)
    assert "c.yaml" in error.message
