"""What the Taobao log of late 2017 says of actions, as shares: by hour, by weekday, and what follows what.

Tianchi, "User Behavior Data from Taobao": 100,095,182 actions (page views, carts, favourites, orders) of 987,991 users,
25 November to 3 December 2017. Only derived shares are shipped, in ``taobao_shares.yaml``; benchmarks/fit_profiles.py
makes them from the counts. They are here so that a world can be held against them; its profiles of visits are in
``simulator/profiles.yaml``.
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import yaml

Floats = npt.NDArray[np.float64]

ACTIONS: Final = ("view", "favourite", "cart", "order")
FULL_WEEK: Final = 7
"""Days of the log's first whole week, Saturday to Friday; the two after it precede a festival, with a quarter more."""
_SATURDAY: Final = 5
_KINDS: Final = {"pv": "view", "fav": "favourite", "cart": "cart", "buy": "order"}


class TaobaoShares(NamedTuple):
    """Shares that sum to 1, unless said otherwise.

    Attributes:
        views_by_hour: page views by hour of day, [24].
        orders_by_hour: orders by hour of day, [24].
        views_by_weekday: page views by weekday, Monday first, in the first whole week, [7].
        transitions: of two actions of a user that follow each other, the pairs among ``ACTIONS``, [first, second].
        orders_a_view: orders for one page view, over all days; a ratio.
        buyers: of the users active on a day, those who order on it, mean over the first whole week; a share.
    """

    views_by_hour: Floats
    orders_by_hour: Floats
    views_by_weekday: Floats
    transitions: Floats
    orders_a_view: float
    buyers: float


def load_taobao_shares() -> TaobaoShares:
    """The shipped shares."""
    raw = yaml.safe_load(files("simulator").joinpath("datasets/taobao_shares.yaml").read_text(encoding="utf-8"))
    return TaobaoShares(
        views_by_hour=_shares(raw["views_by_hour"]),
        orders_by_hour=_shares(raw["orders_by_hour"]),
        views_by_weekday=_shares(raw["views_by_weekday"]),
        transitions=_shares([[raw["transitions"][one][other] for other in ACTIONS] for one in ACTIONS]),
        orders_a_view=float(raw["orders_a_view"]),
        buyers=float(raw["buyers"]),
    )


def shares_of_tables(
    hourly: Mapping[str, Any], daily: Mapping[str, Any], transitions: Mapping[tuple[str, str], int]
) -> TaobaoShares:
    """Shares of the counts that were published.

    Args:
        hourly: columns ``pv_actions`` and ``buy_actions`` by hour of day, [24] each.
        daily: columns ``pv_actions``, ``buy_actions``, ``active_users`` and ``buyer_users`` by day from Saturday 25
            November 2017, [9] each.
        transitions: counts by action and action that follows, called pv, cart, fav and buy.
    """
    week = {name: np.asarray(column, np.float64)[:FULL_WEEK] for name, column in daily.items()}
    pairs = np.zeros((len(ACTIONS), len(ACTIONS)))
    for (one, other), count in transitions.items():
        pairs[ACTIONS.index(_KINDS[one]), ACTIONS.index(_KINDS[other])] += count
    return TaobaoShares(
        views_by_hour=_shares(hourly["pv_actions"]),
        orders_by_hour=_shares(hourly["buy_actions"]),
        views_by_weekday=_shares(np.roll(week["pv_actions"], _SATURDAY)),
        transitions=_shares(pairs),
        orders_a_view=float(np.sum(daily["buy_actions"]) / np.sum(daily["pv_actions"])),
        buyers=float(np.mean(week["buyer_users"] / week["active_users"])),
    )


def _shares(counts: npt.ArrayLike) -> Floats:
    values = np.asarray(counts, np.float64)
    return values / values.sum()
