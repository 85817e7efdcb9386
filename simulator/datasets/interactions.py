"""The general form every real log is brought to: who bought what, when, in which basket, at what price.

It does not know which file a log came from, nor anything of the simulated world that may be fitted to it.
"""

from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
SmallIntegers = npt.NDArray[np.int32]

SECONDS_PER_DAY: Final = 86_400


class DatasetError(ValueError):
    """A file that cannot be used; one line naming the path, the problem and the remedy."""


@dataclass(frozen=True)
class PurchaseLog:
    """A shop's purchases as arrays, with the items and customers they refer to.

    Times are whole seconds since the midnight, in the shop's own clock, that begins ``start``. Purchase
    rows are sorted by time, then user, then item; one row is one item in one basket. Money is in the log's
    currency.

    Attributes:
        start: Day 0, the local date of the first purchase.
        item_codes: The shop's code of every item, [items].
        titles: A readable title of every item, [items].
        price: Median unit price over the item's rows, [items].
        category: Index into ``category_names``, int32 [items].
        category_names: Readable names, [categories].
        first_seen: Time of the item's first sale, [items].
        user_codes: The shop's code of every customer, [users].
        user_country: The country most of the customer's rows name, [users].
        user: Index of the customer, [rows].
        item: Index of the item, int32 [rows].
        time: Time of the basket, [rows].
        quantity: Units bought, at least 1, [rows].
        unit_price: Price of one unit, above 0, [rows].
        visit: Index of the basket, in order of time and then user, [rows].
        refund_row: Row of which units are cancelled, [refunds].
        refund_time: Time of each cancellation, in ascending order, not before its purchase, [refunds].
        refund_quantity: Units cancelled, at least 1, of a row's all together at most ``quantity``, [refunds].
        counts: What became of every row of the file. Names without the prefix ``raw_`` partition the rows
            read and sum to ``raw_rows``; names with it are figures of the file as it stands.

    Raises:
        ValueError: If lengths, order or indices break the rules above.
    """

    start: date
    item_codes: tuple[str, ...]
    titles: tuple[str, ...]
    price: Floats
    category: SmallIntegers
    category_names: tuple[str, ...]
    first_seen: Integers
    user_codes: tuple[str, ...]
    user_country: tuple[str, ...]
    user: Integers
    item: SmallIntegers
    time: Integers
    quantity: Integers
    unit_price: Floats
    visit: Integers
    refund_row: Integers
    refund_time: Integers
    refund_quantity: Integers
    counts: dict[str, int]

    def __post_init__(self) -> None:
        items, users, rows = len(self.item_codes), len(self.user_codes), len(self.time)
        _same_length(
            "items",
            items,
            titles=self.titles,
            price=self.price,
            category=self.category,
            first_seen=self.first_seen,
        )
        _same_length("users", users, user_country=self.user_country)
        _same_length(
            "rows",
            rows,
            user=self.user,
            item=self.item,
            quantity=self.quantity,
            visit=self.visit,
            unit_price=self.unit_price,
        )
        _same_length("refunds", len(self.refund_row), time=self.refund_time, quantity=self.refund_quantity)
        _indices("category", self.category, len(self.category_names))
        _indices("user", self.user, users)
        _indices("item", self.item, items)
        order = np.lexsort((self.item, self.user, self.time))
        if not np.array_equal(order, np.arange(rows)):
            raise ValueError("purchase rows: out of order; sort them by time, then user, then item")
        if np.any(self.quantity < 1) or np.any(self.unit_price <= 0):
            raise ValueError("quantity, unit_price: some are not positive; leave such rows out and count them")
        _indices("refund_row", self.refund_row, rows)
        if np.any(np.diff(self.refund_time) < 0) or np.any(self.refund_time < self.time[self.refund_row]):
            raise ValueError("refund_time: not ascending, or before the purchase; sort refunds by time")
        if np.any(self.refund_quantity < 1) or np.any(self.refunded_quantity > self.quantity):
            raise ValueError("refund_quantity: below 1, or more than was bought; refund no more than that")
        steps = np.diff(self.visit, prepend=-1)
        if np.any((steps != 0) & (steps != 1)) or (rows and self.visit[0] != 0):
            raise ValueError("visit: not counted 0, 1, 2, ... along the rows; number baskets in row order")

    @property
    def end(self) -> int:
        """The first second after the last purchase, so that all times lie in [0, end)."""
        return int(self.time[-1]) + 1 if len(self.time) else 0

    @property
    def days(self) -> int:
        """Calendar days from ``start`` to the day of the last purchase, both included."""
        return -(-self.end // SECONDS_PER_DAY)

    @property
    def refunded_quantity(self) -> Integers:
        """Units of each row cancelled by the log's end, between 0 and ``quantity``, [rows]."""
        refunded = np.zeros(len(self.time), np.int64)
        np.add.at(refunded, self.refund_row, self.refund_quantity)
        return refunded

    def visits(self) -> tuple[Integers, Integers]:
        """The user and the time of every basket, both [visits], in order of time and then user."""
        firsts = np.flatnonzero(np.diff(self.visit, prepend=-1))
        return self.user[firsts], self.time[firsts]

    def bought_before(self) -> npt.NDArray[np.bool_]:
        """Whether the customer of each row has the item from an earlier basket, [rows]."""
        order = np.lexsort((self.visit, self.item, self.user))
        user, item, visit = self.user[order], self.item[order], self.visit[order]
        again = np.zeros(len(order), np.bool_)
        first = np.ones(len(order), np.bool_)
        first[1:] = (user[1:] != user[:-1]) | (item[1:] != item[:-1])
        of_first = visit[np.flatnonzero(first)[np.cumsum(first) - 1]] if len(order) else visit
        again[order] = visit > of_first
        return again

    def owned_before(self) -> Integers:
        """How many different items the customer of each row has from earlier baskets, [rows]."""
        order = np.lexsort((self.visit, self.item, self.user))
        new = np.ones(len(order), np.bool_)
        user, item = self.user[order], self.item[order]
        new[1:] = (user[1:] != user[:-1]) | (item[1:] != item[:-1])
        fresh = np.zeros(len(order), np.int64)
        fresh[order] = new
        baskets = int(self.visit[-1]) + 1 if len(order) else 0
        of_basket = np.bincount(self.visit, fresh, baskets).astype(np.int64)
        owner = self.visits()[0]
        by_owner = np.lexsort((np.arange(baskets), owner))
        running = np.cumsum(of_basket[by_owner]) - of_basket[by_owner]
        begins = np.searchsorted(owner[by_owner], owner[by_owner], side="left")
        owned = np.zeros(baskets, np.int64)
        owned[by_owner] = running - running[begins] if baskets else running
        return owned[self.visit]


def _same_length(axis: str, length: int, **fields: npt.NDArray[np.generic] | tuple[str, ...]) -> None:
    for name, values in fields.items():
        if len(values) != length:
            raise ValueError(f"{name}: {len(values)} values; give one for each of the {length} {axis}")


def _indices(name: str, values: npt.NDArray[np.integer], size: int) -> None:
    if len(values) and (values.min() < 0 or values.max() >= size):
        raise ValueError(f"{name}: {values.min()}..{values.max()}; indices must lie in 0..{size - 1}")
