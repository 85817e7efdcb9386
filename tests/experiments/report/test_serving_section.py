"""The report's section on serving."""

import copy
import io
import re
from collections.abc import Callable
from html import unescape
from typing import Any

import plotly.graph_objects as go
import pytest
from rich.console import Console

from experiments.report import render_report, serving, words
from experiments.terminal import print_verdict

MANIFEST: dict[str, Any] = {
    "schema": 1,
    "created": "2026-01-05T10:00:00+00:00",
    "code_version": "0.1.0",
    "config_hash": "abc",
    "python": "3.11",
    "packages": {},
    "machine": {"cpus": 2, "platform": "Linux"},
    "seeds": {},
    "timings": {},
    "data": None,
}

Made = Callable[..., dict[str, Any]]


@pytest.fixture
def clustered(served: Made) -> Made:
    """``clustered(band=False)``: what a run of two served arms and one that does not think leaves."""

    def made(band: bool = False) -> dict[str, Any]:
        names = ("v1", "v2", "blind")
        return {
            "schema": 2,
            "name": "served",
            "seed": 1,
            "scenario": "item",
            "config_hash": "abc",
            "currency": "USD",
            "horizon": dict.fromkeys(
                ("start", "warmup_start", "experiment_start", "experiment_end", "follow_up_end"), "2015-10-06"
            ),
            "world": {
                "kind": "generated",
                "users": 5,
                "items": 60,
                "cities": ["seattle"],
                "contexts": {"weather": 1.0, "holidays": 1.0, "trends": 1.0, "seasons": 1.0},
            },
            "analysis": {
                "control": "v1",
                "primary": "ctr",
                "metrics": ["ctr"],
                "alpha": 0.05,
                "cuped": False,
                "correction": "none",
            },
            "metrics": {"ctr": {"title": "Click-through rate", "unit": "share", "formula": "clicks / impressions"}},
            "arms": {
                arm: {"policy": "p", "params": {}, "share": 1 / 3, "users": 5, "assigned": 5, "totals": {}}
                for arm in names
            },
            "srm": {"p_value": 0.4, "ok": True},
            "comparisons": [],
            "daily": [],
            "context": {},
            "allocation": None,
            "frontier": None,
            "thinking": None,
            "diagnostics": {"visits": {}, "exposed": {}, "churned": {}, "warmup_balance": [], "warmup_thinking": None},
            "serving": served(band),
        }

    return made


def page(given: dict[str, Any]) -> str:
    """The report's words."""
    return unescape(re.sub(r"<(script|style).*?</\1>", "", render_report(given, MANIFEST), flags=re.DOTALL))


def shown(given: dict[str, Any]) -> str:
    """What the terminal prints at 80 columns."""
    file = io.StringIO()
    print_verdict(Console(width=80, file=file, no_color=True, legacy_windows=False), given)
    return file.getvalue()


def test_every_row_says_how_it_is_known(clustered: Made) -> None:
    """Rows must be marked, hold a value for each served arm, and be in seconds of a card only where projected."""
    found = serving.rows(clustered())
    assert {row.known for row in found} == {"measured", "modelled", "projected"}
    assert all(len(row.values) == 2 for row in found)
    assert all(row.known == "projected" for row in found if "GPU" in row.what or "MFU" in row.what)
    told = {row.what: row for row in found}
    assert told["Visits served by older tags than asked for"].values == ("25.0%", words.NOTHING)
    assert told["Age of tags at a visit, mean"].values == ("30.50 h", words.NOTHING)
    assert told["EUR for 1,000 visits, provisioned"].values == ("0.5000", "0.5000")
    assert told["Wait before the cluster, mean"].values[0] == "2.083 h"
    assert told["Refreshes done within 10 min"].known == "projected"


def test_the_share_of_explanations_is_told_where_it_was_counted(clustered: Made) -> None:
    """Table and terminal must tell it of arms whose model served, and always that explanations are left out."""
    row = "Share of explanations, left out here, in all tokens read and written"
    unknown = clustered()
    assert row not in {each.what for each in serving.rows(unknown)}
    assert "writing explanations is in none of them." in " ".join(serving.sentences(unknown))
    given = clustered()
    given["serving"]["arms"]["v2"]["measured"]["executed"] = {
        "jobs": 3,
        "read_tokens_a_job": 90.0,
        "explanation_share_left_out": 0.4375,
    }
    assert {each.what: each.values for each in serving.rows(given)}[row] == (words.NOTHING, "43.8%")
    assert "of all tokens read and written they are v2 43.8% (measured)." in " ".join(serving.sentences(given))
    assert "are in none of these figures" in page(given)


