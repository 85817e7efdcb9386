"""Which parts of an experiment the primary metric's effect is looked at in: what users were, and what the day was like.

Knows the world's observable side: cities, weather, occasions, trends, and what users did before the arms parted. Does
not know any test.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from experiments.analysis_config import SegmentBy
from metrics.definitions import ACTIVE_DAYS_BEFORE, Metric
from metrics.multiplicity import Correction, adjusted
from metrics.segments import Interaction, as_rows, by_context, by_trait, interaction_row, levels_of
from metrics.truth import true_effects
from simulator.taxonomy import WEATHER_SIGNALS
from simulator.world import World

Flags = npt.NDArray[np.bool_]

FELT: Final = 0.5
"""Strength from which a day counts as rainy or cold, and a topic as a trend; the level that allocations call rough."""
_NAMES: Final = {
    "rain": ("rain", "no rain"),
    "cold": ("cold", "not cold"),
    "holiday": ("before a holiday", "no holiday ahead"),
    "trend": ("a topic trends", "nothing trends"),
}
_TIERS: Final = ("light", "medium", "heavy")
_ON_VISITS: Final = "visits made on such days, which an arm can change from the second day on"
_ON_USERS: Final = "what was known of users before the arms parted"


@dataclass(frozen=True)
class Surroundings:
    """What a user's city and a day were like.

    Attributes:
        user: ids: [users].
        city: each user's city as an index: [users].
        cities: their names.
        contexts: by name, whether a city's day has it: [cities, days].
    """

    user: npt.NDArray[np.int64]
    city: npt.NDArray[np.int64]
    cities: tuple[str, ...]
    contexts: Mapping[str, Flags]

    @classmethod
    def of(cls, world: World) -> "Surroundings":
        """Those of a world."""
        seen, users = world.environment.observed(), world.population.observed
        shape = seen.weather_signals.shape[:2]
        felt = np.nan_to_num(seen.weather_signals) >= FELT
        ahead = (seen.days_until > 0) & (seen.days_until <= seen.lead_days)
        return cls(
            user=np.asarray(users.user, np.int64),
            city=np.asarray(users.city, np.int64),
            cities=tuple(seen.cities),
            contexts={
                "rain": felt[..., WEATHER_SIGNALS.index("rain")],
                "cold": felt[..., WEATHER_SIGNALS.index("cold")],
                "holiday": np.broadcast_to(ahead.any(axis=1), shape),
                "trend": np.broadcast_to((seen.trend_level >= FELT).any(axis=1), shape),
            },
        )

    def has(self, context: str, user_days: pl.DataFrame) -> Flags:
        """Whether each row's day had a context in its user's city: [rows]."""
        return np.asarray(self.contexts[context][self.city_of(user_days["user"]), user_days["day"].to_numpy()])

    def with_city(self, table: pl.DataFrame) -> pl.DataFrame:
        """The same rows with the name of each user's city, as ``city``."""
        return table.with_columns(pl.Series("city", [self.cities[place] for place in self.city_of(table["user"])]))

    def city_of(self, user: pl.Series) -> npt.NDArray[np.int64]:
        """Each row's city as an index: [rows]."""
        order = np.argsort(self.user)
        return self.city[order[np.searchsorted(self.user, user.to_numpy(), sorter=order)]]


def segment_blocks(
    surroundings: Surroundings,
    wanted: Sequence[SegmentBy],
    metric: Metric,
    control: str,
    treatments: Sequence[str],
    user_days: pl.DataFrame,
    totals: pl.DataFrame,
    true_days: Mapping[str, pl.DataFrame] | None,
    true_totals: Mapping[str, pl.DataFrame] | None,
    alpha: float,
    cuped: bool,
    correction: Correction,
) -> dict[str, list[dict[str, Any]]]:
    """The primary metric's effect in parts, and the tests of whether the parts differ.

    Args:
        surroundings: what cities and days were like.
        wanted: by what to split.
        metric: the primary metric.
        control: the arm to compare with.
        treatments: the other arms.
        user_days: the experiment's days of exposed users.
        totals: their totals.
        true_days: the same days of all users under each arm, or None where nobody knows.
        true_totals: their totals.
        alpha: 1 - the confidence level of the parts' intervals.
        cuped: adjust by the metric's covariates, where users are divided.
        correction: over all tests of difference together.

    Returns:
        ``segments``: rows as of ``metrics.segments.as_rows``, with ``truth``; ``interactions``: for each ``dimension``
        and ``treatment`` ``metric``, ``statistic``, ``degrees``, ``p_value``, ``p_adjusted``, ``conditioned_on``. A
        split that does not split is left out.
    """
    segments: list[dict[str, Any]] = []
    interactions: list[dict[str, Any]] = []
    for dimension in wanted:
        for treatment in treatments:
            if dimension in surroundings.contexts:
                rows, interaction = _in_context(
                    surroundings, dimension, metric, control, treatment, user_days, true_days, alpha
                )
            else:
                rows, interaction = _by_user(
                    surroundings, dimension, metric, control, treatment, totals, true_totals, alpha, cuped
                )
            segments += rows
            if rows:
                interactions.append(
                    interaction_row(dimension, metric.name, treatment, rows[0]["conditioned_on"], interaction)
                )
    for row, p_value in zip(interactions, adjusted([row["p_value"] for row in interactions], correction), strict=True):
        row["p_adjusted"] = p_value
    return {"segments": segments, "interactions": interactions}


