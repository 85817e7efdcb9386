"""What a click is worth expecting: the established score, tags and towers weighed against logged impressions.

One logistic model serves both channels, so that an allocation compares like with like. Each of its inputs speaks for
an item, and its weight may not be negative: nearer to a user's tags is never estimated lower. Knows neither how tags
came about nor how items were found.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit
from threadpoolctl import threadpool_limits

from policies.contextual import weighted_sum
from policies.recgpt.retrieval import Match
from simulator.batches import DAY_SECONDS, Bools, Floats, InteractionLog, Ints, ReadOnlyArrays
from simulator.streams import Stream

INPUTS: Final = ("utility score", "named by a tag", "rank of that tag", "similar to a tag", "similar to the user")

NEAR_DAYS: Final = 3
"""Days from a thought on in which impressions are held against it: about as old as serving finds its tags."""

_LATE_SHARE: Final = 3
"""Moments are drawn from the last third of the log, where histories are as long as serving will find them."""

_PRIOR: Final = 1.0
"""Weight of the prior, which says that the utility score is right and nothing else matters, in impressions."""


@dataclass(frozen=True)
class Calibration(ReadOnlyArrays):
    """Log-odds of a click as a weighted sum.

    Attributes:
        weight: of each of ``INPUTS``, none negative, float64 [inputs].
        intercept: at the first place of a page.
    """

    weight: Floats
    intercept: float

    def click(self, score: Floats, match: Match) -> Floats:
        """P(click | shown at the first place of a page), float64 of the shape of ``score``."""
        inputs = design(score.ravel(), match)
        return expit(weighted_sum(inputs, self.weight) + self.intercept).reshape(score.shape)


def design(score: Floats, match: Match) -> Floats:
    """The inputs as columns, float64 [items, inputs], whatever the shape of ``match``."""
    return np.column_stack([score, match.named.ravel(), match.rank.ravel(), match.tag.ravel(), match.user.ravel()])


@dataclass(frozen=True)
class Moments:
    """Mornings at which some users are thought about, one a user: user ids ascending and days, int64 [moments]."""

    user: Ints
    day: Ints

    @property
    def time(self) -> Ints:
        """Midnight of each, seconds, int64 [moments]."""
        return self.day * DAY_SECONDS

    def of_users(self, users: int) -> Ints:
        """Index of each user's moment, -1 of users without one, int64 [users]."""
        found = np.full(users, -1, np.int64)
        found[self.user] = np.arange(len(self.user))
        return found


def draw_moments(log: InteractionLog, users: Bools, most: int, seed: int, name: str) -> Moments:
    """Mornings of visits late in a log, of ``most`` drawn users at the most and one of each.

    Args:
        log: with impressions, or without; then a visit is a day with interactions.
        users: whom to draw from, bool [users].
        most: moments wanted.
        seed: of the draw.
        name: of the draw.
    """
    seen = log.impressions
    user, time = (log.user, log.time) if seen is None else (seen.user, seen.time)
    first_day = log.end_day - max((log.end_day - log.start_day) // _LATE_SHARE, 1)
    there = users[user] & (time >= first_day * DAY_SECONDS) & (time < log.end_day * DAY_SECONDS)
    key = np.unique(user[there] * log.end_day + time[there] // DAY_SECONDS)
    user, day = key // log.end_day, key % log.end_day
    order = np.lexsort((Stream(seed, f"{name}/days").uniform(user, day), user))
    user, day = user[order], day[order]
    first = np.ones(len(user), np.bool_)
    first[1:] = user[1:] != user[:-1]
    user, day = user[first], day[first]
    chosen = np.sort(np.argsort(Stream(seed, f"{name}/users").uniform(user), kind="stable")[:most])
    return Moments(user[chosen], day[chosen])


def uncalibrated(intercept: float) -> Calibration:
    """The utility score as it is, with the intercept that it was fitted with."""
    return Calibration(np.eye(len(INPUTS))[0], intercept)


def fit_calibration(inputs: Floats, clicked: Bools, position: Ints, intercept: float) -> Calibration:
    """The most likely non-negative weights, with a weak prior for those of ``uncalibrated``.

    The position on the page is a covariate of the fit, as in the utility channel's blend, and has no place in serving.

    Args:
        inputs: of each impression, float64 [impressions, inputs].
        clicked: bool [impressions].
        position: place on the page from 0, [impressions].
        intercept: of the utility score; what is left where there are no clicks, or nothing else.
    """
    prior = uncalibrated(intercept)
    if clicked.all() or not clicked.any():
        return prior
    columns = np.column_stack([inputs, -np.log1p(position), np.ones(len(inputs))])
    scale = columns.std(axis=0)
    scale[scale == 0] = 1.0
    columns /= scale
    start = np.concatenate([prior.weight, [0.0, intercept]]) * scale
    sign = np.where(clicked, 1.0, -1.0)

    def loss(weight: Floats) -> tuple[float, Floats]:
        margin = sign * (columns @ weight)
        apart = weight - start
        slope = _PRIOR * apart - columns.T @ (sign * expit(-margin))
        return float(0.5 * _PRIOR * apart @ apart - log_expit(margin).sum()), slope

    with threadpool_limits(1, "blas"):
        bounds = [(0.0, None)] * (len(start) - 1) + [(None, None)]
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x / scale
    return Calibration(found[: len(INPUTS)], float(found[-1]))
