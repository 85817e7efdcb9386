"""Tests that read days and not totals, where nothing differs: the trend of the daily effect, and how long users stay.

Users keep their days and get other arms. Knows user days; the tests are the verdict's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from metrics.audit.draws import Draw
from metrics.definitions import Metric
from metrics.survival import log_rank
from metrics.trend import effect_trends

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TRENDS_EVERY: Final = 4
"""Trends take long, and are asked in one of so many replications."""


@dataclass(frozen=True)
class DayAnswers:
    """P-values, NaN where nothing was tested or asked.

    Attributes:
        trends: [metrics, treatments, replications].
        log_rank: [treatments, replications].
    """

    trends: Floats
    log_rank: Floats

    @classmethod
    def joined(cls, parts: Sequence["DayAnswers"]) -> "DayAnswers":
        """One replication after the other."""
        return cls(
            np.concatenate([part.trends for part in parts], axis=2),
            np.concatenate([part.log_rank for part in parts], axis=1),
        )


@dataclass(frozen=True)
class DayTests:
    """What is asked of days.

    Attributes:
        days: days of the experiment, each user under the same table: ``user``, ``day`` and the columns.
        silences: ``user``, ``time`` and ``gone`` of the same users, ascending.
        metrics: whose daily effects are looked at.
        alpha: level.
    """

    days: pl.DataFrame
    silences: pl.DataFrame
    metrics: tuple[Metric, ...]
    alpha: float

    def answers(self, draws: Sequence[Draw], user: Ints, arms: Sequence[str]) -> DayAnswers:
        """Ask of experiments in which each user takes part once.

        Args:
            draws: of the fixed design.
            user: ids of the users, ascending: [users].
            arms: names, the control first.
        """
        of_day = np.searchsorted(user, self.days["user"].to_numpy())
        of_user = np.searchsorted(user, self.silences["user"].to_numpy())
        time, gone = self.silences["time"].to_numpy(), self.silences["gone"].to_numpy()
        names = np.array(arms)
        trends = np.full((len(self.metrics), len(arms) - 1, len(draws)), np.nan)
        ranks = np.full((len(arms) - 1, len(draws)), np.nan)
        for number, drawn in enumerate(draws):
            group = drawn.arm[of_user]
            for treatment in range(1, len(arms)):
                compared = (group == 0) | (group == treatment)
                found = log_rank(time[compared], gone[compared], group[compared] == treatment)
                ranks[treatment - 1, number] = found.p_value if found else np.nan
            if drawn.replication % TRENDS_EVERY:
                continue
            labelled = self.days.with_columns(pl.Series("arm", names[drawn.arm[of_day]]))
            rows = effect_trends(labelled, arms[0], list(arms[1:]), self.metrics, self.alpha)
            p_values = [np.nan if row["p_value"] is None else row["p_value"] for row in rows]
            trends[:, :, number] = np.reshape(p_values, trends.shape[:2])
        return DayAnswers(trends, ranks)
