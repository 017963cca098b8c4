"""Yokogawa plates: records against files, errors of the microscope, actions, timelines, projections, lost indexes."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter

import numpy as np
import pytest
import tifffile

from hcs_steps.errors import PlateError
from hcs_steps.plate import open_plate
from hcs_steps.plate.formats.yokogawa.names import parse_cellvoyager_name, parse_cq1_name
from hcs_steps.plate.wells import parse_well

NAMESPACE = 'xmlns:bts="http://www.yokogawa.co.jp/BTS/BTSSchema/1.0"'
START = "2024-03-01T10:00:{:06.3f}+01:00"


def image(path, shape=(4, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.zeros(shape, "uint16"), metadata=None)


def name(well="B03", t=1, f=1, line=1, a=1, z=1, c=1, plate="P1"):
    return f"{plate}_{well}_T{t:04d}F{f:03d}L{line:02d}A{a:02d}Z{z:02d}C{c:02d}.tif"


def record(file, well="B03", kind="IMG", seconds=0.0, **stated):
    row, column = parse_well(well)
    given = {
        "Type": kind,
        "Time": START.format(seconds),
        "Row": row + 1,
        "Column": column + 1,
        "TimePoint": 1,
    }
    if kind == "IMG":
        given |= {"FieldIndex": 1, "ZIndex": 1, "TimelineIndex": 1, "ActionIndex": 1, "Action": "2D", "Ch": 1}
        given |= {"X": 0.0, "Y": 0.0, "Z": 0.0}
    text = " ".join(f'bts:{key}="{value}"' for key, value in (given | stated).items())
    return f"<bts:MeasurementRecord {text}>{file}</bts:MeasurementRecord>"


def taken(well="B03", t=1, f=1, line=1, a=1, z=1, c=1, **stated):
    """A record and its file's name, both with the same numbers."""
    numbers = {"TimePoint": t, "FieldIndex": f, "TimelineIndex": line, "ActionIndex": a, "ZIndex": z, "Ch": c}
    file = name(well, t, f, line, a, z, c)
    return file, record(file, well, **numbers, **stated)


def write_index(folder, *records):
    folder.mkdir(parents=True, exist_ok=True)
    text = f"<bts:MeasurementData {NAMESPACE}>\n" + "\n".join(records) + "\n</bts:MeasurementData>"
    (folder / "MeasurementData.mlf").write_text('<?xml version="1.0" encoding="utf-8"?>\n' + text)


def write_details(folder, channels="", root="", plate=""):
    text = f'<bts:MeasurementDetail {root} bts:MeasurementSettingFileName="s.mes" {NAMESPACE}>'
    text += f"<bts:MeasurementSamplePlate {plate}/>{channels}</bts:MeasurementDetail>"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "MeasurementDetail.mrf").write_text("\ufeff" + text, encoding="utf-8")


def write_settings(folder, *channels):
    lists = "<bts:LightSourceList>"
    for length in (405, 488):
        lists += f'<bts:LightSource bts:Name="Ch_{length}nm/100mW" bts:WaveLength="{length}"/>'
    lists += '<bts:LightSource bts:Name="Lamp" bts:WaveLength="0"/></bts:LightSourceList>'
    lists += f"<bts:ChannelList>{''.join(channels)}</bts:ChannelList>"
    (folder / "s.mes").write_text(f"<bts:MeasurementSetting {NAMESPACE}>{lists}</bts:MeasurementSetting>")


def channel(number, sources=("Ch_405nm/100mW",), **stated):
    text = " ".join(f'bts:{key}="{value}"' for key, value in stated.items())
    lights = "".join(f"<bts:LightSourceName>{source}</bts:LightSourceName>" for source in sources)
    return f'<bts:Channel bts:Ch="{number}" {text}>{lights}</bts:Channel>'


def plate(folder, *pairs, extra=()):
    """A plate of (file, record) pairs, every file written, with further records."""
    for file, _ in pairs:
        image(folder / file)
    write_index(folder, *(each for _, each in pairs), *extra)
    return folder


