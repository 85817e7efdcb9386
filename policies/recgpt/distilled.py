"""A small student of a language model's tags: profile, history and day in, categories out.

Fitted to what the teacher chose for a sample of requests, it stands in for it where users are too many to be thought
about one by one. It is ours, not the paper's. It learns which categories the teacher names and nothing of its words:
a category is written with the tag that the teacher used for it most often. An occasion or a topic that the sample's
days did not hold it cannot know, however much the teacher does.
"""

from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt
from numba import njit
from pydantic import Field
from scipy.optimize import minimize
from scipy.special import expit, rel_entr
from threadpoolctl import threadpool_limits

from policies.ranking import select_top
from policies.recgpt.tags import TagVocabulary
from policies.recgpt.wording import HISTORY_EVENTS
from policies.strength import STRENGTH
from policies.thoughts import NO_TAG, Thoughts
from simulator.batches import (
    DAY_SECONDS,
    Bools,
    Floats,
    Ints,
    Ints32,
    ObservedCatalog,
    ReadOnlyArrays,
    Requests,
)
from simulator.environment.calendar import NEVER
from simulator.environment.context import ObservedContext
from simulator.environment.trends import PERCEPTIBLE
from simulator.parameters import Parameters
from simulator.streams import Stream
from simulator.taxonomy import AGE_BANDS, GENDERS, HOUSEHOLDS, SEASONS

_EVENTS_FROM: Final = (1, 4, 12)
"""Interactions from which a history counts as begun, short and long."""
_PROFILE: Final = (len(GENDERS) + 1, len(AGE_BANDS) + 1, len(HOUSEHOLDS) + 1, len(_EVENTS_FROM) + 1)
"""Codes of each part of a profile; of the declared ones the last is "unknown"."""
_HELD_OUT: Final = 1 / 3
_LEVEL_PENALTY: Final = 1e-3
"""On a category's own level, which every request informs: next to none."""
_SHARED_SCALE: Final = 10.0
"""Unit of the two weights that all categories share: a large one, so that L-BFGS moves them first."""


class DistilledParams(Parameters):
    """How the student learns."""

    half_life_days: Annotated[
        float, Field(ge=1, description="time in which an interaction loses half of its weight, days")
    ] = 14.0
    penalty: Annotated[
        float, Field(gt=0, description="ridge penalty on the weights, in nats per squared weight over the sample")
    ] = 0.5
    iterations: Annotated[int, Field(ge=1, description="most steps of L-BFGS")] = 200


