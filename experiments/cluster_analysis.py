"""Tests of an experiment whose clusters were randomised: cities, or whatever a table's column names.

Turns units into clusters for the engine of the verdict, and says what clustering cost. Knows units with a column of
clusters; does not know where they come from, nor what is true.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import polars as pl

from experiments.verdict import Capped
from metrics.balance import warmup_balance
from metrics.clusters import clustered, design_effect_of, intraclass_correlation
from metrics.definitions import Metric
from metrics.estimates import arm_aggregates, columns_of, estimate

CITY: Final = "city"
LEFT_OUT: Final = (
    "Left out, since their errors would be those of users randomised one by one: quantiles, segments, the trend of "
    "daily effects, and how long users stay."
)


def capped_over_clusters(found: Capped | None, cluster: str) -> Capped | None:
    """The same with clusters in place of units."""
    if found is None:
        return None
    totals, metrics = clustered(found.totals, cluster, list(found.metrics.values()))
    return replace(found, totals=totals, metrics={metric.name: metric for metric in metrics})


def days_over_clusters(
    user_days: pl.DataFrame, cluster: str, metrics: Sequence[Metric]
) -> tuple[pl.DataFrame, list[Metric]]:
    """Clusters' days in place of users' days, in the shape that ``metrics.daily`` reads; cluster names as ``user``.

    The values are those over users: a mean is a ratio of a sum over the users who came on that day.
    """
    came = "users who came"
    additive = [metric for metric in metrics if metric.window is None]
    columns = dict.fromkeys(name for metric in additive for name in (metric.numerator, metric.denominator) if name)
    keys = [cluster, "arm", "day", "phase"]
    ordered = user_days.sort(*keys, "user")
    member = ordered.select(pl.struct(keys).rle_id()).to_series().to_numpy()
    first = pl.Series(np.concatenate([[True], member[1:] != member[:-1]]))
    sums = {name: np.bincount(member, ordered[name].to_numpy().astype(np.float64)) for name in columns}
    table = ordered.select(keys).filter(first).with_columns(**sums, **{came: np.bincount(member).astype(np.float64)})
    table = table.rename({cluster: "user"}).sort("user", "day")
    over = [replace(metric, kind="ratio", denominator=metric.denominator or came, covariates=()) for metric in additive]
    return table, over


def balance_over_clusters(
    units: pl.DataFrame, cluster: str, control: str, treatments: Sequence[str], metrics: Sequence[Metric]
) -> list[dict[str, Any]]:
    """The warm-up of each cluster, a unit of it on average, compared between arms; as of ``warmup_balance``."""
    columns = dict.fromkeys(name for metric in metrics for covariate in metric.covariates for name in covariate if name)
    rates = [Metric(name=name, title=name, unit="", formula="", kind="mean", numerator=name) for name in columns]
    rows, over = clustered(units, cluster, rates)
    means = rows.select("arm", *(pl.col(each.numerator) / pl.col(str(each.denominator)) for each in over))
    return warmup_balance(means, control, treatments, metrics)


def cluster_block(
    units: pl.DataFrame,
    cluster: str,
    word: str,
    of: str,
    comparisons: Sequence[Mapping[str, Any]],
    metrics: Sequence[Metric],
    alpha: float,
    cuped: bool,
    left_out: str = "",
) -> dict[str, Any]:
    """What randomising clusters cost.

    Args:
        units: one row a unit, with ``arm`` and the column of clusters.
        cluster: that column.
        word: what clusters are called, in the plural.
        of: what units are called, likewise.
        comparisons: over clusters.
        metrics: as over units; comparisons of others are passed over.
        alpha: of the comparisons.
        cuped: whether they were adjusted.
        left_out: a sentence on what is not there.

    Returns:
        ``column``, ``word``, ``of`` (what units are called), ``count``, ``by_arm`` (clusters of each arm), ``units``
        (of a cluster on average), ``left_out``, and ``design_effects``: for each ``metric`` and ``treatment`` the
        ``design_effect`` (variance of the effect over that of units randomised one by one) and the ``correlation``
        within clusters, without CUPED.
    """
    by_name = {metric.name: metric for metric in metrics}
    effects = []
    for row in comparisons:
        if row["metric"] not in by_name:
            continue
        metric = by_name[row["metric"]]
        both = units.filter(pl.col("arm").is_in([row["control"], row["treatment"]]))
        known = both.drop_nulls(columns_of(metric, cuped))
        of_arm = arm_aggregates(known, (row["control"], row["treatment"]), [metric], cuped)
        alone = estimate(metric, of_arm[row["control"]], of_arm[row["treatment"]], alpha, cuped)
        tested = row["std_error"] and alone.std_error
        effects.append(
            {
                "metric": row["metric"],
                "treatment": row["treatment"],
                "design_effect": design_effect_of(row["std_error"], float(alone.std_error or 0.0)) if tested else None,
                "correlation": intraclass_correlation(both, cluster, metric),
            }
        )
    by_arm = units.group_by("arm").agg(pl.col(cluster).n_unique().alias("clusters")).sort("arm")
    count = units[cluster].n_unique()
    return {
        "column": cluster,
        "word": word,
        "of": of,
        "count": count,
        "by_arm": dict(by_arm.iter_rows()),
        "units": units.height / count,
        "left_out": left_out,
        "design_effects": effects,
    }
