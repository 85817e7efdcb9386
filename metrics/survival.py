"""How long users stay: time until they are gone, by Kaplan and Meier, and the log-rank test between arms.

Nobody sees a user leave. A user counts as gone when no visit came for so many days, at the end of those days, whatever
follows; users whose silence is shorter when the observation ends are censored there (Kaplan and Meier 1958; Mantel
1966). All from statsmodels, but the p-value, which it lets underflow to 0. Knows days on which users came.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.stats import chi2, norm
from statsmodels.duration.survfunc import SurvfuncRight, survdiff
from statsmodels.stats.proportion import proportion_confint

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SurvivalCurve:
    """Share of users not yet gone.

    Attributes:
        time: moments at which somebody went: [events].
        at_risk: users watched until then: [events].
        share: estimate just after each moment: [events].
        error: Greenwood's standard error: [events].
        users: in all.
        gone: in all.
    """

    time: Floats
    at_risk: Floats
    share: Floats
    error: Floats
    users: int
    gone: int

    def interval(self, alpha: float) -> tuple[Floats, Floats]:
        """Both ends, on the scale of log(-log(share)), which stays within 0 to 1: [events] each."""
        inner = (self.share > 0.0) & (self.share < 1.0)
        low, high = self.share.copy(), self.share.copy()
        logs = np.log(self.share[inner])
        half = float(norm.isf(alpha / 2.0)) * self.error[inner] / np.abs(self.share[inner] * logs)
        low[inner], high[inner] = np.exp(logs * np.exp(half)), np.exp(logs * np.exp(-half))
        return low, high

    def at(self, time: float) -> float:
        """The share at a moment."""
        before = np.searchsorted(self.time, time, side="right")
        return float(self.share[before - 1]) if before else 1.0


@dataclass(frozen=True)
class LogRank:
    """Outcome of the log-rank test: its chi-square with one degree of freedom, and the p-value."""

    chi_square: float
    p_value: float


def survival_curve(time: npt.ArrayLike, gone: npt.ArrayLike) -> SurvivalCurve:
    """The Kaplan-Meier estimate.

    Args:
        time: until the user went or the observation ended: [users].
        gone: whether the user went: [users].

    Raises:
        ValueError: if there are no users or a time is negative.
    """
    times, events = np.asarray(time, np.float64), np.asarray(gone, np.bool_)
    if len(times) == 0 or times.min() < 0.0:
        raise ValueError("time: none or negative (must be one of at least 0 for each user)")
    if not events.any():
        nothing = np.zeros(0)
        return SurvivalCurve(nothing, nothing, nothing, nothing, len(times), 0)
    found = SurvfuncRight(times, events.astype(np.int64))
    return SurvivalCurve(
        time=np.asarray(found.surv_times, np.float64),
        at_risk=np.asarray(found.n_risk, np.float64),
        share=np.asarray(found.surv_prob, np.float64),
        error=np.nan_to_num(np.asarray(found.surv_prob_se, np.float64)),
        users=len(times),
        gone=int(events.sum()),
    )


def log_rank(time: npt.ArrayLike, gone: npt.ArrayLike, treated: npt.ArrayLike) -> LogRank | None:
    """Do users of two arms go at the same rate?

    Args:
        time: as for ``survival_curve``: [users].
        gone: as for ``survival_curve``: [users].
        treated: which arm: [users].

    Returns:
        The test; ``None`` if nobody went, or an arm is empty.
    """
    times, events = np.asarray(time, np.float64), np.asarray(gone, np.bool_)
    group = np.asarray(treated, np.bool_)
    if not events.any() or group.all() or not group.any():
        return None
    statistic, _ = survdiff(times, events.astype(np.int64), group.astype(np.int64))
    if not np.isfinite(statistic):
        return None
    return LogRank(float(statistic), float(chi2.sf(statistic, 1)))


def silences(user_days: pl.DataFrame, start: int, end: int, observed_end: int, churn_days: int) -> pl.DataFrame:
    """Time until gone, of every user exposed from day ``start`` to before ``end``.

    Args:
        user_days: one row for each user and day with a visit.
        start: first day of exposure.
        end: first day after it.
        observed_end: first day that nobody watched.
        churn_days: days without a visit after which a user is gone.

    Returns:
        Sorted by user: ``user``, ``arm``, ``time`` in days since exposure, ``gone``.

    Raises:
        ValueError: if ``churn_days`` is less than 1.
    """
    if churn_days < 1:
        raise ValueError(f"churn_days: {churn_days} (must be at least 1)")
    day = pl.col("day").cast(pl.Int64)
    watched = (
        user_days.filter((day >= start) & (day < observed_end))
        .sort("user", "day")
        .with_columns(day.min().over("user").alias("first"), day.shift(-1).over("user").alias("next"))
        .filter(pl.col("first") < end)
    )
    silent = pl.col("next").fill_null(observed_end) - day - 1 >= churn_days
    return (
        watched.with_columns(pl.when(silent).then(day + churn_days - pl.col("first")).alias("left"))
        .group_by("user", "arm")
        .agg(pl.col("left").min(), pl.col("first").first())
        .sort("user")
        .select(
            "user",
            "arm",
            pl.col("left").fill_null(observed_end - 1 - pl.col("first")).alias("time"),
            pl.col("left").is_not_null().alias("gone"),
        )
    )


def returns(
    user_days: pl.DataFrame, arms: Sequence[str], start: int, end: int, observed_end: int, alpha: float
) -> list[dict[str, Any]]:
    """Share of users who come on each day after exposure, of those who were watched that long.

    Args:
        user_days: as for ``silences``.
        arms: in the order wanted.
        start: first day of exposure.
        end: first day after it.
        observed_end: first day that nobody watched.
        alpha: 1 - the confidence level; the intervals are Wilson's.

    Returns:
        For each arm ``arm`` and ``points``: ``day`` after exposure, ``users`` watched, ``share`` and ``ci``.
    """
    day = pl.col("day").cast(pl.Int64)
    watched = user_days.filter((day >= start) & (day < observed_end)).with_columns(
        day.min().over("user").alias("first")
    )
    watched = watched.filter(pl.col("first") < end).with_columns((day - pl.col("first")).alias("offset"))
    found = []
    for arm in arms:
        mine = watched.filter(pl.col("arm") == arm)
        longest = observed_end - 1 - mine.unique("user")["first"].to_numpy()
        active = np.bincount(mine["offset"].to_numpy(), minlength=1)
        points = []
        for offset in range(1, int(longest.max(initial=0)) + 1):
            users = int((longest >= offset).sum())
            count = int(active[offset]) if offset < len(active) else 0
            low, high = proportion_confint(count, users, alpha, method="wilson")
            points.append({"day": offset, "users": users, "share": count / users, "ci": [float(low), float(high)]})
        found.append({"arm": arm, "points": points})
    return found
