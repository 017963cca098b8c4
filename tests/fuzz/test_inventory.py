"""inventory.parquet: an inventory, or a refusal, whatever its header says and its bytes are."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from fuzz_lab import (
    TEXTS,
    damaged,
    examples,
    hostile,
    hostile_number,
    hostile_text,
    mutated,
    new_folder,
    outcome,
)
from fuzz_plans import WELLS, small_inventory
from hypothesis import given
from hypothesis import strategies as st

from hcs_steps.errors import StorageError
from hcs_steps.plate import (
    inventory_json,
    inventory_table,
    open_plate,
    read_inventory_file,
    read_unit_planes,
    write_inventory,
)
from hcs_steps.plate.inventory import Plane
from hcs_steps.plate.synthetic import make_plate

KEY = b"hcs_steps.inventory"


@lru_cache
def folder() -> Path:
    return new_folder()


@lru_cache
def good() -> tuple[bytes, Any, dict[str, list[Any]]]:
    """The bytes of a file, its header, and its columns."""
    path = folder() / "good.parquet"
    write_inventory(small_inventory(), path)
    table = pyarrow.parquet.read_table(path)
    return path.read_bytes(), json.loads(table.schema.metadata[KEY]), table.to_pydict()


def use(path: Path) -> None:
    """What is done with a kept inventory."""
    inventory = read_inventory_file(path)
    inventory_table(inventory)
    json.dumps(inventory_json(inventory), allow_nan=False)
    for well in WELLS:
        read_unit_planes(path, well)
    write_inventory(inventory, folder() / "again.parquet")
    assert repr(read_inventory_file(folder() / "again.parquet")) == repr(inventory)


def check(path: Path) -> None:
    _, error = outcome(lambda: use(path), writable=folder())
    assert error is None or (isinstance(error, StorageError) and path.name in str(error))


@examples(80)
@given(
    content=st.deferred(lambda: damaged(good()[0]))
    | st.binary(max_size=40)
    | st.binary(max_size=20).map(lambda b: b"PAR1" + b + b"PAR1")
)
def test_a_damaged_file_is_an_inventory_or_is_refused(content: bytes) -> None:
    path = folder() / "inventory.parquet"
    path.write_bytes(content)
    check(path)


@examples(80)
@given(header=st.deferred(lambda: mutated(good()[1])) | hostile)
def test_a_header_with_other_values_is_one_or_is_refused(header: Any) -> None:
    write(good()[2], json.dumps(header).encode())


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 100_000,
        b"9" * 5000,
        b'{"layout": 1e400}',
        b'{"layout": 2, "problems": [["no such kind", "", ""]]}',
        b"\xff",
        b"",
    ],
)
def test_a_header_that_is_a_bomb_is_refused(header: bytes) -> None:
    write(good()[2], header)


@examples(80)
@given(data=st.data())
def test_planes_with_other_values_are_planes_or_are_refused(data: st.DataObject) -> None:
    columns = {name: list(values) for name, values in good()[2].items()}
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(columns)))
        match data.draw(st.sampled_from(["value", "value", "column", "drop", "short"])):
            case "value":
                row = data.draw(st.integers(0, len(columns[name]) - 1))
                columns[name][row] = data.draw(st.none() | hostile_text | hostile_number)
            case "column":
                columns[name] = [data.draw(hostile)] * len(columns[name])
            case "drop" if len(columns) > 1:
                del columns[name]
            case _:
                columns = {each: values[:1] for each, values in columns.items()}
    write(columns, json.dumps(good()[1]).encode())


def write(columns: dict[str, list[Any]], header: bytes) -> None:
    """A Parquet file with these columns, where Parquet can hold them, checked."""
    path = folder() / "inventory.parquet"
    try:
        arrays = [pyarrow.array(values) for values in columns.values()]
        schema = pyarrow.schema(
            [(n, a.type) for n, a in zip(columns, arrays, strict=True)], metadata={KEY: header}
        )
        pyarrow.parquet.write_table(pyarrow.Table.from_arrays(arrays, schema=schema), path)
    except (pyarrow.ArrowException, TypeError, ValueError, OverflowError):
        return
    check(path)


@pytest.mark.parametrize("text", [*TEXTS, "../../secret.tif", "/etc/hostname"])
def test_no_path_of_a_plane_leads_out_of_the_plate(text: str) -> None:
    columns = {name: list(values) for name, values in good()[2].items()}
    columns["path"][0] = text
    write(columns, json.dumps(good()[1]).encode())
    try:
        planes = read_inventory_file(folder() / "inventory.parquet").planes
    except StorageError:
        return
    for plane in planes:
        assert not Path(plane.path).is_absolute()
        assert ".." not in Path(plane.path).parts


def test_a_damaged_inventory_of_a_plate_is_read_anew() -> None:
    plate, cache = folder() / "P1", folder() / "cache"
    make_plate(plate, wells=["A01"], sites=(1, 1), channels=["DAPI"], shape=(8, 8))
    first = open_plate(plate, cache=cache)
    for content in (b"", b"PAR1", good()[0][:-30], b"\0" * 1000):
        (cache / "inventory.parquet").write_bytes(content)
        assert open_plate(plate, cache=cache).planes == first.planes
    assert all(isinstance(plane, Plane) for plane in first.planes)
