"""From somebody's table and a plan to ``results.json``, in the shape of a simulated experiment's.

What a table cannot know (worlds, policies, visits, the truth) is empty. Knows columns; does not know files.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import polars as pl

from experiments.cluster_analysis import balance_over_clusters, capped_over_clusters, cluster_block
from experiments.plan import Plan
from experiments.results import SCHEMA, metrics_told, settings_told
from experiments.unit_table import ARM, DAY, UNIT
from experiments.verdict import Capped, Question, Reading, answer
from metrics.balance import warmup_balance
from metrics.capping import cap_heights, capped, share_capped
from metrics.clusters import clustered
from metrics.daily import daily_effects
from metrics.definitions import Metric
from metrics.multiplicity import adjusted
from metrics.segments import as_rows, by_trait, interaction_row
from metrics.srm import sample_ratio

MOST_LEVELS: Final = 30
"""Values of a column beyond which it is no segment."""
KNOWN_BEFORE: Final = "what was known of units before the arms parted"
NOT_IN_A_TABLE: Final[Mapping[str, Any]] = {
    "trends": [],
    "retention": None,
    "context": None,
    "pages": [],
    "allocation": None,
    "thinking": None,
    "frontier": None,
}
"""Blocks of a simulated experiment's results that no table has."""


def table_results(units: pl.DataFrame, plan: Plan, name: str, config_hash: str) -> dict[str, Any]:
    """Analyse a table of units; the contents of ``results.json``.

    Args:
        units: as ``unit_table.read_units`` gives them.
        plan: how.
        name: of the results.
        config_hash: of plan and table.

    Raises:
        ValueError: if there are more looks than planned days, a segment has too many values, or clusters are too few.
    """
    arms = sorted(units[ARM].unique())
    control = plan.control or arms[0]
    treatments = [arm for arm in arms if arm != control]
    metrics = [metric.metric for metric in plan.metrics]
    capped_units, compared = _capped(units, plan, arms), metrics
    totals = units
    if plan.cluster is not None:
        totals, compared = clustered(units, plan.cluster, metrics)
        capped_units = capped_over_clusters(capped_units, plan.cluster)
    counts = {arm: int((totals[ARM] == arm).sum()) for arm in (control, *treatments)}
    shares = plan.shares or dict.fromkeys(counts, 1.0)
    ratio = sample_ratio(counts, {arm: shares[arm] for arm in counts})
    first, days = _span(units, plan)
    question = Question(
        totals=totals,
        control=control,
        treatments=treatments,
        metrics=compared,
        primary=str(plan.primary),
        settings=plan,
        trusted=ratio.ok,
        readings=_readings(totals, plan, days),
        capped=capped_units,
        clusters=plan.cluster is not None,
        units="units" if plan.cluster is None else "clusters",
    )
    found = answer(question) | _segments(units, plan, control, treatments, metrics)
    _without_truth(found)
    return {
        **_opening(units, plan, name, config_hash, (first, days)),
        "analysis": {
            "control": control,
            "primary": plan.primary,
            "covariates": [],
            **settings_told(plan, metrics),
        },
        "metrics": metrics_told(metrics),
        "arms": _arms(units, counts, shares, metrics),
        "srm": {"p_value": ratio.p_value, "ok": ratio.ok},
        **found,
        "clusters": plan.cluster
        and cluster_block(
            units, plan.cluster, "clusters", "units", found["comparisons"], metrics, plan.alpha, plan.cuped
        ),
        "daily": _daily(units, plan, control, treatments, metrics),
        **NOT_IN_A_TABLE,
        "diagnostics": {
            "warmup_balance": [
                {
                    "metric": row["covariate"],
                    "treatment": row["treatment"],
                    "difference_sd": row["smd"],
                    "p_value": row["p_value"],
                }
                for row in _balance(units, plan, control, treatments, metrics)
            ],
            "missing": _missing(units, plan, arms),
            "visits": {},
            "exposed": counts,
            "churned": {},
            "warmup_thinking": None,
        },
    }