def keys(inventory):
    return [tuple(each[:5]) for each in inventory.planes]


def test_real_measurement(real_data, fingerprint):
    folder = real_data("yokogawa_cv8000_metadata_blank_pixels")
    before = fingerprint(folder)
    inventory = open_plate(folder)
    assert inventory.format == "yokogawa"
    assert "96 of 96" in inventory.evidence[0]
    assert inventory.wells == ("D08", "E03", "F08")
    assert len(inventory.planes) == 3 * 4 * 2 * 4
    assert inventory.values("site") == inventory.values("z_index") == (1, 2, 3, 4)
    assert inventory.values("timepoint") == (1,)
    assert inventory.channels == {1: "405nm", 2: "488nm"}
    assert (inventory.rows, inventory.columns) == (8, 12)
    assert inventory.grid_dimensions == (2, 2)
    assert (inventory.pixel_size_um, inventory.pixel_size_source) == (0.325, "metadata")
    assert {(p.height, p.width, p.dtype) for p in inventory.planes} == {(2000, 2000, "uint16")}
    assert {p.x_um for p in inventory.planes} == {-567.1, 82.8}
    assert {p.y_um for p in inventory.planes} == {-402.9, 247.0}
    cells = {p.site: (p.grid_row, p.grid_column) for p in inventory.planes}
    assert cells == {1: (0, 0), 2: (0, 1), 3: (1, 0), 4: (1, 1)}
    assert {p.z_um for p in inventory.planes if p.z_index == 4} == {9.0}
    assert min(p.time_s for p in inventory.planes) == 0
    assert max(p.time_s for p in inventory.planes) == pytest.approx(30.476, abs=1e-3)
    assert Counter(each.kind for each in inventory.problems) == {"excluded": 6}
    assert inventory.missing == ()
    assert inventory.disagreements == ()
    facts = inventory.metadata
    assert facts["plate_type"] == "Cellvis #P96-1.5H-N"
    assert (facts["objective"], facts["instrument"]) == ("20x v2", "CV8000")
    shading = json.loads(facts["shading_files"])
    assert shading["1"].endswith("SC_BP445-45_20x v2_M01_CH01.tif")
    assert shading["2"].endswith("SC_BP525-50_20x v2_M01_CH02.tif")
    assert json.loads(facts["dark_files"])["2"].endswith("DC_DCAM#1_CAM3.tif")
    assert fingerprint(folder) == before


def test_real_measurement_by_names_alone(real_data, tmp_path):
    source = real_data("yokogawa_cv8000_metadata_blank_pixels")
    for file in source.rglob("*_T0001F*.tif"):
        (tmp_path / file.name).symlink_to(file)
    assert keys(open_plate(tmp_path)) == keys(open_plate(source))


@pytest.mark.parametrize(
    ("layout", "lost"),
    [("yokogawa", "P1_B03_T0002F003L01A01Z02C01.tif"), ("cq1", "Image/W0015F0003T0002Z002C1.tif")],
)
def test_written_and_read_back(tiny_plate, layout, lost, problems):
    folder = tiny_plate(layout=layout, sites=(2, 2), z=2, timepoints=2, channels=["DAPI", "a & <b>"])
    (folder / lost).unlink()
    inventory = open_plate(folder)
    assert inventory.format == layout
    assert inventory.channels == {1: "DAPI", 2: "a & <b>"}
    assert inventory.missing == (("B03", 3, 1, 2, 2),)
    assert problems(inventory, "missing") == ["B03 s3 c1 z2 t2"]
    assert inventory.grid_dimensions == (2, 2)
    assert inventory.pixel_size_um == 0.65
    assert (inventory.rows, inventory.columns) == (8, 12)
    assert inventory.disagreements == ()
    assert len(problems(inventory, "excluded")) == (2 if layout == "yokogawa" else 0)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("P_1_x_A01_T0002F003L04A05Z06C07.tif", ("P_1_x", "A01", 0, 2, 3, 4, 5, 6, 7)),
        ("p_af48_t0001f001l01a01z01c01.TIFF", ("p", "AF48", 0, 1, 1, 1, 1, 1, 1)),
        ("D08_T0001F001L01A01Z01C01.tif", ("", "D08", 0, 1, 1, 1, 1, 1, 1)),
        ("x_B03.a1_T0001F001L01A01Z01C01.tif", ("x", "E09", 0, 1, 1, 1, 1, 1, 1)),
        ("x_H12.d4_T0001F001L01A01Z01C01.tif", ("x", "AF48", 0, 1, 1, 1, 1, 1, 1)),
        ("x_A99_T0001F001L01A01Z01C01.tif", None),
        ("DC_DCAM#1_CAM3.tif", None),
        ("x_A01_T0001F001Z01C01.tif", None),
    ],
)
def test_cellvoyager_names(text, numbers):
    assert parse_cellvoyager_name(text) == numbers


