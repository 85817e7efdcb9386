"""The policy whose log the others learn from: it explores, and writes down with what probability it chose."""

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from policies.registry import RegisteredPolicy, register_policy
from simulator.batches import (
    NO_ITEM,
    UTILITY,
    Candidates,
    Floats,
    InteractionLog,
    Ints,
    Ints32,
    ObservedCatalog,
    ObservedUsers,
    Requests,
)
from simulator.compiled import kernel
from simulator.environment.context import ObservedContext
from simulator.parameters import Parameters
from simulator.streams import mix, stream_key, to_unit


class ExploringLoggerParams(Parameters):
    """Parameters of ``exploring_logger``."""

    explore: Annotated[float, Field(gt=0, le=1, description="share of places filled uniformly at random")] = 0.5


@kernel
def draw_exploring(
    key: np.uint64,
    user: Ints,
    visit: Ints,
    page: int,
    row: Ints,
    history: Ints32,
    category: Ints32,
    members: Ints32,
    offset: Ints,
    explore: float,
    slots: int,
) -> tuple[Ints32, Floats, Floats]:
    """Fill each place with a uniform item (probability ``explore``) or one of a category lately interacted with.

    Places are filled one after the other; an item that is already on the page is drawn again. After 20 draws for each
    place of the page, those still empty stay so; there is little left to draw by then. Pages of a visit are drawn
    without regard to one another.

    If one draw brings an item with probability p, and one of those at earlier places with probability q, the item's
    propensity is p / (1 - q). Given that the place was filled, this is exact, however many draws were left for it: the
    draw that filled it was one of a new item, and among these it brought this one with that probability.

    Args:
        key: of the stream.
        user: of each request, int64 [requests].
        visit: number of the user's visit, int64 [requests].
        page: number of the page within the visit.
        row: the user's place in ``history``, int64 [requests].
        history: items lately interacted with, NO_ITEM as padding at the end, int32 [users, interactions].
        category: of each item, int32 [items].
        members: items by category, int32 [items]; those of category c are ``members[offset[c]:offset[c + 1]]``.
        offset: int64 [categories + 1].
        explore: share of draws that are uniform.
        slots: places of a page.

    Returns:
        Items with NO_ITEM as padding at the end, int32; the probability that one draw brings each, and the propensity:
        that it was to stand in its place, given the earlier places and that this one was filled. Both float64, 0 at the
        padding. All [requests, slots].
    """
    n_items = len(category)
    items = np.full((len(row), slots), -1, np.int32)
    single = np.zeros((len(row), slots))
    propensity = np.zeros((len(row), slots))
    liked = np.zeros(history.shape[1], np.int32)  # category of each interaction
    for n in range(len(row)):
        base = mix(mix(mix(key, user[n]), visit[n]), page)
        events = 0
        for slot in range(history.shape[1]):
            if history[row[n], slot] >= 0:
                liked[events] = category[history[row[n], slot]]
                events += 1
        k = 0
        left = 1.0  # probability that a draw brings an item that is not on the page
        liked_left = 1.0  # the same of a draw from the categories lately interacted with
        for attempt in range(20 * slots):
            if k == slots:
                break
            draw = mix(base, attempt)
            if events == 0 or to_unit(mix(draw, 0)) < explore:
                item = int(to_unit(mix(draw, 1)) * n_items)
            else:
                like = liked[int(to_unit(mix(draw, 1)) * events)]
                size = offset[like + 1] - offset[like]
                item = members[offset[like] + int(to_unit(mix(draw, 2)) * size)]
            fresh = True
            for earlier in range(k):
                if items[n, earlier] == item:
                    fresh = False
                    break
            if fresh:
                same = 0
                for slot in range(events):
                    if liked[slot] == category[item]:
                        same += 1
                size = offset[category[item] + 1] - offset[category[item]]
                chance = 1.0 / n_items
                if events > 0:
                    chance = explore / n_items + (1.0 - explore) * same / events / size
                items[n, k] = item
                single[n, k] = chance
                propensity[n, k] = chance / left
                k += 1
                left = float(n_items - k) / n_items
                if events > 0:  # what rounding leaves is only above 0 where hardly a draw is left that counts
                    liked_left = max(liked_left - float(same) / events / size, 0.0)
                    left = explore * left + (1.0 - explore) * liked_left
    return items, single, propensity


@register_policy("exploring_logger")
class ExploringLogger(RegisteredPolicy):
    """Half uniform, half from categories the user lately interacted with; leaves propensities in the log.

    A candidate's score is the probability that one draw brings it, which compares within a page; its propensity is that
    of standing in its place after those before it.
    """

    Params: ClassVar[type[Parameters]] = ExploringLoggerParams

    def fit(
        self, log: InteractionLog, catalog: ObservedCatalog, users: ObservedUsers, context: ObservedContext
    ) -> None:
        """Learn which items a category has; nothing else is known before the first log."""
        self._category = catalog.category
        self._members: Ints32 = np.argsort(catalog.category, kind="stable").astype(np.int32)
        self._offset = np.searchsorted(catalog.category[self._members], np.arange(catalog.categories + 1)).astype(
            np.int64
        )
        self._key = stream_key(self.seed, "policy/exploring_logger")

    def candidates(self, requests: Requests) -> Candidates:
        """See ``simulator.protocols.Policy``."""
        items, single, propensity = draw_exploring(
            self._key,
            requests.user,
            requests.visit,
            requests.page,
            requests.row,
            requests.history.item,
            self._category,
            self._members,
            self._offset,
            self.params.explore,
            requests.slots,
        )
        scores = np.where(items == NO_ITEM, -np.inf, single)
        return Candidates(items, scores, np.full(items.shape, UTILITY, np.int8), propensity)
