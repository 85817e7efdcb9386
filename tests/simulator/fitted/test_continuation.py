from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from simulator.datasets.interactions import DatasetError, PurchaseLog
from simulator.datasets.online_retail import read_online_retail
from simulator.fitted.continuation import continue_log, draw_visits
from simulator.fitted.shop import first_days, fit_shop
from simulator.fitted.shop_hours import to_business

REAL = Path(__file__).parents[3] / "../shared/data/online_retail/online_retail.csv.gz"
DAY = 86_400
FIT = 70


@pytest.fixture(scope="module")
def drawn(long_log: PurchaseLog) -> PurchaseLog:
    """Thirty days after the first seventy."""
    return continue_log(long_log, FIT, 30, "US", 7)


def rows_of(log: PurchaseLog, days: int) -> list[tuple[str, str, int, float]]:
    """Customer, item, time and price of the rows of the first days."""
    kept = log.time < days * DAY
    return [
        (log.user_codes[u], log.item_codes[i], t, p)
        for u, i, t, p in zip(
            log.user[kept].tolist(),
            log.item[kept].tolist(),
            log.time[kept].tolist(),
            log.unit_price[kept].tolist(),
            strict=True,
        )
    ]


def test_the_log_comes_first(long_log: PurchaseLog, drawn: PurchaseLog) -> None:
    """Up to the day the purchases are the log's, and after it there are others, on every open day at its hours."""
    assert rows_of(drawn, FIT) == rows_of(long_log, FIT)
    later = drawn.time[drawn.time >= FIT * DAY]
    assert len(later) == drawn.counts["purchases_drawn"] > 100
    assert later.max() < 100 * DAY
    hour, weekday = later // 3600 % 24, (later // DAY + 2) % 7
    assert set(hour.tolist()) <= {8, 9, 10, 11}
    assert 6 not in weekday


def test_nothing_of_later_days_is_seen(long_log: PurchaseLog, drawn: PurchaseLog) -> None:
    """A log that ends where the fit ends is continued by the same bytes as one that goes on."""
    again = continue_log(first_days(long_log, FIT), FIT, 30, "US", 7)
    for field in fields(PurchaseLog):
        one, other = getattr(drawn, field.name), getattr(again, field.name)
        assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other, field.name


def test_refunds_of_later_days_are_not_seen(long_log: PurchaseLog, drawn: PurchaseLog) -> None:
    """What is refunded after the fit, though bought before it, is no refund; a drawn purchase is refunded after it."""
    shop = first_days(long_log, FIT)
    early = long_log.refund_time < FIT * DAY
    assert (long_log.time[long_log.refund_row[~early]] < FIT * DAY).any()
    assert shop.refund_quantity.sum() == long_log.refund_quantity[early].sum() > 0
    copied = drawn.refund_row >= drawn.counts["purchases_fitted_to"]
    assert copied.sum() > 10
    lag = (drawn.refund_time - drawn.time[drawn.refund_row]) // DAY
    assert {*lag[copied].tolist()} <= {*lag[~copied].tolist()}
    assert np.array_equal(drawn.refund_time[~copied], shop.refund_time)


def test_more_days_change_none_before(long_log: PurchaseLog, drawn: PurchaseLog) -> None:
    """Drawn for longer, the days before are the same; drawn from another seed, they are not."""
    longer = continue_log(long_log, FIT, 60, "US", 7)
    assert rows_of(longer, 100) == rows_of(drawn, 100)
    assert longer.days > 110
    other = continue_log(long_log, FIT, 30, "US", 8)
    assert rows_of(other, 100) != rows_of(drawn, 100)


