"""Were the arms alike before the experiment? The warm-up, compared as if it were an outcome.

All arms had the same policy then, so a difference is chance or a broken assignment. Knows covariates only.
"""

import math
from collections.abc import Sequence
from typing import Any

import polars as pl

from metrics.definitions import Metric
from metrics.estimates import arm_aggregates, estimate


def warmup_balance(
    totals: pl.DataFrame, control: str, treatments: Sequence[str], metrics: Sequence[Metric]
) -> list[dict[str, Any]]:
    """Compare the arms on every warm-up covariate of the metrics.

    Args:
        totals: the table of ``user_totals``, one row a user.
        control: the arm to compare with.
        treatments: the other arms.
        metrics: whose covariates to look at.

    Returns:
        For each covariate and treatment: ``covariate``, ``treatment``, ``control_value`` and
        ``treatment_value`` (means a user), ``smd`` (the standardised mean difference: difference of means
        over the root of the mean of the two variances; Austin 2009, "Balance diagnostics for comparing the
        distribution of baseline covariates", who reads above 0.1 as imbalance) and ``p_value`` (Welch t);
        ``None`` where a covariate does not vary or an arm has fewer than 2 users.
    """
    columns = dict.fromkeys(
        column for metric in metrics for covariate in metric.covariates for column in covariate if column
    )
    covariates = [_as_metric(column) for column in columns]
    if not covariates:
        return []
    aggregates = arm_aggregates(totals, (control, *treatments), covariates, cuped=False)
    balance = []
    for covariate in covariates:
        for treatment in treatments:
            found = estimate(covariate, aggregates[control], aggregates[treatment], alpha=0.05, cuped=False)
            smd = None
            if found.effect is not None:
                variances = [aggregates[arm].var(covariate.numerator) for arm in (control, treatment)]
                smd = found.effect / math.sqrt(sum(variances) / 2.0)
            balance.append(
                {
                    "covariate": covariate.name,
                    "treatment": treatment,
                    "control_value": found.control_value,
                    "treatment_value": found.treatment_value,
                    "smd": smd,
                    "p_value": found.p_value,
                }
            )
    return balance


def _as_metric(column: str) -> Metric:
    return Metric(
        name=column,
        title=column,
        unit="a user",
        formula=f"{column}, a user over the warm-up",
        kind="mean",
        numerator=column,
    )