def test_cq1_names():
    assert parse_cq1_name("W0029F0001T0002Z000C1.tif") == ("", "", 29, 2, 1, 0, 0, 0, 1)
    assert parse_cq1_name("W1F001T0001Z01C12.tif") == ("", "", 1, 1, 1, 0, 0, 1, 12)
    assert parse_cq1_name("xW0029F0001T0002Z000C1.tif") is None


def test_an_error_at_a_fields_position_makes_its_planes_missing(tmp_path, problems):
    pairs = [
        taken(well, f=f, c=c, X=100.0 * f, Y=25.0)
        for well, f, c in [
            ("B03", 1, 1),
            ("B03", 1, 2),
            ("B03", 2, 1),
            ("B03", 2, 2),
            ("C14", 1, 1),
            ("C14", 1, 2),
        ]
    ]
    failed = record("AF Error at C14 No. 0 (P1)", "C14", "ERR", X=200.0, Y=25.0, PartialTileIndex=1)
    inventory = open_plate(plate(tmp_path, *pairs, extra=[failed]))
    assert inventory.missing == (("C14", 2, 1, 1, 1), ("C14", 2, 2, 1, 1))
    (said,) = [each for each in inventory.problems if "AF Error" in each.why]
    assert (said.kind, said.what) == ("missing", "C14 s2")
    assert len(inventory.planes) == 6


def test_errors_of_known_fields_unknown_fields_and_planes_that_are_there(tmp_path, problems):
    pairs = [taken("B03", f=f, c=c) for f in (1, 2) for c in (1, 2)]
    errors = [
        record("laser", "B04", "ERR", FieldIndex=2, Ch=2),
        record("focus", "B05", "ERR", X=9.0, Y=9.0),
        record("focus", "B05", "ERR", X=8.0, Y=9.0),
        record("late", "B03", "ERR", FieldIndex=1),
        "<bts:MeasurementRecord bts:Type='ERR' bts:Row='99' bts:Column='1'>nowhere</bts:MeasurementRecord>",
    ]
    inventory = open_plate(plate(tmp_path, *pairs, extra=errors))
    assert inventory.missing == (("B04", 2, 2, 1, 1),)
    said = {each.what: (each.kind, each.why) for each in inventory.problems if "microscope" in each.why}
    assert said["B04 s2"] == ("missing", "The microscope reports: laser.")
    assert said["B05"][0] == "missing"
    assert "(2 such records)" in said["B05"][1]
    assert said["B03 s1"][0] == "excluded"
    assert any("nowhere" in each.why for each in inventory.problems)


def test_a_channel_in_several_actions_is_several_channels(tmp_path):
    pairs = [taken(a=1, c=1), taken(a=2, c=1), taken(a=2, c=2)]
    write_details(tmp_path)
    write_settings(tmp_path, channel(1), channel(2, ["Ch_488nm/100mW"]))
    inventory = open_plate(plate(tmp_path, *pairs))
    assert inventory.channels == {2: "488nm", 101: "405nm A01", 201: "405nm A02"}
    assert inventory.problems == ()
    assert {p.channel: p.path for p in inventory.planes}[201] == pairs[1][0]


