"""What happened in some days of a purchase log, by customer.

Knows purchase logs. Does not know what is held against what.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simulator.datasets.interactions import SECONDS_PER_DAY, PurchaseLog

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


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

    @property
    def repeat_share(self) -> Floats:
        """Of each customer's purchases, the share of items from earlier baskets, [users]; 0 without a purchase."""
        bought = np.bincount(self.row_user, minlength=self.users)
        again = np.bincount(self.row_user, self.again.astype(np.float64), self.users)
        return np.asarray(again / np.maximum(bought, 1), np.float64)


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
