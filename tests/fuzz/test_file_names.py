"""Names of files and patterns for them: any plate of odd names opens or is refused, and no pattern hangs."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from fuzz_lab import TEXTS, deep, examples, hostile, hostile_text, mutated, new_folder, outcome
from hypothesis import example, given
from hypothesis import strategies as st

from hcs_steps.errors import ConfigError, HcsError
from hcs_steps.plate import READERS, PatternSpec, SiteGrid, expand_wells, open_plate, parse_well
from hcs_steps.plate.formats.patterns import time_limit
from hcs_steps.plate.synthetic import LAYOUTS, make_plate

WELLS = tuple(f"{row}{column:02d}" for row in "ABCDEFGH" for column in range(1, 13))
GOOD: dict[str, Any] = {
    "regex": r"(?P<well>[A-P]\d\d)_s(?P<site>\d+)_(?P<channel>\w+)_z(?P<z>\d+)\.tif",
    "constants": {"time": 1, "first_z": 0},
    "channels": {"DAPI": "nuclei"},
    "pixel_size_um": 0.65,
    "exclude": "thumb",
}


@lru_cache
def sandbox() -> Path:
    made = new_folder()
    (made / "work").mkdir()
    return made


@lru_cache
def known_names() -> tuple[tuple[str, bytes], ...]:
    """Names of images of every layout, as they are, and an image."""
    found = []
    for layout in LAYOUTS:
        plate = sandbox() / "layouts" / layout
        make_plate(plate, wells=["A01", "B02"], sites=(1, 2), channels=["DAPI"], shape=(8, 8), layout=layout)
        images = [p for p in sorted(plate.rglob("*")) if p.suffix.lower() == ".tif" and p.is_file()]
        found += [(p.relative_to(plate).as_posix(), p.read_bytes()) for p in images[:3]]
    return tuple(found)


@st.composite
def plates(draw: st.DrawFn) -> dict[bytes, bytes]:
    """Path below the plate -> content: names of real layouts, with pieces replaced by what no microscope writes."""
    made = {}
    start = draw(st.sampled_from(known_names()))
    for _ in range(draw(st.integers(1, 6))):
        name, content = draw(st.just(start) | st.sampled_from(known_names()))
        for _ in range(draw(st.integers(0, 2))):
            at = draw(st.integers(0, len(name)))
            piece = draw(
                hostile_text
                | st.sampled_from(["9" * 30, "0", "A99", "_s0", "w0", "-1", "/", "\n", ".tif", ".TIF"])
            )
            name = name[:at] + piece + name[at + draw(st.integers(0, 4)) :]
        parts = [part[:200] for part in name.replace("\0", "").split("/") if part not in ("", ".", "..")]
        if parts:
            made[
                "/".join(parts[:5]).encode("utf-8", "surrogateescape" if "\ud800" not in name else "replace")
            ] = content
    return made


@examples(60)
@given(files=plates())
def test_a_plate_of_any_names_opens_or_is_refused(files: dict[bytes, bytes]) -> None:
    plate = sandbox() / "P"
    shutil.rmtree(plate, ignore_errors=True)
    for name, content in files.items():
        path = os.path.join(os.fsencode(plate), name)
        with suppress(OSError):  # a file where a folder should be; a name that is too long
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
    outcome(lambda: open_plate(plate))
    for reader in READERS:
        outcome(lambda reader=reader: open_plate(plate, format=reader.name))


pieces = st.sampled_from(
    [r"(?P<well>\w\d\d)", r"(?P<row>\w)", r"(?P<column>\d+)", r"(?P<site>\d*)", r"(?P<channel>.*)", r"(?P<z>\d+)?",
    "(?P<x>a)",
     "(?P<well>", "(a+)+", "(a|a)*", ".*", r"\d{1,99999}", "(?i)", r"(?P<time>\d+)", r"(?P<datetime>.+)", "/", "[",
     "\\", "$", "_", r"\.tif",
     "(?<=a)", "(?(1)a|b)", r"\1", "(" * 200, "a{99999999999}"]
)  # fmt: skip
patterns = st.lists(pieces, min_size=1, max_size=5).map("".join)


def use_pattern(config: Any) -> None:
    spec = PatternSpec.from_config(config)
    open_plate(plate_of_names(), pattern=spec)


@lru_cache
def plate_of_names() -> Path:
    plate = sandbox() / "named"
    plate.mkdir()
    image = known_names()[0][1]
    for name in ("A01_s1_DAPI_z1.tif", "B02_s2_GFP_z0.tif", "H99_s9_x_z1.tif", "aaaa.tif", "ä\n.tif"):
        (plate / name).write_bytes(image)
    return plate


@examples(60)
@given(
    config=mutated(GOOD)
    | patterns
    | st.fixed_dictionaries({"regex": patterns, "exclude": patterns})
    | hostile_text
)
@example(config={"regex": GOOD["regex"], "channels": {1: deep(3)}})
def test_a_pattern_is_one_or_is_refused(config: Any) -> None:
    plate_of_names()
    _, error = outcome(lambda: use_pattern(config), processes=True)
    assert error is None or isinstance(error, HcsError)


@pytest.mark.parametrize(
    "regex",
    [
        r"(?P<well>[A-P]\d\d)(a+)+\.tif",
        r"(?P<well>(\w+\s?)*)!",
        r"(a|a)*(?P<well>b)",
        r".*.*.*.*.*.*(?P<well>x)!",
        r"(?P<well>(a*)*)b",
    ],
)
def test_a_pattern_that_would_take_for_ever_is_refused_in_time(
    regex: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_limit, "LIMIT_S", 0.5)
    plate = sandbox() / "slow"
    plate.mkdir(exist_ok=True)
    for name in ("A01" + "a" * 60 + "!.tif", "a" * 200 + ".tif"):
        (plate / name).write_bytes(known_names()[0][1])
    for config in (regex, {"regex": r"(?P<well>\w\d\d).*", "exclude": regex}):
        _, error = outcome(lambda config=config: open_plate(plate, pattern=config), processes=True)
        assert isinstance(error, ConfigError)
        assert "takes too long" in error.message


@examples(150)
@given(
    value=hostile
    | hostile_text.map(lambda text: {"include": text, "exclude": [text]})
    | st.lists(hostile_text)
)
def test_a_well_filter_selects_or_is_refused(value: Any) -> None:
    _, error = outcome(lambda: expand_wells(value, WELLS))
    assert error is None or isinstance(error, ConfigError)


@pytest.mark.parametrize(
    "text", [*TEXTS, "A" * 1000, "row:" + "A" * 1000, "A01:" * 1000, "col:1-" + "9" * 1000]
)
def test_names_of_wells_and_grids(text: str) -> None:
    outcome(lambda: parse_well(text))
    outcome(lambda: SiteGrid.from_config(text))
    outcome(lambda: expand_wells(text, WELLS))
    outcome(lambda: SiteGrid.from_config({"rows": 1, "columns": 1, "order": text}))
