"""Harmony exports: names, indexes of several schemas, files in odd places, damaged and contradicting indexes."""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import tifffile

from hcs_steps.errors import PlateError
from hcs_steps.plate import open_plate, read_plane
from hcs_steps.plate.formats.harmony.flatfield import MAX_CHARACTERS, flatfield_image, read_profile
from hcs_steps.plate.formats.harmony.names import format_image_name, parse_image_name
from hcs_steps.plate.inventory import PlaneKey
from hcs_steps.plate.synthetic import make_plate

BOM = "\ufeff"
FIRST = "r01c01f01p01-ch1sk1fk1fl1.tiff"
SECOND = "r01c01f02p01-ch1sk1fk1fl1.tiff"
PROFILE = (
    "{Background: {Character: NonFlat, Mean: 373.7, NoiseConst: 1.3, NonFlatness: {Original: 0.47}, Profile: "
    "{Coefficients: [[1.5], [-0.2, 0.4], [-0.3, 0.1, -0.5]], Dims: [6, 4], Origin: [2.5, 1.5], "
    "Scale: [0.2, 0.25], Type: Polynomial}, Quality: 1.0}, Channel: 1, ChannelName: Fluorescein (FITC), far red, "
    "Foreground: {Character: Flat, Mean: NaN}, Version: Acapella:2013}"
)


def image(path: Path, value: int = 0, shape: tuple[int, int] = (4, 4)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.full(shape, value, "uint16"), metadata=None)
    return path


def entry(url: str, **texts: object) -> str:
    """An image; the numbers of ``url`` unless ``texts`` give others, and no element for a text of None."""
    name = parse_image_name(url.replace("\\", "/").rpartition("/")[2])
    key = name.key if name else PlaneKey("A01", 1, 1, 1, 1)
    stated: dict[str, object] = {
        "State": "Ok",
        "URL": url,
        "Row": ord(key.well[0]) - 64,
        "Col": int(key.well[1:]),
        "FieldID": key.site,
        "PlaneID": key.z_index,
        "TimepointID": key.timepoint - 1,
        "ChannelID": key.channel,
        "FlimID": 1,
    }
    stated.update(texts)
    elements = [f"<{tag}>{text}</{tag.split()[0]}>" for tag, text in stated.items() if text is not None]
    return f'<Image Version="1">{"".join(elements)}</Image>'


def index(*entries: str, maps: str = "", plate: str = "", namespace: str = "HarmonyV5") -> str:
    return (
        f'<?xml version="1.0" encoding="utf-8"?><EvaluationInputData xmlns="http://x/PEHH/{namespace}">'
        f"<Plates><Plate>{plate}</Plate></Plates><Wells><Well><id>0101</id><Image id='0101K1F1P1R1' /></Well>"
        f"</Wells><Maps>{maps}</Maps><Images>{''.join(entries)}</Images></EvaluationInputData>"
    )


def write(path: Path, text: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding=encoding)


def keys(inventory):
    return [tuple(plane[:5]) for plane in inventory.planes]


def reasons(inventory, kind):
    return {each.what: each.why for each in inventory.problems if each.kind == kind}


# --- names ---


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("r03c03f01p01-ch1sk1fk1fl1.tiff", ("C03", 1, 1, 1, 1)),
        ("R16C24F12P07-CH10SK12FK1FL1.TIF", ("P24", 12, 10, 7, 12)),
        ("r001c002f1000p100-ch1sk100fk1fl1.tiff", ("A02", 1000, 1, 100, 100)),
        ("r02c11f01p01rc3-ch1sk2fk1fl1.tiff", ("B11", 1, 3, 1, 2)),
        ("r02c11f01p01rc1-ch4sk1fk1fl1.tiff", ("B11", 1, 4, 1, 1)),
        ("flex_r32c48f01p01-ch2t03.tiff", ("AF48", 1, 2, 1, 3)),
        ("r01c01f01p01-ch2.tiff", ("A01", 1, 2, 1, 1)),
    ],
)
def test_names(name, key):
    assert parse_image_name(name).key == key


@pytest.mark.parametrize(
    "name",
    [
        "r33c01f01p01-ch1sk1fk1fl1.tiff",
        "r00c01f01p01-ch1sk1fk1fl1.tiff",
        "r01c49f01p01-ch1sk1fk1fl1.tiff",
        "r01c01f01p01-ch1sk1fk1fl1-overview.tiff",
        "r01c01f01p01-ch1sk1fk1fl1.jpg",
        "r01c01f01p01rc2-ch3sk1fk1fl1.tiff",
        "r٣c03f01p01-ch1sk1fk1fl1.tiff",
        "r01c01f01p01.tiff",
    ],
)
def test_names_that_are_none(name):
    assert parse_image_name(name) is None


