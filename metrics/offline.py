"""Open-loop metrics: rankings held against what users did next, without playing the experiment.

Arrays in, one value for each request out. Does not know where the rankings come from, nor how policies are told
apart. Rankings are padded with -1 on the right.
"""

from dataclasses import dataclass
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


def exclusive_recall_at_k(cognitive: Ids, utility: Ids, targets: ItemLists, k: int) -> Floats:
    """Share of a request's distinct targets that one channel's first k hold and the other's first k do not.

    The exclusive recall of the RecGPT-V2 report (section 2.4): what the language model's channel finds and the
    established one does not.

    Args:
        cognitive: item ids of the channel in question, best first, -1 for padding: [n, m].
        utility: item ids of the other channel, likewise: [n, u].
        targets: what the user did next, at least one item for each request.
        k: depth in either channel.

    Returns:
        Values in [0, 1]: [n].

    Raises:
        ValueError: if k is not positive, a request has no target, or they differ in requests.
    """
    hits, sizes = _hits(cognitive, targets, k)
    _check(utility, targets, k)
    shared = (cognitive[:, :k, None] == utility[:, None, :k]).any(axis=2)
    return (hits & ~shared).sum(axis=1) / sizes


def categories_of(ids: Ids, category: Ids) -> Ids:
    """The category of each ranked item or tag, -1 where nothing is ranked.

    Args:
        ids: item or tag ids, -1 for padding: [n, m].
        category: the category of each id: [ids].
    """
    return np.where(ids == PAD, PAD, category[ids])


def category_hit_at_k(ranked: Ids, targets: ItemLists, category: Ids, k: int) -> Floats:
    """Whether the category of the next item is among the first k distinct categories.

    With k = 30 this is the HR@30 of the RecGPT-V2 report: 30 tags, each a category; does the user's next
    category fall in?

    Args:
        ranked: categories, best first, -1 for padding: [n, m]; see ``categories_of``. Where they name fewer than k
            distinct ones, all of them count.
        targets: what the user did next; the first item of each request is the primary target.
        category: the category of each item: [items].
        k: number of distinct categories.

    Returns:
        1.0 or 0.0: [n].

    Raises:
        ValueError: if k is not positive, a request has no target, or the two differ in requests.
    """
    _check(ranked, targets, k)
    wanted = primary_categories(targets, category)
    first = _first_occurrences(ranked)
    among_first_k = first & (np.cumsum(first, axis=1) <= k)
    return (among_first_k & (ranked == wanted[:, None])).any(axis=1).astype(np.float64)


def primary_categories(targets: ItemLists, category: Ids) -> Ids:
    """The category of each request's primary target, its first: [n].

    Raises:
        ValueError: if a request has no target.
    """
    _check_targets(np.diff(targets.offsets))
    return category[targets.items[targets.offsets[:-1]]]


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
