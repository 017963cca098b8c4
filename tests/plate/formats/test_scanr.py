"""ScanR plates: wells by name or by number, indices from 0, a descriptor of unknown encoding."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from hcs_steps.errors import PlateError
from hcs_steps.plate import open_plate
from hcs_steps.plate.formats.scanr import parse_name
from hcs_steps.plate.synthetic import make_plate


@pytest.fixture
def scanr(tmp_path):
    def make(**options):
        settings = {
            "wells": ["A02", "C11"],
            "sites": (1, 2),
            "shape": (8, 8),
            "z": 2,
            "timepoints": 2,
        } | options
        make_plate(tmp_path / "P", layout="scanr", **settings)
        return tmp_path / "P"

    return make


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("A1--W00001--P00002--Z00003--T00004--DAPI.tif", ("A01", 1, 2, 3, 4, "DAPI")),
        ("W00013--P00001--Z00000--T00000--far red.tif", ("", 13, 1, 0, 0, "far red")),
        ("run 7--B1--W00013--P00001--Z00000--T00000--GFP.TIF", ("B01", 13, 1, 0, 0, "GFP")),
        ("A1--W1--P1--Z0--T0--DAPI.tif", None),
    ],
)
def test_names(name, expected):
    assert parse_name(name) == expected


def test_indices_from_zero_become_numbers_from_one(scanr):
    inventory = open_plate(scanr())
    assert inventory.format == "scanr"
    assert inventory.wells == ("A02", "C11")
    assert inventory.values("z_index") == inventory.values("timepoint") == (1, 2)
    assert inventory.channels == {1: "DAPI", 2: "GFP"}
    assert (inventory.pixel_size_um, inventory.pixel_size_source) == (0.65, "metadata")
    assert inventory.problems == inventory.disagreements == ()


def test_numbered_wells_need_the_columns_of_the_plate(scanr):
    plate = scanr()
    for path in (plate / "data").iterdir():
        path.rename(path.with_name(path.name.partition("--")[2]))
    assert open_plate(plate).wells == ("A02", "C11")
    (plate / "experiment_descriptor.xml").unlink()
    with pytest.raises(PlateError, match="how many columns") as caught:
        open_plate(plate)
    assert "plate_columns" in caught.value.hint


def test_a_well_and_a_number_that_contradict(scanr):
    plate = scanr(wells=["A02"])
    for path in (plate / "data").iterdir():
        path.rename(path.with_name(path.name.replace("A2--", "B5--")))
    inventory = open_plate(plate)
    assert inventory.wells == ("B05",)
    assert any("different wells" in sentence for sentence in inventory.disagreements)


def test_a_descriptor_in_latin_1_that_does_not_say_so(scanr):
    plate = scanr()
    descriptor = plate / "experiment_descriptor.xml"
    text = descriptor.read_text().replace("<Val>P</Val>", "<Val>Plätte</Val>")
    descriptor.write_bytes(text.encode("latin-1"))
    assert open_plate(plate).metadata["plate_name"] == "Plätte"


def test_a_damaged_descriptor_is_reported(scanr):
    plate = scanr()
    (plate / "experiment_descriptor.xml").write_bytes(b"<LVData><a>")
    inventory = open_plate(plate)
    assert [(p.kind, p.what) for p in inventory.problems] == [("unreadable", "experiment_descriptor.xml")]
    assert inventory.channels == {1: "DAPI", 2: "GFP"}


def test_two_experiments_are_refused(scanr):
    plate = scanr()
    (plate / "again").mkdir()
    (plate / "again" / "experiment_descriptor.xml").write_text("<LVData/>")
    with pytest.raises(PlateError, match="2 experiments"):
        open_plate(plate)


def test_channels_follow_the_descriptor_and_others_come_after(scanr):
    plate = scanr(channels=["zeta", "alpha"], z=1, timepoints=1)
    extra = "A2--W00002--P00001--Z00000--T00000--beta.tif"
    tifffile.imwrite(plate / "data" / extra, np.ones((8, 8), "uint16"))
    assert open_plate(plate).channels == {1: "zeta", 2: "alpha", 3: "beta"}