def test_formatted_names_parse_to_the_same_plane():
    key = PlaneKey("AB07", 120, 11, 3, 45)
    assert format_image_name(key) == "r28c07f120p03-ch11sk45fk1fl1.tiff"
    assert parse_image_name(format_image_name(key)).key == key


def test_names_alone_tell_a_plate_without_index(tmp_path, problems):
    image(tmp_path / FIRST)
    image(tmp_path / "sub" / SECOND)
    image(tmp_path / "overview.tiff")
    image(tmp_path / ("._" + FIRST))
    image(tmp_path / "r01c01f01p01-ch1sk1fk1fl2.tiff")
    inventory = open_plate(tmp_path)
    assert inventory.format == "harmony"
    assert keys(inventory) == [("A01", 1, 1, 1, 1), ("A01", 2, 1, 1, 1)]
    assert inventory.channels == {1: "w1"}
    assert problems(inventory, "unparsed") == ["overview.tiff"]
    assert set(problems(inventory, "excluded")) == {"._" + FIRST, "r01c01f01p01-ch1sk1fk1fl2.tiff"}
    assert math.isnan(inventory.pixel_size_um)


def test_two_ways_of_naming_are_not_mixed_silently(tmp_path, problems):
    image(tmp_path / FIRST)
    image(tmp_path / "r01c01f01p01rc1-ch1sk1fk1fl1.tiff")
    image(tmp_path / "r01c01f01p01rc2-ch1sk1fk1fl1.tiff")
    inventory = open_plate(tmp_path)
    assert keys(inventory) == [("A01", 1, 1, 1, 1), ("A01", 1, 2, 1, 1)]
    assert problems(inventory, "duplicate") == ["r01c01f01p01rc1-ch1sk1fk1fl1.tiff"]
    assert any("2 names state a record" in sentence for sentence in inventory.disagreements)


# --- the index ---


def test_facts_of_images_in_any_order_with_units_and_bom(tmp_path):
    image(tmp_path / "Images" / FIRST)
    image(tmp_path / "Images" / SECOND)
    facts = {
        "ChannelName": "DAPI &amp; co",
        'ImageResolutionX Unit="um"': 0.65,
        'AbsPositionZ Unit="mm"': 2.5,
        'PositionZ Unit="m"': 9,
        'PositionY Unit="m"': "2E-05",
        "PositionX": "-1E-05",
        'ExposureTime Unit="s"': 0.1,
        'ObjectiveMagnification Unit=""': 20,
    }
    second = {**facts, "AbsPositionZ": None, 'AbsPositionZ Unit="mm"': None, 'PositionZ Unit="m"': "3E-06"}
    text = index(
        entry(FIRST, **dict(reversed(facts.items()))),
        entry(SECOND, **second),
        plate="<PlateColumns>24</PlateColumns><PlateRows>16</PlateRows><PlateID>P 7</PlateID>",
    )
    write(tmp_path / "Images" / "Index.idx.xml", BOM + text)
    inventory = open_plate(tmp_path)
    first, last = inventory.planes
    assert (first.x_um, first.y_um, first.z_um) == pytest.approx((-10, -20, 2500))
    assert last.z_um == pytest.approx(3)
    assert (inventory.pixel_size_um, inventory.pixel_size_source) == (pytest.approx(0.65), "metadata")
    assert inventory.channels == {1: "DAPI & co"}
    assert (inventory.rows, inventory.columns) == (16, 24)
    wanted = {"plate_id": "P 7", "schema": "HarmonyV5", "exposure": "0.1 s", "objective": "20x"}
    assert wanted.items() <= inventory.metadata.items()
    assert inventory.metadata["index"] == "Images/Index.idx.xml"


