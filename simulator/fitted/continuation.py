"""A purchase log that goes on as its shop would, if the shop were what its first part says.

Up to a day the purchases are the log's; from then on all of them are drawn: who comes when, who is new, how much is
taken, what is bought again and what for the first time. The result is a log like any other, so a world can be made from
it, played, and held against the days that the real log has there.

What is fitted are the purchases and refunds of the days before; of later ones none is seen. But the log's reader has
seen them: an item's title is its most frequent description in the whole log, categories are derived from those titles,
and a customer's country is that of most rows. What the days before do not show is not there afterwards: items that come
new, a season of the year that had not been, a shop that grows.
"""

from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from simulator.datasets.interactions import SECONDS_PER_DAY, DatasetError, PurchaseLog
from simulator.fitted.customers import Customers, draw_returns
from simulator.fitted.levels import OwnLevels, place
from simulator.fitted.shop import FittedShop, fit_shop, months_of
from simulator.fitted.shop_hours import to_seconds
from simulator.streams import Stream

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_NEW: Final = -1
"""Numbers of new customers run down from here, those of the log's up from 0."""
_ARRIVAL, _COUNTRY, _MORE, _PAUSE, _AGAIN, _PICK = range(6)


def continue_log(source: PurchaseLog, from_day: int, days: int, country: str, seed: int) -> PurchaseLog:
    """A log whose purchases are ``source``'s before ``from_day`` and drawn for ``days`` days from then on.

    Args:
        source: the log; its purchases and refunds from ``from_day`` on are not looked at.
        from_day: first day that is drawn, counted from the log's first.
        days: days that are drawn, at least 1.
        country: ISO code whose public holidays count.
        seed: of the draws.

    Raises:
        DatasetError: as ``fit_shop``; or nothing is drawn.
    """
    shop = fit_shop(source, from_day, country)
    user, time, number, newcomers = draw_visits(shop, days, seed)
    if not len(user):
        raise DatasetError(f"nobody comes in the {days} days drawn from day {from_day} on; draw more, or fit to more")
    visit, item, row = draw_baskets(shop, user, time, number, newcomers, seed)
    return _joined(shop, user[visit], time[visit], item, row, newcomers, seed)


def draw_visits(shop: FittedShop, days: int, seed: int) -> tuple[Integers, Integers, Integers, int]:
    """Visits in the days after the fit.

    Returns:
        User (new customers are numbered on from the log's), seconds, and a number by which the draws of the visit are
        keyed beside the user's, each [visits], in order of time and then user, no user twice in a minute; and how many
        customers are new.
    """
    clock = shop.hours.business_time(shop.days + days)
    begin, end = clock[shop.days * 24], clock[-1]
    arrival = _arrivals(shop.arrivals, begin, end, Stream(seed, "fitted/arrivals"))
    known, new = len(shop.log.user_codes), len(arrival)
    nothing = np.zeros(new)
    seen = Customers(
        np.concatenate([shop.seen.repeats, np.zeros(new, np.int64)]),
        np.concatenate([shop.seen.last, nothing]),
        np.concatenate([shop.seen.watched, nothing]),
    )
    customer = _customers(known, new)
    first = np.arange(known + new) >= known
    start = np.concatenate([np.full(known, begin), arrival])
    returning, staying = Stream(seed, "fitted/visits"), Stream(seed, "fitted/pauses")
    row, number, business = draw_returns(shop.returns, seen, customer, first, start, end, returning)
    user, time, key = [row], [to_seconds(clock, business)], [number << 8]
    for more in range(1, 1 << 8):
        again = staying.uniform(_MORE, customer[user[-1]], key[-1]) < shop.more
        if not again.any():
            break
        row, before, which = user[-1][again], time[-1][again], key[-1][again]
        place = (staying.uniform(_PAUSE, customer[row], which) * len(shop.pauses)).astype(np.int64)
        after = before + shop.pauses[place]
        same = after // SECONDS_PER_DAY == before // SECONDS_PER_DAY
        user.append(row[same])
        time.append(after[same])
        key.append((which[same] >> 8 << 8) + more)
    rows, times, keys = np.concatenate(user), np.concatenate(time), np.concatenate(key)
    order = np.lexsort((keys, rows, times))
    rows, times, keys = rows[order], times[order], keys[order]
    alone = np.ones(len(rows), np.bool_)
    alone[1:] = (times[1:] != times[:-1]) | (rows[1:] != rows[:-1])
    return rows[alone], times[alone], keys[alone], new


