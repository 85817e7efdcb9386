from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocation.top_slots import TopSlots
from policies.ranking import VisitRanking, left_of, rank_pool, select_top
from policies.registry import NoParams
from simulator.batches import NO_ITEM, Floats, Ints32, Requests, Responses, Slates
from simulator.engine import Simulation, opening_state
from simulator.tables import Impressions
from simulator.world import World


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
@given(seed=st.integers(0, 10_000), width=st.integers(0, 20), known=st.integers(0, 12), slots=st.integers(1, 8))
def test_a_page_has_the_next_that_were_not_shown(seed: int, width: int, known: int, slots: int) -> None:
    """The next of a ranking are its items in their order, less those shown, and padding where it ends."""
    rng = np.random.default_rng(seed)
    ranked = np.stack([rng.permutation(2 * width + 1)[:width] for _ in range(3)]).astype(np.int32)
    ranked[1, width // 2 :] = NO_ITEM
    scores = rng.normal(size=ranked.shape)
    row = np.array([2, 1])
    already = rng.integers(NO_ITEM, 2 * width + 2, (2, known)).astype(np.int32)
    items, found = left_of(ranked, scores, row, already, slots)
    for n, r in enumerate(row):
        fresh = [(i, x) for i, x in zip(ranked[r].tolist(), scores[r], strict=True) if i not in {NO_ITEM, *already[n]}]
        padding = max(slots - len(fresh), 0)
        assert items[n].tolist() == [i for i, _ in fresh[:slots]] + [NO_ITEM] * padding
        assert found[n].tolist() == [x for _, x in fresh[:slots]] + [-np.inf] * padding


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
        begin = page * requests.slots
        found = policy.candidates(ask(rest, page=page, already=whole.items[rest, :begin]))
        assert found.items.tolist() == whole.items[rest, begin : begin + requests.slots].tolist()
        assert found.scores.tolist() == whole.scores[rest, begin : begin + requests.slots].tolist()
        shown = np.concatenate([whole.items[rest, :begin], found.items[:, : requests.slots]], axis=1)
        assert all(len(set(row)) == len(row) for row in shown.tolist())
    assert policy.ranked == 40


def test_new_visit_is_ranked_anew(policy: Counting, ask: Callable[..., Requests]) -> None:
    """The ranking of one visit does not outlive it, and does not touch another user's."""
    first = policy.candidates(ask(np.array([3, 5])))
    requests = ask(np.array([3]))
    again = policy.candidates(replace(requests, visit=requests.visit + 1))
    assert again.items.tolist() != first.items[:1].tolist()
    following = policy.candidates(ask(np.array([5]), page=1, already=first.items[1:, : requests.slots]))
    assert following.items.tolist() == first.items[1:, requests.slots : 2 * requests.slots].tolist()


def test_begin_forgets(policy: Counting, ask: Callable[..., Requests]) -> None:
    """After ``begin`` no page can be served from an earlier simulation's ranking."""
    policy.candidates(ask(np.array([3])))
    policy.begin(300)
    assert (policy.candidates(ask(np.array([3]), page=1)).items == NO_ITEM).all()


@pytest.mark.parametrize("scenario", ["item", "feed"])
def test_a_visit_is_shown_the_top_of_its_ranking(world: World, policy: Counting, scenario: str) -> None:
    """What a visit has been shown by its end is the top of its ranking, though a feed has no room for all laid out."""
    shown: dict[tuple[int, int], list[int]] = {}

    class Kept(Impressions):
        def page(self, requests: Requests, slates: Slates, responses: Responses) -> None:
            for n, visit in enumerate(zip(requests.user.tolist(), requests.visit.tolist(), strict=True)):
                shown.setdefault(visit, []).extend(slates.items[n][responses.shown[n]].tolist())

    there = replace(world, scenario=scenario)
    Simulation(there, opening_state(there, 0), policy, TopSlots(), [Kept()]).run(0, 6)
    assert len(shown) > 300
    assert max(map(len, shown.values())) > 2 * world.slots
    for (user, visit), items in shown.items():
        assert items == [(user * 7 + visit * 13 + k) % 400 for k in range(len(items))]
