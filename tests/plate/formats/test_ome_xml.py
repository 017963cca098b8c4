"""What OME-XML says, and what a single file's description says of it."""

from __future__ import annotations

import math

import pytest

from hcs_steps.errors import PlateError
from hcs_steps.plate.formats.descriptions import read_description
from hcs_steps.plate.formats.ome_tiff.description import parse_ome
from hcs_steps.plate.formats.ome_tiff.xml import is_ome, parse_document, read_document

NAMESPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def ome(body: str, attributes: str = "", prefix: str = "") -> str:
    name = f"{prefix}:OME" if prefix else "OME"
    declared = f'xmlns{":" if prefix else ""}{prefix}="{NAMESPACE}"'
    return f'<?xml version="1.0" encoding="UTF-8"?><!-- Warning: --><{name} {declared} {attributes}>{body}</{name}>'


def image(inside: str = "", pixels: str = "", before: str = "") -> str:
    return (
        f'<Image ID="Image:0" Name="B02">{before}<Pixels ID="Pixels:0" DimensionOrder="XYZTC" Type="uint16" '
        f'SizeX="5" SizeY="4" SizeZ="2" SizeC="2" SizeT="3" {pixels}>{inside}</Pixels></Image>'
    )


def parsed(body: str):
    return parse_document(ome(body), source="test").images[0]


def test_sizes_and_steps():
    found = parsed(
        image(pixels='PhysicalSizeX="650" PhysicalSizeXUnit="nm" PhysicalSizeZ="2" TimeIncrement="0.5" '
              'TimeIncrementUnit="min"')
    )  # fmt: skip
    assert (found.height, found.width, found.dtype, found.sizes) == (4, 5, "uint16", (2, 2, 3))
    assert found.pixel_size_um == pytest.approx(0.65)
    assert (found.z_step_um, found.interval_s) == (2, 30)


def test_pixel_sizes_that_are_no_lengths():
    assert math.isnan(parsed(image(pixels='PhysicalSizeX="1" PhysicalSizeXUnit="pixel"')).pixel_size_um)
    assert math.isnan(parsed(image(pixels='PhysicalSizeX="0"')).pixel_size_um)
    assert math.isnan(parsed(image()).pixel_size_um)


def test_positions_need_a_unit_of_length():
    plane = (
        '<Plane TheC="1" TheZ="0" TheT="2" PositionX="7" {} PositionY="8" {} DeltaT="1500" DeltaTUnit="ms"/>'
    )
    bare = parsed(image(plane.format("", "")))
    assert bare.unit_lost
    assert math.isnan(bare.planes[1, 0, 2].x_um)
    assert bare.planes[1, 0, 2].time_s == 1.5
    known = parsed(image(plane.format('PositionXUnit="mm"', 'PositionYUnit="µm"')))
    assert not known.unit_lost
    assert known.planes[1, 0, 2][:2] == (7000, 8)


def test_planes_in_the_order_of_the_axes():
    found = parsed(image())
    # z fastest, then time, then channel.
    assert list(found.places())[:4] == [(0, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1)]
    assert [found.index(place) for place in found.places()] == list(range(12))


def test_blocks_that_count_from_one():
    blocks = "".join(f'<TiffData IFD="{c - 1}" FirstC="{c}"/>' for c in (1, 2))
    assert [block.first for block in parsed(image(blocks)).blocks] == [(0, 0, 0), (1, 0, 0)]


def test_namespaces_and_prefixes_do_not_matter():
    body = image().replace("<", "<o:").replace("<o:/", "</o:")
    document = parse_document(ome(body, prefix="o"), source="test")
    assert document.images[0].name == "B02"
    assert is_ome(ome(body, prefix="o"))


def test_wells_and_ranks():
    plate = (
        '<Plate ID="Plate:0" Name="my plate" Rows="16" Columns="24"><Well ID="W" Row="1" Column="2">'
        '<WellSample ID="a" Index="9"><ImageRef ID="Image:1"/></WellSample>'
        '<WellSample ID="b" Index="4" PositionX="3" PositionXUnit="µm"><ImageRef ID="Image:0"/></WellSample>'
        '<WellSample ID="c" Index="11"/></Well></Plate>'
    )
    document = parse_document(ome(plate + image()), source="test")
    assert (document.plate_name, document.rows, document.columns) == ("my plate", 16, 24)
    assert {key: sample[:3] for key, sample in document.samples.items()} == {
        "Image:0": (1, 2, 1),
        "Image:1": (1, 2, 2),
    }
    assert document.samples["Image:0"].x_um == 3


def test_a_stub_names_its_metadata_file():
    assert parse_document(
        ome('<BinaryOnly MetadataFile="x.companion.ome" UUID="u"/>'), source="t"
    ).metadata_file == ("x.companion.ome")


def test_what_is_no_ome_xml():
    assert not is_ome("")
    assert not is_ome("ImageJ=1.53\nimages=3")
    assert not is_ome("<MetaData><PlaneInfo/></MetaData>")
    assert not is_ome("OME is mentioned: <OME ")
    assert parse_ome("<OMERO/>") is None


def test_damaged_and_dangerous_texts_are_refused(tmp_path):
    with pytest.raises(PlateError, match="not well-formed"):
        parse_document(ome(image())[:-20], source="test")
    with pytest.raises(PlateError, match="DOCTYPE"):
        parse_document('<!DOCTYPE OME [<!ENTITY a "b">]>' + ome(image())[38:], source="test")
    cut = tmp_path / "x.companion.ome"
    cut.write_text(ome(image() + image("<TiffData"))[:-60], encoding="utf-8")
    document = read_document(cut, max_bytes=10_000)
    assert len(document.images) == 1
    assert "not well-formed" in document.damage


def test_the_description_of_a_file():
    text = ome(
        '<Instrument ID="I"><Objective ID="O" NominalMagnification="20" LensNA="0.75"/></Instrument>'
        + image(
            '<Channel ID="C:0" Name="DAPI"/><Channel ID="C:1" Name="GFP"/><TiffData/>'
            '<Plane TheC="0" TheZ="0" TheT="0" PositionX="7" PositionXUnit="µm" PositionY="8" PositionYUnit="µm"/>',
            'PhysicalSizeX="0.65"',
        )
    )
    facts = read_description(text, 0.0)
    assert (facts.pixel_size_um, facts.x_um, facts.y_um) == (0.65, 7, 8)
    assert facts.channel_name == ""  # it has two
    assert facts.details == {"objective": "20x NA 0.75"}


def test_the_description_of_one_file_of_several():
    blocks = "".join(
        f'<Channel ID="C:{c}" Name="{name}"/><TiffData IFD="0" FirstC="{c}"><UUID FileName="{c}.tif">u:{c}</UUID>'
        f'</TiffData><Plane TheC="{c}" TheZ="0" TheT="0" PositionX="{c}" PositionXUnit="µm"/>'
        for c, name in enumerate(("DAPI", "GFP"))
    )
    facts = parse_ome(ome(image(blocks), 'UUID="u:1"'))
    assert facts is not None
    assert (facts.channel_name, facts.x_um) == ("GFP", 1)


def test_the_description_of_several_images():
    two = image(pixels='PhysicalSizeX="0.65"') + image(pixels='PhysicalSizeX="0.65"')
    facts = parse_ome(ome(two))
    assert facts is not None
    assert facts.pixel_size_um == 0.65
    assert math.isnan(facts.x_um)
    assert math.isnan(parse_ome(ome(image() + image(pixels='PhysicalSizeX="1"') + two)).pixel_size_um)
