"""Ranks by the true click probability, given that an item is looked at: the ceiling of clicks on the page at hand.

It weighs no orders, no texts and no visit to come, so that policies may beat it on any other metric, and on held-out
clicks, which also hang on what was shown (``foresight``).
"""

from typing import ClassVar

import numpy as np

from policies.ranking import VisitRanking, select_top
from policies.registry import register_policy
from simulator.batches import Floats, Ints32, Requests
from simulator.truth import Truth


@register_policy("oracle")
class Oracle(VisitRanking):
    """Knows what each visit is for and ranks by true click probability. Not a policy anyone can deploy."""

    knows_truth: ClassVar[bool] = True

    def bind_truth(self, truth: Truth) -> None:
        """Receive the truth about the users served."""
        self._truth = truth

    def rank(self, requests: Requests, width: int) -> tuple[Ints32, Floats]:
        """See ``VisitRanking``."""
        items = np.empty((len(requests), width), np.int32)
        scores = np.empty((len(requests), width))
        every = np.arange(self._truth.items, dtype=np.int32)
        for n in range(len(requests)):  # one request at a time: a [requests, items] table could be gigabytes
            logit = self._truth.click_logits(requests.row[n : n + 1], requests.time[n : n + 1])[0]
            select_top(every, logit, len(every), items[n], scores[n])
        return items, scores
