import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.blocks import Grid, block_metrics, block_rows, with_covariates
from metrics.definitions import ADDITIVE_COLUMNS, resolve

CITY = np.array([0, 1, 0, 1, 1])


def periods(seed: int, first: int, days: int, hours: int) -> pl.DataFrame:
    """Made-up periods of five users, sorted as a recorder leaves them."""
    rng = np.random.default_rng(seed)
    rows = [
        {"user": user, "day": day, "hour": hour}
        for user in range(5)
        for day in range(first, first + days)
        for hour in range(0, 24, hours)
        if rng.random() < 0.4
    ]
    table = pl.DataFrame(rows, schema={"user": pl.Int64, "day": pl.Int32, "hour": pl.Int32})
    return table.with_columns(pl.Series(name, rng.integers(0, 9, len(rows))) for name in ADDITIVE_COLUMNS)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([1, 2, 3, 4, 6, 8, 12, 24, 48]), st.integers(0, 5))
def test_nothing_is_lost_but_the_burn_in(seed: int, hours: int, burn_in: int) -> None:
    """Sums over all blocks are those over all periods that count, and without a burn-in those over all periods."""
    burn_in = min(burn_in, hours - 1)
    grid = Grid(("x", "y"), CITY, 10, 4, hours, burn_in)
    table = periods(seed, 10, 4, grid.period)
    rows = block_rows(grid, table, np.full((2, grid.blocks), "a"))
    assert rows.height == 2 * grid.blocks == 2 * 4 * 24 // hours
    counts = ((table["day"] - 10) * 24 + table["hour"]) % hours >= burn_in
    assert rows["clicks"].sum() == table.filter(counts)["clicks"].sum()
    if not burn_in:
        assert rows.select(ADDITIVE_COLUMNS).sum().row(0) == pytest.approx(table.select(ADDITIVE_COLUMNS).sum().row(0))
    assert grid.period <= min(hours, 24)
    assert burn_in % grid.period == 0


def test_a_block_is_that_of_its_city_and_hours() -> None:
    """Every period lands in one cell, whose users are counted once each."""
    grid = Grid(("x", "y"), CITY, 10, 2, 6, 0)
    table = periods(3, 10, 2, 3)
    arms = np.array([["a", "b"] * 4, ["b", "a"] * 4])
    rows = block_rows(grid, table, arms)
    for row in rows.iter_rows(named=True):
        users = np.flatnonzero(("x", "y").index(row["city"]) == CITY)
        mine = table.filter(
            pl.col("user").is_in(users.tolist())
            & (pl.col("day") == row["day"])
            & (pl.col("hour") // 6 == row["hour"] // 6)
        )
        assert row["orders"] == mine["orders"].sum()
        assert row["users"] == mine["user"].n_unique()
        assert row["arm"] == arms[("x", "y").index(row["city"]), row["block"]]


def test_covariates_are_of_the_same_hours() -> None:
    """A block's warm-up is that of its city at its hours; a block of days has its city's whole warm-up."""
    warmup = periods(5, 7, 3, 6)
    mornings = warmup.filter((pl.col("hour") == 6) & pl.col("user").is_in([0, 2]))["clicks"].sum()
    grid = Grid(("x", "y"), CITY, 10, 4, 6, 0)
    rows = block_rows(grid, periods(6, 10, 4, 6), np.full((2, 16), "a"))
    found = with_covariates(grid, rows, warmup).filter((pl.col("city") == "x") & (pl.col("hour") == 6))
    assert found["clicks_before"].to_list() == [mornings] * 4
    days = Grid(("x", "y"), CITY, 10, 4, 48, 0)
    rows = block_rows(days, periods(6, 10, 4, 24), np.full((2, 2), "a"))
    whole = warmup.filter(pl.col("user").is_in([1, 3, 4]))["clicks"].sum()
    found = with_covariates(days, rows, warmup).filter(pl.col("city") == "y")
    assert found["clicks_before"].to_list() == [whole] * 2


def test_metrics_are_of_blocks() -> None:
    """Words and covariates say blocks, and every covariate is the metric's own."""
    ctr, ipv = block_metrics(resolve(("ctr", "ipv")))
    assert ipv.unit == "count a block"
    assert "block" in ipv.formula
    assert "user" not in ctr.formula + ipv.formula
    assert ctr.covariates[0] == ("clicks_before", "impressions_before")
    assert ipv.covariates[0] == ("ipv_before", None)
