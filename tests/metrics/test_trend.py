import numpy as np
import polars as pl
import pytest
from scipy.stats import binom

from metrics.definitions import resolve
from metrics.trend import effect_trends


def days_of(seed: int, fade: float = 0.0, users: int = 600, days: int = 10) -> pl.DataFrame:
    """Users who come on some days with tastes of their own; the treatment's effect changes by ``fade`` a day."""
    rng = np.random.default_rng(seed)
    user, day = (axis.ravel() for axis in np.meshgrid(np.arange(users), np.arange(days), indexing="ij"))
    came = rng.random(user.shape) < 0.5
    user, day = user[came], day[came]
    treated, taste = rng.random(users) < 0.5, rng.beta(4.0, 16.0, users)
    impressions = 10 * (1 + rng.poisson(1.0, user.shape))
    rate = np.clip(taste[user] + treated[user] * fade * (days - day), 0.0, 1.0)
    clicks = rng.binomial(impressions, rate)
    arm = np.where(treated[user], "treatment", "control")
    return pl.DataFrame(
        {"user": user, "arm": arm, "day": day, "clicks": clicks, "impressions": impressions, "ipv": clicks}
    )


def test_an_effect_that_fades_has_a_falling_slope() -> None:
    """The slope is what the effect loses each day, for ratios and for means."""
    (ctr, ipv) = effect_trends(days_of(1, 0.01, 3000), "control", ["treatment"], resolve(["ctr", "ipv"]), 0.05)
    assert ctr["slope"] == pytest.approx(-0.01, abs=0.002)
    assert ctr["ci"][0] < -0.01 < ctr["ci"][1]
    assert ctr["p_value"] < 1e-6
    assert ipv["slope"] == pytest.approx(-0.01 * 20, abs=0.08)
    assert ctr["days"] == 10


def test_a_steady_effect_has_no_slope_as_often_as_promised() -> None:
    """Of 200 experiments without any effect no more and no fewer have a trend than a binomial at 5% allows."""
    found = [
        effect_trends(days_of(seed, users=300), "control", ["treatment"], resolve(["ctr"]), 0.05) for seed in range(200)
    ]
    least, most = binom.interval(0.999, 200, 0.05)
    assert least <= sum(row["p_value"] < 0.05 for (row,) in found) <= most


def test_the_error_is_that_of_users_not_of_days() -> None:
    """Users copied under new names halve the variance; days of the same users copied do not pretend to be users."""
    table = days_of(2)
    twice = pl.concat([table, table.with_columns(pl.col("user") + 10_000)])
    (once,) = effect_trends(table, "control", ["treatment"], resolve(["ctr"]), 0.05)
    (doubled,) = effect_trends(twice, "control", ["treatment"], resolve(["ctr"]), 0.05)
    assert doubled["slope"] == pytest.approx(once["slope"])
    width = [row["ci"][1] - row["ci"][0] for row in (once, doubled)]
    assert width[0] / width[1] == pytest.approx(np.sqrt(2.0), rel=0.01)


def test_too_few_days_have_no_trend() -> None:
    """Two days make no line, and metrics of return have no day."""
    table = days_of(3, days=2)
    (row,) = effect_trends(table, "control", ["treatment"], resolve(["ctr", "lt14"]), 0.05)
    assert (row["slope"], row["ci"], row["p_value"], row["days"]) == (None, None, None, 2)