def test_channel_facts_in_maps_and_an_images_own_count_first(tmp_path):
    names = ["r01c01f01p01-ch1sk1fk1fl1.tiff", "r01c01f01p01-ch2sk1fk1fl1.tiff"]
    for name in names:
        image(tmp_path / name)
    maps = (
        "<Map><Entry ChannelID='1'><FlatfieldProfile>{Background: {Character: Flat}}</FlatfieldProfile></Entry>"
        "</Map><Map><Entry ChannelID='1'><ChannelName>from map</ChannelName><ImageResolutionX Unit='m'>3E-07"
        "</ImageResolutionX></Entry><Entry ChannelID='2'><ChannelName>Cy5</ChannelName>"
        "<ImageResolutionX Unit='m'>6E-07</ImageResolutionX></Entry></Map>"
    )
    own = {"ChannelName": "DAPI", 'ImageResolutionX Unit="m"': "3.1E-07"}
    text = index(entry(names[0], **own), entry(names[1]), namespace="HarmonyV7").replace("<Maps></Maps>", "")
    # Maps behind the images, as no schema forbids.
    text = text.replace("</EvaluationInputData>", f"<Maps>{maps}</Maps></EvaluationInputData>")
    write(tmp_path / "Index.xml", text)
    inventory = open_plate(tmp_path)
    assert inventory.channels == {1: "DAPI", 2: "Cy5"}
    assert [plane.pixel_size_um for plane in inventory.planes] == pytest.approx([0.31, 0.6])
    assert any("channel 1 several names: DAPI, from map" in each for each in inventory.disagreements)
    assert json.loads(inventory.metadata["flatfield"]) == {
        "1": {"background": {"character": "Flat", "mean": None}}
    }


@pytest.mark.parametrize("first", [0, 1])
def test_timepoints_are_those_of_names_whichever_way_the_index_counts(tmp_path, first):
    names = [f"r01c01f01p01-ch1sk{t}fk1fl1.tiff" for t in (1, 2, 3)]
    image(tmp_path / names[0])
    image(tmp_path / "third.tiff")
    entries = [entry(name, TimepointID=first + t) for t, name in enumerate(names[:2])]
    write(tmp_path / "Index.xml", index(*entries, entry("third.tiff", TimepointID=first + 2)))
    inventory = open_plate(tmp_path)
    assert inventory.values("timepoint") == (1, 3)
    assert inventory.missing == (("A01", 1, 1, 1, 2),)


def test_time_is_the_clock_of_the_plate_or_else_the_offset(tmp_path):
    names = [f"r01c0{c}f01p01-ch1sk1fk1fl1.tiff" for c in (1, 2)]
    for name in names:
        image(tmp_path / name)
    clock = ["2022-12-19T10:19:26.5839831+01:00", "2022-12-19T09:19:28.5839831+00:00"]
    stated = [{"AbsTime": time, 'MeasurementTimeOffset Unit="s"': 7 * i} for i, time in enumerate(clock)]
    write(tmp_path / "Index.xml", index(*map(lambda name, facts: entry(name, **facts), names, stated)))
    assert [plane.time_s for plane in open_plate(tmp_path).planes] == pytest.approx([0, 2])
    stated[1]["AbsTime"] = "0001-01-01T00:00:00"
    write(tmp_path / "Index.xml", index(*map(lambda name, facts: entry(name, **facts), names, stated)))
    assert [plane.time_s for plane in open_plate(tmp_path).planes] == pytest.approx([0, 7])


def test_a_state_other_than_ok_is_not_used_and_missing(tmp_path, problems):
    for name in (FIRST, SECOND):
        image(tmp_path / name)
    third = FIRST.replace("f01", "f03")
    states = entry(SECOND, State="Defective"), entry(third, State="NotAcquired")
    write(tmp_path / "Index.xml", index(entry(FIRST), *states))
    inventory = open_plate(tmp_path)
    assert keys(inventory) == [("A01", 1, 1, 1, 1)]
    assert [key.site for key in inventory.missing] == [2, 3]
    assert reasons(inventory, "excluded").keys() == {SECOND, "A01 s3 c1 z1 t1"}
    assert "'Defective'" in reasons(inventory, "excluded")[SECOND]


def test_lifetime_images_are_no_planes_and_not_missing(tmp_path, problems):
    image(tmp_path / FIRST)
    second = image(tmp_path / FIRST.replace("fl1", "fl2")).name
    lost = FIRST.replace("fl1", "fl3")
    write(tmp_path / "Index.xml", index(entry(FIRST), entry(second, FlimID=2), entry(lost, FlimID=3)))
    inventory = open_plate(tmp_path)
    assert keys(inventory) == [("A01", 1, 1, 1, 1)]
    assert inventory.missing == ()
    assert second in problems(inventory, "excluded")


def test_a_lifetime_image_in_the_index_does_not_hide_an_unlisted_plane(tmp_path):
    image(tmp_path / FIRST)
    second = image(tmp_path / FIRST.replace("fl1", "fl2")).name
    write(tmp_path / "Index.xml", index(entry(second, FlimID=2), entry(SECOND)))
    inventory = open_plate(tmp_path)
    assert [plane.path for plane in inventory.planes] == [FIRST]
    assert reasons(inventory, "excluded").keys() == {second}


