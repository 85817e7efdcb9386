"""The report in a browser: what only a browser can tell. Playwright drives the Chromium of the system."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from experiments.report import render_evaluation
from experiments.report.comparison_report import render_comparison
from experiments.report.realism import render_realism
from experiments.report.sweep_report import render_sweep

CHROMIUM = next((found for name in ("chromium", "google-chrome") if (found := shutil.which(name))), None)
PHONE, DESK = (390, 844), (1280, 900)
# Contrast of every visible text with what lies behind it, after WCAG 2.2, 1.4.3; the worst first.
CONTRASTS = """() => {
  const parse = (color) => {
    const [r, g, b, a = 1] = color.match(/[\\d.]+/g).map(Number);
    return [r, g, b, a];
  };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const luminance = (color) => {
    const [r, g, b] = color.map((each) => {
      const share = each / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || ["SCRIPT", "STYLE", "NOSCRIPT"].includes(element.tagName) || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const ink = parse(element instanceof SVGElement ? style.fill : style.color);
    const ground = behind(element);
    const [one, other] = [luminance(over(ink, ground)), luminance(ground)];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    found.push({ text, ratio, element: element.tagName });
  }
  return found.sort((a, b) => a.ratio - b.ratio);
}"""
OPERABLE = "a[href], button, select, summary, input, [tabindex='0']"
# What is focused, by its place among all elements that can be operated and are shown; -1 for anything else.
FOCUSED = f"""() => {{
  const all = [...document.querySelectorAll(`{OPERABLE}`)].filter((each) => each.checkVisibility());
  const at = document.activeElement;
  const style = getComputedStyle(at);
  return [all.indexOf(at), all.length, style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1];
}}"""
MARKS = ".point, .js-line, .hm, .errorbar"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium; where there is none the tests are skipped, and fail where one is required."""
    if CHROMIUM is None:
        if os.environ.get("TESTBED_BROWSER") == "required":
            pytest.fail("no chromium on the path, and TESTBED_BROWSER=required; install Debian's package chromium")
        pytest.skip("no chromium on the path")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--disable-gpu"])
        yield launched
        launched.close()


@pytest.fixture
def visit(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """``visit(html, size, scheme)``: the page opened from a file; afterwards its console must have been silent."""
    complaints: list[str] = []
    contexts = []

    def opened(html: str, size: tuple[int, int] = DESK, scheme: Any = "light", javascript: bool = True) -> Page:
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, java_script_enabled=javascript
        )
        context.set_offline(True)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        path = tmp_path / f"report-{len(contexts)}.html"
        path.write_text(html, encoding="utf-8")
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def hostile_html(hostile: dict[str, Any], shown: Any) -> str:
    """The report that has every section and in which every name is an attack."""
    return str(shown(hostile).html)


def unfold(page: Page) -> None:
    """Open every fold and wait until what is inside is drawn."""
    page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    page.wait_for_function(
        "[...document.querySelectorAll('[data-chart]')].every((box) => box.querySelector('.main-svg'))"
    )


def test_every_figure_has_marks_and_no_name_becomes_an_element(visit: Any, hostile_html: str, evil: str) -> None:
    """Opened from a file, each figure draws its data, and an attack is text in the page and in the figures."""
    page = visit(hostile_html)
    unfold(page)
    boxes = page.locator("[data-chart]")
    assert boxes.count() >= 9
    for box in boxes.all():
        assert box.locator(MARKS).count() > 0, box.get_attribute("data-chart")
    assert page.locator("img").count() == 0
    assert page.get_by_text(evil).count() > 20
    assert page.locator("svg text", has_text=evil).count() > 0
    assert page.locator(".legend button", has_text=evil).count() > 0


def test_an_evaluation_is_drawn(visit: Any, evaluation: dict[str, Any], manifest: dict[str, Any]) -> None:
    """The report of an open-loop evaluation has its dots, and fits a phone."""
    page = visit(render_evaluation(evaluation, manifest), PHONE)
    assert page.locator("[data-chart]").first.locator(".point").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]


@pytest.mark.slow
def test_a_real_run_is_drawn(visit: Any, finished: Any, shown: Any) -> None:
    """The report of an experiment that was really played: marks in each figure, and an arm for each policy."""
    page = visit(shown(finished.results).html, PHONE, "dark")
    unfold(page)
    for box in page.locator("[data-chart]").all():
        assert box.locator(MARKS).count() > 0
    assert page.locator(".verdict").count() == 2
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]


