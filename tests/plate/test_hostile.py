"""Metadata and folders that lie: nothing outside the plate is read, nothing in it is written, nothing hangs.

Each layout's own metadata files are replaced or rewritten, so a new format is attacked as soon as it has a
synthetic layout. The attacks run in a process of their own, which is killed if it hangs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hcs_steps.plate import open_plate
from hcs_steps.plate.synthetic import LAYOUTS, make_plate

HANGS_S = 120

# Opens the plate and all its planes; prints what was opened for reading, and for writing, as JSON.
PROBE = """
import json, os, sys
opened = []
def note(event, arguments):
    if event in ("open", "os.mkdir", "os.rename", "os.remove", "socket.connect", "subprocess.Popen"):
        opened.append((event, str(arguments[0]), str(arguments[1]) if event == "open" else ""))
from hcs_steps.errors import HcsError, PlateError
from hcs_steps.plate import inventory_table, open_plate, read_plane
plate, secret = sys.argv[1:]
try:
    open_plate(plate)  # imports everything once
except PlateError:
    pass
sys.addaudithook(note)
result = {}
try:
    inventory = open_plate(plate)
    result["planes"] = [plane.path for plane in inventory.planes]
    result["problems"] = len(inventory.problems)
    inventory_table(inventory)
    for plane in inventory.planes:
        try:
            read_plane(__import__("pathlib").Path(plate), plane)
        except PlateError:
            pass
except PlateError as error:
    result["error"] = str(error)
library = tuple(os.path.realpath(p) for p in sys.path if p) + (sys.prefix, sys.base_prefix)
result["opened"] = [e for e in opened if not os.path.realpath(e[1]).startswith(library) or e[0] != "open"]
print(json.dumps(result))
"""

BOMB = (
    '<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(12))
    + "]><r>&m;</r>"
)


def probe(plate: Path, secret: Path) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(plate), str(secret)],
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    root = os.path.realpath(plate)
    for event, path, mode in result["opened"]:
        assert event == "open", (event, path)
        assert not set(mode) & set("wax+"), (path, mode)
        inside = os.path.realpath(path).startswith(root)
        assert inside or path.startswith(("/proc/", "/sys/", "/dev/null")), f"{path} was opened"
    assert "secret" not in "".join(result.get("planes", ()))
    return result


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A perfectly good plane outside the plate."""
    make_plate(tmp_path / "elsewhere", wells=["A01"], sites=(1, 1), channels=["x"], shape=(8, 8))
    (image,) = (tmp_path / "elsewhere").rglob("*.TIF")
    return image.rename(tmp_path / "secret.tif")


def small(folder: Path, layout: str) -> Path:
    make_plate(folder, wells=["A01", "B02"], sites=(1, 2), channels=["DAPI"], shape=(8, 8), layout=layout)
    return folder


def sidecars(plate: Path) -> list[Path]:
    images = (".tif", ".tiff")
    return [p for p in sorted(plate.rglob("*")) if p.is_file() and not p.name.lower().endswith(images)]


CONTENTS = {
    "empty": lambda path: path.write_bytes(b""),
    "entities": lambda path: path.write_text(BOMB),
    "noise": lambda path: path.write_bytes(bytes(range(256)) * 40),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "4 GB": lambda path: os.truncate(path, 1 << 32),
    "nested": lambda path: path.write_text(
        "[" * 100_000 if "json" in path.name or "z" in path.suffix else "<a>" * 100_000
    ),
}


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_replaced_metadata(tmp_path: Path, secret: Path, layout: str, content: str) -> None:
    plate = small(tmp_path / "P", layout)
    files = [path for path in sidecars(plate) if "/c/" not in path.as_posix()]
    if not files:
        pytest.skip("this layout has no metadata files")
    for path in files:
        CONTENTS[content](path)
    result = probe(plate, secret)
    assert "error" in result or result["planes"]


@pytest.mark.parametrize(
    "lie", ["../secret.tif", "{secret}", "file://{secret}", "http://127.0.0.1:9/secret.tif", "..\\secret.tif"]
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_paths_that_leave_the_plate(tmp_path: Path, secret: Path, layout: str, lie: str) -> None:
    plate = small(tmp_path / "P", layout)
    names = {path.name for path in plate.rglob("*.[tT][iI][fF]*")}
    changed = 0
    for path in sidecars(plate):
        text = path.read_bytes()
        for name in names:
            text = text.replace(name.encode(), lie.format(secret=secret).encode())
        changed += text != path.read_bytes()
        path.write_bytes(text)
    if not changed:
        pytest.skip("this layout's metadata name no files")
    probe(plate, secret)


def test_loops_of_links_and_links_out_of_the_plate(tmp_path: Path, secret: Path) -> None:
    plate = small(tmp_path / "P", "imagexpress")
    (plate / "loop").symlink_to(plate)
    (plate / "TimePoint_1" / "up").symlink_to(tmp_path)
    (plate / "self.TIF").symlink_to(plate / "self.TIF")
    result = probe(plate, secret)
    assert len(result["planes"]) == 4
    assert result["problems"] >= 2


@pytest.mark.parametrize(
    "name", ["P_A01_s1_w1\n.TIF", "P\n_C03_s1_w1.TIF", "x\r_y.tif", "a\x1b[31m_D04_s1_w1.TIF"]
)
def test_names_with_control_characters(tmp_path: Path, secret: Path, name: str) -> None:
    plate = small(tmp_path / "P", "imagexpress")
    (plate / "TimePoint_1" / name).write_bytes(next(plate.rglob("*.TIF")).read_bytes())
    result = probe(plate, secret)
    assert len(result["planes"]) in (4, 5)


def test_a_sparse_giant_that_claims_to_be_an_image(tmp_path: Path, secret: Path) -> None:
    plate = small(tmp_path / "P", "imagexpress")
    with (plate / "TimePoint_1" / "P_C03_s1_w1.TIF").open("wb") as file:
        file.truncate(1 << 40)
    inventory = open_plate(plate)
    assert [problem.what for problem in inventory.problems if problem.kind == "unreadable"] == [
        "TimePoint_1/P_C03_s1_w1.TIF"
    ]
