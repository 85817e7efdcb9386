"""The same experiment repeated: the mean of independent estimates and how far it may be off.

Knows numbers, one a repetition. Does not know what they are estimates of.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t


class MeanOfReplicates(NamedTuple):
    """A mean and its interval; ``ci`` is None of a single replicate."""

    mean: float
    ci: tuple[float, float] | None
    replicates: int


def mean_of_replicates(values: Sequence[float], alpha: float = 0.05) -> MeanOfReplicates:
    """The mean of independent replicates, with Student's interval from their spread.

    The spread holds everything in which replicates differ: populations, assignments and draws. With few of them the
    interval is wide, as little is known of the spread.

    Args:
        values: one a replicate.
        alpha: 1 - the level of the interval.

    Raises:
        ValueError: if there is none, or one is not finite.
    """
    found = np.asarray(values, np.float64)
    if not len(found) or not np.isfinite(found).all():
        raise ValueError(f"values: {list(values)} (must be finite numbers, at least one)")
    mean, replicates = float(found.mean()), len(found)
    if replicates == 1:
        return MeanOfReplicates(mean, None, 1)
    margin = float(t.ppf(1 - alpha / 2, replicates - 1)) * float(found.std(ddof=1)) / np.sqrt(replicates)
    return MeanOfReplicates(mean, (mean - float(margin), mean + float(margin)), replicates)
