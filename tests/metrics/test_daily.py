import json
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from metrics.daily import daily_effects
from metrics.definitions import resolve

Builder = Callable[..., pl.DataFrame]


def busy(user_days: Builder) -> pl.DataFrame:
    """Twenty users of two arms over a warm-up day and two days of experiment, with clicks that vary."""
    rng = np.random.default_rng(0)
    rows = [
        (user, "ab"[user % 2], day, "warmup" if day == 0 else "experiment", 20, int(rng.integers(1, 9)))
        for user in range(20)
        for day in range(3)
    ]
    return user_days(rows, "impressions", "clicks")


def test_each_day_is_its_own_comparison(user_days: Builder) -> None:
    """Days of the experiment, and only those, carry that day's plain values."""
    table = busy(user_days)
    found = daily_effects(table, "a", ["b"], resolve(["ctr", "ipv", "lt14"]), 0.05)
    assert [(row["metric"], row["day"]) for row in found] == [
        ("ctr", 1),
        ("ctr", 2),
        ("ipv", 1),
        ("ipv", 2),
    ]
    for row in found[:2]:
        values = [
            table.filter((pl.col("day") == row["day"]) & (pl.col("arm") == arm))["clicks"].sum() / 200 for arm in "ab"
        ]
        assert [row["control_value"], row["treatment_value"]] == pytest.approx(values)
        assert row["effect"] == pytest.approx(values[1] - values[0])
        assert row["ci"][0] < row["effect"] < row["ci"][1]
        assert row["lift_ci"][0] < row["lift"] < row["lift_ci"][1]


def test_thin_days_have_no_effect_and_json_can_write_them(user_days: Builder) -> None:
    """A day that one arm missed comes back with nulls and does not raise."""
    table = user_days([(1, "a", 0, "experiment", 3), (2, "a", 0, "experiment", 4)], "clicks")
    (row,) = daily_effects(table, "a", ["b"], resolve(["sessions"]), 0.05)
    assert row["effect"] is None
    assert row["treatment_value"] is None
    assert row["control_value"] == 1.0
    json.dumps(row, allow_nan=False)


def test_row_order_changes_nothing(user_days: Builder) -> None:
    """Shuffled rows give the same bytes."""
    table, metrics = busy(user_days), resolve(["ctr"])
    shuffled = table.sample(fraction=1.0, shuffle=True, seed=2)
    assert daily_effects(table, "a", ["b"], metrics, 0.05) == daily_effects(shuffled, "a", ["b"], metrics, 0.05)


def test_without_additive_metrics_there_is_nothing_to_show(user_days: Builder) -> None:
    """Metrics of return have no daily value."""
    assert daily_effects(busy(user_days), "a", ["b"], resolve(["lt14"]), 0.05) == []
