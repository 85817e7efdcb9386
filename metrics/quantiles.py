"""The effect on a quantile of users' values, such as the median or the ninth decile.

The bootstrap distribution of a sample quantile needs no resampling: the rank that a resample's quantile takes in the
sorted sample is binomial (Schultzberg and Ankargren 2022, "Resampling-free bootstrap inference for quantiles",
arXiv 2202.10992). Ranks are read off at evenly spread probabilities, so that the same values always give the same
interval. Knows values of two arms.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

Floats = npt.NDArray[np.float64]

_RANKS: Final = 500
"""Ranks read off for each arm; differences are formed between all of them."""


@dataclass(frozen=True)
class QuantileEffect:
    """A quantile in two arms.

    Attributes:
        quantile: which.
        control_value, treatment_value: the arms' sample quantiles.
        effect: treatment minus control.
        ci: bootstrap percentiles of the effect.
        p_value: twice the smaller share of bootstrap differences at or beyond 0.
    """

    quantile: float
    control_value: float
    treatment_value: float
    effect: float
    ci: tuple[float, float]
    p_value: float


def quantile_effects(
    control: npt.ArrayLike, treatment: npt.ArrayLike, quantiles: Sequence[float], alpha: float
) -> list[QuantileEffect]:
    """Compare quantiles between two arms.

    Where many users share a value, such as 0, the interval's ends are such values too, and a quantile that lies within
    them in both arms has an effect of exactly 0 with a p-value of 1.

    Args:
        control: values of the users: [users].
        treatment: values of the users: [users].
        quantiles: each above 0 and below 1.
        alpha: 1 - the confidence level.

    Raises:
        ValueError: if an arm is empty or a number is out of range.
    """
    for quantile in quantiles:
        if not 0.0 < quantile < 1.0:
            raise ValueError(f"quantile: {quantile} (must lie between 0 and 1)")
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha: {alpha} (must lie between 0 and 1)")
    before, after = (np.sort(np.asarray(values, np.float64)) for values in (control, treatment))
    if min(len(before), len(after)) == 0:
        raise ValueError("values: none in an arm (must be at least one)")
    return [_effect(before, after, quantile, alpha) for quantile in quantiles]


def _effect(before: Floats, after: Floats, quantile: float, alpha: float) -> QuantileEffect:
    values = [float(np.quantile(sample, quantile)) for sample in (before, after)]
    differences = (_resampled(after, quantile)[:, None] - _resampled(before, quantile)[None, :]).ravel()
    low, high = np.quantile(differences, [alpha / 2.0, 1.0 - alpha / 2.0])
    tail = min((differences <= 0.0).sum(), (differences >= 0.0).sum())
    return QuantileEffect(
        quantile=quantile,
        control_value=values[0],
        treatment_value=values[1],
        effect=values[1] - values[0],
        ci=(float(low), float(high)),
        p_value=min(1.0, 2.0 * float(tail + 1) / (len(differences) + 1)),
    )


def _resampled(values: Floats, quantile: float) -> Floats:
    """The quantile in resamples of sorted values, at evenly spread probabilities: [ranks]."""
    at = (np.arange(_RANKS) + 0.5) / _RANKS
    rank = binom.ppf(at, len(values) + 1, quantile).astype(np.int64)
    return values[np.clip(rank, 1, len(values)) - 1]
