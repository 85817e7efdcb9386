"""Two channels side by side: the established utility ranking, and a cognitive channel of things the user has not met.

Until an agent thinks up the cognitive channel, it is what the contextual model likes best among items that the user
never interacted with, in categories that are not among the user's usual ones: exploration by context. Both channels
carry the model's calibrated estimates of a click and of an order, so that an allocation can weigh them; what is
exposed is not decided here.
"""

from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.special import expit

from policies.channels import Channel, VisitChannels, order_rates
from policies.contextual import Contextual, ContextualParams
from policies.features import FEATURES, NF, rank_requests
from policies.ranking import select_top
from policies.registry import register_policy
from simulator.batches import (
    COGNITIVE,
    NO_ITEM,
    UTILITY,
    Candidates,
    Floats,
    InteractionLog,
    Ints32,
    ObservedCatalog,
    ObservedUsers,
    Requests,
)
from simulator.environment.context import ObservedContext
from simulator.parameters import Parameters
from simulator.snapshots import Arrays

_AFFINITY = FEATURES.index("category affinity")


class TwoChannelParams(ContextualParams):
    """Parameters of ``two_channel``: those of ``contextual``, and what the cognitive channel is."""

    cognitive: Annotated[int, Field(ge=1, description="cognitive candidates of a visit")] = 20
    familiar_share: Annotated[
        float, Field(ge=0, le=1, description="share of a user's history above which a category is a usual one")
    ] = 0.05
    order_prior: Annotated[float, Field(gt=0, description="clicks that pull a category's order rate to the mean")] = (
        50.0
    )


@register_policy("two_channel")
class TwoChannel(Contextual):
    """Utility's ranking, and novel items that the context speaks for as the cognitive channel; for an allocation."""

    Params: ClassVar[type[Parameters]] = TwoChannelParams
    two_channels: ClassVar[bool] = True

    def fit(
        self, log: InteractionLog, catalog: ObservedCatalog, users: ObservedUsers, context: ObservedContext
    ) -> None:
        """Fit the contextual model, and count how often a click becomes an order in each category."""
        super().fit(log, catalog, users, context)
        self._order_rate: Floats = order_rates(log, catalog, self.params.order_prior)

    def begin(self, rows: int) -> None:
        """Forget the candidates of earlier visits."""
        super().begin(rows)
        self._rows = rows
        self._visits: VisitChannels | None = None

    def snapshot(self) -> Arrays | None:
        """Nothing: candidates are for one visit."""
        return {}

    def _estimates(self, requests: Requests, items: Ints32, base: Floats, features: npt.NDArray[np.float32]) -> Floats:
        """P(click | shown at the first place) of items scored by the blend, float64 as ``items``; 0 on padding."""
        there = items >= 0
        n, _ = np.nonzero(there)
        lift = self._today[requests.city[n], self.tables.category[items[there]]]
        design = self._design(features[there].reshape(-1, NF), lift)
        click = np.zeros(items.shape)
        click[there] = expit(base[there] + self._blend.intercept + self._unexplained(design))
        return click

    def _think(self, requests: Requests, visits: VisitChannels) -> None:
        """Both channels of starting visits."""
        city = requests.city
        nothing = np.zeros((len(requests), 0), np.int32)
        utility, score, features = rank_requests(
            requests,
            self.tables,
            self.weight[:NF],
            requests.slots * requests.max_pages,
            extra=nothing,
            bonus_row=np.zeros(len(requests), np.int32),
            bonus=np.zeros((1, len(self.tables.department))),
            keep_features=True,
        )
        lifted = score + np.where(utility >= 0, self._bonus[city[:, None], self.tables.category[utility]], 0.0)
        utility_click = self._estimates(requests, utility, lifted, features)
        pool, base, features = rank_requests(
            requests,
            self.tables,
            self.weight[:NF],
            self.params.pool,
            extra=self._extra[city],
            bonus_row=city,
            bonus=self._bonus,
            keep_features=True,
        )
        word = requests.history.interacted[requests.row[:, None], np.maximum(pool, 0) >> 6]
        met = (word >> (np.maximum(pool, 0) & 63).astype(np.uint64)) & np.uint64(1) == 1
        usual = features[:, :, _AFFINITY] ** 2 > self.params.familiar_share
        twin = (pool[:, :, None] == utility[:, None, :]).any(axis=2)
        novel = ~met & ~usual & ~twin
        click = np.where(novel & (pool >= 0), self._estimates(requests, pool, base, features), -np.inf)
        count = self.params.cognitive
        cognitive = np.empty((len(requests), count), np.int32)
        cognitive_click = np.empty((len(requests), count))
        for k in range(len(requests)):
            select_top(pool[k], click[k], pool.shape[1], cognitive[k], cognitive_click[k])
        cognitive = np.where(np.isfinite(cognitive_click), cognitive, NO_ITEM).astype(np.int32)
        for channel, items, chance in (
            (UTILITY, utility, utility_click),
            (COGNITIVE, cognitive, np.where(cognitive >= 0, cognitive_click, 0.0)),
        ):
            rate = self._order_rate[self.tables.category[items]]
            visits.keep(requests.row, channel, Channel(items, chance, chance * rate))

    def candidates(self, requests: Requests) -> Candidates:
        """See ``simulator.protocols.Policy``: utility candidates first, then cognitive ones, each descending."""
        widths = (requests.slots * requests.max_pages, self.params.cognitive)
        visits = self._visits
        if visits is None or visits.widths != widths:
            visits = self._visits = VisitChannels(self._rows, widths, explained=False)
        if requests.page == 0:
            self._think(requests, visits)
        return visits.page(requests)