@dataclass(frozen=True)
class Student(ReadOnlyArrays):
    """A logistic regression for each category, over what the teacher is told.

    A category's score is a sum over the day (strength of each weather signal, occasion and topic, which of them is
    strongest or nearest, the season), the profile (each declared part, how long the history is) and the history (the
    logarithm of the recency-weighted count of each category among the last interactions that prompts tell of). Two of
    the history's weights are shared by all categories: that of the category itself, and that of another one of its
    department. They are what lets a few hundred requests teach a few hundred categories: of two deterministic
    teachers of 260 categories, 407 requests gave overlaps of 0.87 and 0.89 with them and of 0.77 and 0.79 without.

    Attributes:
        item_category: category of each item, int32 [items].
        half_life_days: time in which an interaction loses half of its weight.
        by_day: weights of the day's features, the last of them constant, float64 [features, categories].
        by_profile: weights of the profile's codes, part after part, float64 [codes, categories].
        by_history: float64 [categories, categories], from the one interacted with to the one scored.
        tag: the tag that a category is written with, int32 [categories].
        chosen: categories named for each request: as many as the teacher named on average.
        width: columns of the teacher's ``Thoughts.tags``.
        fidelity: how well the teacher is met, measured on held-out users (see ``fit``).
    """

    item_category: Ints32
    half_life_days: float
    by_day: Floats
    by_profile: Floats
    by_history: Floats
    tag: Ints32
    chosen: int
    width: int
    fidelity: dict[str, float]

    @classmethod
    def fit(
        cls,
        requests: Requests,
        thoughts: Thoughts,
        vocabulary: TagVocabulary,
        catalog: ObservedCatalog,
        params: DistilledParams,
        seed: int,
    ) -> "Student":
        """Learn a teacher from what it chose.

        Fidelity is measured on a third of the sample's users by a student of the other two thirds; the student that
        serves then learns from all of them. Both share the sample's days, so fidelity says nothing of days to come.
        It holds ``overlap``, the mean share of the teacher's categories found among the student's;
        ``popularity_overlap``, the same for the categories that the teacher names most often, whoever asks;
        ``js_distance`` between the mean category distributions of teacher and student (Jensen-Shannon distance to
        the base of 2: 0 where they agree, 1 where they share nothing); ``categories``, those named for each request;
        and the numbers of ``learned`` and ``held_out`` requests.

        Requests for which the teacher chose nothing are left out. Cost grows with L-BFGS steps x requests x
        (categories + features) x categories, and memory with (categories + features) x categories: 600 requests
        and 260 categories take some seconds of one core. The problem is convex; the seed only decides who is held
        out.

        Args:
            requests: the sample, [requests].
            thoughts: the teacher's, of the same requests.
            vocabulary: of the tags.
            catalog: of the items in the histories.
            params: how to learn.
            seed: of the policy.

        Raises:
            ValueError: if the teacher chose tags for fewer than two users.
        """
        named = _named(thoughts.tags, vocabulary.category, catalog.categories)
        said = np.flatnonzero(named.any(axis=1))
        users = np.unique(requests.user[said])
        if len(users) < 2:
            raise ValueError(f"distill_users: {len(users)} with tags (need at least 2)")
        named = named[said]
        inputs = _Inputs.of(requests, said, catalog, params)
        tag = _usual_tags(thoughts.tags, vocabulary)
        by_draw = users[np.argsort(Stream(seed, "distilled.held_out").uniform(users), kind="stable")]
        apart = np.isin(requests.user[said], by_draw[: max(round(len(users) * _HELD_OUT), 1)])
        width = thoughts.tags.shape[1]

        def student(rows: Bools, fidelity: dict[str, float]) -> Student:
            chosen = max(round(float(named[rows].sum(axis=1).mean())), 1)
            weights = _fit(inputs.take(rows), named[rows], catalog.department, params)
            return cls(catalog.category, params.half_life_days, *weights, tag, chosen, width, fidelity)

        learner = student(~apart, {})
        found = learner._categories(requests, said[apart])[0]
        popular = np.argsort(-named[~apart].sum(axis=0), kind="stable")[: learner.chosen]
        fidelity = {
            "overlap": _overlap(found, named[apart]),
            "popularity_overlap": _overlap(np.tile(popular, (len(found), 1)), named[apart]),
            "js_distance": _distance(_mean_distribution(named[apart]), _shares(found, tag.size)),
            "categories": float(learner.chosen),
            "learned": float((~apart).sum()),
            "held_out": float(apart.sum()),
        }
        return student(np.ones(len(said), np.bool_), fidelity)

    def thoughts(self, requests: Requests) -> Thoughts:
        """The student's tags: one for each of its ``chosen`` best categories, padded to the teacher's width.

        A request's bits depend on that request alone. Nothing was proposed, read or written; ``flops`` counts the
        arithmetic of a request's own scores. Cost grows with requests x (categories met in the history + 4) x
        categories; 100,000 users and 260 categories take a few seconds.

        Raises:
            ValueError: if the context holds other occasions or topics than the sample's did.
        """
        rows = len(requests)
        found, terms = self._categories(requests, np.arange(rows))
        tags = np.full((rows, self.width), NO_TAG, np.int32)
        tags[:, : found.shape[1]] = self.tag[found]
        none = np.zeros(rows, np.int64)
        return Thoughts(
            tags=tags,
            proposed=np.full((rows, 0, 0), NO_TAG, np.int32),
            generated=none,
            invalid=none,
            parts=((),) * rows,
            style=("",) * rows,
            prompt_tokens=none,
            cached_tokens=none,
            generated_tokens=none,
            flops=2 * len(self.tag) * terms,
        )

    def _categories(self, requests: Requests, which: Ints) -> tuple[Ints32, Ints]:
        """Best categories of some requests, int32 [which, chosen], and the terms summed for each, int64 [which]."""
        history = requests.history
        days, moment = _moments(requests, which)
        if days.shape[1] != len(self.by_day):
            raise ValueError(f"context: {days.shape[1]} features (must be the {len(self.by_day)} learned from)")
        found = np.empty((len(which), self.chosen), np.int32)
        terms = np.empty(len(which), np.int64)
        _rank_categories(
            requests.row[which],
            requests.time[which],
            moment,
            _profiles(requests, which),
            history.item,
            history.kind,
            history.time,
            history.count,
            self.item_category,
            self.half_life_days,
            HISTORY_EVENTS,
            _weigh(days, self.by_day),
            self.by_profile,
            self.by_history,
            found,
            terms,
        )
        return found, terms


