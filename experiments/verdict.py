"""The engine of a verdict: from totals of users and an ``analysis`` block to comparisons, looks and a decision.

The same for a simulated experiment and for somebody's table. Knows units with an arm and columns; does not know where
they come from, nor what is true.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import polars as pl

from experiments.analysis_config import AnalysisSettings
from metrics.decision import Correction, Evidence, decide
from metrics.definitions import Metric
from metrics.effects import Comparison, compare
from metrics.estimates import Estimate, arm_aggregates, columns_of, estimate
from metrics.guardrails import Guardrail, guard
from metrics.power import power_of, smallest_effect
from metrics.quantiles import quantile_effects
from metrics.sequential.path import AtLevel, Design, Path, looks_cost, sequential_path


@dataclass(frozen=True)
class Reading:
    """A moment at which the primary metric is read.

    Attributes:
        time: share of the planned days that had passed.
        labels: what else the results say of the moment, such as its date.
        totals: the units' totals as they stood then.
    """

    time: float
    labels: Mapping[str, Any]
    totals: Callable[[], pl.DataFrame]


@dataclass(frozen=True)
class Capped:
    """The same units with heavy tails cut.

    Attributes:
        totals: one row a unit.
        metrics: those that are cut, by name.
        quantile: at which quantile.
        heights: where, by metric.
        shares: share of rows that were cut, by metric and arm.
    """

    totals: pl.DataFrame
    metrics: Mapping[str, Metric]
    quantile: Mapping[str, float]
    heights: Mapping[str, float]
    shares: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Question:
    """What is asked of the data.

    Attributes:
        totals: one row a unit, with ``arm`` and the metrics' columns.
        control: the arm the others are held against.
        treatments: the other arms.
        metrics: of the scorecard.
        primary: the name of the metric that decides.
        settings: level, corrections, looks.
        trusted: whether the units fell on the arms as planned.
        readings: the looks at the primary metric, in order; the last is the data at hand.
        capped: the same units with heavy tails cut, or None.
        clusters: whether the units are clusters, which are few: what could be noticed then counts with Student's t.
        units: what the units are called, in the plural.
    """

    totals: pl.DataFrame
    control: str
    treatments: Sequence[str]
    metrics: Sequence[Metric]
    primary: str
    settings: AnalysisSettings
    trusted: bool
    readings: Sequence[Reading]
    capped: Capped | None = None
    clusters: bool = False
    units: str = "users"


def answer(question: Question) -> dict[str, Any]:
    """All blocks of ``results.json`` that follow from totals alone.

    Returns:
        ``comparisons`` (each with ``capped``), ``sequential``, ``guardrails``, ``quantiles``, ``power``, ``decisions``.
    """
    settings = question.settings
    paths = _paths(question)
    early = len(question.readings) > 1 or question.readings[-1].time < 1.0
    comparisons = compare(
        question.totals,
        question.control,
        question.treatments,
        question.metrics,
        settings.alpha,
        settings.cuped,
        settings.correction,
        primary=question.primary,
        guardrails=settings.guardrails,
        sequential={
            (question.primary, arm): path.p_value for arm, path in paths.items() if early and path.p_value is not None
        },
    )
    by_name = {metric.name: metric for metric in question.metrics}
    rails = [
        guard(
            each.metric,
            each.treatment,
            each,
            settings.guardrails[each.metric],
            settings.alpha,
            by_name[each.metric].higher_is_better,
        )
        for each in comparisons
        if each.role == "guardrail"
    ]
    times = [reading.time for reading in question.readings]
    growth = looks_cost(times, design_of(settings), settings.power.power)
    noticed = [
        _noticed(each, settings, growth if each.role == "primary" else 1.0, question.clusters) for each in comparisons
    ]
    beside = _capped_beside(question)
    return {
        "comparisons": [each.to_json() | {"capped": beside.get((each.metric, each.treatment))} for each in comparisons],
        "sequential": [_path_json(question, arm, path) for arm, path in paths.items()],
        "guardrails": [rail.to_json() for rail in rails],
        "quantiles": _quantiles(question),
        "power": noticed,
        "decisions": [
            _decision(question, by_name, comparisons, paths[arm], rails, noticed, arm) for arm in question.treatments
        ],
    }


def design_of(settings: AnalysisSettings) -> Design:
    """How the primary metric is read."""
    chosen = settings.sequential
    return Design(chosen.method, settings.alpha, chosen.exponent, chosen.expected_lift)


def _paths(question: Question) -> dict[str, Path]:
    """The course of the primary metric for each treatment."""
    settings = question.settings
    primary = next(metric for metric in question.metrics if metric.name == question.primary)
    arms = (question.control, *question.treatments)
    measures: dict[str, list[AtLevel]] = {arm: [] for arm in question.treatments}
    for reading in question.readings:
        rows = reading.totals().drop_nulls(columns_of(primary, settings.cuped))
        of_arm = arm_aggregates(rows, arms, [primary], settings.cuped)
        for arm in question.treatments:
            measures[arm].append(_measure(primary, of_arm, question.control, arm, settings.cuped))
    times = [reading.time for reading in question.readings]
    return {arm: sequential_path(measures[arm], times, design_of(settings)) for arm in question.treatments}


def _measure(metric: Metric, of_arm: Mapping[str, Any], control: str, treatment: str, cuped: bool) -> AtLevel:
    @cache
    def at(level: float) -> Estimate:
        return estimate(metric, of_arm[control], of_arm[treatment], level, cuped)

    return at


def _path_json(question: Question, treatment: str, path: Path) -> dict[str, Any]:
    return {
        "metric": question.primary,
        "treatment": treatment,
        "method": path.method,
        "alpha": question.settings.alpha,
        "p_value": path.p_value,
        "stopped": path.stopped,
        "looks": [
            {"look": number + 1, **reading.labels, **look.to_json()}
            for number, (reading, look) in enumerate(zip(question.readings, path.looks, strict=True))
        ],
    }


def _noticed(comparison: Comparison, settings: AnalysisSettings, growth: float, clusters: bool) -> dict[str, Any]:
    """What a comparison could have noticed, on the scale of lifts; its ``users`` are clusters where these are units."""
    found: dict[str, Any] = {
        "metric": comparison.metric,
        "treatment": comparison.treatment,
        "target_lift": settings.power.lift,
        "wanted": settings.power.power,
        "power": None,
        "smallest_lift": None,
        "users": comparison.users_control + comparison.users_treatment,
        "users_needed": None,
    }
    if not comparison.log_error:
        return found
    error = comparison.log_error * math.sqrt(growth)
    degrees = float(found["users"] - 2) if clusters else None
    target, smallest = (
        math.log1p(settings.power.lift),
        smallest_effect(error, settings.alpha, settings.power.power, degrees),
    )
    return found | {
        "power": power_of(target, error, settings.alpha, degrees=degrees),
        "smallest_lift": math.expm1(smallest) if smallest < 700.0 else None,
        "users_needed": math.ceil(found["users"] * (smallest / target) ** 2),
    }


def _guarding(question: Question, comparison: Comparison, rail: Guardrail, higher_is_better: bool) -> int | None:
    """Units of both arms together that would rule out a loss beyond the margin where nothing is lost.

    ``None`` where that is unknown, or where so many were there: then more are needed, and nobody can say how many.
    """
    if not comparison.log_error:
        return None
    settings, users = question.settings, comparison.users_control + comparison.users_treatment
    degrees = float(users - 2) if question.clusters else None
    allowed = math.log1p(-rail.margin if higher_is_better else rail.margin)
    smallest = smallest_effect(comparison.log_error, settings.alpha, settings.power.power, degrees)
    needed = math.ceil(users * (smallest / allowed) ** 2)
    return needed if needed > users else None


def _capped_beside(question: Question) -> dict[tuple[str, str], dict[str, Any]]:
    """The capped comparisons, by metric and treatment; outside of the family, since they do not decide."""
    capped, settings = question.capped, question.settings
    if capped is None or not capped.metrics:
        return {}
    found = compare(
        capped.totals,
        question.control,
        question.treatments,
        list(capped.metrics.values()),
        settings.alpha,
        settings.cuped,
        "none",
    )
    keys = ("control_value", "treatment_value", "effect", "ci", "lift", "lift_ci", "p_value", "method")
    return {
        (each.metric, each.treatment): {
            "quantile": capped.quantile[each.metric],
            "height": capped.heights[each.metric],
            "share": {arm: capped.shares[each.metric][arm] for arm in (question.control, each.treatment)},
            **{key: each.to_json()[key] for key in (*keys, "variance_reduction")},
        }
        for each in found
    }


def _quantiles(question: Question) -> list[dict[str, Any]]:
    """Quantiles of users' sums; metrics of return and ratios have none."""
    found = []
    for metric in question.metrics:
        if metric.kind != "mean" or metric.window is not None or not question.settings.quantiles:
            continue
        of_arm = {
            arm: question.totals.filter(pl.col("arm") == arm)[metric.numerator].drop_nulls().to_numpy()
            for arm in (question.control, *question.treatments)
        }
        for treatment in question.treatments:
            if min(len(of_arm[question.control]), len(of_arm[treatment])) < 2:
                continue
            effects = quantile_effects(
                of_arm[question.control], of_arm[treatment], question.settings.quantiles, question.settings.alpha
            )
            found += [
                {"metric": metric.name, "treatment": treatment, **asdict(each), "ci": list(each.ci)} for each in effects
            ]
    return found


