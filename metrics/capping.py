"""Heavy tails cut at a height that was fixed before the experiment.

A few large orders carry most of the variance of an amount. Cutting them at a quantile of the warm-up keeps the cut from
depending on what the arms did (Kohavi, Tang and Xu 2020, "Trustworthy Online Controlled Experiments", chapter 18). What
is estimated is then the effect on the amount below the cut, which is another quantity: it stands beside the uncapped
one and does not replace it. Knows columns and not what they mean.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl


def cap_heights(table: pl.DataFrame, columns: Sequence[str], quantile: float) -> dict[str, float]:
    """The height at which each column is cut: its quantile over the rows of a table from before the experiment.

    Args:
        table: rows of the warm-up, of the kind that will be cut.
        columns: to be cut.
        quantile: above 0 and below 1.

    Returns:
        The height of each column that has one above 0; where not even the quantile is, cutting would leave nothing.

    Raises:
        ValueError: if the quantile is out of range.
    """
    if not 0.0 < quantile < 1.0:
        raise ValueError(f"quantile: {quantile} (must lie between 0 and 1)")
    if table.height == 0:
        return {}
    heights = {name: float(np.quantile(table[name].to_numpy(), quantile)) for name in columns}
    return {name: height for name, height in heights.items() if height > 0.0}


def capped(table: pl.DataFrame, heights: Mapping[str, float]) -> pl.DataFrame:
    """The table with its columns cut from above."""
    return table.with_columns(pl.col(name).clip(upper_bound=height) for name, height in heights.items())


def share_capped(table: pl.DataFrame, column: str, height: float) -> float:
    """Share of a table's rows that lie above the height; 0 of an empty table."""
    return float(np.mean(table[column].to_numpy() > height)) if table.height else 0.0
