"""Publication primitives: whole files, deterministic bytes, leftovers of exactly one target."""

import errno
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hcs_steps.errors import StorageError
from hcs_steps.storage import atomic


def test_json_is_the_same_for_equal_content(tmp_path):
    path = tmp_path / "deep" / "record.json"
    atomic.write_json(path, {"b": np.float32(1.5), "a": (1, Path("x/y")), 3: np.arange(2), "n": float("nan")})
    first = path.read_bytes()
    atomic.write_json(path, {"n": np.nan, 3: [0, 1], "a": [1, "x/y"], "b": 1.5})
    assert path.read_bytes() == first
    assert first.endswith(b"}\n")
    assert json.loads(first) == {"3": [0, 1], "a": [1, "x/y"], "b": 1.5, "n": None}


def test_text_and_bytes_are_written_as_given(tmp_path):
    atomic.write_text(tmp_path / "a", "é\r\n")
    assert (tmp_path / "a").read_bytes() == "é\r\n".encode()
    atomic.write_bytes(tmp_path / "a", b"")
    assert (tmp_path / "a").read_bytes() == b""
    assert os.listdir(tmp_path) == ["a"]


def test_a_text_that_is_there_already_is_left_alone(tmp_path):
    path = tmp_path / "a"
    for text, new in (("é\r\n\udcff", True), ("é\r\n\udcff", False), ("é\n", True)):
        before = path.stat().st_ino if path.exists() else None
        atomic.update_text(path, text)
        assert (path.stat().st_ino != before) == new
        assert path.read_bytes() == text.encode(errors="backslashreplace")


def test_a_file_whose_writing_fails_is_not_published(tmp_path):
    target = tmp_path / "table"
    target.write_text("old")

    def fail():
        with atomic.publish_file(target) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["table"]


def test_only_leftovers_of_the_very_target_are_swept(tmp_path):
    mine = [".a.tmp-1-ab12cd34", ".a.old-77-00ff00ff"]
    others = [".b.tmp-1-ab12cd34", ".a.tmp", "a.tmp-1-ab", ".a.b.tmp-1-ab12cd34", ".aa.old-1-ab12cd34"]
    for name in others:
        (tmp_path / name).write_text("")
    (tmp_path / mine[0]).mkdir()
    (tmp_path / mine[0] / "file").write_text("")
    (tmp_path / mine[1]).write_text("")
    with atomic.publish_dir(tmp_path / "a"):
        pass
    assert sorted(os.listdir(tmp_path)) == sorted(["a", *others])


def test_of_shared_files_only_what_nobody_can_be_writing_is_swept(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", "from hcs_steps.storage import atomic; print(atomic.own_mark())"],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    elsewhere, long_ago = tmp_path / ".a.tmp-1-0badcafe00", tmp_path / ".a.tmp-1-0badcafe01"
    mine, dead = tmp_path / f".a.tmp-{atomic.own_mark()}", tmp_path / f".a.old-{ended.stdout.strip()}"
    for path in (elsewhere, long_ago, mine, dead):
        path.write_text("")
    os.utime(long_ago, (time.time() - 7200,) * 2)
    atomic.write_text(tmp_path / "a", "new")
    assert sorted(tmp_path.glob(".*")) == sorted([elsewhere, mine])


@pytest.mark.parametrize("publish", [atomic.publish_dir, atomic.publish_file])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_system_errors_say_what_where_and_how_to_fix_it(tmp_path, publish, number):
    target = tmp_path / "result"
    with pytest.raises(StorageError) as error, publish(target):
        raise OSError(number, os.strerror(number))
    assert str(target) in error.value.message
    assert os.strerror(number) in error.value.message
    assert {errno.ENOSPC: "Free space", errno.EACCES: "writable", errno.EIO: "disk"}[
        number
    ] in error.value.hint
    assert os.listdir(tmp_path) == []


def test_files_and_folders_do_not_replace_each_other(tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(StorageError, match="file"), atomic.publish_dir(tmp_path / "file"):
        pass
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="folder"):
        atomic.write_text(tmp_path / "folder", "x")
    with pytest.raises(StorageError) as error:
        atomic.write_text(tmp_path / "file" / "below", "x")
    assert str(tmp_path / "file") in error.value.hint
    assert (tmp_path / "file").read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_checksums_tell_content_and_names_apart(tmp_path):
    for name, content in {"one/a/x": "1", "two/a/x": "1", "three/a/y": "1", "four/a/x": "2"}.items():
        atomic.write_text(tmp_path / name, content)
    sums = {name: atomic.checksum_tree(tmp_path / name) for name in ("one", "two", "three", "four")}
    assert sums["one"] == sums["two"]
    assert len(set(sums.values())) == 3
    assert (
        atomic.checksum_file(tmp_path / "one/a/x")
        == "blake2b:" + hashlib.blake2b(b"1", digest_size=16).hexdigest()
    )
    assert atomic.measure(tmp_path / "one") == (1, sums["one"])
    with pytest.raises(StorageError, match="Cannot read"):
        atomic.checksum_file(tmp_path / "none")


def test_removing_is_idempotent(tmp_path):
    with atomic.publish_dir(tmp_path / "a") as folder:
        (folder / "x").write_text("")
    for _ in range(2):
        atomic.remove_path(tmp_path / "a")
    assert os.listdir(tmp_path) == []


def test_a_file_name_that_is_not_utf_8_can_be_written_and_read_back(tmp_path):
    name = os.fsdecode(b"plate\xff.tif")
    atomic.write_json(tmp_path / "failure.json", {"file": name})
    assert json.loads((tmp_path / "failure.json").read_bytes()) == {"file": name}
    atomic.write_text(tmp_path / "failures.csv", name)
    assert (tmp_path / "failures.csv").read_text() == "plate\\udcff.tif"