@pytest.mark.parametrize("way", ["mouse", "keyboard"])
def test_a_legend_entry_hides_and_shows_what_it_names(visit: Any, whole: Any, shown: Any, way: str) -> None:
    """A click or a key on an entry takes its marks away and brings them back, and focus stays where it was."""
    page = visit(shown(whole("new", "newer")).html)
    box = page.locator("#forest-box")
    entry = page.locator("figure", has=box).locator(".legend button", has_text="truth")

    def press() -> None:
        if way == "mouse":
            entry.click()
        else:
            entry.focus()
            page.keyboard.press("Enter")

    before = box.locator(".point").count()
    assert entry.get_attribute("aria-pressed") == "true"
    press()
    assert entry.get_attribute("aria-pressed") == "false"
    assert box.locator(".point").count() == before - 2
    assert page.evaluate("document.activeElement.textContent") == "truth"
    press()
    assert entry.get_attribute("aria-pressed") == "true"
    assert box.locator(".point").count() == before


def test_a_band_hides_with_its_line(visit: Any, whole: Any, shown: Any) -> None:
    """An entry of the legend stands for all that belongs to it, and for nothing else."""
    page = visit(shown(whole("new", "newer")).html)
    figure = page.locator("figure", has=page.locator("#daily-0-box"))
    assert (figure.locator(".js-fill").count(), figure.locator(".js-line").count()) == (2, 6)
    figure.locator(".legend button", has_text=re.compile("^newer$")).click()
    assert (figure.locator(".js-fill").count(), figure.locator(".js-line").count()) == (1, 4)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK])
def test_every_text_can_be_read(visit: Any, hostile_html: str, scheme: str, size: tuple[int, int]) -> None:
    """In either scheme, by the device's choice or the reader's, text has a contrast of 4.5 or more."""
    page = visit(hostile_html, size, scheme)
    unfold(page)
    page.locator(".legend button").first.click()
    for _ in range(2):
        contrasts = page.evaluate(CONTRASTS)
        assert len(contrasts) > 300
        assert [each for each in contrasts if each["ratio"] < 4.5] == []
        page.locator("#scheme").click()


def test_the_switch_turns_the_page_and_its_figures(visit: Any, whole: Any, shown: Any) -> None:
    """The button names what it does, turns page and figures, keeps what a legend hid, and turns back."""
    page = visit(shown(whole()).html, scheme="dark")
    button = page.locator("#scheme")
    paper = "getComputedStyle(document.querySelector('#forest-box .main-svg')).backgroundColor"
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(f"[{paper}, {ground}]")
    page.locator("figure", has=page.locator("#forest-box")).locator(".legend button").last.click()
    assert button.inner_text() == "Light colours"
    button.click()
    light = page.evaluate(f"[{paper}, {ground}]")
    assert light[0] == "rgb(255, 255, 255)"
    assert light[0] != dark[0]
    assert light[1] != dark[1]
    assert button.inner_text() == "Dark colours"
    hidden = page.locator("figure", has=page.locator("#forest-box")).locator(".legend [aria-pressed='false']")
    assert hidden.count() == 1
    button.click()
    assert page.evaluate(f"[{paper}, {ground}]") == dark


