"""Experiments that randomise more than one unit at once: cities, or cities by the hour (switchback).

What was randomised is what counts: units are summed by cluster, a mean becomes a ratio of two sums over clusters, and
the delta method with Welch's t over clusters gives the cluster-robust error with the degrees of freedom of few clusters
(Donner and Klar 2000, "Design and Analysis of Cluster Randomization Trials", chapter 6; Cameron and Miller 2015, "A
practitioner's guide to cluster-robust inference", section VI, on few clusters). Knows units and their clusters.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import polars as pl

from metrics.definitions import Covariate, Metric

FEWEST: Final = 5
"""Clusters of an arm below which no error can be trusted: the t then rests on the normality of so few sums."""
_UNITS: Final = "units of the cluster"


def clustered(units: pl.DataFrame, cluster: str, metrics: Sequence[Metric]) -> tuple[pl.DataFrame, list[Metric]]:
    """Clusters in place of units, and the metrics as ratios over them.

    Args:
        units: one row a unit, with ``arm`` and the metrics' columns, none of them empty.
        cluster: the column that names what was randomised.
        metrics: to be compared.

    Returns:
        One row a cluster, sorted by arm and cluster, with sums of the columns; and the metrics with the same values as
        over units.

    Raises:
        ValueError: if a cluster has units of two arms, or an arm has fewer than ``FEWEST`` clusters.
    """
    mixed = units.group_by(cluster).agg(pl.col("arm").n_unique().alias("arms")).filter(pl.col("arms") > 1)
    if mixed.height:
        raise ValueError(
            f"{cluster}: {mixed[cluster].sort()[0]!r} has units of two arms; name the column of what was randomised"
        )
    covariates = [column for metric in metrics for pair in metric.covariates for column in pair if column]
    values = [column for metric in metrics for column in (metric.numerator, metric.denominator) if column]
    rows = (
        units.group_by("arm", cluster)
        .agg(
            pl.len().cast(pl.Float64).alias(_UNITS),
            *(pl.col(name).sum() for name in dict.fromkeys(values + covariates)),
        )
        .sort("arm", cluster)
    )
    for arm, count in rows.group_by("arm", maintain_order=True).len().iter_rows():
        if count < FEWEST:
            raise ValueError(
                f"{cluster}: arm {arm!r} has {count} clusters; an error needs at least {FEWEST} in each arm"
            )
    return rows, [_over_clusters(metric) for metric in metrics]


def design_effect_of(clustered_error: float, plain_error: float) -> float:
    """How many times larger the variance is than if units had been randomised one by one."""
    return (clustered_error / plain_error) ** 2


def _over_clusters(metric: Metric) -> Metric:
    covariates = tuple(Covariate(each.numerator, each.denominator or _UNITS) for each in metric.covariates)
    return replace(metric, kind="ratio", denominator=metric.denominator or _UNITS, covariates=covariates)
