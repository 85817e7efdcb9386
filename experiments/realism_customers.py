"""Whether a classifier tells the customers of a drawn log from those of the real one, and by what.

Knows days of logs by customer. Does not know the classifier.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from experiments.realism_window import Floats, Integers, Window, window_of
from metrics.two_sample import FEWEST_USERS, tell_apart
from simulator.datasets.interactions import SECONDS_PER_DAY, PurchaseLog
from simulator.streams import Stream

FEATURES: Final = (
    "visits",
    "days between visits",
    "mean basket",
    "largest basket",
    "different items",
    "share bought before",
    "mean price paid",
    "mean pieces of an item",
    "mean hour",
    "hours apart",
    "mean weekday",
    "day of the first visit",
    "day of the last visit",
    "different categories",
    "share of the first category",
    "customer before",
)
"""What a classifier is told of a customer."""
_NULLS: Final = 5
"""Halvings of the real customers on which the classifier is tried."""


def features_of(log: PurchaseLog, side: Window, first: int) -> Floats:
    """What a classifier is told of each customer, [users, FEATURES]; NaN where there is no value."""
    users = side.users
    visits = np.bincount(side.visit_user, minlength=users).astype(np.float64)
    rows = np.maximum(np.bincount(side.row_user, minlength=users), 1)

    def mean(of: npt.NDArray[Any], user: Integers, count: npt.NDArray[Any]) -> Floats:
        total = np.bincount(user, of.astype(np.float64), users)
        return np.divide(total, count, out=np.full(users, np.nan), where=count > 0)

    def extreme(values: npt.NDArray[Any], largest: bool) -> Floats:
        found = np.full(users, -np.inf if largest else np.inf)
        (np.maximum if largest else np.minimum).at(found, side.visit_user, values.astype(np.float64))
        return found

    def different(value: npt.NDArray[Any]) -> Floats:
        pair = np.unique(side.row_user * (1 << 32) + value)
        return np.bincount(pair >> 32, minlength=users).astype(np.float64)

    known = ~np.isnan(side.gap)
    hour = side.visit_time % SECONDS_PER_DAY / 3600
    day = side.visit_time // SECONDS_PER_DAY
    category = log.category[side.row_item].astype(np.int64)
    pair, count = np.unique(side.row_user * (1 << 32) + category, return_counts=True)
    most = np.zeros(users)
    np.maximum.at(most, pair >> 32, count.astype(np.float64))
    return np.stack(
        [
            visits,
            mean(side.gap[known], side.visit_user[known], np.bincount(side.visit_user[known], minlength=users)),
            mean(side.size, side.visit_user, visits),
            extreme(side.size, largest=True),
            different(side.row_item.astype(np.int64)),
            side.repeat_share,
            mean(np.log(side.price), side.row_user, rows),
            mean(np.log(side.pieces), side.row_user, rows),
            mean(hour, side.visit_user, visits),
            extreme(hour, largest=True) - extreme(hour, largest=False),
            mean((log.start.weekday() + day) % 7, side.visit_user, visits),
            extreme(day, largest=False) - first,
            extreme(day, largest=True) - first,
            different(category),
            most / rows,
            side.before.astype(np.float64),
        ],
        axis=1,
    )


def two_sample(log: PurchaseLog, side: Window, simulated: Floats, first: int, last: int, seed: int) -> dict[str, Any]:
    """The classifier's test, beside what it finds between real halves, and between these and as many days before.

    Args:
        log: the real log.
        side: its days from ``first`` to ``last`` (exclusive), with twice ``FEWEST_USERS`` customers at least.
        simulated: of ``features_of``, with ``FEWEST_USERS`` customers at least.
        first: first day compared.
        last: the day after the last.
        seed: of the halvings and the classifier.
    """
    real = features_of(log, side, first)
    found = tell_apart(real, simulated, seed)
    nulls = []
    for number in range(_NULLS):
        order = np.argsort(Stream(seed, "realism/nulls").uniform(number, np.arange(len(real))))
        half = len(real) // 2
        nulls.append(tell_apart(real[order[:half]], real[order[half : 2 * half]], seed + number).auc)
    earlier = None
    if first >= last - first:
        days_before = window_of(log, 2 * first - last, first)
        if days_before.users >= FEWEST_USERS:
            earlier = tell_apart(real, features_of(log, days_before, 2 * first - last), seed).auc
    order = np.argsort(-found.weight, kind="stable")
    return {
        "auc": found.auc,
        "ci": list(found.ci),
        "real_halves": float(np.median(nulls)),
        "real_halves_highest": float(np.max(nulls)),
        "days_before": earlier,
        "features": [{"title": FEATURES[n], "weight": float(found.weight[n])} for n in order.tolist()],
    }
