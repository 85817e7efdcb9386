"""What the first days of a purchase log say about its shop.

Puts the fits of hours, customers, baskets and assortment together. Nothing is drawn. No purchase and no refund after
those days is looked at; what items and customers are called is the log's, whose reader has seen all of it: titles, the
categories derived from them, and countries.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from simulator.datasets.interactions import SECONDS_PER_DAY, DatasetError, PurchaseLog
from simulator.fitted.assortment import Assortment, fit_assortment
from simulator.fitted.customers import Customers, ReturnModel, fit_return_model
from simulator.fitted.levels import OwnLevels, fit_levels, normal_scores, standardised
from simulator.fitted.repeats import Repeats, fit_repeat_shares
from simulator.fitted.shop_hours import ShopHours, fit_shop_hours, to_business

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

FEWEST_DAYS: Final = 60
"""Days that a fit needs: a month to learn from and a month to choose by."""
_RECENT_DAYS: Final = 91
"""Last days of the fit that say how many customers are new: in a log's first months everybody is."""
_HELD_OUT_DAYS: Final = 30
_EXPONENTS: Final = (0.0, 0.5, 1.0)


@dataclass(frozen=True)
class FittedShop:
    """A shop as the first days of a log show it.

    Attributes:
        log: those days; items that were not sold in them and customers who did not come are left out.
        days: how many.
        hours: when customers come.
        returns: how they come back, a day with a visit being one event.
        seen: what each customer did, [users].
        arrivals: new customers in a unit of business time.
        more: probability of one more visit on the same day.
        pauses: seconds between two visits of a customer on a day, ascending.
        assortment: what is bought for the first time.
        sizes: of all baskets, ascending, [baskets].
        taking: how much customers take.
        pieces: how many of each item, among all who take it, given how much the basket holds.
        fullness: mean and standard deviation over purchases of their baskets' scores of size.
        dearness: how dear what they take for the first time is, by ``price_score``, [items].
        repeats: how much is bought again.
        own_repeats, own_expected: each user's repeats, and how many were expected, [users].
        by_item, item_offset: rows of the log by item, those with few pieces first, [rows]; where an item's begin,
            [items + 1].
        sales: recent sales of each item, an average sale of the fit's end counting 1, [items].
    """

    log: PurchaseLog
    days: int
    hours: ShopHours
    returns: ReturnModel
    seen: Customers
    arrivals: float
    more: float
    pauses: Integers
    assortment: Assortment
    sizes: Integers
    taking: OwnLevels
    pieces: OwnLevels
    fullness: tuple[float, float]
    dearness: OwnLevels
    price_score: Floats
    repeats: Repeats
    own_repeats: Floats
    own_expected: Floats
    sales: Floats
    by_item: Integers
    item_offset: Integers


def fit_shop(source: PurchaseLog, days: int, country: str) -> FittedShop:
    """Fit a shop to the first days of a log.

    Args:
        source: the log; its purchases and refunds after the days are not looked at.
        days: how many.
        country: ISO code whose public holidays count.

    Raises:
        DatasetError: the days are fewer than a fit needs, or reach beyond the log, or too little happened in them.
    """
    if not FEWEST_DAYS <= days <= source.days:
        raise DatasetError(
            f"{days} days to fit to, but the log has {source.days} and a fit needs {FEWEST_DAYS}; use "
            f"{FEWEST_DAYS}..{source.days}"
        )
    log = first_days(source, days)
    try:
        return _fit(log, days, country)
    except ValueError as error:
        raise DatasetError(f"{days} days to fit to: {error}") from error


def first_days(source: PurchaseLog, days: int) -> PurchaseLog:
    """The purchases and refunds of the first days, with the items and customers that occur in them.

    Titles, categories and countries stay as the reader of the whole log found them.
    """
    kept = source.time < days * SECONDS_PER_DAY
    items, item = np.unique(source.item[kept], return_inverse=True)
    users, user = np.unique(source.user[kept], return_inverse=True)
    unit_price = source.unit_price[kept]
    price = np.array([np.median(unit_price[item == n]) for n in range(len(items))])
    refunded = source.refund_time < days * SECONDS_PER_DAY
    return replace(
        source,
        item_codes=tuple(source.item_codes[n] for n in items),
        titles=tuple(source.titles[n] for n in items),
        price=price,
        category=source.category[items],
        first_seen=source.first_seen[items],
        user_codes=tuple(source.user_codes[n] for n in users),
        user_country=tuple(source.user_country[n] for n in users),
        user=user.astype(np.int64),
        item=item.astype(np.int32),
        time=source.time[kept],
        quantity=source.quantity[kept],
        unit_price=unit_price,
        visit=source.visit[kept],
        refund_row=source.refund_row[refunded],
        refund_time=source.refund_time[refunded],
        refund_quantity=source.refund_quantity[refunded],
    )


def months_of(log: PurchaseLog, time: Integers) -> Integers:
    """Month of the year of moments of a log, January 0, [moments]."""
    day = np.datetime64(log.start, "D") + time // SECONDS_PER_DAY
    return day.astype("datetime64[M]").astype(np.int64) % 12


