"""Rows of a realism scorecard: one comparison each, with what a reader is shown of both sides.

Knows samples and distances, and how a row is written down; where a side has no values, an entry of
``without_counterpart`` stands in for the row. Does not know where samples come from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from metrics.realism import (
    Beside,
    Distance,
    NothingToCompareError,
    Sample,
    beside_counts,
    beside_the_floor,
    js_of_categories,
    ks,
)

Floats = npt.NDArray[np.float64]

QUANTILES: Final = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
MOST_SHOWN: Final = 40
"""Categories that a row shows, those with the largest gap between the sides."""
JS: Final = "JS"
KS: Final = "KS"
USERS: Final = "halves of the real users"
COUNTS: Final = "draws from the real counts"
_NO_VALUES: Final = "too few values in the days compared, on one side or on both"


@dataclass(frozen=True)
class Noise:
    """How noise is asked for: how many halvings or draws, and their seed."""

    times: int
    seed: int


def numbers_row(
    name: str, title: str, unit: str, real: Sample, simulated: Sample, noise: Noise, note: str = ""
) -> dict[str, Any]:
    """A row that compares numbers, by the Kolmogorov-Smirnov distance.

    Args:
        name: of the row.
        title: in words.
        unit: of the values.
        real: values of real users.
        simulated: values of simulated users.
        noise: how the floor is found.
        note: what a reader should know.
    """
    try:
        found = beside_the_floor(real, simulated, ks, noise.times, noise.seed)
    except NothingToCompareError:
        return _without(title)
    sides = {
        key: np.quantile(side.value, QUANTILES).tolist() for key, side in (("real", real), ("simulated", simulated))
    }
    shown = {"kind": "quantiles", "labels": [f"{q:.0%}" for q in QUANTILES], "unit": unit, **sides}
    return _row(name, title, KS, found, USERS, shown, note)


def shares_row(
    name: str,
    title: str,
    labels: Sequence[str],
    real: Sample,
    simulated: Sample,
    noise: Noise,
    note: str = "",
    distance: Distance | None = None,
) -> dict[str, Any]:
    """A row that compares how often categories occur, by the Jensen-Shannon distance.

    Args:
        name: of the row.
        title: in words.
        labels: of the categories.
        real: categories by number, of real users.
        simulated: likewise, of simulated users.
        noise: how the floor is found.
        note: what a reader should know.
        distance: another than that of the categories' shares.
    """
    try:
        found = beside_the_floor(real, simulated, distance or js_of_categories(len(labels)), noise.times, noise.seed)
    except NothingToCompareError:
        return _without(title)
    counts = (np.bincount(side.value, minlength=len(labels)) for side in (real, simulated))
    return _row(name, title, JS, found, USERS, shown_shares(labels, *counts), note)


def counts_row(
    name: str, title: str, labels: Sequence[str], real: Floats, simulated: Floats, noise: Noise, note: str = ""
) -> dict[str, Any]:
    """A row that compares counts of categories, of which the real ones are known as shares only.

    Args:
        name: of the row.
        title: in words.
        labels: of the categories.
        real: shares or counts, [categories].
        simulated: counts, [categories].
        noise: how the floor is found.
        note: what a reader should know.
    """
    try:
        found = beside_counts(real, simulated, noise.times, noise.seed)
    except NothingToCompareError:
        return _without(title)
    return _row(name, title, JS, found, COUNTS, shown_shares(labels, real, simulated), note)


def shown_shares(labels: Sequence[str], real: npt.NDArray[Any], simulated: npt.NDArray[Any]) -> dict[str, Any]:
    """Shares of the categories on both sides; of many, those that are furthest apart, in their own order."""
    p, q = real / real.sum(), simulated / simulated.sum()
    chosen = np.arange(len(labels))
    if len(labels) > MOST_SHOWN:
        chosen = np.sort(np.argsort(-np.abs(p - q), kind="stable")[:MOST_SHOWN])
    return {
        "kind": "shares",
        "labels": [labels[n] for n in chosen.tolist()],
        "unit": "",
        "of": len(labels),
        "real": p[chosen].tolist(),
        "simulated": q[chosen].tolist(),
    }


def parted(rows: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows that compare something, and the entries of those in which a side has no values."""
    return [row for row in rows if "distance" in row], [row for row in rows if "distance" not in row]


def worst_of(rows: Sequence[Mapping[str, Any]], count: int = 2) -> list[str]:
    """Names of the rows furthest from their floor, the worst first."""
    judged = [row for row in rows if row["ratio"] is not None]
    return [row["name"] for row in sorted(judged, key=lambda row: -row["ratio"])[:count]]


def _without(title: str) -> dict[str, Any]:
    return {"title": title, "why": _NO_VALUES}


def _row(
    name: str, title: str, measure: str, found: Beside, floor_from: str, shown: Mapping[str, Any], note: str
) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "measure": measure,
        "distance": found.distance,
        "floor": found.floor,
        "floor_high": found.floor_high,
        "floor_from": floor_from,
        "times": found.times,
        "ratio": found.ratio,
        "within_noise": found.within_noise,
        "note": note,
        "shown": dict(shown),
    }
