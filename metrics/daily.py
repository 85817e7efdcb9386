"""The course of an effect: each day of the experiment on its own.

For a chart, not for a decision: the users of a day are those who came on it, which the arm itself can change
from the second day on, and many looks find something by chance. Decisions belong to ``effects``.
"""

from collections.abc import Sequence
from typing import Any

import polars as pl

from metrics.definitions import Metric
from metrics.estimates import arm_aggregates, check_alpha, estimate


def daily_effects(
    user_days: pl.DataFrame, control: str, treatments: Sequence[str], metrics: Sequence[Metric], alpha: float
) -> list[dict[str, Any]]:
    """The effect on each day, without CUPED.

    The unit is a user active on that day: a ratio divides sums over the day's active users, a mean is a value
    a user active on that day. Metrics of return have no daily value and are passed over.

    Args:
        user_days: one row for each user and active day, with ``arm``, ``day``, ``phase``.
        control: the arm to compare with.
        treatments: the other arms.
        metrics: what to compare.
        alpha: 1 - the confidence level of each day's interval.

    Returns:
        For each metric, treatment and day of the experiment, in that order: ``metric``, ``treatment``,
        ``day``, ``effect``, ``ci``, ``lift``, ``lift_ci``, ``control_value``, ``treatment_value``; ``None``
        where a day is too thin to compare.

    Raises:
        ValueError: if ``alpha`` is out of range.
    """
    check_alpha(alpha)
    additive = [metric for metric in metrics if metric.window is None]
    if not additive:
        return []
    arms = (control, *treatments)
    experiment = user_days.filter((pl.col("phase") == "experiment") & pl.col("arm").is_in(arms))
    by_day = {
        int(rows["day"][0]): arm_aggregates(rows.sort("user"), arms, additive, cuped=False)
        for rows in experiment.sort("day").partition_by("day", maintain_order=True)
    }
    effects = []
    for metric in additive:
        for treatment in treatments:
            for day, of_arm in by_day.items():
                found = estimate(metric, of_arm[control], of_arm[treatment], alpha, cuped=False)
                effects.append(
                    {
                        "metric": metric.name,
                        "treatment": treatment,
                        "day": day,
                        "effect": found.effect,
                        "ci": list(found.ci) if found.ci else None,
                        "lift": found.lift,
                        "lift_ci": list(found.lift_ci) if found.lift_ci else None,
                        "control_value": found.control_value,
                        "treatment_value": found.treatment_value,
                    }
                )
    return effects
