from typing import Any

import pytest

from experiments.report import sequential, words


def test_a_test_read_once_has_no_path(analysed: Any, results: Any, shown: Any) -> None:
    """One look at the end is the plain test, and needs no section; nor does a run without looks."""
    given = analysed()
    given["sequential"][0]["looks"] = given["sequential"][0]["looks"][-1:]
    assert not sequential.present(given)
    assert not sequential.present(results())
    assert "Look by look" not in shown(given).text


def test_the_path_says_where_it_stopped(analysed: Any) -> None:
    """The sentence names the look, its date and the direction; a path that reaches no bound says so."""
    given = analysed()
    [path] = sequential.paths(given)
    assert sequential.sentence(given, path) == (
        "Read at 3 looks (group-sequential), Gross merchandise value reached its bound at look 2 of 3, 7 Oct 2015: "
        "new is higher."
    )
    path["looks"][1]["z"] = -3.1
    assert sequential.sentence(given, path).endswith("new is lower.")
    path["stopped"] = None
    assert "reached no bound" in sequential.sentence(given, path)


def test_the_figures_hold_statistic_bounds_and_truth(analysed: Any) -> None:
    """Bounds mirror each other, the mark stands on the look that stopped, and the truth is that of each look."""
    given = analysed()
    [path] = sequential.paths(given)
    upper, lower, own, mark = sequential.statistic(given, path)["data"]
    assert upper["y"] == [-each for each in lower["y"]] == [4.7, 2.8, 2.0]
    assert own["y"] == [1.5, 3.1, 2.9]
    assert (mark["x"], mark["y"]) == (["2015-10-07"], [3.1])
    shown, truth = sequential.estimates(given, path)["data"]
    assert shown["error_y"]["array"] == pytest.approx([0.02 * 4.7, 0.02 * 2.8, 0.02 * 2.0])
    assert truth["y"] == [0.04] * 3


def test_looks_without_dates_and_without_lifts(analysed: Any) -> None:
    """A table of somebody else may have no dates, and a difference may be all there is."""
    given = analysed()
    [path] = sequential.paths(given)
    for each in path["looks"]:
        del each["date"]
        each |= {"lift": None, "lift_ci": None}
    path["looks"][0] |= {"z": None, "bound": None, "effect": None, "ci": None, "information": None}
    assert sequential.statistic(given, path)["layout"]["xaxis"]["tickformat"] == "~%"
    assert sequential.estimates(given, path)["data"][0]["y"][0] is None
    table = sequential.numbers(given, path)
    assert table.heads[5] == "Effect"
    assert table.rows[0] == (
        *("1, 33.3% of the time", words.NOTHING, words.NOTHING, words.NOTHING, "0.0100", words.NOTHING),
        *(words.NOTHING, "+0.0200", "no"),
    )
