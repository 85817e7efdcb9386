"""One metric, two arms: difference, interval and p-value from the arms' means, variances and covariances.

The delta method for ratios is Deng, Knoblich and Lu (2018), "Applying the Delta Method in Metric Analytics"; CUPED is
that of ``cuped``. tea-tasting makes the test of them. This module keeps it to the cases it can compute, and names the
reason in the others. It does not know families of tests, nor where the users come from.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import polars as pl
import tea_tasting as tt
from scipy.stats import norm
from tea_tasting.aggr import Aggregates, read_aggregates
from tea_tasting.metrics.mean import MeanResult

from metrics.cuped import NO_VARIANCE, Moments, UnadjustableError, adjusted_moments, plain_moments
from metrics.definitions import Metric
from metrics.proportions import compare_proportions

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What two arms say about one metric.

    Attributes:
        control_value: the plain value of the metric in the control arm; ``None`` if it has none.
        treatment_value: the same in the treatment arm.
        effect: treatment minus control, adjusted by CUPED where ``method`` says so, and then not exactly the
            difference of the two plain values; ``None`` if it cannot be tested.
        ci: its confidence interval.
        lift: adjusted treatment value over adjusted control value, minus 1; ``None`` where an arm is at or near 0, or
            below: a ratio has no interval worth showing there, and the difference has.
        lift_ci: the interval of the lift, built on the log scale.
        p_value: of the two-sided test of no effect.
        method: how it was computed, or why it was not.
        variance_reduction: 1 - variance of the effect with CUPED / without; ``None`` without CUPED.
        users_control: users analysed in the control arm.
        users_treatment: users analysed in the treatment arm.
        std_error: standard error of the effect; ``None`` if it cannot be tested.
        log_error: standard error of the logarithm of treatment over control; ``None`` where there is no lift.
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
    std_error: float | None = None
    log_error: float | None = None

    @property
    def z(self) -> float | None:
        """The standard normal deviate that is as surprising as the test's statistic, with the sign of the effect."""
        if self.effect is None or self.p_value is None or not self.std_error:
            return None
        if self.p_value > 0.0:
            return math.copysign(float(norm.isf(self.p_value / 2.0)), self.effect)
        return self.effect / self.std_error


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
    columns = sorted({column for metric in metrics for column in columns_of(metric, cuped)})
    pairs = tuple(combinations(columns, 2))
    # Arm by arm and not by a parallel group-by, whose float sums may change in the last bit between runs.
    read = {
        arm: read_aggregates(
            rows.filter(pl.col("arm") == arm),
            None,
            has_count=True,
            mean_cols=tuple(columns),
            var_cols=tuple(columns),
            cov_cols=pairs,
        )
        for arm in arms
    }
    return {arm: _with_itself(found) for arm, found in read.items()}


def estimate(metric: Metric, control: Aggregates, treatment: Aggregates, alpha: float, cuped: bool) -> Estimate:
    """Compare two arms on one metric; cases that cannot be tested come back with the reason, not as an error.

    Args:
        metric: what to compare.
        control: aggregates of the control arm.
        treatment: aggregates of the treatment arm.
        alpha: 1 - the confidence level of the intervals.
        cuped: adjust by the metric's covariates where that is possible.
    """
    arms = (control, treatment)
    too_few = next((arm for arm in arms if arm.count() < 2), None)
    control_value, treatment_value = values = tuple(_value(metric, arm) for arm in arms)
    if too_few is not None:
        return _untested(arms, values, f"not tested: users in an arm are {too_few.count()}, 2 are needed")
    if control_value is None or treatment_value is None:
        return _untested(arms, values, f"not tested: {metric.denominator} is 0 in an arm")
    plain = (plain_moments(metric, control), plain_moments(metric, treatment))
    largest = max(control_value * control_value, treatment_value * treatment_value)
    varies = max(moments.variance for moments in plain) > NO_VARIANCE * largest
    # Nobody against everybody: no variance within the arms, and the clearest of differences.
    if not varies and not (metric.kind == "proportion" and control_value != treatment_value):
        return _untested(arms, values, f"not tested: {metric.numerator} does not vary between users")

    words = "ratio of means, delta method" if metric.kind == "ratio" else "difference of means"
    method, result, reduction, moments = f"{words}, Welch t", None, None, plain
    obstacle = None
    if cuped and not (metric.kind == "proportion" and not metric.covariates):
        try:
            moments, used = adjusted_moments(metric, control, treatment)
            reduction = 1.0 - _squared_error(moments) / _squared_error(plain)
            # A test divides by what is left; rounding alone leaves about this much.
            if 1.0 - reduction <= NO_VARIANCE:
                raise UnadjustableError("the covariate predicts the metric exactly")
            result = _test(moments, alpha)
            if result is None:
                raise UnadjustableError("the error is too large beside the adjusted value")
            method = f"{words}, CUPED from warm-up{f' with {used} covariates' if used > 1 else ''}, Welch t"
        except UnadjustableError as reason:
            obstacle = f" (CUPED left out: {reason})"
            result, reduction, moments = None, None, plain
    if result is None and metric.kind == "proportion":
        return _proportions(arms, (control_value, treatment_value), plain, alpha, obstacle or "")
    if result is None:
        method = f"{method}{obstacle or ''}"
        result = _test(plain, alpha)
    if result is None:
        return _untested(arms, values, "not tested: the error is too large beside the value")

    has_lift = min(control_value, treatment_value) > 0.0 and all(_apart_from_zero(arm) for arm in moments)
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
        std_error=math.sqrt(_squared_error(moments)),
        log_error=_log_error(moments) if has_lift else None,
    )