@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_is_wider_than_the_screen(visit: Any, hostile_html: str, width: int) -> None:
    """With every fold open, only regions that scroll by themselves hold anything wider than the screen."""
    page = visit(hostile_html, (width, 844))
    unfold(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = page.evaluate(
        """(width) => [...document.body.querySelectorAll("*")]
          .filter((each) => each.checkVisibility() && !each.closest(".scroll, .unseen, .skip, svg"))
          .filter((each) => each.getBoundingClientRect().right > width + 0.5)
          .map((each) => each.outerHTML.slice(0, 120))""",
        width,
    )
    assert wide == []


def test_everything_that_can_be_operated_is_reached_by_tab_in_order(visit: Any, whole: Any, shown: Any) -> None:
    """Tab reaches each link, button, choice, fold and scrolling region once, as they stand, and shows where it is."""
    page = visit(shown(whole("new", "newer")).html)
    unfold(page)
    reached = []
    for _ in range(1000):
        page.keyboard.press("Tab")
        place, total, outlined = page.evaluate(FOCUSED)
        if place < 0:
            break
        assert outlined, page.evaluate("document.activeElement.outerHTML.slice(0, 200)")
        reached.append(place)
    assert reached == list(range(total))
    assert total > 40


def test_the_first_stop_skips_to_the_outcome(visit: Any, whole: Any, shown: Any) -> None:
    """The first thing that Tab reaches appears, and leads past the contents to the verdict."""
    page = visit(shown(whole()).html)
    page.keyboard.press("Tab")
    skip = page.locator(".skip")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.wait_for_function("document.querySelector('.skip').getBoundingClientRect().top >= 0")
    skip.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_choosing_a_metric_changes_figure_and_table(visit: Any, whole: Any, shown: Any) -> None:
    """The days of another metric are drawn, its table takes the first one's place, and the picture bears its name."""
    page = visit(shown(whole()).html)
    box = page.locator("#daily-0-box")
    assert page.locator("#daily-0-numbers").is_visible()
    assert not page.locator("#daily-2-numbers").is_visible()
    assert "Gross merchandise value" in box.locator(".xtitle").inner_html()
    page.locator("#daily-choice").select_option("daily-2")
    assert "Novelty exposure rate" in box.locator(".xtitle").inner_html()
    assert page.locator("#daily-2-numbers").is_visible()
    assert not page.locator("#daily-0-numbers").is_visible()
    assert box.get_attribute("aria-details") == "daily-2-numbers"
    assert box.get_attribute("data-file") == "a-run-daily-2"


def test_a_figure_is_saved_as_png(visit: Any, whole: Any, shown: Any) -> None:
    """The button under a figure hands over a picture under the run's and the figure's name."""
    page = visit(shown(whole()).html, PHONE)
    with page.expect_download() as waiting:
        page.locator("button[data-save='forest-box']").click()
    assert waiting.value.suggested_filename == "a-run-forest.png"
    data = Path(waiting.value.path()).read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(data[16:20], "big") >= 900


def test_without_scripts_the_numbers_are_there(visit: Any, whole: Any, shown: Any) -> None:
    """A reader without JavaScript has every table and no button that does nothing."""
    page = visit(shown(whole()).html, javascript=False)
    assert page.locator("noscript p").is_visible()
    assert page.locator("#forest-numbers").is_visible()
    assert page.locator("#daily-2-numbers").is_visible()
    assert page.locator("button:visible").count() == 0


def test_a_link_into_a_fold_opens_it(visit: Any, whole: Any, shown: Any) -> None:
    """A link to a table that is folded away shows the table."""
    page = visit(shown(whole()).html)
    fold = page.locator("#context-numbers")
    assert fold.get_attribute("open") is None
    page.evaluate("location.hash = 'context-numbers'")
    page.wait_for_function("document.getElementById('context-numbers').open")
    assert fold.locator("td").first.is_visible()


def test_paper_is_light_and_unfolded(visit: Any, whole: Any, shown: Any) -> None:
    """Before it is printed the page opens its folds, turns light and narrows its figures, and is as before after it."""
    page = visit(shown(whole()).html, scheme="dark")
    state = """[
      document.querySelectorAll("details:not([open])").length,
      getComputedStyle(document.body).color,
      Math.max(...[...document.querySelectorAll("[data-chart] .main-svg")].map((each) => each.clientWidth)),
    ]"""
    before = page.evaluate(state)
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    closed, ink, widest = page.evaluate(state)
    assert (closed, ink) == (0, "rgb(31, 35, 40)")
    assert widest <= 660
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(state) == before
    assert page.pdf()[:5] == b"%PDF-"


@pytest.mark.parametrize("kind", ["comparison", "sweep", "realism"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_comparisons_and_sweeps_are_pages_like_any_other(
    visit: Any, request: pytest.FixtureRequest, manifest: dict[str, Any], kind: str, scheme: str
) -> None:
    """Their figures have marks, what is chosen is drawn, texts can be read, and a phone is wide enough."""
    found = request.getfixturevalue(kind)
    renders = {
        "comparison": render_comparison,
        "sweep": render_sweep,
        "realism": lambda scorecard: render_realism(scorecard, manifest),
    }
    page = visit(renders[kind](found), PHONE, scheme)
    unfold(page)
    boxes = page.locator("[data-chart]").all()
    assert boxes
    assert all(box.locator(MARKS).count() > 1 for box in boxes)
    for choice in page.locator("select").all():
        box = page.locator(f"#{choice.get_attribute('data-for')}")
        first = box.locator("svg").first.inner_html()
        assert box.locator(MARKS).count() > 1
        choice.select_option(index=1)
        assert box.locator(MARKS).count() > 1
        assert box.locator("svg").first.inner_html() != first
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
    assert [each for each in page.evaluate(CONTRASTS) if each["ratio"] < 4.5] == []
