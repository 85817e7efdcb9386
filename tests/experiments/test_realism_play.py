from types import SimpleNamespace
from typing import Any

import numpy as np

from allocation.top_slots import TopSlots
from experiments.realism_generated import transitions_of
from experiments.realism_play import (
    CART,
    FAVOURITE,
    ORDER,
    VIEW,
    ClickListener,
    ClickRecorder,
    Clicks,
    Orders,
    actions_of,
)
from simulator.batches import Candidates, Checkouts


def page(user: list[int], answers: list[list[int]], number: int = 0) -> tuple[Any, Any, Any]:
    """A page of three slots: 0 nothing, 1 a click, 2 that and a favourite, 3 and a cart, 4 and an order."""
    answer = np.array(answers)
    rows = np.array(user)
    requests = SimpleNamespace(user=rows, visit=rows * 0 + 3, time=rows * 0 + 100 * (number + 1), page=number)
    slates = SimpleNamespace(items=np.tile([7, 5, 9], (len(user), 1)).astype(np.int32))
    responses = SimpleNamespace(
        clicked=answer > 0,
        views=(answer > 0) * 2,
        favourited=answer == 2,
        carted=answer == 3,
        bought=answer == 4,
        value=(answer == 4) * 4.0,
        shown=np.ones(answer.shape, bool),
    )
    return requests, slates, responses


def bought(user: list[int], time: int) -> Checkouts:
    """Orders from carts of the items 11, 12 and so on, for 1, 2 and so on."""
    ones = np.ones(len(user), np.int64)
    number = np.cumsum(ones)
    item, paid = (10 + number).astype(np.int32), number.astype(np.float64)
    return Checkouts(np.array(user), np.array(user), 3 * ones, time * ones, item, paid, 0.0 * paid)


def test_actions_come_in_their_order() -> None:
    """A visit begins with what the cart brings; a click's views come before what came of it; users are apart."""
    recorder = ClickRecorder()
    recorder.checkouts(bought([2, 2], 100))
    recorder.page(*page([4, 2], [[0, 3, 2], [1, 0, 0]]))
    recorder.page(*page([2], [[0, 4, 0]], number=1))
    clicks, orders = recorder.clicks(), recorder.orders()
    assert clicks.user.tolist() == [2, 2, 4, 4]
    assert clicks.item.tolist() == [7, 5, 5, 9]
    assert orders.user.tolist() == [2, 2, 2]
    assert orders.item.tolist() == [11, 12, 5]
    assert orders.value.tolist() == [1.0, 2.0, 4.0]
    assert orders.from_cart.tolist() == [True, True, False]
    user, time, kind = actions_of(clicks, orders)
    assert user.tolist() == [2] * 7 + [4] * 6
    assert kind[:7].tolist() == [ORDER, ORDER, VIEW, VIEW, VIEW, VIEW, ORDER]
    assert kind[7:].tolist() == [VIEW, VIEW, CART, VIEW, VIEW, FAVOURITE]
    assert time[:7].tolist() == [100] * 4 + [200] * 3
    assert [column.tolist() for column in recorder.visits()] == [[2, 4], [100, 100]]


def test_who_sees_no_page_does_nothing() -> None:
    """A recorder that was never told of a page has no clicks, no orders, no visits and no transitions."""
    recorder = ClickRecorder()
    clicks, orders = recorder.clicks(), recorder.orders()
    assert len(clicks.user) == len(orders.user) == len(actions_of(clicks, orders)[0]) == 0
    assert [len(column) for column in recorder.visits()] == [0, 0]
    assert transitions_of(clicks, orders).sum() == 0


def test_transitions_are_of_one_user() -> None:
    """Pairs are of actions of the same user that follow each other; none joins two users."""
    ones, none, no = np.ones(3, np.int64), np.zeros(0, np.int64), np.zeros(3, bool)
    carted = np.array([True, False, True])
    clicks = Clicks(np.array([0, 0, 1]), ones, np.arange(3), ones, ones, no, carted, no)
    found = transitions_of(clicks, Orders(none, none, none, none, np.zeros(0), no[:0]))
    assert found[VIEW].tolist() == [0, 0, 2, 0]
    assert found[CART].tolist() == [1, 0, 0, 0]
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
