"""A kill or an error at any instant leaves the old images, none, or the new ones; and no litter for long."""

import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from hcs_steps.errors import StorageError
from hcs_steps.storage import PlaneKey, atomic

KEY = PlaneKey(1, 1, 1, 1)


def litter(root):
    return sorted(path.name for path in root.rglob(".*"))


class Killed(BaseException):
    """Stands for a signal: not an error that any code handles."""


@pytest.mark.parametrize("backend", ["disk", "zarr"])
@pytest.mark.parametrize("moment", ["_fsync_tree", "_swap_in", "_exchange"])
@pytest.mark.parametrize("cleanup_runs", [True, False])
def test_interrupted_publication_keeps_the_old_images(
    backend, moment, cleanup_runs, open_store, plate, tmp_path, monkeypatch
):
    store = open_store(backend)
    old = plate.planes((1, 1, 1, 1))
    new = {KEY: old[KEY] + 1}
    store.publish("A01", old, {}, plate.META)
    with monkeypatch.context() as patch:

        def die(*args):
            raise Killed

        patch.setattr(atomic, moment, die)
        if not cleanup_runs:  # a killed process does not clean up after itself
            patch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)
        with pytest.raises(Killed):
            store.publish("A01", new, {}, plate.META)
    assert bool(litter(tmp_path)) is not cleanup_runs
    np.testing.assert_array_equal(store.read("A01", KEY), old[KEY])
    assert list(store.keys("A01")) == [KEY]
    store.publish("A01", new, {}, plate.META)
    np.testing.assert_array_equal(store.read("A01", KEY), new[KEY])
    assert litter(tmp_path) == []


@pytest.mark.parametrize("backend", ["disk", "zarr"])
def test_without_an_exchange_call_the_old_folder_is_moved_aside(
    backend, open_store, plate, tmp_path, monkeypatch
):
    monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)
    store = open_store(backend)
    old = plate.planes((1, 1, 1, 1))
    store.publish("A01", old, {}, plate.META)
    rename = os.rename
    calls = []

    def fail_second(*args):
        calls.append(args)
        if len(calls) == 2:
            raise Killed
        rename(*args)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", fail_second)
        patch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)
        with pytest.raises(Killed):
            store.publish("A01", old, {}, plate.META)
    assert list(store.keys("A01")) == []
    with pytest.raises(StorageError, match="was not published"):
        store.read("A01", KEY)
    store.publish("A01", old, {}, plate.META)
    np.testing.assert_array_equal(store.read("A01", KEY), old[KEY])
    assert litter(tmp_path) == []


def test_a_failed_swap_puts_the_old_folder_back(tmp_path, monkeypatch):
    target = tmp_path / "group"
    with atomic.publish_dir(target) as folder:
        (folder / "a").write_text("old")
    monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)
    rename = os.rename
    calls = []

    def fail_second(*args):
        calls.append(args)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        rename(*args)

    monkeypatch.setattr(os, "rename", fail_second)
    with (
        pytest.raises(StorageError, match=r"Cannot write .*group: Input/output error"),
        atomic.publish_dir(target) as folder,
    ):
        (folder / "a").write_text("new")
    assert (target / "a").read_text() == "old"
    assert litter(tmp_path) == []


@pytest.mark.parametrize("backend", ["disk", "zarr"])
def test_a_process_killed_while_publishing_leaves_whole_images(backend, plate, tmp_path):
    script = """
        import sys, numpy as np, pathlib
        from hcs_steps.storage import ImageMeta, PlaneKey, StorageRegistry, StoreSpec
        backend, folder = sys.argv[1:]
        spec = StoreSpec(pathlib.Path(folder), "P", 8, 12, {"A01": (1,)})
        store = StorageRegistry().open(backend, spec)
        store.declare()
        value = 0
        while True:
            value += 1
            images = {PlaneKey(1, c, 1, 1): np.full((300, 300), value, "u2") for c in (1, 2, 3)}
            store.publish("A01", images, {}, ImageMeta({}))
            print(value, flush=True)
    """
    spec = plate.spec_for(tmp_path, backend, wells={"A01": (1,)})
    command = [sys.executable, "-c", textwrap.dedent(script), backend, str(spec.path)]
    for delay in (0, 3):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for _ in range(1 + delay):
            process.stdout.readline()
        process.kill()
        process.communicate()
        from hcs_steps.storage import StorageRegistry

        store = StorageRegistry().open(backend, spec)
        keys = list(store.keys("A01"))
        assert len(keys) in (0, 3)
        assert len({int(value) for key in keys for value in np.unique(store.read("A01", key))}) <= 1
    store.publish("A01", {KEY: np.zeros((9, 9), "u1")}, {}, plate.META)
    assert litter(tmp_path) == []


@pytest.mark.parametrize("backend", ["disk", "zarr"])
def test_lost_or_damaged_files_are_errors_not_black_images(backend, open_store, plate):
    store = open_store(backend)
    store.publish("A01", plate.planes((1, 1, 1, 1)), {}, plate.META)
    site = store.spec.path / ("A01/s1" if backend == "disk" else "A/01/1")
    pixels = max(
        (path for path in site.rglob("*") if path.is_file() and path.suffix != ".json"), key=os.path.getsize
    )
    pixels.write_bytes(pixels.read_bytes()[:20])
    with pytest.raises(StorageError, match=r"damaged|Cannot read"):
        store.read("A01", KEY)
    pixels.unlink()
    with pytest.raises(StorageError, match=r"gone|Cannot read"):
        store.read("A01", KEY)
    index = site / ("planes.json" if backend == "disk" else "zarr.json")
    index.write_text("{}")
    with pytest.raises(StorageError, match="is damaged"):
        store.read("A01", KEY)


@pytest.mark.parametrize("backend", ["disk", "zarr"])
def test_a_file_where_the_store_should_be_is_named(backend, open_store, tmp_path):
    (tmp_path / "images").write_text("not a folder")
    with pytest.raises(StorageError) as error:
        open_store(backend)
    assert str(tmp_path / "images") in str(error.value)
    assert "move" in error.value.hint
