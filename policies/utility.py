"""The established channel: implicit-feedback collaborative filtering, blended with what else a shop counts.

Item factors come from alternating least squares on weighted interactions (Hu, Koren and Volinsky 2008, via the library
``implicit``); serving is item-to-item in factor space (Sarwar et al. 2001), so a click made a minute ago counts. The
blend of similarity, affinities, appeal, impression discount and profile is a logistic regression on the log.
It knows nothing of the weather, the calendar or trends.
"""

from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from implicit.als import AlternatingLeastSquares
from pydantic import Field
from scipy.sparse import csr_matrix
from statsmodels.discrete.discrete_model import Logit
from threadpoolctl import threadpool_limits

from policies.examples import Examples, draw_examples, halves
from policies.features import FEATURES, Tables, logged_features, rank_requests
from policies.lifts import cells, log_lifts
from policies.popularity import item_appeal
from policies.ranking import VisitRanking
from policies.registry import register_policy
from policies.strength import STRENGTH
from simulator.batches import (
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
from simulator.taxonomy import AGE_BANDS, GENDERS, HOUSEHOLDS


class UtilityParams(Parameters):
    """Parameters of ``utility``."""

    factors: Annotated[int, Field(ge=1, description="dimensions of the item factors")] = 32
    regularization: Annotated[float, Field(gt=0, description="of alternating least squares")] = 0.05
    iterations: Annotated[int, Field(ge=1, description="of alternating least squares")] = 12
    neighbours: Annotated[int, Field(ge=1, description="similar items kept for each item")] = 30
    prior_clicks: Annotated[float, Field(gt=0, description="expected clicks that pull an item to the mean")] = 5.0
    lift_prior: Annotated[float, Field(gt=0, description="clicks that pull a profile lift to 1")] = 20.0
    half_life_days: Annotated[float, Field(gt=0, description="days in which an interaction loses half its weight")] = (
        20.0
    )
    category_top: Annotated[int, Field(ge=1, description="best items of each category met that are considered")] = 15
    global_top: Annotated[int, Field(ge=1, description="best items of all that are considered")] = 100
    training_examples: Annotated[
        int, Field(ge=1000, description="logged impressions the blend is fitted on, at most")
    ] = 300_000


def item_neighbours(
    log: InteractionLog, users: int, items: int, params: UtilityParams, seed: int
) -> tuple[Ints32, Floats]:
    """Most similar other items by cosine of ALS item factors: int32 and float64 [items, neighbours]."""
    weight = STRENGTH[log.kind].astype(np.float32)
    matrix = csr_matrix((weight, (log.user, log.item)), shape=(users, items))
    count = min(params.neighbours, items - 1)
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=params.factors,
            regularization=params.regularization,
            iterations=params.iterations,
            num_threads=1,
            random_state=seed % (1 << 32),
        )
        model.fit(matrix, show_progress=False)
        neighbour, similarity = model.similar_items(np.arange(items), N=count + 1)
    itself = neighbour == np.arange(items)[:, None]
    itself[~itself.any(axis=1), -1] = True  # ties can push an item out of its own list
    keep = ~itself
    shape = (items, count)
    similar = np.maximum(np.nan_to_num(similarity[keep].reshape(shape).astype(np.float64)), 0.0)
    return neighbour[keep].reshape(shape).astype(np.int32), similar


def best_of_categories(appeal: Floats, category: Ints32, categories: int, width: int) -> Ints32:
    """Best items of each category by appeal, int32 [categories, width], padded with -1."""
    order = np.lexsort((-appeal, category))
    offset = np.searchsorted(category[order], np.arange(categories + 1))
    place = offset[:-1, None] + np.arange(width)[None, :]
    there = place < offset[1:, None]
    return np.where(there, order[np.minimum(place, len(order) - 1)], NO_ITEM).astype(np.int32)


def profile_lifts(
    examples: Examples, codes: Ints32, names: tuple[str, ...], category: Ints32, categories: int, prior: float
) -> Floats:
    """Log-lifts of categories by one declared attribute, float64 [codes + 1, categories]; the last row is "unknown"."""
    user = examples.visit_user[examples.visit]
    group = np.where(codes[user] < 0, len(names), codes[user]).astype(np.int64)
    where, code, total = cells(
        category[examples.item], examples.clicked.astype(float), group, len(names) + 1, categories
    )
    level = (code[:, None] == np.arange(len(names))[None, :]).astype(float)
    return np.vstack([log_lifts(where, total, level, categories, prior), np.zeros(categories)])


