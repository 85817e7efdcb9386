"""One metric, two arms: difference, interval and p-value from the arms' means, variances and covariances.

The delta method for ratios is Deng, Knoblich and Lu (2018), "Applying the Delta Method in Metric Analytics";
CUPED is Deng, Xu, Kohavi and Walker (2013), "Improving the Sensitivity of Online Controlled Experiments by
Utilizing Pre-Experiment Data". tea-tasting computes both. This module keeps it to the cases it can compute,
and names the reason in the others. It does not know families of tests, nor where the users come from.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Final

import polars as pl
import tea_tasting as tt
from tea_tasting.aggr import Aggregates, read_aggregates
from tea_tasting.metrics.mean import MeanResult

from metrics.definitions import Metric

Interval = tuple[float, float]

# Sums of squares of equal floats come out as about 1e-16 of the squared value, not as 0.
_NO_VARIANCE: Final = 1e-12


@dataclass(frozen=True)
class Estimate:
    """What two arms say about one metric.

    Attributes:
        control_value: the plain value of the metric in the control arm; ``None`` if it has none.
        treatment_value: the same in the treatment arm.
        effect: treatment minus control, adjusted by CUPED where ``method`` says so, and then not exactly the
            difference of the two plain values; ``None`` if it cannot be tested.
        ci: its confidence interval.
        lift: adjusted treatment value over adjusted control value, minus 1; ``None`` unless both are above 0.
        lift_ci: the interval of the lift, built on the log scale.
        p_value: of the two-sided test of no effect.
        method: how it was computed, or why it was not.
        variance_reduction: 1 - variance of the effect with CUPED / without; ``None`` without CUPED.
        users_control: users analysed in the control arm.
        users_treatment: users analysed in the treatment arm.
    """

    control_value: float | None
    treatment_value: float | None
    effect: float | None
    ci: Interval | None
    lift: float | None
    lift_ci: Interval | None
    p_value: float | None
    method: str
    variance_reduction: float | None
    users_control: int
    users_treatment: int


def finite(value: float | None) -> float | None:
    """The value as a plain float, ``None`` in place of NaN and the infinities."""
    return None if value is None or not math.isfinite(value) else float(value)


def check_alpha(alpha: float) -> None:
    """Raise ``ValueError`` unless ``alpha`` is a significance level."""
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha: {alpha} (must lie between 0 and 1)")


def arm_aggregates(
    rows: pl.DataFrame, arms: Iterable[str], metrics: Sequence[Metric], cuped: bool
) -> Mapping[str, Aggregates]:
    """Counts, means, variances and covariances of each arm, in one pass for all metrics.

    Args:
        rows: one row for each unit, with ``arm`` and the metrics' columns.
        arms: the arms to read; an arm without rows gets a count of 0.
        metrics: what will be estimated from the aggregates.
        cuped: whether the covariates are needed too.
    """
    needed = reduce(or_, (_test_of(metric, 0.05, cuped).aggr_cols for metric in metrics))
    # Arm by arm and not by a parallel group-by, whose float sums may change in the last bit between runs.
    return {arm: read_aggregates(rows.filter(pl.col("arm") == arm), None, **needed._asdict()) for arm in arms}


def estimate(metric: Metric, control: Aggregates, treatment: Aggregates, alpha: float, cuped: bool) -> Estimate:
    """Compare two arms on one metric; cases that cannot be tested come back with the reason, not as an error.

    Args:
        metric: what to compare.
        control: aggregates of the control arm.
        treatment: aggregates of the treatment arm.
        alpha: 1 - the confidence level of the intervals.
        cuped: adjust by the metric's warm-up covariate where that is possible.
    """
    arms = (control, treatment)
    too_few = next((arm for arm in arms if arm.count() < 2), None)
    control_value, treatment_value = values = tuple(_value(metric, arm) for arm in arms)
    if too_few is not None:
        return _untested(arms, values, f"not tested: users in an arm are {too_few.count()}, 2 are needed")
    if control_value is None or treatment_value is None:
        return _untested(arms, values, f"not tested: {metric.denominator} is 0 in an arm")
    variances = [arm.ratio_var(metric.numerator, metric.denominator) for arm in arms]
    if max(variances) <= _NO_VARIANCE * max(control_value * control_value, treatment_value * treatment_value):
        return _untested(arms, values, f"not tested: {metric.numerator} does not vary between users")
    variance = sum(var / arm.count() for var, arm in zip(variances, arms, strict=True))

    words = "ratio of means, delta method" if metric.kind == "ratio" else "difference of means"
    method, result, reduction = f"{words}, Welch t", None, None
    if cuped:
        reduction, obstacle = _variance_reduction(metric, control, treatment, variance)
        if obstacle is None:
            result = _analyse(_test_of(metric, alpha, True), control, treatment)
        if result is not None:
            method = f"{words}, CUPED from warm-up, Welch t"
        else:
            reason = obstacle or "the error is too large beside the adjusted value"
            method, reduction = f"{method} (CUPED left out: {reason})", None
    if result is None:
        result = _analyse(_test_of(metric, alpha, False), control, treatment)
    if result is None:
        return _untested(arms, values, "not tested: the error is too large beside the value")

    has_lift = result.control > 0.0 and result.treatment > 0.0
    return Estimate(
        control_value=control_value,
        treatment_value=treatment_value,
        effect=finite(result.effect_size),
        ci=_interval(result.effect_size_ci_lower, result.effect_size_ci_upper),
        lift=finite(result.rel_effect_size) if has_lift else None,
        lift_ci=_interval(result.rel_effect_size_ci_lower, result.rel_effect_size_ci_upper) if has_lift else None,
        p_value=finite(result.pvalue),
        method=method,
        variance_reduction=reduction,
        users_control=int(control.count()),
        users_treatment=int(treatment.count()),
    )


def _test_of(metric: Metric, alpha: float, cuped: bool) -> tt.RatioOfMeans:
    return tt.RatioOfMeans(
        metric.numerator,
        metric.denominator,
        metric.covariate if cuped else None,
        metric.covariate_denominator if cuped else None,
        alternative="two-sided",
        confidence_level=1.0 - alpha,
        equal_var=False,
        use_t=True,
    )


def _analyse(test: tt.RatioOfMeans, control: Aggregates, treatment: Aggregates) -> MeanResult | None:
    """The library's result; ``None`` where its relative interval overflows or a variance rounds below 0."""
    try:
        return test.analyze_aggregates(control, treatment)
    except (OverflowError, ValueError):
        return None


