"""OME-TIFF plates: where planes are, which wells they are of, and what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from hcs_steps.errors import PlateError
from hcs_steps.plate import open_plate, read_plane
from hcs_steps.plate.formats.ome_tiff import files as ome_files
from hcs_steps.plate.synthetic import make_plate

NAMESPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def image(
    name="",
    blocks="<TiffData/>",
    *,
    number=0,
    sizes=(1, 1, 1),
    channels=(),
    more="",
    pixels="",
    kind="uint16",
):
    named = "".join(f'<Channel ID="Channel:{number}:{n}" {text}/>' for n, text in enumerate(channels))
    return (
        f'<Image ID="Image:{number}" Name="{name}"><Pixels ID="Pixels:{number}" DimensionOrder="XYZCT" '
        f'Type="{kind}" SizeX="5" SizeY="4" SizeC="{sizes[0]}" SizeZ="{sizes[1]}" SizeT="{sizes[2]}" {pixels}>'
        f"{named}{blocks}{more}</Pixels></Image>"
    )


def ome(*parts, uuid=""):
    stated = f' UUID="{uuid}"' if uuid else ""
    return f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{NAMESPACE}"{stated}>{"".join(parts)}</OME>'


def plate(*wells):
    """(row, column, image numbers) of every well."""
    inside = "".join(
        f'<Well ID="W{row}{column}" Row="{row}" Column="{column}">'
        + "".join(
            f'<WellSample ID="S{n}" Index="{n}"><ImageRef ID="Image:{n}"/></WellSample>' for n in numbers
        )
        + "</Well>"
        for row, column, numbers in wells
    )
    return f'<Plate ID="Plate:0" Rows="16" Columns="24">{inside}</Plate>'


def block(file, ifd=0, c=0, z=0, t=0, uuid="u"):
    first = f'FirstC="{c}" FirstZ="{z}" FirstT="{t}"'
    return f'<TiffData IFD="{ifd}" PlaneCount="1" {first}><UUID FileName="{file}">{uuid}</UUID></TiffData>'


def write(path, text, pages=1, shape=(4, 5), dtype="uint16"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path) as writer:
        for page in range(pages):
            description = None if page else text.encode()
            writer.write(np.full(shape, page, dtype), description=description, metadata=None)


def pages(inventory):
    return {(plane.well, plane.site, *plane[2:5]): plane.page for plane in inventory.planes}


def test_pages_follow_the_dimension_order(tmp_path):
    write(tmp_path / "x_B02.ome.tif", ome(image(sizes=(2, 2, 2))), pages=8)
    inventory = open_plate(tmp_path)
    assert inventory.format == "ome-tiff"
    assert pages(inventory) == {
        ("B02", 1, c, z, t): (t - 1) * 4 + (c - 1) * 2 + z - 1 for c in (1, 2) for z in (1, 2) for t in (1, 2)
    }
    assert {plane[9:12] for plane in inventory.planes} == {(4, 5, "uint16")}
    plane = next(plane for plane in inventory.planes if plane.page == 5)
    assert read_plane(tmp_path, plane)[0, 0] == 5
    assert inventory.problems == inventory.disagreements == ()


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ('<TiffData PlaneCount="3"/>', {(1, 1): 0, (1, 2): 1, (2, 1): 2}),
        ('<TiffData IFD="1"/>', {(1, 1): 1}),
        ('<TiffData IFD="1" PlaneCount="2"/>', {(1, 1): 1, (1, 2): 2}),
        ('<TiffData IFD="3" FirstC="0"/><TiffData IFD="0" FirstC="1"/>', {(1, 1): 3, (2, 1): 0}),
        ("", {(1, 1): 0, (1, 2): 1, (2, 1): 2, (2, 2): 3}),
    ],
)
def test_blocks_as_in_the_specification(tmp_path, blocks, expected):
    write(tmp_path / "B02.ome.tif", ome(image(blocks=blocks, sizes=(2, 2, 1))), pages=4)
    inventory = open_plate(tmp_path)
    assert {(p.channel, p.z_index): p.page for p in inventory.planes} == expected
    assert len(inventory.missing) == 4 - len(expected)


def test_pages_beyond_the_end_are_missing(tmp_path):
    write(tmp_path / "B02.ome.tif", ome(image(blocks='<TiffData PlaneCount="4"/>', sizes=(2, 2, 1))), pages=3)
    inventory = open_plate(tmp_path)
    assert inventory.missing == (("B02", 1, 2, 2, 1),)
    assert "fewer pages" in inventory.disagreements[0]


def test_scenes_of_one_file(tmp_path):
    scenes = [
        image(f"Well {well}, Field {field}", f'<TiffData IFD="{number}"/>', number=number)
        for number, (well, field) in enumerate([("B2", 1), ("B2", 3), ("C2", 1)])
    ]
    write(tmp_path / "plate.ome.tif", ome(*scenes), pages=3)
    assert pages(open_plate(tmp_path)) == {
        ("B02", 1, 1, 1, 1): 0,
        ("B02", 3, 1, 1, 1): 1,
        ("C02", 1, 1, 1, 1): 2,
    }


def test_a_set_of_files_is_known_from_the_first(tmp_path, monkeypatch):
    names = [f"img_{number}.ome.tif" for number in range(40)]
    images = [image("", block(name, uuid=f"u{n}"), number=n) for n, name in enumerate(names)]
    wells = plate(*((n // 20, n % 20, [n]) for n in range(40)))
    for number, name in enumerate(names):
        write(tmp_path / name, ome(wells, *images, uuid=f"u{number}"))
    opened = []
    original = ome_files.open_tiff
    monkeypatch.setattr(ome_files, "open_tiff", lambda *args: opened.append(args[0]) or original(*args))
    inventory = open_plate(tmp_path)
    assert len(opened) == 1
    assert len(inventory.planes) == 40
    assert {plane.well: plane.path for plane in inventory.planes}["B20"] == "img_39.ome.tif"
    assert (inventory.rows, inventory.columns) == (16, 24)
    (tmp_path / "img_7.ome.tif").unlink()
    inventory = open_plate(tmp_path)
    assert inventory.missing == (("A08", 1, 1, 1, 1),)


def test_a_companion_lists_plain_files(tmp_path, problems):
    images = [image("", block(f"{n}.tif", uuid=f"u{n}"), number=n) for n in range(2)]
    (tmp_path / "x.companion.ome").write_text(ome(plate((0, 0, [0, 1])), *images), encoding="utf-8")
    stub = ome('<BinaryOnly MetadataFile="x.companion.ome" UUID="m"/>')
    for name in ("0.tif", "1.tif", "2.tif"):
        write(tmp_path / name, stub)
    inventory = open_plate(tmp_path)
    assert inventory.format == "ome-tiff"
    assert [(p.well, p.site, p.path) for p in inventory.planes] == [("A01", 1, "0.tif"), ("A01", 2, "1.tif")]
    assert problems(inventory, "unparsed") == ["2.tif"]
    (tmp_path / "x.companion.ome").rename(tmp_path / "metadata.xml")
    with pytest.raises(PlateError, match=r"'x\.companion\.ome', which is not there"):
        open_plate(tmp_path, format="ome-tiff")


def test_stubs_lead_to_metadata_of_any_name(tmp_path):
    (tmp_path / "all.ome.xml").write_text(ome(image("A01", block("a.ome.tif"))), encoding="utf-8")
    write(tmp_path / "a.ome.tif", ome('<BinaryOnly MetadataFile="all.ome.xml" UUID="m"/>'))
    assert open_plate(tmp_path).wells == ("A01",)


def test_a_renamed_file_is_its_own(tmp_path):
    for well in ("B02", "B03"):
        write(tmp_path / f"x_{well}.ome.tif", ome(image("", block("x_B02.ome.tif", uuid="u")), uuid="u"))
    assert {p.well: p.path for p in open_plate(tmp_path).planes} == {
        "B02": "x_B02.ome.tif",
        "B03": "x_B03.ome.tif",
    }


@pytest.mark.parametrize(
    "name", ["../secret.tif", "/etc/passwd", "file:///etc/passwd", "C:\\x\\secret.tif", "a/../b"]
)
def test_names_in_metadata_lead_nowhere_else(tmp_path, name, problems):
    write(tmp_path / "secret.tif", "")
    inside = image("A01", block("x.ome.tif", uuid="u")) + image("A02", block(name, uuid="v"), number=1)
    write(tmp_path / "p" / "x.ome.tif", ome(inside, uuid="u"))
    inventory = open_plate(tmp_path / "p")
    assert [plane.path for plane in inventory.planes] == ["x.ome.tif"]
    assert inventory.missing == (("A02", 1, 1, 1, 1),)


def test_colour_and_complex_images_are_left_out(tmp_path, problems):
    write(tmp_path / "B02.ome.tif", ome(image()))
    write(
        tmp_path / "B03.ome.tif",
        ome(image(sizes=(3, 1, 1), channels=['SamplesPerPixel="3"'])),
        shape=(4, 5, 3),
    )
    write(tmp_path / "B04.ome.tif", ome(image(kind="complex")), dtype="complex64")
    inventory = open_plate(tmp_path)
    assert inventory.wells == ("B02",)
    assert problems(inventory, "unparsed") == ["B03.ome.tif", "B04.ome.tif"]


def test_the_file_wins_over_its_xml(tmp_path):
    write(tmp_path / "B02.ome.tif", ome(image()), shape=(8, 9), dtype="uint8")
    inventory = open_plate(tmp_path)
    assert inventory.planes[0][9:12] == (8, 9, "uint8")
    assert "states 4 x 5 uint16, the file is 8 x 9 uint8" in inventory.disagreements[0]


def test_positions_times_and_channels(tmp_path):
    units = 'PositionXUnit="µm" PositionYUnit="mm" PositionZUnit="nm"'
    planes = "".join(
        f'<Plane TheC="{c}" TheZ="0" TheT="{t}" DeltaT="{t * 2}" DeltaTUnit="min" ExposureTime="0.{c + 1}" '
        f'PositionX="{10 + c}" PositionY="2" PositionZ="3000" {units}/>'
        for c in (0, 1)
        for t in (0, 1)
    )
    names = ['Name="DAPI"', 'Name="GFP"']
    text = ome(image(sizes=(2, 1, 2), channels=names, more=planes, pixels='PhysicalSizeX="0.65"'))
    write(tmp_path / "B02.ome.tif", text, pages=4)
    inventory = open_plate(tmp_path)
    assert inventory.channels == {1: "DAPI", 2: "GFP"}
    assert inventory.pixel_size_um == 0.65
    assert {(p.channel, p.timepoint): (p.x_um, p.y_um, p.z_um, p.time_s) for p in inventory.planes} == {
        (c, t): (9.0 + c, 2000.0, 3.0, 120.0 * (t - 1)) for c in (1, 2) for t in (1, 2)
    }
    assert inventory.metadata["exposure"] == "1: 0.1 s, 2: 0.2 s"


def test_positions_without_a_unit_are_told_and_not_used(tmp_path):
    text = ome(image(more='<Plane TheC="0" TheZ="0" TheT="0" PositionX="10" PositionY="20"/>'))
    write(tmp_path / "B02.ome.tif", text)
    inventory = open_plate(tmp_path)
    assert np.isnan(inventory.planes[0].x_um)
    assert "no unit of length" in inventory.disagreements[0]


def test_a_channel_that_a_well_lacks_does_not_move_the_others(tmp_path):
    both, one = ['Name="DAPI"', 'Name="GFP"'], ['Name="GFP"']
    write(tmp_path / "B02.ome.tif", ome(image(sizes=(2, 1, 1), channels=both)), pages=2)
    write(tmp_path / "A01.ome.tif", ome(image(channels=one)))
    inventory = open_plate(tmp_path)
    assert inventory.channels == {1: "DAPI", 2: "GFP"}
    assert [(p.well, p.channel) for p in inventory.planes] == [("A01", 2), ("B02", 1), ("B02", 2)]


def test_names_that_hold_more_than_well_and_site_ask_for_a_pattern(tmp_path):
    for channel in (1, 2):
        write(tmp_path / f"x_B02_s1_w{channel}.ome.tif", ome(image()))
    with pytest.raises(PlateError, match=r"No well is stated for x_B02_s1_w1\.ome\.tif") as caught:
        open_plate(tmp_path)
    assert "pattern" in str(caught.value)
    for channel in (1, 2):
        write(tmp_path / f"x_B02_s1_w{channel}.ome.tif", ome(plate((1, 1, [0])), image()))
    with pytest.raises(PlateError, match="several images are of the same site"):
        open_plate(tmp_path)
    pattern = r"x_(?P<well>[A-Z]\d\d)_s(?P<site>\d)_w(?P<channel>\d)\.ome\.tif"
    assert len(open_plate(tmp_path, pattern=pattern).planes) == 2


def test_a_damaged_file_keeps_its_planes(tmp_path, problems):
    for well in ("B02", "B03", "B04"):
        write(tmp_path / f"{well}_s1.ome.tif", ome(image(sizes=(2, 1, 1))), pages=2)
    (tmp_path / "B03_s1.ome.tif").write_bytes(b"II*\0 damaged")
    (tmp_path / "B04_s1.ome.tif").write_bytes(b"")
    inventory = open_plate(tmp_path)
    assert len(inventory.planes) == 6
    assert problems(inventory, "unreadable") == ["B03_s1.ome.tif"]
    assert set(problems(inventory, "zero-byte")) == {"B04_s1.ome.tif"}
    with pytest.raises(PlateError, match="cannot be read"):
        read_plane(tmp_path, next(plane for plane in inventory.planes if plane.well == "B03"))


def test_nothing_can_be_read(tmp_path):
    (tmp_path / "B02.ome.tif").write_bytes(b"II*\0 damaged")
    with pytest.raises(PlateError, match="cannot be read as TIFF"):
        open_plate(tmp_path)


def test_an_empty_file_that_names_no_well_is_told(tmp_path, problems):
    write(tmp_path / "B02.ome.tif", ome(image()))
    (tmp_path / "overview.ome.tif").write_bytes(b"")
    assert problems(open_plate(tmp_path), "zero-byte") == ["overview.ome.tif"]


def test_a_lost_site_is_told_by_the_other_wells(tmp_path, problems):
    for well in ("B02", "B03", "B04"):
        for site in (1, 2):
            write(tmp_path / f"{well}_s{site}.ome.tif", ome(image()))
    (tmp_path / "B03_s2.ome.tif").unlink()
    assert problems(open_plate(tmp_path), "missing") == ["B03 s2"]


def test_every_other_file_is_accounted_for(tmp_path, problems):
    write(tmp_path / "B02.ome.tif", ome(image()))
    write(tmp_path / "B03.ome.tif", "no XML")
    write(tmp_path / "notes.tif", "")
    write(tmp_path / "._B02.ome.tif", "")
    inventory = open_plate(tmp_path)
    assert problems(inventory, "unparsed") == ["B03.ome.tif", "notes.tif"]
    assert problems(inventory, "excluded") == ["._B02.ome.tif"]


def test_plain_files_if_the_format_is_given(tmp_path):
    write(tmp_path / "B02_s1.tif", ome(image()))
    assert open_plate(tmp_path, format="ome-tiff").wells == ("B02",)


def test_big_tiffs_with_their_own_suffixes(tmp_path):
    write(tmp_path / "B02.ome.btf", ome(image()))
    inventory = open_plate(tmp_path)
    assert inventory.wells == ("B02",)
    assert read_plane(tmp_path, inventory.planes[0]).shape == (4, 5)


def test_sizes_that_no_plate_has(tmp_path, problems):
    write(tmp_path / "B02.ome.tif", ome(image()))
    write(tmp_path / "B03.ome.tif", ome(image(sizes=(10_000, 10_000, 10_000))))
    inventory = open_plate(tmp_path)
    assert inventory.wells == ("B02",)
    assert "1,000,000,000,000 planes" in next(p.why for p in inventory.problems if p.kind == "unreadable")


def test_a_page_of_two_planes_is_told(tmp_path):
    blocks = '<TiffData IFD="0"/><TiffData IFD="0" FirstC="1"/>'
    write(tmp_path / "B02.ome.tif", ome(image(blocks=blocks, sizes=(2, 1, 1))))
    assert "1 pages are named for more than one plane" in open_plate(tmp_path).disagreements[0]


def test_files_of_tifffile(tmp_path):
    for well in ("B02", "B03"):
        tifffile.imwrite(
            tmp_path / f"{well}.ome.tif",
            np.zeros((3, 2, 16, 16), "uint16"),
            metadata={
                "axes": "ZCYX",
                "PhysicalSizeX": 0.5,
                "PhysicalSizeXUnit": "µm",
                "PhysicalSizeZ": 2.0,
                "Channel": {"Name": ["DAPI", "GFP"]},
            },
        )
    inventory = open_plate(tmp_path)
    assert len(inventory.planes) == 12
    assert inventory.channels == {1: "DAPI", 2: "GFP"}
    assert inventory.metadata["z_step_um"] == "2"


def test_the_synthetic_layout(tmp_path):
    truth = make_plate(
        tmp_path / "P1",
        wells=["B02", "C03"],
        sites=(1, 2),
        z=2,
        timepoints=2,
        shape=(16, 16),
        layout="ome-tiff",
    )
    inventory = open_plate(tmp_path / "P1")
    assert len(inventory.planes) == 2 * 2 * 2 * 2 * 2
    assert inventory.channels == {1: "DAPI", 2: "GFP"}
    assert inventory.grid_dimensions == (1, 2)
    assert inventory.metadata["z_step_um"] == "3"
    assert inventory.metadata["time_interval_s"] == "30"
    place = truth["wells"]["C03"]["sites"]["2"]["position_um"]
    assert {(p.x_um, p.y_um) for p in inventory.planes if (p.well, p.site) == ("C03", 2)} == {tuple(place)}
    assert inventory.problems == ()
