"""What the engine of the verdict is asked for a simulated experiment, and the truth beside its answers.

Knows user days and how they become totals: at each look, cut at a height of the warm-up, and under every arm. Does not
know any test.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from experiments.cluster_analysis import CITY, LEFT_OUT, capped_over_clusters, cluster_block
from experiments.config import ExperimentConfig
from experiments.playing import Phases
from experiments.run_course import retention_block, trend_rows
from experiments.segmenting import Surroundings, segment_blocks
from experiments.truths import Truths, beside
from experiments.verdict import Capped, Question, Reading, answer
from metrics.capping import cap_heights, capped, share_capped
from metrics.clusters import clustered
from metrics.definitions import Covariate, Metric, resolve
from metrics.user_totals import user_totals
from simulator.tables import AMOUNTS


def scorecard(config: ExperimentConfig) -> tuple[Metric, ...]:
    """The metrics of a config, with the covariates that it asks for beside their own."""
    more = tuple(Covariate(f"{name}_before") for name in config.analysis.covariates)
    return tuple(
        replace(metric, covariates=tuple(dict.fromkeys((*metric.covariates, *more))))
        for metric in resolve(config.analysis.metrics)
    )


def analyse(
    config: ExperimentConfig,
    phases: Phases,
    user_days: pl.DataFrame,
    totals: pl.DataFrame,
    under_arm: Mapping[str, pl.DataFrame] | None,
    trusted: bool,
    date_of: Callable[[int], str],
    surroundings: Surroundings,
) -> dict[str, Any]:
    """Blocks of ``results.json`` with the truth beside each estimate.

    Those of ``verdict.answer``, and ``segments``, ``interactions``, ``trends`` and ``retention``. Where cities were
    randomised the tests are over cities; these last four are then empty, and ``clusters`` says what that cost.

    Args:
        config: the experiment.
        phases: its days.
        user_days: what an experimenter would see.
        totals: its users' totals at the end.
        under_arm: user days of all users under each arm, warm-up included, or None where nobody knows.
        trusted: whether the sample ratio holds.
        date_of: the date of a day.
        surroundings: what cities and days were like.
    """
    metrics, control = scorecard(config), config.control_name
    treatments = [arm for arm in config.arms if arm != control]
    truths = Truths(under_arm, phases, control, metrics)
    days = config.analysis.sequential.days_of(config.horizon.days)
    cut = _capped(config, phases, user_days, metrics)
    by_city = config.assignment.unit == "city"
    tested, compared = totals, list(metrics)
    if by_city:
        totals = surroundings.with_city(totals)
        tested, compared = clustered(totals, CITY, metrics)
        cut = capped_over_clusters(cut and replace(cut, totals=surroundings.with_city(cut.totals)), CITY)
    question = Question(
        totals=tested,
        control=control,
        treatments=treatments,
        metrics=compared,
        primary=config.analysis.primary,
        settings=config.analysis,
        trusted=trusted,
        readings=[
            Reading(
                time=day / config.horizon.days,
                labels={"day": phases.experiment_start + day - 1, "date": date_of(phases.experiment_start + day - 1)},
                totals=_totals_after(user_days, tested, day, phases, metrics),
            )
            for day in days
        ],
        capped=cut,
        clusters=by_city,
    )
    found = answer(question)
    for row in found["comparisons"]:
        key = (row["metric"], row["treatment"])
        row["truth"] = beside(truths.at(days[-1]).get(key), row["ci"], row["lift_ci"])
        if row["capped"]:
            heights = {row["metric"]: row["capped"]["height"]}
            row["capped"]["truth"] = beside(truths.at(days[-1], heights).get(key), row["capped"]["ci"])
    for path in found["sequential"]:
        for look, day in zip(path["looks"], days, strict=True):
            look["truth"] = beside(truths.at(day).get((path["metric"], path["treatment"])), look["ci"])
    for row in found["quantiles"]:
        row["truth"] = truths.of_quantile(row, days[-1])
    if by_city:
        analysis = config.analysis
        found |= {"segments": [], "interactions": [], "trends": [], "retention": None}
        found["clusters"] = cluster_block(
            totals, CITY, "cities", "users", found["comparisons"], metrics, analysis.alpha, analysis.cuped, LEFT_OUT
        )
    else:
        found |= _segments(config, phases, user_days, totals, truths, surroundings, metrics)
        found["trends"] = trend_rows(config, user_days, truths, metrics)
        found["retention"] = retention_block(config, phases, user_days, truths)
    for row in found["guardrails"]:
        truth = truths.at(days[-1]).get((row["metric"], row["treatment"]))
        row["truth"] = None if truth is None else {"lift": truth["lift"]}
    return found


def cap_heights_of(config: ExperimentConfig, user_days: pl.DataFrame, metrics: Sequence[Metric]) -> dict[str, float]:
    """The height at which each amount of the scorecard is cut, by column; empty where nothing is to be cut."""
    chosen = [metric.numerator for metric in metrics if metric.kind == "mean" and metric.numerator in AMOUNTS]
    if config.analysis.capping is None or not chosen:
        return {}
    return cap_heights(user_days.filter(pl.col("phase") == "warmup"), chosen, config.analysis.capping)


def _totals_after(
    user_days: pl.DataFrame, at_the_end: pl.DataFrame, days: int, phases: Phases, metrics: tuple[Metric, ...]
) -> Callable[[], pl.DataFrame]:
    """Users' totals as they stood after so many days of the experiment."""
    end = phases.experiment_start + days
    if end == phases.experiment_end:
        return lambda: at_the_end
    return lambda: user_totals(user_days, phases.experiment_start, end, end, metrics)


def _capped(
    config: ExperimentConfig, phases: Phases, user_days: pl.DataFrame, metrics: tuple[Metric, ...]
) -> Capped | None:
    """Totals of days that are cut one by one, so that the height does not depend on how long the experiment is."""
    quantile, heights = config.analysis.capping, cap_heights_of(config, user_days, metrics)
    if quantile is None or not heights:
        return None
    cut = {metric.name: metric for metric in metrics if metric.kind == "mean" and metric.numerator in heights}
    days = (phases.experiment_start, phases.experiment_end, phases.follow_up_end)
    outcome = user_days.filter(pl.col("phase") == "experiment")
    by_arm = {arm: outcome.filter(pl.col("arm") == arm) for arm in config.arms}
    return Capped(
        totals=user_totals(capped(user_days, heights), *days, list(cut.values())),
        metrics=cut,
        quantile=dict.fromkeys(cut, quantile),
        heights={name: heights[metric.numerator] for name, metric in cut.items()},
        shares={
            name: {
                arm: share_capped(table, metric.numerator, heights[metric.numerator]) for arm, table in by_arm.items()
            }
            for name, metric in cut.items()
        },
    )


def _segments(
    config: ExperimentConfig,
    phases: Phases,
    user_days: pl.DataFrame,
    totals: pl.DataFrame,
    truths: Truths,
    surroundings: Surroundings,
    metrics: tuple[Metric, ...],
) -> dict[str, list[dict[str, Any]]]:
    analysis = config.analysis
    return segment_blocks(
        surroundings,
        analysis.segments,
        next(metric for metric in metrics if metric.name == analysis.primary),
        config.control_name,
        [arm for arm in config.arms if arm != config.control_name],
        user_days.filter(pl.col("phase") == "experiment"),
        totals,
        truths.days("experiment"),
        truths.totals(config.horizon.days),
        analysis.alpha,
        analysis.cuped,
        analysis.correction,
    )
