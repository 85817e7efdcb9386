"""The utility channel with eyes for the day: its candidates, re-ranked by boosted trees that see the context.

What the weather, the calendar and trends do to a category is counted on the log as lifts (``lifts``); the trees weigh
them against everything else. An occasion or a trend that the log never met has no lift, and the policy cannot know it.
"""

from typing import Annotated, ClassVar, Final

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
from pydantic import Field

from policies.examples import Examples, draw_examples, halves
from policies.features import NF, logged_features, rank_requests
from policies.lifts import cells, log_lifts
from policies.ranking import VisitRanking, select_top
from policies.registry import register_policy
from policies.utility import Blend, UtilityParams, fit_blend, fit_tables
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

SIGNALS: Final = ("weather", "occasions", "trends")


class ContextualParams(Parameters):
    """Parameters of ``contextual``; ``utility`` holds those of the channel it re-ranks."""

    utility: UtilityParams = UtilityParams()
    pool: Annotated[int, Field(ge=1, description="candidates that the trees re-rank")] = 120
    trees: Annotated[int, Field(ge=1, description="boosted trees")] = 60
    leaves: Annotated[int, Field(ge=2, description="leaves of a tree")] = 15
    learning_rate: Annotated[float, Field(gt=0, le=1, description="of boosting")] = 0.12
    lift_prior: Annotated[float, Field(gt=0, description="clicks that pull a context lift to 1")] = 20.0
    context_categories: Annotated[int, Field(ge=0, description="categories that the context speaks for")] = 20
    context_items: Annotated[int, Field(ge=0, description="items of each of them that are considered")] = 5


def context_levels(context: ObservedContext, city: Ints, day: Ints) -> list[Floats]:
    """Levels of every weather signal, occasion and trend for pairs of (city, day): three of float64 [pairs, levels]."""
    return [
        np.nan_to_num(context.weather_signals[city, day]),
        context.occasion_level[day],
        context.trend_level[day],
    ]


