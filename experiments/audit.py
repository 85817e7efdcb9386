"""The story of an audit: from a finished run's tables to how often its tests are right.

The run has played every user under every arm if it had ``oracle: true``; then its tables hold every user's totals under
every arm, and experiments can be drawn from them in which the truth is known. Nothing is simulated again. Does not know
how a test works, nor how findings are shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
import polars as pl
from pydantic import ValidationError

from allocation.assignment import assign
from experiments.config import ExperimentConfig, config_hash
from experiments.errors import UserError
from experiments.playing import Phases
from experiments.progress import Progress
from experiments.run_analysis import scorecard
from experiments.run_directory import COUNTERFACTUALS, USER_DAYS, RunDirectory
from experiments.runner import phases_of
from experiments.user_units import cap_heights_of
from metrics.audit import findings
from metrics.audit.day_tests import DayTests
from metrics.audit.findings import Finding, judged
from metrics.audit.outcomes import Outcomes, outcomes_of
from metrics.audit.peeking import Plan
from metrics.audit.questions import Question, questions_of
from metrics.audit.rates import CONFIDENCE
from metrics.audit.replications import STATES, STEPS, Replications, Setting, blocks, replicate
from metrics.capping import capped
from metrics.definitions import Covariate, Metric
from metrics.sequential.path import Design, Method
from metrics.survival import silences
from metrics.user_totals import user_totals
from simulator.batches import Ints
from simulator.pools import Engine, Tick
from simulator.shards import PROCESSES

SCHEMA: Final = 1
OBSERVED: Final = "observed"
"""The only table of a run that played each user under one arm: every user as seen."""
DAILY: Final[tuple[Method, ...]] = ("obrien_fleming", "pocock", "power", "asymptotic_cs", "msprt")
THRESHOLDS: Final = (0.05, 0.001)
"""Of the sample-ratio test: one at which a thousand experiments can tell, and that of the verdict."""
_CUT: Final = " below the cut"


@dataclass(frozen=True)
class AuditTask:
    """Some blocks of replications for one process."""

    setting: Setting
    numbers: list[range]


def run_audit(
    directory: RunDirectory,
    replications: int,
    seed: int | None,
    workers: int,
    progress: Progress,
    engine: Engine = PROCESSES,
) -> dict[str, Any]:
    """Draw experiments from a finished run's tables and count how often the verdict's methods are right.

    Args:
        directory: a finished run of an experiment.
        replications: experiments drawn for each question.
        seed: of the draws; that of the run if None.
        workers: parts drawn at once; the outcome does not depend on it.
        progress: is told how far things are.
        engine: where parts are drawn; the outcome does not depend on it.

    Returns:
        The contents of ``audit.json``; docs/guide/verdict.md says what they are.

    Raises:
        UserError: the folder holds no experiment, or one without exposed users.
        WorkerDiedError: workers died again and again.
    """
    config = _config_of(directory)
    with progress.stage("reading the tables", 1) as stage:
        setting = setting_of(directory, config, config.seed if seed is None else seed)
        stage.advance()
    parts = blocks(replications, len(setting.outcomes.user))
    cuts = [part.tolist() for part in np.array_split(np.arange(len(parts)), min(workers, len(parts)))]
    tasks = [AuditTask(setting, [parts[place] for place in cut]) for cut in cuts]
    with (
        engine.pool(min(workers, len(tasks))) as pool,
        progress.stage("drawing experiments", STEPS * len(parts)) as stage,
    ):
        came = Replications.joined(pool.map(_work, tasks, stage.advance))
    return _results(config, setting, came, replications)


def setting_of(directory: RunDirectory, config: ExperimentConfig, seed: int) -> Setting:
    """What an audit of a run asks, with the run's tables.

    Raises:
        UserError: nobody came during the experiment.
    """
    phases, metrics, control = phases_of(config), scorecard(config), config.control_name
    treatments = [arm for arm in config.arms if arm != control]
    user_days = pl.read_parquet(directory.path / USER_DAYS)
    played = _played(directory, user_days, list(config.arms))
    null = control if control in played else OBSERVED
    cuts, cut_metrics = _cut_metrics(config, user_days, metrics)
    days = (phases.experiment_start, phases.experiment_end, phases.follow_up_end)
    totals = {name: user_totals(table, *days, metrics) for name, table in played.items()}
    if cuts:
        totals = {
            name: totals[name].join(_cut_totals(table, cuts, days), on="user", how="left", maintain_order="left")
            for name, table in played.items()
        }
    if not totals[null].height:
        raise UserError(f"{directory.path}: nobody came during the experiment; audit a run with more users or days")
    analysis = config.analysis
    primary = next(metric for metric in metrics if metric.name == analysis.primary)
    by_name = {metric.name: metric for metric in metrics}
    looks = range(1, config.horizon.days + 1)
    return Setting(
        outcomes=outcomes_of(totals, [*metrics, *(metric for _, metric in cut_metrics)]),
        arms=(control, *treatments),
        shares=tuple(config.arms[arm].share for arm in (control, *treatments)),
        null=null,
        effects=null != OBSERVED,
        questions=questions_of(metrics, cut_metrics, analysis.quantiles),
        alpha=analysis.alpha,
        cuped=analysis.cuped,
        assign=partial(assign_again, shares=_shares(config), salt=config.name, seed=seed),
        seed=seed,
        looks=tuple(_look(played[null], null, look, phases, primary) for look in looks),
        times=tuple(look / config.horizon.days for look in looks),
        primary=primary,
        plans=plans_of(config),
        guardrails=tuple((by_name[name], margin) for name, margin in analysis.guardrails.items()),
        day_tests=DayTests(
            played[null].filter(pl.col("phase") == "experiment").sort("user", "day"),
            silences(played[null], *days, analysis.churn_days),
            tuple(metric for metric in metrics if metric.window is None),
            analysis.alpha,
        ),
    )


def plans_of(config: ExperimentConfig) -> dict[str, Plan]:
    """The verdict's bounds, each read after every day, and the config's own plan where it has looks before the end."""
    sequential, alpha = config.analysis.sequential, config.analysis.alpha
    every_day = tuple(range(config.horizon.days))

    def design(method: Method) -> Design:
        return Design(method, alpha, sequential.exponent, sequential.expected_lift)

    plans: dict[str, Plan] = {method: Plan(design(method), every_day) for method in DAILY}
    own = tuple(day - 1 for day in sequential.days_of(config.horizon.days))
    if len(own) > 1 and own != every_day:
        plans["configured"] = Plan(design(sequential.method), own)
    return plans


def assign_again(user: Ints, replication: int, *, shares: Mapping[str, float], salt: str, seed: int) -> Ints:
    """The experiment's assignment with another salt for each replication: index of each user's arm, [users]."""
    return assign(user, shares, f"{salt}/audit/{replication}", seed)


def _work(task: AuditTask, tick: Tick) -> Replications:
    return replicate(task.setting, task.numbers, tick)


def _config_of(directory: RunDirectory) -> ExperimentConfig:
    if directory.config.get("kind", "experiment") != "experiment":
        raise UserError(f"{directory.path}: holds a run of kind {directory.config['kind']}; audit an experiment")
    try:
        config = ExperimentConfig.model_validate(directory.config)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise UserError(
            f"{directory.path}: its config is of another version (at {place}); run it again with --force"
        ) from error
    refuse_clusters(config, str(directory.path))
    return config


def refuse_clusters(config: ExperimentConfig, where: str) -> None:
    """Refuse an experiment whose users were not randomised one by one.

    Raises:
        UserError: naming what was randomised.
    """
    if config.assignment.unit != "user":
        raise UserError(
            f"{where}: assignment.unit is {config.assignment.unit}, and an audit draws users one by one; audit the "
            "same config with --set 'assignment={unit: user}'"
        )


def _shares(config: ExperimentConfig) -> dict[str, float]:
    """By arm, the control first."""
    control = config.control_name
    return {arm: config.arms[arm].share for arm in (control, *(arm for arm in config.arms if arm != control))}


def _played(directory: RunDirectory, user_days: pl.DataFrame, arms: Sequence[str]) -> dict[str, pl.DataFrame]:
    """User days of all users under each arm, warm-up included; as they were observed where no more was played."""
    if not (directory.path / COUNTERFACTUALS).exists():
        return {OBSERVED: user_days}
    others = pl.read_parquet(directory.path / COUNTERFACTUALS)
    warmup = user_days.filter(pl.col("phase") == "warmup")
    after = user_days.filter(pl.col("phase") != "warmup")
    return {
        arm: pl.concat(
            [warmup, after.filter(pl.col("arm") == arm), others.filter(pl.col("played") == arm).drop("played")]
        )
        for arm in arms
    }


def _cut_metrics(
    config: ExperimentConfig, user_days: pl.DataFrame, metrics: Sequence[Metric]
) -> tuple[dict[str, float], list[tuple[str, Metric]]]:
    """Heights by column, and the metrics on columns that are cut, each with the name of the uncut one."""
    heights = cap_heights_of(config, user_days, metrics)

    def cut(column: str) -> str:
        return column + _CUT if column.removesuffix("_before") in heights else column

    found = []
    for metric in metrics:
        if metric.kind == "mean" and metric.numerator in heights:
            covariates = tuple(Covariate(cut(each.numerator), each.denominator) for each in metric.covariates)
            found.append((metric.name, replace(metric, numerator=cut(metric.numerator), covariates=covariates)))
    return heights, found


def _cut_totals(user_days: pl.DataFrame, heights: Mapping[str, float], days: tuple[int, int, int]) -> pl.DataFrame:
    columns = [name for column in heights for name in (column, f"{column}_before")]
    totals = user_totals(capped(user_days, heights), *days, [])
    return totals.select("user", pl.col(columns).name.suffix(_CUT))


def _look(user_days: pl.DataFrame, table: str, look: int, phases: Phases, metric: Metric) -> Outcomes:
    """The null table as it stood after so many days; after the last one the follow-up is known too, as in a verdict."""
    end = phases.experiment_start + look
    watched = phases.follow_up_end if end == phases.experiment_end else end
    return outcomes_of({table: user_totals(user_days, phases.experiment_start, end, watched, [metric])}, [metric])


def _results(config: ExperimentConfig, setting: Setting, came: Replications, replications: int) -> dict[str, Any]:
    analysis, questions, treatments = config.analysis, setting.questions, setting.arms[1:]
    names = [metric.name for metric, _ in setting.guardrails]
    of_verdict = _of_verdict(questions, analysis.cuped)
    found: list[Finding] = findings.false_alarms(questions, treatments, came.null, setting.alpha)
    power: list[Finding] = []
    if setting.effects:
        trials = setting.trials(effects=True)
        for design in ("drawn", "fixed"):
            found += findings.coverage(questions, treatments, came.effects[design], trials, setting.alpha, design)
        answers = came.effects["drawn"]
        power = findings.power(questions, treatments, answers, trials, setting.shares, setting.alpha)
    days = range(1, len(setting.looks) + 1)
    found += findings.peeking(setting.primary.name, treatments, came.stops, setting.plans, days, setting.alpha)
    chosen = [place for name, place in of_verdict.items() if name not in names]
    found += findings.family(questions, came.null, chosen, analysis.correction, setting.alpha)
    found += findings.sample_ratios(came.sample_ratio, THRESHOLDS)
    daily = [metric.name for metric in setting.day_tests.metrics]
    found += findings.day_tests(daily, treatments, came.days, setting.alpha)
    margins = [(metric.name, margin) for metric, margin in setting.guardrails]
    found += findings.guardrails(margins, treatments, came.guardrails, STATES, setting.alpha)
    rows, confidence = judged(found)
    power_rows, power_confidence = judged(power)
    for row in power_rows:
        # What the normal distribution predicts is no promise of a method: it is shown, and is no defect.
        row["differs"] = row.pop("defect")
    return {
        "schema": SCHEMA,
        "name": config.name,
        "seed": setting.seed,
        "config_hash": config_hash(config),
        "replications": replications,
        "alpha": setting.alpha,
        "users": len(setting.outcomes.user),
        "control": setting.arms[0],
        "shares": dict(zip(setting.arms, setting.shares, strict=True)),
        "null_table": setting.null,
        "effects_known": setting.effects,
        "analysis": {
            "primary": analysis.primary,
            "cuped": analysis.cuped,
            "correction": analysis.correction,
            "of_verdict": {name: questions[place].method.name for name, place in of_verdict.items()},
        },
        "metrics": {metric.name: {"title": metric.title, "unit": metric.unit} for metric in scorecard(config)},
        "methods": {question.method.name: question.method.title for question in questions},
        "confidence": {"each": CONFIDENCE, "findings": confidence, "power": power_confidence},
        "p_value_grid": list(findings.GRID),
        "findings": rows,
        "power": power_rows,
        "defects": sum(row["defect"] is True for row in rows),
    }


def _of_verdict(questions: Sequence[Question], cuped: bool) -> dict[str, int]:
    """By metric the question that the verdict asks: CUPED where it is configured and the metric has covariates."""
    found: dict[str, int] = {}
    for place, question in enumerate(questions):
        if question.method.name == "plain" or (cuped and question.method.name == "cuped"):
            found[question.name] = place
    return found