def draw_baskets(
    shop: FittedShop, user: Integers, time: Integers, number: Integers, newcomers: int, seed: int
) -> tuple[Integers, npt.NDArray[np.int32], Integers]:
    """What visits take home.

    Args:
        shop: the fit.
        user: of each visit, as ``draw_visits`` gives it, [visits].
        time: likewise.
        number: likewise.
        newcomers: users beyond the log's.
        seed: of the draws.

    Returns:
        Index of the visit, item, and the row of the log that is copied for pieces and price, each [purchases].
    """
    stream = Stream(seed, "fitted/baskets")
    known, items = len(shop.log.user_codes), len(shop.log.item_codes)
    customer = _customers(known, newcomers)
    none = np.zeros(newcomers)
    of_sizes = Stream(seed, "fitted/sizes")
    taking = shop.taking.levels.score(
        _own(shop.taking, newcomers, customer, of_sizes)[user], of_sizes, customer[user], number
    )
    size = shop.sizes[place(taking, len(shop.sizes))]
    factor = shop.repeats.factor(
        np.concatenate([shop.own_repeats, none]),
        np.concatenate([shop.own_expected, none]),
        customer,
        Stream(seed, "fitted/repeats"),
    )
    categories = len(shop.log.category_names)
    bought = np.zeros((known + newcomers, categories))
    new = ~shop.log.bought_before()
    np.add.at(bought, (shop.log.user[new], shop.log.category[shop.log.item[new]]), 1.0)
    of_tastes = Stream(seed, "fitted/tastes")
    taste = shop.assortment.tastes(bought, customer, of_tastes)
    theme = shop.assortment.themes(taste[user], customer[user], number, of_tastes)
    dearness = _own(shop.dearness, newcomers, customer, Stream(seed, "fitted/dearness"))
    times_bought = np.zeros((known + newcomers, items), np.int16)
    np.add.at(times_bought, (shop.log.user, shop.log.item), 1)
    recent = shop.sales**shop.repeats.popularity
    appeal = [shop.assortment.appeal(month) for month in range(12)]
    month = months_of(shop.log, time)
    every = np.arange(items)
    visits, found = [], []
    for n in range(len(user)):
        u, who = user[n], customer[user[n]]
        has = times_bought[u]
        at_hand = has > 0
        owned = int(at_hand.sum())
        chance = shop.repeats.of(owned, float(factor[u]))
        again = min(int((stream.uniform(_AGAIN, who, number[n], np.arange(size[n])) < chance).sum()), owned)
        luck = -np.log(stream.uniform(_PICK, who, number[n], every))
        old = _without_replacement(luck, np.where(at_hand, has * recent, 0.0), again)
        fresh = theme[n][shop.assortment.category] * appeal[month[n]] * np.exp(dearness[u] * shop.price_score)
        first = _without_replacement(luck, np.where(at_hand, 0.0, fresh), int(size[n]) - len(old))
        picked = np.concatenate([old, first])
        times_bought[u, picked] += 1
        found.append(picked)
        visits.append(np.full(len(picked), n, np.int64))
    visit, item = np.concatenate(visits), np.concatenate(found).astype(np.int32)
    of_pieces = Stream(seed, "fitted/pieces")
    level = _own(shop.pieces, newcomers, customer, of_pieces)[user[visit]]
    full = (taking[visit] - shop.fullness[0]) / max(shop.fullness[1], 1e-9)
    score = shop.pieces.levels.score(level, of_pieces, customer[user[visit]], number[visit], item, given=full)
    low, high = shop.item_offset[item], shop.item_offset[item + 1]
    return visit, item, shop.by_item[low + place(score, high - low)]


