"""Guardrails at their limit: how often a loss as large as the margin passes, and how often it fails.

The treatment's units show the control's table with the metric made worse by exactly the margin, so that the truth lies
on the border between passing and failing. Knows aggregates; the test is the verdict's own.
"""

from tea_tasting.aggr import Aggregates

from metrics.definitions import Metric
from metrics.estimates import estimate
from metrics.guardrails import State, guard


def scaled(arm: Aggregates, column: str, factor: float) -> Aggregates:
    """The aggregates as they would be if a column's values were all multiplied by a factor."""

    def times(names: tuple[str, ...]) -> float:
        return float(factor ** names.count(column))

    return Aggregates(
        arm.count_,
        {name: mean * times((name,)) for name, mean in arm.mean_.items()},
        {name: variance * times((name, name)) for name, variance in arm.var_.items()},
        {pair: covariance * times(pair) for pair, covariance in arm.cov_.items()},
    )


def at_margin(
    metric: Metric, control: Aggregates, treatment: Aggregates, margin: float, alpha: float, cuped: bool
) -> State | None:
    """The state of a guardrail where the loss is exactly the margin.

    Args:
        metric: the guardrail.
        control: aggregates of the control arm.
        treatment: aggregates of the other arm, under the same table.
        margin: relative loss that is put up with.
        alpha: two-sided level.
        cuped: whether the verdict adjusts.

    Returns:
        The state of the guardrail; ``None`` where there is no estimate.
    """
    factor = 1.0 - margin if metric.higher_is_better else 1.0 + margin
    worse = scaled(treatment, metric.numerator, factor)
    found = estimate(metric, control, worse, alpha, cuped)
    outcome = guard(metric.name, "treatment", found, margin, alpha, metric.higher_is_better)
    return None if outcome.p_value is None else outcome.state