def test_without_index_the_actions_are_told_by_the_names(tmp_path):
    for a in (1, 2):
        image(tmp_path / name(a=a))
    assert open_plate(tmp_path).channels == {101: "w1 A01", 201: "w1 A02"}


def test_the_same_channel_in_an_action_of_another_timeline_is_one_channel(tmp_path):
    pairs = [taken("B03", line=1, a=1), taken("B04", t=2, line=2, a=2)]
    inventory = open_plate(plate(tmp_path, *pairs))
    assert keys(inventory) == [("B03", 1, 1, 1, 1), ("B04", 1, 1, 1, 2)]
    assert inventory.missing == ()
    assert inventory.disagreements == ()


def test_timelines_that_take_the_same_planes_are_counted_through(tmp_path):
    pairs = [taken(t=t, line=line, seconds=10 * line + t) for line in (1, 2) for t in (1, 2)]
    inventory = open_plate(plate(tmp_path, *pairs))
    assert [(p.timepoint, p.path) for p in inventory.planes] == [
        (1, name(t=1, line=1)),
        (2, name(t=2, line=1)),
        (3, name(t=1, line=2)),
        (4, name(t=2, line=2)),
    ]
    assert [p.time_s for p in inventory.planes] == pytest.approx([0, 1, 10, 11])
    assert "t3 is L02 T0001" in inventory.disagreements[0]


def test_single_planes_beside_a_stack_keep_their_z(tmp_path):
    pairs = [taken(a=1, c=1), *(taken(a=2, c=6, z=z, Action="BF3D") for z in (1, 2, 3))]
    inventory = open_plate(plate(tmp_path, *pairs))
    assert [(p.channel, p.z_index) for p in inventory.planes] == [(1, 1), (6, 1), (6, 2), (6, 3)]
    assert inventory.missing == ()


def test_projections_beside_a_stack_have_z_0(tmp_path):
    stack = [taken(a=1, c=1, z=z, Z=3.0 * z) for z in (1, 2)]
    own = taken(a=3, c=1, ZImageProcessing="Maximum", Z=4.5)
    other = taken(a=2, c=2, ZImageProcessing="Maximum", Z=4.5)
    inventory = open_plate(plate(tmp_path, *stack, own, other))
    assert [(p.channel, p.z_index) for p in inventory.planes] == [(1, 0), (1, 1), (1, 2), (2, 0)]
    assert inventory.planes[0].path == own[0]
    assert inventory.metadata["z_step_um"] == "3"


def test_projections_without_a_stack_have_z_1(tmp_path):
    pairs = [taken(c=c, a=c, ZImageProcessing="Maximum") for c in (1, 2)]
    image(tmp_path / name(c=5, a=5))
    inventory = open_plate(plate(tmp_path, *pairs))
    assert [(p.channel, p.z_index) for p in inventory.planes] == [(1, 1), (2, 1), (5, 1)]
    assert inventory.disagreements == (
        f"1 images are not in the index and were read by their names, for example {name(c=5, a=5)}.",
    )


def test_several_projections_of_a_channel_are_channels_of_their_own(tmp_path):
    pairs = [taken(a=1, z=1), taken(a=1, z=2)]
    pairs += [taken(a=a, ZImageProcessing=kind) for a, kind in ((2, "Maximum"), (3, "Sum"))]
    inventory = open_plate(plate(tmp_path, *pairs))
    assert len(inventory.planes) == 4
    assert Counter(inventory.channels.values()) == {"w1": 1, "w1 Maximum": 1, "w1 Sum": 1}


