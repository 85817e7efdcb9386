from typing import Any

import numpy as np
import pytest

from simulator.batches import BUY, DAY_SECONDS, NO_ITEM, Checkouts, Ints
from simulator.checkout import check_out
from simulator.response import MOST_PIECES, VALUE_BUY, ResponseConstants, response_constants
from simulator.state import State, copy_state, new_state, take_state
from simulator.streams import stream_key
from simulator.world import World

MORNING = 5 * DAY_SECONDS + 30_000
LINES = 6
SURE = 30.0


def constants(world: World, **changes: Any) -> ResponseConstants:
    """The world's response parameters with some of them changed."""
    behaviour = world.behaviour
    response = behaviour.response.model_copy(update=changes)
    return response_constants(response, behaviour.feed, "item", stream_key(world.seed, "response"))


def shopping(world: World, visit: int = 3, since: int = MORNING - DAY_SECONDS) -> State:
    """Users whose carts hold the items 0 to 5."""
    state = new_state(world.users, world.catalog.items, 0.25)
    state.visit[:] = visit
    state.cart_item[:, :LINES] = np.arange(LINES)
    state.cart_time[:, :LINES] = since + np.arange(LINES)
    state.cart_count[:] = LINES
    return state


def go(world: World, state: State, c: ResponseConstants, row: Ints | None = None) -> Checkouts | None:
    """Let users' visits begin."""
    row = np.arange(world.users) if row is None else row
    return check_out(world.user_arrays(), world.item_arrays(), state, row, np.full(len(row), MORNING), c)


def lines_of(bought: Checkouts | None) -> list[tuple[int, int]]:
    """User and item of each line."""
    assert bought is not None
    return list(zip(bought.user.tolist(), bought.item.tolist(), strict=True))


def test_what_is_bought_leaves_the_cart_for_the_history(world: World) -> None:
    """Each line bought is an event of its user's and worth a purchase to the visit; the others stay in their order."""
    state = shopping(world)
    bought = go(world, state, constants(world, checkout_base=0.0, line_base=0.0, refund_base=0.0))
    lines = lines_of(bought)
    assert 0 < len(lines) < LINES * world.users
    for row in range(world.users):
        mine = [item for user, item in lines if user == row]
        count = int(state.cart_count[row])
        assert state.event_item[row, : state.event_count[row]].tolist() == mine
        assert (state.event_kind[row, : len(mine)] == BUY).all()
        assert (state.event_time[row, : len(mine)] == MORNING).all()
        assert state.cart_item[row, :count].tolist() == [item for item in range(LINES) if item not in mine]
        assert (state.cart_item[row, count:] == NO_ITEM).all()
        assert state.visit_value[row] == pytest.approx(VALUE_BUY * len(mine))


def test_an_order_from_the_cart_is_an_order(world: World) -> None:
    """It is worth one to nine pieces at the item's price, is sent back whole or not at all, and knows its visit."""
    bought = go(world, shopping(world), constants(world, checkout_base=SURE, line_base=SURE, refund_base=0.0))
    assert bought is not None
    assert len(bought) == LINES * world.users
    pieces = bought.value / world.catalog.observed.price[bought.item]
    assert np.allclose(pieces, np.round(pieces))
    assert 1 < pieces.max() <= MOST_PIECES + 1e-9
    assert np.isin(bought.refunded / bought.value, [0.0, 1.0]).all()
    assert 0 < (bought.refunded > 0).mean() < 1
    assert (bought.visit == 3).all()
    assert (bought.time == MORNING).all()


def test_chances_are_those_of_the_parameters(world: World) -> None:
    """A cart's owner begins at the checkout with one chance, and buys each line there with another."""
    c = constants(world, checkout_base=0.3, line_base=-0.8)
    founds = [lines_of(go(world, shopping(world, visit), c)) for visit in range(40)]
    came = sum(len({user for user, _ in found}) for found in founds)
    lines = sum(map(len, founds))
    goes, buys = (1 / (1 + np.exp(-base)) for base in (0.3, -0.8))
    trials = 40 * world.users
    some = goes * (1 - (1 - buys) ** LINES)
    assert came / trials == pytest.approx(some, abs=4 * np.sqrt(some * (1 - some) / trials))
    of_one = goes * LINES * buys  # per user and visit
    spread = np.sqrt(goes * LINES * buys * (1 - buys) + goes * (1 - goes) * (LINES * buys) ** 2)
    assert lines / trials == pytest.approx(of_one, abs=4 * spread / np.sqrt(trials))


def test_carts_are_forgotten(world: World) -> None:
    """What has lain in the cart for longer than its days is gone, and is not bought on the visit that finds it gone."""
    old = MORNING - 14 * DAY_SECONDS - LINES // 2
    looking = shopping(world, since=old)
    found = lines_of(go(world, looking, constants(world, checkout_base=SURE, line_base=SURE, cart_days=14.0)))
    assert {item for _, item in found} == set(range(LINES // 2, LINES))
    state = shopping(world, since=old)  # the first half lies there for longer, the others are at the edge or younger
    assert go(world, state, constants(world, checkout_base=-SURE, cart_days=14.0)) is None
    assert (state.cart_count == LINES - LINES // 2).all()
    assert (state.cart_item[:, : LINES - LINES // 2] == np.arange(LINES // 2, LINES)).all()


def test_nothing_happens_without_a_cart(world: World) -> None:
    """Users with nothing in the cart buy nothing, and their state stays as it is."""
    state = new_state(world.users, world.catalog.items, 0.25)
    before = copy_state(state)
    assert go(world, state, constants(world, checkout_base=SURE, line_base=SURE)) is None
    assert all(np.array_equal(one, other) for one, other in zip(state, before, strict=True))


def test_luck_does_not_depend_on_who_else_comes(world: World) -> None:
    """A user buys the same alone, in a batch, and in a batch in another order, whatever else is in the cart."""
    c = constants(world, checkout_base=1.0, line_base=0.0)
    whole = lines_of(go(world, shopping(world), c))
    rows = np.array([70, 3, 41])
    some = lines_of(go(world, shopping(world), c, rows))
    assert some == [line for row in rows for line in whole if line[0] == row]
    part = take_state(shopping(world), np.arange(world.users))
    part.cart_item[:, 0], part.cart_item[:, 1] = 4, NO_ITEM
    part.cart_count[:] = 1
    assert lines_of(go(world, part, c)) == [line for line in whole if line[1] == 4]
