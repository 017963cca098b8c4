from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcs_steps.errors import PlateError
from hcs_steps.plate.formats.imagexpress.htd import parse_htd, read_htd
from hcs_steps.plate.formats.imagexpress.htd_check import (
    compare_with_files,
    expected_planes,
    promised_but_absent,
)
from hcs_steps.plate.inventory import PlaneKey
from hcs_steps.plate.synthetic.imagexpress import htd_text


def planes(wells=("A01",), sites=(1,), channels=(1,), z=(1,), timepoints=(1,)):
    return [
        PlaneKey(w, s, c, k, t) for w in wells for s in sites for c in channels for k in z for t in timepoints
    ]


def test_site_grid_with_holes_numbers_acquired_sites_row_by_row():
    htd = parse_htd(
        '"XSites", 3\r\n"YSites", 2\r\n'
        '"SiteSelection1", TRUE, FALSE, TRUE\r\n"SiteSelection2", FALSE, TRUE, FALSE\r\n'
    )
    assert htd.site_grid == (2, 3)
    assert htd.sites == {1: (0, 0), 2: (0, 2), 3: (1, 1)}


def test_without_sites_there_is_one():
    htd = parse_htd('"Sites", FALSE\r\n"XSites", 3\r\n"YSites", 2\r\n')
    assert (htd.site_grid, htd.sites) == ((1, 1), {1: (0, 0)})


def test_a_plan_of_1536_wells():
    htd = parse_htd(htd_text(["A01", "AA01", "AF48"], sites=(1, 1), channels=["a"]))
    assert (htd.rows, htd.columns, htd.wells) == (32, 48, ("A01", "AA01", "AF48"))


@pytest.mark.parametrize(
    "content", [b"", b'"HTSInfoFile", Version 1.0', '"XWells", 12\n"YWells", 8\n'.encode("utf-16")]
)
def test_a_file_that_states_nothing_is_refused(tmp_path, content):
    (tmp_path / "x.HTD").write_bytes(content)
    with pytest.raises(PlateError, match="states neither wells nor sites nor waves"):
        read_htd(tmp_path / "x.HTD")


def test_synthetic_text_round_trip():
    htd = parse_htd(htd_text(["A01", "B03"], sites=(2, 3), channels=["DAPI", "Texas Red"], z=5, timepoints=4))
    assert htd.wells == ("A01", "B03")
    assert (htd.rows, htd.columns, htd.site_grid) == (8, 12, (2, 3))
    assert htd.waves == {1: "DAPI", 2: "Texas Red"}
    assert htd.collected == (1, 2)
    assert (htd.timepoints, htd.z_series, htd.z_steps) == (4, True, 5)
    assert htd.sites[6] == (1, 2)


def test_any_bytes_in_names_and_lower_case_keys_are_read(tmp_path):
    path = tmp_path / "x.HTD"
    path.write_bytes(b'"nwavelengths", 1\n"wavename1", "\xb5m \x80"\n"WaveCollect1", 0\n')
    htd = read_htd(path)
    assert htd.waves == {1: "\xb5m \x80"}
    assert htd.collected == ()


@given(st.text(max_size=300))
def test_any_text_is_parsed_or_refused(text):
    try:
        parse_htd(text)
    except PlateError:
        return


@pytest.mark.parametrize("value", ["-1", "1e9", "999999999999999999999", "2000000000", "x", "٣"])
def test_impossible_counts_are_refused(value):
    with pytest.raises(PlateError, match="xwells"):
        parse_htd(f'"XWells", {value}\n')


def test_a_huge_file_is_not_read(tmp_path):
    path = tmp_path / "huge.HTD"
    with path.open("wb") as file:
        file.truncate(5_000_000_000)
    with pytest.raises(PlateError, match="larger than 10 MB"):
        read_htd(path)


def test_a_projection_beside_the_stack_is_no_disagreement():
    htd = parse_htd('"ZSeries", TRUE\n"ZSteps", 3\n"ZProjection", TRUE\n')
    assert compare_with_files(htd, planes(z=(0, 1, 2, 3))) == ()
    assert compare_with_files(htd, planes(z=(1, 2, 3))) == ()


@pytest.mark.parametrize(
    ("text", "found", "part"),
    [
        ('"TimePoints", 6', planes(timepoints=(1, 2)), "6 timepoints, the files have 2"),
        ('"NWavelengths", 2\n"WaveName1", "a"\n"WaveName2", "b"', planes(), "without files: 2 b"),
        (
            '"NWavelengths", 1\n"WaveName1", "a"',
            planes(channels=(1, 3)),
            "wave 3, which the HTD does not name",
        ),
        ('"ZSeries", TRUE\n"ZSteps", 3', planes(z=(1, 2)), "3 z steps, the files have 1-2"),
        ('"ZSeries", TRUE\n"ZSteps", 3', planes(), "no ZStep folders"),
        ('"ZSeries", FALSE', planes(z=(1, 2)), "no z series"),
        ('"XSites", 2\n"YSites", 1', planes(), "2 sites per well, the files have 1"),
        ('"XWells", 3\n"YWells", 2', planes(wells=("A04",)), "A04 lie outside"),
        ('"XWells", 2\n"YWells", 1\n"WellsSelection1", TRUE, TRUE', planes(), "without files: A02"),
        (
            '"XWells", 2\n"YWells", 1\n"WellsSelection1", FALSE, TRUE',
            planes(("A01", "A02")),
            "not select: A01",
        ),
    ],
)
def test_disagreements(text, found, part):
    (sentence,) = compare_with_files(parse_htd(text), found)
    assert part in sentence


def test_what_was_promised_is_summarised():
    htd = parse_htd(htd_text(["A01", "A02"], sites=(1, 1), channels=["a", "b", "c"], timepoints=5))
    found = [*planes(channels=(1,), timepoints=(1, 2, 3)), *planes(channels=(2,), timepoints=(1,))]
    assert [problem.what for problem in promised_but_absent(htd, found)] == ["c3", "t4-5", "c2 t2-3", "A02"]
    htd = parse_htd(htd_text(["A01"], sites=(2, 2), channels=["a"]))
    assert [problem.what for problem in promised_but_absent(htd, planes(sites=(1, 3)))] == ["s2,4"]


def test_wells_should_have_the_sites_that_the_plan_and_other_wells_have():
    htd = parse_htd(htd_text(["A01", "A02", "A03"], sites=(2, 2), channels=["a", "b"], z=3))
    found = [*planes(("A01",), sites=(1, 2), z=(1, 2)), *planes(("A02",), sites=(1,), channels=(2,), z=(0,))]
    kinds = {(1, 1, 1), (1, 2, 1), (2, 0, 1)}
    expected = {PlaneKey(well, site, *kind) for well in ("A01", "A02") for site in (1, 2) for kind in kinds}
    assert expected_planes(htd, found) == expected
    assert expected_planes(htd, [*found, *planes(sites=(5,))]) is None
    assert expected_planes(parse_htd(""), found) is None