def test_a_listed_plane_without_file_is_missing_and_nothing_else(tmp_path, problems):
    image(tmp_path / FIRST)
    image(tmp_path / "r01c02f01p01-ch2sk1fk1fl1.tiff")
    lost = "r01c03f01p01-ch1sk1fk1fl1.tiff"
    listed = entry(FIRST), entry("r01c02f01p01-ch2sk1fk1fl1.tiff"), entry(lost)
    write(tmp_path / "Index.xml", index(*listed))
    inventory = open_plate(tmp_path)
    assert inventory.missing == (("A03", 1, 1, 1, 1),)
    assert len(problems(inventory, "missing")) == 1


def test_an_image_that_the_index_does_not_list_is_a_plane(tmp_path):
    image(tmp_path / FIRST)
    image(tmp_path / SECOND)
    write(tmp_path / "Index.xml", index(entry(FIRST, PositionX=1e-5)))
    inventory = open_plate(tmp_path)
    assert keys(inventory) == [("A01", 1, 1, 1, 1), ("A01", 2, 1, 1, 1)]
    assert math.isnan(inventory.planes[1].x_um)
    assert any(SECOND in each for each in inventory.disagreements)


def test_a_name_counts_more_than_the_index(tmp_path):
    image(tmp_path / SECOND)
    write(tmp_path / "Index.xml", index(entry(SECOND, FieldID=7)))
    inventory = open_plate(tmp_path)
    assert keys(inventory) == [("A01", 2, 1, 1, 1)]
    assert inventory.missing == ()
    assert any("other numbers" in each for each in inventory.disagreements)


def test_files_tell_their_size_whatever_the_index_says(tmp_path):
    image(tmp_path / FIRST, shape=(5, 6))
    write(tmp_path / "Index.xml", index(entry(FIRST, ImageSizeX=1080, ImageSizeY=1080)))
    (plane,) = open_plate(tmp_path).planes
    assert (plane.height, plane.width) == (5, 6)


def test_entries_that_name_no_plane_or_one_twice_are_told(tmp_path, problems):
    image(tmp_path / FIRST)
    image(tmp_path / "other.tiff")
    entries = entry(FIRST), entry("other.tiff"), entry("x.tiff", Row=99), entry("", FieldID="9" * 30)
    write(tmp_path / "Index.xml", index(*entries))
    inventory = open_plate(tmp_path)
    assert keys(inventory) == [("A01", 1, 1, 1, 1)]
    assert inventory.planes[0].path == FIRST
    assert problems(inventory, "unparsed") == ["other.tiff"]
    assert any("2 entries of Index.xml name no plane" in each for each in inventory.disagreements)
    assert any("another entry names already" in each for each in inventory.disagreements)


# --- where the images are ---


@pytest.mark.parametrize(
    ("place", "index_at", "url"),
    [
        ("Images/a.tiff", "Images/Index.xml", "a.tiff"),
        ("Images/a.tiff", "Index.xml", "a.tiff"),
        ("Images/a.tiff", "Index.xml", "Images\\A.TIFF"),
        ("data/a.tiff", "meta/Index.xml", "../data/a.tiff"),
        ("r01c01/a.tiff", "index/6f2adb32.xml", "a.tiff"),
        ("far/away/a.tiff", "meta/Index.idx.xml", "a.tiff"),
        ("Images/a b.tiff", "Images/Index.xml", "a%20b.tiff"),
        ("Images/a%20b.tiff", "Images/Index.xml", "a%20b.tiff"),
        ("Images/a.tiff", "Images/Index.xml", "http://server/db/a.tiff?id=1"),
        ("Images/a.tiff", "Images/Index.xml", "file:///D:/harmony/a.tiff"),
        ("Images/a.tiff", "Images/Index.xml", "C:\\harmony\\Images\\a.tiff"),
        ("Images/a.tiff", "Images/Index.xml", "\\\\server\\share\\a.tiff"),
        ("Images/a.tiff", "Images/Index.xml", "../../../../a.tiff"),
    ],
)
def test_images_are_found_by_url(tmp_path, place, index_at, url):
    image(tmp_path / "plate" / place, 7)
    write(tmp_path / "plate" / index_at, index(entry(url, Row=2, FieldID=3)))
    inventory = open_plate(tmp_path / "plate", format="harmony")
    (plane,) = inventory.planes
    assert (plane.path, plane[:5]) == (place, ("B01", 3, 1, 1, 1))
    assert inventory.missing == ()
    assert inventory.problems == ()


