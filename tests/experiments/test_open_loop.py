from typing import Any

import pytest

from experiments.report import open_loop, open_loop_figures


def entry(value: float | None, **parts: Any) -> dict[str, Any]:
    """A value with an interval of 0.1 to both sides."""
    ends = None if value is None else [value - 0.1, value + 0.1]
    return {"value": value, "ci": ends, "visits": 40, **parts}


def pair(metric: str, a: str, b: str, effect: float, **parts: Any) -> dict[str, Any]:
    """A difference with an interval of 0.1 to both sides."""
    ends = [effect - 0.1, effect + 0.1]
    told = {"p_value": 0.01, "p_adjusted": 0.04, "visits": 40}
    return {"metric": metric, "a": a, "b": b, "effect": effect, "ci": ends, **told, **parts}


def metric(group: str) -> dict[str, str]:
    """A metric of a group."""
    return {"group": group, "unit": "", "better": "higher", "definition": "what it is"}


EVALUATION: dict[str, Any] = {
    "name": "open loop",
    "control": "base",
    "alpha": 0.05,
    "family": {"correction": "holm", "comparisons": 3, "replicates": 1000, "smallest_p_adjusted": 6 / 1001},
    "metrics": {"hr@30": metric("accuracy"), "gflops": metric("cost"), "recall@5": metric("accuracy")},
    "strata": {
        "unseen": {"definition": "something new is live", "requests": 40, "users": 20},
        "unseen_called": {"definition": "it is called for", "requests": 6, "users": 5},
        "never": {"definition": "it never is", "requests": 0, "users": 0},
    },
    "policies": {
        "base": {"hr@30": entry(0.2, unseen_called=entry(0.1)), "gflops": None, "recall@5": entry(0.5)},
        "first": {"hr@30": entry(0.5, unseen_called=entry(0.4)), "gflops": entry(7.0), "recall@5": None},
        "second": {"hr@30": entry(0.3, unseen_called=entry(None)), "gflops": entry(2.0), "recall@5": None},
    },
    "comparisons": [
        pair("hr@30", "base", "first", 0.3, unseen_called=pair("", "", "", 0.25)),
        pair(
            "hr@30",
            "base",
            "second",
            0.1,
            p_adjusted=0.06,
            unseen_called={"effect": None, "ci": None, "p_value": None, "visits": 0},
        ),
        pair("gflops", "first", "second", -5.0),
    ],
    "requests": 40,
    "users": 20,
    "held_out": 90,
}


def test_tables_hold_one_kind_of_question() -> None:
    """Metrics come together by group in the order of the config, and once more for a stratum of its own."""
    panels = open_loop.panels(EVALUATION)
    assert [panel.metrics for panel in panels] == [["hr@30", "recall@5"], ["gflops"], ["hr@30", "recall@5"]]
    assert [panel.note for panel in panels] == ["", "", "it is called for; 6 visits of 5 users"]
    assert panels[2].title.endswith("unseen called (exploratory)")


def test_policies_are_held_against_the_control_or_who_comes_first() -> None:
    """Where the control has no value the first policy with one takes its place, and says so in the column."""
    accuracy, cost, called = open_loop.panels(EVALUATION)
    assert accuracy.references == ["base", "base"]
    assert cost.references == ["first"]
    assert [policy for policy, _ in cost.rows] == ["first", "second"]
    cells = dict(accuracy.rows)
    assert cells["base"][0] == ("0.2000", "0.1000 to 0.3000", "", "", "")
    assert cells["first"][0] == ("0.5000", "0.4000 to 0.6000", "+0.3000", "+0.2000 to +0.4000", "*")
    assert cells["first"][1] == ("–", "–", "", "", "")
    assert dict(cost.rows)["second"][0].difference == "−5.000"
    assert dict(called.rows)["first"][0].difference == "+0.2500"
    assert dict(called.rows)["second"][0] == ("–", "–", "", "", "")


def test_marks_go_by_the_adjusted_p_value_over_all_visits() -> None:
    """No mark where only the plain p-value or the interval says so, none where nothing differs, none in a stratum."""
    accuracy, _, called = open_loop.panels(EVALUATION)
    assert [cells[0].mark for _, cells in accuracy.rows] == ["", "*", ""]
    assert [cells[0].mark for _, cells in called.rows] == ["", "", ""]
    for p_adjusted, effect, expected in ((0.05, 0.3, True), (0.051, 0.3, False), (None, 0.3, False), (0.0, 0.0, False)):
        row = pair("hr@30", "base", "first", effect, p_adjusted=p_adjusted)
        assert open_loop.told(EVALUATION, row) == expected


def test_the_family_is_named() -> None:
    """How many comparisons are corrected together, and how; that strata are not; that users or replicates are few."""
    said, few, strata = open_loop.family(EVALUATION)
    assert "whose adjusted p is at most 0.05, corrected (holm) as one of 3 comparisons:" in said
    assert strata == "A stratum is exploratory: its differences are not corrected, and none is marked."
    family = EVALUATION["family"]
    assert few.startswith("Only 20 users: with fewer than 100 p-values of the bootstrap are too small")
    (alone,) = open_loop.family(EVALUATION | {"strata": {}, "users": 100})
    assert alone == said
    coarse = EVALUATION | {"family": family | {"smallest_p_adjusted": 0.0501}}
    assert open_loop.family(coarse)[-1].startswith("Nothing can be marked here: from 1,000 replicates no adjusted p is")
    nothing = family | {"comparisons": 0, "smallest_p_adjusted": None}
    assert open_loop.family(EVALUATION | {"family": nothing}) == []


def test_differences_turn_with_their_direction() -> None:
    """A pair listed the other way round tells the same difference, interval and all."""
    turned = pair("hr@30", "first", "base", -0.3)
    evaluation = EVALUATION | {"comparisons": [turned]}
    cell = dict(open_loop.panels(evaluation)[0].rows)["first"][0]
    assert (cell.difference, cell.interval, cell.mark) == ("+0.3000", "+0.2000 to +0.4000", "*")


def test_strata_without_a_table_are_told_in_words() -> None:
    """A stratum of every visit or of none has no table; a sentence says why."""
    assert open_loop.parts(EVALUATION) == ["unseen_called"]
    assert open_loop.elsewhere(EVALUATION) == [
        "Unseen (something new is live): every visit is one.",
        "Never (it never is): no visit is one.",
    ]
    assert open_loop.coverage(EVALUATION) == "40 visits of 20 users, drawn from 90 held out"


def test_a_metric_that_nobody_has_is_a_dash() -> None:
    """No reference, no rows, nothing invented."""
    nobody = {policy: values | {"gflops": None} for policy, values in EVALUATION["policies"].items()}
    panel = open_loop.panels(EVALUATION | {"policies": nobody, "comparisons": []})[1]
    assert panel.references == [""]
    assert panel.rows == []


def test_dots_show_each_stratum_beside_the_whole() -> None:
    """A figure has one trace for all visits and one for each stratum with its own, and only known values are marks."""
    whole, called = open_loop_figures.dots(EVALUATION, "hr@30")["data"]
    assert (whole["name"], called["name"]) == ("all visits", "unseen called")
    assert whole["x"] == [0.2, 0.5, 0.3]
    assert called["x"] == [0.1, 0.4]
    assert whole["error_x"]["array"] == pytest.approx([0.1, 0.1, 0.1])
    assert len({*whole["y"], *called["y"]}) == 5
