"""Does the effect grow or fade from day to day? A trend test for novelty and primacy.

The daily effects are fitted by a line, each day weighted by how precise it is. The same users come on many days, so the
error of the slope is that of users and not of days: it sums each user's part in all daily effects (delta method;
Kohavi, Tang and Xu 2020, "Trustworthy Online Controlled Experiments", chapter 3, on novelty and primacy). Who comes on
later days can differ between arms, so a slope is a reason to look, not a proof. Knows user days.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.stats import norm

from metrics.definitions import Metric
from metrics.estimates import check_alpha

Floats = npt.NDArray[np.float64]


def effect_trends(
    user_days: pl.DataFrame, control: str, treatments: Sequence[str], metrics: Sequence[Metric], alpha: float
) -> list[dict[str, Any]]:
    """The slope of the daily effects of each metric and treatment.

    Args:
        user_days: one row for each user and active day of the experiment: ``user``, ``arm``, ``day``, the columns.
        control: the arm to compare with.
        treatments: the other arms.
        metrics: what to compare; metrics of return have no daily value and are passed over.
        alpha: 1 - the confidence level.

    Returns:
        For each metric and treatment ``metric``, ``treatment``, ``days`` used, ``slope`` (change of the effect from one
        day to the next, in the metric's unit), ``ci`` and ``p_value``; ``None`` with fewer than 3 days.

    Raises:
        ValueError: if ``alpha`` is out of range.
    """
    check_alpha(alpha)
    ordered = user_days.sort("user", "day")
    found = []
    for metric in metrics:
        if metric.window is not None:
            continue
        for treatment in treatments:
            slope, error, days = _slope(ordered, control, treatment, metric)
            half = float(norm.isf(alpha / 2.0)) * error if error is not None else None
            found.append(
                {
                    "metric": metric.name,
                    "treatment": treatment,
                    "days": days,
                    "slope": slope,
                    "ci": None if slope is None or half is None else [slope - half, slope + half],
                    "p_value": None if slope is None or not error else float(2.0 * norm.sf(abs(slope) / error)),
                }
            )
    return found


def _slope(
    ordered: pl.DataFrame, control: str, treatment: str, metric: Metric
) -> tuple[float | None, float | None, int]:
    sides = [_DailySums(ordered.filter(pl.col("arm") == arm), metric) for arm in (control, treatment)]
    shared = sorted(set(sides[0].usable) & set(sides[1].usable))
    if len(shared) < 3:
        return None, None, len(shared)
    effects = np.array([sides[1].value[day] - sides[0].value[day] for day in shared])
    variance = np.array([sides[0].variance[day] + sides[1].variance[day] for day in shared])
    if not (variance > 0.0).all():
        return None, None, len(shared)
    weight = 1.0 / variance
    centred = np.array(shared, np.float64)
    centred -= np.average(centred, weights=weight)
    coefficient = weight * centred / (weight @ np.square(centred))
    by_day = dict(zip(shared, coefficient, strict=True))
    squared = sum(side.variance_of(by_day) for side in sides)
    return float(coefficient @ effects), math.sqrt(squared), len(shared)


class _DailySums:
    """One arm's daily values, and what each user adds to them."""

    def __init__(self, rows: pl.DataFrame, metric: Metric) -> None:
        _, self._user = np.unique(rows["user"].to_numpy(), return_inverse=True)
        self._day = rows["day"].to_numpy().astype(np.int64)
        self._numerator = rows[metric.numerator].to_numpy().astype(np.float64)
        whole = rows[metric.denominator].to_numpy() if metric.denominator else np.ones(rows.height)
        self._denominator = whole.astype(np.float64)
        self.value: dict[int, float] = {}
        self.variance: dict[int, float] = {}
        self._whole: dict[int, float] = {}
        for day in np.unique(self._day):
            here = self._day == day
            total = self._denominator[here].sum()
            if total > 0.0 and here.sum() > 1:
                value = self._numerator[here].sum() / total
                residual = self._numerator[here] - value * self._denominator[here]
                self.value[int(day)], self._whole[int(day)] = float(value), float(total)
                self.variance[int(day)] = float(residual @ residual) / total**2
        self.usable = tuple(self.value)

    def variance_of(self, coefficient: dict[int, float]) -> float:
        """Variance of a weighted sum of this arm's daily values, over users."""
        scale, value = np.zeros(len(self._day)), np.zeros(len(self._day))
        for day, factor in coefficient.items():
            here = self._day == day
            scale[here], value[here] = factor / self._whole[day], self.value[day]
        score = np.bincount(self._user, scale * (self._numerator - value * self._denominator))
        return float(score @ score) * len(score) / max(len(score) - 1, 1)
