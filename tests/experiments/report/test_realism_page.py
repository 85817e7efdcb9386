import copy
import io
import json
import re
from html import unescape
from typing import Any

import plotly.graph_objects as go
import pytest
from plotly.offline import get_plotlyjs
from rich.console import Console

from experiments.report import realism_figures
from experiments.report import realism_words as told
from experiments.report.realism import render_realism
from experiments.terminal_realism import print_realism

HOSTILE = "<img src=x onerror=alert(1)> [bold]&%{y}"
MANIFEST = {
    "schema": 1,
    "created": "2026-01-05T10:00:00+00:00",
    "code_version": "0.1.0",
    "config_hash": "abc",
    "python": "3.11",
    "packages": {"numpy": "2.4"},
    "machine": {"cpus": 2, "platform": "Linux"},
    "seeds": {"realism": 7},
    "timings": {"comparing": 1.25},
    "data": None,
}


def text_of(html: str) -> str:
    """What a reader reads."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html.replace(get_plotlyjs(), ""))).split())


def test_the_page_says_what_the_scorecard_says(realism: dict[str, Any]) -> None:
    """Worst rows, rows, totals, classifier, calibration and what has no counterpart stand on the page; same bytes."""
    html = render_realism(realism, MANIFEST)
    text = text_of(html)
    for part in (
        "A shop fitted to 1 Dec 2010 to 31 Aug 2011 and drawn for 1 Sep 2011 to 9 Dec 2011",
        "Worst row: The hour. Its JS distance of 0.3000 is 6.0 times the noise floor.",
        "Furthest apart is a: 70.00% real, 50.00% simulated.",
        "Next worst: The day.",
        "shown are the 3 of 90 that differ most. Of the shop.",
        "within noise",
        "5,265",
        "0.764 (95% interval 0.751 to 0.777)",
        "just before are told from them with 0.821",
        "visits (70%)",
        "calibration unknown; the policy does not say.",
        "expected calibration error 3.10 pp over 12,000 impressions",
        "half of them up to 4 days, nine tenths up to 6",
        "Simulated: 0.987",
    ):
        assert part in text
    assert render_realism(realism, MANIFEST) == html


def test_what_noise_means_is_said(realism: dict[str, Any]) -> None:
    """The page says when a row is within noise, and that a calibration's noise is of independent clicks."""
    text = text_of(render_realism(realism, MANIFEST))
    assert "fewer than 5% of the rows are called apart" in text
    assert "clicks of one user go together" in text


def test_the_headline_counts_what_stands_out(realism: dict[str, Any]) -> None:
    """As many rows as are further apart than noise are counted, and where none is, that is said."""
    apart = sum(not row["within_noise"] for row in realism["rows"])
    assert 0 < apart < len(realism["rows"])
    assert told.headline(realism) == f"{apart} of {len(realism['rows'])} rows can be told from reality"
    for row in realism["rows"]:
        row["within_noise"] = True
    assert told.headline(realism).startswith("None of")


def test_a_generated_world_has_other_words(realism: dict[str, Any]) -> None:
    """Without real users there is no classifier, and a floor is said to be sampling noise."""
    realism |= {"kind": "generated", "control": "base", "two_sample": None, "calibration": []}
    text = text_of(render_realism(realism, MANIFEST))
    assert "played under base" in text
    assert "A classifier needs real users" in text
    assert "5% of the rows would be called apart if actions were independent" in text
    assert "clicks of one user go together" not in text
    assert "sampling noise alone" in text


def test_figures_are_valid_and_hold_the_rows(realism: dict[str, Any]) -> None:
    """Plotly accepts every figure; dots are the ratios, ticks the high floors."""
    figures = realism_figures.charts(realism)
    assert set(figures) == {"distances", "reliability"}
    for figure in figures.values():
        go.Figure(json.loads(re.sub(r'"@[a-z0-9-]+"', '"#123456"', json.dumps(figure))))
    ticks, dots = figures["distances"]["data"]
    assert dots["x"][::-1] == pytest.approx([1.0, 6.0, 5.0])
    assert ticks["x"] == pytest.approx([1.5] * 3)
    assert figures["reliability"]["data"][0]["y"] == [0.12, 0.25]
    assert "reliability" not in realism_figures.charts({**realism, "calibration": realism["calibration"][:1]})


def test_hostile_names_stay_text(realism: dict[str, Any]) -> None:
    """Whatever a row, an item or an arm is called, it is text on the page, in figures and in the terminal."""
    found = copy.deepcopy(realism)
    found["name"] = HOSTILE
    for each in found["rows"]:
        each["title"] = HOSTILE
        each["shown"]["labels"][0] = HOSTILE
    for each in found["calibration"]:
        each["arm"] = HOSTILE
    html = render_realism(found, MANIFEST).replace(get_plotlyjs(), "")
    assert "<img" not in html
    console = Console(width=80, record=True, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115, PTH123
    print_realism(console, found)
    assert "[bold]&%{y}" in console.export_text()


def test_the_terminal_ends_with_the_worst_rows(realism: dict[str, Any]) -> None:
    """At 80 columns no line is longer, and the two worst rows come last."""
    console = Console(width=80, record=True, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115, PTH123
    print_realism(console, realism)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    last = " ".join(" ".join(lines[-6:]).split())
    assert last.endswith(" ".join(" ".join(told.worst(realism)).split()))


def test_rows_that_stand_out_are_marked_without_a_terminal(realism: dict[str, Any]) -> None:
    """Where nothing is bold, as in a pipe, exactly the rows apart from noise have an asterisk, which is explained."""
    piped = io.StringIO()
    print_realism(Console(width=80, file=piped), realism)
    said = piped.getvalue()
    assert "\x1b" not in said
    table, _, rest = said.partition("*: further apart than 19 of 20 floors")
    assert rest
    marked = [line for line in table.splitlines() if line.rstrip().endswith("*")]
    apart = [row for row in realism["rows"] if not row["within_noise"]]
    assert 0 < len(apart) < len(realism["rows"])
    assert [told.distance(row["distance"]) in line for row, line in zip(apart, marked, strict=True)] == [True] * len(
        apart
    )