def columns_of(metric: Metric, cuped: bool) -> list[str]:
    """Columns of the totals that a metric is computed from."""
    covariates = metric.covariates if cuped else ()
    both = ((metric.numerator, metric.denominator), *covariates)
    return [column for pair in both for column in pair if column is not None]


def _with_itself(found: Aggregates) -> Aggregates:
    """The same, knowing that a column's covariance with itself is its variance; two ratios may share a column."""
    itself = {(column, column): variance for column, variance in found.var_.items()}
    return Aggregates(found.count_, found.mean_, found.var_, {**found.cov_, **itself})


def _test(moments: tuple[Moments, Moments], alpha: float) -> MeanResult | None:
    """The library's Welch test; ``None`` where its relative interval overflows or a variance rounds below 0."""
    test = tt.Mean("value", confidence_level=1.0 - alpha, alternative="two-sided", equal_var=False, use_t=True)
    control, treatment = (Aggregates(m.count, {"value": m.value}, {"value": m.variance}) for m in moments)
    try:
        return test.analyze_aggregates(control, treatment)
    except (OverflowError, ValueError):
        return None


def _proportions(
    arms: tuple[Aggregates, Aggregates],
    values: tuple[float, float],
    moments: tuple[Moments, Moments],
    alpha: float,
    note: str,
) -> Estimate:
    (control, treatment), (control_value, treatment_value) = arms, values
    users, others = int(control.count()), int(treatment.count())
    test = compare_proportions(round(users * control_value), users, round(others * treatment_value), others, alpha)
    lift = treatment_value / control_value - 1.0 if test.ratio_ci else None
    return Estimate(
        control_value=control_value,
        treatment_value=treatment_value,
        effect=treatment_value - control_value,
        ci=test.ci,
        lift=lift,
        lift_ci=(test.ratio_ci[0] - 1.0, test.ratio_ci[1] - 1.0) if test.ratio_ci else None,
        p_value=finite(test.p_value),
        method=f"difference of proportions, pooled z, Newcombe interval{note}",
        variance_reduction=None,
        users_control=users,
        users_treatment=others,
        std_error=math.sqrt(_squared_error(moments)),
        log_error=_log_error(moments) if test.ratio_ci else None,
    )


def _squared_error(moments: tuple[Moments, Moments]) -> float:
    return sum(arm.variance / arm.count for arm in moments)


def _apart_from_zero(arm: Moments) -> bool:
    """Whether an arm's value lies so far above 0 that it can be divided by, and its logarithm taken.

    Where its own standard error is as large as the value, a 95% interval on the log scale goes to seven times the ratio
    and a seventh of it at least, and Fieller's is unbounded (1954, "Some problems in interval estimation").
    """
    return arm.value > 0.0 and arm.value**2 > arm.variance / arm.count


def _log_error(moments: tuple[Moments, Moments]) -> float:
    return math.sqrt(sum(arm.variance / arm.count / arm.value**2 for arm in moments))


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