def fit_tables(
    log: InteractionLog, catalog: ObservedCatalog, users: ObservedUsers, params: UtilityParams, seed: int
) -> Tables:
    """Everything the feature kernels need, counted and factored from the log."""
    examples = draw_examples(log, len(users.user), catalog.items, params.training_examples, seed)
    appeal = item_appeal(log, catalog.items, params.prior_clicks)
    neighbour, similarity = item_neighbours(log, len(users.user), catalog.items, params, seed)

    def lifts(codes: Ints32, names: tuple[str, ...]) -> Floats:
        return profile_lifts(examples, codes, names, catalog.category, catalog.categories, params.lift_prior)

    return Tables(
        neighbour=neighbour,
        similarity=similarity,
        appeal=appeal,
        category=catalog.category.copy(),
        department=catalog.department.copy(),
        category_top=best_of_categories(appeal, catalog.category, catalog.categories, params.category_top),
        global_top=np.argsort(-appeal, kind="stable")[: params.global_top].astype(np.int32),
        gender_lift=lifts(users.gender, GENDERS),
        age_lift=lifts(users.age_band, AGE_BANDS),
        household_lift=lifts(users.household, HOUSEHOLDS),
        half_life=params.half_life_days,
    )


class Blend(NamedTuple):
    """Log-odds of a click on what is shown, as a weighted sum.

    Attributes:
        weight: of each feature, float64 [features].
        intercept: at the first place of a page.
        position: of the logarithm of the place, from 1 for the first; people click less further down, so below 0.
    """

    weight: Floats
    intercept: float
    position: float

    def log_odds(self, features: Floats, position: Ints) -> Floats:
        """Of impressions at places from 0, float64 [impressions]."""
        return features @ self.weight + self.intercept + self.position * np.log1p(position)


def fit_blend(features: Floats, examples: Examples) -> Blend:
    """The logistic blend of features float64 [examples, features].

    The position on the page is a covariate of the fit, since people click more at the top whatever is there; serving
    is as if at the top. A feature that never varies in the log, or is the same as an earlier one, gets weight 0.

    One undecided pseudo-example a feature keeps weights finite where few examples leave them open (a data augmentation
    prior; Clogg et al. 1991).
    """
    if examples.clicked.all() or not examples.clicked.any():
        weight = np.zeros(features.shape[1])
        weight[FEATURES.index("item appeal")] = 1.0  # nothing to tell apart: appeal alone
        return Blend(weight, 0.0, 0.0)
    columns = np.column_stack([features, np.log1p(examples.position), np.ones(len(features))])
    used = np.ptp(columns, axis=0) > 0
    used[-1] = True
    for k in range(1, len(used)):  # a twin of an earlier column would leave the weights undetermined
        used[k] &= not any(np.array_equal(columns[:, k], columns[:, j]) for j in range(k))
    with threadpool_limits(1, "blas"):
        design = np.vstack([columns[:, used], np.eye(int(used.sum()))])
        answers = np.concatenate([examples.clicked, np.full(int(used.sum()), 0.5)])
        model = Logit(answers, design)
        found = np.zeros(columns.shape[1])
        found[used] = model.fit(method="newton", maxiter=35, disp=0, skip_hessian=True).params
    return Blend(found[:-2], float(found[-1]), float(found[-2]))


@register_policy("utility")
class Utility(VisitRanking):
    """Item-to-item collaborative filtering in ALS factor space, blended with affinities and appeal; context-blind."""

    Params: ClassVar[type[Parameters]] = UtilityParams

    def fit(
        self, log: InteractionLog, catalog: ObservedCatalog, users: ObservedUsers, context: ObservedContext
    ) -> None:
        """Factor the interactions and fit the blend: tables of one half of the users, judged by the other half."""
        params: UtilityParams = self.params
        counted, judging = halves(len(users.user), self.seed)
        tables = fit_tables(log.of_users(counted), catalog, users, params, self.seed)
        examples = draw_examples(
            log.of_users(judging), len(users.user), catalog.items, params.training_examples, self.seed
        )
        self.weight: Floats = fit_blend(logged_features(examples, users, tables), examples).weight
        self.tables = fit_tables(log, catalog, users, params, self.seed)

    def rank(self, requests: Requests, width: int) -> tuple[Ints32, Floats]:
        """See ``VisitRanking``."""
        nothing = np.zeros((len(requests), 0), np.int32)
        items, scores, _ = rank_requests(
            requests,
            self.tables,
            self.weight,
            width,
            extra=nothing,
            bonus_row=np.zeros(len(requests), np.int32),
            bonus=np.zeros((1, len(self.tables.department))),
            keep_features=False,
        )
        return items, scores
