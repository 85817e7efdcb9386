import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.shard_states import ShardStates
from simulator.shards import cut
from simulator.state import State, join_states, new_state, take_state

ROWS = 40


def numbered(rows: int) -> State:
    """A state in which every number is another one."""
    rng = np.random.default_rng(rows)
    state = new_state(rows, 130, 0.5)
    return State._make(rng.permutation(array.size).astype(array.dtype).reshape(array.shape) for array in state)


WHOLE = numbered(ROWS)


@given(st.integers(1, 7), st.sets(st.integers(0, ROWS - 1)))
def test_some_users_are_those_of_all_of_them(shards: int, chosen: set[int]) -> None:
    """However users were cut, what is taken of them is what would be taken of all states put together."""
    states = ShardStates(tuple(take_state(WHOLE, rows) for rows in cut(ROWS, shards)))
    rows = np.array(sorted(chosen), np.int64)
    for name, array in states.of(rows)._asdict().items():
        expected = getattr(take_state(join_states(states.parts), rows), name)
        assert array.dtype == expected.dtype
        assert np.array_equal(array, expected), name


@given(st.integers(1, 7))
def test_who_plays_a_shard_again_gets_its_state_and_no_copy(shards: int) -> None:
    """The rows of a shard give the state that it left itself, and other rows never give it."""
    cuts = cut(ROWS, shards)
    states = ShardStates(tuple(take_state(WHOLE, rows) for rows in cuts))
    for rows, part in zip(cuts, states.parts, strict=True):
        assert states.of(rows) is part
        assert states.of(rows[1:]) is not part
    shifted = [*cuts[0][1:].tolist(), len(cuts[0])] if shards > 1 else cuts[0][:-1].tolist()
    assert all(states.of(np.array(shifted, np.int64)) is not part for part in states.parts)


@pytest.mark.parametrize("rows", [[3, 2], [1, 1], [-1, 0], [0, ROWS]])
def test_rows_that_are_not_there_or_do_not_rise_are_refused(rows: list[int]) -> None:
    """Rows out of order would come back in another order than the world's, and rows beyond the end as others."""
    with pytest.raises(ValueError, match=r"rows: .*must rise"):
        ShardStates((WHOLE,)).of(np.array(rows))
