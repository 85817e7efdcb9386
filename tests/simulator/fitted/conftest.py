"""A shop's log that is long enough to be fitted to."""

from datetime import date

import numpy as np
import pytest

from simulator.datasets.interactions import PurchaseLog
from simulator.streams import Stream

USERS, ITEMS, CATEGORIES, DAYS = 120, 60, 5, 100


def refunded_after(row: np.ndarray) -> np.ndarray:
    """Seconds from a purchase to its refund, a day to thirty, [rows]."""
    return 86_400 * (1 + row % 30)


def _long_log() -> PurchaseLog:
    """A hundred days of a shop that is closed on Sundays and sells from eight to twelve."""
    luck = Stream(11, "test/long_log")
    rows = []
    for user in range(USERS):
        rate = 0.02 + 0.15 * float(luck.uniform(0, user))
        for day in range(DAYS):
            if (day + 2) % 7 == 6 or float(luck.uniform(1, user, day)) > rate:  # 1 January 2014 was a Wednesday
                continue
            second = day * 86_400 + int(8 * 3600 + float(luck.uniform(2, user, day)) * 4 * 3600) // 60 * 60
            size = 1 + int(6 * float(luck.uniform(3, user, day)) ** 2 + 3 * float(luck.uniform(4, user)))
            draw = luck.uniform(5, user, day, np.arange(ITEMS)) ** (1.0 + np.arange(ITEMS) / 8)
            rows += [(second, user, item) for item in np.argsort(-draw)[:size].tolist()]
    rows.sort()
    time, user, item = (np.array(column) for column in zip(*rows, strict=True))
    users, user = np.unique(user, return_inverse=True)
    changes = np.ones(len(time), np.bool_)
    changes[1:] = (time[1:] != time[:-1]) | (user[1:] != user[:-1])
    price = 1.0 + np.arange(ITEMS) % 7
    first = np.full(ITEMS, 0, np.int64)
    refunded = np.arange(0, len(time), 7)
    refunded = refunded[np.argsort(time[refunded] + refunded_after(refunded), kind="stable")]
    return PurchaseLog(
        start=date(2014, 1, 1),
        item_codes=tuple(f"i{n}" for n in range(ITEMS)),
        titles=tuple(f"item {n}" for n in range(ITEMS)),
        price=price,
        category=(np.arange(ITEMS) % CATEGORIES).astype(np.int32),
        category_names=tuple("abcde"),
        first_seen=first,
        user_codes=tuple(f"u{n}" for n in users),
        user_country=tuple("Spain" if n % 3 else "Norway" for n in users),
        user=user.astype(np.int64),
        item=item.astype(np.int32),
        time=time.astype(np.int64),
        quantity=np.ones(len(time), np.int64),
        unit_price=price[item],
        visit=np.cumsum(changes) - 1,
        refund_row=refunded,
        refund_time=time[refunded] + refunded_after(refunded),
        refund_quantity=np.ones(len(refunded), np.int64),
        counts={"raw_rows": len(time), "purchases": len(time)},
    )


@pytest.fixture(scope="session")
def long_log() -> PurchaseLog:
    """The log."""
    return _long_log()
