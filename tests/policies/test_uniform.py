from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from policies.registry import RegisteredPolicy
from policies.uniform import draw_distinct
from simulator.batches import NO_ITEM, Requests
from simulator.streams import stream_key


@settings(max_examples=50, deadline=None)
@given(items=st.integers(1, 30), width=st.integers(1, 40), seed=st.integers(0, 99))
def test_draws_are_distinct_and_padded(items: int, width: int, seed: int) -> None:
    """As many distinct items as there are are drawn, and padding comes last."""
    users = np.arange(5)
    drawn = draw_distinct(stream_key(seed, "t"), users, users * 0, items, width)
    there = min(items, width)
    assert drawn.shape == (5, width)
    assert all(len(set(row)) == there for row in drawn[:, :there].tolist())
    assert ((drawn[:, :there] >= 0) & (drawn[:, :there] < items)).all()
    assert (drawn[:, there:] == NO_ITEM).all()


def test_every_item_is_as_likely_in_every_place() -> None:
    """Over many users the items of the first and of the fourth place are uniform (chi-square)."""
    users = np.arange(20_000)
    drawn = draw_distinct(stream_key(1, "t"), users, users * 0, 25, 4)
    for place in (0, 3):
        assert chisquare(np.bincount(drawn[:, place], minlength=25)).pvalue > 1e-4


def test_every_visit_is_drawn_anew(fit: Callable[..., RegisteredPolicy], ask: Callable[..., Requests]) -> None:
    """A user's next visit, another user and another seed get other items; the same visit gets the same."""
    rows = np.arange(30)
    requests = ask(rows)
    policy = fit("random")
    found = policy.candidates(requests).items
    assert np.array_equal(policy.candidates(requests).items, found)
    assert not (policy.candidates(ask(rows, visit=requests.visit + 1)).items == found).all(axis=1).any()
    assert not (fit("random", seed=6).candidates(requests).items == found).all(axis=1).any()
    assert len(np.unique(found, axis=0)) == len(rows)


def test_catalogue_smaller_than_the_ranking_is_padded(
    fit: Callable[..., RegisteredPolicy], ask: Callable[..., Requests]
) -> None:
    """Where more is asked for than there is, every item comes once and padding scores minus infinity."""
    found = fit("random").candidates(ask(np.arange(3), slots=50, max_pages=9))
    assert (np.sort(found.items[:, :400], axis=1) == np.arange(400)).all()
    assert (found.items[:, 400:] == NO_ITEM).all()
    assert np.isneginf(found.scores[:, 400:]).all()