def test_names_of_channels(tmp_path):
    write_details(tmp_path)
    write_settings(
        tmp_path,
        channel(1, Fluorophore="mCherry", Target="405"),
        channel(2, Fluorophore="", Target="Ch2_Confocal_405nm/100mW", Acquisition="BP445/45"),
        channel(3, Fluorophore="", Target="405", Acquisition="BP600/37"),
        channel(4, ["Ch_405nm/100mW", "Ch_488nm/100mW"], Target="405"),
        channel(5, Target="DNA"),
        channel(6, ["Lamp"], ExposureTime="20"),
    )
    inventory = open_plate(plate(tmp_path, *(taken(c=c, a=c) for c in range(1, 8))))
    assert inventory.channels == {
        1: "mCherry",
        2: "405nm BP445/45",
        3: "405nm BP600/37",
        4: "405nm+488nm",
        5: "DNA",
        6: "Lamp",
        7: "w7",
    }
    assert inventory.metadata["exposure_ms"] == "20"


def test_correction_images_are_no_planes_but_known(tmp_path, problems):
    shading = 'bts:CameraNumber="{0}" bts:ShadingCorrectionSource="{1}"'
    channels = [
        f'<bts:MeasurementChannel bts:Ch="{n}" {shading.format(n, s)}/>'
        for n, s in ((1, "flat.tif"), (2, ""))
    ]
    write_details(tmp_path, "".join(channels))
    for file in ("flat.tif", "DC_cam_CAM2.tif", "SC_x.tif", "other.tif", "._x.tif"):
        image(tmp_path / file)
    inventory = open_plate(plate(tmp_path, taken(c=1), taken(c=2)))
    assert problems(inventory, "excluded") == ["DC_cam_CAM2.tif", "SC_x.tif", "flat.tif", "._x.tif"]
    assert problems(inventory, "unparsed") == ["other.tif"]
    assert json.loads(inventory.metadata["shading_files"]) == {"1": "flat.tif"}
    assert json.loads(inventory.metadata["dark_files"]) == {"2": "DC_cam_CAM2.tif"}


def test_a_plate_called_like_a_correction_image(tmp_path):
    image(tmp_path / name(plate="DC_plate"))
    assert len(open_plate(tmp_path).planes) == 1


@pytest.mark.parametrize(
    ("damage", "positioned"),
    [
        (lambda text: text[: text.index("C04") - 200], 2),
        (lambda text: text + ">", 4),
        (lambda text: '<!DOCTYPE x [<!ENTITY a "b">]>' + text, 0),
        (lambda text: "", 0),
    ],
)
def test_a_damaged_index(tmp_path, problems, damage, positioned):
    plate(tmp_path, *(taken(well, c=c, a=c) for well in ("B03", "C04") for c in (1, 2)))
    path = tmp_path / "MeasurementData.mlf"
    path.write_text(damage(path.read_text().partition("\n")[2]))
    inventory = open_plate(tmp_path)
    assert problems(inventory, "unreadable") == ["MeasurementData.mlf"]
    assert keys(inventory) == [(well, 1, c, 1, 1) for well in ("B03", "C04") for c in (1, 2)]
    assert sum(not math.isnan(each.x_um) for each in inventory.planes) == positioned
    assert inventory.missing == ()


def test_without_index_neighbours_tell_what_is_missing(tmp_path, problems):
    for well, c in (("B03", 1), ("B03", 2), ("B04", 1)):
        image(tmp_path / "Images" / name(well, c=c))
    write_details(tmp_path, root='bts:RowCount="16" bts:ColumnCount="24" bts:FieldCount="9"')
    inventory = open_plate(tmp_path)
    assert inventory.missing == (("B04", 1, 2, 1, 1),)
    assert (inventory.rows, inventory.columns) == (16, 24)
    assert inventory.disagreements == ("The measurement details state 9 fields, the files have 1.",)


def test_an_index_in_a_folder_of_its_own_and_images_in_another(tmp_path, problems):
    pairs = [taken(c=1, X=5.0), taken(c=2, X=5.0)]
    for file, _ in pairs:
        image(tmp_path / "run" / "TIFF" / file)
    write_index(tmp_path / "run" / "META", *(each for _, each in pairs))
    inventory = open_plate(tmp_path)
    assert [p.path for p in inventory.planes] == [f"run/TIFF/{file}" for file, _ in pairs]
    assert {p.x_um for p in inventory.planes} == {5.0}