def _fit(log: PurchaseLog, days: int, country: str) -> FittedShop:
    users = len(log.user_codes)
    owner, time = log.visits()
    hours = fit_shop_hours(log.start, time, days, country)
    clock = hours.business_time(days)
    day = time // SECONDS_PER_DAY
    order = np.lexsort((time, owner))
    by_user, by_time, by_day = owner[order], time[order], day[order]
    begins = np.ones(len(order), np.bool_)
    begins[1:] = (by_user[1:] != by_user[:-1]) | (by_day[1:] != by_day[:-1])
    returns_to, moment = by_user[begins], to_business(clock, by_time[begins])
    repeats = np.bincount(returns_to, minlength=users) - 1
    first, last = np.full(users, np.inf), np.zeros(users)
    np.minimum.at(first, returns_to, moment)
    np.maximum.at(last, returns_to, moment)
    seen = Customers(repeats, last - first, clock[-1] - first)
    recent = clock[max(days - _RECENT_DAYS, 0) * 24]
    more = 1.0 - begins.sum() / len(begins)
    pauses = np.sort(np.diff(by_time)[~begins[1:]])
    again = log.bought_before()
    month, row_day = months_of(log, log.time), log.time // SECONDS_PER_DAY
    new = ~again
    assortment = fit_assortment(
        log.item[new],
        log.user[new],
        log.visit[new],
        row_day[new],
        month[new],
        log.category,
        len(log.category_names),
        days,
        _HELD_OUT_DAYS,
    )
    sizes = np.bincount(log.visit)
    by_item = np.lexsort((np.arange(len(log.item)), -log.unit_price, log.quantity, log.item))
    offset = np.searchsorted(log.item[by_item], np.arange(len(log.item_codes) + 1)).astype(np.int64)
    size_score = normal_scores(sizes)
    price_score = standardised(
        np.log(log.price), np.bincount(log.item[new], minlength=len(log.price)).astype(np.float64)
    )
    full = size_score[log.visit]
    fullness = (float(full.mean()), float(full.std()))
    pieces = np.empty(len(log.item))
    for low, high in pairwise(offset.tolist()):
        pieces[by_item[low:high]] = normal_scores(log.quantity[by_item[low:high]])
    shares, own_repeats, own_expected = fit_repeat_shares(again, log.owned_before(), log.user, users)
    shares = replace(shares, popularity=best_exponent(log, again, days, assortment.half_life))
    return FittedShop(
        log=log,
        days=days,
        hours=hours,
        returns=fit_return_model(seen),
        seen=seen,
        arrivals=float((first >= recent).sum() / (clock[-1] - recent)),
        more=float(more),
        pauses=pauses,
        assortment=assortment,
        sizes=np.sort(sizes),
        taking=fit_levels(size_score, owner, users),
        pieces=fit_levels(pieces, log.user, users, (full - fullness[0]) / max(fullness[1], 1e-9)),
        fullness=fullness,
        dearness=fit_levels(price_score[log.item[new]], log.user[new], users),
        price_score=price_score,
        repeats=shares,
        own_repeats=own_repeats,
        own_expected=own_expected,
        sales=_recent_sales(log, days, assortment.half_life),
        by_item=by_item,
        item_offset=offset,
    )


def best_exponent(log: PurchaseLog, again: Flags, days: int, half_life: float) -> float:
    """How far it depends on an item's sales whether who has it buys it again: the exponent that foretells best.

    The chance of each item that the customer has is its number of purchases times its recent sales to the exponent; the
    exponents are compared by the mean log-probability of the repeats of the last days, given what was bought before.
    """
    begin = days - _HELD_OUT_DAYS
    earlier = log.time < begin * SECONDS_PER_DAY
    sales = _recent_sales(log, begin, half_life)
    times = np.zeros((len(log.user_codes), len(log.item_codes)), np.int16)
    np.add.at(times, (log.user[earlier], log.item[earlier]), 1)
    asked = np.flatnonzero(~earlier & again)
    asked = asked[times[log.user[asked], log.item[asked]] > 0]
    scores = []
    for exponent in _EXPONENTS:
        recent = sales**exponent
        total = times @ recent
        chance = times[log.user[asked], log.item[asked]] * recent[log.item[asked]] / total[log.user[asked]]
        scores.append(float(np.log(chance).mean()) if len(asked) else 0.0)
    return _EXPONENTS[int(np.argmax(scores))]


def _recent_sales(log: PurchaseLog, day: int, half_life: float) -> Floats:
    """Sales of each item before a day, fading; half a sale on top, so that nothing is impossible, [items]."""
    earlier = log.time < day * SECONDS_PER_DAY
    age = day - log.time[earlier] / SECONDS_PER_DAY
    return np.asarray(np.bincount(log.item[earlier], 0.5 ** (age / half_life), len(log.item_codes)) + 0.5, np.float64)