@pytest.mark.parametrize(
    "url", ["../../secret.tiff", "/secret.tiff", "file:///secret.tiff", "%2e%2e/secret.tiff"]
)
def test_a_url_cannot_leave_the_plate(tmp_path, url):
    image(tmp_path / "secret.tiff")
    image(tmp_path / "plate" / "Images" / FIRST)
    write(tmp_path / "plate" / "Images" / "Index.xml", index(entry(FIRST), entry(url, FieldID=2)))
    inventory = open_plate(tmp_path / "plate")
    assert [plane.path for plane in inventory.planes] == ["Images/" + FIRST]
    assert [key.site for key in inventory.missing] == [2]


def test_a_name_that_is_there_twice_is_no_one_image(tmp_path):
    for folder in ("a", "b"):
        image(tmp_path / folder / "x.tiff")
    image(tmp_path / FIRST)
    write(tmp_path / "Index.xml", index(entry(FIRST), entry("x.tiff", FieldID=2)))
    inventory = open_plate(tmp_path)
    assert [key.site for key in inventory.missing] == [2]
    assert len(reasons(inventory, "unparsed")) == 2


# --- several indexes, damaged ones, corrected copies ---


def test_two_measurements_of_the_same_planes_are_an_error(tmp_path):
    for number, folder in enumerate(("one", "two")):
        image(tmp_path / folder / "Images" / FIRST)
        write(tmp_path / folder / "Images" / "Index.xml", index(entry(FIRST, PositionX=number)))
    with pytest.raises(PlateError, match="in one/Images and in two/Images") as caught:
        open_plate(tmp_path)
    assert "folder of one measurement" in str(caught.value)


def test_measurements_are_told_apart_by_their_id_even_if_one_has_no_images(tmp_path):
    image(tmp_path / "one" / FIRST)
    for folder in ("one", "two"):
        plate = f"<MeasurementID>{folder}</MeasurementID>"
        write(tmp_path / folder / "Index.xml", index(entry(FIRST), plate=plate))
    with pytest.raises(PlateError, match="several measurements"):
        open_plate(tmp_path)


def test_an_id_alone_does_not_make_two_sets_of_images_one_measurement(tmp_path):
    for number, folder in enumerate(("one", "two")):
        image(tmp_path / folder / FIRST)
        plate = "<MeasurementID>same</MeasurementID>"
        write(tmp_path / folder / "Index.xml", index(entry(FIRST, PositionX=number), plate=plate))
    with pytest.raises(PlateError, match="several measurements"):
        open_plate(tmp_path)


def test_the_index_of_corrected_images_belongs_to_their_measurement(tmp_path):
    name = "flex_r01c01f01p01-ch1t01.tiff"
    image(tmp_path / "Images" / "flex" / name)
    plate = "<MeasurementID>same</MeasurementID>"
    write(tmp_path / "Images" / "Index.xml", index(entry(FIRST, PositionX=1e-5), plate=plate))
    write(tmp_path / "Images" / "flex" / "index.xml", index(entry(name), plate=plate))
    inventory = open_plate(tmp_path)
    assert inventory.planes[0].path == f"Images/flex/{name}"
    assert inventory.planes[0].x_um == pytest.approx(10)
    assert inventory.problems == inventory.missing == ()


def test_measurements_of_different_wells_are_one_plate(tmp_path):
    other = FIRST.replace("c01", "c02")
    image(tmp_path / "one" / FIRST)
    image(tmp_path / "two" / other)
    write(tmp_path / "one" / "Index.xml", index(entry(FIRST)))
    write(tmp_path / "two" / "Index.xml", index(entry(other), entry(other.replace("f01", "f02"))))
    inventory = open_plate(tmp_path)
    assert inventory.wells == ("A01", "A02")
    assert inventory.missing == (("A02", 2, 1, 1, 1),)


def test_a_copied_index_is_used_once(tmp_path, problems):
    text = index(entry(FIRST, ChannelName="DAPI"))
    image(tmp_path / "Images" / FIRST)
    for place in ("Index.xml", "Images/Index.xml", "Images/Index.idx.xml"):
        write(tmp_path / place, text)
    inventory = open_plate(tmp_path)
    assert keys(inventory) == [("A01", 1, 1, 1, 1)]
    assert inventory.problems == ()
    assert len(inventory.disagreements) == 2
    image(tmp_path / "copy" / FIRST)
    write(tmp_path / "copy" / "Index.xml", text)
    assert problems(open_plate(tmp_path), "excluded") == ["copy/" + FIRST]