def _arrivals(rate: float, begin: float, end: float, stream: Stream) -> Floats:
    """Moments of a Poisson process in business time, ascending."""
    wanted = rate * (end - begin)
    most = int(wanted + 10.0 * np.sqrt(wanted) + 20.0)
    if rate <= 0.0:
        return np.zeros(0)
    moment = begin + np.cumsum(stream.exponential(_ARRIVAL, np.arange(most))) / rate
    return moment[moment < end]


def _customers(known: int, new: int) -> Integers:
    """Numbers that draws are keyed by: those of the log's customers do not depend on how many are new."""
    return np.concatenate([np.arange(known), _NEW - np.arange(new)]).astype(np.int64)


def _without_replacement(luck: Floats, weight: Floats, count: int) -> Integers:
    """Items drawn one after the other with chances proportional to their weights (Efraimidis and Spirakis 2006).

    Args:
        luck: unit exponential draws, [items].
        weight: of each item, 0 for one that cannot be drawn, [items].
        count: how many; fewer where fewer can be drawn.
    """
    possible = np.flatnonzero(weight > 0)
    if count <= 0 or not len(possible):
        return np.zeros(0, np.int64)
    key = np.log(luck[possible]) - np.log(weight[possible])
    if count >= len(possible):
        return possible
    return possible[np.argpartition(key, count)[:count]]


def _own(known: OwnLevels, newcomers: int, customer: Integers, stream: Stream) -> Floats:
    """The levels of the log's customers and of new ones, drawn given what is known of them, [customers]."""
    count = np.concatenate([known.count, np.zeros(newcomers, np.int64)])
    return known.levels.own(count, np.concatenate([known.mean, np.zeros(newcomers)]), customer, stream)


def _joined(
    shop: FittedShop,
    user: Integers,
    time: Integers,
    item: npt.NDArray[np.int32],
    row: Integers,
    newcomers: int,
    seed: int,
) -> PurchaseLog:
    """The log's purchases, and after them the drawn ones, refunded as long after as the rows that they copy."""
    log = shop.log
    order = np.lexsort((item, user, time))
    user, time, item, row = user[order], time[order], item[order], row[order]
    changes = np.ones(len(user), np.bool_)
    changes[1:] = (time[1:] != time[:-1]) | (user[1:] != user[:-1])
    before = int(log.visit[-1])
    refunds, copy = _refunds_of(log.refund_row, row)
    refund_row = np.concatenate([log.refund_row, len(log.time) + copy])
    later = time[copy] + log.refund_time[refunds] - log.time[log.refund_row[refunds]]
    refund_time = np.concatenate([log.refund_time, later])
    refund_quantity = np.concatenate([log.refund_quantity, log.refund_quantity[refunds]])
    by_time = np.argsort(refund_time, kind="stable")
    countries = Stream(seed, "fitted/countries").integers(len(log.user_codes), _COUNTRY, np.arange(newcomers))
    return replace(
        log,
        user_codes=(*log.user_codes, *(f"new-{n}" for n in range(newcomers))),
        user_country=(*log.user_country, *(log.user_country[n] for n in countries)),
        user=np.concatenate([log.user, user]),
        item=np.concatenate([log.item, item]),
        time=np.concatenate([log.time, time]),
        quantity=np.concatenate([log.quantity, log.quantity[row]]),
        unit_price=np.concatenate([log.unit_price, log.unit_price[row]]),
        visit=np.concatenate([log.visit, before + np.cumsum(changes)]),
        refund_row=refund_row[by_time],
        refund_time=refund_time[by_time],
        refund_quantity=refund_quantity[by_time],
        counts={**log.counts, "purchases_fitted_to": len(log.time), "purchases_drawn": len(time)},
    )


def _refunds_of(refund_row: Integers, row: Integers) -> tuple[Integers, Integers]:
    """The refunds of the rows that are copied, and which copy each belongs to, both [refunds of copies]."""
    order = np.argsort(refund_row, kind="stable")
    begin, end = (np.searchsorted(refund_row[order], row, side=side) for side in ("left", "right"))
    count = end - begin
    within = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    return order[np.repeat(begin, count) + within], np.repeat(np.arange(len(row)), count)
