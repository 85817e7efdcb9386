"""Open-loop metrics: rankings held against what users did next, without playing the experiment.

Arrays in, one value for each request out, and a bootstrap over users that tells policies apart. Does not know
where the rankings come from. Rankings are padded with -1 on the right.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.integer[Any]]
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

PAD: Final = -1


@dataclass(frozen=True)
class ItemLists:
    """One list of items for each request, in compressed rows.

    Attributes:
        offsets: [n + 1], where each request's items begin; the last is the number of items.
        items: item ids, those of request i at ``offsets[i]:offsets[i + 1]``.
    """

    offsets: Ids
    items: Ids

    def __post_init__(self) -> None:
        """Check the offsets.

        Raises:
            ValueError: if they do not begin at 0, fall, or do not end at the number of items.
        """
        steps = np.diff(self.offsets)
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.items) or (steps < 0).any():
            raise ValueError(
                f"offsets: from {self.offsets[0]} to {self.offsets[-1]} (must rise from 0 to "
                f"{len(self.items)}, the number of items)"
            )

    @property
    def requests(self) -> Ids:
        """The request of each item: [items]."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


def recall_at_k(ranked: Ids, targets: ItemLists, k: int) -> Floats:
    """Share of a request's distinct targets among the first k ranked items.

    Args:
        ranked: item ids, best first, -1 for padding: [n, m]. An item ranked twice counts once.
        targets: what the user did next, at least one item for each request.
        k: depth; beyond m it changes nothing.

    Returns:
        Values in [0, 1]: [n].

    Raises:
        ValueError: if k is not positive, a request has no target, or the two differ in requests.
    """
    hits, sizes = _hits(ranked, targets, k)
    return hits.sum(axis=1) / sizes


def ndcg_at_k(ranked: Ids, targets: ItemLists, k: int) -> Floats:
    """Normalised discounted cumulative gain with binary relevance (Jarvelin and Kekalainen 2002).

    The gain at rank r (from 1) is 1 / log2(r + 1); the ideal ranking begins with the targets, so the value is
    1 if the first min(k, targets) items are all targets.

    Args:
        ranked: item ids, best first, -1 for padding: [n, m]. An item ranked twice gains once.
        targets: what the user did next, at least one item for each request.
        k: depth.

    Returns:
        Values in [0, 1]: [n].

    Raises:
        ValueError: if k is not positive, a request has no target, or the two differ in requests.
    """
    hits, sizes = _hits(ranked, targets, k)
    depth = max(k, int(sizes.max(initial=0)))
    discounts = 1.0 / np.log2(np.arange(2, depth + 2))
    # Ordered sums and not a matrix product, whose rounding may differ between rows: 1 must come out as 1.
    gained = np.cumsum(hits * discounts[: hits.shape[1]], axis=1)[:, -1]
    ideal = np.cumsum(discounts)[np.minimum(sizes, k) - 1]
    return gained / ideal


def category_hit_at_k(ranked: Ids, targets: ItemLists, category: Ids, k: int) -> Floats:
    """Whether the category of the next item is among the first k distinct categories of the ranking.

    With k = 30 this is the HR@30 of the RecGPT-V2 report: 30 tags, each a category; does the user's next
    category fall in?

    Args:
        ranked: item ids, best first, -1 for padding: [n, m]. Where it names fewer than k, all of them count.
        targets: what the user did next; the first item of each request is the primary target.
        category: the category of each item: [items].
        k: number of distinct categories.

    Returns:
        1.0 or 0.0: [n].

    Raises:
        ValueError: if k is not positive, a request has no target, or the two differ in requests.
    """
    _check(ranked, targets, k)
    sizes = np.diff(targets.offsets)
    _check_targets(sizes)
    wanted = category[targets.items[targets.offsets[:-1]]]
    ranked_categories = np.where(ranked == PAD, PAD, category[ranked])
    first = _first_occurrences(ranked_categories)
    among_first_k = first & (np.cumsum(first, axis=1) <= k)
    return (among_first_k & (ranked_categories == wanted[:, None])).any(axis=1).astype(np.float64)


def novelty_at_k(ranked: Ids, seen: ItemLists, k: int) -> Floats:
    """Share of the first k ranked items that the user had never interacted with.

    Args:
        ranked: item ids, best first, -1 for padding: [n, m]. Every place counts, repeated items too.
        seen: items that the user of each request had interacted with before; may be empty.
        k: depth.

    Returns:
        Values in [0, 1], 0 where nothing was ranked: [n].

    Raises:
        ValueError: if k is not positive, or the two differ in requests.
    """
    _check(ranked, seen, k)
    top = ranked[:, :k]
    shown = top != PAD
    new = shown & ~_members(top, seen)
    return new.sum(axis=1) / np.maximum(shown.sum(axis=1), 1)


