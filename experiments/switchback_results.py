"""Blocks of a city's hours as units of analysis: from what a switchback left to ``results.json``.

The unit of every test is a city's block of hours. Two things are true of such an experiment: what the arms would do if
one of them served everybody all the time, which is the truth that decides, and what they do to blocks while cities
switch, which is what the design estimates. They differ by what users carry over from one block to the next.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import polars as pl

from experiments.assignment_config import ByCityHours
from experiments.blocks import block_metrics
from experiments.cluster_analysis import cluster_block
from experiments.config import ExperimentConfig
from experiments.playing import Phases
from experiments.results import date_of, outline
from experiments.run_analysis import Unit, scorecard
from experiments.switchback import Switched
from experiments.truths import Truth, beside
from experiments.verdict import Capped, Reading
from metrics.balance import warmup_balance
from metrics.definitions import Metric
from metrics.effects import compare
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
    last = phases.experiment_end - 1
    unit = Blocks(config, switched, {"day": last, "date": date_of(world, last)})
    return outline(
        world,
        phases,
        unit,
        switched,
        config_hash,
        assigned=unit.exposed,
        gone={"churned": {}, "left_for_good": switched.left},
        frontier=None,
        pages=None,
    )


class Blocks(Unit):
    """Blocks of a city's hours; see ``Unit``.

    Args:
        config: the experiment, whose assignment is by city and hours.
        switched: what its plays left.
        end: what the results say of its last day.
    """

    clusters = True
    word = "blocks"

    def __init__(self, config: ExperimentConfig, switched: Switched, end: Mapping[str, Any]) -> None:
        self.config, self._switched, self._end = config, switched, end
        self.settings = config.analysis.model_copy(update={"quantiles": ()})
        self.table, self.under_arm = switched.rows, switched.under_arm
        self.metrics = self.tested = block_metrics(scorecard(config))
        periods = switched.periods
        self.exposed = {arm: periods.filter(pl.col("arm") == arm)["user"].n_unique() for arm in config.arms}
        self._lasting, self._switching = _truths(switched, config.control_name, self.metrics)

    def readings(self) -> list[Reading]:
        """See ``Unit``: one at the end."""
        return [Reading(1.0, self._end, lambda: self.table)]

    def capped(self) -> Capped | None:
        """See ``Unit``: None, since a block's sum has no user's tail."""
        return None

    def truth(self, look: int, heights: Mapping[str, float] | None = None) -> Truth:
        """See ``Unit``: of one arm for everybody all the time."""
        return self._lasting

    def days(self) -> tuple[pl.DataFrame, Sequence[Metric]]:
        """See ``Unit``: the blocks, by the day on which they begin."""
        return self.table, self.tested

    def balance(self) -> list[dict[str, Any]]:
        """See ``Unit``: the warm-up of the same city at the same hours."""
        if not self.config.horizon.warmup_days:
            return []
        return warmup_balance(self.table, self.control, self.treatments, self.tested)

    def alone(self, found: dict[str, Any]) -> dict[str, Any]:
        """See ``Unit``: what randomising blocks cost, and what they carry over."""
        return {
            "segments": [],
            "interactions": [],
            "trends": [],
            "retention": None,
            "clusters": self._cost(),
            "switchback": self._carried_over(found["comparisons"]),
        }

    def _carried_over(self, comparisons: list[dict[str, Any]]) -> dict[str, Any]:
        """The design, and by metric and treatment what blocks carry over: the bias of its estimates."""
        design, grid = self.config.assignment, self._switched.grid
        assert isinstance(design, ByCityHours)
        effects = []
        for row in comparisons:
            key = (row["metric"], row["treatment"])
            always, while_switching = self._lasting.get(key), self._switching.get(key)
            known = always is not None and while_switching is not None
            bias = None
            if always is not None and while_switching is not None:
                bias = {
                    name: a - b
                    if (a := while_switching[name]) is not None and (b := always[name]) is not None
                    else None
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
            "cities": len(grid.cities),
            "blocks": grid.blocks,
            "effects": effects,
        }

    def _cost(self) -> dict[str, Any]:
        """What randomising blocks cost beside their users one by one; only ratios have a value for users, too."""
        ratios = [metric for metric in self.tested if metric.denominator]
        alpha = self.settings.alpha
        columns = dict.fromkeys(name for metric in ratios for name in (metric.numerator, metric.denominator) if name)
        units = (
            self._switched.periods.group_by("user", "cell", "arm", maintain_order=True)
            .agg(pl.col(name).sum() for name in columns)
            .sort("user", "cell")
        )
        plain = compare(self.table, self.control, self.treatments, ratios, alpha, False, "none") if ratios else []
        found = cluster_block(
            units, "cell", "blocks", "users", [row.to_json() for row in plain], ratios, alpha, False, LEFT_OUT
        )
        by_arm = {arm: int((self.table["arm"] == arm).sum()) for arm in self.config.arms}
        return found | {
            "column": "block",
            "count": self.table.height,
            "by_arm": by_arm,
            "units": units.height / self.table.height,
        }


def _truths(switched: Switched, control: str, metrics: Sequence[Metric]) -> tuple[Truth, Truth]:
    """Effects of one arm for everybody all the time, and of arms on blocks while cities switch; empty if unknown."""
    if switched.under_arm is None:
        return {}, {}
    plays = pl.concat([switched.rows.select(next(iter(switched.turned.values())).columns), *switched.turned.values()])
    blocks = {arm: plays.filter(pl.col("arm") == arm) for arm in switched.under_arm}
    return true_effects(switched.under_arm, control, metrics), true_effects(blocks, control, metrics)
