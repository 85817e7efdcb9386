"""The small world and the policy of the comparison with recsim_ng: 2,000 users, 200 items, slates of 3.

**What a step of recsim_ng holds** (its example ``recsys_partially_observable_rl`` with that many users, documents and
slots): a recommender that encodes each user's last 15 documents in a small dense network, scores all documents by a dot
product of 32 dimensions and draws the slate from the scores; a choice by a multinomial logit over the slate; interests
that move towards what was consumed; a sum of consumed time. Every user is shown a slate at every step. There is no
clock, no arrival, no departure, no position bias and no purchase.

**What a slate holds here**: the same amount of ranking - a taste estimated anew for every page from the last 15
interactions, all 200 items scored by a dot product of 32 dimensions plus their popularity, without what the visit has
shown, the best three taken - and all that the simulator does with any page: visits drawn by thinning and what they are
for, the allocator, the check of the page, every position examined, clicked, carted, bought and returned or not with
draws keyed by user, visit and item, history, satisfaction and churn moved on, and the sums of ``user_days`` by user and
day. Nothing of the engine is replaced or left out. There is no dense network before the dot product.

Users are all but always there, as recsim_ng's are: ten visits a day, each of nearly 20 pages, the most that there are.
"""

from datetime import date
from typing import Final

import numpy as np
import numpy.typing as npt

from policies.popularity import item_appeal
from policies.registry import NoParams, RegisteredPolicy
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
from simulator.compiled import bare_kernel
from simulator.environment.context import ObservedContext
from simulator.generated import generate_world
from simulator.parameters import BehaviourParameters, ContextParameters
from simulator.state import HISTORY_LENGTH
from simulator.streams import Stream
from simulator.world import World

USERS: Final = 2_000
ITEMS: Final = 200
SLOTS: Final = 3
DIMENSIONS: Final = 32
LAST: Final = 15
SEED: Final = 7

Floats32 = npt.NDArray[np.float32]

_OFTEN: Final = {"visits_per_day": 10.0, "visits_spread": 0.0}
_BUSY: Final = {
    "population": {**_OFTEN, "patience": 5.0, "patience_spread": 0.0},
    "response": {"max_pages": 20, "page_weariness": 0.0},
}


def peer_world(days: int) -> World:
    """Users who are nearly always there, in a catalogue of few items."""
    return _world(days, BehaviourParameters.model_validate(_BUSY))


def ordinary_world(days: int) -> World:
    """The same users, who come as often but stay for as many pages as in any world."""
    return _world(days, BehaviourParameters.model_validate({"population": _OFTEN}))


def _world(days: int, behaviour: BehaviourParameters) -> World:
    return generate_world(
        users=USERS,
        items=ITEMS,
        cities=("seattle",),
        country="US",
        start=date(2015, 10, 5),
        days=days,
        scenario="item",
        slots=SLOTS,
        currency="USD",
        contexts=ContextParameters(),
        behaviour=behaviour,
        seed=SEED,
    )


@bare_kernel
def _rank_all(
    row: Ints,
    event_item: Ints32,
    event_count: Ints,
    already: Ints32,
    appeal: Floats32,
    factor: Floats32,
    by_dimension: Floats32,
    taste: Floats32,
    score: Floats32,
    items: Ints32,
    scores: Floats,
) -> None:
    for n in range(len(row)):
        taste[:] = 0.0
        known = min(event_count[row[n]], LAST)
        for k in range(known):
            item = event_item[row[n], (event_count[row[n]] - 1 - k) % HISTORY_LENGTH]
            for d in range(DIMENSIONS):
                taste[d] += factor[item, d]
        for item in range(len(score)):
            score[item] = appeal[item]
        for d in range(DIMENSIONS):
            weight = taste[d] / np.float32(max(known, 1))
            for item in range(len(score)):
                score[item] += weight * by_dimension[d, item]
        for k in range(already.shape[1]):
            if already[n, k] >= 0:
                score[already[n, k]] = -np.inf
        last = items.shape[1] - 1
        for item in range(len(score)):
            if score[item] > scores[n, last]:
                k = last
                while k > 0 and score[item] > scores[n, k - 1]:
                    items[n, k], scores[n, k] = items[n, k - 1], scores[n, k - 1]
                    k -= 1
                items[n, k], scores[n, k] = item, score[item]


class TasteRanking(RegisteredPolicy):
    """Scores every item for every page: a taste from the last interactions, times drawn item factors, plus appeal."""

    def fit(
        self, log: InteractionLog, catalog: ObservedCatalog, users: ObservedUsers, context: ObservedContext
    ) -> None:
        """Draw the item factors and count popularity."""
        drawn = Stream(self.seed, "peer/factor").normal(np.arange(catalog.items)[:, None], np.arange(DIMENSIONS))
        self._factor: Floats32 = (drawn / np.sqrt(DIMENSIONS)).astype(np.float32)
        self._by_dimension: Floats32 = np.ascontiguousarray(self._factor.T)
        self._appeal: Floats32 = item_appeal(log, catalog.items, 5.0).astype(np.float32)

    def candidates(self, requests: Requests) -> Candidates:
        """See ``simulator.protocols.Policy``."""
        shape = (len(requests), requests.slots)
        items, scores = np.full(shape, NO_ITEM, np.int32), np.full(shape, -np.inf)
        _rank_all(
            requests.row,
            requests.history.item,
            requests.history.count,
            requests.already,
            self._appeal,
            self._factor,
            self._by_dimension,
            np.empty(DIMENSIONS, np.float32),
            np.empty(len(self._appeal), np.float32),
            items,
            scores,
        )
        return Candidates(items, scores, np.full(shape, UTILITY, np.int8))


def peer_policy() -> TasteRanking:
    """The policy, not yet fitted."""
    return TasteRanking(NoParams(), SEED)
