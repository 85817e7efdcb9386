"""From tags to items: the cognitive channel's candidates.

Serving of tag-aware retrieval (RecGPT-V1 report): items are held against ``h = b h_u + (1 - b) h_t``, user and tag
together; the user's vector is the nearest of several interests (RecGPT-V2 report). Only the items nearest to each tag
are looked at, so the catalogue's size costs nothing at serving. Knows no click and no order: what an item is worth is
estimated elsewhere.
"""

from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt
from numba import njit
from pydantic import Field
from threadpoolctl import threadpool_limits

from policies.ranking import select_top
from policies.recgpt.towers import Floats32, Towers
from policies.thoughts import NO_TAG
from simulator.batches import NO_ITEM, Bools, Floats, Ints, Ints32, ReadOnlyArrays
from simulator.parameters import Parameters
from simulator.state import has_interacted

_BLOCK: Final = 256
"""Tags held against all items at once."""


class RetrievalParams(Parameters):
    """Parameters of the cognitive channel's retrieval."""

    user_share: Annotated[
        float, Field(ge=0, le=1, description="b of h = b h_u + (1 - b) h_t: the user's share beside the tag's")
    ] = 0.4
    shortlist: Annotated[int, Field(ge=1, description="nearest items of each tag that are considered")] = 30
    rank_discount: Annotated[
        float, Field(ge=0, description="what a tag's rank takes off its items' scores, times ln(1 + rank)")
    ] = 0.05
    per_tag: Annotated[int, Field(ge=1, description="items that one tag may bring")] = 3
    pool: Annotated[
        int, Field(ge=1, description="items retrieved, of which those of the highest estimated click are kept")
    ] = 60
    novel: Annotated[bool, Field(description="leave out what the user ever interacted with")] = True


@dataclass(frozen=True)
class Shortlists(ReadOnlyArrays):
    """The items nearest to each tag, nearest first.

    Attributes:
        item: int32 [tags, shortlist].
        similarity: cosines, float32 [tags, shortlist].
    """

    item: Ints32
    similarity: Floats32


@dataclass(frozen=True)
class Retrieved:
    """What tags brought, best first; [requests, width].

    Attributes:
        item: int32, distinct within a row, NO_ITEM as padding at the end.
        tag: the tag that brought the item, int32, NO_TAG as padding.
    """

    item: Ints32
    tag: Ints32


@dataclass(frozen=True)
class Match:
    """How items stand to a request's tags and user; float64 [requests, items], 0 on padding.

    Attributes:
        named: 1 where the item's category is that of a tag.
        rank: 1 / (1 + rank of the first such tag), 0 where there is none.
        tag: highest cosine of the item with a tag (0 at least).
        user: highest cosine of the item with one of the user's interests.
    """

    named: Floats
    rank: Floats
    tag: Floats
    user: Floats


@njit(cache=True)
def _nearest(similarity: Floats32, out_item: Ints32, out_similarity: Floats32) -> None:
    """The highest entries of each row, ties by the lower index."""
    pool = np.arange(similarity.shape[1]).astype(np.int32)
    best = np.empty(out_item.shape[1])
    for n in range(len(similarity)):
        select_top(pool, similarity[n].astype(np.float64), len(pool), out_item[n], best)
        out_similarity[n] = best


def shortlists(towers: Towers, width: int, listed: Bools | None = None) -> Shortlists:
    """The ``width`` items nearest to each tag. Computed once a fit; grows with tags x items x dimensions.

    Args:
        towers: vectors.
        width: items of a list.
        listed: the items that are on sale, bool [items]; all if left out.
    """
    here = np.arange(len(towers.item), dtype=np.int32) if listed is None else np.flatnonzero(listed).astype(np.int32)
    vectors = towers.item[here]
    tags = len(towers.tag)
    width = min(width, len(here))
    item, similarity = np.empty((tags, width), np.int32), np.empty((tags, width), np.float32)
    with threadpool_limits(1, "blas"):
        for begin in range(0, tags, _BLOCK):
            block = slice(begin, begin + _BLOCK)
            _nearest(towers.tag[block] @ vectors.T, item[block], similarity[block])
    return Shortlists(here[item], similarity)


@njit(fastmath=True, cache=True)
def _dot(one: Floats32, other: Floats32) -> float:
    """Dot product; summed in whatever order is fast, which the length decides and nothing else."""
    value = np.float32(0.0)
    for d in range(len(one)):
        value += one[d] * other[d]
    return float(value)


@njit(cache=True)
def _user_similarity(interests: Floats32, vector: Floats32) -> float:
    """Highest dot product of one of the interests [codes, width] with a vector."""
    highest = -np.inf
    for k in range(len(interests)):
        highest = max(highest, float(_dot(interests[k], vector)))
    return highest


