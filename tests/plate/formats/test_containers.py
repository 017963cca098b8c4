"""Plates of CZI files, real ones that are written here, and of ND2 files, by a stand-in for their library.

There is no public writer of ND2: what is tested of it is what is made of the answers of bioio-nd2 and nd2.
"""

from __future__ import annotations

import math
import sys
from collections import namedtuple
from datetime import timedelta
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from hcs_steps.errors import PlateError
from hcs_steps.plate import open_plate, read_plane
from hcs_steps.plate.formats.containers import reader as container_reader
from hcs_steps.plate.formats.containers.facts import PlaneIndex, Sizes


def test_pages_count_planes_in_c_order():
    sizes = Sizes(3, 2, 4, 5, 6)
    indices = [sizes.place(page) for page in range(math.prod(sizes))]
    assert indices[:7] == [PlaneIndex(0, 0, 0, 0, z) for z in range(6)] + [PlaneIndex(0, 0, 0, 1, 0)]
    assert [sizes.page(index) for index in indices] == list(range(math.prod(sizes)))


@pytest.mark.parametrize(("suffix", "vendor"), [(".czi", "Zeiss CZI"), (".nd2", "Nikon ND2")])
def test_without_the_packages_they_are_asked_for(tmp_path, monkeypatch, suffix, vendor):
    monkeypatch.setattr(container_reader, "find_spec", lambda name: None)
    (tmp_path / f"A01{suffix}").write_bytes(b"x")
    with pytest.raises(PlateError, match=vendor) as caught:
        open_plate(tmp_path)
    assert f"A01{suffix}" in str(caught.value)
    assert "pip install 'hcs-steps[formats]'" in str(caught.value)


# --- CZI ---------------------------------------------------------------------------------------------------


@pytest.fixture
def czi():
    """The module that writes CZI files."""
    pytest.importorskip("aicspylibczi", reason="the extra `formats` is not installed")
    pytest.importorskip("bioio_czi", reason="the extra `formats` is not installed")
    return pytest.importorskip(
        "pylibCZIrw.czi", reason="pylibCZIrw, which writes the files, is not installed"
    )


def write_czi(module, path, planes, scenes=(), channels=("DAPI", "GFP")):
    """``planes``: (scene, x, y, time, channel, z, value); ``scenes``: (name, well)."""
    with module.create_czi(str(path)) as writer:
        for scene, x, y, time, channel, z, value in planes:
            pixels = np.full((4, 5, 1), value, "uint16")
            writer.write(pixels, plane={"T": time, "C": channel, "Z": z}, scene=scene, location=(x, y))
        names = dict(enumerate(channels))
        writer.write_metadata("x", channel_names=names, scale_x=0.65e-6, scale_y=0.65e-6, scale_z=2e-6)
    if scenes:
        text = "".join(
            f'<Scene Index="{n}" Name="{name}"><Shape Name="{well}"/></Scene>'
            for n, (name, well) in enumerate(scenes)
        )
        with module.edit_czi(str(path)) as editor:
            edit = editor.begin_edit()
            edit.set_xml(edit.get_xml().replace("</Channels>", f"</Channels><S><Scenes>{text}</Scenes></S>"))
            edit.commit()


def grid(scene, x=0, y=0, times=1, channels=2, depth=1, value=0):
    return [
        (scene, x, y, t, c, z, value + 100 * t + 10 * c + z)
        for t in range(times)
        for c in range(channels)
        for z in range(depth)
    ]


def test_scenes_of_a_czi_plate(tmp_path, czi):
    planes = [
        *grid(0, times=2, depth=2, value=1000),
        *grid(1, x=100, y=20, times=2, depth=2, value=2000),
        *grid(2, x=500, y=20, times=2, depth=2, value=3000),
    ]
    write_czi(czi, tmp_path / "plate.czi", planes, [("P1", "B2"), ("P2", "B2"), ("P3", "C12")])
    inventory = open_plate(tmp_path)
    assert inventory.format == "bioio"
    assert inventory.wells == ("B02", "C12")
    assert inventory.channels == {1: "DAPI", 2: "GFP"}
    assert len(inventory.planes) == 24
    assert {plane[9:12] for plane in inventory.planes} == {(4, 5, "uint16")}
    assert (inventory.pixel_size_um, inventory.pixel_size_source) == (pytest.approx(0.65), "metadata")
    assert inventory.metadata["z_step_um"] == "2"
    places = {(p.well, p.site): (p.x_um, p.y_um) for p in inventory.planes}
    first, second = places["B02", 1], places["B02", 2]
    assert second[0] - first[0] == pytest.approx(100 * 0.65)
    assert second[1] - first[1] == pytest.approx(20 * 0.65)
    for plane in inventory.planes:
        base = {("B02", 1): 1000, ("B02", 2): 2000, ("C12", 1): 3000}[plane.well, plane.site]
        value = base + 100 * (plane.timepoint - 1) + 10 * (plane.channel - 1) + plane.z_index - 1
        assert np.all(read_plane(tmp_path, plane) == value)
    assert inventory.problems == inventory.disagreements == ()


