from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from metrics.audit import findings
from metrics.audit.day_tests import DayAnswers, DayTests
from metrics.audit.draws import Assign, draw
from metrics.definitions import resolve
from metrics.survival import log_rank, silences
from metrics.trend import effect_trends

ARMS = ("control", "treatment")


@pytest.fixture
def days(user_days: Callable[..., pl.DataFrame]) -> pl.DataFrame:
    """A fortnight of sixty users who come on some days and click now and then."""
    rng = np.random.default_rng(3)
    rows = [
        (user, "nobody", day, "experiment", int(rng.integers(5, 15)), int(rng.integers(0, 5)))
        for user in range(100, 160)
        for day in range(7, 21)
        if rng.random() < 0.35 or day == 7
    ]
    return user_days(rows, "impressions", "clicks")


def test_the_verdicts_tests_on_new_arms(days: pl.DataFrame, assigning: Callable[..., Assign]) -> None:
    """Each answer is that of the verdict's test on the same days with the drawn arms."""
    user = np.unique(days["user"].to_numpy())
    metrics = resolve(["ctr", "ipv"])
    asked = DayTests(days, silences(days, 7, 21, 21, 3), metrics, 0.05)
    draws = [draw("fixed", user, number, assigning([0.5, 0.5]), 1) for number in range(8)]
    found = DayAnswers.joined([asked.answers(draws[:4], user, ARMS), asked.answers(draws[4:], user, ARMS)])
    assert list(np.flatnonzero(~np.isnan(found.trends[0, 0]))) == [0, 4]
    assert not np.isnan(found.log_rank).any()
    arm = pl.Series("arm", np.array(ARMS)[draws[4].arm[np.searchsorted(user, days["user"].to_numpy())]])
    labelled = days.with_columns(arm)
    rows = effect_trends(labelled, "control", ["treatment"], metrics, 0.05)
    assert found.trends[0, 0, 4] == pytest.approx(rows[0]["p_value"])
    gone = silences(labelled, 7, 21, 21, 3)
    test = log_rank(gone["time"], gone["gone"], gone["arm"] == "treatment")
    assert test is not None
    assert found.log_rank[0, 4] == pytest.approx(test.p_value)


def test_findings_of_days() -> None:
    """Rates count the experiments that were asked and could tell."""
    trends = np.full((1, 1, 8), np.nan)
    trends[0, 0, ::4] = [0.01, 0.5]
    ranks = np.array([[0.01, 0.5, np.nan, 0.9, 0.9, 0.9, 0.9, 0.9]])
    trend, stay = findings.day_tests(["ctr"], ["t"], DayAnswers(trends, ranks), 0.05)
    assert (trend.rate.count, trend.rate.trials, trend.check) == (1, 2, "trend")
    assert (stay.rate.count, stay.rate.trials, stay.check) == (1, 7, "log_rank")
