from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.definitions import ADDITIVE_COLUMNS, METRICS, resolve
from metrics.user_totals import user_totals

Builder = Callable[..., pl.DataFrame]


def test_totals_by_hand(user_days: Builder) -> None:
    """Sums run over the experiment, covariates over the warm-up, follow-up days enter neither."""
    table = user_days(
        [
            (1, "a", 0, "warmup", 5, 1.5),
            (1, "a", 1, "warmup", 2, 0.0),
            (1, "a", 3, "experiment", 7, 2.0),
            (1, "a", 4, "experiment", 1, 0.5),
            (1, "a", 5, "follow_up", 100, 9.0),
            (2, "b", 4, "experiment", 3, 4.0),
            (3, "b", 1, "warmup", 8, 8.0),
            (3, "b", 5, "follow_up", 8, 8.0),
        ],
        "clicks",
        "gmv",
    )
    totals = user_totals(table, 2, 5, 6, [])
    assert totals["user"].to_list() == [1, 2]
    assert totals["arm"].to_list() == ["a", "b"]
    assert totals["first_day"].to_list() == [3, 4]
    assert totals["clicks"].to_list() == [8, 3]
    assert totals["gmv"].to_list() == [2.5, 4.0]
    assert totals["clicks_before"].to_list() == [7, 0]
    assert totals["active_days_before"].to_list() == [2, 0]
    assert totals["sessions"].to_list() == [2, 1]


def test_windows_of_return_by_hand(user_days: Builder) -> None:
    """LT-14 counts days 0..13 from exposure; retention of day 7 asks for any of days 1..7."""
    came = {1: [10, 11, 23, 24], 2: [10, 18], 3: [17, 30], 4: [18, 19]}
    rows = [(user, "a", day, "experiment" if day < 20 else "follow_up") for user, days in came.items() for day in days]
    totals = user_totals(user_days(rows), 10, 20, 31, resolve(["lt14", "retention_7", "retention_14"]))
    assert totals["lt14"].to_list() == [3, 2, 2, None]
    assert totals["retention_7"].to_list() == [1, 0, 0, 1]
    assert totals["retention_14"].to_list() == [1, 1, None, None]


def test_a_window_counts_only_when_its_last_day_was_observed(user_days: Builder) -> None:
    """LT-n needs days 0..n-1 and retention of day n needs day n: one day less and the value is null."""
    table = user_days([(1, "a", 0, "experiment")])
    metrics = resolve(["lt14", "retention_14"])
    for observed_end, lifetime, retention in ((13, None, None), (14, 1, None), (15, 1, 0)):
        totals = user_totals(table, 0, 10, observed_end, metrics)
        assert totals.select("lt14", "retention_14").row(0) == (lifetime, retention)


def test_an_earlier_end_gives_the_totals_of_that_morning(user_days: Builder) -> None:
    """Cutting the analysis short equals never having seen the later days."""
    table = user_days([(user, "a", day, "experiment") for user in range(4) for day in range(user, 6)])
    early = user_totals(table, 0, 3, 3, [])
    assert early.equals(user_totals(table.filter(pl.col("day") < 3), 0, 6, 6, []))
    assert early["user"].to_list() == [0, 1, 2]


def test_no_exposed_user_gives_an_empty_table(user_days: Builder) -> None:
    """Users of the warm-up alone are not analysed, and the columns are there all the same."""
    totals = user_totals(user_days([(1, "a", 0, "warmup")]), 1, 3, 3, resolve(["ctr", "lt14"]))
    assert totals.height == 0
    assert {"user", "arm", "first_day", "clicks", "clicks_before", "lt14"} <= set(totals.columns)


def test_contradictions_are_refused(user_days: Builder) -> None:
    """Days out of order, phases against the days and users with two arms raise with the field's name."""
    table = user_days([(1, "a", 0, "warmup"), (1, "a", 2, "experiment")])
    with pytest.raises(ValueError, match="experiment_end_day: 2"):
        user_totals(table, 2, 2, 4, [])
    with pytest.raises(ValueError, match=r"user_days\.phase: 'experiment' on day 2"):
        user_totals(table, 3, 4, 4, [])
    twice = user_days([(1, "a", 0, "experiment"), (1, "b", 1, "experiment")])
    with pytest.raises(ValueError, match=r"user_days\.arm: 1 users"):
        user_totals(twice, 0, 2, 2, [])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_totals_conserve_the_experiment(seed: int) -> None:
    """Totals add up to the table, do not depend on its row order, and windows stay within their bounds."""
    rng = np.random.default_rng(seed)
    user, day = (grid.ravel() for grid in np.meshgrid(np.arange(30), np.arange(50), indexing="ij"))
    came = rng.random(user.size) < rng.random(30)[user]
    user, day = user[came], day[came]
    table = pl.DataFrame(
        {
            "user": user,
            "arm": np.where(user % 2 == 0, "a", "b"),
            "day": day.astype(np.int32),
            "phase": np.select([day < 5, day < 15], ["warmup", "experiment"], "follow_up"),
        }
        | {name: rng.integers(0, 9, user.size) for name in ADDITIVE_COLUMNS}
    ).with_columns(pl.col("gmv", "tv").cast(pl.Float64) / 7)
    metrics = [metric for metric in METRICS.values() if metric.window]
    totals = user_totals(table, 5, 15, 50, metrics)
    assert totals.equals(user_totals(table.sample(fraction=1.0, shuffle=True, seed=1), 5, 15, 50, metrics))
    inside = table.filter(pl.col("phase") == "experiment")
    assert totals["user"].to_list() == sorted(inside["user"].unique())
    assert totals["clicks"].sum() == inside["clicks"].sum()
    assert totals["gmv"].sum() == pytest.approx(inside["gmv"].sum())
    assert totals["lt14"].drop_nulls().is_between(1, 14).all()
    assert (totals["lt14"] <= totals["lt30"]).all()
    assert totals["retention_7"].drop_nulls().is_in([0, 1]).all()