def test_tiles_of_a_scene_are_sites(tmp_path, czi):
    planes = [
        plane
        for scene in (0, 1)
        for tile in range(4)
        for plane in grid(
            scene, x=scene * 900 + tile % 2 * 4, y=tile // 2 * 3, value=1000 * scene + 100 * tile
        )
    ]
    write_czi(czi, tmp_path / "plate.czi", planes, [("TR1", "B2"), ("TR2", "B3")])
    inventory = open_plate(tmp_path)
    assert {(p.well, p.site) for p in inventory.planes} == {
        (w, s) for w in ("B02", "B03") for s in (1, 2, 3, 4)
    }
    assert inventory.grid_dimensions == (2, 2)
    cells = {p.site: (p.grid_row, p.grid_column) for p in inventory.planes}
    assert cells == {1: (0, 0), 2: (0, 1), 3: (1, 0), 4: (1, 1)}
    for plane in inventory.planes:
        value = 1000 * (plane.well == "B03") + 100 * (plane.site - 1) + 10 * (plane.channel - 1)
        assert np.all(read_plane(tmp_path, plane) == value)


def test_a_plane_that_a_czi_lacks_is_missing(tmp_path, czi, problems):
    planes = [plane for plane in grid(0, depth=2) if plane[4:6] != (1, 1)] + grid(1, x=50, depth=2)
    write_czi(czi, tmp_path / "plate.czi", planes, [("P1", "B2"), ("P2", "B3")])
    inventory = open_plate(tmp_path)
    assert inventory.missing == (("B02", 1, 2, 2, 1),)
    assert len(inventory.planes) == 7


def test_a_czi_file_per_well(tmp_path, czi, problems):
    for number, name in enumerate(("A01", "A02", "overview")):
        write_czi(czi, tmp_path / f"{name}.czi", grid(0, value=number))
    (tmp_path / "A03.czi").write_bytes(b"ZISRAWFILE damaged")
    (tmp_path / "A04.czi").write_bytes(b"")
    (tmp_path / "x.tif").write_bytes(b"")
    inventory = open_plate(tmp_path)
    assert inventory.wells == ("A01", "A02")
    assert problems(inventory, "unreadable") == ["A03.czi"]
    assert problems(inventory, "zero-byte") == ["A04.czi"]
    assert problems(inventory, "unparsed") == ["overview.czi", "x.tif"]


def test_scenes_without_names_are_not_lost(tmp_path, czi):
    write_czi(czi, tmp_path / "A01.czi", [*grid(0), *grid(1, x=50), *grid(2, x=100)])
    assert {(plane.well, plane.site) for plane in open_plate(tmp_path).planes} == {
        ("A01", 1),
        ("A01", 2),
        ("A01", 3),
    }


def test_a_czi_without_wells_says_what_to_do(tmp_path, czi):
    write_czi(czi, tmp_path / "scan.czi", grid(0))
    with pytest.raises(PlateError, match=r"No well is stated for scan\.czi") as caught:
        open_plate(tmp_path)
    assert "Name the scenes or the files" in str(caught.value)


def test_colour_czi_files_are_refused(tmp_path, czi):
    with czi.create_czi(str(tmp_path / "A01.czi")) as writer:
        writer.write(np.zeros((4, 5, 3), "uint8"), plane={"C": 0})
        writer.write_metadata("x")
    with pytest.raises(PlateError, match="3 colours"):
        open_plate(tmp_path)


# --- ND2 ---------------------------------------------------------------------------------------------------

Pixel = namedtuple("Pixel", "Z Y X")
Point = namedtuple("Point", "x y")