def _decision(
    question: Question,
    by_name: Mapping[str, Metric],
    comparisons: Sequence[Comparison],
    path: Path,
    rails: Sequence[Guardrail],
    noticed: Sequence[Mapping[str, Any]],
    treatment: str,
) -> dict[str, Any]:
    settings = question.settings
    mine = {each.metric: each for each in comparisons if each.treatment == treatment}
    primary = mine[question.primary]
    (could,) = (row for row in noticed if (row["metric"], row["treatment"]) == (question.primary, treatment))
    my_rails = [rail for rail in rails if rail.treatment == treatment]
    evidence = Evidence(
        metric=by_name[question.primary].title,
        trusted=question.trusted,
        direction=_direction(primary, by_name[question.primary], settings.alpha, path.direction),
        ended=question.readings[-1].time >= 1.0,
        target=settings.power.lift,
        looks=len(question.readings),
        correction=_correction(primary, comparisons, settings.alpha),
        power=could["power"],
        wanted=settings.power.power,
        needed=could["users_needed"],
        guarding={
            rail.metric: _guarding(question, mine[rail.metric], rail, by_name[rail.metric].higher_is_better)
            for rail in my_rails
        },
        units=question.units,
        guardrails=my_rails,
        worse=[
            by_name[name].title
            for name, each in mine.items()
            if each.role == "secondary" and _direction(each, by_name[name], settings.alpha) == -1
        ],
    )
    found = decide(evidence, {name: metric.title for name, metric in by_name.items()})
    return {"treatment": treatment, "decision": found.word, "reason": found.reason}


def _correction(primary: Comparison, comparisons: Sequence[Comparison], alpha: float) -> Correction | None:
    """What became of the primary metric's p-value among those of its family."""
    by_itself = primary.p_value if primary.p_sequential is None else primary.p_sequential
    if by_itself is None or primary.p_adjusted is None:
        return None
    guarding = primary.role == "guardrail"
    family = [each for each in comparisons if (each.role == "guardrail") == guarding and each.p_adjusted is not None]
    return Correction(by_itself, primary.p_adjusted, len(family), alpha)


def _direction(comparison: Comparison, metric: Metric, alpha: float, stopped: int = 0) -> int | None:
    """1 if significantly better, -1 if worse, 0 if neither; ``None`` where nothing was tested.

    ``stopped`` is the side on which the looks stopped, which counts before that of the last estimate.
    """
    if comparison.p_adjusted is None or comparison.effect is None:
        return None
    if comparison.p_adjusted > alpha or (comparison.effect == 0.0 and not stopped):
        return 0
    higher = stopped > 0 if stopped else comparison.effect > 0.0
    return 1 if higher == metric.higher_is_better else -1
