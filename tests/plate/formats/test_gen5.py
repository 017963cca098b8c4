"""The XML that BioTek's Gen5 puts into its TIFFs."""

from __future__ import annotations

import math
from datetime import datetime

import numpy as np
import pytest
import tifffile

from hcs_steps.errors import PlateError
from hcs_steps.plate import open_plate
from hcs_steps.plate.formats.descriptions import read_description
from hcs_steps.plate.formats.gen5 import parse_gen5
from hcs_steps.plate.inventory import Plane
from hcs_steps.plate.synthetic.patterns import gen5_text

# As published descriptions of a Cytation 5 have it (Gen5 3.12), shortened; names are made up.
TEXT = """<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<BTIImageMetaData Version="34">
  <System><Gen5><Version>3.12.08</Version></Gen5><Reader><Model>Cytation5</Model></Reader></System>
  <ImageReference>
    <Plate>Plate 1</Plate><Date>02/01/25</Date><Time>20:00:10</Time><PlateType>96 well</PlateType>
    <Well>B2</Well><HorizontalIndex>1</HorizontalIndex><HorizontalTotal>2</HorizontalTotal>
    <HorizontalOffsetMicrons>-197</HorizontalOffsetMicrons>
    <VerticalIndex>1</VerticalIndex><VerticalTotal>3</VerticalTotal>
    <VerticalOffsetMicrons>291</VerticalOffsetMicrons>
  </ImageReference>
  <ImageAcquisition>
    <Binning>None</Binning><PixelWidth>1224</PixelWidth><PixelHeight>904</PixelHeight>
    <ImageWidthMicrons>394</ImageWidthMicrons><ImageHeightMicrons>291</ImageHeightMicrons>
    <DisplayedObjectiveSize>20x</DisplayedObjectiveSize><ObjectiveMfg>Olympus</ObjectiveMfg>
    <NumericalAperture>0.45</NumericalAperture>
    <Channel Color="GFP"><BrightField>FALSE</BrightField><EmissionWavelength>525</EmissionWavelength></Channel>
    <FocalHeightMicrons>3226.3</FocalHeightMicrons><ShutterSpeedMS>50</ShutterSpeedMS>
  </ImageAcquisition>
</BTIImageMetaData>"""


def test_all_facts():
    facts = parse_gen5(TEXT)
    assert facts.pixel_size_um == pytest.approx(394 / 1224)
    # The upper left of 3 x 2 fields: left of the well's centre, and above it.
    assert (facts.x_um, facts.y_um, facts.z_um) == (-197, -291, 3226.3)
    assert facts.channel_name == "GFP"
    assert facts.acquired == datetime(2025, 2, 1, 20, 0, 10)
    assert facts.details == {
        "objective": "20x Olympus",
        "numerical_aperture": "0.45",
        "binning": "None",
        "exposure": "50 ms",
        "wavelength_nm": "525",
        "plate": "Plate 1",
        "plate_type": "96 well",
    }


def test_it_is_found_among_the_other_descriptions():
    assert read_description(TEXT, 0.0) == parse_gen5(TEXT)


@pytest.mark.parametrize("text", ["", "ImageJ=1.53t", '{"shape": [4, 4]}', "<MetaData></MetaData>"])
def test_other_texts_are_none_of_gen5(text):
    assert parse_gen5(text) is None


def test_a_text_without_facts():
    facts = parse_gen5("<BTIImageMetaData/>")
    numbers = (facts.pixel_size_um, facts.x_um, facts.y_um, facts.z_um)
    assert all(map(math.isnan, numbers))
    assert (facts.channel_name, facts.acquired, facts.details) == ("", None, {})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<PixelWidth>1224<", "<PixelWidth>0<"),
        ("<PixelWidth>1224<", "<PixelWidth>x<"),
        ("<ImageWidthMicrons>394<", "<ImageWidthMicrons>-394<"),
        ("<ImageWidthMicrons>394<", "<ImageWidthMicrons>inf<"),
    ],
)
def test_impossible_sizes_are_unknown(old, new):
    assert math.isnan(parse_gen5(TEXT.replace(old, new)).pixel_size_um)


def test_an_impossible_date_is_unknown():
    assert parse_gen5(TEXT.replace("02/01/25", "13/01/25")).acquired is None


def test_bytes_after_the_text_and_an_ome_wrapper():
    assert parse_gen5(TEXT + "\0\0 ").pixel_size_um > 0
    inner = TEXT.partition("?>")[2]
    wrapped = (
        f'<OME xmlns="urn:x"><StructuredAnnotations><Value>{inner}</Value></StructuredAnnotations></OME>'
    )
    assert parse_gen5(wrapped).x_um == -197


@pytest.mark.parametrize(
    "text", ["<BTIImageMetaData><x></BTIImageMetaData>", "<BTIImageMetaData", TEXT[:600]]
)
def test_damaged_texts_are_refused(text):
    with pytest.raises(PlateError, match="not well-formed"):
        parse_gen5(text)


def test_entities_are_refused():
    text = '<!DOCTYPE x [<!ENTITY a "aaaa">]><BTIImageMetaData><Plate>&a;</Plate></BTIImageMetaData>'
    with pytest.raises(PlateError, match="DOCTYPE"):
        parse_gen5(text)


def write(folder, name, text):
    tifffile.imwrite(folder / name, np.zeros((4, 4), "uint16"), description=text, metadata=None)


def test_a_montage_finds_its_grid(tmp_path):
    for number, (x, y) in enumerate(
        [(-197, 291), (197, 291), (197, 0), (-197, 0), (-197, -291), (197, -291)], 1
    ):
        text = TEXT.replace(">-197<", f">{x}<").replace(">291</V", f">{y}</V")
        write(tmp_path, f"B2_03_2_{number}_GFP_014.tif", text)
    inventory = open_plate(tmp_path)
    assert inventory.grid_dimensions == (3, 2)
    cells = {plane.site: (plane.grid_row, plane.grid_column) for plane in inventory.planes}
    # The stage went as a snake.
    assert cells == {1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (2, 0), 6: (2, 1)}
    assert inventory.channels == {2: "GFP"}
    assert inventory.metadata["objective"] == "20x Olympus"
    assert (inventory.pixel_size_um, inventory.pixel_size_source) == (
        pytest.approx(0.32190, abs=1e-4),
        "metadata",
    )


def test_a_damaged_text_costs_no_plane(tmp_path):
    write(tmp_path, "B2_03_2_1_GFP_014.tif", "<BTIImageMetaData><x>")
    inventory = open_plate(tmp_path)
    assert len(inventory.planes) == 1
    assert math.isnan(inventory.pixel_size_um)
    assert any("not well-formed" in sentence for sentence in inventory.disagreements)


def test_what_is_written_is_read_back():
    plane = Plane(
        *("H12", 3, 1, 2, 2),
        path="",
        height=30,
        width=40,
        dtype="uint16",
        pixel_size_um=0.1083333,
        x_um=120.5,
        y_um=-33.25,
        z_um=4.5,
        time_s=90.0,
    )
    facts = parse_gen5(gen5_text(plane, 'a & b "c" <d>', (100.0, 0.0)))
    assert facts.pixel_size_um == pytest.approx(plane.pixel_size_um)
    assert (facts.x_um, facts.y_um, facts.z_um) == (20.5, -33.25, 4.5)
    assert facts.channel_name == 'a & b "c" <d>'
    assert facts.acquired == datetime(2024, 1, 1, 12, 1, 30)