@dataclass(frozen=True)
class _Inputs:
    """What a student learns from: day and profile features side by side, and histories, [requests, ...] each."""

    features: Floats
    days: int
    history: Floats

    @classmethod
    def of(cls, requests: Requests, which: Ints, catalog: ObservedCatalog, params: DistilledParams) -> "_Inputs":
        days, moment = _moments(requests, which)
        profile = np.zeros((len(which), sum(_PROFILE)))
        np.put_along_axis(profile, _profiles(requests, which).astype(np.int64), 1.0, axis=1)
        history = np.zeros((len(which), catalog.categories))
        _histories(
            requests.row[which],
            requests.time[which],
            requests.history.item,
            requests.history.kind,
            requests.history.time,
            requests.history.count,
            catalog.category,
            params.half_life_days,
            HISTORY_EVENTS,
            history,
        )
        return cls(np.hstack([days[moment], profile]), days.shape[1], history)

    def take(self, rows: Bools) -> "_Inputs":
        return _Inputs(self.features[rows], self.days, self.history[rows])


def _fit(inputs: _Inputs, named: Bools, department: Ints32, params: DistilledParams) -> tuple[Floats, Floats, Floats]:
    """Weights of day, profile and history that make what was named most likely, less the penalty."""
    target = named.astype(float)
    categories = target.shape[1]
    kin = (department[:, None] == department).astype(float)
    np.fill_diagonal(kin, 0.0)
    own = _SHARED_SCALE * inputs.history
    x = np.hstack([inputs.features, inputs.history])
    penalty = np.full((x.shape[1], 1), params.penalty)
    penalty[inputs.days - 1] = _LEVEL_PENALTY

    def loss(point: Floats) -> tuple[float, Floats]:
        weight = point[:-2].reshape(-1, categories)
        score = x @ weight + point[-2] * own + point[-1] * near
        value = (np.logaddexp(0.0, score) - target * score).sum() + 0.5 * (penalty * weight**2).sum()
        residual = expit(score) - target
        slope = x.T @ residual + penalty * weight
        return value, np.concatenate([slope.ravel(), [(residual * own).sum(), (residual * near).sum()]])

    start = np.zeros((x.shape[1], categories))
    share = (target.sum(axis=0) + 0.5) / (len(target) + 1.0)
    start[inputs.days - 1] = np.log(share / (1.0 - share))
    with threadpool_limits(1, "blas"):  # the bits of a sum depend on how threads share it
        near = own @ kin
        point = minimize(
            loss,
            np.append(start.ravel(), [0.0, 0.0]),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": params.iterations, "maxfun": 2 * params.iterations},
        ).x
    weight = point[:-2].reshape(-1, categories)
    features = inputs.features.shape[1]
    shared = _SHARED_SCALE * (point[-2] * np.eye(categories) + point[-1] * kin)
    return weight[: inputs.days], weight[inputs.days : features], weight[features:] + shared