class ContextLifts:
    """Log-lifts of categories under each weather signal, occasion and trend, counted on a log.

    Args:
        category, clicked, city, day: of each example, [examples].
        context: what could be observed on those days.
        categories: how many there are.
        prior: pseudo-clicks that pull a lift to 1.
    """

    def __init__(
        self,
        category: Ints32,
        clicked: npt.NDArray[np.bool_],
        city: Ints,
        day: Ints,
        context: ObservedContext,
        categories: int,
        prior: float,
    ) -> None:
        first, last = (int(day.min()), int(day.max()) + 1) if len(day) else (0, 1)
        span = last - first
        groups = span * (int(city.max(initial=0)) + 1)
        where, group, total = cells(category, clicked.astype(float), city * span + day - first, groups, categories)
        levels = context_levels(context, group // span, group % span + first)
        self._lifts = [log_lifts(where, total, level, categories, prior) for level in levels]

    def of(self, context: ObservedContext, city: Ints, day: Ints) -> Floats:
        """Summed log-lift of each category from weather, occasions and trends, float64 [pairs, categories, 3]."""
        levels = context_levels(context, city, day)
        parts = [level @ lifts for level, lifts in zip(levels, self._lifts, strict=True)]
        return np.stack(parts, axis=-1)

    def of_examples(self, city: Ints, day: Ints, category: Ints32, context: ObservedContext) -> Floats:
        """The same for the one category of each example, float64 [examples, 3]."""
        key = city * (int(day.max(initial=0)) + 1) + day
        _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        return self.of(context, city[first], day[first])[inverse, category]


def weighted_sum(features: npt.NDArray[np.floating], weight: Floats) -> Floats:
    """``features @ weight`` by column, float64 [pairs]: a matrix product may round a row by what stands beside it."""
    total = np.zeros(len(features))
    for column, coefficient in enumerate(weight):
        total += coefficient * features[:, column]
    return total


def where_and_when(examples: Examples, users: ObservedUsers, end_day: int) -> tuple[Ints, Ints]:
    """City and day of each example, int64; a visit over the last midnight counts for the last day."""
    city = users.city[examples.visit_user[examples.visit]].astype(np.int64)
    return city, np.minimum(examples.visit_time[examples.visit] // DAY_SECONDS, end_day - 1)


@register_policy("contextual")
class Contextual(VisitRanking):
    """Utility candidates and the categories that today's context lifts, re-ranked by boosted trees."""

    Params: ClassVar[type[Parameters]] = ContextualParams

    def fit(
        self, log: InteractionLog, catalog: ObservedCatalog, users: ObservedUsers, context: ObservedContext
    ) -> None:
        """Fit the utility channel, count lifts, grow trees: counts of one half of the users, judged by the other."""
        params: ContextualParams = self.params
        base = params.utility
        n = len(users.user)
        self._cities = int(users.city.max(initial=0)) + 1
        counted, judging = halves(n, self.seed)
        half = log.of_users(counted)
        examples = draw_examples(log.of_users(judging), n, catalog.items, base.training_examples, self.seed)
        features = logged_features(examples, users, fit_tables(half, catalog, users, base, self.seed))
        lift = self._lifts_of(half, catalog, users, context).of_examples(
            *where_and_when(examples, users, log.end_day), catalog.category[examples.item], context
        )
        self._blend: Blend = fit_blend(np.column_stack([features, lift]), examples)
        self.weight: Floats = self._blend.weight
        self._booster = self._grow(features, lift, examples)
        self.tables = fit_tables(log, catalog, users, base, self.seed)
        self._lifts = self._lifts_of(log, catalog, users, context)

    def _lifts_of(
        self, log: InteractionLog, catalog: ObservedCatalog, users: ObservedUsers, context: ObservedContext
    ) -> ContextLifts:
        """Lifts counted on all impressions of a log, or on drawn examples where it has none."""
        if log.impressions is not None:
            shown = log.impressions
            item, clicked = shown.item, shown.clicked
            city, day = users.city[shown.user].astype(np.int64), shown.time // DAY_SECONDS
        else:
            examples = draw_examples(
                log, len(users.user), catalog.items, self.params.utility.training_examples, self.seed
            )
            item, clicked = examples.item, examples.clicked
            city, day = where_and_when(examples, users, log.end_day)
        return ContextLifts(
            catalog.category[item],
            clicked,
            city,
            np.minimum(day, log.end_day - 1),
            context,
            catalog.categories,
            self.params.lift_prior,
        )

    def _design(self, features: npt.NDArray[np.floating], lift: Floats) -> npt.NDArray[np.float32]:
        """Columns of the trees, float32 [pairs, 4]: what the utility channel makes of user and item, and the lifts.

        The utility score stands for everything known of user and item. Trees that saw its parts would refine it with
        or without a context, and an experiment could not tell what the context is worth.
        """
        return np.column_stack([weighted_sum(features, self.weight[:NF]), lift]).astype(np.float32)

    def _grow(self, features: Floats, lift: Floats, examples: Examples) -> lgb.Booster | None:
        """Trees on top of the blend: what it leaves unexplained. None where there is nothing to tell apart.

        They begin from what the blend says of an impression at its place. From what it says of the first place they
        would learn how rarely the others are clicked, as if items were to blame.
        """
        params: ContextualParams = self.params
        if examples.clicked.all() or not examples.clicked.any():
            return None
        x = self._design(features, lift)
        settings = {
            "objective": "binary",
            "num_leaves": params.leaves,
            "learning_rate": params.learning_rate,
            "min_data_in_leaf": min(500, max(len(x) // 50, 1)),
            "lambda_l2": 10.0,
            "max_bin": 127,
            "num_threads": 1,
            "deterministic": True,
            "force_row_wise": True,
            "seed": self.seed % (1 << 31),
            "verbosity": -1,
        }
        known = self._blend.log_odds(np.column_stack([features, lift]), examples.position)
        data = lgb.Dataset(x, examples.clicked.astype(np.float32), init_score=known, free_raw_data=True)
        return lgb.train(settings, data, num_boost_round=params.trees)

    def _unexplained(self, design: npt.NDArray[np.float32]) -> Floats:
        """What the trees add to the blend's log-odds, float64 [pairs]."""
        if self._booster is None or len(design) == 0:
            return np.zeros(len(design))
        return np.asarray(self._booster.predict(design, raw_score=True, num_threads=1), np.float64)

    def refresh(self, day: int, context: ObservedContext) -> None:
        """What today's context does to each category, and the items that it speaks for, for each city."""
        params: ContextualParams = self.params
        city = np.arange(self._cities)
        self._today: Floats = self._lifts.of(context, city, np.full(self._cities, day))
        self._bonus: Floats = self._today @ self.weight[NF:]
        total = self._bonus
        lifted = np.argsort(-total, axis=1, kind="stable")[:, : params.context_categories]
        best = self.tables.category_top[lifted, : params.context_items]
        speaks = np.take_along_axis(total, lifted, axis=1)[:, :, None] > 0
        self._extra: Ints32 = np.where(speaks, best, NO_ITEM).reshape(self._cities, -1).astype(np.int32)

    def rank(self, requests: Requests, width: int) -> tuple[Ints32, Floats]:
        """See ``VisitRanking``."""
        pool = max(self.params.pool, width)
        items, base, features = rank_requests(
            requests,
            self.tables,
            self.weight[:NF],
            pool,
            extra=self._extra[requests.city],
            bonus_row=requests.city,
            bonus=self._bonus,
            keep_features=True,
        )
        there = items >= 0
        n, _ = np.nonzero(there)
        item = items[there]
        lift = self._today[requests.city[n], self.tables.category[item]]
        known = features[there].reshape(-1, NF)
        trees = self._unexplained(self._design(known, lift))
        score = np.full(items.shape, -np.inf)
        score[there] = base[there] + trees
        chosen = np.empty((len(requests), width), np.int32)
        best = np.empty((len(requests), width))
        for k in range(len(requests)):
            select_top(items[k], score[k], int(there[k].sum()), chosen[k], best[k])
        return chosen, best
