from __future__ import annotations

import pytest

from hcs_steps.plate import list_files
from hcs_steps.plate.formats.imagexpress import htd_files
from hcs_steps.plate.formats.imagexpress.htd import read_htd
from hcs_steps.plate.formats.imagexpress.htd_files import choose_htd
from hcs_steps.plate.synthetic.imagexpress import htd_text


@pytest.fixture
def choose(tmp_path):
    def write_and_choose(files, plate="P"):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return choose_htd(list_files(tmp_path), plate)

    return write_and_choose


def plan(timepoints=1, wells=("A01",)):
    return htd_text(wells, sites=(1, 1), channels=["a"], timepoints=timepoints)


def test_the_outermost_counts_and_repeated_ones_say_nothing(choose):
    choice = choose({"P.HTD": plan(2), "TimePoint_1/P.HTD": plan(2), "TimePoint_2/P.HTD": plan(2)})
    assert choice.path == "P.HTD"
    assert choice.htd.timepoints == 2
    assert (choice.problems, choice.disagreements) == ((), ())


def test_different_ones_are_reported_even_of_equal_size(choose):
    choice = choose({"TimePoint_1/P.HTD": plan(2), "TimePoint_2/P.HTD": plan(3)})
    assert choice.htd.timepoints == 2
    assert "TimePoint_1/P.HTD is used, TimePoint_2/P.HTD" in choice.disagreements[0]


def test_one_that_cannot_be_read_gives_way_to_the_next(choose):
    choice = choose({"P.HTD": "", "TimePoint_1/P.HTD": plan(2)})
    assert choice.path == "TimePoint_1/P.HTD"
    assert [problem.what for problem in choice.problems] == ["P.HTD"]


def test_those_of_another_plate_do_not_count(choose):
    choice = choose({"A.HTD": plan(9), "x/p.htd": plan(2)})
    assert choice.path == "x/p.htd"
    assert [(problem.kind, problem.what) for problem in choice.problems] == [("excluded", "A.HTD")]


def test_any_name_will_do_where_none_is_the_plates(choose):
    assert choose({"export.HTD": plan(2)}).path == "export.HTD"


def test_of_very_many_only_some_are_read_with_one_of_each_size(choose, monkeypatch):
    read = []
    monkeypatch.setattr(htd_files, "read_htd", lambda path: read.append(path) or read_htd(path))
    files = {f"TimePoint_{t:03}/P.HTD": plan(2) for t in range(1, 60)}
    files["TimePoint_058/P.HTD"] = plan(2, wells=["A01", "B02"])
    choice = choose(files)
    assert choice.path == "TimePoint_001/P.HTD"
    assert "TimePoint_058/P.HTD" in choice.disagreements[0]
    assert len(read) == htd_files.MAX_COMPARED
