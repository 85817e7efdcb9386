from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.ranking import VisitRanking, rank_pool, select_top
from policies.registry import NoParams
from simulator.batches import NO_ITEM, Floats, Ints32, Requests


def selected(pool: Ints32, score: Floats, size: int, width: int) -> tuple[Ints32, Floats]:
    """What ``select_top`` writes."""
    items, scores = np.full(width, 99, np.int32), np.full(width, 99.0)
    select_top(pool, score, size, items, scores)
    return items, scores


@settings(max_examples=200, deadline=None)
@given(
    scores=st.lists(st.sampled_from([-np.inf, -2.0, -0.5, 0.0, 0.25, 1.0, 7.5]), max_size=40),
    width=st.integers(1, 45),
    unused=st.integers(0, 5),
    shuffle=st.randoms(use_true_random=False),
)
def test_select_top_is_a_sort(scores: list[float], width: int, unused: int, shuffle: object) -> None:
    """The selection equals a sort by falling score and then rising item, cut to the width and padded."""
    order = list(range(len(scores) + unused))
    shuffle.shuffle(order)  # type: ignore[attr-defined]
    pool = np.array(order, np.int32)
    score = np.array([*scores, *[1e9] * unused])
    size = len(scores)
    items, best = selected(pool, score, size, width)
    expected = np.lexsort((pool[:size], -score[:size]))[:width]
    kept = len(expected)
    assert items[:kept].tolist() == pool[expected].tolist()
    assert best[:kept].tolist() == score[expected].tolist()
    assert (items[kept:] == NO_ITEM).all()
    assert np.isneginf(best[kept:]).all()


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    size=st.integers(1, 400),
    width=st.integers(1, 60),
    levels=st.sampled_from([2, 30, 10_000]),
    outlier=st.sampled_from([None, 1e6, -1e300, np.inf, -np.inf, 5e-324]),
)
def test_what_is_dropped_beforehand_is_not_among_the_best(
    seed: int, size: int, width: int, levels: int, outlier: float | None
) -> None:
    """A pool much larger than what is wanted is sorted as any other, with ties, with a score far from all others too.

    So it is where the scores lie next to each other, or are infinite.
    """
    rng = np.random.default_rng(seed)
    pool = rng.permutation(size).astype(np.int32)
    score = rng.integers(0, levels, size) / levels * (1e-320 if outlier == 5e-324 else 1.0)
    if outlier is not None:
        score[rng.integers(size)] = outlier
    items, best = selected(pool, score, size, width)
    expected = np.lexsort((pool, -score))[:width]
    assert items[: len(expected)].tolist() == pool[expected].tolist()
    assert best[: len(expected)].tolist() == score[expected].tolist()


def test_rank_pool_takes_off_what_was_shown_in_vain() -> None:
    """Each time an item was shown to a user in vain takes the discount off it, for that user alone."""
    pool = np.array([4, 2, 9], np.int32)
    score = np.array([1.0, 0.9, 0.5])
    shown = np.array([[4, 4, NO_ITEM], [9, NO_ITEM, NO_ITEM], [NO_ITEM] * 3], np.int32)
    items, scores = rank_pool(pool, score, np.array([2, 0, 1]), shown, 0.3, 4)
    assert items.tolist() == [[4, 2, 9, -1], [2, 9, 4, -1], [4, 2, 9, -1]]
    assert scores[:, :3] == pytest.approx(np.array([[1.0, 0.9, 0.5], [0.9, 0.5, 0.4], [1.0, 0.9, 0.2]]))
    assert np.isneginf(scores[:, 3]).all()


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(1, 60), slots=st.integers(0, 12), width=st.integers(1, 70))
def test_rank_pool_is_a_sort_of_discounted_scores(seed: int, size: int, slots: int, width: int) -> None:
    """For every user the pool is in order of score less discounts, with items shown that are not in the pool too."""
    rng = np.random.default_rng(seed)
    pool = rng.permutation(2 * size)[:size].astype(np.int32)
    score = rng.integers(0, 5, size) / 4.0
    shown = rng.integers(-1, 3 * size, (4, slots)).astype(np.int32)
    items, scores = rank_pool(pool, score, np.array([3, 1]), shown, 0.25, width)
    for row, found, best in zip((3, 1), items, scores, strict=True):
        own = score - 0.25 * (shown[row] == pool[:, None]).sum(axis=1)
        expected = np.lexsort((pool, -own))[:width]
        assert found[: len(expected)].tolist() == pool[expected].tolist()
        assert best[: len(expected)].tolist() == own[expected].tolist()
        assert (found[len(expected) :] == NO_ITEM).all()


class Counting(VisitRanking):
    """Ranks items in an order of each visit's own, and counts how often it was asked to."""

    ranked = 0

    def rank(self, requests: Requests, width: int) -> tuple[Ints32, Floats]:
        """A rotation of the catalogue by user and visit."""
        self.ranked += len(requests)
        start = requests.user * 7 + requests.visit * 13
        items = (start[:, None] + np.arange(width)) % 400
        return items.astype(np.int32), np.broadcast_to(-np.arange(width, dtype=float), items.shape)


@pytest.fixture
def policy() -> Counting:
    """A policy that has begun to serve 300 users."""
    policy = Counting(NoParams(), 0)
    policy.begin(300)
    return policy


def test_pages_of_a_visit_continue_one_ranking(policy: Counting, ask: Callable[..., Requests]) -> None:
    """Page p + 1 goes on where page p ended, no item comes twice in a visit, and only page 0 is ranked."""
    requests = ask(np.arange(40))
    whole = policy.candidates(requests)
    assert whole.items.shape == (40, requests.slots * requests.max_pages)
    rest = np.arange(40)
    for page in range(1, requests.max_pages):
        rest = rest[rest % (page + 1) != 0]  # some users leave after each page
        found = policy.candidates(ask(rest, page=page))
        begin = page * requests.slots
        assert found.items.tolist() == whole.items[rest, begin:].tolist()
        assert found.scores.tolist() == whole.scores[rest, begin:].tolist()
        shown = np.concatenate([whole.items[rest, :begin], found.items[:, : requests.slots]], axis=1)
        assert all(len(set(row)) == len(row) for row in shown.tolist())
    assert policy.ranked == 40


def test_new_visit_is_ranked_anew(policy: Counting, ask: Callable[..., Requests]) -> None:
    """The ranking of one visit does not outlive it, and does not touch another user's."""
    first = policy.candidates(ask(np.array([3, 5])))
    requests = ask(np.array([3]))
    again = policy.candidates(replace(requests, visit=requests.visit + 1))
    assert again.items.tolist() != first.items[:1].tolist()
    following = policy.candidates(ask(np.array([5]), page=1))
    assert following.items.tolist() == first.items[1:, requests.slots :].tolist()


def test_begin_forgets(policy: Counting, ask: Callable[..., Requests]) -> None:
    """After ``begin`` no page can be served from an earlier simulation's ranking."""
    policy.candidates(ask(np.array([3])))
    policy.begin(300)
    assert (policy.candidates(ask(np.array([3]), page=1)).items == NO_ITEM).all()
