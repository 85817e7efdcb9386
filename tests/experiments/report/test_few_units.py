from typing import Any

import pytest

from experiments.report import few_units
from experiments.report.checks import checks


def test_many_units_need_no_word(results: Any) -> None:
    """Where every arm has as many as the custom asks for, nothing is said."""
    given = results()
    for row in given["comparisons"]:
        row["users"] = dict.fromkeys(row["users"], few_units.FEWEST)
    assert few_units.sentence(given) is None
    assert "Number of units" not in [check.name for check in checks(given)]


def test_few_units_are_an_alarm(results: Any) -> None:
    """Where one arm has fewer it is named, with its number, as what was randomised is called."""
    given = results()
    for row in given["comparisons"]:
        row["users"] = {"base": few_units.FEWEST - 1, "new": 1000}
    assert str(few_units.sentence(given)).startswith("Few users: 29 in base. Intervals and p-values")
    (check,) = (check for check in checks(given) if check.name == "Number of units")
    assert (check.sentence, check.alarm) == (few_units.sentence(given), True)
    given["clusters"] = {"word": "cities"}
    assert str(few_units.sentence(given)).startswith("Few cities: 29 in base.")
    given["clusters"], given["world"]["kind"] = None, "table"
    assert str(few_units.sentence(given)).startswith("Few units: 29 in base.")


def test_metrics_that_few_units_have_are_named(results: Any) -> None:
    """Where values are missing of some metrics only, these are named, with the least number of each arm."""
    given = results("new", "other")
    for row, units in zip(
        (row for row in given["comparisons"] if row["metric"] == "ctr"),
        ({"base": 12, "new": 9}, {"base": 12, "other": 50}),
        strict=True,
    ):
        row["users"] = units
    said = str(few_units.sentence(given))
    assert said.startswith("Few users with Click-through rate: 12 in base and 9 in new.")


@pytest.mark.parametrize("p_value", [None, 0.2])
def test_what_was_not_tested_is_not_called_rough(results: Any, p_value: float | None) -> None:
    """A metric without a test has no interval that could be rough."""
    given = results()
    given["comparisons"][0] |= {"users": {"base": 1, "new": 1}, "p_value": p_value}
    assert (few_units.sentence(given) is None) == (p_value is None)
