"""What most people click when it is like today: popularity counted apart for weather, season and occasion.

The least that a policy which claims to read contexts must beat. It counts and nothing else: it cannot know what an
occasion calls for that the log never saw, and falls back on what is popular at large.
"""

from typing import Annotated, ClassVar, Final

import numpy as np
from pydantic import Field

from policies.popularity import item_appeal
from policies.ranking import VisitRanking
from policies.registry import register_policy
from simulator.batches import (
    DAY_SECONDS,
    NO_ITEM,
    Floats,
    InteractionLog,
    Ints,
    Ints32,
    ObservedCatalog,
    ObservedUsers,
    Requests,
)
from simulator.environment.context import ObservedContext
from simulator.parameters import Parameters
from simulator.taxonomy import OCCASIONS, SEASONS, WEATHER_SIGNALS

FELT: Final = 0.2
"""Strength from which the strongest weather signal of a day names it; a day without one is plain."""

CELLS: Final = (len(SEASONS), len(WEATHER_SIGNALS) + 1, len(OCCASIONS) + 1)
"""Seasons, weather classes (the last: plain) and occasions (the last: none near)."""


def cell_of(context: ObservedContext, city: Ints, day: Ints) -> Ints:
    """What days are like: season, weather class and nearest occasion within its lead-up, int64 [days, 3].

    Args:
        context: must reach to the last of the days.
        city: int [days]; -1 where nobody knows, which has plain weather.
        day: int64 [days].
    """
    signals = np.where((city >= 0)[:, None], context.weather_signals[city, day], 0.0)
    weather = np.where(signals.max(axis=1) >= FELT, signals.argmax(axis=1), len(WEATHER_SIGNALS))
    until = context.days_until[day]
    near = until <= context.lead_days
    nearest = np.where(near, until, np.iinfo(until.dtype).max).argmin(axis=1)
    occasion = np.where(near.any(axis=1), nearest, len(OCCASIONS))
    return np.stack([context.season[day], weather, occasion], axis=1).astype(np.int64)


class PopularityByContextParams(Parameters):
    """Parameters of ``popularity_by_context``."""

    prior_clicks: Annotated[
        float, Field(gt=0, description="clicks that pull the shares of a narrow context to those of the wider one")
    ] = 200.0
    item_prior: Annotated[float, Field(gt=0, description="expected clicks that pull an item to the mean")] = 5.0
    pool: Annotated[int, Field(ge=1, description="items ranked")] = 300


@register_policy("popularity_by_context")
class PopularityByContext(VisitRanking):
    """Most clicked in the log in this weather, this season and near this occasion; the same for a whole city.

    An item's score is its category's share of the clicks in this context, divided by the item's place in the category
    (by appeal, from 1): the best items of all categories come in the order of the shares. A category's share in
    (season, weather, occasion) is shrunken to its share in (season, weather), that to its share in the season, and that
    to its share of all clicks (Dirichlet posterior means), so a context that the log does not hold is answered by the
    next wider one.
    """

    Params: ClassVar[type[Parameters]] = PopularityByContextParams

    def fit(
        self, log: InteractionLog, catalog: ObservedCatalog, users: ObservedUsers, context: ObservedContext
    ) -> None:
        """Count."""
        log = log.where(log.on_page, None if log.impressions is None else np.ones(len(log.impressions.user), np.bool_))
        self._category = catalog.category
        clicked = catalog.category[log.item]
        # One lookup for each city and day, not for each click.
        city, day = users.city[log.user].astype(np.int64), log.time // DAY_SECONDS
        moments, which = np.unique((city + 1) * context.days + day, return_inverse=True)
        cell = cell_of(context, moments // context.days - 1, moments % context.days)[which]
        entry = np.ravel_multi_index((*cell.T, clicked), (*CELLS, catalog.categories))
        counts = np.bincount(entry, minlength=int(np.prod(CELLS)) * catalog.categories)
        self._share = _shares(counts.reshape(*CELLS, catalog.categories).astype(np.float64), self.params.prior_clicks)
        appeal = item_appeal(log, catalog.items, self.params.item_prior)
        order = np.lexsort((-appeal, catalog.category))
        first = np.searchsorted(catalog.category[order], catalog.category[order])
        place = np.empty(catalog.items)
        place[order] = np.arange(1, catalog.items + 1) - first
        self._within: Floats = -np.log(place)
        self._pools: dict[tuple[int, ...], tuple[Ints32, Floats]] = {}

    def _pool(self, cell: tuple[int, ...]) -> tuple[Ints32, Floats]:
        """The best items of a context and the logarithms of their scores: a function of the fit alone."""
        if cell not in self._pools:
            score = np.log(self._share[cell])[self._category] + self._within
            best = np.argsort(-score, kind="stable")[: self.params.pool]
            self._pools[cell] = best.astype(np.int32), score[best]
        return self._pools[cell]

    def rank(self, requests: Requests, width: int) -> tuple[Ints32, Floats]:
        """See ``VisitRanking``."""
        items = np.full((len(requests), width), NO_ITEM, np.int32)
        scores = np.full((len(requests), width), -np.inf)
        cells, which = np.unique(
            cell_of(requests.context, requests.city.astype(np.int64), requests.day), axis=0, return_inverse=True
        )
        for number, cell in enumerate(cells.tolist()):
            pool, score = self._pool(tuple(cell))
            ranked = min(width, len(pool))
            items[which == number, :ranked] = pool[:ranked]
            scores[which == number, :ranked] = score[:ranked]
        return items, scores


def _shares(clicks: Floats, prior: float) -> Floats:
    """P(category | context), each level of context shrunken to the next wider one: like ``clicks``.

    Args:
        clicks: float64 [seasons, weather classes, occasions, categories].
        prior: clicks of the wider context that count as much as the narrower one's own.
    """
    overall = clicks.sum(axis=(0, 1, 2)) + 1.0
    share = (overall / overall.sum())[None, None, None, :]
    for beyond in ((1, 2), (2,), ()):
        own = clicks.sum(axis=beyond, keepdims=True)
        share = (own + prior * share) / (own.sum(axis=-1, keepdims=True) + prior)
    return share
