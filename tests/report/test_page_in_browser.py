"""The page in a real browser: what a person does with it works, and it asks the network for nothing."""

import io
import shutil

import pytest

from hcs_steps.report.model import collect
from hcs_steps.report.page import render
from hcs_steps.report.pictures import PlatePictures, WellPicture

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'>"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


def picture(size, colour):
    image = pytest.importorskip("PIL.Image", reason="needs pillow")
    file = io.BytesIO()
    image.new("RGBA", (size, size), colour).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def pictures():
    inside, lines = picture(40, (0, 0, 90, 255)), picture(40, (255, 255, 0, 99))
    wells = {
        f"{row}{column:02d}": WellPicture(
            inside,
            "image/png",
            b"" if (row, column) == ("B", 2) else lines,
            40,
            40,
            f"{HOSTILE} {row}{column}",
        )
        for row in "ABCD"
        for column in range(1, 7)
        if (row, column) != ("D", 5)
    }
    return PlatePictures(picture(48, (0, 0, 90, 255)), "image/png", 8, 4, 6, wells, HOSTILE, ())


@pytest.fixture(scope="module")
def file(make_results, pictures):
    fake = make_results(
        24, plate="P1", failed=("A03",), missing=("C01",), error=HOSTILE, names=(HOSTILE, "taxol")
    )
    path = fake.results.root / "report.html"
    path.write_text(render(collect(fake.plan, fake.results), pictures), encoding="utf-8")
    return path


@pytest.fixture
def page(browser, file):
    """The open page; what it complains of and asks for is in ``page.heard``."""
    opened = browser.new_page(viewport={"width": 1280, "height": 800})
    opened.heard = []
    opened.on("console", lambda message: opened.heard.append(message.text))
    opened.on("pageerror", lambda error: opened.heard.append(str(error)))
    opened.on(
        "request",
        lambda request: (
            None if request.url.startswith(("data:", file.as_uri())) else opened.heard.append(request.url)
        ),
    )
    opened.goto(file.as_uri())
    yield opened
    assert opened.heard == []
    assert opened.evaluate("window.hacked") is None
    opened.close()


def fills(page):
    return page.eval_on_selector_all("#heatmap rect.well", "all => all.map(e => e.getAttribute('fill'))")


def focused(page):
    return page.evaluate("document.activeElement.dataset.well")


def test_the_page_opens_without_errors_and_fits_a_laptop(page):
    assert page.title().startswith("P1")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert len(fills(page)) == 24
    assert not page.is_visible("#well")


def test_choosing_a_feature_changes_the_map(page):
    before, name = fills(page), page.inner_text("#map-caption")
    page.select_option("#feature", label="Nuclei_Texture_1")
    assert page.inner_text("#map-caption") == "Nuclei_Texture_1" != name
    after = fills(page)
    assert sum(one != other for one, other in zip(before, after, strict=True)) > 15
    assert after[2] == before[2] == "url(#hatch)"
    assert after[12] == "url(#dots)"


def test_colours_follow_the_values_and_the_ends_of_the_scale(page):
    page.check("input[name=range][value=full]")
    found = page.evaluate(
        """() => {
          const plate = JSON.parse(document.getElementById("plate-data").textContent);
          const feature = plate.features.find((f) => f.name === "Nuclei_Intensity_Mean");
          const fills = [...document.querySelectorAll("#heatmap rect.well")].map((e) => e.getAttribute("fill"));
          return [feature.values, fills, plate.scales.values];
        }"""
    )
    known = sorted((value, fill) for value, fill in zip(found[0], found[1], strict=True) if value is not None)
    places = [found[2].index(fill) for _, fill in known]
    assert places == sorted(places)
    assert (places[0], places[-1]) == (0, len(found[2]) - 1)
    assert page.inner_text("#clipped") == "All values are within the scale."


def test_normalised_values_have_their_own_colours_around_zero(page):
    before = fills(page)
    page.check("input[name=kind][value=scores]")
    assert fills(page) != before
    assert "robust z" in page.inner_text("#map-caption")
    assert page.text_content("#scale text:nth-of-type(2)") == "0"
    page.select_option("#feature", label="Count_nuclei_DAPI")
    assert page.is_disabled("input[name=kind][value=scores]")


def test_features_are_found_by_parts_of_their_names(page):
    page.fill("#filter", "nuclei area")
    assert page.eval_on_selector_all("#feature option", "all => all.map(o => o.textContent)") == [
        "Nuclei_Area_um2"
    ]
    page.press("#filter", "Enter")
    assert page.inner_text("#map-caption").startswith("Nuclei_Area_um2")


