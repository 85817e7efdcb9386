"""Aggregates of many drawn experiments at once, by one matrix product.

How often each user stands in an arm, [replications, users], times what each user adds to the sums of columns and of
their products, [users, sums], gives the sums of every replication. Columns are centred before they are multiplied, so
that no digits are lost where a mean is large beside its spread. Knows columns and weights; tests nothing.
"""

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import Final

import numpy as np
import numpy.typing as npt
from tea_tasting.aggr import Aggregates
from threadpoolctl import threadpool_limits

from metrics.audit.outcomes import Table, needed_columns
from metrics.definitions import Metric

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_BLOCK: Final = 1 << 22
"""Weights in memory at a time; the cut depends on the number of users alone, so that sums repeat to the bit."""


def block_size(users: int) -> int:
    """Replications that are drawn together."""
    return max(1, min(32, _BLOCK // max(users, 1)))


class ColumnSums:
    """The columns that some metrics need, ready to be summed with any weights.

    Args:
        table: an arm's columns.
        metrics: what will be estimated.
        rows: the users of whom all of these metrics are known: [users].
    """

    def __init__(self, table: Table, metrics: Sequence[Metric], rows: Flags) -> None:
        self._rows = np.flatnonzero(rows)
        self._columns = needed_columns(metrics)
        pairs = {pair for metric in metrics for pair in combinations_with_replacement(needed_columns([metric]), 2)}
        self._pairs = sorted(pairs)
        values = {name: table[name][self._rows] for name in self._columns}
        self._centre = {name: float(each.mean()) if len(each) else 0.0 for name, each in values.items()}
        centred = {name: each - self._centre[name] for name, each in values.items()}
        self._terms = np.column_stack(
            [np.ones(len(self._rows))]
            + [centred[name] for name in self._columns]
            + [centred[left] * centred[right] for left, right in self._pairs]
        )

    def aggregates(self, weights: Floats) -> list[Aggregates]:
        """Counts, means, variances and covariances of each replication.

        Args:
            weights: how often each user of the table stands in the arm: [replications, users].

        Returns:
            What ``read_aggregates`` would read from the rows, one for each replication; variances are 0 where fewer
            than 2 rows are.
        """
        with threadpool_limits(1, "blas"):  # several threads may cut a sum in other places
            sums = weights[:, self._rows] @ self._terms
        return [self._of(each) for each in sums]

    def _of(self, sums: Floats) -> Aggregates:
        count = round(float(sums[0]))
        if count == 0:
            return Aggregates(0, dict.fromkeys(self._columns, np.nan), dict.fromkeys(self._columns, 0.0), self._none())
        split = 1 + len(self._columns)
        shift = dict(zip(self._columns, (sums[1:split] / count).tolist(), strict=True))
        mean = {name: self._centre[name] + shift[name] for name in self._columns}
        if count == 1:
            return Aggregates(count, mean, dict.fromkeys(self._columns, 0.0), self._none())
        products = dict(zip(self._pairs, sums[split:].tolist(), strict=True))
        covariance = {
            (left, right): (product - count * shift[left] * shift[right]) / (count - 1)
            for (left, right), product in products.items()
        }
        variance = {name: max(covariance[name, name], 0.0) for name in self._columns}
        return Aggregates(count, mean, variance, covariance)

    def _none(self) -> dict[tuple[str, str], float]:
        return dict.fromkeys(self._pairs, 0.0)
