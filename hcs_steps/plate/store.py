"""The inventory as a Parquet file: one row per plane, everything else as JSON in the schema's metadata.

Guarantees: a reader sees the old file or the whole new one, never a part (temporary sibling, flush, rename);
and nothing is written inside the plate's own folder. Rows are sorted by well, in row groups of limited size
with statistics, so that a job reads the planes of one well without reading the plate.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from hcs_steps.errors import StorageError
from hcs_steps.plate.inventory import NAN, PROBLEM_KINDS, Inventory, Plane, PlaneKey, Problem
from hcs_steps.plate.wells import MAX_COLUMNS, MAX_ROWS, canonical_well
from hcs_steps.shape import check_types

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

ROWS_PER_GROUP = 4096
_KEY = b"hcs_steps.inventory"
_LAYOUT = 2
_TYPES = {str: "string", int: "int64", float: "double"}
_LEADS_OUT = r"^/|(^|/)\.\.(/|$)|\x00"


def write_inventory(inventory: Inventory, path: Path) -> None:
    """Write ``inventory`` to ``path`` (its folder is made if needed), replacing an older file in one step.

    Raises `StorageError` if the folder cannot be written, or lies inside the plate's folder.
    """
    refuse_inside_plate(path, Path(inventory.plate_path))
    import pyarrow
    import pyarrow.parquet

    columns = list(zip(*inventory.planes, strict=True)) or [()] * len(Plane._fields)
    types = [pyarrow.type_for_alias(kind) for _, kind in _columns()]
    schema = pyarrow.schema(list(zip(Plane._fields, types, strict=True)), metadata={_KEY: _header(inventory)})
    arrays = [pyarrow.array(column, kind) for column, kind in zip(columns, types, strict=True)]
    table = pyarrow.Table.from_arrays(arrays, schema=schema)
    # A random name, because process ids repeat across the nodes that share a work folder.
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                pyarrow.parquet.write_table(table, file, row_group_size=ROWS_PER_GROUP, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"The inventory {path} cannot be written: {error.strerror or error}.",
            hint="Choose a work folder that you may write to, with space left.",
        ) from error


def read_inventory_file(path: Path) -> Inventory:
    """Read an inventory that `write_inventory` wrote; `StorageError` if it is missing or is not one."""
    with _opened(path) as file:
        inventory = _read_header(file, path)
        return replace(inventory, planes=_rows(file.read(), path))


def holds_inventory(path: Path, inventory: Inventory) -> bool:
    """Whether the file at ``path`` is that of ``inventory``, by its header and footer; no planes are read."""
    try:
        with _opened(path) as file:
            return _read_header(file, path).digest == inventory.digest
    except StorageError:
        return False


def read_unit_planes(path: Path, well: str) -> tuple[Plane, ...]:
    """The planes of one well in inventory order, empty if there are none. Reads only their row groups."""
    name = canonical_well(well)
    with _opened(path) as file:
        _read_header(file, path)
        groups = [number for number in range(file.num_row_groups) if _may_hold(file, number, name)]
        if not groups:
            return ()
        return tuple(plane for plane in _rows(file.read_row_groups(groups), path) if plane.well == name)


def refuse_inside_plate(path: Path, plate: Path) -> None:
    """Raise `StorageError` if ``path`` lies inside the plate folder, which is never written to."""
    if path.resolve().is_relative_to(plate.resolve()):
        raise StorageError(
            f"{path} lies inside the plate folder {plate}, which is never written to.",
            hint="Choose a work folder outside the raw data.",
        )


def _header(inventory: Inventory) -> bytes:
    values: dict[str, Any] = {
        field.name: getattr(inventory, field.name) for field in fields(Inventory) if field.name != "planes"
    }
    values["problems"] = [[problem.kind, problem.what, problem.why] for problem in inventory.problems]
    values["channels"] = {str(number): name for number, name in inventory.channels.items()}
    values["metadata"] = dict(inventory.metadata)
    if math.isnan(inventory.pixel_size_um):
        values["pixel_size_um"] = None
    return json.dumps({"layout": _LAYOUT, **values}, allow_nan=False).encode()


def _read_header(file: pyarrow.parquet.ParquetFile, path: Path) -> Inventory:
    """The inventory without its planes."""
    try:
        values: dict[str, Any] = json.loads((file.schema_arrow.metadata or {})[_KEY])
        if values.pop("layout") != _LAYOUT:
            raise ValueError("another layout")
        values["missing"] = tuple(PlaneKey(*key) for key in values["missing"])
        values["problems"] = tuple(Problem(*problem) for problem in values["problems"])
        values["channels"] = {int(number): name for number, name in values["channels"].items()}
        for name in ("evidence", "disagreements"):
            values[name] = tuple(values[name])
        values["grid_dimensions"] = tuple(values["grid_dimensions"]) if values["grid_dimensions"] else None
        unknown = values["pixel_size_um"] is None
        inventory = Inventory(
            planes=(), **{**values, "pixel_size_um": 0.0 if unknown else values["pixel_size_um"]}
        )
        check_types(inventory, "inventory")
        if not {problem.kind for problem in inventory.problems} <= set(PROBLEM_KINDS):
            raise ValueError("unknown kinds of problems")
        if inventory.pixel_size_um < 0 or min(inventory.grid_dimensions or (1,)) < 1:
            raise ValueError("a size is below 0")
        _check_places([key.well for key in inventory.missing], (inventory.rows, inventory.columns))
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _not_an_inventory(path, f"its header is not one ({error})") from error
    return replace(inventory, pixel_size_um=NAN) if unknown else inventory


def _check_places(wells: Iterable[str], dimensions: tuple[int, int]) -> None:
    """Raise `ValueError` for what are no wells, or dimensions of no plate."""
    for well in set(wells):
        if canonical_well(well) != well:
            raise ValueError(f"{well!r} is not how a well is written")
    if not (0 < dimensions[0] <= MAX_ROWS and 0 < dimensions[1] <= MAX_COLUMNS):
        raise ValueError(f"a plate has not {dimensions[0]} x {dimensions[1]} wells")


def _rows(table: pyarrow.Table, path: Path) -> tuple[Plane, ...]:
    import pyarrow.compute as compute

    try:
        if any(column.null_count for column in table.columns):
            raise ValueError("values are missing")
        _check_places(table.column("well").unique().to_pylist(), (1, 1))
        if compute.any(compute.match_substring_regex(table.column("path"), _LEADS_OUT)).as_py():
            raise ValueError("a path leads out of the plate")
        for name in ("page", "size", "height", "width"):
            if len(table) and compute.min(table.column(name)).as_py() < 0:
                raise ValueError(f"{name} is below 0")
        columns = [table.column(name).to_pylist() for name in Plane._fields]
    except ValueError as error:
        raise _not_an_inventory(path, f"its planes are none ({error})") from error
    return tuple(map(Plane._make, zip(*columns, strict=True)))


def _may_hold(file: pyarrow.parquet.ParquetFile, group: int, well: str) -> bool:
    statistics = file.metadata.row_group(group).column(0).statistics
    if statistics is None or not statistics.has_min_max:
        return True
    return bool(statistics.min <= well <= statistics.max)


@contextmanager
def _opened(path: Path) -> Iterator[pyarrow.parquet.ParquetFile]:
    """The open file, which has the columns of planes; whatever is wrong with its bytes is a `StorageError`."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            found = {field.name: str(field.type) for field in file.schema_arrow}
            if list(found.items()) != _columns():
                raise _not_an_inventory(path, "its columns differ")
            yield file
    except FileNotFoundError as error:
        raise StorageError(
            f"The inventory {path} does not exist.",
            hint="It is written when the plate is read; read it again.",
        ) from error
    except StorageError:
        raise
    except (OSError, OverflowError, ValueError, pyarrow.ArrowException) as error:
        raise _not_an_inventory(path, str(error)) from error


def _columns() -> list[tuple[str, str]]:
    """Name and Arrow type of every column, in order."""
    hints = get_type_hints(Plane)
    return [(name, _TYPES[hints[name]]) for name in Plane._fields]


def _not_an_inventory(path: Path, why: str) -> StorageError:
    return StorageError(
        f"{path} is not a readable inventory: {why}.", hint="Delete it and read the plate again."
    )