def _profiles(requests: Requests, which: Ints) -> Ints32:
    """Codes of each request's profile as rows of ``by_profile``, int32 [which, 4]."""
    row, users = requests.row[which], requests.users
    declared = [users.gender[row], users.age_band[row], users.household[row]]
    codes = [np.where(code < 0, size - 1, code) for code, size in zip(declared, _PROFILE, strict=False)]
    codes.append(np.searchsorted(_EVENTS_FROM, requests.history.count[row], side="right"))
    return (np.stack(codes, axis=1) + np.cumsum((0, *_PROFILE[:-1]))).astype(np.int32)


def _moments(requests: Requests, which: Ints) -> tuple[Floats, Ints]:
    """Features of each pair of city and day that occurs, float64 [pairs, features], and the pair of each request."""
    context = requests.context
    key = (requests.city[which].astype(np.int64) + 1) * context.days + requests.day[which]
    pairs, moment = np.unique(key, return_inverse=True)
    return _day_features(context, pairs // context.days - 1, pairs % context.days), moment


def _day_features(context: ObservedContext, city: Ints, day: Ints) -> Floats:
    """What a day says in a city, float64 [pairs, features]; an unknown city (-1) has no weather.

    Strengths, and which is the strongest (of occasions the nearest within its lead-up), since a short prompt or a
    short answer has room for little else. The last feature is constant.
    """
    weather = np.where(city[:, None] >= 0, np.nan_to_num(context.weather_signals[city, day]), 0.0)
    ahead = np.where(context.days_until[day] <= context.lead_days, context.days_until[day], NEVER)
    trend = np.where(context.trend_level[day] > PERCEPTIBLE, context.trend_level[day], 0.0)
    return np.hstack(
        [
            weather,
            _strongest(weather),
            context.occasion_level[day],
            ahead < NEVER,
            _strongest(np.maximum(NEVER - ahead, 0)),
            trend,
            _strongest(trend),
            context.season[day][:, None] == np.arange(len(SEASONS)),
            np.ones((len(day), 1)),
        ]
    )


def _strongest(level: npt.NDArray[np.number]) -> Bools:
    """Marks the first of each row's largest levels where that is above 0, bool [rows, levels]."""
    first = level.argmax(axis=1)[:, None] == np.arange(level.shape[1])
    return first & (level > 0)


def _named(tags: Ints32, category: Ints32, categories: int) -> Bools:
    """Which categories each request's tags name, bool [requests, categories]."""
    named = np.zeros((len(tags), categories), np.bool_)
    request, place = np.nonzero(tags != NO_TAG)
    named[request, category[tags[request, place]]] = True
    return named


def _usual_tags(tags: Ints32, vocabulary: TagVocabulary) -> Ints32:
    """The most frequent tag of each category (ties: the first in the vocabulary), else its core word's."""
    count = np.bincount(tags[tags != NO_TAG], minlength=len(vocabulary.texts))
    usual = vocabulary.core_tag.copy()
    used = np.flatnonzero(count)
    rising = used[np.lexsort((-used, count[used]))]
    usual[vocabulary.category[rising]] = rising
    return usual


def _overlap(found: Ints32, named: Bools) -> float:
    """Mean share of what was named that is among what was found."""
    hits = np.take_along_axis(named, found.astype(np.int64), axis=1).sum(axis=1)
    return float((hits / named.sum(axis=1)).mean())


def _mean_distribution(named: Bools) -> Floats:
    """Mean over requests of the uniform distribution on what was named, float64 [categories]."""
    return (named / named.sum(axis=1, keepdims=True)).mean(axis=0)


def _shares(found: Ints32, categories: int) -> Floats:
    """The same for categories as lists of one length."""
    return np.bincount(found.ravel(), minlength=categories) / found.size


def _distance(first: Floats, second: Floats) -> float:
    """Jensen-Shannon distance of two distributions to the base of 2 (scipy's is NaN where rounding falls below 0)."""
    middle = (first + second) / 2.0
    divergence = (rel_entr(first, middle).sum() + rel_entr(second, middle).sum()) / (2.0 * np.log(2.0))
    return float(np.sqrt(max(divergence, 0.0)))


@njit(cache=True)
def _read_history(
    item: Ints32,
    kind: npt.NDArray[np.int8],
    time: Ints,
    count: int,
    now: int,
    category: Ints32,
    half_life: float,
    events: int,
    weight: Floats,
    met: Ints32,
) -> int:
    """Write the log of a history's weighted counts to ``weight`` (zeroed, [categories]), list them in ``met``."""
    size = 0
    length = len(item)
    for n in range(max(count - min(events, length), 0), count):
        column = n % length
        if item[column] < 0 or time[column] >= now:
            continue
        age = max(now - time[column], 0) / DAY_SECONDS
        k = category[item[column]]
        if weight[k] == 0.0:
            met[size] = k
            size += 1
        weight[k] += STRENGTH[kind[column]] * 0.5 ** (age / half_life)
    for m in range(size):
        weight[met[m]] = np.log1p(weight[met[m]])
    return size


@njit(cache=True)
def _histories(
    row: Ints,
    now: Ints,
    item: Ints32,
    kind: npt.NDArray[np.int8],
    time: Ints,
    count: Ints,
    category: Ints32,
    half_life: float,
    events: int,
    out: Floats,
) -> None:
    """Histories of many requests as rows of ``out`` (zeroed, [requests, categories])."""
    met = np.empty(events, np.int32)
    for n in range(len(row)):
        r = row[n]
        _read_history(item[r], kind[r], time[r], count[r], now[n], category, half_life, events, out[n], met)


@njit(cache=True)
def _weigh(features: Floats, weight: Floats) -> Floats:
    """``features @ weight``, each row summed in the order of the features."""
    out = np.zeros((len(features), weight.shape[1]))
    for n in range(len(features)):
        for f in range(len(weight)):
            if features[n, f] != 0.0:
                for c in range(weight.shape[1]):
                    out[n, c] += features[n, f] * weight[f, c]
    return out


@njit(cache=True)
def _rank_categories(
    row: Ints,
    now: Ints,
    moment: Ints,
    profile: Ints32,
    item: Ints32,
    kind: npt.NDArray[np.int8],
    time: Ints,
    count: Ints,
    category: Ints32,
    half_life: float,
    events: int,
    by_moment: Floats,
    by_profile: Floats,
    by_history: Floats,
    out: Ints32,
    terms: Ints,
) -> None:
    """Best categories of each request; every sum runs in an order that the request alone decides."""
    categories = by_history.shape[1]
    pool = np.arange(categories).astype(np.int32)
    score = np.empty(categories)
    best = np.empty(out.shape[1])
    weight = np.zeros(categories)
    met = np.empty(events, np.int32)
    for n in range(len(row)):
        r = row[n]
        size = _read_history(item[r], kind[r], time[r], count[r], now[n], category, half_life, events, weight, met)
        for c in range(categories):
            score[c] = by_moment[moment[n], c]
        for part in range(profile.shape[1]):
            for c in range(categories):
                score[c] += by_profile[profile[n, part], c]
        for m in range(size):
            k = met[m]
            value = weight[k]
            weight[k] = 0.0
            for c in range(categories):
                score[c] += value * by_history[k, c]
        select_top(pool, score, categories, out[n], best)
        terms[n] = size + profile.shape[1]
