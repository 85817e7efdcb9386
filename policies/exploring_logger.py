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
) -> tuple[Ints32, Floats]:
    """Fill each place with a uniform item (probability ``explore``) or one of a category lately interacted with.

    Places are filled one after the other; an item that is already on the page is drawn again (at most 20 times). The
    propensity is that of a single draw for the place.
    """
    n_items = len(category)
    items = np.full((len(row), slots), -1, np.int32)
    propensity = np.zeros((len(row), slots))
    for n in range(len(row)):
        base = mix(mix(mix(key, user[n]), visit[n]), page)
        events = 0
        for slot in range(history.shape[1]):
            if history[row[n], slot] >= 0:
                events += 1
        k = 0
        for attempt in range(20 * slots):
            if k == slots:
                break
            draw = mix(base, attempt)
            if events == 0 or to_unit(mix(draw, 0)) < explore:
                item = int(to_unit(mix(draw, 1)) * n_items)
            else:
                like = category[history[row[n], int(to_unit(mix(draw, 1)) * events)]]
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
                    if category[history[row[n], slot]] == category[item]:
                        same += 1
                size = offset[category[item] + 1] - offset[category[item]]
                chance = 1.0 / n_items
                if events > 0:
                    chance = explore / n_items + (1.0 - explore) * same / events / size
                items[n, k] = item
                propensity[n, k] = chance
                k += 1
    return items, propensity


@register_policy("exploring_logger")
class ExploringLogger(RegisteredPolicy):
    """Half uniform, half from categories the user lately interacted with; leaves propensities in the log."""

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
        items, propensity = draw_exploring(
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
        scores = np.where(items == NO_ITEM, -np.inf, propensity)
        return Candidates(items, scores, np.full(items.shape, UTILITY, np.int8), propensity)
