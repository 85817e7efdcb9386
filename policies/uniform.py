"""Chance: the floor, and the reference that shows how much anything else knows."""

import numpy as np

from policies.ranking import VisitRanking
from policies.registry import register_policy
from simulator.batches import Floats, InteractionLog, Ints, Ints32, ObservedCatalog, ObservedUsers, Requests
from simulator.compiled import kernel
from simulator.environment.context import ObservedContext
from simulator.streams import mix, stream_key, to_unit


@kernel
def draw_distinct(key: np.uint64, user: Ints, visit: Ints, items: int, width: int) -> Ints32:
    """``width`` distinct items for each (user, visit), uniformly, int32 [requests, width] padded with -1 if too few."""
    out = np.full((len(user), width), -1, np.int32)
    for n in range(len(user)):
        base = mix(mix(key, user[n]), visit[n])
        drawn = 0
        attempt = 0
        while drawn < min(width, items):
            item = int(to_unit(mix(base, attempt)) * items)
            attempt += 1
            fresh = True
            for k in range(drawn):
                if out[n, k] == item:
                    fresh = False
                    break
            if fresh:
                out[n, drawn] = item
                drawn += 1
    return out


@register_policy("random")
class Uniform(VisitRanking):
    """Items uniformly at random, anew on every visit."""

    def fit(
        self, log: InteractionLog, catalog: ObservedCatalog, users: ObservedUsers, context: ObservedContext
    ) -> None:
        """Learn how many items there are."""
        self._n = catalog.items
        self._key = stream_key(self.seed, "policy/random")

    def rank(self, requests: Requests, width: int) -> tuple[Ints32, Floats]:
        """See ``VisitRanking``."""
        items = draw_distinct(self._key, requests.user, requests.visit, self._n, width)
        scores = np.broadcast_to(-np.arange(width, dtype=np.float64), items.shape)
        return items, np.where(items >= 0, scores, -np.inf)
