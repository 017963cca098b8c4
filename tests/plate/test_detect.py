"""Which format a folder is taken for, and what is said where none fits, or several."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from hcs_steps.errors import PlateError
from hcs_steps.plate import PatternSpec, detect, list_files, open_plate
from hcs_steps.plate.formats.patterns.reader import PatternReader
from hcs_steps.plate.reader import Evidence


def images(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, np.zeros((4, 4), "uint8"))


def test_unknown_format_shows_names_and_the_fix(tmp_path):
    images(tmp_path, "day 1 left.tiff")
    with pytest.raises(PlateError) as caught:
        open_plate(tmp_path)
    assert "day 1 left.tiff" in str(caught.value)
    assert "pattern:" in caught.value.hint


def test_a_well_alone_is_no_evidence_for_imagexpress(tmp_path):
    images(tmp_path, *(f"ImageName_t01_p{number:02d}.tif" for number in range(1, 10)))
    with pytest.raises(PlateError, match="is unknown"):
        open_plate(tmp_path)


def test_a_named_pattern_is_detected_with_evidence(tmp_path):
    images(tmp_path, "Channel1-01-A-01.tif", "Channel2-01-A-01.tif")
    (reader, evidence), *_ = detect.detect(list_files(tmp_path))
    assert reader.name == "bbbc"
    assert evidence == Evidence(1.0, evidence.sentences)
    assert open_plate(tmp_path, format="bbbc").values("channel") == (1, 2)


def test_two_equally_good_formats_are_both_named(tmp_path, monkeypatch):
    images(tmp_path, "A01.tif")
    spec = PatternSpec(r"(?P<well>A01)\.tif")
    readers = (PatternReader("this", spec), PatternReader("that", spec))
    monkeypatch.setattr(detect, "READERS", readers)
    with pytest.raises(PlateError) as caught:
        open_plate(tmp_path)
    assert "this:" in str(caught.value)
    assert "`format: that`" in caught.value.hint


def test_a_folder_of_a_vendors_own_images_is_told_so(tmp_path):
    for well in ("A01", "A02"):
        (tmp_path / f"MFGTMP-PC_170319090001_{well}f00d0.C01").write_bytes(b"x")
    with pytest.raises(PlateError) as caught:
        open_plate(tmp_path)
    said = caught.value.message
    assert "Nearest is cellomics: Files in the instrument's own image format (2, such as MFGTMP-PC_1" in said
    assert "cannot be read here: export them as TIFF" in said
    with pytest.raises(PlateError) as stated:
        open_plate(tmp_path, format="cellomics")
    assert "export them as TIFF" in stated.value.hint