def test_hovering_tells_the_value_and_the_number_of_objects(page):
    page.hover("#heatmap rect[data-well=B04]")
    shown = page.inner_text("#tip")
    value, objects = page.evaluate(
        """() => {
          const plate = JSON.parse(document.getElementById("plate-data").textContent);
          const index = plate.wells.findIndex((well) => well.name === "B04");
          return [plate.features[plate.first].values[index], plate.wells[index].objects];
        }"""
    )
    assert shown.startswith("B04")
    assert str(value) in shown
    assert f"objects\n{objects}" in shown
    page.hover("h1")
    assert not page.is_visible("#tip")


def test_arrow_keys_move_between_wells_and_enter_opens_one(page):
    page.focus("#heatmap rect[tabindex='0']")
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp", "End", "Home", "ArrowLeft"):
        page.keyboard.press(key)
    assert focused(page) == "A01"
    page.keyboard.press("ArrowRight")
    assert focused(page) == "A02"
    assert page.inner_text("#tip").startswith("A02")
    assert page.get_attribute("#heatmap rect[data-well=A02]", "aria-label").startswith("A02, ")
    page.keyboard.press("Enter")
    assert page.inner_text("#well-title") == "Well A02"
    page.keyboard.press("ArrowDown")
    assert page.inner_text("#well-title") == "Well B02"
    page.keyboard.press("Escape")
    assert not page.is_visible("#well")
    assert focused(page) == "B02"


def test_a_click_opens_the_picture_of_a_well_and_contours_can_be_hidden(page):
    page.click("#montage rect[data-well=C04]")
    assert page.inner_text("#well-title") == "Well C04"
    page.wait_for_function("document.getElementById('shot').naturalWidth === 40")
    assert page.is_visible("#contours")
    page.uncheck("#contours-on")
    assert not page.is_visible("#contours")
    page.keyboard.press("ArrowLeft")
    assert not page.is_visible("#contours")
    page.check("#contours-on")
    assert page.is_visible("#contours")
    assert page.inner_text("#shot-caption") == f"{HOSTILE} C3"
    page.click("#close")
    assert focused(page) == "C03"


def test_a_well_without_contours_or_without_a_picture_says_so(page):
    page.click("#montage rect[data-well=B02]")
    assert page.is_visible("#shot")
    assert not page.is_visible("#contours-label")
    page.keyboard.press("Escape")
    page.click("#montage rect[data-well=D05]")
    assert page.is_visible("#no-picture")
    assert not page.is_visible("#shot")


def test_a_failed_well_shows_its_error(page):
    page.click("#heatmap rect[data-well=A03]")
    assert HOSTILE in page.inner_text("#well-values")


def test_the_command_to_run_again_is_copied(page, browser):
    page.evaluate(
        "Object.defineProperty(navigator, 'clipboard', {value: {writeText: async (t) => { window.copied = t; }}})"
    )
    page.click("#problems .copy >> nth=0")
    page.wait_for_function("window.copied !== undefined")
    assert page.evaluate("window.copied").startswith("snakemake ")
    assert page.inner_text("#problems .copy >> nth=0") == "Copied"


def test_on_paper_there_are_no_controls_and_nothing_is_wider_than_the_sheet(page):
    page.set_viewport_size({"width": 690, "height": 1000})
    page.emulate_media(media="print")
    assert not page.is_visible("nav")
    assert not page.is_visible("#feature")
    assert not page.is_visible("#problems .copy >> nth=0")
    assert page.is_visible("#scale")
    assert page.evaluate("document.documentElement.scrollWidth") <= 690


def test_a_plate_of_which_nothing_is_left_opens_as_well(make_results, browser, tmp_path):
    fake = make_results(6, failed="all", tables=False)
    path = tmp_path / "report.html"
    path.write_text(render(collect(fake.plan, fake.results)), encoding="utf-8")
    page = browser.new_page()
    heard = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.goto(path.as_uri())
    assert fills(page) == ["url(#hatch)"] * 6
    assert heard == []
    page.close()


def test_every_well_of_a_large_plate_is_drawn_and_redrawn(make_results, browser, tmp_path):
    fake = make_results(384, features=3)
    path = tmp_path / "report.html"
    path.write_text(render(collect(fake.plan, fake.results)), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    before = fills(page)
    page.select_option("#feature", label="Nuclei_Area_um2")
    assert len(before) == 384
    assert sum(one != other for one, other in zip(before, fills(page), strict=True)) > 300
    assert page.eval_on_selector_all("#heatmap text.mark", "all => all.length") == 32
    page.close()
