"""The ceiling of an offline evaluation: knows what the user wants and what the logger will show. Nobody can deploy it.

A held-out click needs both, so the policy that ranks by the truth of the click alone is no ceiling there: half of what
the exploring logger shows comes from categories the user lately interacted with, whatever the visit is for.
"""

import numpy as np

from policies.exploring_logger import ExploringLoggerParams
from policies.oracle import Oracle
from policies.ranking import select_top
from policies.registry import register_policy
from simulator.batches import NO_ITEM, Floats, InteractionLog, Ints, Ints32, ObservedCatalog, ObservedUsers, Requests
from simulator.environment.context import ObservedContext


def exploring_propensity(lately: Ints32, category: Ints32, sizes: Ints, explore: float) -> Floats:
    """Probability that one draw of ``exploring_logger`` is each item: its propensity at a first place, float64 [items].

    Args:
        lately: items of the user's recent interactions, one entry an interaction, int32 [interactions].
        category: of each item, int32 [items].
        sizes: items of each category [categories].
        explore: share of places filled uniformly.
    """
    uniform = np.full(len(category), 1.0 / len(category))
    if len(lately) == 0:
        return uniform
    same = np.bincount(category[lately], minlength=len(sizes)) / len(lately)
    return explore * uniform + (1.0 - explore) * (same / np.maximum(sizes, 1))[category]


@register_policy("foresight")
class Foresight(Oracle):
    """Knows what each visit is for and what the logger shows: the ceiling of `testbed evaluate`. Not deployable."""

    def fit(
        self, log: InteractionLog, catalog: ObservedCatalog, users: ObservedUsers, context: ObservedContext
    ) -> None:
        """Learn which items a category has, as the logger does."""
        self._category = catalog.category
        self._sizes = np.bincount(catalog.category, minlength=catalog.categories)

    def rank(self, requests: Requests, width: int) -> tuple[Ints32, Floats]:
        """See ``VisitRanking``."""
        explore = ExploringLoggerParams().explore
        items = np.empty((len(requests), width), np.int32)
        scores = np.empty((len(requests), width))
        every = np.arange(self._truth.items, dtype=np.int32)
        for n in range(len(requests)):  # one request at a time, as the oracle
            logit = self._truth.click_logits(requests.row[n : n + 1], requests.time[n : n + 1])[0]
            lately = requests.history.item[requests.row[n]]
            shown = exploring_propensity(lately[lately != NO_ITEM], self._category, self._sizes, explore)
            select_top(every, np.log(shown) - np.logaddexp(0.0, -logit), len(every), items[n], scores[n])
        return items, scores
