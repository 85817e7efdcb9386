"""A drawn purchase log held against the real one, over the days whose purchases the fit has not seen.

Knows purchase logs. Does not know how one was drawn, nor how findings are shown.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from experiments.realism_customers import features_of, two_sample
from experiments.realism_rows import Noise, numbers_row, parted, shares_row
from experiments.realism_window import Integers, Window, window_of
from metrics.realism import Sample, js_of_ranks, zipf_exponent
from metrics.two_sample import FEWEST_USERS
from simulator.datasets.interactions import SECONDS_PER_DAY, PurchaseLog

WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS: Final = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
                 "November", "December")  # fmt: skip


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
    sides = _Sides(real, simulated, one, other)
    rows, without = parted([*_visit_rows(sides, noise), *_item_rows(sides, noise), *_purchase_rows(sides, noise)])
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
        "two_sample": two_sample(real, one, features_of(simulated, other, first), first, last, noise.seed)
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


class _Sides:
    """Both sides of a comparison: samples of the same value, the real one first.

    Attributes:
        real: the log.
        windows: the days compared, of the log and of the drawn one.
        logs: both, in this order.
    """

    def __init__(self, real: PurchaseLog, simulated: PurchaseLog, one: Window, other: Window) -> None:
        self.real, self.logs, self.windows = real, (real, simulated), (one, other)

    def visits(self, value: Callable[[Window], npt.NDArray[Any]]) -> tuple[Sample, Sample]:
        """Of visits; those without a value are left out."""
        return self._pair(value, lambda side: side.visit_user)

    def rows(self, value: Callable[[Window], npt.NDArray[Any]]) -> tuple[Sample, Sample]:
        """Of purchases."""
        return self._pair(value, lambda side: side.row_user)

    def users(self, value: Callable[[Window], npt.NDArray[Any]]) -> tuple[Sample, Sample]:
        """Of customers."""
        return self._pair(value, lambda side: np.arange(side.users))

    def _pair(
        self, value: Callable[[Window], npt.NDArray[Any]], owner: Callable[[Window], Integers]
    ) -> tuple[Sample, Sample]:
        one, other = (self._sample(value(side), owner(side), side.users) for side in self.windows)
        return one, other

    @staticmethod
    def _sample(found: npt.NDArray[Any], owner: Integers, users: int) -> Sample:
        there = ~np.isnan(found) if found.dtype.kind == "f" else np.ones(len(found), np.bool_)
        return Sample(owner[there], found[there], users)


def _visit_rows(sides: _Sides, noise: Noise) -> list[dict[str, Any]]:
    """When customers come, how often, and with how much they go."""
    start = sides.real.start.weekday()
    return [
        shares_row(
            "hour",
            "Hour of a visit",
            [f"{hour}:00" for hour in range(24)],
            *sides.visits(lambda side: side.visit_time // 3600 % 24),
            noise,
        ),
        shares_row(
            "weekday",
            "Weekday of a visit",
            WEEKDAYS,
            *sides.visits(lambda side: (start + side.visit_time // SECONDS_PER_DAY) % 7),
            noise,
        ),
        numbers_row("gap", "Gap between visits", "days", *sides.visits(lambda side: side.gap), noise),
        numbers_row(
            "visits",
            "Visits of a customer",
            "visits",
            *sides.users(lambda side: np.bincount(side.visit_user, minlength=side.users)),
            noise,
            "of customers who came at all",
        ),
        numbers_row(
            "basket",
            "Basket size",
            "items",
            *sides.visits(lambda side: side.size),
            noise,
            "the session of a sales log: different items of a visit",
        ),
    ]


def _item_rows(sides: _Sides, noise: Noise) -> list[dict[str, Any]]:
    """How popular items are, whichever they are and one by one; an item is the same in both logs by its code."""
    codes = {code: n for n, code in enumerate(sorted({code for log in sides.logs for code in log.item_codes}))}
    titles = {
        codes[code]: title
        for log in reversed(sides.logs)
        for code, title in zip(log.item_codes, log.titles, strict=True)
    }
    number = {
        id(side): np.array([codes[code] for code in log.item_codes])
        for side, log in zip(sides.windows, sides.logs, strict=True)
    }
    items = sides.rows(lambda side: number[id(side)][side.row_item])
    return [
        _by_rank(
            shares_row(
                "popularity",
                "Popularity, whichever items",
                [f"rank {n + 1}" for n in range(len(codes))],
                *items,
                noise,
                "share of purchases by rank",
                js_of_ranks(len(codes)),
            ),
            items,
            [zipf_exponent(np.bincount(side.value)) for side in items],
        ),
        shares_row(
            "items",
            "Popularity, item by item",
            [titles[n] for n in range(len(codes))],
            *items,
            noise,
            "what had not been sold before the days compared cannot be simulated",
        ),
    ]


def _purchase_rows(sides: _Sides, noise: Noise) -> list[dict[str, Any]]:
    """What is paid, what is bought again, and which categories in which month."""
    real, first_day = sides.real, np.datetime64(sides.real.start, "D")
    category = {id(side): log.category for side, log in zip(sides.windows, sides.logs, strict=True)}
    names = real.category_names

    def month(side: Window) -> Integers:
        return (first_day + side.row_time // SECONDS_PER_DAY).astype("datetime64[M]").astype(np.int64) % 12

    months = np.unique(np.concatenate([month(side) for side in sides.windows]))
    return [
        numbers_row("price", "Price paid", "of the log's currency", *sides.rows(lambda side: side.price), noise),
        numbers_row(
            "repeat",
            "Share bought before",
            "share",
            *sides.users(lambda side: side.repeat_share),
            noise,
            "of a customer's purchases, those of items from earlier baskets",
        ),
        shares_row(
            "category_month",
            "Category by month",
            [f"{name}, {MONTHS[m]}" for m in months for name in names],
            *sides.rows(
                lambda side: np.searchsorted(months, month(side)) * len(names) + category[id(side)][side.row_item]
            ),
            noise,
            "how much is bought in which month counts too",
        ),
    ]


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
