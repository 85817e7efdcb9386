"""What the engine of the verdict is asked for a run, whatever was randomised, and the truth beside its answers.

A run's unit of analysis is one object, of users, of cities or of blocks of a city's hours: it has the unit's table, the
looks at it, what is true of it, and what it alone can tell. Does not know any test, nor how a unit comes about.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from experiments.analysis_config import Analysis
from experiments.config import ExperimentConfig
from experiments.truths import Truth, beside, true_days
from experiments.verdict import Capped, Question, Reading, answer
from metrics.daily import daily_effects
from metrics.definitions import Covariate, Metric, resolve
from metrics.srm import sample_ratio


class Unit(ABC):
    """What was randomised and is the unit of every test, as its run left it.

    Attributes:
        config: the experiment.
        table: one row a unit, with ``arm`` and the columns of ``tested``.
        tested: the scorecard over the rows of the table.
        metrics: the scorecard as readers are told of it, and as the truth is formed: the same values as ``tested``.
        settings: of the analysis, without what this unit cannot tell.
        clusters: whether units are clusters of users, which are few.
        word: what units are called, in the plural.
        exposed: users who came, by arm.
        under_arm: days or blocks of everybody under each arm, or None where nobody knows.
    """

    config: ExperimentConfig
    table: pl.DataFrame
    tested: Sequence[Metric]
    metrics: Sequence[Metric]
    settings: Analysis
    clusters: bool
    word: str
    exposed: Mapping[str, int]
    under_arm: Mapping[str, pl.DataFrame] | None

    @property
    def control(self) -> str:
        """The arm that the others are held against."""
        return self.config.control_name

    @property
    def treatments(self) -> list[str]:
        """The others, in the order of the config."""
        return [arm for arm in self.config.arms if arm != self.control]

    @abstractmethod
    def readings(self) -> Sequence[Reading]:
        """The looks at the primary metric, in order; the last is the table."""

    @abstractmethod
    def capped(self) -> Capped | None:
        """The same units with heavy tails cut, or None."""

    @abstractmethod
    def truth(self, look: int, heights: Mapping[str, float] | None = None) -> Truth:
        """True effects at a look by its number, -1 for the last, with tails cut at heights by metric."""

    @abstractmethod
    def days(self) -> tuple[pl.DataFrame, Sequence[Metric]]:
        """Days of units in the shape that ``metrics.daily`` reads, and the metrics over them."""

    @abstractmethod
    def balance(self) -> list[dict[str, Any]]:
        """The warm-up of units compared between arms; as of ``metrics.balance.warmup_balance``."""

    @abstractmethod
    def alone(self, found: dict[str, Any]) -> dict[str, Any]:
        """Blocks of ``results.json`` beside the answers that this unit has, empty ones for what it cannot tell.

        Args:
            found: the answers; their quantiles, which not every unit has, are given their truth here.
        """


def scorecard(config: ExperimentConfig) -> tuple[Metric, ...]:
    """The metrics of a config over users, with the covariates that it asks for beside their own."""
    more = tuple(Covariate(f"{name}_before") for name in config.analysis.covariates)
    return tuple(
        replace(metric, covariates=tuple(dict.fromkeys((*metric.covariates, *more))))
        for metric in resolve(config.analysis.metrics)
    )


def analyse(unit: Unit) -> dict[str, Any]:
    """Blocks of ``results.json`` with the truth beside each estimate.

    Returns:
        ``srm``, those of ``verdict.answer``, and those that the unit alone has.
    """
    config = unit.config
    counts = {arm: int((unit.table["arm"] == arm).sum()) for arm in config.arms}
    ratio = sample_ratio(counts, {name: arm.share for name, arm in config.arms.items()})
    found = answer(
        Question(
            totals=unit.table,
            control=unit.control,
            treatments=unit.treatments,
            metrics=unit.tested,
            primary=config.analysis.primary,
            settings=unit.settings,
            trusted=ratio.ok,
            readings=unit.readings(),
            capped=unit.capped(),
            clusters=unit.clusters,
            units=unit.word,
        )
    )
    for row in found["comparisons"]:
        key = (row["metric"], row["treatment"])
        row["truth"] = beside(unit.truth(-1).get(key), row["ci"], row["lift_ci"])
        if row["capped"]:
            heights = {row["metric"]: row["capped"]["height"]}
            row["capped"]["truth"] = beside(unit.truth(-1, heights).get(key), row["capped"]["ci"])
    for path in found["sequential"]:
        for number, look in enumerate(path["looks"]):
            look["truth"] = beside(unit.truth(number).get((path["metric"], path["treatment"])), look["ci"])
    for row in found["guardrails"]:
        truth = unit.truth(-1).get((row["metric"], row["treatment"]))
        row["truth"] = None if truth is None else {"lift": truth["lift"]}
    return {"srm": {"p_value": ratio.p_value, "ok": ratio.ok}, **found, **unit.alone(found)}


def analyse_days(unit: Unit, date_of: Callable[[int], str]) -> list[dict[str, Any]]:
    """The effect of each day, with its date and the true one."""
    table, metrics = unit.days()
    found = daily_effects(table, unit.control, unit.treatments, metrics, unit.settings.alpha)
    truth = true_days(unit.under_arm, unit.control, unit.metrics)
    for point in found:
        point["date"] = date_of(point["day"])
        point["truth"] = truth.get((point["metric"], point["treatment"], point["day"]))
    return found
