import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numba import njit

from simulator.batches import BUY, CLICK, NO_ITEM
from simulator.state import (
    CART_LENGTH,
    HISTORY_LENGTH,
    NEVER,
    READ_LENGTH,
    SHOWN_LENGTH,
    State,
    copy_state,
    drop_item,
    has_interacted,
    new_state,
    observed_history,
    put_into_cart,
    take_state,
    write_events,
    write_read,
)

ROWS, ITEMS = 4, 130
EVENTS = st.lists(st.tuples(st.integers(0, ROWS - 1), st.integers(0, ITEMS - 1), st.integers(CLICK, BUY)), max_size=300)
LONG = [(n % 2, n * 7 % ITEMS, CLICK + n % 3) for n in range(400)]


@njit
def _interacted(state: State, row: int, item: int) -> bool:
    return has_interacted(state.interacted, row, item)


@njit
def _write_read(state: State, row: int, gist: int) -> None:
    write_read(state, row, np.uint64(gist))


def written(events: list[tuple[int, int, int]]) -> State:
    """A state into which the events were written, one a second."""
    state = new_state(ROWS, ITEMS, 0.25)
    row, item, kind = (np.array(column) for column in zip(*events, strict=True)) if events else (np.zeros(0),) * 3
    write_events(
        state,
        row.astype(np.int64),
        item.astype(np.int32),
        kind.astype(np.int8),
        np.arange(len(events), dtype=np.int64),
    )
    return state


@given(EVENTS)
@example(LONG)
@settings(max_examples=60, deadline=None)
def test_the_last_interactions_are_kept(events: list[tuple[int, int, int]]) -> None:
    """A user's ring buffer holds exactly the last interactions, the n-th ever written in column n modulo its length."""
    state = written(events)
    for row in range(ROWS):
        mine = [(item, kind, time) for time, (r, item, kind) in enumerate(events) if r == row]
        assert state.event_count[row] == len(mine)
        for n, (item, kind, time) in list(enumerate(mine))[-HISTORY_LENGTH:]:
            column = n % HISTORY_LENGTH
            kept = (state.event_item[row, column], state.event_kind[row, column], state.event_time[row, column])
            assert kept == (item, kind, time)
        assert (state.event_item[row] == NO_ITEM).sum() == max(0, HISTORY_LENGTH - len(mine))


@njit
def _put_into_cart(state: State, row: int, item: int, time: int) -> None:
    put_into_cart(state, row, item, time)


@njit
def _drop_item(state: State, row: int, item: int) -> None:
    drop_item(state, row, item)


@given(st.lists(st.tuples(st.integers(0, ROWS - 1), st.integers(0, 40), st.booleans()), max_size=120))
@example([(1, n, True) for n in range(40)])
@settings(max_examples=60, deadline=None)
def test_a_cart_holds_what_was_put_there_last(steps: list[tuple[int, int, bool]]) -> None:
    """A cart lists each item once, the oldest first, no more than it holds, and forgets the oldest when it is full."""
    state = new_state(ROWS, ITEMS, 0.25)
    carts: list[dict[int, int]] = [{} for _ in range(ROWS)]
    for time, (row, item, puts) in enumerate(steps):
        cart = carts[row]
        cart.pop(item, None)
        if puts:
            _put_into_cart(state, row, item, time)
            if len(cart) == CART_LENGTH:
                del cart[next(iter(cart))]
            cart[item] = time
        else:
            _drop_item(state, row, item)
    for row, cart in enumerate(carts):
        count = int(state.cart_count[row])
        assert state.cart_item[row, :count].tolist() == list(cart)
        assert state.cart_time[row, :count].tolist() == list(cart.values())
        assert (state.cart_item[row, count:] == NO_ITEM).all()


@given(st.lists(st.tuples(st.integers(0, ROWS - 1), st.integers(1, 2**63 - 1)), max_size=60))
@settings(max_examples=30, deadline=None)
def test_the_last_readings_are_kept(readings: list[tuple[int, int]]) -> None:
    """A user remembers the last explanations read, and nobody remembers another's."""
    state = new_state(ROWS, ITEMS, 0.25)
    for row, gist in readings:
        _write_read(state, row, gist)
    for row in range(ROWS):
        mine = [gist for r, gist in readings if r == row]
        assert state.read_count[row] == len(mine)
        kept = state.read_gist[row][: len(mine)].tolist()
        assert sorted(kept) == sorted(mine[-READ_LENGTH:])


@given(EVENTS)
@example(LONG)
@settings(max_examples=60, deadline=None)
def test_interacted_is_the_set_of_items_written(events: list[tuple[int, int, int]]) -> None:
    """The bits tell exactly whether the user ever interacted with an item, however long ago."""
    state = written(events)
    for row in range(ROWS):
        mine = {item for r, item, _ in events if r == row}
        bits = (state.interacted[row, np.arange(ITEMS) // 64] >> (np.arange(ITEMS) % 64).astype(np.uint64)) & np.uint64(
            1
        )
        assert set(np.flatnonzero(bits).tolist()) == mine
        assert all(_interacted(state, row, item) == (item in mine) for item in range(0, ITEMS, 7))
    assert sum(int(word).bit_count() for word in state.interacted.ravel()) == len({(r, i) for r, i, _ in events})


@pytest.mark.parametrize(("items", "words"), [(1, 1), (64, 1), (65, 2), (128, 2), (129, 3)])
def test_every_item_has_a_bit(items: int, words: int) -> None:
    """There are as many words as items need, at their edges too."""
    assert new_state(2, items, 0.0).interacted.shape == (2, words)


def test_a_new_state_knows_nothing() -> None:
    """Users who have done nothing are present, neutral, and have no history and no visit."""
    state = new_state(3, 10, 0.4, 7)
    assert (state.event_item == NO_ITEM).all()
    assert (state.shown_item == NO_ITEM).all()
    assert state.shown_item.shape == (3, SHOWN_LENGTH)
    assert not state.event_count.any()
    assert not state.interacted.any()
    assert state.present.all()
    assert (state.satisfaction == 0.4).all()
    assert (state.satisfaction_time == 7).all()
    assert (state.next_time == 7).all()
    assert (state.next_time < NEVER).all()
    assert (state.visit == -1).all()


def test_copies_go_their_own_way() -> None:
    """What is written into a copy, or into some rows taken, never shows in the original."""
    state = written([(0, 3, CLICK), (2, 5, BUY)])
    before = copy_state(state)
    rows = np.array([2, 0])
    for other in (copy_state(state), take_state(state, rows)):
        for array in other:
            array[...] = 1
    for name, array in state._asdict().items():
        assert np.array_equal(array, getattr(before, name)), name
    for name, array in take_state(state, rows)._asdict().items():
        assert np.array_equal(array, getattr(state, name)[rows]), name


def test_history_is_a_live_view_that_cannot_be_written() -> None:
    """What policies see of the state follows it without copying, and refuses to be changed."""
    state = new_state(ROWS, ITEMS, 0.25)
    history = observed_history(state)
    write_events(state, np.array([1]), np.array([9], np.int32), np.array([BUY], np.int8), np.array([60]))
    assert (history.item[1, 0], history.kind[1, 0], history.time[1, 0], history.count[1]) == (9, BUY, 60, 1)
    assert history.interacted[1, 0] == 1 << 9
    for array in vars(history).values():
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
