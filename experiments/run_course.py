"""A run over time: whether effects grow or fade, and how long users stay, with the truth beside both.

Knows user days, phases and arms. Does not know any test.
"""

from collections.abc import Sequence
from typing import Any

import polars as pl

from experiments.config import ExperimentConfig
from experiments.playing import Phases
from experiments.truths import Truths
from metrics.definitions import Metric
from metrics.multiplicity import adjusted
from metrics.survival import log_rank, returns, silences, survival_curve
from metrics.trend import effect_trends


def trend_rows(
    config: ExperimentConfig, user_days: pl.DataFrame, truths: Truths, metrics: Sequence[Metric]
) -> list[dict[str, Any]]:
    """Whether effects grow or fade; the true slope is that of all users under both arms."""
    control, analysis = config.control_name, config.analysis
    treatments = [arm for arm in config.arms if arm != control]
    days = user_days.filter(pl.col("phase") == "experiment")
    rows = effect_trends(days, control, treatments, metrics, analysis.alpha)
    for row, p_value in zip(rows, adjusted([row["p_value"] for row in rows], analysis.correction), strict=True):
        row["p_adjusted"] = p_value
    known = truths.days("experiment")
    for row in rows:
        row["truth"] = None
        if known is not None and row["slope"] is not None:
            both = [known[arm].with_columns(pl.lit(arm).alias("arm")) for arm in (control, row["treatment"])]
            metric = next(metric for metric in metrics if metric.name == row["metric"])
            (true,) = effect_trends(pl.concat(both), control, [row["treatment"]], [metric], analysis.alpha)
            row["truth"] = {"slope": true["slope"]}
    return rows


def retention_block(
    config: ExperimentConfig, phases: Phases, user_days: pl.DataFrame, truths: Truths
) -> dict[str, Any]:
    """Time until users are gone, the test between arms, and the share who come on each day after exposure."""
    analysis, control = config.analysis, config.control_name
    span = (phases.experiment_start, phases.experiment_end, phases.follow_up_end)
    watched = silences(user_days, *span, analysis.churn_days)
    last = float(phases.follow_up_end - 1 - phases.experiment_start)
    curves, tests = [], []
    by_arm = {arm: watched.filter(pl.col("arm") == arm) for arm in config.arms}
    for arm, table in by_arm.items():
        if table.height == 0:
            continue
        curve = survival_curve(table["time"].to_numpy(), table["gone"].to_numpy())
        low, high = curve.interval(analysis.alpha)
        points = zip(curve.time, curve.at_risk, curve.share, low, high, strict=True)
        curves.append(
            {
                "arm": arm,
                "users": curve.users,
                "gone": curve.gone,
                "points": [
                    {"day": int(day), "at_risk": int(risk), "share": float(share), "ci": [float(least), float(most)]}
                    for day, risk, share, least, most in points
                ],
                "share": curve.at(last),
                "truth": truths.survival(arm, analysis.churn_days, last),
            }
        )
    for arm, table in by_arm.items():
        if arm == control:
            continue
        both = pl.concat([by_arm[control], table])
        found = log_rank(both["time"].to_numpy(), both["gone"].to_numpy(), (both["arm"] == arm).to_numpy())
        tests.append(
            {
                "treatment": arm,
                "chi_square": found.chi_square if found else None,
                "p_value": found.p_value if found else None,
            }
        )
    return {
        "churn_days": analysis.churn_days,
        "curves": curves,
        "tests": tests,
        "returns": returns(user_days, list(config.arms), *span, analysis.alpha),
    }
