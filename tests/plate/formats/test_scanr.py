"""ScanR plates: wells by name or by number, indices from 0, a descriptor of unknown encoding, a log, OME-XML."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tifffile

from hcs_steps.errors import PlateError
from hcs_steps.plate import open_plate
from hcs_steps.plate.formats.scanr.names import parse_scanr_name
from hcs_steps.plate.formats.scanr.reader import PATTERN_HINT
from hcs_steps.plate.synthetic import make_plate

DESCRIPTOR = "experiment_descriptor.xml"
LOG = "AcquisitionLog.dat"


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


def image(path, dtype="uint16"):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.ones((4, 4), dtype))


def without_well_names(plate):
    for path in (plate / "data").iterdir():
        path.rename(path.with_name(path.name[path.name.index("--") :]))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("A1--W00001--P00002--Z00003--T00004--DAPI.tif", ("A01", 1, 2, 3, 4, "DAPI", "")),
        ("B2--W00014--P00001--Z00000--T00000--405 nm #1.tif", ("B02", 14, 1, 0, 0, "405 nm #1", "")),
        ("W00013--P00001--Z00000--T00000--far red.tif", ("", 13, 1, 0, 0, "far red", "")),
        ("--W00100--P00001--Z00000--T00000--nucleus-dapi.tif", ("", 100, 1, 0, 0, "nucleus-dapi", "")),
        ("run 7--B1--W00013--P00001--Z00000--T00000--GFP.ome.TIF", ("B01", 13, 1, 0, 0, "GFP", "run 7")),
        ("Z99--W00013--P00001--Z00000--T00000--a--b.tif", ("", 13, 1, 0, 0, "a--b", "Z99")),
        ("A1--W1--P1--Z0--T0--DAPI.tif", None),
    ],
)
def test_names(name, expected):
    assert parse_scanr_name(name) == expected


def test_indices_from_zero_become_numbers_from_one(scanr):
    inventory = open_plate(scanr())
    assert inventory.format == "scanr"
    assert inventory.wells == ("A02", "C11")
    assert inventory.values("z_index") == inventory.values("timepoint") == (1, 2)
    assert inventory.channels == {1: "DAPI", 2: "GFP"}
    assert (inventory.pixel_size_um, inventory.pixel_size_source) == (0.65, "metadata")
    assert (inventory.rows, inventory.columns) == (8, 12)
    assert inventory.metadata["plate_name"] == "P"
    assert inventory.problems == inventory.disagreements == ()


def test_numbered_wells_are_those_of_the_descriptors_table(scanr):
    plate = scanr()
    without_well_names(plate)
    descriptor = plate / DESCRIPTOR
    text = descriptor.read_text()
    assert open_plate(plate).wells == ("A02", "C11")
    descriptor.write_text(text.replace("Columns", "x"))
    assert open_plate(plate).wells == ("A02", "C11")
    # Without labels, the plate's columns count, and only those of the plate's own format.
    no_labels = text.replace("<Val>A2</Val>", "<Val></Val>").replace("<Val>C11</Val>", "<Val></Val>")
    descriptor.write_text(no_labels)
    assert open_plate(plate).wells == ("A02", "C11")
    descriptor.write_text(no_labels.replace("format typedef", "fields"))
    with pytest.raises(PlateError, match="how many columns"):
        open_plate(plate)


def test_numbered_wells_are_not_guessed(scanr):
    plate = scanr()
    without_well_names(plate)
    (plate / DESCRIPTOR).write_bytes(b"<LVData><a>")
    with pytest.raises(PlateError, match=r"how many columns.*not well-formed"):
        open_plate(plate)
    (plate / DESCRIPTOR).unlink()
    with pytest.raises(PlateError, match="how many columns") as caught:
        open_plate(plate)
    assert caught.value.hint == PATTERN_HINT
    regex = PATTERN_HINT.partition("regex: '")[2].partition("'")[0]
    inventory = open_plate(plate, pattern={"regex": regex, "constants": {"plate_columns": 12, "first_z": 0}})
    assert inventory.wells == ("A02", "C11")
    assert inventory.values("z_index") == (1, 2)


def test_a_number_that_the_plate_does_not_have(scanr, problems):
    plate = scanr(wells=["A02"])
    without_well_names(plate)
    name = "W00097--P00001--Z00000--T00000--DAPI.tif"
    image(plate / "data" / name)
    assert problems(open_plate(plate), "unparsed") == [f"data/{name}"]


def test_a_well_and_a_number_that_contradict(scanr):
    plate = scanr(wells=["A02"])
    for path in (plate / "data").iterdir():
        path.rename(path.with_name(path.name.replace("A2--", "B5--")))
    inventory = open_plate(plate)
    assert inventory.wells == ("B05",)
    assert any("different wells" in sentence for sentence in inventory.disagreements)


def test_a_descriptor_in_latin_1_that_does_not_say_so(scanr):
    plate = scanr()
    descriptor = plate / DESCRIPTOR
    text = descriptor.read_text().replace("<Val>P</Val>", "<Val>Plätte</Val>")
    descriptor.write_bytes(b'<?xml version="1.0" standalone="no"?>' + text.encode("latin-1"))
    assert open_plate(plate).metadata["plate_name"] == "Plätte"


def test_a_damaged_descriptor_is_reported(scanr):
    plate = scanr()
    (plate / DESCRIPTOR).write_bytes(b"<LVData><a>")
    inventory = open_plate(plate)
    assert [(p.kind, p.what) for p in inventory.problems] == [("unreadable", DESCRIPTOR)]
    assert inventory.channels == {1: "DAPI", 2: "GFP"}
    assert inventory.pixel_size_source == "unknown"


def test_two_experiments_are_refused(scanr):
    plate = scanr()
    (plate / "again").mkdir()
    (plate / "again" / DESCRIPTOR).write_text("<LVData/>")
    with pytest.raises(PlateError, match="2 experiments"):
        open_plate(plate)


def test_plates_that_only_the_beginning_of_names_tells_apart(scanr):
    plate = scanr()
    image(plate / "data" / "again--A4--W00004--P00001--Z00000--T00000--DAPI.tif")
    inventory = open_plate(plate)
    assert inventory.wells == ("A02", "A04", "C11")
    assert "2 different texts" in inventory.disagreements[0]
    image(plate / "data" / "again--A2--W00002--P00001--Z00000--T00000--DAPI.tif")
    with pytest.raises(PlateError, match="2 plates"):
        open_plate(plate)


def test_channels_follow_the_descriptor_and_others_come_after(scanr):
    plate = scanr(channels=["zeta", "alpha"], z=1, timepoints=1)
    image(plate / "data" / "A2--W00002--P00001--Z00000--T00000--beta.tif")
    assert open_plate(plate).channels == {1: "zeta", 2: "alpha", 3: "beta"}


def test_the_logs_y_runs_upwards(scanr):
    plate = scanr(sites=(2, 1), wells=["A02"], z=1, timepoints=1)
    (plate / LOG).write_text(
        "header\n"
        "IMAGEPOS\tW=2\tP=1\tT=0\tZ=0\tIMAGEX=-100\tIMAGEY=50\tIMAGEZ=7.5\tTIME=3\n"
        "LOG\tIMAGEPOS\n"
        "IMAGEPOS\tW=2\tP=2\tT=0\tZ=0\tIMAGEX=0\tIMAGEY=0\tIMAGEZ=1\tTIME=1\n"
        "IMAGEPOS\tW=x\tP=2\tT=0\tZ=0\tIMAGEX=9\tIMAGEY=9\n"
        "IMAGEPOS\tW=2\tP=2\tT=0\tZ=0\tIMAGEX=-100\tIMAGEY=40\tIMAGEZ=\tTIME=5\n"
    )
    first, _, second, _ = open_plate(plate).planes
    assert (first.x_um, first.y_um, first.z_um, first.time_s, first.grid_row) == (-100, -50, 7.5, 0, 0)
    assert (second.x_um, second.y_um, second.time_s, second.grid_row) == (-100, -40, 2, 1)
    assert math.isnan(second.z_um)


def test_a_plane_that_the_log_lacks_is_where_its_site_is(scanr):
    plate = scanr(wells=["A02"], sites=(1, 1))
    log = plate / LOG
    log.write_text("".join(line for line in log.read_text().splitlines(True) if "T=0\tZ=0" in line))
    planes = open_plate(plate).planes
    assert len({(plane.x_um, plane.y_um) for plane in planes}) == 1
    assert [plane.z_um for plane in planes if plane.channel == 1][:2] == [
        3.0,
        pytest.approx(math.nan, nan_ok=True),
    ]


def test_logs_that_cannot_be_told_apart_are_not_used(scanr, problems):
    plate = scanr()
    for folder in ("one", "two"):
        (plate / folder).mkdir()
        (plate / folder / LOG).write_text((plate / LOG).read_text())
    assert open_plate(plate).problems == ()
    (plate / LOG).unlink()
    inventory = open_plate(plate)
    assert problems(inventory, "unreadable") == [f"one/{LOG}", f"two/{LOG}"]
    assert math.isnan(inventory.planes[0].x_um)


OME_IMAGE = (
    '<Image ID="Image:W{number}P{site}"><Pixels DimensionOrder="XYZCT" Type="uint16" SizeX="4" SizeY="4" SizeZ="1" '
    'SizeC="2" SizeT="1" PhysicalSizeX="0.325"><Channel ID="c0" Name="zeta"/><Channel ID="c1" Name="alpha"/>'
    '<TiffData FirstC="0"><UUID FileName="{well}--W{number:05d}--P{site:05d}--Z00000--T00000--zeta.tif"/></TiffData>'
    '<TiffData FirstC="1"><UUID FileName="{well}--W{number:05d}--P{site:05d}--Z00000--T00000--alpha.tif"/></TiffData>'
    '<Plane TheZ="0" TheC="0" TheT="0" PositionX="{x}" PositionXUnit="um" PositionY="{y}" PositionYUnit="um" '
    'PositionZ="1500" PositionZUnit="um"/></Pixels></Image>'
)


def test_ome_xml_among_the_images(tmp_path, problems):
    """Newer software writes it in the place of the descriptor and the log."""
    names = [
        f"B2--W00014--P{site:05d}--Z00000--T00000--{name}.tif"
        for site in (1, 2)
        for name in ("zeta", "alpha")
    ]
    for name in names[:3]:
        image(tmp_path / "data" / name)
    images = [OME_IMAGE.format(well="B2", number=14, site=site, x=100 * site, y=20 * site) for site in (1, 2)]
    metadata = tmp_path / "data" / "metadata.ome.xml"
    text = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">' + "".join(images) + "</OME>"
    metadata.write_text(text)
    inventory = open_plate(tmp_path)
    assert inventory.format == "scanr"
    assert inventory.channels == {1: "zeta", 2: "alpha"}
    assert inventory.pixel_size_um == 0.325
    assert inventory.missing == (("B02", 2, 2, 1, 1),)
    assert [(p.x_um, p.y_um) for p in inventory.planes if p.channel == 1] == [(100, -20), (200, -40)]
    assert inventory.planes[0].z_um == 1500
    metadata.write_text(text[:-200])
    inventory = open_plate(tmp_path)
    assert problems(inventory, "unreadable") == ["data/metadata.ome.xml"]
    assert inventory.channels == {1: "zeta", 2: "alpha"}


def test_a_channel_of_which_no_file_is_left(tmp_path):
    image(tmp_path / "B2--W00014--P00001--Z00000--T00000--zeta.tif")
    text = OME_IMAGE.format(well="B2", number=14, site=1, x=0, y=0)
    (tmp_path / "metadata.ome.xml").write_text(f"<OME>{text}</OME>")
    assert open_plate(tmp_path).missing == (("B02", 1, 2, 1, 1),)


def test_signed_pixels_are_told(tmp_path):
    image(tmp_path / "B2--W00014--P00001--Z00000--T00000--zeta.tif", dtype="int16")
    assert any("32768 below" in sentence for sentence in open_plate(tmp_path).disagreements)


def test_every_other_file_is_accounted_for(scanr, problems):
    plate = scanr()
    image(plate / "data" / "overview.tif")
    image(plate / "data" / "._A2--W00002--P00001--Z00000--T00000--DAPI.tif")
    inventory = open_plate(plate)
    assert problems(inventory, "unparsed") == ["data/overview.tif"]
    assert problems(inventory, "excluded") == ["data/._A2--W00002--P00001--Z00000--T00000--DAPI.tif"]