def _variance_reduction(
    metric: Metric, control: Aggregates, treatment: Aggregates, plain_variance: float
) -> tuple[float | None, str | None]:
    """1 - variance of the effect with CUPED / without; or ``None`` and what stands in CUPED's way."""
    numerator, denominator = metric.covariate, metric.covariate_denominator
    if numerator is None:
        return None, "the metric has no covariate"
    if min(control.mean(denominator), treatment.mean(denominator)) <= 0.0:
        return None, f"{denominator} is 0 in an arm"
    pooled = control + treatment
    value = pooled.mean(numerator) / pooled.mean(denominator)
    spread = pooled.ratio_var(numerator, denominator)
    if spread <= _NO_VARIANCE * value * value:
        return None, f"{numerator} does not vary between users"
    columns = (metric.numerator, metric.denominator, numerator, denominator)
    slope = pooled.ratio_cov(*columns) / spread
    explained = sum(
        (2.0 * slope * arm.ratio_cov(*columns) - slope * slope * arm.ratio_var(numerator, denominator)) / arm.count()
        for arm in (control, treatment)
    )
    reduction = float(explained / plain_variance)
    # A test divides by what is left; rounding alone leaves about this much.
    if 1.0 - reduction <= _NO_VARIANCE:
        return None, "the covariate predicts the metric exactly"
    return reduction, None


def _value(metric: Metric, arm: Aggregates) -> float | None:
    """The plain value of the metric in one arm, ``None`` where the arm is empty or divides by 0."""
    if arm.count() == 0 or arm.mean(metric.denominator) == 0.0:
        return None
    return finite(arm.mean(metric.numerator) / arm.mean(metric.denominator))


def _untested(arms: Sequence[Aggregates], values: Sequence[float | None], reason: str) -> Estimate:
    return Estimate(
        control_value=values[0],
        treatment_value=values[1],
        effect=None,
        ci=None,
        lift=None,
        lift_ci=None,
        p_value=None,
        method=reason,
        variance_reduction=None,
        users_control=int(arms[0].count()),
        users_treatment=int(arms[1].count()),
    )


def _interval(lower: float, upper: float) -> Interval | None:
    return (float(lower), float(upper)) if math.isfinite(lower) and math.isfinite(upper) else None
