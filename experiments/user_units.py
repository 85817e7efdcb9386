"""Users and cities as units of analysis: each user, or all users of a city, meets one arm.

Knows user days and how they become totals: at each look, cut at a height of the warm-up, and under every arm. Does not
know any test.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from experiments.cluster_analysis import (
    CITY,
    LEFT_OUT,
    balance_over_clusters,
    capped_over_clusters,
    cluster_block,
    days_over_clusters,
)
from experiments.config import ExperimentConfig
from experiments.playing import Phases
from experiments.run_analysis import Unit, scorecard
from experiments.run_course import retention_block, trend_rows
from experiments.segmenting import Surroundings, segment_blocks
from experiments.truths import Truth, Truths
from experiments.verdict import Capped, Reading
from metrics.balance import warmup_balance
from metrics.capping import cap_heights, capped, share_capped
from metrics.clusters import clustered
from metrics.definitions import Metric
from metrics.user_totals import user_totals
from simulator.tables import AMOUNTS


class Users(Unit):
    """Users, randomised one by one; see ``Unit``.

    Args:
        config: the experiment.
        phases: its days.
        user_days: what an experimenter would see.
        under_arm: user days of all users under each arm, warm-up included, or None where nobody knows.
        date_of: the date of a day.
        surroundings: what cities and days were like.
    """

    clusters = False
    word = "users"

    def __init__(
        self,
        config: ExperimentConfig,
        phases: Phases,
        user_days: pl.DataFrame,
        under_arm: Mapping[str, pl.DataFrame] | None,
        date_of: Callable[[int], str],
        surroundings: Surroundings,
    ) -> None:
        self.config, self.settings = config, config.analysis
        self.metrics = scorecard(config)
        self.under_arm = under_arm
        self.users = user_totals(
            user_days, phases.experiment_start, phases.experiment_end, phases.follow_up_end, self.metrics
        )
        self.exposed = {arm: int((self.users["arm"] == arm).sum()) for arm in config.arms}
        self._phases, self._user_days = phases, user_days
        self._date_of, self._surroundings = date_of, surroundings
        self._truths = Truths(under_arm, phases, config.control_name, self.metrics)
        self._looks = config.analysis.sequential.days_of(config.horizon.days)
        self._gather()

    def _gather(self) -> None:
        """Say what tests are over: users."""
        self.table, self.tested = self.users, self.metrics

    def readings(self) -> list[Reading]:
        """See ``Unit``: after each of the planned days."""
        start = self._phases.experiment_start
        return [
            Reading(
                time=day / self.config.horizon.days,
                labels={"day": start + day - 1, "date": self._date_of(start + day - 1)},
                totals=self._totals_after(day),
            )
            for day in self._looks
        ]

    def capped(self) -> Capped | None:
        """See ``Unit``: days are cut one by one, so that heights do not depend on how long the test is."""
        config, phases = self.config, self._phases
        quantile, heights = config.analysis.capping, cap_heights_of(config, self._user_days, self.metrics)
        if quantile is None or not heights:
            return None
        cut = {metric.name: metric for metric in self.metrics if metric.kind == "mean" and metric.numerator in heights}
        days = (phases.experiment_start, phases.experiment_end, phases.follow_up_end)
        outcome = self._user_days.filter(pl.col("phase") == "experiment")
        by_arm = {arm: outcome.filter(pl.col("arm") == arm) for arm in config.arms}
        return Capped(
            totals=user_totals(capped(self._user_days, heights), *days, list(cut.values())),
            metrics=cut,
            quantile=dict.fromkeys(cut, quantile),
            heights={name: heights[metric.numerator] for name, metric in cut.items()},
            shares={
                name: {
                    arm: share_capped(table, metric.numerator, heights[metric.numerator])
                    for arm, table in by_arm.items()
                }
                for name, metric in cut.items()
            },
        )

    def truth(self, look: int, heights: Mapping[str, float] | None = None) -> Truth:
        """See ``Unit``: of all users under every arm."""
        return self._truths.at(self._looks[look], heights)

    def days(self) -> tuple[pl.DataFrame, Sequence[Metric]]:
        """See ``Unit``: user days."""
        return self._user_days, self.metrics

    def balance(self) -> list[dict[str, Any]]:
        """See ``Unit``."""
        return warmup_balance(self.users, self.control, self.treatments, self.metrics)

    def alone(self, found: dict[str, Any]) -> dict[str, Any]:
        """See ``Unit``: the effect in parts and over time, and how long users stay."""
        for row in found["quantiles"]:
            row["truth"] = self._truths.of_quantile(row, self._looks[-1])
        return {
            **self._segments(),
            "trends": trend_rows(self.config, self._user_days, self._truths, self.metrics),
            "retention": retention_block(self.config, self._phases, self._user_days, self._truths),
        }

    def _totals_after(self, days: int) -> Callable[[], pl.DataFrame]:
        """Units' totals as they stood after so many days of the experiment."""
        start, end = self._phases.experiment_start, self._phases.experiment_start + days
        if end == self._phases.experiment_end:
            return lambda: self.table
        return lambda: user_totals(self._user_days, start, end, end, self.metrics)

    def _segments(self) -> dict[str, list[dict[str, Any]]]:
        analysis = self.settings
        return segment_blocks(
            self._surroundings,
            analysis.segments,
            next(metric for metric in self.metrics if metric.name == analysis.primary),
            self.control,
            self.treatments,
            self._user_days.filter(pl.col("phase") == "experiment"),
            self.users,
            self._truths.days("experiment"),
            self._truths.totals(self.config.horizon.days),
            analysis.alpha,
            analysis.cuped,
            analysis.correction,
        )


class Cities(Users):
    """Cities, of which each meets one arm as a whole; tests are over cities, values and truths over users."""

    clusters = True
    word = "cities"

    def _gather(self) -> None:
        """Say what tests are over: the users of a city together."""
        self.users = self._surroundings.with_city(self.users)
        self.table, self.tested = clustered(self.users, CITY, self.metrics)

    def capped(self) -> Capped | None:
        """See ``Unit``."""
        found = super().capped()
        return capped_over_clusters(found and replace(found, totals=self._surroundings.with_city(found.totals)), CITY)

    def days(self) -> tuple[pl.DataFrame, Sequence[Metric]]:
        """See ``Unit``: days of cities."""
        return days_over_clusters(self._surroundings.with_city(self._user_days), CITY, self.metrics)

    def balance(self) -> list[dict[str, Any]]:
        """See ``Unit``."""
        return balance_over_clusters(self.users, CITY, self.control, self.treatments, self.metrics)

    def alone(self, found: dict[str, Any]) -> dict[str, Any]:
        """See ``Unit``: what randomising cities cost; what is of users alone is left out."""
        return {
            "segments": [],
            "interactions": [],
            "trends": [],
            "retention": None,
            "clusters": cluster_block(
                self.users,
                CITY,
                self.word,
                "users",
                found["comparisons"],
                self.metrics,
                self.settings.alpha,
                self.settings.cuped,
                LEFT_OUT,
            ),
        }


def cap_heights_of(config: ExperimentConfig, user_days: pl.DataFrame, metrics: Sequence[Metric]) -> dict[str, float]:
    """The height at which each amount of the scorecard is cut, by column; empty where nothing is to be cut."""
    chosen = [metric.numerator for metric in metrics if metric.kind == "mean" and metric.numerator in AMOUNTS]
    if config.analysis.capping is None or not chosen:
        return {}
    return cap_heights(user_days.filter(pl.col("phase") == "warmup"), chosen, config.analysis.capping)
