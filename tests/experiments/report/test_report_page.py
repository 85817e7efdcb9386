import copy
import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from experiments.report import SECTIONS, page, render_evaluation

HERE = Path(page.__file__).parent


def paint(value: Any, key: str = "") -> Any:
    """A figure with colours in place of their names."""
    if isinstance(value, dict):
        return {name: paint(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [paint(inner) for inner in value]
    if isinstance(value, str) and value.startswith("@"):
        return [[0, "#fff"], [1, "#000"]] if key == "colorscale" else "#123456"
    return value


def test_the_library_is_there_once_and_nothing_is_fetched(whole: Any, shown: Any) -> None:
    """The page holds the plotting library exactly once, refers to no other address, and stays below 6 MB."""
    given = shown(whole("new", "newer"))
    assert given.html.count("* plotly.js v") == 1
    assert not re.search(r"(src|action)\s*=|@import|url\(|https?://(?!www\.w3\.org/2000/svg)", given.page)
    assert all(link.startswith("#") for link in re.findall(r'href="([^"]*)"', given.page))
    assert "default-src 'none'" in given.page
    assert len(given.html.encode()) < 6_000_000


def test_text_from_outside_stays_text(
    hostile: Any, evaluation: Any, manifest: Any, shown: Any, strings: Any, evil: str
) -> None:
    """No name can become a tag: not in the page, not in a script element, not in a label of a figure."""
    given = shown(hostile)
    assert "<img" not in given.page
    assert given.page.count("</script>") == 4
    for text in strings(given.charts):
        assert set(re.findall(r"<[^>]*>", text)) <= {"<br>"}
        assert "%{" not in text
    assert evil in unescape(given.page)
    assert "<img" not in render_evaluation(evaluation, manifest)


def test_same_input_same_bytes(whole: Any, evaluation: Any, manifest: Any, shown: Any) -> None:
    """Rendering is a pure function: no random identifiers, no clock, and the input is left as it was."""
    given = whole("new", "newer")
    before = copy.deepcopy(given)
    assert shown(given).html == shown(before).html
    assert given == before
    assert render_evaluation(evaluation, manifest) == render_evaluation(evaluation, manifest)


def test_figures_are_valid_for_plotly(whole: Any, evaluation: Any) -> None:
    """Plotly's own checks accept every figure of every section once the colours have their values."""
    given = whole("new", "newer")
    drawn = 0
    for section in SECTIONS:
        assert section.room is not None
        assert section.room.present(given)
        for figure in section.room.charts(given).values():
            go.Figure(paint(figure))
            drawn += 1
    assert drawn >= 12


def test_every_colour_has_a_value_in_both_schemes(whole: Any, shown: Any) -> None:
    """Each colour that a figure names is defined by the page's script for light and for dark."""
    script = (HERE / "figures.js").read_text(encoding="utf-8")
    text = json.dumps(shown(whole("new", "newer")).charts)
    names = {name for name in re.findall(r'"@([a-z0-9-]+)"', text) if not re.fullmatch(r"(series|band)\d", name)}
    assert {"ink", "paper", "heat-trend"} <= names
    for name in names:
        assert len(re.findall(rf'(?<![\w-])"?{name}"?: ', script)) == 2


def test_every_figure_has_its_numbers_in_a_table(whole: Any, evaluation: Any, manifest: Any, shown: Any) -> None:
    """Each figure has words for those who cannot see it and names a table on the page that holds its numbers."""
    for html in (shown(whole("new", "newer")).text, render_evaluation(evaluation, manifest)):
        boxes = re.findall(r'<div class="plot"[^>]*>', html)
        assert boxes
        for box in boxes:
            assert re.search(r'role="img" aria-label="[^"]+"', box)
            [name] = re.findall(r'aria-details="([^"]+)"', box)
            found = re.search(rf'<(details|table)[^>]* id="{re.escape(name)}"', html)
            assert found
            assert "<td" in html[found.start() : html.index("</table>", found.start())]


def test_the_contents_lead_to_every_section(whole: Any, results: Any, shown: Any) -> None:
    """The table of contents names the sections that are there, in their order, and no others."""
    for given in (whole(), results()):
        html = shown(given).text
        links = re.findall(r'<li><a href="#([a-z]+)">', html)
        assert links == re.findall(r'<section id="([a-z]+)"', html)
        expected = [each.name for each in SECTIONS if each.room is None or each.room.present(given)]
        assert links == [*expected, "provenance"]


def test_identifiers_are_there_once(whole: Any, shown: Any) -> None:
    """No two elements share an identifier, so that links and labels mean one thing."""
    names = re.findall(r'\bid="([^"]+)"', shown(whole("new", "newer")).text)
    assert len(names) == len(set(names))


def test_the_page_says_what_was_randomised(results: Any, shown: Any) -> None:
    """Users, unless the results say that cities or blocks were."""
    given = results()
    assert "users randomised" in shown(given).text
    clusters = {"word": "cities", "of": "users", "count": 4, "by_arm": {"base": 2, "new": 2}, "units": 3.0}
    given["clusters"] = clusters | {"design_effects": [], "left_out": ""}
    assert "cities randomised" in shown(given).text


def test_students_have_no_table_of_tokens(whole: Any, shown: Any) -> None:
    """Where no model was called there are no costs of 0 to compare; that students thought is said in their place."""
    given = whole("new")
    assert "What a refresh costs" in shown(given).text
    for account in given["thinking"].values():
        for counts in account["ledger"]["roles"].values():
            counts |= dict.fromkeys(counts, 0)
    text = shown(given).text
    assert "What a refresh costs" not in text
    assert "students stood in for the language model" in text
    assert "How fresh tags were" in text


def test_a_table_of_units_has_a_report(results: Any, shown: Any) -> None:
    """Results without world, policies and dates, as a table gives them, are shown with what they have."""
    given = results()
    given["world"] |= {"kind": "table", "items": None, "cities": []}
    given["horizon"] = dict.fromkeys(given["horizon"])
    given |= {"context": None, "daily": [], "allocation": None, "thinking": None, "frontier": None, "seed": None}
    given["diagnostics"] |= {"visits": {}, "churned": {}, "warmup_balance": []}
    for arm in given["arms"].values():
        arm |= {"policy": "", "params": {}}
    text = shown(given).text
    assert "300 units of a table" in text
    assert "users randomised" not in text
    assert not re.search(r"\b(None|nan|null)\b", text)
