"""The comparisons of an experiment: each metric, each treatment against the control, corrected by families.

Knows users' totals, CUPED and multiplicity. Does not know where totals come from, nor what is true.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import polars as pl
from tea_tasting.aggr import Aggregates

from metrics.definitions import Metric
from metrics.estimates import Estimate, arm_aggregates, check_alpha, columns_of, estimate, finite
from metrics.multiplicity import Correction, adjusted

Role = Literal["primary", "secondary", "guardrail"]


@dataclass(frozen=True, kw_only=True)
class Comparison(Estimate):
    """One metric in one treatment arm against the control arm: an estimate with its place in the family.

    Attributes:
        metric: the metric's name.
        control: the control arm.
        treatment: the treatment arm.
        role: what the metric is for. Guardrails are a family of their own.
        p_sequential: the p-value that may be read at the planned looks; ``None`` where there was but one look.
        p_adjusted: corrected for all comparisons of the family, that of the looks where there is one; ``None`` where
            not tested.
    """

    metric: str
    control: str
    treatment: str
    role: Role
    p_sequential: float | None = None
    p_adjusted: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The comparison in JSON's own types; numbers that JSON cannot write are null."""
        return {
            "metric": self.metric,
            "control": self.control,
            "treatment": self.treatment,
            "control_value": finite(self.control_value),
            "treatment_value": finite(self.treatment_value),
            "effect": finite(self.effect),
            "ci": _pair(self.ci),
            "lift": finite(self.lift),
            "lift_ci": _pair(self.lift_ci),
            "p_value": finite(self.p_value),
            "p_adjusted": finite(self.p_adjusted),
            "p_sequential": finite(self.p_sequential),
            "role": self.role,
            "std_error": finite(self.std_error),
            "method": self.method,
            "variance_reduction": finite(self.variance_reduction),
            "users": {self.control: self.users_control, self.treatment: self.users_treatment},
        }


def compare(
    totals: pl.DataFrame,
    control: str,
    treatments: Sequence[str],
    metrics: Sequence[Metric],
    alpha: float,
    cuped: bool,
    correction: Correction,
    primary: str | None = None,
    guardrails: Collection[str] = (),
    sequential: Mapping[tuple[str, str], float] | None = None,
) -> list[Comparison]:
    """Compare every treatment with the control on every metric.

    ``control_value`` and ``treatment_value`` are the arms' plain values; ``effect``, ``lift`` and their
    intervals are adjusted by CUPED where ``method`` says so. A metric of return is compared on the users
    whose window was observed to its end. What cannot be tested comes back with ``None`` and the reason.

    Args:
        totals: the table of ``user_totals``, one row a user.
        control: the arm to compare with.
        treatments: the other arms.
        metrics: what to compare.
        alpha: 1 - the confidence level of the intervals, which are not corrected for multiplicity.
        cuped: adjust by the warm-up.
        correction: of the p-values over all (metric, treatment) pairs of a family that have one.
        primary: the metric that decides; it is in one family with the secondary ones.
        guardrails: metrics that must not get worse, a family of their own.
        sequential: p-values by (metric, treatment) of what was read at several looks.

    Returns:
        One comparison for each metric and treatment, in that order.

    Raises:
        ValueError: if ``alpha`` or ``correction`` is out of range.
    """
    check_alpha(alpha)
    arms = (control, *treatments)
    present = set(totals["arm"].unique())
    # Metrics that look at the same users share one pass over the table.
    aggregates: dict[str, Mapping[str, Aggregates]] = {}
    groups: dict[tuple[str, ...], list[Metric]] = {}
    for metric in metrics:
        gaps = tuple(column for column in columns_of(metric, cuped) if totals[column].null_count())
        groups.setdefault(gaps, []).append(metric)
    for with_gaps, sharing in groups.items():
        rows = totals.drop_nulls(with_gaps) if with_gaps else totals
        read = arm_aggregates(rows, arms, sharing, cuped)
        aggregates |= {metric.name: read for metric in sharing}

    comparisons = []
    for metric in metrics:
        of_arm = aggregates[metric.name]
        for treatment in treatments:
            found = estimate(metric, of_arm[control], of_arm[treatment], alpha, cuped)
            unobserved = found.users_control + found.users_treatment == 0
            if metric.needs_days and unobserved and present & {control, treatment}:
                reason = f"no user was observed {metric.needs_days} days; lengthen horizon.days or follow_up_days"
                found = replace(found, method=reason)
            comparisons.append(
                Comparison(
                    metric=metric.name,
                    control=control,
                    treatment=treatment,
                    role=_role(metric.name, primary, guardrails),
                    p_sequential=(sequential or {}).get((metric.name, treatment)),
                    **asdict(found),
                )
            )
    return corrected(comparisons, correction)


def corrected(comparisons: Sequence[Comparison], correction: Correction) -> list[Comparison]:
    """The same comparisons with their p-values corrected, guardrails apart from the others.

    Raises:
        ValueError: if the correction is unknown.
    """
    found: dict[int, float | None] = {}
    for guarding in (False, True):
        family = [place for place, each in enumerate(comparisons) if (each.role == "guardrail") == guarding]
        p_values = [_deciding(comparisons[place]) for place in family]
        found |= zip(family, adjusted(p_values, correction), strict=True)
    return [replace(each, p_adjusted=found[place]) for place, each in enumerate(comparisons)]


def _deciding(comparison: Comparison) -> float | None:
    return comparison.p_value if comparison.p_sequential is None else comparison.p_sequential


def _role(metric: str, primary: str | None, guardrails: Collection[str]) -> Role:
    if metric in guardrails:
        return "guardrail"
    return "primary" if metric == primary else "secondary"


def _pair(interval: tuple[float, float] | None) -> list[float | None] | None:
    return None if interval is None else [finite(bound) for bound in interval]
