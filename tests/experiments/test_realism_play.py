from types import SimpleNamespace
from typing import Any

import numpy as np

from allocation.top_slots import TopSlots
from experiments.realism_generated import transitions_of
from experiments.realism_play import CART, ORDER, VIEW, ClickListener, ClickRecorder, Clicks
from simulator.batches import Candidates


def page(user: list[int], clicked: list[list[int]], carted: int = 0, number: int = 0) -> tuple[Any, Any, Any]:
    """A page of three slots: who clicked on what; the first ``carted`` clicks of all were put into the cart."""
    there = np.array(clicked, bool)
    order = np.cumsum(there).reshape(there.shape)
    cart = there & (order <= carted)
    rows = np.array(user)
    requests = SimpleNamespace(user=rows, visit=rows * 0 + 3, time=rows * 0 + 100 * (number + 1), page=number)
    slates = SimpleNamespace(items=np.tile([7, 5, 9], (len(user), 1)).astype(np.int32))
    responses = SimpleNamespace(
        clicked=there, views=there * 2, carted=cart, bought=cart, value=cart * 4.0, shown=np.ones_like(there)
    )
    return requests, slates, responses


def test_actions_come_in_their_order() -> None:
    """A click's views come first, then its cart and its order; clicks by position, pages by time, users apart."""
    recorder = ClickRecorder()
    recorder.page(*page([4, 2], [[0, 1, 1], [1, 0, 0]], carted=1))
    recorder.page(*page([2], [[0, 1, 0]], number=1))
    clicks = recorder.clicks()
    assert clicks.user.tolist() == [2, 2, 4, 4]
    assert clicks.item.tolist() == [7, 5, 5, 9]
    user, time, kind = clicks.actions()
    assert user.tolist() == [2] * 4 + [4] * 6
    assert kind.tolist() == [VIEW] * 4 + [VIEW, VIEW, CART, ORDER, VIEW, VIEW]
    assert time[:4].tolist() == [100, 100, 200, 200]
    assert [column.tolist() for column in recorder.visits()] == [[2, 4], [100, 100]]


def test_who_sees_no_page_does_nothing() -> None:
    """A recorder that was never told of a page has no clicks, no visits and no transitions."""
    recorder = ClickRecorder()
    assert len(recorder.clicks().user) == len(recorder.clicks().actions()[0]) == 0
    assert [len(column) for column in recorder.visits()] == [0, 0]
    assert transitions_of(recorder.clicks()).sum() == 0


def test_transitions_are_of_one_user() -> None:
    """Pairs are of actions of the same user that follow each other; none joins two users."""
    ones = np.ones(3, np.int64)
    clicks = Clicks(
        np.array([0, 0, 1]),
        ones,
        np.arange(3),
        ones,
        ones,
        np.array([True, False, True]),
        np.zeros(3, bool),
        ones * 1.0,
    )
    found = transitions_of(clicks)
    assert found[VIEW].tolist() == [0, 2, 0]
    assert found[CART].tolist() == [1, 0, 0]
    assert found.sum() == 3


def test_a_listener_notes_the_estimates_of_what_is_shown() -> None:
    """It shows what the allocator shows, and pairs each shown item's own estimate with its outcome and slot."""
    items = np.array([[5, 9, 7, -1], [9, 7, 5, 6]], np.int32)
    click = np.array([[0.1, 0.2, 0.3, 0.0], [0.4, 0.5, 0.6, 0.7]])
    candidates = Candidates(items, np.tile([4.0, 3.0, 2.0, 1.0], (2, 1)), np.zeros((2, 4), np.int8), click=click)
    requests: Any = SimpleNamespace(slots=3, row=np.arange(2))
    listener = ClickListener(TopSlots())
    slates = listener.allocate(requests, candidates)
    assert np.array_equal(slates.items, TopSlots().allocate(requests, candidates).items)
    clicked = np.array([[True, False, False], [False, True, False]])
    responses: Any = SimpleNamespace(shown=np.ones((2, 3), bool), clicked=clicked)
    listener.observe(requests, slates, responses)
    estimate, happened, slot = listener.noted()
    of_item = [dict(zip(row.tolist(), chance.tolist(), strict=True)) for row, chance in zip(items, click, strict=True)]
    assert estimate.tolist() == [of_item[n][item] for n in range(2) for item in slates.items[n].tolist()]
    assert happened.tolist() == clicked.ravel().tolist()
    assert slot.tolist() == [0, 1, 2] * 2


def test_without_estimates_nothing_is_noted() -> None:
    """A policy that does not say how likely a click is leaves nothing to hold against clicks."""
    candidates = Candidates(np.array([[5, 9, 7]], np.int32), np.zeros((1, 3)), np.zeros((1, 3), np.int8))
    requests: Any = SimpleNamespace(slots=3, row=np.arange(1))
    listener = ClickListener(TopSlots())
    slates = listener.allocate(requests, candidates)
    responses: Any = SimpleNamespace(shown=np.ones((1, 3), bool), clicked=np.zeros((1, 3), bool))
    listener.observe(requests, slates, responses)
    assert [len(column) for column in listener.noted()] == [0, 0, 0]