def paired_bootstrap(
    values_by_policy: Mapping[str, Floats],
    cluster: Ids,
    replicates: int = 1000,
    seed: int = 0,
    alpha: float = 0.05,
) -> dict[str, Any]:
    """Means over requests, and differences between policies on the same requests, with users resampled.

    Whole clusters are drawn with replacement (the multinomial bootstrap), every policy on the same draws; a
    mean is the ratio of a sum over clusters to their number of requests (Field and Welsh 2007, "Bootstrapping
    clustered data"). Intervals are percentiles. The p-value is twice the smaller tail of the replicates
    beyond 0, with one added to both counts so that it is never 0. One replicate's weights are in memory at a
    time.

    Args:
        values_by_policy: for each policy a value for each request: [n].
        cluster: the user of each request: [n].
        replicates: number of bootstrap replicates.
        seed: of the replicates.
        alpha: 1 - the confidence level.

    Returns:
        ``policies``: for each name ``value`` and ``ci``; ``comparisons``: for each pair of policies in the
        order given ``a``, ``b``, ``effect`` (value of b minus value of a), ``ci``, ``p_value``. Equal
        policies have an effect and an interval of exactly 0 and a p-value of 1.

    Raises:
        ValueError: if there is no request, a value is not finite, lengths differ or an argument is out of
            range.
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
    for replicate in range(replicates):
        drawn = generator.integers(len(requests), size=len(requests))
        replicated[replicate] = columns @ np.bincount(drawn, minlength=len(requests))
    means = replicated[:, 1:] / replicated[:, :1]
    lower, upper = np.quantile(means, [alpha / 2.0, 1.0 - alpha / 2.0], axis=0)
    point = columns[1:].sum(axis=1) / requests.sum()

    policies = {
        name: {"value": float(point[i]), "ci": [float(lower[i]), float(upper[i])]} for i, name in enumerate(names)
    }
    comparisons = []
    for i, (a, b) in enumerate(pairs, start=len(names)):
        tail = min((means[:, i] <= 0.0).sum(), (means[:, i] >= 0.0).sum())
        comparisons.append(
            {
                "a": names[a],
                "b": names[b],
                "effect": float(point[i]),
                "ci": [float(lower[i]), float(upper[i])],
                "p_value": min(1.0, 2.0 * float(tail + 1) / (replicates + 1)),
            }
        )
    return {"policies": policies, "comparisons": comparisons}


def _hits(ranked: Ids, targets: ItemLists, k: int) -> tuple[Flags, Ids]:
    """Which of the first k places newly name a target [n, min(k, m)], and the distinct targets [n]."""
    _check(ranked, targets, k)
    _check_targets(np.diff(targets.offsets))
    pairs = np.unique(np.stack([targets.requests, targets.items]), axis=1)
    sizes = np.bincount(pairs[0], minlength=len(ranked))
    top = ranked[:, :k]
    return _members(top, targets) & _first_occurrences(top), sizes


def _members(ranked: Ids, lists: ItemLists) -> Flags:
    """Whether each ranked item is in the list of its request: [n, m]."""
    span = 1 + max(int(ranked.max(initial=0)), int(lists.items.max(initial=0)))
    rows = np.arange(len(ranked), dtype=np.int64)[:, None]
    keys = rows * span + np.maximum(ranked, 0)
    listed = lists.requests * span + lists.items
    return np.isin(keys, listed) & (ranked != PAD)


def _first_occurrences(values: Ids) -> Flags:
    """Where a value other than the padding stands for the first time in its row: [n, m]."""
    order = np.argsort(values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1)
    first = np.ones(values.shape, dtype=np.bool_)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    unordered = np.empty_like(first)
    np.put_along_axis(unordered, order, first, axis=1)
    return unordered & (values != PAD)


def _check(ranked: Ids, lists: ItemLists, k: int) -> None:
    if k < 1:
        raise ValueError(f"k: {k} (must be at least 1)")
    if ranked.ndim != 2 or ranked.shape[0] != len(lists.offsets) - 1 or ranked.shape[1] == 0:
        raise ValueError(
            f"ranked: shape {ranked.shape} (must be [n, m], n = {len(lists.offsets) - 1} requests, m >= 1)"
        )


def _check_targets(sizes: Ids) -> None:
    if (sizes == 0).any():
        raise ValueError(f"targets: request {int(np.argmin(sizes))} has none (leave out requests without a target)")


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