@pytest.mark.parametrize("kind", ["cut", "doctype", "no images", "huge", "not xml", "encoding", "utf-16"])
def test_a_damaged_index_is_reported_and_names_are_used(tmp_path, problems, kind, monkeypatch):
    for name in (FIRST, SECOND):
        image(tmp_path / name)
    text = index(entry(FIRST, ChannelName="DAPI"), entry(SECOND), entry(SECOND.replace("f02", "f03")))
    texts = {
        "cut": text[: text.rindex("<Image ")],
        "doctype": text.replace("?>", '?><!DOCTYPE x [<!ENTITY a "b">]>', 1),
        "no images": index(),
        "not xml": "\0\1\2",
        "encoding": text.replace('"utf-8"', '"no-such"'),
        "utf-16": text.replace('"utf-8"', '"utf-16"')[:-20],
    }
    write(tmp_path / "Index.xml", texts.get(kind, text), "utf-16" if kind == "utf-16" else "utf-8")
    if kind == "huge":
        with (tmp_path / "Index.xml").open("r+b") as file:
            file.truncate(1_000_000_000)
    inventory = open_plate(tmp_path)
    assert keys(inventory) == [("A01", 1, 1, 1, 1), ("A01", 2, 1, 1, 1)]
    assert problems(inventory, "unreadable") == ["Index.xml"]
    assert inventory.channels == {1: "w1"}
    assert inventory.missing == ()


def test_an_index_in_utf_16_is_read(tmp_path):
    image(tmp_path / FIRST)
    text = index(entry(FIRST, ChannelName="Zölle")).replace('"utf-8"', '"utf-16"')
    write(tmp_path / "Index.xml", text, "utf-16")
    assert open_plate(tmp_path).channels == {1: "Zölle"}


def test_corrected_copies_beside_the_originals_are_left_out(tmp_path, problems):
    image(tmp_path / "Images" / FIRST)
    copy = image(tmp_path / "Images" / "flex" / "flex_r01c01f01p01-ch1t01.tiff")
    write(tmp_path / "Images" / "Index.xml", index(entry(FIRST)))
    write(tmp_path / "Images" / "flex" / "index.xml", index(entry(copy.name)))
    inventory = open_plate(tmp_path)
    assert [plane.path for plane in inventory.planes] == ["Images/" + FIRST]
    assert problems(inventory, "excluded") == ["Images/flex/flex_r01c01f01p01-ch1t01.tiff"]
    assert "flatfield_corrected" not in inventory.metadata
    only = open_plate(tmp_path / "Images" / "flex")
    assert keys(only) == keys(inventory)
    assert only.metadata["flatfield_corrected"] == "yes"


def test_corrected_images_alone_take_facts_from_the_reference_index(tmp_path):
    image(tmp_path / "Images" / "flex" / ("flex_" + FIRST))
    write(tmp_path / "Images" / "Index.ref.xml", index(entry("http://server/" + FIRST, PositionX=1e-5)))
    inventory = open_plate(tmp_path)
    assert inventory.planes[0].x_um == pytest.approx(10)
    assert inventory.missing == inventory.problems == ()
    assert inventory.metadata["flatfield_corrected"] == "yes"


def test_sidecars_are_no_planes(tmp_path):
    image(tmp_path / "Images" / FIRST)
    write(tmp_path / "Images" / "Index.idx.xml", index(entry(FIRST)))
    write(tmp_path / "Images" / "Index.ref.xml", "<broken")
    write(tmp_path / "Assaylayout" / "x.xml", "<AssayLayout/>")
    write(tmp_path / "plate.kw.txt", "x")
    write(tmp_path / "r01c01f01p01-ch1sk1fk1fl1.jpg", "x")
    inventory = open_plate(tmp_path)
    assert len(inventory.planes) == 1
    assert inventory.problems == inventory.disagreements == ()
    assert inventory.metadata["sidecar_files"] == "5"


# --- flat-field profiles ---


