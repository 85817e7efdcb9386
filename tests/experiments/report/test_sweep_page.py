import json
import re
from html import unescape
from typing import Any

import plotly.graph_objects as go
import pytest

from experiments.report import response, words
from experiments.report.sweep_report import render_sweep


def test_each_metric_can_be_seen_along_each_axis(sweep: dict[str, Any]) -> None:
    """Views are all pairs, the primary metric first; axes are called by as much of their keys as tells them apart."""
    assert response.views(sweep)[0] == ("ctr", "arms.new.params.experts")
    assert len(response.views(sweep)) == len(response.charts(sweep)) == 4
    assert response.title(sweep, "tv", "arms.new.params.refresh.on") == "Transaction value by on"
    sweep["axes"].append({"key": "arms.old.params.experts", "values": [1]})
    assert response.short(sweep, "arms.new.params.experts") == "new.params.experts"


def test_a_line_for_each_other_combination_along_growing_numbers(sweep: dict[str, Any]) -> None:
    """Numbers lie in order on an axis of numbers, anything else by its name in the order of the config."""
    figure = response.curves(sweep, "ctr", "arms.new.params.experts")
    first, second, truths = figure["data"]
    assert first["x"] == second["x"] == [1, 2, 3]
    assert [first["name"], second["name"]] == ["on weather + trend", "on none"]
    assert first["y"] == [0.01, 0.02, 0.03]
    assert first["error_y"]["array"] == pytest.approx([0.01, 0.02, 0.03])
    assert len(truths["x"]) == 6
    named = response.curves(sweep, "ctr", "arms.new.params.refresh.on")["data"]
    assert named[0]["x"] == ["weather + trend", "none"]
    assert [trace["name"] for trace in named[:3]] == ["experts 3", "experts 1", "experts 2"]


def test_the_table_holds_every_combination_in_order(sweep: dict[str, Any]) -> None:
    """A row for each combination, ordered along the axis that is looked at, with lift, interval, truth and seeds."""
    table = response.numbers(sweep, "ctr", "arms.new.params.experts")
    assert table.heads == ("experts", "on", "Lift", "Interval", "True lift", "Seeds")
    assert [row[0] for row in table.rows] == ["3", "3", "1", "1", "2", "2"]
    assert table.rows[2] == ("1", "weather + trend", "+1.00%", "+0.00% to +2.00%", "+2.00%", "2")


def test_unknown_lifts_leave_a_gap(sweep: dict[str, Any]) -> None:
    """A point without an estimate is missing from the line and a dash in the table."""
    sweep["curves"][2] |= {"lift": None, "ci": None, "truth": None}
    first = response.curves(sweep, "ctr", "arms.new.params.experts")["data"][0]
    assert first["x"] == [2, 3]
    assert words.NOTHING in response.numbers(sweep, "ctr", "arms.new.params.experts").rows[2]


def test_the_page_holds_curves_points_and_where_they_come_from(sweep: dict[str, Any], evil: str) -> None:
    """Every point has its row and a link to its report beside the page; names are text; equal input, equal bytes."""
    sweep["axes"][0]["key"] = f"arms.{evil}.x"
    for each in (*sweep["points"], *sweep["curves"]):
        each["values"][f"arms.{evil}.x"] = each["values"].pop("arms.new.params.experts")
    html = render_sweep(sweep)
    assert html == render_sweep(sweep)
    assert "<img" not in html
    body = re.sub(r"<(script|style).*?</\1>", "", html, flags=re.DOTALL)
    links = re.findall(r'<a href="([^#"]+)"', body)
    assert links == [f"{point['run']}/report.html" for point in sweep["points"]]
    text = unescape(html)
    assert "Means over 2 seeds" in text
    assert "0.1.0+aaa" in text
    assert not re.search(r"\b(None|nan)\b", body)


def test_a_sweep_over_seeds_alone_has_no_curve(sweep: dict[str, Any]) -> None:
    """Without axes there is nothing to draw a curve along, and the page shows its experiments."""
    sweep["axes"] = []
    for each in (*sweep["points"], *sweep["curves"]):
        each["values"] = {}
    html = render_sweep(sweep)
    assert "How the effect answers" not in html
    assert "Click-through rate over 2 seeds" in html


def test_void_experiments_and_mixed_code_are_said(sweep: dict[str, Any]) -> None:
    """Points whose users did not fall as they should, and points of different code, are told."""
    sweep["points"][0]["trusted"] = False
    sweep["code_versions"].append("0.1.0+bbb")
    html = render_sweep(sweep)
    assert "In 1 of the experiments the users did not fall on the arms" in html
    assert "run by different versions of the code" in html


def test_the_figures_are_valid_for_plotly(sweep: dict[str, Any]) -> None:
    """Plotly accepts every view."""
    figures = list(response.charts(sweep).values())
    assert len(figures) == len(response.views(sweep)) > 0
    for figure in figures:
        drawn = go.Figure(json.loads(re.sub(r'"@[a-z0-9-]+"', '"#123456"', json.dumps(figure))))
        assert len(drawn.data) == len(figure["data"]) > 0
