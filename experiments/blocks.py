"""From users' periods to blocks: one row for each city and block of hours, with what the metrics and covariates need.

Knows periods of a day and where blocks begin. Does not know who served them, unless told, nor any test.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import gcd

import numpy as np
import numpy.typing as npt
import polars as pl

from metrics.definitions import ADDITIVE_COLUMNS, Covariate, Metric
from simulator.batches import Ints


@dataclass(frozen=True)
class Grid:
    """Cities and the blocks that their days are cut into.

    Attributes:
        cities: names.
        city: of each user, by id, int64 [users].
        first_day: of the first block; blocks begin at midnight.
        days: from there.
        hours: of a block: they divide a day, or are whole days.
        burn_in: hours at the beginning of each block that are left out.
    """

    cities: tuple[str, ...]
    city: Ints
    first_day: int
    days: int
    hours: int
    burn_in: int

    @property
    def blocks(self) -> int:
        """Blocks of a city."""
        return self.days * 24 // self.hours

    @property
    def period(self) -> int:
        """Hours of the periods of a day of which blocks and their burn-in are made."""
        return gcd(gcd(self.hours, 24), self.burn_in)

    def place_of(self, periods: pl.DataFrame) -> tuple[Ints, Ints, npt.NDArray[np.bool_]]:
        """City and block of each row, and whether it counts, [rows]."""
        hour = (periods["day"].to_numpy().astype(np.int64) - self.first_day) * 24 + periods["hour"].to_numpy()
        return self.city[periods["user"].to_numpy()], hour // self.hours, hour % self.hours >= self.burn_in


def block_rows(grid: Grid, periods: pl.DataFrame, arm_of_block: npt.NDArray[np.str_]) -> pl.DataFrame:
    """Sums over the users of a city in each block; blocks that nobody came in hold zeros.

    Args:
        grid: the blocks.
        periods: rows of ``UserPeriods`` from the first block on, sorted by user, day and hour.
        arm_of_block: who served, [cities, blocks].

    Returns:
        By city and block: ``user`` (number of the row, as unit of the tests), ``city``, ``block``, ``day`` and ``hour``
        of its beginning, ``phase``, ``arm``, ``users`` who came, and the additive columns.
    """
    city, block, counts = grid.place_of(periods)
    cells = len(grid.cities) * grid.blocks
    cell = (city * grid.blocks + block)[counts]
    here, user = periods.filter(counts), periods["user"].to_numpy()[counts]
    number = np.arange(cells)
    begun = number % grid.blocks * grid.hours
    rows: dict[str, npt.ArrayLike] = {
        "user": number,
        "city": np.asarray(grid.cities)[number // grid.blocks],
        "block": (number % grid.blocks).astype(np.int32),
        "day": (grid.first_day + begun // 24).astype(np.int32),
        "hour": (begun % 24).astype(np.int32),
        "phase": np.full(cells, "experiment"),
        "arm": arm_of_block.ravel(),
        "users": np.bincount(np.unique(np.stack([cell, user]), axis=1)[0], minlength=cells),
    }
    return pl.DataFrame(rows | _sums(here, cell, cells))


def with_covariates(grid: Grid, rows: pl.DataFrame, warmup: pl.DataFrame) -> pl.DataFrame:
    """The rows of blocks, and beside them the warm-up of the same city at the same hours of the day, as ``_before``.

    Args:
        grid: the blocks.
        rows: of ``block_rows``.
        warmup: rows of ``UserPeriods`` before the first block, sorted by user, day and hour.
    """
    slots = max(24 // grid.hours, 1)
    hour = warmup["hour"].to_numpy().astype(np.int64)
    counts = hour % grid.hours >= grid.burn_in if grid.hours < 24 else np.ones(len(hour), np.bool_)
    slot = hour // grid.hours if grid.hours < 24 else np.zeros(len(hour), np.int64)
    cell = (grid.city[warmup["user"].to_numpy()] * slots + slot)[counts]
    sums = _sums(warmup.filter(counts), cell, len(grid.cities) * slots)
    number = rows["user"].to_numpy()
    mine = number // grid.blocks * slots + number % grid.blocks % slots
    return rows.with_columns(pl.Series(f"{name}_before", column[mine]) for name, column in sums.items())


def block_metrics(metrics: Sequence[Metric]) -> list[Metric]:
    """The same metrics with a city's block as their unit: sums are of a block, ratios over blocks.

    The covariate of each is its own, at the same hours of the warm-up.
    """
    return [
        replace(
            metric,
            unit=metric.unit.replace("a user", "a block"),
            formula=metric.formula.replace("a user over the experiment", "a block of a city").replace(
                "over all users of the arm", "over all blocks of the arm"
            ),
            covariates=(
                Covariate(f"{metric.numerator}_before", f"{metric.denominator}_before" if metric.denominator else None),
            ),
        )
        for metric in metrics
    ]


def _sums(rows: pl.DataFrame, cell: Ints, cells: int) -> dict[str, npt.NDArray[np.float64]]:
    """Sums of the additive columns by cell, in the order of the rows, so that equal rows give equal bytes."""
    return {
        name: np.bincount(cell, rows[name].to_numpy().astype(np.float64), minlength=cells).astype(np.float64)
        for name in ADDITIVE_COLUMNS
    }
