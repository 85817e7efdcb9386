"""What most people click: the least that any recommender must beat."""

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from policies.ranking import VisitRanking, rank_pool
from policies.registry import register_policy
from simulator.batches import Floats, InteractionLog, Ints32, ObservedCatalog, ObservedUsers, Requests
from simulator.environment.context import ObservedContext
from simulator.parameters import Parameters


def item_appeal(log: InteractionLog, items: int, prior: float) -> Floats:
    """Log-odds-like appeal of each item, float64 [items].

    With impressions: the log of the click rate, shrunken towards the mean rate by ``prior`` expected clicks
    (gamma-Poisson posterior mean), so that an item shown rarely is neither first nor last. Without: the log of
    interactions, shrunken likewise. 0 is the average item.
    """
    clicks = np.bincount(log.item[log.on_page], minlength=items).astype(np.float64)
    if log.impressions is None:
        expected = np.full(items, max(clicks.mean(), 1e-12))
    else:
        shown = np.bincount(log.impressions.item, minlength=items)
        expected = shown * (log.impressions.clicked.sum() / max(len(log.impressions.item), 1))
    return np.log((clicks + prior) / (expected + prior))


class PopularityParams(Parameters):
    """Parameters of ``popularity``."""

    prior_clicks: Annotated[float, Field(gt=0, description="expected clicks that pull an item to the mean")] = 5.0
    pool: Annotated[int, Field(ge=1, description="items ranked")] = 300
    impression_discount: Annotated[
        float, Field(ge=0, description="taken off for each time an item was shown in vain")
    ] = 0.3


@register_policy("popularity")
class Popularity(VisitRanking):
    """Most clicked per impression in the log, the same for everybody, less what a user was lately shown in vain."""

    Params: ClassVar[type[Parameters]] = PopularityParams

    def fit(
        self, log: InteractionLog, catalog: ObservedCatalog, users: ObservedUsers, context: ObservedContext
    ) -> None:
        """Count."""
        appeal = item_appeal(log, catalog.items, self.params.prior_clicks)
        self._pool: Ints32 = np.argsort(-appeal, kind="stable")[: self.params.pool].astype(np.int32)
        self._appeal = appeal[self._pool]

    def rank(self, requests: Requests, width: int) -> tuple[Ints32, Floats]:
        """See ``VisitRanking``."""
        discount = self.params.impression_discount
        return rank_pool(self._pool, self._appeal, requests.row, requests.history.shown, discount, width)
