"""A drawn purchase log held against the real one, over the days whose purchases the fit has not seen.

Knows purchase logs. Does not know how one was drawn, nor how findings are shown.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from experiments.realism_rows import Noise, numbers_row, parted, shares_row
from metrics.realism import Sample, js_of_ranks, zipf_exponent
from metrics.two_sample import FEWEST_USERS, tell_apart
from simulator.datasets.interactions import SECONDS_PER_DAY, PurchaseLog
from simulator.streams import Stream

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS: Final = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
                 "November", "December")  # fmt: skip
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


@dataclass(frozen=True)
class Window:
    """What happened in some days of a log, by customer; customers are those who came in them, counted from 0.

    Attributes:
        users: how many.
        visit_user, visit_time: of the visits, by customer and time, [visits].
        gap: days since the visit before, also where that was before the window; NaN without one, [visits].
        size: items in the basket, [visits].
        row_user, row_item, row_time: of the purchases, [rows].
        price, pieces: paid for one piece, and how many, [rows].
        again: whether the customer had the item from an earlier basket, [rows].
        before: whether each customer came before the window, [users].
        newcomers: how many did not.
    """

    users: int
    visit_user: Integers
    visit_time: Integers
    gap: Floats
    size: Integers
    row_user: Integers
    row_item: npt.NDArray[np.int32]
    row_time: Integers
    price: Floats
    pieces: Integers
    again: npt.NDArray[np.bool_]
    before: npt.NDArray[np.bool_]

    @property
    def newcomers(self) -> int:
        """Customers who had not come before."""
        return int((~self.before).sum())


def window_of(log: PurchaseLog, first: int, last: int) -> Window:
    """The days of a log from ``first`` to ``last`` (exclusive)."""
    owner, time = log.visits()
    size = np.bincount(log.visit, minlength=len(owner))
    order = np.lexsort((time, owner))
    owner, time, size = owner[order], time[order], size[order]
    gap = np.full(len(owner), np.nan)
    same = owner[1:] == owner[:-1]
    gap[1:][same] = np.diff(time)[same] / SECONDS_PER_DAY
    inside = (time >= first * SECONDS_PER_DAY) & (time < last * SECONDS_PER_DAY)
    users = np.unique(owner[inside])
    place = np.full(len(log.user_codes), -1, np.int64)
    place[users] = np.arange(len(users))
    rows = (log.time >= first * SECONDS_PER_DAY) & (log.time < last * SECONDS_PER_DAY)
    return Window(
        users=len(users),
        visit_user=place[owner[inside]],
        visit_time=time[inside],
        gap=gap[inside],
        size=size[inside],
        row_user=place[log.user[rows]],
        row_item=log.item[rows],
        row_time=log.time[rows],
        price=log.unit_price[rows],
        pieces=log.quantity[rows],
        again=log.bought_before()[rows],
        before=np.isin(users, owner[time < first * SECONDS_PER_DAY]),
    )


def compare_logs(real: PurchaseLog, simulated: PurchaseLog, first: int, last: int, noise: Noise) -> dict[str, Any]:
    """Rows, totals and the classifier's test of a drawn log against the real one, over days ``first`` to ``last``.

    What has too few values or customers for a comparison is listed among ``without_counterpart``.

    Args:
        real: the log.
        simulated: one that starts on the same day and has the same categories.
        first: first day compared.
        last: the day after the last.
        noise: how floors are found.
    """
    one, other = window_of(real, first, last), window_of(simulated, first, last)
    rows, without = parted(_rows(real, simulated, one, other, noise))
    enough = one.users >= 2 * FEWEST_USERS and other.users >= FEWEST_USERS
    if not enough:
        without.append(
            {
                "title": "Whether a classifier tells customers apart",
                "why": f"{one.users} real and {other.users} simulated customers; it needs {2 * FEWEST_USERS} and "
                f"{FEWEST_USERS}",
            }
        )
    return {
        "rows": rows,
        "totals": _totals(one, other),
        "two_sample": _two_sample(real, one, features_of(simulated, other, first), first, last, noise.seed)
        if enough
        else None,
        "without_counterpart": [
            *without,
            {
                "title": "Pages, clicks and carts of a visit",
                "why": "a sales log has none; the response model simulates them, and nothing here can be held against",
            },
        ],
    }


def _rows(real: PurchaseLog, simulated: PurchaseLog, one: Window, other: Window, noise: Noise) -> list[dict[str, Any]]:
    sides = (one, other)

    def visits(value: Any) -> tuple[Sample, Sample]:
        samples = []
        for side in sides:
            found = value(side)
            there = ~np.isnan(found) if found.dtype.kind == "f" else np.ones(len(found), np.bool_)
            samples.append(Sample(side.visit_user[there], found[there], side.users))
        return samples[0], samples[1]

    def rows(value: Any) -> tuple[Sample, Sample]:
        samples = [Sample(side.row_user, value(side), side.users) for side in sides]
        return samples[0], samples[1]

    def users(value: Any) -> tuple[Sample, Sample]:
        samples = [Sample(np.arange(side.users), value(side), side.users) for side in sides]
        return samples[0], samples[1]

    codes = {code: n for n, code in enumerate(sorted({*real.item_codes, *simulated.item_codes}))}
    number = {
        id(side): np.array([codes[code] for code in log.item_codes])
        for side, log in zip(sides, (real, simulated), strict=True)
    }
    titles = {
        codes[code]: title for log in (simulated, real) for code, title in zip(log.item_codes, log.titles, strict=True)
    }
    category = {id(one): real.category, id(other): simulated.category}
    names = real.category_names
    first_day = np.datetime64(real.start, "D")

    def month(side: Window) -> Integers:
        return (first_day + side.row_time // SECONDS_PER_DAY).astype("datetime64[M]").astype(np.int64) % 12

    in_window = sorted({*month(one).tolist(), *month(other).tolist()})
    at = {value: n for n, value in enumerate(in_window)}
    items = rows(lambda side: number[id(side)][side.row_item])
    slopes = [zipf_exponent(np.bincount(side.value)) for side in items]
    ranks = [f"rank {n + 1}" for n in range(len(codes))]
    return [
        shares_row(
            "hour",
            "Hour of a visit",
            [f"{hour}:00" for hour in range(24)],
            *visits(lambda side: side.visit_time // 3600 % 24),
            noise,
        ),
        shares_row(
            "weekday",
            "Weekday of a visit",
            WEEKDAYS,
            *visits(lambda side: (real.start.weekday() + side.visit_time // SECONDS_PER_DAY) % 7),
            noise,
        ),
        numbers_row("gap", "Gap between visits", "days", *visits(lambda side: side.gap), noise),
        numbers_row(
            "visits",
            "Visits of a customer",
            "visits",
            *users(lambda side: np.bincount(side.visit_user, minlength=side.users)),
            noise,
            "of customers who came at all",
        ),
        numbers_row(
            "basket",
            "Basket size",
            "items",
            *visits(lambda side: side.size),
            noise,
            "the session of a sales log: different items of a visit",
        ),
        _by_rank(
            shares_row(
                "popularity",
                "Popularity, whichever items",
                ranks,
                *items,
                noise,
                "share of purchases by rank",
                js_of_ranks(len(codes)),
            ),
            items,
            slopes,
        ),
        shares_row(
            "items",
            "Popularity, item by item",
            [titles[n] for n in range(len(codes))],
            *items,
            noise,
            "what had not been sold before the days compared cannot be simulated",
        ),
        numbers_row("price", "Price paid", real_unit(real), *rows(lambda side: side.price), noise),
        numbers_row(
            "repeat",
            "Share bought before",
            "share",
            *users(_repeat_share),
            noise,
            "of a customer's purchases, those of items from earlier baskets",
        ),
        shares_row(
            "category_month",
            "Category by month",
            [f"{name}, {MONTHS[m]}" for m in in_window for name in names],
            *rows(
                lambda side: (
                    np.array([at[m] for m in range(12) if m in at])[np.searchsorted(in_window, month(side))]
                    * len(names)
                    + category[id(side)][side.row_item]
                )
            ),
            noise,
            "how much is bought in which month counts too",
        ),
    ]


def real_unit(log: PurchaseLog) -> str:
    """What prices of a log are in, as far as the general form knows."""
    return "of the log's currency"


def _repeat_share(side: Window) -> Floats:
    bought = np.bincount(side.row_user, minlength=side.users)
    again = np.bincount(side.row_user, side.again.astype(np.float64), side.users)
    return np.asarray(again / np.maximum(bought, 1), np.float64)


def _by_rank(row: dict[str, Any], items: tuple[Sample, Sample], slopes: list[float | None]) -> dict[str, Any]:
    """The row with shares of the first ranks shown, and the exponents of both tails."""
    if "distance" not in row:
        return row
    counts = [np.sort(np.bincount(side.value))[::-1] for side in items]
    edges = (1, 10, 30, 100, 300, 1000, 3000)
    shown: dict[str, Any] = {"kind": "shares", "labels": [], "unit": "", "of": len(edges), "real": [], "simulated": []}
    for low, high in zip((0, *edges), edges, strict=False):
        shown["labels"].append(f"rank {low + 1}" if high == low + 1 else f"ranks {low + 1} to {high}")
        for key, each in zip(("real", "simulated"), counts, strict=True):
            shown[key].append(float(each[low:high].sum() / each.sum()))
    known = [slope for slope in slopes if slope is not None]
    note = row["note"]
    if len(known) == 2:
        note += f"; Zipf exponent of the tenth that sells best: real {known[0]:.2f}, simulated {known[1]:.2f}"
    return {**row, "shown": shown, "note": note}


def _totals(one: Window, other: Window) -> list[dict[str, Any]]:
    def of(title: str, value: Any) -> dict[str, Any]:
        real, simulated = float(value(one)), float(value(other))
        return {"title": title, "real": real, "simulated": simulated, "ratio": simulated / real if real else None}

    return [
        of("Customers", lambda side: side.users),
        of("of them new", lambda side: side.newcomers),
        of("Visits", lambda side: len(side.visit_user)),
        of("Purchases", lambda side: len(side.row_user)),
        of("Different items", lambda side: len(np.unique(side.row_item))),
        of("Money spent", lambda side: float((side.price * side.pieces).sum())),
    ]


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
            _repeat_share(side),
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


def _two_sample(log: PurchaseLog, side: Window, simulated: Floats, first: int, last: int, seed: int) -> dict[str, Any]:
    """The classifier's test, beside what it finds between real halves, and between these and as many days before."""
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
