"""Pictures of wells: what is shown, in which colours, with which outlines, and what is said of the rest."""

import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from skimage.segmentation import find_boundaries

from hcs_steps.compile.plan import CallPlan, Layout, Plan, PlateInfo, StagePlan, StepPlan, UnitPlan
from hcs_steps.report._preview import preview
from hcs_steps.report.pictures import plate_pictures
from hcs_steps.results import Results
from hcs_steps.run.records import Failure, write_failure
from hcs_steps.storage import ImageMeta, MemoryStore, OmeZarrStore, PlaneKey, StoreSpec, TiffStore
from hcs_steps.storage._pyramid import halve

GREY = (217, 217, 217)
KEY = PlaneKey(1, 1, 1, 1)
KEYS = (KEY, PlaneKey(1, 2, 1, 1))


def call(*labels):
    return CallPlan(
        function="f", kwargs={}, source="", outputs=tuple((name, "labels") for name in labels), rows={}, optional=0,
        injected=(), reduces=False, changes_image=False, dtype="same", mosaic=False, moves=False,
        devices=(),
    )  # fmt: skip


def step(name, *labels, index=0, kept=True):
    return StepPlan(
        name=name, scope="unit", branches={"": (call(*labels),)}, variable_components=("site",), group_by="channel",
        input_source="previous", unlisted="drop", own_images=True, labels_in=index if labels else -1,
        backend="zarr" if kept else "memory", store=f"images/{name}.ome.zarr" if kept else "", kept=kept,
    )  # fmt: skip


NUCLEI = (step("clean", "nuclei"),)


@dataclass
class Plate:
    """A small plate whose stores are filled by hand."""

    plan: Plan
    results: Results
    stores: dict

    def publish(self, well, images, labels=None, step=0):
        self.stores[step].publish(well, images, labels or {}, ImageMeta(channels={}))

    def pictures(self, **options):
        return plate_pictures(self.plan, self.results, self.stores.__getitem__, **options)


@pytest.fixture
def make_plate(tmp_path):
    def make(
        keys=(KEY,),
        wells=("A01", "A02", "B03"),
        channels=None,
        steps=NUCLEI,
        store=MemoryStore,
        dimensions=(8, 12),
    ):
        layout = Layout(keys, (), 64, 64, "uint16", (-1,) * len(steps), (keys,) * len(steps))
        plan = Plan(
            key="k",
            pipeline="p",
            plate=PlateInfo("P1", "", "test", *dimensions, channels or {"1": "DAPI", "2": "GFP"}, None, 0.65),
            steps=steps,
            stages=(StagePlan("clean", "unit", tuple(range(len(steps))), ()),),
            layouts=(layout,),
            units={well: UnitPlan(well, 0, "") for well in wells},
        )
        sites = sorted({key.site for key in keys})
        stores = {}
        for index, one in enumerate(steps):
            if one.written:
                spec = StoreSpec(tmp_path / one.store, "P1", *dimensions, dict.fromkeys(wells, sites))
                stores[index] = store(spec)
                stores[index].declare()
        return Plate(plan, Results(tmp_path), stores)

    return make


def pixels(data):
    return np.asarray(Pillow.open(io.BytesIO(data)).convert("RGBA")).astype(int)


def image(value=1000, shape=(64, 64), seed=0):
    plane = np.random.default_rng(seed).integers(90, 110, shape)
    plane[16:48, 16:48] = value
    return plane.astype(np.uint16)


def square(*boxes, shape=(64, 64)):
    labels = np.zeros(shape, np.uint32)
    for number, (top, left, bottom, right) in enumerate(boxes, 1):
        labels[top:bottom, left:right] = number
    return labels


def tile(found, row, column):
    size = found.tile
    return pixels(found.sprite)[row * size : (row + 1) * size, column * size : (column + 1) * size, :3]


def test_a_plan_that_keeps_no_images_has_no_pictures(make_plate):
    assert make_plate(steps=(step("clean", kept=False),)).pictures() is None


def test_wells_can_be_compared_because_all_have_one_display_window(make_plate):
    plate = make_plate()
    for well, value in {"A01": 1000, "A02": 500, "B03": 1000}.items():
        plate.publish(well, {KEY: image(value)})
    found = plate.pictures()
    shown = {well: pixels(picture.image)[24:40, 24:40, :3].mean() for well, picture in found.wells.items()}
    assert shown["A01"] == pytest.approx(255, abs=3)
    # The window begins where the background does, at about 90.
    assert shown["A02"] == pytest.approx(255 * (500 - 91) / (1000 - 91), abs=5)
    assert found.wells["A01"].image == found.wells["B03"].image