def test_a_profile_without_quotes_is_read():
    profile = read_profile(PROFILE)
    assert profile["background"] == {
        "character": "NonFlat",
        "mean": 373.7,
        "type": "Polynomial",
        "coefficients": [[1.5], [-0.2, 0.4], [-0.3, 0.1, -0.5]],
        "dims": [6, 4],
        "origin": [2.5, 1.5],
        "scale": [0.2, 0.25],
    }
    assert profile["foreground"] == {"character": "Flat", "mean": None}
    quoted = '{"Background": {"Character": "Flat", "Mean": NaN}, "ChannelName": "a, {b}"}'
    assert read_profile(quoted) == {"background": {"character": "Flat", "mean": None}}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "{Background: {",
        "{Background: {Character: NonFlat}",
        "{Background}",
        "{Background: {Profile: {Coefficients: [[1], [2]]}}}",
        "{Background: {Profile: {Coefficients: [[one]]}}}",
        "{Background: {}} more",
        "{a: " * 1000,
        "[" * 100_000,
        '{"Background": ' * 20_000,
        "{Background: " + " " * (MAX_CHARACTERS - 20) + "x",
        "{" + "," * (MAX_CHARACTERS - 2),
        "x" * (MAX_CHARACTERS + 1),
    ],
)
def test_texts_that_are_no_profile(text):
    with pytest.raises(PlateError, match="flat-field profile"):
        read_profile(text)


def test_the_image_of_a_profile_is_its_polynomial_with_mean_one():
    part = read_profile(PROFILE)["background"]
    expected = np.empty((4, 6))
    for j in range(4):
        for i in range(6):
            x, y = (i - 2.5) * 0.2, (j - 1.5) * 0.25
            expected[j, i] = 1.5 - 0.2 * x + 0.4 * y - 0.3 * x * x + 0.1 * x * y - 0.5 * y * y
    found = flatfield_image(part, (4, 6))
    np.testing.assert_allclose(found, expected / expected.mean(), rtol=1e-12)
    assert found.mean() == pytest.approx(1)
    # Twice the binning: each pixel is the middle of four.
    half = flatfield_image(part, (2, 3))
    assert half.shape == (2, 3)
    assert half[0, 0] / half[1, 2] == pytest.approx(
        expected[:2, :2].mean() / expected[2:, 4:].mean(), rel=0.01
    )


def test_flat_profiles_are_ones_and_unusable_ones_refused():
    assert (flatfield_image({"character": "Flat"}, (2, 3)) == np.ones((2, 3))).all()
    assert (flatfield_image({"character": "NonFlat"}, (2, 3)) == np.ones((2, 3))).all()
    part = read_profile(PROFILE)["background"]
    for change in ({"type": "Spline"}, {"origin": None}, {"coefficients": [[-1.0]]}):
        with pytest.raises(PlateError, match="flat-field profile"):
            flatfield_image({**part, **change}, (4, 6))


def test_profiles_are_kept_from_the_index_or_the_folder_of_profiles(tmp_path):
    image(tmp_path / "Images" / FIRST)
    entries = (
        f"<Map><Entry ChannelID='1'><FlatfieldProfile>{PROFILE}</FlatfieldProfile></Entry>"
        "<Entry ChannelID='2'><FlatfieldProfile>{broken</FlatfieldProfile></Entry></Map>"
    )
    write(tmp_path / "FFC_Profile" / "FFC_Profile_Measurement 1.xml", f"<Results>{entries}</Results>")
    write(tmp_path / "Images" / "Index.xml", index(entry(FIRST)))
    for _ in range(2):
        inventory = open_plate(tmp_path)
        kept = json.loads(inventory.metadata["flatfield"])
        assert kept == {"1": read_profile(PROFILE)}
        assert any(
            "channel 2: A flat-field profile cannot be used" in each for each in inventory.disagreements
        )
        write(tmp_path / "Images" / "Index.xml", index(entry(FIRST), maps=entries))
        (tmp_path / "FFC_Profile" / "FFC_Profile_Measurement 1.xml").write_text("damaged")
    assert inventory.problems == ()


# --- round trip, reality, scale ---


