import math
from typing import Any

import pytest

from experiments.report import traffic, words


def test_traffic_is_shown_only_where_it_was_allocated(results: Any, allocated: Any, shown: Any) -> None:
    """Without allocation there is no section, and keys that hold nothing change no byte."""
    plain = shown(results()).html
    assert plain == shown({**results(), "allocation": None, "frontier": None}).html
    assert "Traffic allocation" not in plain
    page = shown(allocated())
    assert "Traffic allocation" in page.html
    assert {"frontier-ner", "frontier-tv", "cognitive", "split-0"} <= set(page.charts)
    for missing, left in (("frontier", {"cognitive", "split-0"}), ("allocation", {"frontier-ner", "frontier-tv"})):
        assert set(traffic.charts({**allocated(), missing: None})) == left
        assert "Traffic allocation" in shown({**allocated(), missing: None}).html


def test_the_frontier_marks_what_ran(allocated: Any) -> None:
    """The line follows lambda, the mark of the arm's own lambda is its own, and every point and arm has a label."""
    given = allocated("new", "newer")
    for metric in ("ner", "tv"):
        figure = traffic.frontier(given, metric)
        line, *others = figure["data"]
        assert line["x"] == [point[metric] for point in given["frontier"]["points"]]
        assert line["marker"]["symbol"] == ["circle", "diamond", "circle"]
        assert len(others) == 2
        labels = {label["text"] for label in figure["layout"]["annotations"]}
        assert labels == {"λ 0.01", "newer, λ 0.05", "λ 0.2", "base", "new"}


def test_labels_of_one_spot_keep_apart(allocated: Any) -> None:
    """Where all points coincide, as with a channel that does nothing, the labels still lie beside each other."""
    given = allocated()
    for each in given["frontier"]["points"] + given["frontier"]["others"]:
        each |= {"ctr": 0.1, "ner": 0.5, "tv": 100.0}
    offsets = [(label["ax"], label["ay"]) for label in traffic.frontier(given, "ner")["layout"]["annotations"]]
    for number, one in enumerate(offsets):
        for other in offsets[:number]:
            assert math.dist(one, other) > 14


def test_what_the_allocation_paid(allocated: Any) -> None:
    """Means weigh days by pages, days are counted by status, and a price that rounds to nothing is 0."""
    [paid] = traffic.paid(allocated())
    assert paid.alpha == (pytest.approx(0.2), (0.1, 0.5))
    assert paid.r == (pytest.approx(-0.1), (-0.2, 0.2))
    assert paid.gave_way == (pytest.approx(0.1), (0.0, 0.4))
    [prices] = traffic.prices(allocated())
    assert dict(zip(traffic.STATUSES, prices.statuses, strict=True)) == {
        "start": 1,
        "optimal": 0,
        "relaxed": 1,
        "fallback": 0,
    }
    assert prices.gave_way == (("novelty", 1),)
    assert prices.prices == ("12.50", "0", "0")


def test_a_fallback_sets_no_price(allocated: Any, shown: Any) -> None:
    """Prices are those of the last day that was solved; without one they are unknown."""
    given = allocated()
    given["allocation"]["new"]["split"]["days"][-1]["status"] = "fallback"
    [prices] = traffic.prices(given)
    assert prices.date is None
    assert prices.prices == (words.NOTHING,) * 3
    assert "Prices on the last day solved" in shown(given).html


def test_the_tables_of_traffic_hold_what_the_figures_do(allocated: Any) -> None:
    """Every day of every arm and segment has its number, and an unknown one is shown as unknown."""
    given = allocated("new", "newer")
    del given["allocation"]["base"]["days"][1]
    table = traffic.cognitive_numbers(given)
    assert table.heads == ("Day", "base", "new", "newer")
    assert table.rows == (("6 Oct 2015", "0", "0", "2"), ("7 Oct 2015", words.NOTHING, "0", "1"))
    assert traffic.shares_numbers(given, "newer").rows[1] == ("7 Oct 2015", "30.0%", "70.0%")
