"""Experiments that randomise more than one unit at once: cities, or cities by the hour (switchback).

What was randomised is what counts: units are summed by cluster, a mean becomes a ratio of two sums over clusters, and
the delta method with Welch's t over clusters gives the cluster-robust error with the degrees of freedom of few clusters
(Donner and Klar 2000, "Design and Analysis of Cluster Randomization Trials", chapter 6; Cameron and Miller 2015, "A
practitioner's guide to cluster-robust inference", section VI, on few clusters). Knows units and their clusters.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import polars as pl

from metrics.definitions import Covariate, Metric

FEWEST: Final = 5
"""Clusters of an arm below which no error can be trusted: the t then rests on the normality of so few sums."""
FEWEST_EFFECTIVE: Final = 4.5
"""The same of clusters of different sizes, counted as so many of one size; a little lower, since no two are equal."""
_UNITS: Final = "units of the cluster"


def clustered(units: pl.DataFrame, cluster: str, metrics: Sequence[Metric]) -> tuple[pl.DataFrame, list[Metric]]:
    """Clusters in place of units, and the metrics as ratios over them.

    Units for which a metric or its covariate is empty are left out of that metric.

    Args:
        units: one row a unit, with ``arm`` and the metrics' columns.
        cluster: the column that names what was randomised.
        metrics: to be compared.

    Returns:
        One row a cluster, sorted by arm and cluster, with sums of the columns; and the metrics with the same values as
        over units.

    Raises:
        ValueError: if a cluster has units of two arms, or an arm has fewer than ``FEWEST`` clusters, or clusters of
            such different sizes that they count for fewer than ``FEWEST_EFFECTIVE``.
    """
    mixed = units.group_by(cluster).agg(pl.col("arm").n_unique().alias("arms")).filter(pl.col("arms") > 1)
    if mixed.height:
        raise ValueError(
            f"{cluster}: {mixed[cluster].sort()[0]!r} has units of two arms; name the column of what was randomised"
        )
    _check(units, cluster)
    ordered = units.sort("arm", cluster, maintain_order=True)
    member = ordered.select(pl.struct("arm", cluster).rle_id()).to_series().to_numpy()
    first = np.concatenate([[True], member[1:] != member[:-1]])
    sums: dict[str, np.ndarray] = {}
    over = []
    for metric in metrics:
        gaps = [column for column in _columns(metric) if ordered[column].null_count()]
        seen = ordered.select(pl.all_horizontal(pl.col(gaps).is_not_null())).to_series().to_numpy() if gaps else None
        over.append(
            _over_clusters(metric, f" where {metric.name} is known" if gaps else "", seen, ordered, member, sums)
        )
    return ordered.select("arm", cluster).filter(pl.Series(first)).with_columns(**sums), over


def _columns(metric: Metric) -> list[str]:
    """Columns that a metric needs, each once."""
    pairs = ((metric.numerator, metric.denominator), *metric.covariates)
    return list(dict.fromkeys(column for pair in pairs for column in pair if column))


def _over_clusters(
    metric: Metric,
    suffix: str,
    seen: np.ndarray | None,
    ordered: pl.DataFrame,
    member: np.ndarray,
    sums: dict[str, np.ndarray],
) -> Metric:
    """The metric as a ratio of sums, which are added to ``sums``.

    Terms are added one after the other, so that the last bit does not depend on how many threads there are.
    """

    def summed(column: str | None) -> str:
        name = (column or _UNITS) + suffix
        if name not in sums:
            value = (
                np.ones(len(member)) if column is None else ordered[column].cast(pl.Float64).fill_null(0.0).to_numpy()
            )
            sums[name] = np.bincount(member, value if seen is None else value * seen)
        return name

    return replace(
        metric,
        kind="ratio",
        numerator=summed(metric.numerator),
        denominator=summed(metric.denominator),
        covariates=tuple(Covariate(summed(top), summed(bottom)) for top, bottom in metric.covariates),
    )


def _check(units: pl.DataFrame, cluster: str) -> None:
    """Refuse arms whose clusters are too few, or too unequal, for an error."""
    sizes = units.group_by("arm", cluster).len().sort("arm", cluster)
    for arm in sizes["arm"].unique(maintain_order=True):
        size = sizes.filter(pl.col("arm") == arm)["len"].to_numpy().astype(np.float64)
        if len(size) < FEWEST:
            raise ValueError(
                f"{cluster}: arm {arm!r} has {len(size)} clusters; an error needs at least {FEWEST} in each arm"
            )
        alike = effective_clusters(size)
        if alike < FEWEST_EFFECTIVE:
            raise ValueError(
                f"{cluster}: the {len(size)} clusters of arm {arm!r} differ so much in size that they count for "
                f"{alike:.1f}; an error needs at least {FEWEST} of about one size in each arm"
            )


def effective_clusters(size: np.ndarray) -> float:
    """How many clusters of one size carry the weight of these: (sum of sizes)^2 / sum of squares (Kish 1965).

    Args:
        size: units of each cluster, above 0, float64 [clusters].
    """
    return float(size.sum() ** 2 / (size @ size))


def design_effect_of(clustered_error: float, plain_error: float) -> float:
    """How many times larger the variance is than if units had been randomised one by one."""
    return (clustered_error / plain_error) ** 2


def intraclass_correlation(units: pl.DataFrame, cluster: str, metric: Metric) -> float | None:
    """How alike units of a cluster are, beyond what their arm makes of them: the share of variance between clusters.

    The estimate of the analysis of variance for clusters of different sizes (Donner and Klar 2000, chapter 6), of each
    unit's part in the metric: its value, or of a ratio what it adds to the numerator beyond the arm's ratio times its
    denominator. It can come out below 0, where clusters differ less than chance alone would have them.

    Args:
        units: one row a unit, with ``arm`` and the metric's columns.
        cluster: the column that names what was randomised.
        metric: as over units, not as over clusters.

    Returns:
        The correlation; ``None`` where nothing varies or no cluster has two units.
    """
    columns = [column for column in (metric.numerator, metric.denominator) if column]
    within = between = 0.0
    count = clusters = arms = 0
    squares = 0.0
    for rows in (
        units.drop_nulls(columns).sort("arm", cluster, maintain_order=True).partition_by("arm", maintain_order=True)
    ):
        _, member = np.unique(rows[cluster].to_numpy(), return_inverse=True)
        value = rows[metric.numerator].to_numpy().astype(np.float64)
        if metric.denominator:
            whole = rows[metric.denominator].to_numpy().astype(np.float64)
            value = value - value.sum() / whole.sum() * whole if whole.sum() else value
        size = np.bincount(member).astype(np.float64)
        mean = np.bincount(member, value) / size
        within += float(np.square(value - mean[member]).sum())
        between += float(size @ np.square(mean - value.mean()))
        squares += float(size @ size) / len(value)
        count, clusters, arms = count + len(value), clusters + len(size), arms + 1
    if count <= clusters or clusters <= arms or not within + between > 0.0:
        return None
    mean_within, mean_between = within / (count - clusters), between / (clusters - arms)
    typical = (count - squares) / (clusters - arms)
    return (mean_between - mean_within) / (mean_between + (typical - 1.0) * mean_within)
