import csv
from pathlib import Path

import numpy as np
import pytest

from simulator.datasets.taobao_shares import ACTIONS, load_taobao_shares, shares_of_tables

TABLES = Path(__file__).parents[3] / "../shared/data/taobao_tables"


def column(name: str, key: str) -> list[float]:
    """A column of one of the tables."""
    if not TABLES.exists():
        pytest.skip(f"{TABLES.name} is absent")
    with (TABLES / name).open(newline="", encoding="utf-8") as file:
        return [float(row[key]) for row in csv.DictReader(file)]


def test_the_shipped_shares_are_those_of_the_counts() -> None:
    """The shipped file holds, to six decimals, the shares of the counts that were published."""
    hourly = {key: column("hourly_metrics.csv", key) for key in ("pv_actions", "buy_actions")}
    keys = ("pv_actions", "buy_actions", "active_users", "buyer_users")
    daily = {key: column("daily_metrics.csv", key) for key in keys}
    with (TABLES / "behavior_transition_matrix.csv").open(newline="", encoding="utf-8") as file:
        pairs = {(row["from_behavior"], row["to_behavior"]): int(row["transitions"]) for row in csv.DictReader(file)}
    for shipped, counted in zip(load_taobao_shares(), shares_of_tables(hourly, daily, pairs), strict=True):
        assert np.abs(shipped - counted).max() < 2e-6


def test_published_counts_come_back() -> None:
    """Orders for a page view, buyers among a day's active users and what follows a view are the published counts'."""
    shares = load_taobao_shares()
    assert shares.orders_a_view == pytest.approx(2_015_807 / 89_660_671, rel=1e-3)
    active = np.array([706_641, 715_516, 710_094, 709_257, 718_922, 730_597, 740_139])
    buyers = np.array([132_622, 136_048, 146_934, 139_845, 146_220, 146_128, 139_971])
    assert shares.buyers == pytest.approx((buyers / active).mean(), abs=1e-6)
    view, favourite, cart, order = (ACTIONS.index(name) for name in ("view", "favourite", "cart", "order"))
    after_view = shares.transitions[view] / shares.transitions[view].sum()
    assert after_view[[view, favourite, cart, order]] == pytest.approx(
        np.array([808_835, 21_283, 44_103, 14_872]) / (808_835 + 21_283 + 44_103 + 14_872), abs=1e-5
    )


def test_shares_sum_to_one() -> None:
    """Every table of shares is one."""
    shares = load_taobao_shares()
    for table in (shares.views_by_hour, shares.orders_by_hour, shares.views_by_weekday, shares.transitions):
        assert table.sum() == pytest.approx(1.0)
        assert (table > 0).all()


def test_weekdays_begin_on_monday() -> None:
    """The log's first day, a Saturday, is the sixth of the week."""
    views = np.arange(9.0) + 1.0
    hourly = {"pv_actions": np.ones(24), "buy_actions": np.ones(24)}
    daily = {"pv_actions": views, "buy_actions": views, "active_users": views, "buyer_users": views}
    week = shares_of_tables(hourly, daily, {("pv", "pv"): 1}).views_by_weekday
    assert (week * 28).round(6).tolist() == [3, 4, 5, 6, 7, 1, 2]
