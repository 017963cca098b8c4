from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from hcs_steps.errors import StorageError
from hcs_steps.plate import (
    Inventory,
    Plane,
    inventory_json,
    inventory_table,
    open_plate,
    read_inventory_file,
    read_unit_planes,
    store,
    well_name,
    write_inventory,
)


def same(first: Inventory, second: Inventory) -> bool:
    # Through text, because NaN differs from itself.
    return repr(first) == repr(second)


def test_round_trip(tiny_plate, tmp_path):
    plate = tiny_plate(z=2)
    (plate / "TimePoint_1" / "ZStep_1" / "P1_B03_s1_w1.TIF").unlink()
    inventory = open_plate(plate)
    assert inventory.problems
    path = tmp_path / "work" / "inventory.parquet"
    write_inventory(inventory, path)
    assert same(read_inventory_file(path), inventory)
    assert os.listdir(path.parent) == ["inventory.parquet"]


def test_round_trip_without_planes_and_pixel_size(tmp_path, tiny_plate):
    bare = replace(open_plate(tiny_plate()), planes=(), pixel_size_um=float("nan"), grid_dimensions=None)
    write_inventory(bare, tmp_path / "i.parquet")
    assert same(read_inventory_file(tmp_path / "i.parquet"), bare)


def test_a_unit_reads_its_planes_only(tmp_path, tiny_plate, monkeypatch):
    monkeypatch.setattr(store, "ROWS_PER_GROUP", 16)
    wells = [well_name(row, column) for row in range(32) for column in range(0, 48, 6)]
    planes = tuple(Plane(well, site, 1, 1, 1, f"{well}_{site}.tif") for well in wells for site in (1, 2, 3))
    path = tmp_path / "i.parquet"
    write_inventory(replace(open_plate(tiny_plate()), planes=planes), path)
    for well in ("A01", "Z43", "AF43"):
        assert [plane.path for plane in read_unit_planes(path, well)] == [
            f"{well}_{s}.tif" for s in (1, 2, 3)
        ]
    assert read_unit_planes(path, "A02") == ()


def test_a_second_open_uses_the_cache_and_opens_no_file(tiny_plate, tmp_path, opened_headers, fingerprint):
    plate = tiny_plate()
    before = fingerprint(plate)
    first = open_plate(plate, cache=tmp_path / "work")
    assert opened_headers
    opened_headers.clear()
    second = open_plate(plate, cache=tmp_path / "work")
    assert opened_headers == []
    assert same(first, second)
    assert fingerprint(plate) == before


@pytest.mark.parametrize("change", ["touch", "add", "options", "damage"])
def test_a_changed_plate_or_option_is_read_anew(tiny_plate, tmp_path, opened_headers, change):
    plate, work = tiny_plate(), tmp_path / "work"
    first = open_plate(plate, cache=work)
    opened_headers.clear()
    options = {}
    if change == "touch":
        os.utime(plate / "TimePoint_1" / "P1_B02_s1_w1.TIF", ns=(1, 1))
    elif change == "add":
        (plate / "note.txt").write_text("x")
    elif change == "options":
        options = {"channels": {1: "DNA"}}
    else:
        (work / "inventory.parquet").write_bytes(b"PAR1 damaged")
    second = open_plate(plate, cache=work, **options)
    assert opened_headers
    assert (second.digest == first.digest) == (change == "damage")
    assert read_inventory_file(work / "inventory.parquet").digest == second.digest


def test_a_moved_plate_keeps_its_cache_and_gets_its_new_place(tiny_plate, tmp_path, opened_headers):
    plate = tiny_plate()
    open_plate(plate, cache=tmp_path / "work")
    opened_headers.clear()
    moved = plate.rename(plate.with_name("P2"))
    inventory = open_plate(moved, cache=tmp_path / "work")
    assert (inventory.plate_path, inventory.name) == (str(moved), "P2")
    assert opened_headers == []


def test_nothing_is_written_into_the_plate(tiny_plate, tmp_path, fingerprint):
    plate = tiny_plate()
    before = fingerprint(plate)
    (tmp_path / "link").symlink_to(plate, target_is_directory=True)
    for cache in (plate, plate / "work", tmp_path / "link" / "work"):
        with pytest.raises(StorageError, match="never written"):
            open_plate(plate, cache=cache)
    with pytest.raises(StorageError, match="never written"):
        write_inventory(open_plate(plate), plate / "inventory.parquet")
    assert fingerprint(plate) == before


def test_a_failed_write_leaves_the_old_file(tiny_plate, tmp_path, monkeypatch):
    inventory, path = open_plate(tiny_plate()), tmp_path / "i.parquet"
    write_inventory(inventory, path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match="No space left"):
        write_inventory(replace(inventory, name="other"), path)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".*.tmp"))


def test_files_that_are_no_inventory(tmp_path):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("hello")
    for name, part in [
        ("nowhere", "does not exist"),
        ("other", "not a readable"),
        ("text", "not a readable"),
    ]:
        for read in (read_inventory_file, lambda path: read_unit_planes(path, "A01")):
            with pytest.raises(StorageError, match=part):
                read(tmp_path / f"{name}.parquet")


def test_text_and_json_show_the_facts(tiny_plate):
    plate = tiny_plate()
    (plate / "TimePoint_1" / "P1_B03_s2_w1.TIF").unlink()
    inventory = open_plate(plate)
    text, facts = inventory_table(inventory), inventory_json(inventory)
    for part in ("B02-B03", "1 = DAPI, 2 = GFP", "16 x 16 uint16", "0.65 um (from metadata)", "missing (1)"):
        assert part in text
    assert " B . # + . ." in text
    assert max(len(line) for line in text.splitlines() if str(plate) not in line) <= 100
    assert facts["planes_per_well"] == {"B02": 4, "B03": 3}
    assert facts["problems"]["missing"]["count"] == 1


def test_importing_the_package_is_light():
    code = (
        "import sys, hcs_steps.plate;"
        "print([name for name in ('numpy', 'tifffile', 'pyarrow', 'pandas') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
