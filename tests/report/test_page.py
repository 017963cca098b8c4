"""The page says what the tables say, and nothing that comes from a plate runs in it."""

import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from hcs_steps.report import _figures
from hcs_steps.report.model import collect
from hcs_steps.report.page import duration, exact, render, short, write_report, z_word
from hcs_steps.report.plots import strip_plot

HOSTILE = '</script><script>window.hacked=1</script><img src=x onerror="window.hacked=1">$\\frac{"&\x07'
VOID = {"meta", "input", "br", "img", "link", "hr"}


class Page(HTMLParser):
    """Elements with their attributes, texts of those with an id or data-value, and how they nest."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.cells, self.open = [], [], [], []
        self.feature = self.table = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.elements.append((tag, attributes))
        if tag == "table":
            self.table, self.columns = attributes.get("data-table"), []
        if tag == "tr":
            self.feature, self.column = attributes.get("data-feature"), -1
        if "data-column" in attributes:
            self.columns.append(attributes["data-column"])
        if "data-value" in attributes:
            self.column += 1
            cell = (self.table, self.feature, self.columns[self.column], attributes["data-value"])
            self.cells.append(cell)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(text)

    def of(self, name):
        return [attributes for tag, attributes in self.elements if tag == name]


def embedded(page, name="plate-data"):
    return json.loads(re.search(rf'id="{name}">(.*?)</script>', page, re.DOTALL)[1])


def same_digits(text, value, digits):
    return float(text) == float(f"{value:.{digits}g}")


@pytest.fixture(scope="module")
def plate(make_results):
    return make_results(24, failed=("A03",), missing=("C01",))


@pytest.fixture(scope="module")
def page(plate):
    return render(collect(plate.plan, plate.results))


def test_numbers_of_the_map_equal_those_of_the_tables(plate, page):
    data = embedded(page)
    names = [well["name"] for well in data["wells"]]
    assert len(names) == 24
    compared = 0
    for table, key, digits in (("profiles_median", "values", 6), ("profiles_median_normalized", "scores", 4)):
        frame = (
            pd.read_parquet(plate.results.table("tables", table)).set_index("Metadata_Well").reindex(names)
        )
        for feature in data["features"]:
            if feature["name"] in frame:
                for value, expected in zip(feature[key], frame[feature["name"]], strict=True):
                    assert value is None if np.isnan(expected) else same_digits(value, expected, digits)
                    compared += 1
    assert compared == 2 * 6 * 24


@pytest.mark.parametrize("name", ["statistics", "edge_effects"])
def test_numbers_of_the_tables_in_the_page_equal_those_on_disk(plate, page, name):
    frame = pd.read_parquet(plate.results.table("tables", name)).set_index("feature")
    cells = [cell[1:] for cell in Page(page).cells if cell[0] == name]
    assert {feature for feature, _, _ in cells} == set(frame.index)
    for feature, column, text in cells:
        value = frame.loc[feature, column]
        if isinstance(value, str):
            assert text == value
        else:
            assert text == "" if np.isnan(value) else same_digits(text, value, 6)


def test_ec50_of_every_plot_is_that_of_the_table(plate, page):
    frame = pd.read_parquet(plate.results.table("tables", "dose_response")).set_index(["compound", "feature"])
    plots = [a for a in Page(page).of("figure") if "data-compound" in a]
    assert len(plots) == len(frame) == 4
    for plot in plots:
        ec50 = frame.loc[(plot["data-compound"], plot["data-feature"]), "ec50"]
        assert plot["data-ec50"] == "" if np.isnan(ec50) else same_digits(plot["data-ec50"], ec50, 6)


def test_texts_of_a_plate_cannot_become_elements(make_results):
    fake = make_results(6, failed=("A02",), error=HOSTILE, names=(HOSTILE, "taxol"))
    path = fake.results.table("tables", "plate_map_problems", ".csv")
    path.write_text(f"kind,well,detail\nduplicate,A01,{HOSTILE.replace(',', '')}\n")
    data = collect(fake.plan, fake.results)
    text = render(data)
    clean = Page(text)
    scripts = clean.of("script")
    assert [script.get("type") for script in scripts] == ["application/json", "application/json", None]
    assert [image.get("id") for image in clean.of("img")] == ["shot", "contours"]
    assert not any(name.startswith("on") for _, attributes in clean.elements for name in attributes)
    assert embedded(text)["wells"][1]["error"] == HOSTILE
    assert any(HOSTILE in well["map"] for well in embedded(text)["wells"])
    assert HOSTILE in clean.text


def test_the_page_asks_for_nothing(page):
    for tag, attributes in Page(page).elements:
        for name in ("src", "href", "xlink:href", "action", "data", "srcset"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, attributes)
    assert "@import" not in page
    policy = next(m["content"] for m in Page(page).of("meta") if m.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_ids_are_unique_and_links_lead_somewhere(page):
    elements = Page(page).elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in elements:
        for name in ("href", "aria-labelledby", "for"):
            if name in attributes:
                assert attributes[name].removeprefix("#") in ids
    assert set(re.findall(r"url\(#([^)\"]+)\)", page)) <= {*ids, "hatch", "dots"}


def test_tables_have_captions_and_header_cells_a_scope(page):
    parsed = Page(page)
    assert len(parsed.of("caption")) == len(parsed.of("table"))
    assert all("scope" in cell for cell in parsed.of("th"))
    assert parsed.of("html") == [{"lang": "en"}]


def test_the_same_content_gives_the_same_bytes(plate, page):
    path = write_report(plate.plan, plate.results)
    assert path == plate.results.root / "report.html"
    assert path.read_text(encoding="utf-8") == page
    assert not [p for p in path.parent.iterdir() if p.name.startswith(".report")]


def test_a_file_name_that_is_not_utf8_can_stand_in_an_error(make_results):
    fake = make_results(6, failed=("A02",), error="cannot read it", tables=False)
    failure = fake.results.failure("background", "A02")
    failure.write_text(failure.read_text().replace("cannot read it", "cannot read \\udcff.tif"))
    path = write_report(fake.plan, fake.results)
    assert "cannot read ?.tif" in path.read_text(encoding="utf-8")


def test_a_plate_on_which_everything_failed_says_so_first(make_results):
    fake = make_results(24, failed="all", tables=False)
    text = "".join(Page(render(collect(fake.plan, fake.results))).text)
    assert "Nothing was measured: all 24 wells failed." in text.partition("Problems")[0]
    assert text.index("Failed units (24)") < text.rindex("What ran") < text.index("No control statistics")
    assert "4 more failed units" in text


def test_problems_come_before_everything_else_and_are_absent_without_any(make_results, page):
    sections = [a["id"] for a in Page(page).of("section")]
    assert sections == [
        "problems", "ran", "map", "pictures", "controls", "doses", "edges", "quality", "cost",
    ]  # fmt: skip
    assert "24 wells: 1 failed, 1 incomplete, 22 done." in Page(page).text
    fine = make_results(6)
    parsed = Page(render(collect(fine.plan, fine.results)))
    assert "problems" not in [a["id"] for a in parsed.of("section")]
    assert "All 6 wells done." in parsed.text


def test_a_plot_is_left_out_beyond_the_limit_and_the_page_says_how_many(plate, monkeypatch):
    monkeypatch.setattr(_figures, "MOST_DOSE_PLOTS", 3)
    text = render(collect(plate.plan, plate.results))
    assert text.count("data-compound=") == 3
    assert "1 more curves are in tables/dose_response.csv." in text


def test_pictures_stand_in_the_page(plate):
    well = SimpleNamespace(
        image=b"\x01\x02", mime="image/webp", contours=b"", width=4, height=3, caption="a <b>"
    )
    pictures = SimpleNamespace(
        sprite=b"\x05",
        mime="image/webp",
        tile=8,
        rows=4,
        columns=6,
        wells={"A01": well},
        legend="DAPI <blue>",
        notes=(),
    )
    text = render(collect(plate.plan, plate.results), pictures)
    assert embedded(text, "picture-data")["A01"] == {
        "image": "data:image/webp;base64,AQI=", "contours": "", "width": 4, "height": 3, "caption": "a <b>",
    }  # fmt: skip
    assert Page(text).of("image")[0]["href"] == "data:image/webp;base64,BQ=="


def test_a_plot_is_the_same_every_time_and_its_ids_carry_its_key():
    groups = {"negative": [1.0, 2.0, float("nan")], "": [3.0], "positive": []}
    svg = strip_plot(groups, "k7")
    assert svg == strip_plot(groups, "k7")
    assert re.findall(r'\bid="([^"]+)"', svg)
    assert all(name.startswith("k7-") for name in re.findall(r'(?:\bid="|url\(#|href="#)([^")]+)', svg))
    assert "<style" not in svg
    assert "n = 2" in svg


@pytest.mark.parametrize(
    ("value", "word"),
    [(0.5, "excellent"), (0.4999, "marginal"), (0.0, "unusable"), (-3.0, "unusable"), (float("nan"), "")],
)
def test_z_prime_is_judged_as_its_authors_do(value, word):
    assert z_word(value) == word


def test_numbers_and_durations_are_written_as_people_read_them():
    assert [short(v) for v in (0.65432, 48160.7, -0.25, 12, None, float("nan"), True)] == [
        "0.6543", "48161", "\N{MINUS SIGN}0.25", "12", "\N{EN DASH}", "\N{EN DASH}", "True",
    ]  # fmt: skip
    assert [exact(v) for v in (1 / 3, 7, None, float("inf"))] == ["0.333333", "7", "", ""]
    assert [duration(s) for s in (0.4321, 12.3, 59.7, 200, 7500)] == [
        "0.43 s", "12 s", "1 min", "3 min 20 s", "2 h 5 min",
    ]  # fmt: skip
