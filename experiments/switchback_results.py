"""From a switchback's blocks to ``results.json``, in the shape of other experiments' results.

The unit of every test is a city's block of hours. Two things are true of such an experiment: what the arms would do if
one of them served everybody all the time, which is the truth that decides, and what they do to blocks while cities
switch, which is what the design estimates. They differ by what users carry over from one block to the next.
"""

from typing import Any, Final

import polars as pl

from experiments.assignment_config import ByCityHours
from experiments.blocks import block_metrics
from experiments.cluster_analysis import cluster_block
from experiments.config import ExperimentConfig
from experiments.playing import Phases
from experiments.results import (
    allocation_of,
    changed_params,
    context_strip,
    date_of,
    opening,
    thinking_of,
    totals_of,
    true_days,
    warmup_thinking_of,
)
from experiments.run_analysis import scorecard
from experiments.switchback import Switched
from experiments.truths import beside
from experiments.verdict import Question, Reading, answer
from metrics.balance import warmup_balance
from metrics.daily import daily_effects
from metrics.definitions import Metric
from metrics.effects import compare
from metrics.srm import sample_ratio
from metrics.truth import true_effects
from simulator.world import World

LEFT_OUT: Final = (
    "Left out, since a user meets all arms: pages side by side, quantiles and cut tails of users' sums, segments, the "
    "trend of daily effects, and how long users stay."
)


def switchback_results(
    config: ExperimentConfig, world: World, phases: Phases, switched: Switched, config_hash: str
) -> dict[str, Any]:
    """Analyse blocks; the contents of ``results.json``, schema 2, with ``clusters`` and ``switchback``."""
    analysis, control = config.analysis, config.control_name
    treatments = [arm for arm in config.arms if arm != control]
    metrics = block_metrics(scorecard(config))
    rows = switched.rows
    counts = {arm: int((rows["arm"] == arm).sum()) for arm in config.arms}
    ratio = sample_ratio(counts, {name: arm.share for name, arm in config.arms.items()})
    last = phases.experiment_end - 1
    question = Question(
        totals=rows,
        control=control,
        treatments=treatments,
        metrics=metrics,
        primary=analysis.primary,
        settings=analysis.model_copy(update={"quantiles": ()}),
        trusted=ratio.ok,
        readings=[Reading(1.0, {"day": last, "date": date_of(world, last)}, lambda: rows)],
        clusters=True,
    )
    found = answer(question)
    lasting, switching = _truths(switched, control, metrics)
    for row in found["comparisons"]:
        row["truth"] = beside(lasting.get((row["metric"], row["treatment"])), row["ci"], row["lift_ci"])
    for path in found["sequential"]:
        for look in path["looks"]:
            look["truth"] = beside(lasting.get((path["metric"], path["treatment"])), look["ci"])
    for row in found["guardrails"]:
        truth = lasting.get((row["metric"], row["treatment"]))
        row["truth"] = None if truth is None else {"lift": truth["lift"]}
    exposed = {arm: switched.periods.filter(pl.col("arm") == arm)["user"].n_unique() for arm in config.arms}
    return {
        **opening(config, world, phases, metrics, config_hash),
        "arms": {
            name: {
                "policy": arm.policy,
                "params": changed_params(arm),
                "share": arm.share,
                "users": exposed[name],
                "assigned": exposed[name],
                "totals": totals_of(switched.user_days, name),
            }
            for name, arm in config.arms.items()
        },
        "srm": {"p_value": ratio.p_value, "ok": ratio.ok},
        **found,
        "segments": [],
        "interactions": [],
        "trends": [],
        "retention": None,
        "clusters": _cost(config, switched, treatments, metrics),
        "switchback": _carried_over(config, switched, found["comparisons"], lasting, switching),
        "daily": _daily(config, world, switched, treatments, metrics),
        "context": context_strip(config, world, phases),
        "allocation": allocation_of(world, switched.diaries),
        "thinking": thinking_of(world, switched.thinking),
        "frontier": None,
        "pages": None,
        "diagnostics": {
            "warmup_balance": [
                {
                    "metric": row["covariate"],
                    "treatment": row["treatment"],
                    "difference_sd": row["smd"],
                    "p_value": row["p_value"],
                }
                for row in (warmup_balance(rows, control, treatments, metrics) if config.horizon.warmup_days else [])
            ],
            "visits": {
                name: {"drawn": v.drawn, "served": v.served, "lost": v.lost} for name, v in switched.visits.items()
            },
            "exposed": exposed,
            "churned": {},
            "left_for_good": switched.left,
            "warmup_thinking": warmup_thinking_of(world, switched.warmup_thinking),
        },
    }