def test_channels_have_their_colours_and_one_alone_is_grey(make_plate):
    plate = make_plate(KEYS)
    blank = np.full((64, 64), 100, np.uint16)
    plate.publish("A01", {KEYS[0]: image(), KEYS[1]: blank})
    plate.publish("A02", {KEYS[0]: blank, KEYS[1]: image()})
    plate.publish("B03", {KEYS[0]: image()})
    found = plate.pictures()
    red, green, blue = pixels(found.wells["A01"].image)[32, 32, :3]
    assert blue > 230
    assert max(red, green) < 25
    red, green, blue = pixels(found.wells["A02"].image)[32, 32, :3]
    assert green > 230
    assert max(red, blue) < 25
    assert "DAPI blue" in found.legend
    assert "GFP green" in found.legend
    assert "without GFP" in found.wells["B03"].caption
    alone = make_plate(channels={"1": "Cy5"}, wells=("A01",))
    alone.publish("A01", {KEY: image()})
    red, green, blue = pixels(alone.pictures().wells["A01"].image)[32, 32, :3]
    assert min(red, green, blue) > 245


def test_transmitted_light_does_not_wash_out_fluorescence(make_plate):
    plate = make_plate(KEYS, channels={"1": "Brightfield", "2": "GFP"}, wells=("A01",))
    plate.publish("A01", {KEYS[0]: np.full((64, 64), 60000, np.uint16), KEYS[1]: image()})
    found = plate.pictures()
    assert "Not shown: Brightfield." in found.legend
    assert pixels(found.wells["A01"].image)[4, 4, :3].max() < 40


def test_outlines_lie_on_the_borders_and_keep_touching_objects_apart(make_plate):
    plate = make_plate(wells=("A01",))
    labels = square((10, 10, 30, 25), (10, 25, 30, 50), (40, 5, 41, 6))
    plate.publish("A01", {KEY: image()}, {"nuclei": {KEY: labels}})
    picture = plate.pictures().wells["A01"]
    contours = pixels(picture.contours)
    assert contours.shape[:2] == (picture.height, picture.width) == (64, 64)
    drawn = contours[..., 3] > 0
    # Exactly the pixels of the border that lie towards the upper left of it, by the other package's definition.
    thick = find_boundaries(labels, mode="thick")
    assert not (drawn & ~thick).any()
    for number in (1, 2, 3):
        assert (drawn & find_boundaries(labels == number, mode="thick")).any()
    assert drawn[11:29, 24].all()
    assert not drawn[12:28, 12:23].any()
    assert set(map(tuple, contours[drawn][:, :3])) == {(240, 228, 66)}
    assert "nuclei yellow" in plate.pictures().legend


