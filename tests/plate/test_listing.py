from __future__ import annotations

import os

import pytest

from hcs_steps.errors import PlateError
from hcs_steps.plate import list_files
from hcs_steps.plate.listing import FileListing


def write(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def test_files_are_sorted_with_size_and_time(tmp_path):
    write(tmp_path, "b/2.tif", "a.TIF", "b/10.txt")
    listing = list_files(tmp_path)
    assert [entry.path for entry in listing.files] == ["a.TIF", "b/10.txt", "b/2.tif"]
    assert [entry.path for entry in listing.images] == ["a.TIF", "b/2.tif"]
    status = (tmp_path / "a.TIF").stat()
    assert listing.files[0][1:] == (status.st_size, status.st_mtime_ns)


def test_digest_follows_path_size_and_time_but_not_place(tmp_path):
    write(tmp_path, "one/a.tif", "one/b.tif")
    before = list_files(tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "two")
    moved = list_files(tmp_path / "two")
    assert moved.digest == before.digest
    os.utime(tmp_path / "two" / "a.tif", ns=(1, 1))
    assert list_files(tmp_path / "two").digest != before.digest


def test_one_stat_per_file(tmp_path, monkeypatch):
    write(tmp_path, *(f"{number}.tif" for number in range(20)))
    calls = []
    real = os.stat
    monkeypatch.setattr(os, "stat", lambda *args, **kwargs: calls.append(args) or real(*args, **kwargs))
    list_files(tmp_path)
    # Existence and kind of the plate folder itself; files are stat'ed by scandir's entries.
    assert len(calls) <= 2


def test_linked_folders_are_not_followed(tmp_path):
    write(tmp_path, "a.tif")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    listing = list_files(tmp_path)
    assert [entry.path for entry in listing.files] == ["a.tif"]
    assert listing.skipped[0][0] == "loop"


def test_linked_files_count_and_dangling_ones_are_empty(tmp_path):
    write(tmp_path, "real/a.tif")
    plate = tmp_path / "plate"
    plate.mkdir()
    (plate / "a.tif").symlink_to(tmp_path / "real" / "a.tif")
    (plate / "b.tif").symlink_to(tmp_path / "nowhere.tif")
    (plate / "c.tif").symlink_to(plate / "c.tif")
    sizes = {entry.path: entry.size for entry in list_files(plate).files}
    assert sizes == {"a.tif": len("real/a.tif"), "b.tif": 0, "c.tif": 0}


def test_names_that_are_not_unicode_are_skipped(tmp_path):
    write(tmp_path, "a.tif")
    try:
        with open(os.fsencode(tmp_path) + b"/\xff.tif", "wb"):
            pass
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    listing = list_files(tmp_path)
    assert len(listing.files) == 1
    assert "Unicode" in listing.skipped[0][1]


def test_plates_that_cannot_be_listed(tmp_path):
    write(tmp_path, "file.tif")
    (tmp_path / "empty").mkdir()
    for path, part in [("nowhere", "does not exist"), ("file.tif", "is a file"), ("empty", "holds no files")]:
        with pytest.raises(PlateError, match=part) as caught:
            list_files(tmp_path / path)
        assert caught.value.hint
        assert "\n" not in str(caught.value)


def test_an_unreadable_folder_stops_the_listing(tmp_path, monkeypatch):
    write(tmp_path, "a.tif", "sub/b.tif")
    real = os.scandir

    def refuse(path):
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PlateError, match="sub cannot be read: permission denied"):
        list_files(tmp_path)


def test_hidden_twins_of_other_systems_are_no_images(tmp_path):
    write(tmp_path, "P_A01_s1_w1.tif", "._P_A01_s1_w1.tif")
    listing = list_files(tmp_path)
    assert isinstance(listing, FileListing)
    assert [entry.path for entry in listing.images] == ["P_A01_s1_w1.tif"]
