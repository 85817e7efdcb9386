"""Can a classifier tell simulated users from real ones?

The classifier two-sample test (Lopez-Paz and Oquab 2017, "Revisiting classifier two-sample tests", ICLR):
gradient-boosted trees learn to tell two samples apart from feature vectors, and are asked about users that they did not
learn from. An area under the ROC curve of 0.5 means that they cannot. Unlike distances of single features it sees what
features do together.

Pure arrays: does not know what the features are.
"""

from dataclasses import dataclass
from typing import Any, Final

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
from scipy.stats import norm, rankdata

from simulator.streams import Stream

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

FOLDS: Final = 5
FEWEST_USERS: Final = 2 * FOLDS
"""Of each sample: two in every fold."""
_TREES: Final = 100
_SETTINGS: Final[dict[str, Any]] = {
    "objective": "binary",
    "num_leaves": 15,
    "learning_rate": 0.05,
    "min_data_in_leaf": 20,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "seed": 0,
    "verbosity": -1,
}


@dataclass(frozen=True)
class ToldApart:
    """How well two samples can be told apart.

    Attributes:
        auc: area under the ROC curve of held-out users, the mean over folds; 0.5 is chance, 1 is always.
        ci: its 95% interval.
        weight: share of the trees' gain that each feature has, [features]; what gives a sample away.
    """

    auc: float
    ci: tuple[float, float]
    weight: Floats


def auc_with_variance(score: Floats, positive: Flags) -> tuple[float, float]:
    """Area under the ROC curve and its variance (DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44).

    Args:
        score: the higher, the likelier positive, [examples].
        positive: whether it is, [examples].

    Raises:
        ValueError: fewer than 2 examples are positive, or fewer than 2 negative.
    """
    ones, zeros = score[positive], score[~positive]
    m, n = len(ones), len(zeros)
    if min(m, n) < 2:
        raise ValueError(f"examples: {m} positive and {n} negative; give 2 of each at least")
    of_all = rankdata(np.concatenate([ones, zeros]))
    above_zeros = (of_all[:m] - rankdata(ones)) / n
    below_ones = 1.0 - (of_all[m:] - rankdata(zeros)) / m
    variance = np.var(above_zeros, ddof=1) / m + np.var(below_ones, ddof=1) / n
    return float(above_zeros.mean()), float(variance)


def tell_apart(first: Floats, second: Floats, seed: int) -> ToldApart:
    """Learn to tell two samples apart, and ask about held-out users.

    Args:
        first: feature vectors, NaN where a feature has no value, [users, features].
        second: likewise; the same features.
        seed: of the folds.

    Raises:
        ValueError: a sample has fewer than 10 users.
    """
    if min(len(first), len(second)) < FEWEST_USERS:
        raise ValueError(f"users: {len(first)} and {len(second)}; the test needs {FEWEST_USERS} of each")
    features = np.concatenate([first, second])
    positive = np.arange(len(features)) >= len(first)
    fold = np.concatenate(
        [
            np.argsort(np.argsort(Stream(seed, "two_sample/folds").uniform(side, np.arange(size)))) % FOLDS
            for side, size in enumerate((len(first), len(second)))
        ]
    )
    areas, variances, gain = [], [], np.zeros(features.shape[1])
    for number in range(FOLDS):
        learn = fold != number
        data = lgb.Dataset(features[learn], positive[learn].astype(np.float64))
        trees = lgb.train({**_SETTINGS, "is_unbalance": True}, data, num_boost_round=_TREES)
        score = np.asarray(trees.predict(features[~learn], num_threads=1), np.float64)
        area, variance = auc_with_variance(score, positive[~learn])
        areas.append(area)
        variances.append(variance)
        gain += trees.feature_importance("gain")
    auc = float(np.mean(areas))
    reach = float(norm.ppf(0.975) * np.sqrt(np.sum(variances)) / FOLDS)
    total = gain.sum()
    weight = gain / total if total > 0 else gain
    return ToldApart(auc, (max(auc - reach, 0.0), min(auc + reach, 1.0)), weight)