def test_ranges_are_told_where_the_error_is_known(clustered: Made) -> None:
    """Without an error of the step times no range may be shown, and with one each projected row has it."""
    assert not any(row.ranges for row in serving.rows(clustered()))
    assert "no range is told" in serving.provenance(clustered())
    ranged = [row for row in serving.rows(clustered(band=True)) if row.known == "projected"]
    assert all(len(row.ranges) == 2 for row in ranged)
    assert "median error of 7.00%" in serving.provenance(clustered(band=True))


def test_money_needs_a_price(clustered: Made) -> None:
    """Without a price no row, sentence or page may speak of money."""
    given = clustered()
    given["serving"]["settings"]["price"] = None
    for arm in ("v1", "v2"):
        given["serving"]["arms"][arm]["projected"]["projected_cost_per_1000_visits"]["value"] = None
    assert not any("EUR" in row.what for row in serving.rows(given))
    assert "No cost is told" in serving.provenance(given)
    assert "EUR" not in page(given) + shown(given)
    assert "Price: 2.5 EUR an hour and card, as of 1 Jun 2025" in page(clustered())


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.0, "0 s"),
        (0.0123, "12.30 ms"),
        (45.0, "45 s"),
        (600.0, "10 min"),
        (9000.0, "2.500 h"),
        (259200.0, "3 d"),
        (None, words.NOTHING),
    ],
)
def test_durations_read_well(seconds: float | None, told: str) -> None:
    """Seconds must be told in the unit in which they read well."""
    assert serving.duration(seconds) == told


def test_the_plot_of_value_against_hours(clustered: Made) -> None:
    """Every arm must stand at its hours and value with its interval, the line through the efficient ones alone."""
    for band in (False, True):
        figure = serving.pareto(clustered(band))
        go.Figure(data=[_uncoloured(trace) for trace in figure["data"]])
        line, *marks = figure["data"]
        assert (line["x"], line["y"]) == ([0.0, 18.0], [18.0, 22.0])
        named = {mark["name"]: mark for mark in marks if "name" in mark}
        assert {name: (mark["x"], mark["y"]) for name, mark in named.items()} == {
            "v1": ([40.0], [20.0]),
            "v2": ([18.0], [22.0]),
            "blind": ([0.0], [18.0]),
        }
        assert (named["v1"]["error_y"]["array"], named["v1"]["error_y"]["arrayminus"]) == ([5.0], [5.0])
        assert "error_y" not in named["blind"]
        assert ("error_x" in named["v1"]) == band
        assert "(projected)" in named["v1"]["hovertext"][0]
        assert "(measured)" in named["v1"]["hovertext"][0]
        assert sum("name" not in mark for mark in marks) == 2  # the truth, where it is known


def _uncoloured(trace: dict[str, Any]) -> dict[str, Any]:
    """A trace as Plotly may check it: the page puts colours in."""
    plain = copy.deepcopy(trace)
    for part in (plain.get("line"), plain.get("marker"), plain.get("error_x"), plain.get("error_y")):
        if part and str(part.get("color", "")).startswith("@"):
            part["color"] = "black"
    return plain


def test_the_report_and_the_terminal_tell_of_serving(clustered: Made) -> None:
    """Page and terminal must name clusters, loads and provenance, and say nothing where there was no cluster."""
    given = clustered()
    text = page(given)
    assert 'id="serving"' in text
    assert "qwen3-8b in bf16 on h20, cards of each arm: 2" in text
    assert "125.0%" in text
    said = " ".join(shown(given).split())
    assert "0.5000 GPU-seconds of full cards for 1,000 visits (0.5000 provisioned, 0.5000 EUR)" in said
    assert "25.0% older than asked for (modelled)" in said
    assert set(serving.charts(given)) == {"serving-pareto", "serving-load", "serving-waiting"}
    given["serving"]["arms"]["v2"]["cards"] = 5
    assert "cards of each arm: v1 2, v2 5" in page(given)
    del given["serving"]
    assert serving.charts(given) == {}
    assert 'id="serving"' not in page(given)
    assert "Serving" not in shown(given)
