"""The effect in parts: by what users are, and by what the day was like, with tests of whether it differs.

Two kinds of split. Traits of users that were known before the arms parted divide the users, and the effect is estimated
in each group as for all. Contexts divide visits: the same user comes on rainy and on dry days, so each user's sums are
taken over the days of the context, the metric is a ratio of two sums over users, and the difference between two
contexts counts that both come from the same users (delta method). A context is as it is whatever the arm does, but who
comes in it is not from the second day on: an effect in a context is one on the visits that were made in it. Knows sums
by user.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.stats import chi2, norm

from metrics.definitions import Metric
from metrics.estimates import Estimate, arm_aggregates, columns_of, estimate

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interaction:
    """Whether an effect is the same in all parts.

    Attributes:
        statistic: chi-square.
        degrees: of freedom.
        p_value: of equal relative effects.
    """

    statistic: float
    degrees: int
    p_value: float


def by_trait(
    totals: pl.DataFrame, trait: str, metric: Metric, control: str, treatment: str, alpha: float, cuped: bool
) -> tuple[dict[str, Estimate], Interaction | None]:
    """The effect in each group of users, and whether the groups differ (Cochran's Q of the log ratios).

    Args:
        totals: one row a user, with ``arm``, the trait and the metric's columns.
        trait: column of words; rows without one are left out.
        metric: what is compared.
        control: the arm to compare with.
        treatment: the other.
        alpha: 1 - the confidence level.
        cuped: adjust by the metric's covariates.

    Returns:
        Estimates by group, in the order of their names, and the test; ``None`` with fewer than two groups that have a
        relative effect.
    """
    rows = totals.drop_nulls([trait, *columns_of(metric, cuped)])
    found: dict[str, Estimate] = {}
    for level in sorted(rows[trait].unique()):
        of_arm = arm_aggregates(rows.filter(pl.col(trait) == level), (control, treatment), [metric], cuped)
        found[level] = estimate(metric, of_arm[control], of_arm[treatment], alpha, cuped)
    usable = [each for each in found.values() if each.lift is not None and each.log_error]
    if len(usable) < 2:
        return found, None
    logs = np.array([math.log1p(each.lift or 0.0) for each in usable])
    weight = np.array([1.0 / (each.log_error or 1.0) ** 2 for each in usable])
    statistic = float(weight @ np.square(logs - np.average(logs, weights=weight)))
    return found, Interaction(statistic, len(usable) - 1, float(chi2.sf(statistic, len(usable) - 1)))


def by_context(
    sums: Mapping[bool, pl.DataFrame], metric: Metric, control: str, treatment: str, alpha: float
) -> tuple[dict[bool, Estimate], Interaction | None]:
    """The effect within a context and outside of it, and whether the two differ.

    Args:
        sums: for True and False the users' sums over the days in and outside of the context: ``user``, ``arm``, the
            metric's columns. Users without such a day have no row.
        metric: a ratio.
        control: the arm to compare with.
        treatment: the other.
        alpha: 1 - the confidence level.

    Returns:
        Estimates by context, and the test on the difference of the log ratios; ``None`` where one of them does not
        exist.

    Raises:
        ValueError: if the metric is no ratio.
    """
    if metric.denominator is None:
        raise ValueError(f"metric: {metric.name!r} is no ratio (a context needs one, since users differ in their days)")
    found: dict[bool, Estimate] = {}
    for inside, rows in sums.items():
        of_arm = arm_aggregates(rows, (control, treatment), [metric], False)
        found[inside] = estimate(metric, of_arm[control], of_arm[treatment], alpha, False)
    if any(each.lift is None or not each.log_error for each in found.values()):
        return found, None
    difference = math.log1p(found[True].lift or 0.0) - math.log1p(found[False].lift or 0.0)
    variance = sum(_variance_of_contrast(sums, metric, arm) for arm in (control, treatment))
    if not variance > 0.0:
        return found, None
    statistic = difference**2 / variance
    return found, Interaction(statistic, 1, float(2.0 * norm.sf(math.sqrt(statistic))))


def _variance_of_contrast(sums: Mapping[bool, pl.DataFrame], metric: Metric, arm: str) -> float:
    """Variance of log ratio inside minus log ratio outside, over the users of an arm who came in either."""
    columns = [metric.numerator, str(metric.denominator)]
    inside, outside = (sums[key].filter(pl.col("arm") == arm).select("user", *columns) for key in (True, False))
    both = inside.join(outside, on="user", how="full", coalesce=True, suffix=" outside").fill_null(0).sort("user")

    def parts(suffix: str) -> Floats:
        numerator, denominator = (both[f"{name}{suffix}"].to_numpy().astype(np.float64) for name in columns)
        return np.asarray((numerator - numerator.sum() / denominator.sum() * denominator) / numerator.sum())

    score = parts("") - parts(" outside")
    return float(score @ score) * len(score) / max(len(score) - 1, 1)


def as_rows(
    levels: Mapping[str, Estimate], dimension: str, metric: str, treatment: str, conditioned_on: str
) -> list[dict[str, Any]]:
    """Estimates of parts in JSON's own types."""
    return [
        {
            "dimension": dimension,
            "level": level,
            "metric": metric,
            "treatment": treatment,
            "conditioned_on": conditioned_on,
            "users": found.users_control + found.users_treatment,
            "control_value": found.control_value,
            "treatment_value": found.treatment_value,
            "effect": found.effect,
            "ci": list(found.ci) if found.ci else None,
            "lift": found.lift,
            "lift_ci": list(found.lift_ci) if found.lift_ci else None,
            "p_value": found.p_value,
            "method": found.method,
        }
        for level, found in levels.items()
    ]


def interaction_row(
    dimension: str, metric: str, treatment: str, conditioned_on: str, found: Interaction | None
) -> dict[str, Any]:
    """A test of difference in JSON's own types, not yet corrected."""
    return {
        "dimension": dimension,
        "metric": metric,
        "treatment": treatment,
        "conditioned_on": conditioned_on,
        "statistic": found.statistic if found else None,
        "degrees": found.degrees if found else None,
        "p_value": found.p_value if found else None,
        "p_adjusted": None,
    }


def levels_of(values: npt.ArrayLike, names: Sequence[str]) -> list[str]:
    """Each value's third, by names from the lowest to the highest; equal values fall into the same one.

    Args:
        values: one for each user: [users].
        names: as many as there are parts.
    """
    numbers = np.asarray(values, np.float64)
    bounds = np.quantile(numbers, np.arange(1, len(names)) / len(names)) if len(numbers) else np.zeros(0)
    return [names[place] for place in np.searchsorted(bounds, numbers, side="left")]
