"""What moves: each user's history, satisfaction, current visit and next visit, as arrays by row.

The arrays are written by the compiled kernels of ``intent``, ``response`` and ``arrivals`` and by nothing else.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from simulator.batches import NO_ITEM, Floats, Ints, Ints32, ObservedHistory, read_only
from simulator.compiled import bare_kernel, inlined

HISTORY_LENGTH: Final = 64
SHOWN_LENGTH: Final = 64
READ_LENGTH: Final = 16
CART_LENGTH: Final = 16
INTENTS: Final = 3
NEVER: Final = 1 << 62


class State(NamedTuple):
    """Moving state of users, by row.

    Attributes:
        event_item, event_kind, event_time: ring buffers of interactions, [rows, HISTORY_LENGTH].
        event_count: interactions ever written, int64 [rows].
        shown_item: ring buffer of items shown and not clicked, int32 [rows, SHOWN_LENGTH]; shown_count likewise.
        interacted: one bit an item, uint64 [rows, words].
        read_gist: ring buffer of the explanations read, as 64-bit filters of their words, uint64 [rows, READ_LENGTH];
            read_count likewise. Filters, not ids: arms that go on from one state number their texts differently.
        cart_item, cart_time: what is in the cart and since when, the oldest first, [rows, CART_LENGTH];
            cart_count of them.
        satisfaction, satisfaction_time: exponential average in 0..1 and when it was last moved (seconds).
        present: False once the user has left for good.
        visit: id of the current or next visit: the index of its arrival among the user's candidate arrivals.
        next_time: when it takes place (seconds), NEVER if it does not.
        intent: categories the current visit is for, int32 [rows, INTENTS].
        visit_value: what the current visit has been worth to the user so far.
    """

    event_item: Ints32
    event_kind: npt.NDArray[np.int8]
    event_time: Ints
    event_count: Ints
    shown_item: Ints32
    shown_count: Ints
    interacted: npt.NDArray[np.uint64]
    read_gist: npt.NDArray[np.uint64]
    read_count: Ints
    cart_item: Ints32
    cart_time: Ints
    cart_count: Ints
    satisfaction: Floats
    satisfaction_time: Ints
    present: npt.NDArray[np.bool_]
    visit: Ints
    next_time: Ints
    intent: Ints32
    visit_value: Floats


def new_state(rows: int, items: int, satisfaction: float, start: int = 0) -> State:
    """Users who have done nothing yet. About 1.5 KiB a user plus one bit an item."""
    return State(
        event_item=np.full((rows, HISTORY_LENGTH), NO_ITEM, dtype=np.int32),
        event_kind=np.zeros((rows, HISTORY_LENGTH), dtype=np.int8),
        event_time=np.zeros((rows, HISTORY_LENGTH), dtype=np.int64),
        event_count=np.zeros(rows, dtype=np.int64),
        shown_item=np.full((rows, SHOWN_LENGTH), NO_ITEM, dtype=np.int32),
        shown_count=np.zeros(rows, dtype=np.int64),
        interacted=np.zeros((rows, (items + 63) // 64), dtype=np.uint64),
        read_gist=np.zeros((rows, READ_LENGTH), dtype=np.uint64),
        read_count=np.zeros(rows, dtype=np.int64),
        cart_item=np.full((rows, CART_LENGTH), NO_ITEM, dtype=np.int32),
        cart_time=np.zeros((rows, CART_LENGTH), dtype=np.int64),
        cart_count=np.zeros(rows, dtype=np.int64),
        satisfaction=np.full(rows, satisfaction),
        satisfaction_time=np.full(rows, start, dtype=np.int64),
        present=np.ones(rows, dtype=np.bool_),
        visit=np.full(rows, -1, dtype=np.int64),
        next_time=np.full(rows, start, dtype=np.int64),
        intent=np.full((rows, INTENTS), NO_ITEM, dtype=np.int32),
        visit_value=np.zeros(rows),
    )


def copy_state(state: State) -> State:
    """An independent copy, so that another arm can go on from the same moment."""
    return State._make(array.copy() for array in state)


def take_state(state: State, rows: Ints) -> State:
    """A copy of some rows."""
    return State._make(array[rows] for array in state)


def join_states(states: Sequence[State]) -> State:
    """The rows of several states, one after the other."""
    return State._make(np.concatenate(arrays) for arrays in zip(*states, strict=True))


def observed_history(state: State) -> ObservedHistory:
    """The part of the state that a platform logs, read-only and without copying."""
    return ObservedHistory(
        item=read_only(state.event_item),
        kind=read_only(state.event_kind),
        time=read_only(state.event_time),
        count=read_only(state.event_count),
        shown=read_only(state.shown_item),
        shown_count=read_only(state.shown_count),
        interacted=read_only(state.interacted),
    )


@inlined
def has_interacted(interacted: npt.NDArray[np.uint64], row: int, item: int) -> bool:
    """Whether the user of ``row`` ever interacted with ``item``."""
    word = interacted[row, item >> 6]
    return (word >> np.uint64(item & 63)) & np.uint64(1) == np.uint64(1)


@inlined
def write_event(state: State, row: int, item: int, kind: int, time: int) -> None:
    """Append one interaction to a user's history."""
    column = state.event_count[row] % HISTORY_LENGTH
    state.event_item[row, column] = item
    state.event_kind[row, column] = kind
    state.event_time[row, column] = time
    state.event_count[row] += 1
    state.interacted[row, item >> 6] |= np.uint64(1) << np.uint64(item & 63)


@inlined
def write_shown(state: State, row: int, item: int) -> None:
    """Append one item that was shown and not clicked."""
    state.shown_item[row, state.shown_count[row] % SHOWN_LENGTH] = item
    state.shown_count[row] += 1


@inlined
def write_read(state: State, row: int, gist: np.uint64) -> None:
    """Append one explanation that was read."""
    state.read_gist[row, state.read_count[row] % READ_LENGTH] = gist
    state.read_count[row] += 1


@inlined
def drop_line(state: State, row: int, line: int) -> None:
    """Take one line out of a user's cart; those behind it move up."""
    last = state.cart_count[row] - 1
    for k in range(line, last):
        state.cart_item[row, k] = state.cart_item[row, k + 1]
        state.cart_time[row, k] = state.cart_time[row, k + 1]
    state.cart_item[row, last] = NO_ITEM
    state.cart_count[row] = last


@inlined
def drop_item(state: State, row: int, item: int) -> None:
    """Take an item out of a user's cart, if it is there."""
    for k in range(state.cart_count[row]):
        if state.cart_item[row, k] == item:
            drop_line(state, row, k)
            break


@inlined
def put_into_cart(state: State, row: int, item: int, time: int) -> None:
    """Put an item into a user's cart; one that is there is put there anew, and a full cart loses its oldest."""
    drop_item(state, row, item)
    if state.cart_count[row] == CART_LENGTH:
        drop_line(state, row, 0)
    state.cart_item[row, state.cart_count[row]] = item
    state.cart_time[row, state.cart_count[row]] = time
    state.cart_count[row] += 1


@bare_kernel
def write_all_shown(state: State, row: Ints, item: Ints32) -> None:
    """Append items that were shown and not clicked, in the order given."""
    for n in range(len(row)):
        write_shown(state, row[n], item[n])


@bare_kernel
def write_events(state: State, row: Ints, item: Ints32, kind: npt.NDArray[np.int8], time: Ints) -> None:
    """Append interactions in the order given: a recorded history becomes a state."""
    for n in range(len(row)):
        write_event(state, row[n], item[n], kind[n], time[n])