def test_touching_objects_stay_apart_in_a_small_picture(make_plate):
    plate = make_plate(wells=("A01",))
    labels = square(*((0, 32 * i, 1024, 32 * (i + 1)) for i in range(32)), shape=(1024, 1024))
    plate.publish("A01", {KEY: image(shape=(1024, 1024))}, {"nuclei": {KEY: labels}})
    picture = plate.pictures(budget_bytes=40_000).wells["A01"]
    assert picture.width < 400
    line = pixels(picture.contours)[picture.height // 2, :, 3] > 0
    assert (np.diff(line.astype(int)) == 1).sum() == 31


def test_each_label_set_has_its_colour_and_one_that_repeats_others_has_none(make_plate):
    plate = make_plate(wells=("A01", "A02"), steps=(step("clean", "nuclei", "cells", "cytoplasm"),))
    nuclei, cells = square((20, 20, 30, 30), (40, 40, 46, 50)), square((10, 10, 34, 36), (36, 36, 60, 60))
    cytoplasm = np.where(nuclei > 0, 0, cells).astype(np.uint32)
    sets = {"nuclei": {KEY: nuclei}, "cells": {KEY: cells}, "cytoplasm": {KEY: cytoplasm}}
    for well in ("A01", "A02"):
        plate.publish(well, {KEY: image()}, sets)
    found = plate.pictures()
    contours = pixels(found.wells["A01"].contours)
    drawn = contours[..., 3] > 0
    assert set(map(tuple, contours[drawn][:, :3])) == {(240, 228, 66), (86, 180, 233)}
    assert tuple(contours[25, 19, :3]) == (240, 228, 66)
    assert "Outlines: nuclei yellow, cells sky blue." in found.legend


def test_labels_of_a_step_with_a_store_of_its_own_are_drawn_too(make_plate):
    steps = (step("nuclei", "nuclei"), step("cells", "cells", index=1), step("masked", index=2))
    plate = make_plate(wells=("A01",), steps=steps)
    plate.publish("A01", {KEY: image(300)}, {"nuclei": {KEY: square((20, 20, 30, 30))}}, step=0)
    plate.publish("A01", {KEY: image(900)}, {"cells": {KEY: square((10, 10, 50, 50))}}, step=1)
    plate.publish("A01", {KEY: image(600)}, step=2)
    found = plate.pictures()
    assert "Images of the step cells" in found.legend  # the last step with labels
    assert "nuclei yellow, cells sky blue" in found.legend
    contours = pixels(found.wells["A01"].contours)
    assert contours[25, 19, 3] > 0
    assert contours[25, 9, 3] > 0


def test_labels_of_another_size_than_the_images_are_left_out(make_plate):
    steps = (step("nuclei", "nuclei"), step("cells", "cells", index=1))
    plate = make_plate(wells=("A01",), steps=steps)
    big = {KEY: square((20, 20, 30, 30), shape=(80, 80))}
    plate.publish("A01", {KEY: image(shape=(80, 80))}, {"nuclei": big}, step=0)
    plate.publish("A01", {KEY: image()}, {"cells": {KEY: square((10, 10, 50, 50))}}, step=1)
    contours = pixels(plate.pictures().wells["A01"].contours)
    assert contours[25, 9, 3] > 0
    assert contours[25, 19, 3] == 0


def test_the_montage_has_every_well_in_its_place_and_crosses_out_failed_ones(make_plate):
    plate = make_plate(wells=("A01", "A02", "B03", "C01", "H12"))
    for well in ("A01", "B03", "H12"):
        plate.publish(well, {KEY: image()})
    failure = Failure("clean", "A02", "clean", "E", "broken", "", "2026-01-31T12:00:00+00:00", "", 1, "")
    write_failure(plate.results, failure)
    found = plate.pictures()
    size = Pillow.open(io.BytesIO(found.sprite)).size
    assert size == (12 * found.tile, 8 * found.tile)
    for place in ((0, 0), (1, 2), (7, 11)):
        shown = tile(found, *place)
        assert shown[found.tile // 2, found.tile // 2].min() > 200
        assert shown[4, 4].max() < 60
    quarter = found.tile // 4
    for place in ((0, 1), (2, 0), (5, 5)):
        assert abs(tile(found, *place)[quarter, 2 * quarter] - GREY).max() < 12
    middle = tile(found, 0, 1)[quarter - 1 : quarter + 2, quarter - 1 : quarter + 2]
    assert abs(middle.mean(axis=(0, 1)) - (213, 94, 0)).max() < 60
    assert abs(tile(found, 2, 0)[quarter, quarter] - GREY).max() < 12
    assert set(found.wells) == {"A01", "B03", "H12"}
    assert found.notes == ("A02: failed and has no images.", "C01: has no images yet.")


def test_1536_wells_fit_a_montage_of_the_same_width(make_plate):
    plate = make_plate(wells=("A01", "AF48"), dimensions=(32, 48))
    for well in ("A01", "AF48"):
        plate.publish(well, {KEY: image()})
    found = plate.pictures()
    assert (found.tile, Pillow.open(io.BytesIO(found.sprite)).size) == (32, (1536, 1024))
    assert tile(found, 31, 47)[16, 16].min() > 200


@pytest.mark.parametrize("store", [OmeZarrStore, TiffStore])
def test_a_well_that_cannot_be_read_is_grey_and_noted(make_plate, store):
    plate = make_plate(store=store)
    for well in ("A01", "A02", "B03"):
        plate.publish(well, {KEY: image()}, {"nuclei": {KEY: square((10, 10, 50, 50))}})
    folder = plate.stores[0].spec.path
    for name in ("A/02", "A02"):
        for path in Path(folder / name).rglob("*"):
            if (
                path.is_file()
                and path.name not in ("zarr.json", "planes.json")
                and "labels" not in path.parts
            ):
                path.write_bytes(b"damaged")
    for path in [*(folder / "B/03").rglob("labels/*/0/**/*"), *(folder / "B03").rglob("labels/*/*.tif")]:
        if path.is_file() and path.name != "zarr.json":
            path.write_bytes(b"damaged")
    found = plate.pictures()
    assert set(found.wells) == {"A01", "B03"}
    assert found.wells["A01"].contours
    assert not found.wells["B03"].contours
    assert abs(tile(found, 0, 1)[20, 40] - GREY).max() < 12
    assert [note[:22] for note in found.notes] == [
        "A02: is not shown: " + str(folder)[:3],
        "B03: has no outlines o",
    ]


def test_many_wells_with_the_same_trouble_are_one_note(make_plate):
    plate = make_plate(wells=("A01", "A02", "A03"))

    def broken(index):
        raise RuntimeError("no such store")

    found = plate_pictures(plate.plan, plate.results, broken)
    assert found.notes == ("A01-A03: is not shown: RuntimeError: no such store.",)
    assert found.wells == {}


def test_all_pictures_together_stay_below_the_budget(make_plate):
    wells = tuple(f"{row}{column:02d}" for row in "ABCD" for column in range(1, 7))
    plate = make_plate(wells=wells)
    for number, well in enumerate(wells):
        noise = np.random.default_rng(number).integers(0, 4000, (256, 256)).astype(np.uint16)
        plate.publish(well, {KEY: noise}, {"nuclei": {KEY: (noise > 2000).astype(np.uint32)}})
    large, small = plate.pictures(), plate.pictures(budget_bytes=200_000)
    assert large.wells["A01"].width == 256  # never larger than the image
    assert 100_000 < small.size <= 200_000
    assert small.wells["A01"].width < 256
    assert len(small.wells) == len(wells)


def test_the_same_images_give_the_same_bytes_for_any_number_of_threads(make_plate, monkeypatch):
    plate = make_plate(KEYS)
    for number, well in enumerate(("A01", "A02", "B03")):
        planes = {key: image(500 + 100 * number, seed=number) for key in KEYS}
        plate.publish(well, planes, {"nuclei": {KEYS[1]: square((10, 10, 50, 50))}})
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    one = plate.pictures()
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert plate.pictures() == one


@pytest.mark.parametrize(
    ("z_indices", "shown", "words"),
    [
        ((1, 2, 3), 2, "the middle plane, z 2 of 3"),
        ((0, 1, 2, 3), 0, "the projection, z 0 of 4"),
        ((1,), 1, ""),
    ],
)
def test_the_middle_plane_or_the_projection_is_shown_at_the_first_timepoint(
    make_plate, z_indices, shown, words
):
    keys = tuple(PlaneKey(1, 1, z, t) for z in z_indices for t in (1, 2))
    plate = make_plate(keys, wells=("A01",))
    planes = {key: image(1000 if (key.z_index, key.timepoint) == (shown, 1) else 100) for key in keys}
    labels = {PlaneKey(1, 1, z_indices[-1], 2): square((10, 10, 50, 50))}
    plate.publish("A01", planes, {"nuclei": labels})
    found = plate.pictures().wells["A01"]
    assert pixels(found.image)[32, 32].min() > 245
    assert words in found.caption
    assert "timepoint 1 of 2" in found.caption
    assert found.contours  # the nearest labels there are


def test_a_small_grid_of_sites_is_put_together_and_of_many_the_first_is_shown(make_plate):
    keys = tuple(PlaneKey(site, 1, 1, 1) for site in (1, 2, 3, 4))
    plate = make_plate(keys, wells=("A01", "A02"))
    plate.publish("A01", {key: image(250 * key.site) for key in keys})
    plate.publish("A02", {key: image(250 * key.site) for key in keys if key.site != 3})
    found = plate.pictures()
    assert found.wells["A01"].width == found.wells["A01"].height == 2 * 64 + 2
    shown = pixels(found.wells["A01"].image)
    brightness = [shown[y, x].min() for y in (32, 98) for x in (32, 98)]
    assert brightness == sorted(brightness)
    assert abs(pixels(found.wells["A02"].image)[98, 32, :3] - GREY).max() < 12
    assert "all 4 sites" in found.wells["A01"].caption
    keys = tuple(PlaneKey(site, 1, 1, 1) for site in range(2, 8))
    plate = make_plate(keys, wells=("A03",))
    plate.publish("A03", {key: image() for key in keys})
    picture = plate.pictures().wells["A03"]
    assert picture.width == 64
    assert "site 2 of 6" in picture.caption


def test_dirt_in_one_well_of_many_does_not_turn_the_others_black(make_plate):
    wells = tuple(f"{row}{column:02d}" for row in "ABCDE" for column in range(1, 7))
    plate = make_plate(wells=wells)
    for well in wells:
        plate.publish(well, {KEY: image(60000 if well == "B02" else 1000)})
    assert pixels(plate.pictures().wells["A01"].image)[32, 32].min() > 245


class Levelled:
    """A store with a pyramid, which notes the levels it was asked for."""

    def __init__(self, planes):
        self.planes = planes
        self.asked = []

    def read(self, well, key, labels=None):
        raise AssertionError("the full resolution was read")

    def keys(self, well, labels=None):
        return list(self.planes)

    def publish(self, well, images, labels, meta): ...
    def declare(self): ...
    def remove(self, well, sites): ...

    def _levels(self, key, labels):
        levels = [self.planes[key]]
        while max(levels[-1].shape) > 100:
            levels.append(halve(levels[-1], labels=labels is not None))
        return levels

    def level_shapes(self, well, key, labels=None):
        return [plane.shape for plane in self._levels(key, labels)]

    def read_level(self, well, key, labels=None, *, level):
        self.asked.append(level)
        return self._levels(key, labels)[level]


@pytest.mark.parametrize("labels", [None, "nuclei"])
@pytest.mark.parametrize("size", [(600, 500), (601, 333), (64, 64)])
def test_a_preview_is_the_same_from_a_store_with_and_without_a_pyramid(labels, size):
    plane = np.random.default_rng(0).integers(0, 9, size).astype(np.uint16)
    pyramid = Levelled({KEY: plane})
    spec = StoreSpec(Path("x"), "P1", 8, 12, {"A01": [1]})
    flat = MemoryStore(spec)
    flat.publish("A01", {KEY: plane}, {"nuclei": {KEY: plane.astype(np.uint32)}}, ImageMeta(channels={}))
    for wanted in (700, 300, 151, 70, 20):
        found = preview(pyramid, "A01", KEY, labels, wanted)
        np.testing.assert_array_equal(found, preview(flat, "A01", KEY, labels, wanted))
        assert max(found.shape) >= min(wanted, max(size))
        assert max(found.shape) < 2 * wanted or wanted > max(size) / 2
    assert pyramid.asked[0] == 0
    if size == (600, 500):
        assert pyramid.asked == [0, 1, 1, 3, 3]


def test_refused_units_count_as_failed(make_plate):
    plate = make_plate(wells=("A01", "A02"))
    units = {**plate.plan.units, "A02": UnitPlan("A02", 0, "", "two planes are missing")}
    plate.plan = replace(plate.plan, units=units)
    plate.publish("A01", {KEY: image()})
    assert plate.pictures().notes == ("A02: failed and has no images.",)


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_previews_from_the_levels_of_a_plate_on_disk_are_those_of_its_full_resolution(tmp_path, version):
    random = np.random.default_rng(0)
    planes = {key: random.integers(0, 60000, (601, 700)).astype(np.uint16) for key in KEYS}
    labels = {"nuclei": {KEY: random.integers(0, 9, (601, 700)).astype(np.uint32)}}
    stores = [
        store(StoreSpec(tmp_path / "x.ome.zarr", "P1", 8, 12, {"A01": [1]}, ngff_version=version))
        for store in (OmeZarrStore, MemoryStore)
    ]
    for store in stores:
        store.declare()
        store.publish("A01", planes, labels, ImageMeta(channels={}))
    for key, name in ((KEYS[0], None), (KEYS[1], None), (KEY, "nuclei")):
        for wanted in (700, 350, 200, 90):
            disk, memory = (preview(store, "A01", key, name, wanted) for store in stores)
            np.testing.assert_array_equal(disk, memory)