def test_several_indexes_are_several_plates_unless_they_are_copies(tmp_path):
    plate(tmp_path / "a", taken("B03"))
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    inventory = open_plate(tmp_path)
    assert len(inventory.planes) == 1
    assert [each.what for each in inventory.problems if each.kind == "excluded"] == [f"c/{name()}"]
    plate(tmp_path / "b", taken("B04"))
    with pytest.raises(PlateError, match=r"2 measurements.*a/MeasurementData.mlf and b/MeasurementData.mlf"):
        open_plate(tmp_path)


def test_several_plates_without_index(tmp_path):
    for each in ("P1", "P2"):
        image(tmp_path / each / name(plate=each))
    with pytest.raises(PlateError, match=r"2 plates \('P1', 'P2'\)"):
        open_plate(tmp_path)


def test_an_index_without_any_of_its_images(tmp_path):
    image(tmp_path / "other.tif")
    write_index(tmp_path, taken()[1])
    with pytest.raises(PlateError, match="lists 1 images, and none of them is in the folder"):
        open_plate(tmp_path, format="yokogawa")


def test_names_win_over_the_index(tmp_path):
    wrong = record(name("B05"), "B03", X=77.0)
    later = record(name("B06"), "B06", TimePoint=2, X=3.0)
    nameless = record("renamed.tif", "B07", Ch=2, X=9.0)
    for file in (name("B05"), name("B06"), "renamed.tif"):
        image(tmp_path / file)
    write_index(tmp_path, wrong, later, nameless, record("x.tif", Row=0))
    inventory = open_plate(tmp_path)
    assert keys(inventory) == [("B05", 1, 1, 1, 1), ("B06", 1, 1, 1, 1), ("B07", 1, 2, 1, 1)]
    assert math.isnan(inventory.planes[0].x_um)
    assert [each.x_um for each in inventory.planes[1:]] == [3.0, 9.0]
    assert "2 images are listed with other numbers" in inventory.disagreements[0]
    assert "1 records of the index name no well" in inventory.disagreements[1]


def test_metadata_of_images_that_were_binned_since(tmp_path):
    size = 'bts:HorizontalPixels="8" bts:VerticalPixels="8" bts:HorizontalPixelDimension="0.5"'
    write_details(tmp_path, f'<bts:MeasurementChannel bts:Ch="1" {size}/>')
    inventory = open_plate(plate(tmp_path, taken()))
    assert (inventory.planes[0].height, inventory.pixel_size_um) == (4, 0.5)
    assert "8 x 8 pixels for B03 s1 c1 z1 t1, its file has 4 x 4" in inventory.disagreements[0]


def test_wells_beyond_the_stated_plate(tmp_path):
    write_details(tmp_path, root='bts:RowCount="8" bts:ColumnCount="12"')
    inventory = open_plate(plate(tmp_path, taken("P24")))
    assert (inventory.rows, inventory.columns) == (16, 24)
    assert "8 x 12 wells, but P24 lie outside" in inventory.disagreements[0]


def test_the_well_plate_file_gives_the_dimensions_where_the_details_do_not(tmp_path):
    (tmp_path / "x.wpi").write_text(
        f'<bts:WellPlate bts:Name="N" bts:Rows="16" bts:Columns="24" {NAMESPACE}/>', encoding="utf-8-sig"
    )
    inventory = open_plate(plate(tmp_path, taken()))
    assert (inventory.rows, inventory.columns) == (16, 24)
    assert inventory.metadata["plate_id"] == "N"


# CQ1 and CQ3000


def projection(well, number, c=1):
    file = f"Projection/W{number:04d}F0001T0001Z000C{c}.tif"
    return file, record(file, well, Action="3D", ZImageProcessing="Maximum", X=-1460.8, Y=-1303.2, Ch=c)


