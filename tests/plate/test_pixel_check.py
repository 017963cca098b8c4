"""Copied and constant planes are found by their pixels."""

from __future__ import annotations

import numpy as np
import tifffile

from hcs_steps.plate import check_pixels, inventory_json, inventory_table, open_plate


def kinds(checked):
    return [(problem.kind, problem.what) for problem in checked.problems]


def overwrite(plate, name, like=None, value=None):
    path = plate / name
    pixels = tifffile.imread(plate / like) if like else np.full((16, 16), value, "uint16")
    tifffile.imwrite(path, pixels, compression="zlib")  # other bytes, the same pixels


def test_a_padded_timepoint_is_seen_without_reading_everything(tiny_plate):
    plate = tiny_plate(wells=["B02", "B03", "B04", "B05"], timepoints=2)
    for well in ("B02", "B03", "B04", "B05"):
        for site in (1, 2):
            name = f"P1_{well}_s{site}_w2.TIF"
            overwrite(plate, f"TimePoint_2/{name}", like=f"TimePoint_1/{name}")
    inventory = open_plate(plate)
    checked = check_pixels(inventory)
    assert kinds(checked) == [("copy", f"{well} s1 c2 z1 t2") for well in ("B02", "B04", "B05")]
    assert (checked.planes_read, checked.planes_total) == (3 * 4, 32)
    assert "B02 s1 c2 z1 t1" in checked.problems[0].why
    assert len(check_pixels(inventory, deep=True).problems) == 8


def test_constant_planes_are_not_called_copies(tiny_plate):
    plate = tiny_plate()
    for site in (1, 2):
        overwrite(plate, f"TimePoint_1/P1_B03_s{site}_w1.TIF", value=7)
    inventory = open_plate(plate)
    checked = check_pixels(inventory, deep=True)
    assert kinds(checked) == [("constant", "B03 s1 c1 z1 t1"), ("constant", "B03 s2 c1 z1 t1")]
    assert "Every pixel is 7." in checked.problems[0].why
    assert checked.planes_read == checked.planes_total == 8
    facts = inventory_json(inventory, checked)
    assert facts["problems"]["constant"]["count"] == 2
    assert facts["pixels_compared"] == {"planes": 8, "of": 8}
    assert "all 8 planes compared: 0 copies of another, 2 of a single value" in inventory_table(
        inventory, checked
    )


def test_a_file_with_a_good_header_and_cut_pixels_is_found(tiny_plate):
    plate = tiny_plate()
    path = plate / "TimePoint_1" / "P1_B03_s2_w2.TIF"
    path.write_bytes(path.read_bytes()[:-100])
    assert open_plate(plate).problems == ()
    assert kinds(check_pixels(open_plate(plate), deep=True)) == [
        ("unreadable", "TimePoint_1/P1_B03_s2_w2.TIF")
    ]


def test_empty_files_are_passed_over(tiny_plate):
    plate = tiny_plate()
    (plate / "TimePoint_1" / "P1_B02_s1_w1.TIF").write_bytes(b"")
    assert check_pixels(open_plate(plate), deep=True).problems == ()


def test_real_padding_of_a_channel_that_was_not_acquired(real_data):
    inventory = open_plate(real_data("imagexpress_export_timelapse/9987_Plate_3435"))
    found = kinds(check_pixels(inventory, deep=True))
    wells_and_sites = [(well, site) for well in inventory.wells for site in (1, 2)]
    assert found == [("copy", f"{well} s{site} c2 z1 t2") for well, site in wells_and_sites]
    assert {what for _, what in kinds(check_pixels(inventory))} <= {what for _, what in found}
    assert kinds(check_pixels(inventory)) != []
