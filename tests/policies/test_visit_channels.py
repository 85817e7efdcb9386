from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.channels import Channel, VisitChannels, lay_out, score_items
from policies.features import rank_requests
from policies.registry import RegisteredPolicy
from policies.utility import Utility
from simulator.batches import COGNITIVE, NO_ITEM, UTILITY, Requests

ITEMS = st.lists(st.integers(0, 12), max_size=6, unique=True)


def padded(items: list[int], width: int = 6) -> np.ndarray:
    """One row of items, padded."""
    row = np.full((1, width), NO_ITEM, np.int32)
    row[0, : len(items)] = items
    return row


@settings(max_examples=200, deadline=None)
@given(utility=ITEMS, cognitive=ITEMS, shown=ITEMS)
def test_channels_are_laid_out_without_twins_and_repeats(
    utility: list[int], cognitive: list[int], shown: list[int]
) -> None:
    """Utility comes first; what was shown is gone, a twin counts as utility, and places lead back to the channel."""
    items, place = np.full((1, 12), NO_ITEM, np.int32), np.zeros((1, 12), np.int32)
    channel = np.zeros((1, 12), np.int8)
    lay_out(padded(utility), padded(cognitive), np.array([0]), padded(shown), items, channel, place)
    first = [item for item in utility if item not in shown]
    second = [item for item in cognitive if item not in shown and item not in first]
    count = len(first) + len(second)
    assert items[0, :count].tolist() == first + second
    assert (items[0, count:] == NO_ITEM).all()
    assert channel[0, :count].tolist() == [UTILITY] * len(first) + [COGNITIVE] * len(second)
    for n in range(count):
        source = utility if n < len(first) else cognitive
        assert source[place[0, n]] == items[0, n]


@pytest.mark.parametrize("explained", [False, True])
def test_pages_carry_what_was_kept_of_each_candidate(ask: Callable[..., Requests], explained: bool) -> None:
    """Estimates and explanations stay with their item on every page; utility is never explained."""
    visits = VisitChannels(300, (2, 3), explained)
    rows = np.array([7, 250])

    def channel(items: list[list[int]], explanation: np.ndarray | None = None) -> Channel:
        array = np.array(items, np.int32)
        return Channel(array, array / 100, array / 1000, explanation)

    texts = np.array([[5, -1, -1], [6, 7, -1]], np.int32)
    visits.keep(rows, UTILITY, channel([[1, 2], [3, NO_ITEM]]))
    visits.keep(rows, COGNITIVE, channel([[2, 8, 9], [10, 11, NO_ITEM]], texts))
    requests = ask(rows, page=1, already=np.array([[9], [3]], np.int32))
    found = visits.page(requests)
    assert found.items.tolist() == [[1, 2, 8, -1, -1], [10, 11, -1, -1, -1]]
    there = found.items >= 0
    assert found.click is not None
    assert found.conversion is not None
    assert np.array_equal(found.click, np.where(there, found.items / 100, 0))
    assert np.array_equal(found.conversion, np.where(there, found.items / 1000, 0))
    assert np.array_equal(found.scores, np.where(there, found.click, -np.inf))
    if explained:
        assert found.explanation is not None
        assert found.explanation.tolist() == [[-1, -1, -1, -1, -1], [6, 7, -1, -1, -1]]
    else:
        assert found.explanation is None


def test_given_items_score_as_ranked_ones(fit: Callable[..., RegisteredPolicy], ask: Callable[..., Requests]) -> None:
    """An item handed in has the score that it has in the ranking, whatever stands beside it; padding has 0."""
    policy = fit("utility")
    assert isinstance(policy, Utility)
    requests = ask(np.arange(60))
    items, scores, _ = rank_requests(
        requests,
        policy.tables,
        policy.weight,
        30,
        extra=np.zeros((60, 0), np.int32),
        bonus_row=np.zeros(60, np.int32),
        bonus=np.zeros((1, len(policy.tables.department))),
        keep_features=False,
    )
    backwards = items[:, ::-1].copy()
    backwards[:, ::3] = NO_ITEM
    found = score_items(requests, policy.tables, policy.weight, backwards)
    assert found == pytest.approx(np.where(backwards >= 0, scores[:, ::-1], 0.0), rel=1e-12)
    alone = score_items(ask(np.array([11])), policy.tables, policy.weight, backwards[11:12])
    assert alone.tobytes() == found[11:12].tobytes()
