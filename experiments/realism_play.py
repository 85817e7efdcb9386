"""What users did, action by action, while a policy served them; and how likely it said each click was.

Recorders and a guest's listener for one simulation. Knows pages, answers and checkouts; compares nothing.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from simulator.batches import NO_ITEM, Bools, Candidates, Checkouts, Floats, Ints, Requests, Responses, Slates
from simulator.environment.context import ObservedContext
from simulator.protocols import Allocator
from simulator.snapshots import Arrays
from simulator.tables import Recorder

VIEW: Final = 0
FAVOURITE: Final = 1
CART: Final = 2
ORDER: Final = 3


@dataclass(frozen=True)
class Clicks:
    """Every click and what came of it, by user, time and position, [clicks].

    Attributes:
        user, visit, time: whose, on which visit, when (seconds since the horizon's start).
        item: what was clicked.
        views: item-page views, at least 1.
        favourited, carted, bought: what came of it besides.
    """

    user: Ints
    visit: Ints
    time: Ints
    item: Ints
    views: Ints
    favourited: Bools
    carted: Bools
    bought: Bools


@dataclass(frozen=True)
class Orders:
    """Everything that was ordered, by user and time, and from the cart first, [orders].

    Attributes:
        user, visit, time: whose, on which visit, when (seconds since the horizon's start).
        item: what was ordered.
        value: what was paid.
        from_cart: whether it was ordered at the checkout, and not from a page.
    """

    user: Ints
    visit: Ints
    time: Ints
    item: Ints
    value: Floats
    from_cart: Bools


def actions_of(clicks: Clicks, orders: Orders) -> tuple[Ints, Ints, Ints]:
    """User, time and kind of every action in the order of each user's.

    A visit begins with what is ordered from the cart; then come, click by click, its views and what came of it.
    """
    more = clicks.favourited | clicks.carted | clicks.bought
    each = clicks.views + more
    last = (np.cumsum(each) - 1)[more]
    kind = np.full(int(each.sum()), VIEW, np.int64)
    kind[last] = np.select([clicks.bought[more], clicks.carted[more]], [ORDER, CART], FAVOURITE)
    cart = orders.from_cart
    user = np.concatenate([orders.user[cart], np.repeat(clicks.user, each)])
    time = np.concatenate([orders.time[cart], np.repeat(clicks.time, each)])
    order = np.lexsort((time, user))  # stable: of one moment, the checkout is first
    return user[order], time[order], np.concatenate([np.full(int(cart.sum()), ORDER), kind])[order]


class ClickRecorder(Recorder):
    """Keeps every click and order, and who was there when."""

    def __init__(self) -> None:
        self._orders: list[tuple[npt.NDArray[np.generic], ...]] = []
        self._clicks: list[tuple[npt.NDArray[np.generic], ...]] = []
        self._visits: list[tuple[Ints, Ints, Ints]] = []

    def page(self, requests: Requests, slates: Slates, responses: Responses) -> None:
        """Keep what was clicked on a page, and the visits that begin."""
        if requests.page == 0:
            self._visits.append((requests.user.copy(), requests.visit.copy(), requests.time.copy()))
        n, position = np.nonzero(responses.bought)
        ordered = slates.items[n, position].astype(np.int64)
        paid, no = responses.value[n, position], np.zeros(len(n), np.bool_)
        self._orders.append((requests.user[n], requests.visit[n], requests.time[n], ordered, paid, no))
        n, position = np.nonzero(responses.clicked)
        self._clicks.append(
            (
                requests.user[n],
                requests.visit[n],
                requests.time[n],
                position,
                slates.items[n, position].astype(np.int64),
                responses.views[n, position],
                responses.favourited[n, position],
                responses.carted[n, position],
                responses.bought[n, position],
            )
        )

    def checkouts(self, checkouts: Checkouts) -> None:
        """Keep what was ordered from carts."""
        c = checkouts
        self._orders.append((c.user, c.visit, c.time, c.item.astype(np.int64), c.value, np.ones(len(c), np.bool_)))

    def clicks(self) -> Clicks:
        """All clicks."""
        if not self._clicks:
            none, no = np.zeros(0, np.int64), np.zeros(0, np.bool_)
            return Clicks(none, none, none, none, none, no, no, no)
        columns = [np.concatenate(column) for column in zip(*self._clicks, strict=True)]
        user, visit, time, position, *others = columns
        order = np.lexsort((position, time, user))
        return Clicks(*(column[order] for column in (user, visit, time, *others)))

    def orders(self) -> Orders:
        """All orders."""
        if not self._orders:
            none = np.zeros(0, np.int64)
            return Orders(none, none, none, none, np.zeros(0), np.zeros(0, np.bool_))
        columns = [np.concatenate(column) for column in zip(*self._orders, strict=True)]
        user, _, time, _, _, from_cart = columns
        order = np.lexsort((~from_cart, time, user))
        return Orders(*(column[order] for column in columns))

    def visits(self) -> tuple[Ints, Ints]:
        """User and time of every visit, by user and time."""
        if not self._visits:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        user, _, time = (np.concatenate(column) for column in zip(*self._visits, strict=True))
        order = np.lexsort((time, user))
        return user[order], time[order]


class ClickListener:
    """An allocator that does what another does, and notes the click probabilities of what is shown.

    Args:
        allocator: who decides.
    """

    def __init__(self, allocator: Allocator) -> None:
        self._allocator = allocator
        self._shown: Floats | None = None
        self._parts: list[tuple[Floats, npt.NDArray[np.bool_], Ints]] = []

    def refresh(self, day: int, context: ObservedContext) -> None:
        """See ``Allocator``."""
        self._allocator.refresh(day, context)

    def allocate(self, requests: Requests, candidates: Candidates) -> Slates:
        """See ``Allocator``."""
        slates = self._allocator.allocate(requests, candidates)
        self._shown = None
        if candidates.click is not None:
            same = candidates.items[:, None, :] == slates.items[:, :, None]
            self._shown = np.take_along_axis(candidates.click, same.argmax(axis=2), axis=1)
        return slates

    def observe(self, requests: Requests, slates: Slates, responses: Responses) -> None:
        """See ``Allocator``; and note what became of what was shown."""
        self._allocator.observe(requests, slates, responses)
        if self._shown is not None:
            there = responses.shown & (slates.items != NO_ITEM)
            self._parts.append((self._shown[there], responses.clicked[there], np.nonzero(there)[1]))

    def diary(self) -> dict[str, Any] | None:
        """See ``Allocator``."""
        return self._allocator.diary()

    def snapshot(self) -> Arrays | None:
        """See ``Allocator``; what was noted is not part of it."""
        return self._allocator.snapshot()

    def restore(self, kept: Arrays) -> None:
        """See ``Allocator``."""
        self._allocator.restore(kept)

    def noted(self) -> tuple[Floats, npt.NDArray[np.bool_], Ints]:
        """Estimate, outcome and slot of everything shown with an estimate, [impressions]."""
        if not self._parts:
            return np.zeros(0), np.zeros(0, np.bool_), np.zeros(0, np.int64)
        estimate, clicked, slot = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        return estimate, clicked, slot
