"""OME-Zarr plates: both versions, odd axes and chunks, lost and foreign parts, hostile JSON, our own output."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import zarr

from hcs_steps.errors import PlateError
from hcs_steps.plate import check_pixels, open_plate, read_plane
from hcs_steps.plate.formats.ome_zarr import reader as ome_zarr
from hcs_steps.plate.formats.ome_zarr import store as ome_zarr_store
from hcs_steps.plate.inventory import PlaneKey
from hcs_steps.storage import ImageMeta, OmeZarrStore, StoreSpec
from hcs_steps.storage import PlaneKey as StoredKey
from hcs_steps.storage.protocol import Expected

SPACE = {"type": "space", "unit": "micrometer"}
AXES = {
    "t": {"name": "t", "type": "time", "unit": "second"},
    "c": {"name": "c", "type": "channel"},
    **{name: {"name": name, **SPACE} for name in "zyx"},
}
CHANNELS = ("DAPI", "GFP")


def group(folder, attributes, version="0.4"):
    folder.mkdir(parents=True, exist_ok=True)
    if version == "0.4":
        (folder / ".zgroup").write_text('{"zarr_format": 2}')
        (folder / ".zattrs").write_text(json.dumps(attributes))
    else:
        document = {
            "zarr_format": 3,
            "node_type": "group",
            "attributes": {"ome": {"version": "0.5", **attributes}},
        }
        (folder / "zarr.json").write_text(json.dumps(document))


def image(
    folder, shape=(2, 4, 5), axes="cyx", version="0.4", labels=CHANNELS, moves=None, dataset="0", **options
):
    """An image group whose pixels count from 1; returns them."""
    described = [AXES.get(name, {"name": name}) if isinstance(name, str) else name for name in axes]
    if moves is None:
        moves = [{"type": "scale", "scale": [1.0 if name in "tcz" else 0.5 for name in axes]}]
    scales = {"axes": described, "datasets": [{"path": dataset, "coordinateTransformations": moves}]}
    scales |= options.pop("multiscales", {})
    group(
        folder,
        {"multiscales": [scales], "omero": {"channels": [{"label": label} for label in labels]}},
        version,
    )
    settings = {
        "chunks": tuple([1] * (len(shape) - 2) + list(shape[-2:])),
        "zarr_format": 2 if version == "0.4" else 3,
    }
    pixels = np.arange(1, 1 + math.prod(shape), dtype=options.pop("dtype", "uint16")).reshape(shape)
    array = zarr.create_array(
        store=zarr.storage.LocalStore(folder / dataset),
        shape=shape,
        dtype=pixels.dtype,
        **(settings | options),
    )
    array[:] = pixels
    return pixels


def plate_of(root, images, version="0.4", **plate):
    """A plate's groups and a well's; ``images`` is well -> fields, which are written by the test."""
    group(root, {"plate": {"wells": [{"path": path} for path in images], **plate}}, version)
    for path, fields in images.items():
        listed = [{"path": each} if isinstance(each, str) else each for each in fields]
        group(root / path, {"well": {"images": listed}}, version)
    return root


@pytest.fixture
def simple(tmp_path):
    """Wells B03 and C04 with fields 0 and 1 of two channels."""
    root = plate_of(tmp_path / "p.zarr", {"B/03": ["0", "1"], "C/04": ["0", "1"]})
    for well in ("B/03", "C/04"):
        for field in "01":
            image(root / well / field)
    return root


def edit(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def keys(inventory):
    return {PlaneKey(*plane[:5]) for plane in inventory.planes}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_synthetic_plate_is_read_back(tiny_plate, version):
    plate = tiny_plate(layout=f"ome-zarr-{version}", z=2, timepoints=2, sites=(2, 2))
    inventory = open_plate(plate)
    assert inventory.format == "ome-zarr"
    assert len(inventory.planes) == 2 * 4 * 2 * 2 * 2
    assert inventory.problems == inventory.disagreements == inventory.missing == ()
    assert inventory.channels == {1: "DAPI", 2: "GFP"}
    assert inventory.grid_dimensions == (2, 2)
    assert inventory.pixel_size_um == 0.65
    assert (inventory.rows, inventory.columns) == (8, 12)
    facts = inventory.metadata
    assert (facts["z_step_um"], facts["time_interval_s"]) == ("3", "30")
    assert (facts["ngff_version"], facts["zarr_format"]) == (version, "2" if version == "0.4" else "3")
    assert facts["resolution_levels"] == "2"
    last = inventory.planes[-1]
    assert (last.path, last.page) == ("B/03/4/0", 7)
    stored = zarr.open_array(plate / last.path, mode="r")
    np.testing.assert_array_equal(read_plane(plate, last), stored[1, 1, 1])


def test_reading_an_inventory_needs_no_zarr(simple):
    code = "import sys; from hcs_steps.plate import open_plate; open_plate(sys.argv[1]); print('zarr' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code, str(simple)], capture_output=True, text=True)
    assert run.stdout == "False\n", run.stderr


def test_the_folder_that_holds_the_plate_will_do(simple):
    inventory = open_plate(simple.parent)
    assert inventory.planes[0].path == "p.zarr/B/03/0/0"
    np.testing.assert_array_equal(
        read_plane(simple.parent, inventory.planes[1]), read_plane(simple, open_plate(simple).planes[1])
    )


def test_several_plates_are_named(simple):
    shutil.copytree(simple, simple.parent / "q.zarr")
    with pytest.raises(PlateError, match=r"2 OME-Zarr plates: p\.zarr, q\.zarr"):
        open_plate(simple.parent)


@pytest.mark.parametrize("part", ["B/03/0", "B/03"])
def test_an_image_or_well_is_no_plate(simple, part):
    with pytest.raises(PlateError, match="format"):
        open_plate(simple / part)
    with pytest.raises(PlateError, match="not an OME-Zarr plate"):
        open_plate(simple / part, format="ome-zarr")


def test_sites_have_the_numbers_of_the_store_and_nothing_is_written(simple, fingerprint):
    before = fingerprint(simple)
    inventory = open_plate(simple)
    for plane in inventory.planes:
        read_plane(simple, plane)
    assert inventory.values("site") == (0, 1)
    assert inventory.wells == ("B03", "C04")
    assert "site_names" not in inventory.metadata
    assert fingerprint(simple) == before


def test_fields_with_other_names_follow_and_are_the_same_in_all_wells(tmp_path):
    wells = {"A/1": ["0", "0reg"], "A/2": ["0reg"], "A/3": ["other", "0"]}
    root = plate_of(tmp_path, wells)
    for well, fields in wells.items():
        for field in fields:
            image(root / well / field)
    inventory = open_plate(root)
    assert {(plane.well, plane.site) for plane in inventory.planes} == {
        *(("A01", site) for site in (0, 1)),
        ("A02", 1),
        *(("A03", site) for site in (0, 2)),
    }
    assert inventory.metadata["site_names"] == "1 = 0reg, 2 = other"


@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        ("yx", (4, 5)),
        ("zyx", (3, 4, 5)),
        ("tyx", (3, 4, 5)),
        ("tczyx", (2, 2, 3, 4, 5)),
        ("zcyx", (3, 2, 4, 5)),
        ("cxy", (2, 5, 4)),
        ("xyz", (5, 4, 3)),
    ],
)
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_axes_are_told_by_their_names(tmp_path, axes, shape, version):
    root = plate_of(tmp_path, {"A/1": ["0"]}, version)
    pixels = image(root / "A/1/0", shape, axes, version, chunks=(1,) * len(shape))
    inventory = open_plate(root)
    length = dict(zip(axes, shape, strict=True))
    assert len(inventory.planes) == math.prod(length.get(name, 1) for name in "tcz")
    for plane in inventory.planes:
        place = {"t": plane.timepoint - 1, "c": plane.channel - 1, "z": plane.z_index - 1}
        expected = pixels[tuple(place.get(name, slice(None)) for name in axes)]
        expected = expected.T if axes.index("x") < axes.index("y") else expected
        np.testing.assert_array_equal(read_plane(root, plane), expected)
        assert (plane.height, plane.width, plane.dtype) == (4, 5, "uint16")


@pytest.mark.parametrize(
    ("version", "options"),
    [
        ("0.4", {"chunk_key_encoding": {"name": "v2", "separator": "."}}),
        ("0.4", {"chunk_key_encoding": {"name": "v2", "separator": "/"}}),
        ("0.5", {"chunk_key_encoding": {"name": "v2", "separator": "."}}),
        ("0.5", {"chunk_key_encoding": {"name": "default", "separator": "."}}),
        ("0.5", {"chunk_key_encoding": {"name": "default", "separator": "/"}}),
        ("0.5", {"shards": (2, 4, 4, 6), "chunks": (1, 2, 2, 3)}),
        ("0.5", {"chunks": (1, 4, 2, 3)}),
        ("0.4", {"chunks": (2, 3, 4, 4)}),
    ],
)
def test_a_replaced_chunk_changes_its_planes_only(tmp_path, version, options):
    root = plate_of(tmp_path, {"A/1": ["0"], "A/2": ["0"]}, version)
    settings = {"chunks": (1, 2, 3, 3)} | options
    for well in ("A/1", "A/2"):
        pixels = image(root / well / "0", (2, 4, 4, 5), "czyx", version, **settings)
    inventory = open_plate(root)
    assert inventory.problems == inventory.disagreements == ()
    assert len(inventory.planes) == 2 * 8
    array = zarr.open_array(root / "A/1/0/0")
    before = {path: path.stat().st_mtime_ns for path in (root / "A/1/0/0").rglob("*") if path.is_file()}
    array[1, 3] = 77
    changed = [path for path, mtime in before.items() if path.stat().st_mtime_ns != mtime]
    for path in changed:
        os.utime(path, ns=(0, 2 * 10**18))
    after = open_plate(root)
    deep, wide = (array.shards or array.chunks)[:2]
    expected = {
        ("A01", c + 1, z + 1)
        for c in range(2)
        for z in range(4)
        if (c // deep, z // wide) == (1 // deep, 3 // wide)
    }
    differing = {
        (new.well, new.channel, new.z_index)
        for old, new in zip(inventory.planes, after.planes, strict=True)
        if (old.size, old.mtime_ns) != (new.size, new.mtime_ns)
    }
    assert differing == expected
    pixels[1, 3] = 77
    for plane in after.planes[:8]:
        np.testing.assert_array_equal(read_plane(root, plane), pixels[plane.channel - 1, plane.z_index - 1])


def test_a_plane_has_the_bytes_of_its_chunks_and_their_newest_time(simple):
    chunk = simple / "B/03/0/0/1.0.0"
    os.utime(chunk, ns=(0, 3 * 10**18))
    first, second = open_plate(simple).planes[:2]
    header = (simple / "B/03/0/0/.zarray").stat().st_size
    assert second.size == header + chunk.stat().st_size
    assert second.mtime_ns == 3 * 10**18 != first.mtime_ns


def test_a_plane_without_chunks_is_constant_and_told_once(simple, problems):
    (simple / "B/03/0/0/1.0.0").unlink()
    inventory = open_plate(simple)
    assert len(inventory.planes) == 8
    assert problems(inventory, "constant") == ["B03 s0 c2 z1 t1"]
    assert len(inventory.problems) == 1
    assert "fill value 0" in inventory.problems[0].why
    assert inventory.planes[1].size > 0
    assert not read_plane(simple, inventory.planes[1]).any()
    assert not [each for each in check_pixels(inventory, deep=True).problems if each.kind == "constant"]


def test_a_part_of_a_plane_without_chunk_is_said(tmp_path):
    root = plate_of(tmp_path, {"A/1": ["0"]})
    image(root / "A/1/0", chunks=(1, 2, 5))
    (root / "A/1/0/0/0.1.0").unlink()
    inventory = open_plate(root)
    assert inventory.problems == ()
    (sentence,) = inventory.disagreements
    assert "fill value" in sentence
    assert "A01 s0 c1 z1 t1" in sentence


def test_an_empty_chunk_file_is_named(simple, problems):
    (simple / "B/03/0/0/1.0.0").write_bytes(b"")
    inventory = open_plate(simple)
    assert [(each.kind, each.what) for each in inventory.problems] == [("zero-byte", "B/03/0/0/1.0.0")]
    with pytest.raises(PlateError, match="B/03/0/0"):
        read_plane(simple, inventory.planes[1])


def test_a_file_that_is_no_chunk_is_named(simple, problems):
    for name in ("2.0.0", "0.0", "0.0.0.tmp", "+1.0.0", "1" * 5000, ".DS_Store"):
        if len(name) < 200:
            (simple / "B/03/0/0" / name).write_bytes(b"x")
    inventory = open_plate(simple)
    assert {what.rpartition("/")[2] for what in problems(inventory, "unparsed")} == {
        "2.0.0",
        "0.0",
        "0.0.0.tmp",
        "+1.0.0",
    }
    assert len(inventory.planes) == 8


def test_what_is_listed_and_absent_is_missing(simple, problems):
    shutil.rmtree(simple / "B/03/1")  # the image
    shutil.rmtree(simple / "C/04/1/0")  # its array
    edit(simple / ".zattrs", lambda each: each["plate"]["wells"].append({"path": "D/05"}))
    inventory = open_plate(simple)
    assert len(inventory.planes) == 4
    assert set(inventory.missing) == {
        PlaneKey(well, site, channel, 1, 1)
        for well, site in (("B03", 1), ("C04", 1), ("D05", 0))
        for channel in (1, 2)
    }
    assert problems(inventory, "missing") == ["B03 s1", "C04 s1", "D05"]


def test_what_is_there_and_not_listed_is_read(simple):
    edit(simple / ".zattrs", lambda each: each["plate"]["wells"].pop())
    edit(simple / "B/03/.zattrs", lambda each: each["well"]["images"].pop())
    group(simple / "B/03/tables", {})
    inventory = open_plate(simple)
    assert len(inventory.planes) == 8
    assert inventory.problems == ()
    assert [sentence.rpartition("(")[2] for sentence in inventory.disagreements] == ["C/04)", "B/03/1)"]


@pytest.mark.parametrize(
    ("path", "planes", "missing"),
    [(".zattrs", 8, 0), ("B/03/.zattrs", 8, 0), ("B/03/1/.zattrs", 6, 2), ("B/03/1/0/.zarray", 6, 2)],
)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe\xff",
        b"[" * 200_000,
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": "' + b"x" * 20_000_000 + b'"}',
    ],
    ids=["empty", "cut", "list", "bytes", "deep", "digits", "large"],
)
def test_a_damaged_file_costs_what_it_describes(
    simple, monkeypatch, problems, path, planes, missing, content
):
    monkeypatch.setattr(ome_zarr_store, "CONSOLIDATED_BYTES_PER_FILE", 0)
    (simple / path).write_bytes(content)
    inventory = open_plate(simple)
    assert len(inventory.planes) == planes
    assert len(inventory.missing) == missing
    (what,) = problems(inventory, "unreadable")
    assert path.startswith(what)


WRONG = [
    None,
    7,
    "x",
    [],
    {},
    [None],
    [[]],
    {"a": 1},
    -1,
    10**30,
    True,
    [1e400],
    ["", 5],
    [{}],
    [{"path": 3}],
]


@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_wrong_types_end_in_an_inventory_or_an_error_of_ours(simple, value):
    """Every value of every document of one image, replaced in turn."""
    for path in (".zattrs", "B/03/.zattrs", "B/03/1/.zattrs", "B/03/1/0/.zarray"):
        original = (simple / path).read_text()
        for place in places(json.loads(original)):
            document = json.loads(original)
            target = document
            for step in place[:-1]:
                target = target[step]
            target[place[-1]] = value
            (simple / path).write_text(json.dumps(document))
            inventory = open_plate(simple)
            assert ("B03", 0, 1, 1, 1) in keys(inventory)
            assert {plane.pixel_size_um for plane in inventory.planes if plane.site == 0} <= {0.5}
        (simple / path).write_text(original)


def places(value, above=()):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, child in items:
        yield (*above, step)
        yield from places(child, (*above, step))


@pytest.mark.parametrize(
    "path", ["../../out/A/1", "/etc", "..", "B/../C", "", "b/3/1", "B", "7/7", "Ä/1", "B/-1", "B/99"]
)
def test_well_paths_lead_nowhere_but_into_the_store(simple, path, problems):
    edit(simple / ".zattrs", lambda each: each["plate"]["wells"].append({"path": path}))
    inventory = open_plate(simple)
    assert len(inventory.planes) == 8
    assert problems(inventory, "unparsed") == ([path.strip("/")] if path else [])


def test_image_and_array_paths_lead_nowhere_but_into_the_store(simple):
    outside = simple.parent / "out"
    image(outside)
    for path in ("../../../out", str(outside), "file:///etc"):
        edit(simple / "B/03/.zattrs", lambda each, path=path: each["well"]["images"].append({"path": path}))
    edit(simple / "C/04/0/.zattrs", lambda each: each["multiscales"][0]["datasets"][0].update(path="../1/0"))
    inventory = open_plate(simple)
    assert {plane.path for plane in inventory.planes} == {"B/03/0/0", "B/03/1/0", "C/04/1/0"}
    assert len(inventory.missing) == 2 * 4


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [10**9, 4, 5], "chunks": [10**9, 4, 5]},
        {"shape": [10**9, 4, 5]},
        {"shape": [10**5, 10**5, 10**5, 4, 5], "chunks": [1, 1, 1, 4, 5]},
        {"shape": [2, 10**30, 5]},
        {"shape": [2, 0, 5]},
        {"shape": [2.5, 4, 5]},
        {"chunks": [0, 4, 5]},
        {"chunks": [4, 5]},
        {"shape": [True, 4, 5]},
        {"dtype": "<c8"},
        {"dtype": [["r", "<u2"]]},
        {"dimension_separator": "\\"},
    ],
    ids=str,
)
def test_impossible_arrays_are_refused(simple, changes, problems):
    edit(simple / "B/03/1/0/.zarray", lambda each: each.update(changes))
    inventory = open_plate(simple)
    assert len(inventory.planes) == 6
    assert problems(inventory, "unreadable") == ["B/03/1/0/.zarray"]
    assert len(inventory.missing) == 2


def test_a_plane_of_countless_chunks_takes_no_time(simple):
    """A plane is looked up among its files, not among the chunks that it could have."""
    change = {"shape": [2, 2**31 - 1, 2**31 - 1], "chunks": [1, 1, 1]}
    edit(simple / "B/03/1/0/.zarray", lambda each: each.update(change))
    inventory = open_plate(simple)
    assert {plane.height for plane in inventory.planes if plane.well == "B03"} == {4}
    assert any("claims 2147483647 x 2147483647 pixels" in problem.why for problem in inventory.problems)


def test_more_absent_fields_than_can_be_listed(simple, monkeypatch, problems):
    monkeypatch.setattr(ome_zarr, "MOST_PLANES", 8)
    monkeypatch.setattr(ome_zarr, "PLANES_PER_FILE", 0)
    more = [{"path": str(number)} for number in range(2, 100)]
    edit(simple / "B/03/.zattrs", lambda each: each["well"]["images"].extend(more))
    inventory = open_plate(simple)
    assert len(inventory.planes) == 8
    assert problems(inventory, "missing") == ["98 fields"]


def test_nothing_readable_says_why(tmp_path):
    root = plate_of(tmp_path, {"A/1": ["0"]})
    image(root / "A/1/0", (3, 2, 4, 5), ("q", "c", "y", "x"))
    with pytest.raises(PlateError, match="axis 'q'"):
        open_plate(root)


def scaled(*scale, shift=None):
    moves = [{"type": "scale", "scale": list(scale)}]
    return moves + ([{"type": "translation", "translation": list(shift)}] if shift else [])


def test_sizes_and_positions_with_units_and_both_levels_of_transformations(tmp_path):
    """x = (0.25 * i + 3) * 2 + 10 nm, from the centre of the first of 5 pixels."""
    root = plate_of(tmp_path, {"A/1": ["0"]})
    axes = [
        {"name": "T", "type": "time", "unit": "minute"},
        {"name": "channel", "type": "channel"},
        {"name": "z", "type": "space", "unit": "millimeter"},
        *({"name": name, "type": "space", "unit": "nanometer"} for name in "yx"),
    ]
    image(
        root / "A/1/0",
        (2, 2, 3, 4, 5),
        axes,
        moves=scaled(2.0, 1, 0.002, 250, 250, shift=(1, 0, 0.001, 1000, 3000)),
        multiscales={"coordinateTransformations": scaled(1, 1, 1, 2, 2, shift=(0, 0, 0, 0, 10_000))},
    )
    inventory = open_plate(root)
    first, last = inventory.planes[0], inventory.planes[-1]
    assert inventory.pixel_size_um == 0.5
    assert (first.x_um, first.y_um) == (pytest.approx(16 + 2 * 0.5), pytest.approx(2 + 1.5 * 0.5))
    assert (first.z_um, last.z_um) == (pytest.approx(1), pytest.approx(5))
    assert (first.time_s, last.time_s) == (0, 120)
    assert (last.channel, last.z_index, last.timepoint) == (2, 3, 2)


@pytest.mark.parametrize(
    ("moves", "axes", "said"),
    [
        ([], "cyx", ""),
        (scaled(1.0, 1.0, 1.0), [AXES["c"], {"name": "y"}, {"name": "x"}], ""),
        (scaled(1, 0.3, 0.3), [AXES["c"], {"name": "y"}, {"name": "x"}], "0.3, has no unit"),
        (scaled(0.3, 0.3), "cyx", "cannot be used"),
        (scaled(1, 0.3, "x"), "cyx", "cannot be used"),
        ([{"type": "scale", "path": "/etc/passwd"}], "cyx", "cannot be used"),
        ([{"type": "affine", "affine": [1]}], "cyx", "cannot be used"),
        (scaled(1, 0.3, -0.3), "cyx", "is not possible"),
    ],
)
def test_an_unknown_pixel_size_is_not_one(tmp_path, moves, axes, said):
    root = plate_of(tmp_path, {"A/1": ["0"]})
    image(root / "A/1/0", axes=axes, moves=moves)
    inventory = open_plate(root)
    assert math.isnan(inventory.pixel_size_um)
    assert inventory.pixel_size_source == "unknown"
    assert [said in sentence for sentence in inventory.disagreements] == ([True] if said else [])


def test_pixels_that_are_not_square_are_said(simple):
    edit(
        simple / "B/03/0/.zattrs",
        lambda each: each["multiscales"][0]["datasets"][0].update(
            coordinateTransformations=scaled(1, 0.6, 0.5)
        ),
    )
    (sentence,) = open_plate(simple).disagreements
    assert "0.5 um wide and 0.6 um high" in sentence


def test_a_translation_of_nothing_everywhere_is_no_position(simple):
    for path in simple.glob("*/*/*/.zattrs"):
        edit(
            path,
            lambda each: each["multiscales"][0]["datasets"][0].update(
                coordinateTransformations=scaled(1, 0.5, 0.5, shift=(0, 0, 0))
            ),
        )
    assert all(math.isnan(plane.x_um) for plane in open_plate(simple).planes)


def test_images_may_differ_in_shape_dtype_and_channels(tmp_path):
    root = plate_of(tmp_path, {"A/1": ["0", "1", "2"]})
    image(root / "A/1/0", (2, 4, 5))
    image(root / "A/1/1", (3, 6, 7), labels=("GFP", "RFP", "DAPI"), dtype=">i4")
    image(root / "A/1/2", (1, 4, 5), labels=(), dtype="float32")
    inventory = open_plate(root)
    assert inventory.channels == {1: "DAPI", 2: "GFP", 3: "RFP"}
    by_site = {
        site: [(p.channel, p.page, p.height, p.dtype) for p in inventory.planes if p.site == site]
        for site in (0, 1, 2)
    }
    assert by_site[0] == [(1, 0, 4, "uint16"), (2, 1, 4, "uint16")]
    assert by_site[1] == [(1, 2, 6, "int32"), (2, 0, 6, "int32"), (3, 1, 6, "int32")]
    assert by_site[2] == [(1, 0, 4, "float32")]
    assert inventory.missing == ()
    for plane in inventory.planes:
        assert read_plane(root, plane).dtype == plane.dtype


def test_channels_without_names(tmp_path):
    root = plate_of(tmp_path, {"A/1": ["0"]})
    image(root / "A/1/0", labels=())
    assert open_plate(root).channels == {1: "w1", 2: "w2"}


def test_channels_of_one_name_are_two(tmp_path):
    root = plate_of(tmp_path, {"A/1": ["0"]})
    image(root / "A/1/0", labels=("GFP", "GFP"))
    assert open_plate(root).channels == {1: "GFP_w1", 2: "GFP_w2"}


def test_every_image_of_several_acquisitions_is_a_site(tmp_path):
    listed = [{"path": "0", "acquisition": 0}, {"path": "1", "acquisition": 5}]
    root = plate_of(tmp_path, {"A/1": listed}, acquisitions=[{"id": 0}, {"id": 5, "name": "cycle 2"}])
    image(root / "A/1/0")
    image(root / "A/1/1", labels=("DAPI", "Cy5"))
    inventory = open_plate(root)
    assert {(plane.site, plane.channel) for plane in inventory.planes} == {(0, 1), (0, 2), (1, 1), (1, 3)}
    assert inventory.channels == {1: "DAPI", 2: "GFP", 3: "Cy5"}
    assert inventory.metadata["acquisitions"] == "0 (sites 0); 5 cycle 2 (sites 1)"
    assert "2 acquisitions" in inventory.disagreements[0]


def test_labels_tables_and_levels_are_no_planes(simple):
    for where in ("labels/cells", "labels/nuclei"):
        image(simple / "B/03/0" / where)
    group(simple / "B/03/0/tables/regions", {})
    group(simple / "B/03/0/odd", {})
    levels = [{"path": path, "coordinateTransformations": scaled(1, 0.5, 0.5)} for path in ("0", "1")]
    shutil.copytree(simple / "B/03/0/0", simple / "B/03/0/1")
    edit(simple / "B/03/0/.zattrs", lambda each: each["multiscales"][0].update(datasets=levels))
    inventory = open_plate(simple)
    assert len(inventory.planes) == 8
    assert inventory.problems == inventory.disagreements == ()
    facts = inventory.metadata
    assert facts["labels"] == "cells (in 1 images), nuclei (in 1 images)"
    assert facts["tables"] == "regions (in 1 images)"
    assert facts["other_groups"] == "odd (in 1 images)"
    assert facts["resolution_levels"] == "2"


def test_a_tiff_beside_the_plate_is_accounted_for(simple, problems):
    (simple.parent / "overview.tif").write_bytes(b"x")
    assert problems(open_plate(simple.parent), "unparsed") == ["overview.tif"]


@pytest.mark.parametrize("axes", [["t", "c", "z", "y", "x"], None])
def test_plates_from_before_0_4(tmp_path, axes):
    root = plate_of(tmp_path, {"A/1": ["0"]})
    image(root / "A/1/0", (1, 2, 1, 4, 5), "tczyx", moves=[], multiscales={"axes": axes})
    inventory = open_plate(root)
    assert [plane.channel for plane in inventory.planes] == [1, 2]
    assert math.isnan(inventory.pixel_size_um)


@pytest.fixture
def own_plate(tmp_path):
    """A plate that hcs-steps wrote: site 3 with channel 2 in z 0 to 2 and channel 4 as a projection."""
    wells = {"A01": (3,), "B02": (3,), "C03": (3,)}
    spec = StoreSpec(tmp_path / "step.ome.zarr", "P", 8, 12, wells)
    store = OmeZarrStore(spec)
    store.declare()
    rng = np.random.default_rng(0)
    known = [StoredKey(3, 2, z, 5) for z in (0, 1, 2)] + [StoredKey(3, 4, 0, 5)]
    images = {key: rng.integers(1, 99, (40, 50), np.uint16) for key in known}
    meta = ImageMeta({2: "GFP", 4: "Cy5"}, 0.65, 2.0, positions_um={3: (1000.0, -200.0)})
    labels = {"cells": {known[0]: np.ones((40, 50), np.uint32)}}
    store.publish("A01", images, labels, meta)
    store.publish("B02", {}, labels, meta)  # C03 failed
    return spec.path, images


def test_our_own_output_is_a_plate(own_plate, problems):
    path, images = own_plate
    inventory = open_plate(path)
    assert inventory.format == "ome-zarr"
    assert keys(inventory) == {("A01", *key) for key in images}
    for plane in inventory.planes:
        np.testing.assert_array_equal(read_plane(path, plane), images[StoredKey(*plane[1:5])])
        assert (plane.x_um, plane.y_um) == (pytest.approx(1000), pytest.approx(-200))
    assert inventory.channels == {2: "GFP", 4: "Cy5"}
    assert (inventory.rows, inventory.columns, inventory.pixel_size_um) == (8, 12, 0.65)
    assert inventory.metadata["z_step_um"] == "2"
    assert problems(inventory, "missing") == ["C03"]
    assert problems(inventory, "excluded") == ["B/02/3"]
    assert len(inventory.missing) == len(images)


def test_a_lost_chunk_of_our_own_output_is_missing(tmp_path):
    """hcs-steps writes chunks of zeros, too, so a chunk without a file was lost."""
    spec = StoreSpec(tmp_path / "s.zarr", "P", 8, 12, {"A01": (1,), "A02": (1,)})
    store = OmeZarrStore(spec)
    store.declare()
    for well in spec.wells:
        store.publish(well, {StoredKey(1, 1, 1, 1): np.zeros((4, 5), np.uint16)}, {}, ImageMeta({}))
    shutil.rmtree(spec.path / "A/02/1/0/c")
    inventory = open_plate(spec.path)
    assert keys(inventory) == {("A01", 1, 1, 1, 1)}
    assert inventory.missing == (("A02", 1, 1, 1, 1),)


def test_our_own_plate_without_sizes_and_positions(tmp_path):
    store = OmeZarrStore(StoreSpec(tmp_path / "s.zarr", "P", 8, 12, {"A01": (1,)}))
    store.declare()
    store.publish("A01", {StoredKey(1, 1, 1, 1): np.ones((4, 5), np.uint16)}, {}, ImageMeta({}))
    inventory = open_plate(tmp_path / "s.zarr")
    assert math.isnan(inventory.pixel_size_um)
    assert math.isnan(inventory.planes[0].x_um)
    assert inventory.disagreements == ()


def test_a_real_plate(real_data, fingerprint):
    """All of README.txt that concerns reading."""
    root = real_data("omezarr_cardiomyocyte_plate")
    name = "20200812-CardiomyocyteDifferentiation14-Cycle1"
    (plate,) = root.glob("*.zarr")
    before = fingerprint(plate)
    inventory = open_plate(plate)
    assert inventory.format == "ome-zarr"
    assert inventory.wells == ("B03",)
    assert inventory.channels == {1: "DAPI", 2: "nanog", 3: "Lamin B1"}
    assert [plane[:5] for plane in inventory.planes] == [("B03", 0, channel, 1, 1) for channel in (1, 2, 3)]
    assert {(p.height, p.width, p.dtype, p.path) for p in inventory.planes} == {
        (1080, 1280, "uint16", "B/03/0/0")
    }
    assert (inventory.pixel_size_um, inventory.pixel_size_source) == (0.65, "metadata")
    assert (inventory.rows, inventory.columns) == (8, 12)
    assert inventory.problems == inventory.disagreements == ()
    facts = inventory.metadata
    assert (facts["plate_name"], facts["ngff_version"]) == (name, "0.4")
    assert facts["labels"] == "nuclei (in 1 images)"
    tables = ("FOV_ROI_table", "nuclei_ROI_table", "regionprops_DAPI", "well_ROI_table")
    assert facts["tables"] == ", ".join(f"{table} (in 1 images)" for table in tables)
    assert facts["channel_windows"] == "1 = 0 to 700, 2 = 0 to 200, 3 = 0 to 1500"
    stored = zarr.open_array(plate / "B/03/0/0", mode="r")
    for plane in inventory.planes:
        pixels = read_plane(plate, plane)
        np.testing.assert_array_equal(pixels, stored[plane.channel - 1, 0])
        assert pixels.max() > pixels.mean() > 0
    assert [plane.path for plane in open_plate(root).planes] == [f"{plate.name}/B/03/0/0"] * 3
    assert fingerprint(plate) == before


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_images_that_a_store_of_ours_only_announces_are_missing(tmp_path, version):
    keys = tuple(StoredKey(1, channel, 1, 1) for channel in (1, 2))
    look = Expected(keys, 16, 16, "uint16", {1: "DAPI", 2: "GFP"})
    wells = {"A01": (1,), "A02": (1,)}
    expected = dict.fromkeys(wells, (look,))
    spec = StoreSpec(tmp_path / "s.zarr", "P", 8, 12, wells, expected=expected, ngff_version=version)
    store = OmeZarrStore(spec)
    store.declare()
    images = {key: np.full((16, 16), 7, np.uint16) for key in keys}
    store.publish("A01", images, {}, ImageMeta(channels={1: "DAPI", 2: "GFP"}))
    inventory = open_plate(spec.path, keep=False)
    assert list(inventory.wells) == ["A01"]
    assert {(key.well, key.channel) for key in inventory.missing} == {("A02", 1), ("A02", 2)}