@pytest.fixture
def nd2(monkeypatch):
    """Stand-ins for bioio-nd2 and nd2; the dictionary says what is in a file, by its name."""
    content = {}

    class Reader:
        def __init__(self, path):
            self._here = content[path.name]
            self._scene = 0
            order = self._here.get("order", "TCZYX")
            self.dims = SimpleNamespace(order=order, shape=self._here["shape"])
            self.dtype = np.dtype("uint16")
            self.scenes = self._here["scenes"]
            self.channel_names = self._here.get("channels")
            self.physical_pixel_sizes = Pixel(2.0, 0.5, 0.5)
            self.time_interval = self._here.get("interval")

        def set_scene(self, scene):
            self._scene = scene

        def get_image_data(self, axes, **at):
            assert axes == "YX"
            assert set(at) == set(self.dims.order) - {"Y", "X"}
            value = 1000 * self._scene + 100 * at.get("T", 0) + 10 * at["C"] + at.get("Z", 0)
            return np.full(self.dims.shape[-2:], value)

    class ND2File:
        def __init__(self, path):
            here = content[path.name]
            points = [SimpleNamespace(stagePositionUm=Point(*each)) for each in here.get("points", [])]
            loop = SimpleNamespace(type="XYPosLoop", parameters=SimpleNamespace(points=points))
            self.experiment = [loop] if points else []
            volume = SimpleNamespace(pixelToStageTransformationMatrix=here.get("matrix"))
            self.metadata = SimpleNamespace(channels=[SimpleNamespace(volume=volume)])

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    for name, members in (("bioio_nd2", {"Reader": Reader}), ("nd2", {"ND2File": ND2File})):
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(container_reader, "find_spec", lambda name: name)
    return content


def test_points_of_an_nd2_plate(tmp_path, nd2):
    (tmp_path / "run.nd2").write_bytes(b"x")
    nd2["run.nd2"] = {
        "shape": (2, 2, 3, 4, 5),
        "scenes": ("A01_0000", "A01_0001", "B02_0000"),
        "channels": ["DAPI", "GFP"],
        "interval": timedelta(minutes=1),
        "points": [(0, 0), (-10, 0), (-10, 5)],
        # The stage runs to the left and downwards in the image, 0.5 um per pixel.
        "matrix": (-0.5, 0, 1.25, 0, 0.5, -1),
    }
    inventory = open_plate(tmp_path)
    assert inventory.wells == ("A01", "B02")
    assert {(plane.well, plane.site) for plane in inventory.planes} == {("A01", 0), ("A01", 1), ("B02", 0)}
    assert len(inventory.planes) == 3 * 2 * 2 * 3
    assert inventory.channels == {1: "DAPI", 2: "GFP"}
    assert {(p.well, p.site): (p.x_um, p.y_um) for p in inventory.planes} == {
        ("A01", 0): (0, 0),
        ("A01", 1): (10, 0),
        ("B02", 0): (10, 5),
    }
    assert inventory.metadata["time_interval_s"] == "60"
    assert inventory.metadata["z_step_um"] == "2"
    scenes = {("A01", 0): 0, ("A01", 1): 1, ("B02", 0): 2}
    for plane in inventory.planes:
        value = 1000 * scenes[plane.well, plane.site] + 100 * (plane.timepoint - 1) + 10 * (plane.channel - 1)
        assert np.all(read_plane(tmp_path, plane) == value + plane.z_index - 1)
    assert inventory.disagreements == ()


def test_nd2_positions_of_unknown_direction_are_told_and_not_used(tmp_path, nd2):
    (tmp_path / "WellA01_PointA01_0003_ChannelDAPI_Seq0000.nd2").write_bytes(b"x")
    nd2["WellA01_PointA01_0003_ChannelDAPI_Seq0000.nd2"] = {
        "shape": (1, 4, 5),
        "order": "CYX",
        "scenes": ("XYPos:0",),
        "points": [(3, 4)],
    }
    inventory = open_plate(tmp_path)
    (plane,) = inventory.planes
    assert plane[:5] == ("A01", 3, 1, 1, 1)
    assert math.isnan(plane.x_um)
    assert np.all(read_plane(tmp_path, plane) == 0)
    assert "how the stage's axes lie" in inventory.disagreements[0]


def test_colour_nd2_files_are_refused(tmp_path, nd2):
    (tmp_path / "A01.nd2").write_bytes(b"x")
    nd2["A01.nd2"] = {"shape": (4, 5, 3), "order": "YXS", "scenes": ("XYPos:0",)}
    with pytest.raises(PlateError, match="axis S of 3"):
        open_plate(tmp_path)
