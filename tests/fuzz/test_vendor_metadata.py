"""Every vendor's metadata, damaged: the plate opens with what is left, or is refused with a reason.

Each layout of the synthetic plates is damaged as it is, so a new format is fuzzed as soon as it has one. What an opened
plate says is then shown, kept, read back, and its planes are read.
"""

from __future__ import annotations

import json
import math
import re
import tempfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree

import pytest
import tifffile
from fuzz_lab import (
    damaged,
    examples,
    hostile_number,
    hostile_text,
    mutated,
    new_folder,
    outcome,
    token_mutations,
)
from hypothesis import given
from hypothesis import strategies as st

from hcs_steps.errors import HcsError
from hcs_steps.plate import (
    inventory_json,
    inventory_table,
    open_plate,
    read_inventory_file,
    read_plane,
    vendor_flatfield,
    write_inventory,
)
from hcs_steps.plate.flatfield import correction_state
from hcs_steps.plate.formats.descriptions import read_description
from hcs_steps.plate.formats.harmony.flatfield import flatfield_image, read_profile
from hcs_steps.plate.formats.imagexpress.htd import parse_htd
from hcs_steps.plate.formats.ome_tiff.xml import parse_document
from hcs_steps.plate.formats.scene_names import place_in
from hcs_steps.plate.inventory import Inventory
from hcs_steps.plate.sites import MAX_SIDE
from hcs_steps.plate.synthetic import LAYOUTS, make_plate
from hcs_steps.plate.tiff_header import read_header, read_pages
from hcs_steps.plate.wells import MAX_COLUMNS, MAX_ROWS, canonical_well
from hcs_steps.plate.xml_files import parse_xml

IMAGES = (".tif", ".tiff")


@lru_cache
def home(layout: str) -> tuple[Path, Path, dict[str, bytes]]:
    """A plate that is damaged and mended in place, a work folder beside it, and the content of its files."""
    sandbox = new_folder()
    (sandbox / "work").mkdir()
    plate = sandbox / "P1"
    make_plate(
        plate, wells=["A01", "B02"], sites=(1, 2), channels=["DAPI", "GFP"], shape=(8, 8), layout=layout,
        z=2 if "z_index" in LAYOUTS[layout].states else 1,
    )  # fmt: skip
    files = {p.relative_to(plate).as_posix(): p.read_bytes() for p in sorted(plate.rglob("*")) if p.is_file()}
    return sandbox, plate, files


def spans(data: bytes) -> list[tuple[int, int]]:
    """Where the values of a text file are, whatever its format: attributes, texts, quoted and bare values."""
    found = re.finditer(rb'"([^"<>\r\n]*)"|>([^<>\r\n]+)<|(?<=[:=,\t ])(-?[\w.]+)', data)
    return [match.span(match.lastindex or 0) for match in found if match.lastindex]


@st.composite
def damaged_xml(draw: st.DrawFn, data: bytes) -> bytes:
    """XML with elements dropped, doubled, moved or renamed, and attributes lost or renamed."""
    root = ElementTree.fromstring(data)
    for _ in range(draw(st.integers(1, 3))):
        parents = [element for element in root.iter() if len(element)]
        if not parents:
            break
        parent = draw(st.sampled_from(parents))
        child = draw(st.sampled_from(list(parent)))
        match draw(st.sampled_from(["drop", "double", "move", "tag", "lose", "text"])):
            case "drop":
                parent.remove(child)
            case "double":
                parent.extend([child] * draw(st.sampled_from([1, 2, 300])))
            case "move":
                draw(st.sampled_from(parents[:1])).insert(0, child)
                with suppress(ValueError):
                    parent.remove(child)
            case "tag":
                child.tag = draw(st.sampled_from([each.tag for each in root.iter()]))
            case "lose" if child.attrib:
                del child.attrib[draw(st.sampled_from(sorted(child.attrib)))]
            case _:
                child.text = draw(hostile_text | hostile_number.map(str))
    try:
        return ElementTree.tostring(root, encoding="utf-8")
    except (ValueError, RecursionError):  # moved into itself
        return data


