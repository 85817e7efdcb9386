"""CUPED with any number of covariates: what an arm's value and its variance are once the warm-up is taken out.

Deng, Xu, Kohavi and Walker (2013), "Improving the Sensitivity of Online Controlled Experiments by Utilizing
Pre-Experiment Data", for means, with the delta method for ratios (Deng, Knoblich and Lu 2018). With one covariate it is
what tea-tasting computes, which has no more than one. Works from aggregates; does not know how they are tested.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from tea_tasting.aggr import Aggregates

from metrics.definitions import Covariate, Metric

# Sums of squares of equal floats come out as about 1e-16 of the squared value, not as 0.
NO_VARIANCE: Final = 1e-12
_COLLINEAR: Final = 1e-8
"""Least eigenvalue of the covariates' correlations; below it a covariate says nothing that the others do not."""


@dataclass(frozen=True)
class Moments:
    """What a test needs of an arm.

    Attributes:
        value: the metric's value, adjusted or not.
        variance: of one user's part in it: the variance of ``value`` times ``count``.
        count: users.
    """

    value: float
    variance: float
    count: int


class UnadjustableError(Exception):
    """CUPED cannot be used; the message says what stands in its way."""


def plain_moments(metric: Metric, arm: Aggregates) -> Moments:
    """The arm without adjustment, by the delta method for a ratio."""
    value = arm.mean(metric.numerator) / arm.mean(metric.denominator)
    return Moments(float(value), float(arm.ratio_var(metric.numerator, metric.denominator)), int(arm.count()))


def adjusted_moments(metric: Metric, control: Aggregates, treatment: Aggregates) -> tuple[tuple[Moments, Moments], int]:
    """Both arms with the metric's covariates taken out, with the coefficients of both arms together.

    Returns:
        The moments of control and treatment, and how many covariates were used. Those that do not vary, have nothing to
        divide by, or repeat the others are left out.

    Raises:
        UnadjustableError: if no covariate is left.
    """
    pooled = control + treatment
    covariates = _usable(metric, control, treatment, pooled)
    slopes = np.linalg.solve(
        _covariances(pooled, covariates), [_with_metric(metric, pooled, covariate) for covariate in covariates]
    )
    centres = np.array([_value(pooled, covariate) for covariate in covariates])

    def moments(arm: Aggregates) -> Moments:
        plain = plain_moments(metric, arm)
        shift = np.array([_value(arm, covariate) for covariate in covariates]) - centres
        shared = np.array([_with_metric(metric, arm, covariate) for covariate in covariates])
        explained = 2.0 * slopes @ shared - slopes @ _covariances(arm, covariates) @ slopes
        return Moments(plain.value - float(slopes @ shift), plain.variance - float(explained), plain.count)

    return (moments(control), moments(treatment)), len(covariates)


def _usable(metric: Metric, control: Aggregates, treatment: Aggregates, pooled: Aggregates) -> list[Covariate]:
    if not metric.covariates:
        raise UnadjustableError("the metric has no covariate")
    kept: list[Covariate] = []
    reasons = []
    for covariate in metric.covariates:
        if min(control.mean(covariate.denominator), treatment.mean(covariate.denominator)) <= 0.0:
            reasons.append(f"{covariate.denominator} is 0 in an arm")
            continue
        value = _value(pooled, covariate)
        if pooled.ratio_var(*covariate) <= NO_VARIANCE * value * value:
            reasons.append(f"{covariate.numerator} does not vary between users")
            continue
        found = _covariances(pooled, [*kept, covariate])
        deviations = np.sqrt(np.diag(found))
        if np.linalg.eigvalsh(found / np.outer(deviations, deviations))[0] > _COLLINEAR:
            kept.append(covariate)
    if not kept:
        raise UnadjustableError(reasons[0])
    return kept


def _value(arm: Aggregates, covariate: Covariate) -> float:
    return float(arm.mean(covariate.numerator) / arm.mean(covariate.denominator))


def _with_metric(metric: Metric, arm: Aggregates, covariate: Covariate) -> float:
    return float(arm.ratio_cov(metric.numerator, metric.denominator, *covariate))


def _covariances(arm: Aggregates, covariates: list[Covariate]) -> np.ndarray:
    """Of the covariates with each other: [covariates, covariates]."""
    found = [[arm.ratio_cov(*left, *right) for right in covariates] for left in covariates]
    for place, covariate in enumerate(covariates):
        found[place][place] = arm.ratio_var(*covariate)
    return np.array(found, np.float64)
