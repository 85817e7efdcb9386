"""What users did, action by action, while a policy served them; and how likely it said each click was.

Recorders and a guest's listener for one simulation. Knows pages and answers; compares nothing.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from simulator.batches import NO_ITEM, Candidates, Floats, Ints, Requests, Responses, Slates
from simulator.environment.context import ObservedContext
from simulator.protocols import Allocator
from simulator.snapshots import Arrays
from simulator.tables import Recorder

VIEW: Final = 0
CART: Final = 1
ORDER: Final = 2


@dataclass(frozen=True)
class Clicks:
    """Every click and what came of it, by user, time and position, [clicks].

    Attributes:
        user, visit, time: whose, on which visit, when (seconds since the horizon's start).
        item: what was clicked.
        views: item-page views, at least 1.
        carted, bought: whether it was put into the cart, and ordered.
        value: what was paid.
    """

    user: Ints
    visit: Ints
    time: Ints
    item: Ints
    views: Ints
    carted: npt.NDArray[np.bool_]
    bought: npt.NDArray[np.bool_]
    value: Floats

    def actions(self) -> tuple[Ints, Ints, Ints]:
        """User, time and kind of every action in the order of each user's: a click's views, its cart, its order."""
        each = self.views + self.carted + self.bought
        begin = np.cumsum(each) - each
        kind = np.full(int(each.sum()), VIEW, np.int64)
        kind[(begin + self.views)[self.carted]] = CART
        kind[(begin + self.views + self.carted)[self.bought]] = ORDER
        return np.repeat(self.user, each), np.repeat(self.time, each), kind


class ClickRecorder(Recorder):
    """Keeps every click, and who was there when."""

    def __init__(self) -> None:
        self._clicks: list[tuple[npt.NDArray[np.generic], ...]] = []
        self._visits: list[tuple[Ints, Ints, Ints]] = []

    def page(self, requests: Requests, slates: Slates, responses: Responses) -> None:
        """Keep what was clicked on a page, and the visits that begin."""
        if requests.page == 0:
            self._visits.append((requests.user.copy(), requests.visit.copy(), requests.time.copy()))
        n, position = np.nonzero(responses.clicked)
        self._clicks.append(
            (
                requests.user[n],
                requests.visit[n],
                requests.time[n],
                position,
                slates.items[n, position].astype(np.int64),
                responses.views[n, position],
                responses.carted[n, position],
                responses.bought[n, position],
                responses.value[n, position],
            )
        )

    def clicks(self) -> Clicks:
        """All clicks."""
        if not self._clicks:
            none, no = np.zeros(0, np.int64), np.zeros(0, np.bool_)
            return Clicks(none, none, none, none, none, no, no, np.zeros(0))
        columns = [np.concatenate(column) for column in zip(*self._clicks, strict=True)]
        user, visit, time, position, *others = columns
        order = np.lexsort((position, time, user))
        return Clicks(*(column[order] for column in (user, visit, time, *others)))

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
