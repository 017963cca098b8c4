"""Plate maps of any content: entries and problems, or one error that names the file."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest
from fuzz_lab import (
    TEXTS,
    damaged,
    examples,
    hostile_number,
    hostile_text,
    new_folder,
    outcome,
    token_mutations,
)
from fuzz_plans import small_inventory
from hypothesis import example, given
from hypothesis import strategies as st

from hcs_steps.emit.wells import WellMap, map_wells, write_well_map
from hcs_steps.errors import ConfigError, HcsError, PlateError
from hcs_steps.results import Results
from hcs_steps.settings import PlateSettings

MAP = b"""well,plate,compound,concentration,unit,role,control
A01,P1,dmso,0,uM,negative,1
a2,P1,tox,"1,5",uM,positive,0
B-01,P1,drug a,10 nM,,,NA
"""
MAPS = (
    MAP,
    b"# made by hand\nsep=;\nRow;Column;Compound;Dose\n1;1;x;0,3\nA;2;y;1,5\n",
    b"Assay_Plate_Barcode,Plate_Map_Name\nP1,layout\nP2,../layout\n",
    MAP.decode().encode("utf-16"),
    MAP.replace(b",", b"\t"),
)
LAYOUT = b"well_position\tbroad_sample\tmmoles_per_liter\nA01\tdmso\t0\nB01\tx\t0.003\n"


def spans(data: bytes) -> list[tuple[int, int]]:
    found, begin = [], 0
    for place, byte in enumerate(data):
        if chr(byte) in ',;\t\n"\r':
            if place > begin:
                found.append((begin, place))
            begin = place + 1
    return found


cells = (
    hostile_text
    | hostile_number.map(str)
    | st.sampled_from(["A01", "a1", "B-2", "1", "48", "dmso", "10 uM", "1.500", "1,500"])
)
names = (
    st.sampled_from(
        ["well", "row", "column", "plate", "compound", "dose (uM)", "unit", "role", "Metadata_Well", ""]
    )
    | hostile_text
)
tables = st.tuples(
    st.sampled_from(",;\t|"), st.lists(names, max_size=5), st.lists(st.lists(cells, max_size=6), max_size=5)
).map(lambda parts: "\n".join(parts[0].join(row) for row in [parts[1], *parts[2]]).encode("utf-8", "replace"))
"""Tables of a header and rows, with fields that may hold anything, quotation marks and line breaks included."""
maps = (
    st.sampled_from(MAPS).flatmap(lambda data: damaged(data) | token_mutations(data, spans(data)))
    | tables
    | st.binary(max_size=80)
)


@lru_cache
def folder() -> Path:
    made = new_folder() / "maps"
    (made / "platemap").mkdir(parents=True)
    (made / "platemap" / "layout.txt").write_bytes(LAYOUT)
    (made / "results").mkdir()
    return made


def read(content: bytes) -> tuple[WellMap | None, HcsError | None]:
    """Read a plate map as a run does, and write down what was understood of it."""
    path = folder() / "map.csv"
    path.write_bytes(content)
    settings = PlateSettings(path=folder() / "P1", plate_map=path)
    results = Results(folder() / "results")

    def use() -> WellMap:
        found = map_wells(settings, "P1", small_inventory())
        write_well_map(found, results, "tables")
        return found

    return outcome(use, writable=results.root)


@examples(150)
@given(content=maps)
@example(MAP)
@example(MAPS[2])
def test_any_plate_map_is_read_or_refused(content: bytes) -> None:
    found, error = read(content)
    if error is None:
        assert {len(column) for column in found.columns.values()} == {3}
    else:
        assert isinstance(error, PlateError | ConfigError)


@pytest.mark.parametrize("name", TEXTS)
def test_a_barcode_table_names_maps_in_its_own_folder_only(name: str) -> None:
    content = f'Assay_Plate_Barcode,Plate_Map_Name\nP1,"{name}"\n'.encode("utf-8", "surrogatepass")
    _, error = read(content)
    assert isinstance(error, PlateError)