def test_cq1_with_an_index_and_projections_only(tmp_path):
    write_details(tmp_path, root='bts:RowCount="8" bts:ColumnCount="12"')
    inventory = open_plate(plate(tmp_path, projection("C05", 29), projection("F09", 69)))
    assert inventory.format == "cq1"
    assert keys(inventory) == [("C05", 1, 1, 1, 1), ("F09", 1, 1, 1, 1)]
    assert (inventory.planes[0].x_um, inventory.planes[0].y_um) == (-1460.8, 1303.2)
    assert inventory.disagreements == ()


def test_cq1_with_stack_and_projection(tmp_path):
    stack = [f"Image/W0029F0001T0001Z00{z}C1.tif" for z in (1, 2)]
    pairs = [(file, record(file, "C05", ZIndex=z)) for z, file in enumerate(stack, 1)]
    inventory = open_plate(plate(tmp_path, *pairs, projection("C05", 29)))
    assert [p.z_index for p in inventory.planes] == [0, 1, 2]
    image(tmp_path / "Image" / "W0030F0001T0001Z001C1.tif")
    inventory = open_plate(tmp_path)
    # Well 29 is C05, so the plate has 12 columns.
    assert inventory.wells == ("C05", "C06")
    assert not any("W0030" in each.what for each in inventory.problems)


def test_cq1_wells_have_no_names_without_metadata(tmp_path):
    image(tmp_path / "Image" / "W0013F0001T0001Z001C1.tif")
    with pytest.raises(PlateError) as caught:
        open_plate(tmp_path)
    assert "how many columns" in str(caught.value)
    assert "plate_columns" in caught.value.hint
    regex = r"W(?P<well_index>\d+)F(?P<site>\d+)T(?P<time>\d+)Z(?P<z>\d+)C(?P<channel>\d+)\.tif"
    by_hand = open_plate(tmp_path, pattern={"regex": regex, "constants": {"plate_columns": 12}})
    assert by_hand.wells == ("B01",)
    write_details(tmp_path, root='bts:RowCount="16" bts:ColumnCount="24"')
    assert open_plate(tmp_path).wells == ("A13",)


OME = """<?xml version="1.0" encoding="utf-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2013-06"><Image Name="TitleImage"/>
<Image Name="W29(R3C5),A1,F2"><Pixels PhysicalSizeX="0.5">
<Channel Name="CH1" ExcitationWavelength="405" EmissionWavelength="447"/>{0}</Pixels></Image>
<Plate Rows="8" Columns="12"/></OME>"""
FILE = (
    '<TiffData FirstC="0" FirstZ="{0}" FirstT="0"><UUID FileName="{1}"/></TiffData>'
    '<Plane TheC="0" TheZ="{0}" TheT="0" PositionX="10" PositionY="20" PositionZ="{0}"/>'
)


def test_cq1_with_ome_indexes_of_stack_and_projection(tmp_path):
    stack = [f"Image\\W0029F0002T0001Z00{z}C1.tif" for z in (1, 2)]
    above = "Projection/W0029F0002T0001Z000C1.tif"
    for file in (*stack, above, "MeasurementResult.ome.tif"):
        image(tmp_path / file.replace("\\", "/"))
    text = "".join(FILE.format(z, file) for z, file in enumerate(stack))
    (tmp_path / "MeasurementResult.ome.xml").write_text(OME.format(text))
    (tmp_path / "MeasurementResultMIP.ome.xml").write_text(OME.format(FILE.format(0, above)))
    inventory = open_plate(tmp_path)
    assert inventory.format == "cq1"
    assert keys(inventory) == [("C05", 2, 1, z, 1) for z in (0, 1, 2)]
    assert inventory.channels == {1: "405nm/447nm"}
    assert {(p.x_um, p.y_um, p.pixel_size_um) for p in inventory.planes} == {(10.0, -20.0, 0.5)}
    assert (inventory.rows, inventory.columns) == (8, 12)
    assert inventory.missing == inventory.disagreements == ()
    (title,) = inventory.problems
    assert (title.kind, title.what) == ("excluded", "MeasurementResult.ome.tif")
    (tmp_path / above).unlink()
    assert open_plate(tmp_path).missing == (("C05", 2, 1, 0, 1),)