def damages(name: str, data: bytes) -> st.SearchStrategy[bytes]:
    """Ways to damage one file of a plate."""
    if name.lower().endswith(IMAGES):
        return damaged_image(data)
    ways: list[st.SearchStrategy[bytes]] = [damaged(data)]
    if data[:1] == b"{":
        ways += [mutated(json.loads(data)).map(lambda tree: json.dumps(tree).encode())] * 2
    elif b"<?xml" in data[:10]:
        ways.append(damaged_xml(data))
    values = spans(data) if b"\0" not in data else []
    return st.one_of(*ways, *([token_mutations(data, values)] * 2 if values else []))


@st.composite
def damaged_image(draw: st.DrawFn, data: bytes) -> bytes:
    """A TIFF with bytes damaged, or whose description is."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.tif"
        path.write_bytes(data)
        with tifffile.TiffFile(path) as tif:
            text = tif.pages[0].description
        if not text or draw(st.booleans()):
            return draw(damaged(data))
        old = text.encode()
        ways = [damaged(old), *([token_mutations(old, spans(old))] if spans(old) else [])]
        with suppress(ElementTree.ParseError):
            ElementTree.fromstring(old)
            ways.append(damaged_xml(old))
        tifffile.tiffcomment(path, draw(st.one_of(ways)).replace(b"\0", b" "))
        return path.read_bytes()


@st.composite
def damages_of(draw: st.DrawFn, layout: str) -> dict[str, bytes | None]:
    """File -> its new content, None where it is gone; metadata rather than images."""
    files = home(layout)[2]
    sidecars = [name for name in files if not name.lower().endswith(IMAGES)]
    pool = st.sampled_from(sorted(files))
    if sidecars:
        pool = st.sampled_from(sidecars) | pool
    changed: dict[str, bytes | None] = {}
    for name in draw(st.lists(pool, min_size=1, max_size=2, unique=True)):
        gone = draw(st.integers(0, 15)) == 0
        changed[name] = None if gone else draw(damages(name, files[name]))
    return changed


def check_sane(inventory: Inventory) -> None:
    """Nobody after the reader has to ask whether a plate can be so large, or a name so strange."""
    assert 1 <= inventory.rows <= MAX_ROWS
    assert 1 <= inventory.columns <= MAX_COLUMNS
    if inventory.grid_dimensions is not None:
        assert all(1 <= size <= MAX_SIDE for size in inventory.grid_dimensions)
    assert not math.isinf(inventory.pixel_size_um)
    assert not inventory.pixel_size_um <= 0
    assert all(name.isprintable() and len(name) <= 120 for name in inventory.channels.values())
    assert len(inventory.missing) <= 100_000
    for plane in inventory.planes:
        assert canonical_well(plane.well) == plane.well
        assert all(0 <= value < 2**63 for value in (*plane[1:5], plane.page, plane.height, plane.width))
        assert not any(map(math.isinf, plane[12:17]))
        assert not Path(plane.path).is_absolute()
        assert ".." not in Path(plane.path).parts


def use(plate: Path, work: Path) -> None:
    """Open a plate and do with it what is done with plates."""
    inventory = open_plate(plate)
    check_sane(inventory)
    inventory_table(inventory)
    json.dumps(inventory_json(inventory), allow_nan=False)
    kept = work / "inventory.parquet"
    write_inventory(inventory, kept)
    again = read_inventory_file(kept)
    assert repr(again) == repr(inventory)
    correction_state(plate, inventory.metadata)
    for number in inventory.channels:
        with suppress(HcsError):
            vendor_flatfield(plate, inventory.metadata, number, (8, 8))
    for plane in inventory.planes[:4]:
        with suppress(HcsError):
            read_plane(plate, plane)


@pytest.mark.parametrize("layout", LAYOUTS)
@examples(12)
@given(data=st.data())
def test_a_damaged_plate_opens_or_is_refused(layout: str, data: st.DataObject) -> None:
    sandbox, plate, files = home(layout)
    changed = data.draw(damages_of(layout))
    attack(plate, files, changed, sandbox / "work")


def attack(plate: Path, files: dict[str, bytes], changed: dict[str, bytes | None], work: Path) -> None:
    for name, content in changed.items():
        if content is None:
            (plate / name).unlink()
        else:
            (plate / name).write_bytes(content)
    try:
        outcome(lambda: use(plate, work), writable=work)
        assert {path.relative_to(plate).as_posix() for path in plate.rglob("*") if path.is_file()} == {
            name for name in files if changed.get(name, b"") is not None
        }
    finally:
        for name in changed:
            (plate / name).write_bytes(files[name])


PROFILE = (
    b"{Background: {Character: NonFlat, Mean: 373.7, Profile: {Coefficients: [[1.0], [0.1, -0.2], [-0.5, 0.01, -0.4]], "
    b"Dims: [2160, 2160], Origin: [1079.5, 1079.5], Scale: [0.0009, 0.0009], Type: Polynomial}}, "
    b"Foreground: {Character: Flat, Mean: 1}}"
)
XML = b'<?xml version="1.0"?><a xmlns:x="u"><b c="1">2</b><b x:d="3"/></a>'


def texts() -> dict[str, bytes]:
    """A good text for every parser that takes one, from what the layouts write."""
    found = {"profile": PROFILE, "xml": XML, "scene": b"A01_s1 scene 2"}
    for layout in ("imagexpress", "ome-tiff", "gen5"):
        _, plate, files = home(layout)
        for name, content in files.items():
            if name.endswith(".HTD"):
                found["htd"] = content
            if name.lower().endswith(IMAGES):
                with tifffile.TiffFile(plate / name) as tif:
                    found.setdefault(layout, tif.pages[0].description.encode())
    return found


def parse(kind: str, text: str) -> None:
    match kind:
        case "profile":
            for part in read_profile(text).values():
                with suppress(HcsError):
                    flatfield_image(part, (8, 8))
        case "xml":
            parse_xml(text, source="x")
        case "scene":
            place_in(text)
        case "htd":
            parse_htd(text)
        case _:
            with suppress(HcsError):
                parse_document(text, source="x")
            read_description(text, 1.0)


@pytest.mark.parametrize("kind", ["profile", "xml", "scene", "htd", "imagexpress", "ome-tiff", "gen5"])
@examples(40)
@given(data=st.data())
def test_a_text_is_parsed_or_refused(kind: str, data: st.DataObject) -> None:
    good = texts()[kind]
    ways = [damaged(good), st.binary(max_size=60)]
    if spans(good):
        ways.append(token_mutations(good, spans(good)))
    text = data.draw(st.one_of(ways)).decode(
        "utf-8", data.draw(st.sampled_from(["replace", "surrogateescape"]))
    )
    outcome(lambda: parse(kind, text))


@pytest.mark.parametrize("layout", ["imagexpress", "ome-tiff"])
def test_tags_of_a_tiff_of_any_type_and_value(layout: str) -> None:
    """Each tag in turn, with another type, another count and another value: an image's width as a fraction, say."""
    sandbox, plate, files = home(layout)
    name = next(name for name in files if name.lower().endswith(IMAGES))
    data = files[name]
    first, tags = 10, int.from_bytes(data[8:10], "little")
    for at in range(first, first + 12 * tags, 12):
        for offset, values in ((2, range(14)), (4, (0, 2, 255)), (8, (0, 3, 255)), (11, (1, 127, 255))):
            for value in values:
                changed = data[: at + offset] + bytes([value]) + data[at + offset + 1 :]
                (plate / name).write_bytes(changed)
                outcome(lambda: read_header(plate / name))
                outcome(lambda: read_pages(plate / name))
        attack(plate, files, {name: data[: at + 2] + b"\5" + data[at + 3 :]}, sandbox / "work")


@pytest.mark.parametrize(
    ("layout", "file", "old", "new"),
    [
        ("imagexpress", "P1.HTD", b'"WaveName2", "GFP"', b'"WaveName2", "' + b"9" * 5000 + b'"'),
        ("imagexpress", "P1.HTD", b'"XWells", 12', b'"XWells", 1000000000'),
        ("incell", "P1.xdce", b'columns="12"', b'columns="1000000000"'),
        ("incell", "P1.xdce", b'field_index="1"', b'field_index="99999999999999999999999"'),
    ],
)
def test_what_fuzzing_has_found_stays_mended(layout: str, file: str, old: bytes, new: bytes) -> None:
    """A name of a channel of 5,000 characters went through; the others never did."""
    sandbox, plate, files = home(layout)
    assert old in files[file]
    attack(plate, files, {file: files[file].replace(old, new)}, sandbox / "work")
