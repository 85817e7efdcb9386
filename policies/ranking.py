"""Ranking once a visit and serving it page by page, and the compiled selections that rankings are made with."""

from abc import abstractmethod
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from policies.registry import RegisteredPolicy
from simulator.answers import INTEGERS, NUMBERS, PolicyError, check_array
from simulator.batches import NO_ITEM, UTILITY, Candidates, Floats, Ints, Ints32, Requests
from simulator.compiled import bare_kernel, inlined, inlined_finite, kernel
from simulator.snapshots import Arrays

_BINS: Final = 256


class VisitRanking(RegisteredPolicy):
    """A policy that ranks at a visit's first page and serves the following pages from that ranking.

    Subclasses define ``rank``. A user's ranking depends on that user's request alone, so shards do not matter. A page
    goes on where the one before ended; on a feed, with what there was no room to show.
    """

    def begin(self, rows: int) -> None:
        """Forget the rankings of earlier visits."""
        self._items: Ints32 = np.full((rows, 0), NO_ITEM, dtype=np.int32)
        self._scores: Floats = np.zeros((rows, 0))

    def snapshot(self) -> Arrays | None:
        """Nothing: at the end of a day no visit is under way, and a ranking is for one visit."""
        return {}

    @abstractmethod
    def rank(self, requests: Requests, width: int) -> tuple[Ints32, Floats]:
        """The best ``width`` items of each request, descending: items int32 and scores float64 [requests, width]."""

    def candidates(self, requests: Requests) -> Candidates:
        """See ``simulator.protocols.Policy``.

        Raises:
            PolicyError: ``rank`` gave something else than it should.
        """
        width = requests.slots * requests.max_pages
        if self._items.shape[1] != width:
            self._items = np.full((len(self._items), width), NO_ITEM, dtype=np.int32)
            self._scores = np.zeros((len(self._scores), width))
        if requests.page == 0:
            items, scores = self._ranked(requests, width)
            self._items[requests.row], self._scores[requests.row] = items, scores
        else:
            items, scores = left_of(self._items, self._scores, requests.row, requests.already, requests.slots)
        return Candidates(items, scores, np.full(items.shape, UTILITY, dtype=np.int8))

    def _ranked(self, requests: Requests, width: int) -> tuple[Ints32, Floats]:
        """What ``rank`` gave, if it is what it should be."""
        given: object = self.rank(requests, width)
        if not isinstance(given, tuple) or len(given) != 2:
            kind = "None" if given is None else f"a {type(given).__name__}"
            raise PolicyError(f"{type(self).__name__}: rank() gave {kind}, wanted a pair: items and scores")
        items, scores = given
        shape = (len(requests), width)
        check_array(self, "items of rank()", items, shape, INTEGERS)
        check_array(self, "scores of rank()", scores, shape, NUMBERS)
        return items, scores


@kernel
def left_of(items: Ints32, scores: Floats, row: Ints, already: Ints32, slots: int) -> tuple[Ints32, Floats]:
    """The next of some rows' rankings that are not ``already`` shown, int32 and float64 [row, slots], padded."""
    next_items = np.full((len(row), slots), NO_ITEM, np.int32)
    next_scores = np.full((len(row), slots), -np.inf)
    for n in range(len(row)):
        k = 0
        for place in range(items.shape[1]):
            item = items[row[n], place]
            if k == slots or item == NO_ITEM:
                break
            fresh = True
            for earlier in already[n]:
                if earlier == item:
                    fresh = False
                    break
            if fresh:
                next_items[n, k], next_scores[n, k] = item, scores[row[n], place]
                k += 1
    return next_items, next_scores


@inlined
def _insert_all(
    pool: Ints32,
    score: Floats,
    size: int,
    out_items: Ints32,
    out_scores: Floats,
) -> None:
    width = len(out_items)
    kept = 0
    for n in range(size):
        value, item = score[n], pool[n]
        if kept == width:
            worst = out_scores[width - 1]
            if value < worst or (value == worst and item > out_items[width - 1]):
                continue
            k = width - 1
        else:
            k = kept
            kept += 1
        while k > 0 and (out_scores[k - 1] < value or (out_scores[k - 1] == value and out_items[k - 1] > item)):
            out_scores[k] = out_scores[k - 1]
            out_items[k] = out_items[k - 1]
            k -= 1
        out_scores[k] = value
        out_items[k] = item
    for k in range(kept, width):
        out_items[k] = NO_ITEM
        out_scores[k] = -np.inf


