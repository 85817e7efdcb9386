"""What is a customer's own level in something, and what is the occasion's: one-way random effects on normal scores.

Used for how much customers take, for how many pieces of each, and for how dear it is. A level is a customer's mean
score. Knows nothing of what the scores are of.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata

from simulator.streams import Stream

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_LEAST: Final = 1e-6
_OWN, _OCCASION = range(2)


@dataclass(frozen=True)
class Levels:
    """Variances of normal scores.

    Attributes:
        between: of customers' mean scores.
        within: of a customer's scores around their mean.
        slope: of scores on something of the occasion's own, with mean 0 and variance 1, if anything.
    """

    between: float
    within: float
    slope: float = 0.0

    def own(self, count: Integers, mean: Floats, customer: Integers, stream: Stream) -> Floats:
        """Each customer's level, drawn given ``count`` scores of mean ``mean``, [customers]."""
        precision = count * self.between + self.within
        centre = np.where(count > 0, count * self.between / precision * mean, 0.0)
        spread = np.sqrt(self.between * self.within / precision)
        return centre + spread * stream.normal(_OWN, customer)

    def score(self, own: Floats, stream: Stream, *ids: npt.ArrayLike, given: Floats | float = 0.0) -> Floats:
        """Scores of occasions of customers with these levels, of variance 1 over all, [occasions].

        Args:
            own: level of each occasion's customer, [occasions].
            stream: of the draws.
            *ids: what they are keyed by, [occasions] each.
            given: what the occasion has of its own, [occasions].
        """
        total = np.sqrt(self.between + self.within + self.slope**2)
        of_occasion = np.sqrt(self.within) * stream.normal(_OCCASION, *ids)
        return np.asarray((own + self.slope * given + of_occasion) / total, np.float64)


def place(score: Floats, width: Integers | int) -> Integers:
    """Which of ``width`` ascending values scores stand for, from 0, [occasions]."""
    return np.minimum((ndtr(score) * width).astype(np.int64), np.asarray(width) - 1)


def normal_scores(values: npt.NDArray[np.generic]) -> Floats:
    """Normal quantiles of the values' ranks, equal values sharing the mean of theirs, [values]."""
    return np.asarray(ndtri((rankdata(values) - 0.5) / len(values)))


@dataclass(frozen=True)
class OwnLevels:
    """Levels of customers, and what is known of each.

    Attributes:
        levels: of all.
        count: occasions of each, [users].
        mean: their mean score, [users].
    """

    levels: Levels
    count: Integers
    mean: Floats


def fit_levels(score: Floats, user: Integers, users: int, given: Floats | None = None) -> OwnLevels:
    """Fit levels by the analysis of variance of unequal groups.

    Searle, Casella and McCulloch 1992, "Variance components", section 3.6.

    Args:
        score: normal scores, [occasions].
        user: whose each is, [occasions].
        users: how many there are.
        given: something of each occasion's own, with mean 0 and variance 1, that scores may depend on, [occasions].

    Raises:
        ValueError: no user has two occasions.
    """
    slope = 0.0 if given is None else float(np.mean(score * given))
    score = score if given is None else score - slope * given
    count = np.bincount(user, minlength=users)
    mean = np.bincount(user, score, users) / np.maximum(count, 1)
    came = int((count > 0).sum())
    if came == len(score):
        raise ValueError("baskets: nobody has two; fit to a longer part of the log")
    within = float(((score - mean[user]) ** 2).sum() / (len(score) - came))
    among = float((count * (mean - score.mean()) ** 2).sum() / max(came - 1, 1))
    groups = (len(score) - (count.astype(np.float64) ** 2).sum() / len(score)) / max(came - 1, 1)
    levels = Levels(max((among - within) / groups, _LEAST), max(within, _LEAST), slope)
    return OwnLevels(levels, count, np.asarray(mean, np.float64))


def standardised(values: Floats, weight: Floats) -> Floats:
    """Values with weighted mean 0 and weighted variance 1; 0 where they do not vary, [values]."""
    mean = np.average(values, weights=weight)
    spread = np.sqrt(np.average((values - mean) ** 2, weights=weight))
    return np.asarray((values - mean) / spread if spread > 1e-12 else np.zeros_like(values), np.float64)
