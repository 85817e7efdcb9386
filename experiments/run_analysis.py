"""What the engine of the verdict is asked for a simulated experiment, and the truth beside its answers.

Knows user days and how they become totals: at each look, cut at a height of the warm-up, and under every arm. Does not
know any test.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Final

import numpy as np
import polars as pl

from experiments.config import ExperimentConfig
from experiments.playing import Phases
from experiments.segmenting import Surroundings, segment_blocks
from experiments.verdict import Capped, Question, Reading, answer
from metrics.capping import cap_heights, capped, share_capped
from metrics.definitions import Covariate, Metric, resolve
from metrics.multiplicity import adjusted
from metrics.survival import log_rank, returns, silences, survival_curve
from metrics.trend import effect_trends
from metrics.truth import true_effects
from metrics.user_totals import user_totals
from simulator.tables import AMOUNTS

Truth = Mapping[tuple[str, str], Mapping[str, float | None]]
_TRUE: Final = ("effect", "lift")


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

    Those of ``verdict.answer``, and ``segments``, ``interactions``, ``trends`` and ``retention``.

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
    truths = _Truths(under_arm, phases, control, metrics)
    days = config.analysis.sequential.days_of(config.horizon.days)
    question = Question(
        totals=totals,
        control=control,
        treatments=treatments,
        metrics=metrics,
        primary=config.analysis.primary,
        settings=config.analysis,
        trusted=trusted,
        readings=[
            Reading(
                time=day / config.horizon.days,
                labels={"day": phases.experiment_start + day - 1, "date": date_of(phases.experiment_start + day - 1)},
                totals=_totals_after(user_days, totals, day, phases, metrics),
            )
            for day in days
        ],
        capped=_capped(config, phases, user_days, metrics),
    )
    found = answer(question)
    for row in found["comparisons"]:
        key = (row["metric"], row["treatment"])
        row["truth"] = beside(truths.at(days[-1]).get(key), row["ci"])
        if row["capped"]:
            heights = {row["metric"]: row["capped"]["height"]}
            row["capped"]["truth"] = beside(truths.at(days[-1], heights).get(key), row["capped"]["ci"])
    for path in found["sequential"]:
        for look, day in zip(path["looks"], days, strict=True):
            look["truth"] = beside(truths.at(day).get((path["metric"], path["treatment"])), look["ci"])
    for row in found["quantiles"]:
        row["truth"] = truths.of_quantile(row, days[-1])
    found |= _segments(config, phases, user_days, totals, truths, surroundings, metrics)
    found["trends"] = _trends(config, user_days, truths, metrics)
    found["retention"] = _retention(config, phases, user_days, truths)
    for row in found["guardrails"]:
        truth = truths.at(days[-1]).get((row["metric"], row["treatment"]))
        row["truth"] = None if truth is None else {"lift": truth["lift"]}
    return found


def beside(truth: Mapping[str, float | None] | None, ci: list[float] | None) -> dict[str, Any] | None:
    """The truth as it stands beside an estimate, with whether the interval holds it; None where it is not known."""
    if truth is None or truth["effect"] is None:
        return None
    covered = None if ci is None else bool(ci[0] <= truth["effect"] <= ci[1])
    return {**{name: truth[name] for name in _TRUE}, "covered": covered}


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
    truths: "_Truths",
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


def _trends(
    config: ExperimentConfig, user_days: pl.DataFrame, truths: "_Truths", metrics: tuple[Metric, ...]
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


def _retention(config: ExperimentConfig, phases: Phases, user_days: pl.DataFrame, truths: "_Truths") -> dict[str, Any]:
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


class _Truths:
    """True effects at any look, from all users under every arm; nothing where nobody knows."""

    def __init__(
        self,
        under_arm: Mapping[str, pl.DataFrame] | None,
        phases: Phases,
        control: str,
        metrics: tuple[Metric, ...],
    ) -> None:
        self._under_arm, self._phases = under_arm, phases
        self._control, self._metrics = control, metrics
        self._totals = cache(self._read)

    def at(self, days: int, heights: Mapping[str, float] | None = None) -> Truth:
        """Effects after so many days of the experiment, with days cut at these heights."""
        if self._under_arm is None:
            return {}
        totals = self._totals(days, tuple(sorted((heights or {}).items())))
        wanted = [metric for metric in self._metrics if not heights or metric.name in heights]
        return true_effects(totals, self._control, wanted)

    def days(self, phase: str) -> dict[str, pl.DataFrame] | None:
        """Days of all users under each arm in a phase; None where nobody knows."""
        if self._under_arm is None:
            return None
        return {arm: table.filter(pl.col("phase") == phase) for arm, table in self._under_arm.items()}

    def totals(self, days: int) -> Mapping[str, pl.DataFrame] | None:
        """Totals of all users under each arm after so many days; None where nobody knows."""
        return None if self._under_arm is None else self._totals(days, ())

    def survival(self, arm: str, churn_days: int, time: float) -> dict[str, float] | None:
        """The share of all users who would not be gone under an arm."""
        if self._under_arm is None:
            return None
        phases = self._phases
        span = (phases.experiment_start, phases.experiment_end, phases.follow_up_end)
        watched = silences(self._under_arm[arm].with_columns(pl.lit(arm).alias("arm")), *span, churn_days)
        return {"share": survival_curve(watched["time"].to_numpy(), watched["gone"].to_numpy()).at(time)}

    def of_quantile(self, row: Mapping[str, Any], days: int) -> dict[str, Any] | None:
        """The true effect on a quantile."""
        if self._under_arm is None:
            return None
        totals = self._totals(days, ())
        column = next(metric.numerator for metric in self._metrics if metric.name == row["metric"])
        base, value = (
            float(np.quantile(totals[arm][column].to_numpy(), row["quantile"]))
            for arm in (self._control, row["treatment"])
        )
        return beside({"effect": value - base, "lift": value / base - 1.0 if base else None}, row["ci"])

    def _read(self, days: int, heights: tuple[tuple[str, float], ...]) -> dict[str, pl.DataFrame]:
        phases = self._phases
        end = phases.experiment_start + days
        observed = phases.follow_up_end if end == phases.experiment_end else end
        cut = dict(heights)
        return {
            arm: user_totals(capped(table, cut), phases.experiment_start, end, observed, self._metrics)
            for arm, table in (self._under_arm or {}).items()
        }
