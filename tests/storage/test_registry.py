"""Backends by name, in this process and in another; and what importing the package costs."""

import json
import os
import subprocess
import sys

import pytest

from hcs_steps.errors import ConfigError
from hcs_steps.storage import MemoryStore, OmeZarrStore, StorageRegistry, TiffStore

BACKEND = """
from hcs_steps.storage import MemoryStore

class Archive:
    class Store(MemoryStore):
        pass

def not_a_store(spec):
    return 7
"""


@pytest.fixture
def lab(tmp_path, monkeypatch):
    (tmp_path / "lab_storage_backend.py").write_text(BACKEND)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_built_in_backends_open(tmp_path, plate):
    registry = StorageRegistry()
    kinds = {"memory": MemoryStore, "disk": TiffStore, "zarr": OmeZarrStore}
    for name, kind in kinds.items():
        assert isinstance(registry.open(name, plate.spec_for(tmp_path, name)), kind)
    with pytest.raises(ConfigError, match=r"'zar'.*Did you mean 'zarr'"):
        registry.open("zar", plate.spec_for(tmp_path))


def test_a_registered_backend_opens_in_another_process(lab):
    import lab_storage_backend

    registry = StorageRegistry()
    registry.register("archive", lab_storage_backend.Archive.Store)
    references = registry.references()
    assert references["archive"] == "lab_storage_backend:Archive.Store"
    script = (
        "import json, sys, pathlib; from hcs_steps.storage import StorageRegistry, StoreSpec;"
        "registry = StorageRegistry.from_references(json.loads(sys.argv[1]));"
        "spec = StoreSpec(pathlib.Path('x'), 'P', 8, 12, {});"
        "store = registry.open('archive', spec);"
        "print(registry.references() == json.loads(sys.argv[1]), type(store).__qualname__)"
    )
    environment = os.environ | {"PYTHONPATH": f"{lab}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(references)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["True", "Archive.Store"]


def test_what_another_process_could_not_import_is_refused():
    class Local(MemoryStore):
        pass

    registry = StorageRegistry()
    for factory in (
        Local,
        lambda spec: MemoryStore(spec),
        MemoryStore.declare.__get__(0),
        "no reference",
        "a:b:c",
        "os:",
    ):
        with pytest.raises(ConfigError) as error:
            registry.register("mine", factory)
        assert "top level of an importable module" in error.value.hint


def test_references_that_do_not_work_say_so(lab, tmp_path, plate):
    registry = StorageRegistry()
    for reference, problem in {
        "no_such_module_anywhere:Store": "cannot import",
        "lab_storage_backend:Nothing": "cannot import",
        "lab_storage_backend:__name__": "not callable",
        "lab_storage_backend:not_a_store": "returned a int",
    }.items():
        registry.register("mine", reference)
        with pytest.raises(ConfigError, match=problem):
            registry.open("mine", plate.spec_for(tmp_path))


def test_importing_the_package_imports_no_heavy_library():
    script = (
        "import sys, hcs_steps.storage;"
        "print(sorted({'zarr', 'tifffile', 'pyarrow', 'pandas', 'imagecodecs'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_declaring_an_ome_zarr_plate_does_not_import_zarr(tmp_path):
    script = (
        "import sys, pathlib; from hcs_steps.storage import OmeZarrStore, StoreSpec;"
        "OmeZarrStore(StoreSpec(pathlib.Path(sys.argv[1]), 'P', 8, 12, {'A01': [1]})).declare();"
        "print('zarr' in sys.modules)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "x.ome.zarr")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "False"