def _without_truth(found: Mapping[str, Any]) -> None:
    """Say of every estimate that its truth is not known, as a run without ``oracle`` does."""
    looks = [look for path in found["sequential"] for look in path["looks"]]
    cuts = [row["capped"] for row in found["comparisons"] if row["capped"]]
    for row in (*found["comparisons"], *found["quantiles"], *found["guardrails"], *found["segments"], *looks, *cuts):
        row["truth"] = None


def _opening(
    units: pl.DataFrame, plan: Plan, name: str, config_hash: str, span: tuple[str | None, int]
) -> dict[str, Any]:
    """What results begin with, as ``results.opening`` has it of a simulated experiment."""
    first, days = span
    return {
        "schema": SCHEMA,
        "name": name,
        "seed": None,
        "scenario": "table",
        "config_hash": config_hash,
        "currency": plan.currency or None,
        "horizon": {
            "start": first,
            "warmup_start": None,
            "experiment_start": first,
            "experiment_end": _after(first, days),
            "follow_up_end": _after(first, days),
        },
        "world": {"kind": "table", "users": units.height, "items": None, "cities": [], "contexts": None},
    }


def _arms(
    units: pl.DataFrame, counts: Mapping[str, int], shares: Mapping[str, float], metrics: list[Metric]
) -> dict[str, dict[str, Any]]:
    """The arms by name, the control first."""
    whole = sum(shares.values())
    return {
        arm: {
            "policy": "",
            "params": {},
            "share": shares[arm] / whole,
            "users": count,
            "assigned": count,
            "totals": _totals(units, arm, metrics),
        }
        for arm, count in counts.items()
    }


def _span(units: pl.DataFrame, plan: Plan) -> tuple[str | None, int]:
    """The first day, and the planned days from it; one without dates."""
    if not plan.date:
        return None, 1
    first, last = units[DAY].min(), units[DAY].max()
    seen = (last - first).days + 1  # type: ignore[operator, union-attr]
    return str(first), max(plan.planned_days or seen, seen)


def _after(first: str | None, days: int) -> str | None:
    return None if first is None else str(np.datetime64(first) + np.timedelta64(days, "D"))


def _readings(units: pl.DataFrame, plan: Plan, days: int) -> list[Reading]:
    """A look after each planned day counts the units exposed by then, each with all that is known of it now."""
    if not plan.date:
        return [Reading(1.0, {"day": None, "date": None}, lambda: units)]
    offset = (units[DAY] - units[DAY].min()).dt.total_days()
    seen = int(offset.max() or 0) + 1  # type: ignore[arg-type]

    def until(day: int) -> Callable[[], pl.DataFrame]:
        return lambda: units if day >= seen else units.filter(offset < day)

    # Of a test that still runs, the data at hand are a look too: the last there is so far.
    looks = sorted({day for day in plan.sequential.days_of(days) if day < seen} | {seen})
    first = np.datetime64(str(units[DAY].min()))
    return [
        Reading(day / days, {"day": day - 1, "date": str(first + np.timedelta64(day - 1, "D"))}, until(day))
        for day in looks
    ]


def _capped(units: pl.DataFrame, plan: Plan, arms: list[str]) -> Capped | None:
    """The units cut at a quantile of the covariate, which no arm has touched, or of all values where there is none."""
    chosen = {metric.name: metric for metric in plan.metrics if metric.cap is not None}
    heights: dict[str, float] = {}
    for name, metric in chosen.items():
        before = next((each.numerator for each in metric.covariates if each.denominator is None), None)
        source = before or str(metric.column)
        found = cap_heights(units.select(source).drop_nulls(), [source], float(metric.cap or 0.0))
        if source in found:
            heights[name] = found[source]
    chosen = {name: metric for name, metric in chosen.items() if name in heights}
    if not chosen:
        return None
    columns = {str(metric.column): heights[name] for name, metric in chosen.items()}
    return Capped(
        totals=capped(units, columns),
        metrics={name: metric.metric for name, metric in chosen.items()},
        quantile={name: float(metric.cap or 0.0) for name, metric in chosen.items()},
        heights=heights,
        shares={
            name: {
                arm: share_capped(units.filter(pl.col(ARM) == arm), str(metric.column), heights[name]) for arm in arms
            }
            for name, metric in chosen.items()
        },
    )


