"""What is true at any moment of a run: effects from all users under every arm, and nothing where nobody knows.

Knows user days under each arm and how they become totals. Does not know any estimate.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

import numpy as np
import polars as pl

from experiments.playing import Phases
from metrics.capping import capped
from metrics.definitions import Metric
from metrics.survival import silences, survival_curve
from metrics.truth import true_effects
from metrics.user_totals import user_totals
from simulator.tables import AMOUNTS, COUNTS

Truth = Mapping[tuple[str, str], Mapping[str, float | None]]
_TRUE: Final = ("effect", "lift")


def beside(
    truth: Mapping[str, float | None] | None, ci: list[float] | None, lift_ci: list[float] | None = None
) -> dict[str, Any] | None:
    """The truth as it stands beside an estimate, with whether the interval holds it; None where it is not known.

    Where there is an interval of the lift it is the one that readers see, and the one that is asked.
    """
    if truth is None or truth["effect"] is None:
        return None
    true, ends = (truth["effect"], ci) if lift_ci is None or truth["lift"] is None else (truth["lift"], lift_ci)
    covered = None if ends is None else bool(ends[0] <= true <= ends[1])
    return {**{name: truth[name] for name in _TRUE}, "covered": covered}


class Truths:
    """True effects at any look, from all users under every arm; nothing where nobody knows."""

    def __init__(
        self,
        under_arm: Mapping[str, pl.DataFrame] | None,
        phases: Phases,
        control: str,
        metrics: Sequence[Metric],
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


def true_days(
    under_arm: Mapping[str, pl.DataFrame] | None, control: str, metrics: Sequence[Metric]
) -> dict[tuple[str, str, int], dict[str, float | None]]:
    """The true difference of each day's values, over all rows of that day under each arm; nothing where unknown."""
    if under_arm is None:
        return {}
    additive = [m for m in metrics if m.window is None]
    values: dict[str, dict[tuple[str, int], float]] = {}
    for arm, table in under_arm.items():
        by_day = table.filter(pl.col("phase") == "experiment").group_by("day", maintain_order=True)
        sums = by_day.agg(pl.len().alias("users"), pl.col(*COUNTS, *AMOUNTS).sum())
        values[arm] = {}
        for row in sums.iter_rows(named=True):
            for m in additive:
                whole = row[m.denominator] if m.denominator else row["users"]
                if whole:
                    values[arm][m.name, row["day"]] = row[m.numerator] / whole
    found: dict[tuple[str, str, int], dict[str, float | None]] = {}
    for arm, of_day in values.items():
        for (name, day), value in of_day.items():
            base = values[control].get((name, day))
            if arm != control and base is not None:
                effect = value - base
                found[name, arm, day] = {"effect": effect, "lift": effect / base if base else None}
    return found
