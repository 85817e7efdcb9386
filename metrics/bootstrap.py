"""Policies told apart on the same requests: a paired bootstrap that resamples users.

One value for each request and policy in, means and differences with intervals out. Does not know what the values
measure, nor which comparisons are read together; only how fine p-values must be for that.
"""

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.integer[Any]]
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


_FINENESS: Final = 4
"""A p-value of no replicate beyond 0 is this many times smaller than the correction asks of the smallest one. With 1, a
comparison would be told only if not a single replicate contradicts it."""

_MOST_REPLICATES: Final = 100_000
"""For p-values: more would take minutes and tell little."""


def finest_p_value(replicates: int) -> float:
    """The p-value where no replicate lies beyond 0: there is none smaller from so many."""
    return min(1.0, 2.0 / (replicates + 1))


def replicates_for(comparisons: int, alpha: float, least: int) -> int:
    """Replicates from which p-values of so many comparisons, corrected together, can fall below ``alpha``.

    A correction that keeps the chance of any false alarm multiplies the smallest p-value by the number of comparisons
    (Bonferroni; Holm 1979). A bootstrap's cannot be smaller than ``finest_p_value``, so with a thousand replicates no
    more than 25 comparisons could ever be told at 5%, however large the differences.

    Args:
        comparisons: number of p-values in the family.
        alpha: the level at which they are read.
        least: wanted in any case.

    Returns:
        At least ``least``; beyond that at most 100,000, which may be too few: see ``finest_p_value``.
    """
    return max(least, min(math.ceil(_FINENESS * 2 * comparisons / alpha) - 1, _MOST_REPLICATES))


def complete_requests(values_by_policy: Mapping[str, Floats]) -> Flags:
    """Requests at which every policy has a value, so that policies are compared on the same ones: [n].

    Args:
        values_by_policy: for each policy a value for each request, NaN where it has none: [n]. At least one policy.
    """
    complete: Flags = np.logical_and.reduce([~np.isnan(values) for values in values_by_policy.values()])
    return complete


def paired_bootstrap(
    values_by_policy: Mapping[str, Floats],
    cluster: Ids,
    replicates: int = 1000,
    seed: int = 0,
    alpha: float = 0.05,
    p_replicates: int = 0,
) -> dict[str, Any]:
    """Means over requests, and differences between policies on the same requests, with users resampled.

    Whole clusters are drawn with replacement (the multinomial bootstrap), every policy on the same draws; a
    mean is the ratio of a sum over clusters to their number of requests (Field and Welsh 2007, "Bootstrapping
    clustered data"). Intervals are percentiles. The p-value is twice the smaller tail of the replicates
    beyond 0, with one added to both counts so that it is never 0; of fewer than about a hundred clusters it
    tends to be too small, the more so the smaller it is. One replicate's weights are in memory at a time.

    Args:
        values_by_policy: for each policy a value for each request: [n].
        cluster: the user of each request: [n].
        replicates: number of bootstrap replicates of the intervals.
        seed: of the replicates.
        alpha: 1 - the confidence level.
        p_replicates: of the p-values, which need more where many are corrected together (``replicates_for``). The first
            of them are those of the intervals; as many as those if fewer are given.

    Returns:
        ``policies``: for each name ``value`` and ``ci``; ``comparisons``: for each pair of policies in the
        order given ``a``, ``b``, ``effect`` (value of b minus value of a), ``ci``, ``p_value``. Equal
        policies have an effect and an interval of exactly 0 and a p-value of 1.

    Raises:
        ValueError: if there is no request, a value is not finite (see ``complete_requests``), lengths differ or an
            argument is out of range.
    """
    names = list(values_by_policy)
    pairs = list(combinations(range(len(names)), 2))
    _check_bootstrap(values_by_policy, cluster, replicates, alpha)
    _, index = np.unique(cluster, return_inverse=True)
    requests = np.bincount(index).astype(np.float64)
    sums = [np.bincount(index, weights=values) for values in values_by_policy.values()]
    # Differences get sums of their own: equal policies then differ by exactly 0, whatever the rounding.
    columns = np.stack([requests, *sums, *(sums[b] - sums[a] for a, b in pairs)])

    generator = np.random.default_rng(seed)
    replicated = np.empty((replicates, len(columns)))
    tested = max(replicates, p_replicates)
    below, above = np.zeros(len(pairs), np.int64), np.zeros(len(pairs), np.int64)
    for replicate in range(tested):
        drawn = generator.integers(len(requests), size=len(requests))
        found = columns @ np.bincount(drawn, minlength=len(requests))
        if replicate < replicates:
            replicated[replicate] = found
        below += found[len(columns) - len(pairs) :] <= 0.0
        above += found[len(columns) - len(pairs) :] >= 0.0
    means = replicated[:, 1:] / replicated[:, :1]
    lower, upper = np.quantile(means, [alpha / 2.0, 1.0 - alpha / 2.0], axis=0)
    point = columns[1:].sum(axis=1) / requests.sum()

    policies = {
        name: {"value": float(point[i]), "ci": [float(lower[i]), float(upper[i])]} for i, name in enumerate(names)
    }
    comparisons = []
    for i, ((a, b), tail) in enumerate(zip(pairs, np.minimum(below, above), strict=True), start=len(names)):
        comparisons.append(
            {
                "a": names[a],
                "b": names[b],
                "effect": float(point[i]),
                "ci": [float(lower[i]), float(upper[i])],
                "p_value": min(1.0, 2.0 * float(tail + 1) / (tested + 1)),
            }
        )
    return {"policies": policies, "comparisons": comparisons}


def _check_bootstrap(values_by_policy: Mapping[str, Floats], cluster: Ids, replicates: int, alpha: float) -> None:
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha: {alpha} (must lie between 0 and 1)")
    if replicates < 1:
        raise ValueError(f"replicates: {replicates} (must be at least 1)")
    if len(cluster) == 0:
        raise ValueError("cluster: no request (there must be at least one)")
    for name, values in values_by_policy.items():
        if values.shape != cluster.shape:
            raise ValueError(f"values_by_policy.{name}: shape {values.shape} (must be {cluster.shape})")
        if not np.isfinite(values).all():
            raise ValueError(f"values_by_policy.{name}: holds NaN or infinity (every value must be finite)")