def _balance(
    units: pl.DataFrame, plan: Plan, control: str, treatments: list[str], metrics: list[Metric]
) -> list[dict[str, Any]]:
    """What was known before, compared between arms."""
    if plan.cluster is None:
        return warmup_balance(units, control, treatments, metrics)
    return balance_over_clusters(units, plan.cluster, control, treatments, metrics)


def _segments(
    units: pl.DataFrame, plan: Plan, control: str, treatments: list[str], metrics: list[Metric]
) -> dict[str, list[dict[str, Any]]]:
    """The primary metric's effect by what units were, and whether the parts differ.

    Raises:
        ValueError: if a column has too many values to be a segment, or units are clustered.
    """
    segments: list[dict[str, Any]] = []
    interactions: list[dict[str, Any]] = []
    primary = next(metric for metric in metrics if metric.name == plan.primary)
    for column in plan.segments:
        levels = units[column].drop_nulls().n_unique()
        if levels > MOST_LEVELS:
            raise ValueError(f"segments: {column} has {levels:,} values; at most {MOST_LEVELS}, so group them first")
        for treatment in treatments:
            found, interaction = by_trait(units, column, primary, control, treatment, plan.alpha, plan.cuped)
            segments += as_rows(found, column, primary.name, treatment, KNOWN_BEFORE)
            interactions.append(interaction_row(column, primary.name, treatment, KNOWN_BEFORE, interaction))
    for row, p_value in zip(
        interactions, adjusted([row["p_value"] for row in interactions], plan.correction), strict=True
    ):
        row["p_adjusted"] = p_value
    return {"segments": [{**row, "per": None} for row in segments], "interactions": interactions}


def _totals(units: pl.DataFrame, arm: str, metrics: list[Metric]) -> dict[str, float]:
    mine = units.filter(pl.col(ARM) == arm)
    columns = dict.fromkeys(column for metric in metrics for column in (metric.numerator, metric.denominator) if column)
    return {column: float(mine[column].sum()) for column in columns}


def _daily(
    units: pl.DataFrame, plan: Plan, control: str, treatments: list[str], metrics: list[Metric]
) -> list[dict[str, Any]]:
    """The effect on the units exposed on each day."""
    if not plan.date or units[DAY].n_unique() < 2:
        return []
    first = units[DAY].min()
    by_day = units.with_columns(
        (pl.col(DAY) - pl.lit(first)).dt.total_days().alias(DAY),
        pl.lit("experiment").alias("phase"),
        pl.col(UNIT).alias("user"),
    )
    whole = [replace(metric, covariates=()) for metric in metrics]
    columns = [column for metric in whole for column in (metric.numerator, metric.denominator) if column]
    effects = daily_effects(by_day.drop_nulls(columns), control, treatments, whole, plan.alpha)
    for point in effects:
        point["date"] = _after(str(first), point["day"])
        point["truth"] = None
    return effects


def _missing(units: pl.DataFrame, plan: Plan, arms: list[str]) -> list[dict[str, Any]]:
    """Share of empty values by arm, of the columns that have any."""
    return [
        {
            "column": column,
            "share": {
                arm: units.filter(pl.col(ARM) == arm)[column].null_count() / max(1, count) for arm, count in counts
            },
        }
        for counts in [[(arm, int((units[ARM] == arm).sum())) for arm in arms]]
        for column in plan.columns
        if units[column].null_count()
    ]