@inlined_finite
def _extent(score: Floats, size: int) -> tuple[float, float]:
    low = high = score[0]
    for n in range(size):
        low = min(low, score[n])
        high = max(high, score[n])
    return low, high


class SelectionRoom(NamedTuple):
    """Working memory of ``select_top_in`` for pools of up to so many entries; nothing in it lasts.

    Attributes:
        bin_of: of each entry.
        filled: entries of each bin; then, of the best bins, the place of the next one.
        chosen: entries of the best bins, and one place more.
        item, score: theirs, bin after bin.
    """

    bin_of: npt.NDArray[np.uint8]
    filled: Ints
    chosen: Ints
    item: Ints32
    score: Floats


@kernel
def selection_room(size: int) -> SelectionRoom:
    """Room for pools of up to ``size`` entries."""
    return SelectionRoom(
        np.empty(size, np.uint8),
        np.empty(_BINS, np.int64),
        np.empty(size + 1, np.int64),
        np.empty(size, np.int32),
        np.empty(size),
    )


@bare_kernel
def select_top_in(
    room: SelectionRoom, pool: Ints32, score: Floats, size: int, out_items: Ints32, out_scores: Floats
) -> None:
    """Write the best of the first ``size`` pool entries, descending, ties by lower item index; the rest is padding.

    From a pool much larger than what is wanted, those that cannot be among the best are dropped first: scores are
    counted in bins of equal width, and the lowest bins go. The others are laid out bin by bin, so that inserting one
    moves only some of its own bin. Inserting all of them as they come would cost more than anything else.
    """
    width = len(out_items)
    if size < 2 * width:
        _insert_all(pool, score, size, out_items, out_scores)
        return
    low, high = _extent(score, size)
    scale = (_BINS - 1) / (high - low)
    if not 0.0 < scale < np.inf:  # all alike, or some infinite
        _insert_all(pool, score, size, out_items, out_scores)
        return
    for n in range(size):
        room.bin_of[n] = np.uint8((score[n] - low) * scale)
    room.filled[:] = 0
    for n in range(size):
        room.filled[room.bin_of[n]] += 1
    least = _BINS
    better = 0
    while better < width:
        least -= 1
        count, room.filled[least] = room.filled[least], better
        better += count
    kept = 0
    for n in range(size):
        room.chosen[kept] = n
        kept += room.bin_of[n] >= least
    for k in range(kept):
        entry = np.uint64(room.chosen[k])
        place = np.uint64(room.filled[room.bin_of[entry]])
        room.filled[room.bin_of[entry]] += 1
        room.item[place], room.score[place] = pool[entry], score[entry]
    _insert_all(room.item, room.score, kept, out_items, out_scores)


@kernel
def select_top(pool: Ints32, score: Floats, size: int, out_items: Ints32, out_scores: Floats) -> None:
    """``select_top_in`` a room of its own."""
    select_top_in(selection_room(size), pool, score, size, out_items, out_scores)


@kernel
def rank_pool(
    pool: Ints32,
    score: Floats,
    row: Ints,
    shown: Ints32,
    discount: float,
    width: int,
) -> tuple[Ints32, Floats]:
    """Rank one pool for many users, taking ``discount`` off an item's score for each time it was shown in vain."""
    items = np.empty((len(row), width), np.int32)
    scores = np.empty((len(row), width))
    own = np.empty(len(pool))
    room = selection_room(len(pool))
    place = np.full(max(pool.max(), 0) + 1, -1)
    for k in range(len(pool)):
        place[pool[k]] = k
    for n in range(len(row)):
        own[:] = score
        for slot in range(shown.shape[1]):
            item = shown[row[n], slot]
            if 0 <= item < len(place) and place[item] >= 0:
                own[place[item]] -= discount
        select_top_in(room, pool, own, len(pool), items[n], scores[n])
    return items, scores