@pytest.mark.parametrize(("layout", "name"), [("harmony", "Index.idx.xml"), ("harmony-v7", "Index.xml")])
def test_a_made_plate_is_read_back(tmp_path, layout, name, fingerprint):
    plate = tmp_path / "P1"
    options = {"wells": ["B02", "P24"], "sites": (2, 3), "z": 2, "timepoints": 2, "shape": (8, 8)}
    truth = make_plate(plate, layout=layout, **options)
    assert (plate / "Images" / name).read_bytes().startswith(b"\xef\xbb\xbf")
    before = fingerprint(plate)
    inventory = open_plate(plate)
    assert fingerprint(plate) == before
    assert inventory.format == "harmony"
    assert len(inventory.planes) == 2 * 6 * 2 * 2 * 2
    assert inventory.problems == inventory.disagreements == ()
    assert inventory.channels == {1: "DAPI", 2: "GFP"}
    assert inventory.grid_dimensions == (2, 3)
    assert inventory.pixel_size_um == pytest.approx(truth["pixel_size_um"])
    assert (inventory.rows, inventory.columns) == (16, 24)
    assert inventory.metadata["z_step_um"] == "3"
    assert inventory.metadata["time_interval_s"] == "30"
    first, last = (truth["wells"]["B02"]["sites"][site]["position_um"] for site in ("1", "6"))
    at = {plane.site: (plane.x_um, plane.y_um) for plane in inventory.planes if plane.well == "B02"}
    assert np.subtract(at[6], at[1]) == pytest.approx(np.subtract(last, first), abs=1e-3)


def test_the_operetta_sample(real_data, fingerprint):
    root = real_data("operetta_harmony_plate/operetta_plate")
    before = fingerprint(root)
    inventory = open_plate(root)
    assert fingerprint(root) == before
    assert inventory.format == "harmony"
    assert keys(inventory) == [("C03", 1, 1, 1, 1), ("C03", 2, 1, 1, 1)]
    assert inventory.channels == {1: "Fluorescein (FITC)"}
    assert (inventory.rows, inventory.columns) == (16, 24)
    assert inventory.grid_dimensions == (1, 2)
    assert inventory.pixel_size_um == pytest.approx(1.19595, abs=1e-5)
    first, second = inventory.planes
    assert (first.x_um, first.y_um) == pytest.approx((-645.814, -645.814))
    assert (second.x_um, second.y_um) == pytest.approx((645.814, -645.814))
    # Exactly adjacent: the distance is the width of a field.
    assert second.x_um - first.x_um == pytest.approx(1080 * inventory.pixel_size_um, rel=1e-5)
    assert (first.z_um, second.z_um) == pytest.approx((137510.493, 137508.094))
    assert second.time_s - first.time_s == pytest.approx(0.577, abs=1e-3)
    assert {(p.height, p.width, p.dtype) for p in inventory.planes} == {(1080, 1080, "uint16")}
    assert inventory.problems == inventory.disagreements == inventory.missing == ()
    facts = {
        "plate_id": "Test_Sample_BALL",
        "instrument": "Sonata",
        "objective": "10x",
        "exposure": "0.006 s",
    }
    assert {**facts, "numerical_aperture": "0.3", "schema": "HarmonyV5"}.items() <= inventory.metadata.items()
    assert read_plane(root, first).shape == (1080, 1080)
    profile = json.loads(inventory.metadata["flatfield"])["1"]
    assert profile["background"]["mean"] == 373.69866
    assert [len(row) for row in profile["foreground"]["coefficients"]] == [1, 2, 3, 4, 5]
    for part in profile.values():
        field = flatfield_image(part, (1080, 1080))
        # The vendor's own normalisation is a mean of 1, too: the centre has the constant term.
        assert field[540, 540] == pytest.approx(part["coefficients"][0][0], rel=0.01)


def test_a_long_index_takes_little_memory(tmp_path):
    import tracemalloc

    from hcs_steps.plate.formats.harmony.index import read_index

    began = datetime(2024, 1, 1)
    names = [f"r{r:02d}c{c:02d}f01p01-ch1sk1fk1fl1.tiff" for r in range(1, 17) for c in range(1, 25)]
    entries = [
        entry(name, AbsTime=(began + timedelta(seconds=i)).isoformat(), Filler="x" * 10_000)
        for i, name in enumerate(names)
    ]
    write(tmp_path / "Index.xml", index(*entries))
    tracemalloc.start()
    found = read_index(tmp_path / "Index.xml", max_bytes=10**8)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.entries) == 384
    assert peak < (tmp_path / "Index.xml").stat().st_size / 2


def test_a_lost_image_is_not_taken_from_another_folder(tmp_path, problems):
    for site in (1, 2):
        image(tmp_path / "Images" / FIRST.replace("f01", f"f0{site}"))
    write(
        tmp_path / "Images" / "Index.xml", index(entry(FIRST), entry(FIRST.replace("f01", "f02"), FieldID=2))
    )
    (tmp_path / "masks").mkdir()
    (tmp_path / "Images" / FIRST).rename(tmp_path / "masks" / FIRST)
    inventory = open_plate(tmp_path)
    assert [key.site for key in inventory.missing] == [1]
    assert problems(inventory, "excluded") == ["masks/" + FIRST]
