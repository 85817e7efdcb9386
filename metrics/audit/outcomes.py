"""Tables of potential outcomes: what each user's totals would be under every arm.

A simulation can play every user under every arm, so that for once the whole table is known (Neyman 1923; Rubin 1974;
Imbens and Rubin 2015, "Causal Inference", chapter 6). What an experiment shows of it is one arm's cell of each row.
Knows totals of users; does not know how they were played, nor who is shown what.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from metrics.definitions import Metric
from metrics.estimates import columns_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Table = Mapping[str, Floats]


@dataclass(frozen=True)
class Outcomes:
    """All users under every arm.

    Attributes:
        user: ids, ascending: [users].
        tables: for each arm its columns, each [users]; NaN where a user was not observed long enough.
    """

    user: Ints
    tables: Mapping[str, Table]

    def rows_in(self, user: Ints) -> Ints:
        """The places of these users among others that hold them all: [users]."""
        return np.searchsorted(user, self.user)


def needed_columns(metrics: Iterable[Metric]) -> tuple[str, ...]:
    """The columns that metrics and their covariates are made of, in alphabetical order."""
    return tuple(sorted({column for metric in metrics for column in columns_of(metric, cuped=True)}))


def outcomes_of(totals_by_arm: Mapping[str, pl.DataFrame], metrics: Sequence[Metric]) -> Outcomes:
    """The table of potential outcomes from the totals of all exposed users under every arm.

    Args:
        totals_by_arm: for each arm the table of ``user_totals`` of all users, played under that arm.
        metrics: whose columns are kept.

    Raises:
        ValueError: if the arms do not hold the same users, or a metric of return was observed of different users.
    """
    sorted_totals = {arm: totals.sort("user") for arm, totals in totals_by_arm.items()}
    first = next(iter(sorted_totals))
    user = sorted_totals[first]["user"].to_numpy().astype(np.int64)
    tables: dict[str, Table] = {}
    for arm, totals in sorted_totals.items():
        if not np.array_equal(totals["user"].to_numpy(), user):
            raise ValueError(f"totals_by_arm.{arm}: users differ from those of {first!r} (must be the same)")
        tables[arm] = {name: _floats(totals[name]) for name in needed_columns(metrics)}
        for metric in metrics:
            if not np.array_equal(observed(metric, tables[arm]), observed(metric, tables[first])):
                raise ValueError(
                    f"totals_by_arm.{arm}.{metric.numerator}: observed of other users than in {first!r} "
                    "(exposure must not depend on the arm)"
                )
    return Outcomes(user, tables)


def observed(metric: Metric, table: Table) -> npt.NDArray[np.bool_]:
    """Users of whom a metric is known: [users]."""
    return ~np.isnan(table[metric.numerator])


def _floats(column: pl.Series) -> Floats:
    return column.cast(pl.Float64).fill_null(np.nan).to_numpy().astype(np.float64)
