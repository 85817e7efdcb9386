"""Small tables of users and days for the tests of the metrics."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from metrics.definitions import ACTIVE_DAYS_BEFORE, ADDITIVE_COLUMNS


def _user_days(rows: list[tuple[Any, ...]], *columns: str) -> pl.DataFrame:
    """``user_days`` from (user, arm, day, phase, *columns) rows; columns left out are 1 session and zeros."""
    table = pl.DataFrame(rows, schema=["user", "arm", "day", "phase", *columns], orient="row")
    defaults = {name: 1 if name == "sessions" else 0 for name in ADDITIVE_COLUMNS if name not in columns}
    return table.with_columns(
        pl.col("user").cast(pl.Int64),
        pl.col("day").cast(pl.Int32),
        *(pl.lit(value, dtype=pl.Int64).alias(name) for name, value in defaults.items()),
    ).with_columns(pl.col("gmv", "tv").cast(pl.Float64))


@pytest.fixture
def user_days() -> Callable[..., pl.DataFrame]:
    """The builder of small ``user_days`` tables."""
    return _user_days


def _population(seed: int, users: int) -> pl.DataFrame:
    """Totals of users that differ in activity and taste, so that a warm-up predicts the experiment."""
    rng = np.random.default_rng(seed)
    activity = rng.gamma(2.0, 2.0, users)
    taste = rng.beta(2.0, 8.0, users)
    columns: dict[str, Any] = {"user": np.arange(users), "first_day": np.full(users, 7)}
    for suffix in ("", "_before"):
        sessions = 1 + rng.poisson(activity)
        impressions = 10 * sessions
        clicks = rng.binomial(impressions, taste)
        orders = rng.binomial(clicks, 0.1)
        gmv = orders * rng.lognormal(3.0, 1.0, users)
        columns |= {
            f"sessions{suffix}": sessions,
            f"pages{suffix}": sessions,
            f"impressions{suffix}": impressions,
            f"clicks{suffix}": clicks,
            f"ipv{suffix}": clicks,
            f"atc{suffix}": orders,
            f"orders{suffix}": orders,
            f"novel_impressions{suffix}": rng.binomial(impressions, 0.5),
            f"gmv{suffix}": gmv,
            f"tv{suffix}": 0.9 * gmv,
        }
    columns[ACTIVE_DAYS_BEFORE] = np.minimum(columns["sessions_before"], 7)
    columns["arm"] = np.where(rng.random(users) < 0.5, "control", "treatment")
    return pl.DataFrame(columns)


@pytest.fixture
def population() -> Callable[..., pl.DataFrame]:
    """The builder of synthetic totals: ``population(seed, users)``."""
    return _population