@njit(cache=True)
def _retrieve(
    tags: Ints32,
    interests: Floats32,
    row: Ints,
    interacted: npt.NDArray[np.uint64],
    barred: Ints32,
    short_item: Ints32,
    short_similarity: Floats32,
    item_vector: Floats32,
    share: float,
    discount: float,
    per_tag: int,
    novel: bool,
    out_item: Ints32,
    out_tag: Ints32,
) -> None:
    items = len(item_vector)
    seen = np.full(items, -1, np.int64)  # request that last looked at an item
    place = np.empty(items, np.int32)  # where the item stands in that request's pool, -1 if barred
    nearness = np.empty(items)
    most = tags.shape[1] * short_item.shape[1]
    pool, found_by, score = np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most)
    brought = np.zeros(tags.shape[1], np.int64)
    for n in range(len(tags)):
        for m in range(barred.shape[1]):
            if barred[n, m] >= 0:
                seen[barred[n, m]] = n
                place[barred[n, m]] = -1
        size = 0
        for t in range(tags.shape[1]):
            tag = tags[n, t]
            if tag < 0:
                continue
            penalty = discount * np.log1p(t)
            for m in range(short_item.shape[1]):
                item = short_item[tag, m]
                if seen[item] != n:
                    seen[item] = n
                    if novel and has_interacted(interacted, row[n], item):
                        place[item] = -1
                    else:
                        place[item] = size
                        nearness[item] = _user_similarity(interests[n], item_vector[item])
                        pool[size], score[size] = item, -np.inf
                        size += 1
                k = place[item]
                if k < 0:
                    continue
                value = share * nearness[item] + (1.0 - share) * short_similarity[tag, m] - penalty
                if value > score[k]:
                    score[k], found_by[k] = value, t
        brought[:] = 0
        k = 0
        for index in np.argsort(-score[:size], kind="mergesort"):
            if k == out_item.shape[1]:
                break
            if brought[found_by[index]] < per_tag:
                brought[found_by[index]] += 1
                out_item[n, k], out_tag[n, k] = pool[index], tags[n, found_by[index]]
                k += 1


def retrieve(
    tags: Ints32,
    interests: Floats32,
    row: Ints,
    interacted: npt.NDArray[np.uint64],
    barred: Ints32,
    towers: Towers,
    short: Shortlists,
    width: int,
    params: RetrievalParams,
) -> Retrieved:
    """The items that a request's tags bring, merged over tags by score.

    An item's score is ``b h_u.v + (1 - b) h_t.v`` less a discount for the tag's rank, by the tag that gives it most. A
    tag brings ``per_tag`` items at most. Cost of a request: tags x shortlist look-ups, and codes x width operations
    for each distinct item among them; the catalogue does not enter.

    Args:
        tags: best first, int32 [requests, tags], NO_TAG as padding.
        interests: ``Towers.user_codes``, float32 [requests, codes, width].
        row: row of each request in ``interacted``, int64 [requests].
        interacted: bits of items ever interacted with, ``ObservedHistory.interacted``.
        barred: items that must not be brought (those of the utility channel), int32 [requests, any], NO_ITEM as
            padding.
        towers: of the fit.
        short: the items nearest to each tag.
        width: most items wanted.
        params: of the retrieval.
    """
    shape = (len(tags), width)
    item, tag = np.full(shape, NO_ITEM, np.int32), np.full(shape, NO_TAG, np.int32)
    _retrieve(
        tags,
        interests,
        row,
        interacted,
        barred,
        short.item,
        short.similarity,
        towers.item,
        params.user_share,
        params.rank_discount,
        params.per_tag,
        params.novel,
        item,
        tag,
    )
    return Retrieved(item, tag)


@njit(cache=True)
def _match(
    items: Ints32,
    tags: Ints32,
    interests: Floats32,
    item_vector: Floats32,
    tag_vector: Floats32,
    item_category: Ints32,
    tag_category: Ints32,
    named: Floats,
    rank: Floats,
    by_tag: Floats,
    by_user: Floats,
) -> None:
    for n in range(len(items)):
        for m in range(items.shape[1]):
            item = items[n, m]
            if item < 0:
                continue
            vector = item_vector[item]
            by_user[n, m] = _user_similarity(interests[n], vector)
            for t in range(tags.shape[1]):
                tag = tags[n, t]
                if tag < 0:
                    continue
                if named[n, m] == 0.0 and tag_category[tag] == item_category[item]:
                    named[n, m], rank[n, m] = 1.0, 1.0 / (1.0 + t)
                by_tag[n, m] = max(by_tag[n, m], float(_dot(tag_vector[tag], vector)))


def match(
    items: Ints32, tags: Ints32, interests: Floats32, towers: Towers, item_category: Ints32, tag_category: Ints32
) -> Match:
    """How items of either channel stand to the tags and to the user of each request.

    Args:
        items: int32 [requests, items], NO_ITEM as padding.
        tags: best first, int32 [requests, tags], NO_TAG as padding.
        interests: ``Towers.user_codes``, float32 [requests, codes, width].
        towers: of the fit.
        item_category: category of each item, int32 [items].
        tag_category: category of each tag, int32 [tags].
    """
    found = Match(*(np.zeros(items.shape) for _ in range(4)))
    _match(
        items,
        tags,
        interests,
        towers.item,
        towers.tag,
        item_category,
        tag_category,
        found.named,
        found.rank,
        found.tag,
        found.user,
    )
    return found