_Effects = dict[tuple[str, str], dict[str, float | None]]


def _truths(switched: Switched, control: str, metrics: list[Metric]) -> tuple[_Effects, _Effects]:
    """Effects of one arm for everybody all the time, and of arms on blocks while cities switch; empty if unknown."""
    if switched.under_arm is None:
        return {}, {}
    plays = pl.concat([switched.rows.select(next(iter(switched.turned.values())).columns), *switched.turned.values()])
    blocks = {arm: plays.filter(pl.col("arm") == arm) for arm in switched.under_arm}
    return true_effects(switched.under_arm, control, metrics), true_effects(blocks, control, metrics)


def _carried_over(
    config: ExperimentConfig,
    switched: Switched,
    comparisons: list[dict[str, Any]],
    lasting: _Effects,
    switching: _Effects,
) -> dict[str, Any]:
    """The design, and by metric and treatment what blocks carry over: the bias of its estimates."""
    design = config.assignment
    assert isinstance(design, ByCityHours)
    effects = []
    for row in comparisons:
        key = (row["metric"], row["treatment"])
        always, while_switching = lasting.get(key), switching.get(key)
        known = always is not None and while_switching is not None
        bias = None
        if always is not None and while_switching is not None:
            bias = {
                name: a - b if (a := while_switching[name]) is not None and (b := always[name]) is not None else None
                for name in ("effect", "lift")
            }
        effects.append(
            {
                "metric": row["metric"],
                "treatment": row["treatment"],
                "while_switching": beside(while_switching, row["ci"], row["lift_ci"]) if known else None,
                "carry_over": bias,
            }
        )
    return {
        "hours": design.hours,
        "burn_in_hours": design.burn_in_hours,
        "cities": len(switched.grid.cities),
        "blocks": switched.grid.blocks,
        "effects": effects,
    }


def _cost(config: ExperimentConfig, switched: Switched, treatments: list[str], metrics: list[Metric]) -> dict[str, Any]:
    """What randomising blocks cost beside users of a block one by one; only ratios have a value for users, too."""
    ratios = [metric for metric in metrics if metric.denominator]
    alpha, control = config.analysis.alpha, config.control_name
    columns = dict.fromkeys(name for metric in ratios for name in (metric.numerator, metric.denominator) if name)
    units = (
        switched.periods.group_by("user", "cell", "arm", maintain_order=True)
        .agg(pl.col(name).sum() for name in columns)
        .sort("user", "cell")
    )
    plain = compare(switched.rows, control, treatments, ratios, alpha, False, "none") if ratios else []
    found = cluster_block(
        units, "cell", "blocks", "users", [row.to_json() for row in plain], ratios, alpha, False, LEFT_OUT
    )
    by_arm = {arm: int((switched.rows["arm"] == arm).sum()) for arm in config.arms}
    return found | {
        "column": "block",
        "count": switched.rows.height,
        "by_arm": by_arm,
        "units": units.height / switched.rows.height,
    }


def _daily(
    config: ExperimentConfig, world: World, switched: Switched, treatments: list[str], metrics: list[Metric]
) -> list[dict[str, Any]]:
    """The effect on the blocks that begin on each day."""
    control = config.control_name
    daily = daily_effects(switched.rows, control, treatments, metrics, config.analysis.alpha)
    truth = true_days(switched.under_arm, control, metrics)
    for point in daily:
        point["date"] = date_of(world, point["day"])
        point["truth"] = truth.get((point["metric"], point["treatment"], point["day"]))
    return daily
