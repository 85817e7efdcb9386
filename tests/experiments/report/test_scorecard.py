import re
from typing import Any

import pytest

from experiments.report import scorecard


@pytest.mark.parametrize("treatments", [("new",), ("new", "newer"), ("new", "newer", "newest")])
def test_every_metric_and_arm_appears(treatments: tuple[str, ...], results: Any, shown: Any, strings: Any) -> None:
    """Titles, formulas and arms are in the page and in the forest plot, for one treatment or several."""
    given = results(*treatments)
    page = shown(given)
    labels = strings(page.charts["forest"])
    for name, metric in given["metrics"].items():
        assert page.page.count(metric["title"]) >= len(treatments)
        assert f"the formula of {name}" in page.html
        assert metric["title"] in labels
    assert [trace["name"] for trace in page.charts["forest"]["data"]] == [*treatments, "truth"]
    for chart in ("daily-0", "daily-1", "daily-2", "context"):
        assert chart in page.charts


def test_unknown_numbers_are_shown_as_unknown(results: Any, shown: Any) -> None:
    """A comparison without estimates says why, and neither None nor NaN reaches the page."""
    given = results()
    for row in given["comparisons"][:2] + given["daily"][:1]:
        row |= dict.fromkeys(("effect", "ci", "lift", "lift_ci", "p_value", "p_adjusted", "truth"))
        row["treatment_value"] = float("nan")
        row["method"] = "not tested: too few users"
    given["context"] = {"dates": [], "cities": {}, "occasions": None, "trends": None}
    page = shown(given)
    assert "The primary metric has no estimate (not tested: too few users)." in page.text
    assert not re.search(r"\b(None|nan|NaN|null)\b", page.text)
    assert "context" not in page.charts


def test_broken_assignment_voids_every_decision(results: Any, shown: Any) -> None:
    """With a sample ratio mismatch no row of the table claims that anything is better or worse."""
    html = shown(results(srm=False)).page
    assert "▲" not in html
    assert "▼" not in html


def test_guardrails_say_what_is_ruled_out(analysed: Any, shown: Any) -> None:
    """Each state of a guardrail has its words, and a failed one is the only one that looks like a loss."""
    text = shown(analysed("one", "two", "three")).text
    assert "Guardrails" in text
    for state in scorecard.STATES.values():
        assert state in text
    rails = text[text.index("Guardrails") : text.index("Beside the means")]
    assert rails.count("is-worse") == rails.count("is-better") == 1


def test_what_stands_beside_the_means(analysed: Any, results: Any, shown: Any) -> None:
    """Cut tails and quantiles have their tables where the run has them, and only there."""
    text = shown(analysed()).text
    assert "With heavy tails cut" in text
    assert "812.5" in text
    assert "Quantiles of users&#39; sums" in text
    assert "Beside the means" not in shown(results()).text


def test_the_decision_and_its_reason_stand_under_the_headline(analysed: Any, shown: Any) -> None:
    """A run with a decision rule says what to do and why, for each treatment."""
    text = shown(analysed("one", "two")).text
    assert text.count("Decision: keep running. A loss is not yet ruled out.") == 2
