import copy
import json
import re
from typing import Any

import plotly.graph_objects as go
from hypothesis import HealthCheck, settings
from hypothesis import given as drawn
from hypothesis import strategies as st

from experiments.comparison import compare_runs
from experiments.report import beside, pareto, words
from experiments.report.comparison_report import SECTIONS, render_comparison


def with_lifts(comparison: dict[str, Any], lifts: list[tuple[float, float]], higher: bool = True) -> dict[str, Any]:
    """A comparison of one run whose arms have these lifts of CTR and GMV."""
    found = copy.deepcopy(comparison)
    [run] = found["runs"][:1]
    run["arms"] = {"base": {}, **{f"arm{n}": {} for n in range(len(lifts))}}
    found["runs"] = [run]
    found["metrics"]["ctr"]["higher_is_better"] = higher
    row = found["rows"][0]
    found["rows"] = [
        {**row, "run": run["label"], "treatment": f"arm{n}", "metric": metric, "lift": lift, "truth": None}
        for n, pair in enumerate(lifts)
        for metric, lift in zip(("ctr", "gmv"), pair, strict=True)
    ]
    return found


def test_every_metric_has_a_figure_and_a_table(comparison: dict[str, Any]) -> None:
    """The primary metric comes first, and each run and treatment has its row with effect, truth and decision."""
    assert beside.metrics(comparison) == ["gmv", "ctr", "ner"]
    table = beside.numbers(comparison, "gmv")
    assert [row[0] for row in table.rows] == ["plain", "thinking"]
    assert table.rows[0][3:] == ("+2.00%", "+0.00% to +4.00%", "<0.001", "+3.00% ✓", "better")
    assert all(len(row) == len(table.heads) for row in table.rows)


def test_arms_are_called_by_what_tells_them_apart(results: Any, run_of: Any) -> None:
    """By the arm within one run, by the run where each has one treatment, by both otherwise."""
    for runs, names in (
        ([("a", ("x", "y"))], ["x", "y"]),
        ([("a", ("x",)), ("b", ("x",))], ["a", "b"]),
        ([("a", ("x", "y")), ("b", ("x",))], ["a, x", "a, y", "b, x"]),
    ):
        found = compare_runs([run_of(label, results(*arms)) for label, arms in runs])
        assert [row[0] for row in beside.numbers(found, "gmv").rows] == names


def test_the_figures_are_valid_for_plotly(comparison: dict[str, Any]) -> None:
    """Plotly accepts every figure, with unknown estimates too."""
    comparison["rows"][0] |= {"lift": None, "lift_ci": None, "effect": None, "ci": None, "truth": None}
    figures = [figure for section in SECTIONS if section.room for figure in section.room.charts(comparison).values()]
    assert figures
    for figure in figures:
        text = re.sub(r'"@heat[^"]*"', '[[0,"#fff"],[1,"#000"]]', json.dumps(figure))
        drawn = go.Figure(json.loads(re.sub(r'"@[a-z0-9-]+"', '"#123456"', text)))
        assert len(drawn.data) == len(figure["data"])


def test_costs_come_before_other_metrics(comparison: dict[str, Any]) -> None:
    """What thinking takes is an axis of its own where it was counted for two arms, and less of it is better."""
    assert pareto.axes(comparison) == ["gflop_a_user", "projected_gpu_hours_a_day", "ctr", "ner"]
    table = pareto.numbers(comparison, "gflop_a_user")
    assert [row[0] for row in table.rows] == ["base", "thinking"]
    assert table.rows[0][1] == "1.200"
    del comparison["costs"]["thinking"]["base"]
    assert pareto.axes(comparison) == ["ctr", "ner"]
    comparison["costs"]["plain"] = {"base": {"gflop_a_user": 0.5}, "new": {"gflop_a_user": 0.9}}
    best = {
        each.name for each in pareto.unbeaten(comparison, "gflop_a_user", pareto._points(comparison, "gflop_a_user"))
    }
    assert "base" in best


# The fixture is copied, not changed.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@drawn(
    lifts=st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=7),
    higher=st.booleans(),
)
def test_an_unbeaten_arm_is_beaten_by_none_and_every_other_by_one(lifts: Any, higher: bool, comparison: Any) -> None:
    """An arm is on the front exactly if no arm is at least as good on both quantities and better on one."""
    found = with_lifts(comparison, [(x / 10, y / 10) for x, y in lifts], higher)
    points = pareto._points(found, "ctr")
    front = pareto.unbeaten(found, "ctr", points)
    sign = 1 if higher else -1

    def beats(one: Any, other: Any) -> bool:
        gains = (sign * (one.at[0] - other.at[0]), one.at[1] - other.at[1])
        return min(gains) >= 0 and max(gains) > 0

    assert len(points) == len(lifts) + 1
    assert front
    for each in points:
        assert (each in front) == (not any(beats(other, each) for other in points))


def test_the_sentence_names_the_unbeaten(comparison: dict[str, Any]) -> None:
    """Estimates and truths each have their front, and without truths only the estimates'."""
    found = with_lifts(comparison, [(0.1, 0.2), (0.2, 0.1), (0.05, 0.05)])
    assert pareto.sentence(found, "ctr") == "By the estimates, no other arm beats arm0 and arm1 on both."
    for row in found["rows"]:
        row["truth"] = {"lift": 0.5 if row["treatment"] == "arm2" else 0.1}
    assert pareto.sentence(found, "ctr").endswith("on both; by the truth, none beats arm2.")


def test_the_page_says_what_must_be_known_and_escapes(comparison: dict[str, Any], evil: str) -> None:
    """Cautions stand before the table, every run has its place, and a run's name is text."""
    comparison["runs"][0]["label"] = evil
    for row in comparison["rows"]:
        row["run"] = evil if row["run"] == "plain" else row["run"]
    comparison["costs"][evil] = comparison["costs"].pop("plain")
    html = render_comparison(comparison)
    assert "<img" not in html
    assert html.index("same users on the same draws") < html.index("In numbers" if "In numbers" in html else "<table")
    assert "2 runs, 2 treatments beside each other" in html
    assert html == render_comparison(comparison)


def test_runs_that_forbid_it_have_no_common_figure(comparison: dict[str, Any]) -> None:
    """Without a common population the section of gains is left out; effects within each run stay."""
    comparison["same"]["population"] = False
    html = render_comparison(comparison)
    assert "What is gained for what" not in html
    assert "Every metric" in html


def test_a_missing_estimate_is_said(comparison: dict[str, Any]) -> None:
    """A row without an estimate has dashes in the table and words in the figure."""
    comparison["rows"][0] |= {"lift": None, "lift_ci": None, "effect": None, "ci": None}
    assert beside.numbers(comparison, "gmv").rows[0][3:5] == (words.NOTHING, words.NOTHING)
    labels = [each["text"] for each in beside.effects(comparison, "gmv")["layout"]["annotations"]]
    assert "no estimate" in labels
