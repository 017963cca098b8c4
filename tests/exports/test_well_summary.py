"""The MetaXpress-style summary: six header lines, every well once, right counts; read back by pandas."""

import csv

import numpy as np
import pytest

from hcs_steps.errors import StorageError
from hcs_steps.exports.well_summary import HEADER_LINES, write_well_summary
from hcs_steps.report.profiles import well_profiles
from hcs_steps.storage import write_table


@pytest.fixture
def profiles(tmp_path):
    parts = {"cells": {}}
    for well, areas in {"A01": [1.0, 2.0, 6.0], "A02": [], "B01": [4.0]}.items():
        path = tmp_path / f"{well}.parquet"
        write_table(path, {"Nuclei_AreaShape_Area": np.array(areas)})
        parts["cells"][well] = [path]
    return well_profiles(parts, ["A01", "A02", "B01", "B02"], plate="P", aggregates=("mean", "sd"))


def written(path, profiles, **header):
    wells = ["b1", "A01", "A02", "B02", "C03"]
    write_well_summary(path, wells=wells, mean=profiles["mean"], sd=profiles["sd"], header=header)
    return path


def test_the_summary_has_every_well_once_with_its_count(tmp_path, profiles):
    path = written(tmp_path / "summary.csv", profiles, **{"Plate Name": "P, 1", "Plate ID": "7"})
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[:6] == [
        ["Barcode", ""],
        ["Plate Name", "P, 1"],
        ["Plate ID", "7"],
        *([n, ""] for n in HEADER_LINES[3:]),
    ]
    assert rows[6:] == [
        ["Well Name", "Total Cells (cells)", "Nuclei_AreaShape_Area Mean", "Nuclei_AreaShape_Area SD"],
        ["A01", "3", "3", repr(7**0.5)],
        ["A02", "0", "", ""],
        ["B01", "1", "4", ""],
        ["B02", "", "", ""],
        ["C03", "", "", ""],
    ]
    first = path.read_bytes()
    assert written(path, profiles, **{"Plate Name": "P, 1", "Plate ID": "7"}).read_bytes() == first


def test_pandas_reads_the_wells_behind_the_header(tmp_path, profiles):
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(written(tmp_path / "summary.csv", profiles), skiprows=6).set_index("Well Name")
    assert frame.loc["A01"].tolist() == [3, 3, pytest.approx(np.std([1, 2, 6], ddof=1))]
    assert frame.loc["B02"].isna().all()


def test_what_does_not_fit_is_refused(tmp_path, profiles):
    with pytest.raises(StorageError, match="'Colour'"):
        written(tmp_path / "summary.csv", profiles, Colour="red")
    other = {"mean": profiles["mean"], "sd": {"Metadata_Well": np.array(["A01"], object)}}
    with pytest.raises(StorageError, match="not of the same wells"):
        written(tmp_path / "summary.csv", other)
    assert not (tmp_path / "summary.csv").exists()