def test_when_somebody_comes_says_nothing_of_the_pause_after(long_log: PurchaseLog) -> None:
    """The time to a customer's first visit and the pause to the next on that day are drawn independently."""
    shop = replace(fit_shop(long_log, FIT, "US"), more=0.9, pauses=np.arange(1, 101) * 60)
    clock = shop.hours.business_time(FIT + 60)
    waited, paused = [], []
    for seed in range(20):
        user, time, number, _ = draw_visits(shop, 60, seed)
        known = user < len(shop.log.user_codes)
        coming, staying = (
            dict(zip(user[known & (number == n)], time[known & (number == n)], strict=True)) for n in (0, 1)
        )
        both = sorted(coming.keys() & staying.keys())
        first = np.array([coming[u] for u in both])
        waited.append(to_business(clock, first))
        paused.append(np.array([staying[u] for u in both]) - first)
    wait, pause = np.concatenate(waited), np.concatenate(paused)
    assert len(wait) > 1000
    assert abs(np.corrcoef(wait, pause)[0, 1]) < 4 / np.sqrt(len(wait))


def test_baskets_hold_an_item_once(drawn: PurchaseLog) -> None:
    """No basket has an item twice, nobody two baskets in a minute, and every item and price was seen before."""
    pair = drawn.visit * len(drawn.item_codes) + drawn.item
    assert len(np.unique(pair)) == len(pair)
    user, time = drawn.visits()
    assert len({*zip(user.tolist(), (time // 60).tolist(), strict=True)}) == len(user)
    before = drawn.time < FIT * DAY
    seen = {*zip(drawn.item[before].tolist(), drawn.unit_price[before].tolist(), strict=True)}
    assert {*zip(drawn.item[~before].tolist(), drawn.unit_price[~before].tolist(), strict=True)} <= seen


def test_new_customers_come_and_are_new(long_log: PurchaseLog, drawn: PurchaseLog) -> None:
    """Customers beyond the log's have no purchase before the day, and all of the log's are still there."""
    known = {code for code in drawn.user_codes if not code.startswith("new-")}
    assert known == {long_log.user_codes[u] for u in long_log.user[long_log.time < FIT * DAY].tolist()}
    new = np.array([code.startswith("new-") for code in drawn.user_codes])
    assert not new[drawn.user[drawn.time < FIT * DAY]].any()


def test_a_fit_needs_its_days(long_log: PurchaseLog) -> None:
    """Too few days, days beyond the log, and a horizon in which nobody comes are named with what would be right."""
    for days in (10, 500):
        with pytest.raises(DatasetError, match=rf"{days} days .*use 60\.\.100"):
            fit_shop(long_log, days, "US")
    once = np.unique(long_log.user, return_index=True)[1]
    rows = np.sort(once)
    lonely = replace(
        long_log,
        **{name: getattr(long_log, name)[rows] for name in ("user", "item", "time", "quantity")},
        **{name: np.zeros(0, np.int64) for name in ("refund_row", "refund_time", "refund_quantity")},
        unit_price=long_log.unit_price[rows],
        visit=np.arange(len(rows)),
    )
    with pytest.raises(DatasetError, match="days to fit to: customers: none"):
        fit_shop(lonely, min(lonely.days, 90), "US")


@pytest.fixture(scope="module")
def retail() -> PurchaseLog:
    """The real log."""
    if not REAL.exists():
        pytest.skip(f"{REAL.name} is absent")
    return read_online_retail(REAL)


def test_the_real_shop_goes_on_as_it_was(retail: PurchaseLog) -> None:
    """Fitted on nine months, drawn baskets, gaps and repeats of the tenth are near those of the last three fitted."""
    drawn = continue_log(retail, 274, 91, "GB", 7)

    def figures(log: PurchaseLog, first: int, last: int) -> list[float]:
        user, time = log.visits()
        inside = (time >= first * DAY) & (time < last * DAY)
        rows = (log.time >= first * DAY) & (log.time < last * DAY)
        size = np.bincount(log.visit)[inside]
        return [
            float(np.median(size)),
            float(size.mean()),
            float(log.bought_before()[rows].mean()),
            float(np.bincount(user[inside])[np.unique(user[inside])].mean()),
            float((time[inside] // 3600 % 24 < 12).mean()),
        ]

    assert figures(drawn, 274, 365) == pytest.approx(figures(retail, 183, 274), rel=0.15)