def _in_context(
    surroundings: Surroundings,
    context: str,
    metric: Metric,
    control: str,
    treatment: str,
    user_days: pl.DataFrame,
    true_days: Mapping[str, pl.DataFrame] | None,
    alpha: float,
) -> tuple[list[dict[str, Any]], Interaction | None]:
    """Within a context and outside of it; a sum becomes a sum over visits."""
    if metric.window is not None or user_days.height == 0:
        return [], None
    ratio = metric if metric.denominator else replace(metric, kind="ratio", denominator="sessions", covariates=())
    sums = _sums(surroundings, context, ratio, user_days)
    if min(table.height for table in sums.values()) == 0:
        return [], None
    found, interaction = by_context(sums, ratio, control, treatment, alpha)
    inside, outside = _NAMES[context]
    named = {inside: found[True], outside: found[False]}
    rows = as_rows(named, context, metric.name, treatment, _ON_VISITS)
    for row, flag in zip(rows, (True, False), strict=True):
        row["per"] = "visit" if not metric.denominator else None
        row["truth"] = None
        if true_days is not None:
            truly = {arm: _sums(surroundings, context, ratio, true_days[arm])[flag] for arm in (control, treatment)}
            row["truth"] = _truth_of_sums(truly, ratio, control, treatment)
    return rows, interaction


def _sums(surroundings: Surroundings, context: str, ratio: Metric, user_days: pl.DataFrame) -> dict[bool, pl.DataFrame]:
    """Users' sums over the days in and outside of a context."""
    flag = pl.Series(surroundings.has(context, user_days))
    columns = [ratio.numerator, str(ratio.denominator)]
    return {
        inside: user_days.filter(flag if inside else ~flag)
        .group_by("user", "arm")
        .agg(pl.col(columns).sum())
        .sort("user")
        for inside in (True, False)
    }


def _truth_of_sums(
    sums: Mapping[str, pl.DataFrame], ratio: Metric, control: str, treatment: str
) -> dict[str, float | None] | None:
    values = []
    for arm in (control, treatment):
        whole = float(sums[arm][str(ratio.denominator)].to_numpy().sum())
        if not whole:
            return None
        values.append(float(sums[arm][ratio.numerator].to_numpy().sum()) / whole)
    effect = values[1] - values[0]
    return {"effect": effect, "lift": effect / values[0] if values[0] else None}


def _by_user(
    surroundings: Surroundings,
    dimension: str,
    metric: Metric,
    control: str,
    treatment: str,
    totals: pl.DataFrame,
    true_totals: Mapping[str, pl.DataFrame] | None,
    alpha: float,
    cuped: bool,
) -> tuple[list[dict[str, Any]], Interaction | None]:
    """In groups of users."""
    group = _group(surroundings, dimension, totals)
    if len(set(group)) < 2:
        return [], None
    column = "segment"
    found, interaction = by_trait(
        totals.with_columns(pl.Series(column, group)), column, metric, control, treatment, alpha, cuped
    )
    rows = as_rows(found, dimension, metric.name, treatment, _ON_USERS)
    of_user = pl.DataFrame({"user": totals["user"], column: group})
    for row in rows:
        row["per"], row["truth"] = None, None
        if true_totals is not None:
            mine = of_user.filter(pl.col(column) == row["level"]).select("user")
            tables = {arm: true_totals[arm].join(mine, on="user", how="semi") for arm in (control, treatment)}
            truth = true_effects(tables, control, [metric])[metric.name, treatment]
            row["truth"] = None if truth["effect"] is None else {key: truth[key] for key in ("effect", "lift")}
    return rows, interaction


def _group(surroundings: Surroundings, dimension: str, totals: pl.DataFrame) -> list[str]:
    if dimension == "city":
        return [surroundings.cities[place] for place in surroundings.city_of(totals["user"])]
    if dimension == "newcomer":
        return ["returning" if days else "new" for days in totals[ACTIVE_DAYS_BEFORE]]
    return levels_of(totals["sessions_before"].to_numpy(), _TIERS)
