from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.language.constraint import ListConstraint, ListStates, Trie

COMMA, STOP = 50, 51
ENTRY = st.lists(st.integers(0, 5), min_size=1, max_size=4).map(tuple)
ENTRIES = st.lists(ENTRY, min_size=1, max_size=12, unique=True)


def _walk(constraint: ListConstraint, picks: Sequence[int], steps: int = 200) -> list[int]:
    """A list written by picks among what is allowed, to its end."""
    state = constraint.start()
    written: list[int] = []
    for step in range(steps):
        allowed = constraint.allowed(state)
        if len(allowed) == 0:
            break
        token = int(allowed[picks[step % len(picks)] % len(allowed)])
        written.append(token)
        state = constraint.advance(state, token)
    return written


def _split(tokens: Sequence[int]) -> list[tuple[int, ...]]:
    parts: list[list[int]] = [[]]
    for token in tokens:
        if token == COMMA:
            parts.append([])
        else:
            parts[-1].append(token)
    return [tuple(part) for part in parts if part]


@given(ENTRIES, st.lists(st.integers(0, 99), min_size=1, max_size=30), st.integers(1, 14) | st.none(), st.booleans())
@settings(max_examples=80, deadline=None)
def test_only_lists_of_the_grammar_are_written(
    entries: list[tuple[int, ...]], picks: list[int], most: int | None, grouped: bool
) -> None:
    """Whatever is picked, the list must end in the stop, with distinct entries of distinct groups, ``most`` at most."""
    groups = [sum(entry) % 3 for entry in entries] if grouped else list(range(len(entries)))
    constraint = ListConstraint(Trie(entries), COMMA, STOP, most, distinct_by=groups if grouped else None)
    written = _walk(constraint, picks)
    assert written[-1] == STOP
    assert len(written) <= constraint.longest
    parts = _split(written[:-1])
    assert set(parts) <= set(entries)
    given_groups = [groups[entries.index(part)] for part in parts]
    assert len(set(given_groups)) == len(given_groups)
    assert 1 <= len(parts) <= (most or len(entries))
    assert constraint.read(written[:-1]) == [entries.index(part) for part in parts]


@given(ENTRIES, st.lists(st.integers(0, 99), min_size=1, max_size=30), st.integers(1, 12))
@settings(max_examples=50, deadline=None)
def test_no_list_stops_too_early(entries: list[tuple[int, ...]], picks: list[int], least: int) -> None:
    """A list must hold ``least`` entries, or all there are."""
    constraint = ListConstraint(Trie(entries), COMMA, STOP, None, least=least)
    assert len(_split(_walk(constraint, picks)[:-1])) >= min(least, len(entries))


@given(ENTRIES, st.lists(st.integers(0, 99), min_size=1, max_size=20), st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_every_list_of_the_grammar_can_be_written(entries: list[tuple[int, ...]], order: list[int], most: int) -> None:
    """Any choice of distinct entries, in any order, must be allowed token by token."""
    ranked = [entries[index] for index in np.argsort([order[k % len(order)] for k in range(len(entries))])][:most]
    constraint = ListConstraint(Trie(entries), COMMA, STOP, most)
    state = constraint.start()
    for place, entry in enumerate(ranked):
        for token in (*([COMMA] if place else []), *entry):
            assert token in constraint.allowed(state)
            state = constraint.advance(state, token)
    assert STOP in constraint.allowed(state)


@given(
    st.lists(st.tuples(ENTRIES, st.integers(1, 5), st.booleans()), min_size=1, max_size=5),
    st.lists(st.integers(0, 99), min_size=1, max_size=25),
    st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_rows_advance_as_if_alone(
    grammars: list[tuple[list[tuple[int, ...]], int, bool]], picks: list[int], dropping: bool
) -> None:
    """Rows with grammars of their own, or shared ones, must each be allowed what they are alone; also once some go."""
    kinds = [ListConstraint(Trie(entries), COMMA, STOP, most, distinct) for entries, most, distinct in grammars]
    constraints = [*kinds, *kinds[:2]]
    alone = [constraint.start() for constraint in constraints]
    together = ListStates(constraints)
    rows = list(range(len(constraints)))
    for step in range(30):
        row, token = together.allowed()
        tokens = []
        for place, index in enumerate(rows):
            allowed = np.sort(token[row == place])
            np.testing.assert_array_equal(allowed, constraints[index].allowed(alone[index]))
            pick = int(allowed[(picks[step % len(picks)] + index) % len(allowed)]) if len(allowed) else 7
            if len(allowed):
                alone[index] = constraints[index].advance(alone[index], pick)
            tokens.append(pick)
        together.advance(np.array(tokens, np.int64))
        if dropping and step == 3:
            rows = rows[::-2]
            together.select(np.arange(len(constraints))[::-2])
    assert len(together) == len(rows)


def test_an_entry_that_begins_another_can_end_or_go_on() -> None:
    """Where one entry is the beginning of another, both its end and its continuation must be allowed."""
    constraint = ListConstraint(Trie([(1, 2), (1, 2, 3), (4,)]), COMMA, STOP, most=3)
    state = constraint.advance(constraint.advance(constraint.start(), 1), 2)
    assert constraint.allowed(state).tolist() == [3, COMMA, STOP]
    state = constraint.advance(constraint.advance(constraint.advance(state, COMMA), 1), 2)
    assert constraint.allowed(state).tolist() == [3]


def test_the_last_entry_leaves_only_the_stop() -> None:
    """When nothing is left, or all that is left shares a group, only the stop must be allowed."""
    constraint = ListConstraint(Trie([(1,), (2,), (3,)]), COMMA, STOP, distinct_by=[0, 0, 0])
    assert constraint.allowed(constraint.advance(constraint.start(), 2)).tolist() == [STOP]


def test_entries_may_come_again_where_asked() -> None:
    """Without ``distinct`` the same entry must be allowed again, up to ``most``."""
    constraint = ListConstraint(Trie([(1,)]), COMMA, STOP, most=3, distinct=False)
    assert _walk(constraint, [0]) == [1, COMMA, 1, COMMA, 1, STOP]


def test_one_choice_needs_no_separator() -> None:
    """Without a separator one entry and the stop must be all that can be written."""
    constraint = ListConstraint(Trie([(1,), (2, 3)]), None, STOP)
    assert _walk(constraint, [1]) == [2, 3, STOP]


@pytest.mark.parametrize(("entries", "most", "least"), [([], None, 1), ([(1,)], 0, 0), ([(1,)], 0, 1)])
def test_nothing_to_list_stops_at_once(entries: list[tuple[int, ...]], most: int | None, least: int) -> None:
    """With no entries, or none wanted, the stop must be all that is allowed."""
    constraint = ListConstraint(Trie(entries), COMMA, STOP, most, least=least)
    assert _walk(constraint, [0]) == [STOP]
    assert constraint.complete(()) == ()
    assert constraint.longest >= 1


def test_a_list_may_be_empty_where_none_is_needed() -> None:
    """With ``least`` 0 the stop must be allowed at the start, and not behind a separator."""
    constraint = ListConstraint(Trie([(1,), (2,)]), COMMA, STOP, least=0)
    assert constraint.allowed(constraint.start()).tolist() == [1, 2, STOP]
    state = constraint.advance(constraint.advance(constraint.start(), 1), COMMA)
    assert constraint.allowed(state).tolist() == [2]


def test_what_was_begun_is_cut_off() -> None:
    """Of an answer whose tokens ran out only complete entries, none twice, must stay."""
    constraint = ListConstraint(Trie([(1,), (1, 2, 3), (4, 5)]), COMMA, STOP)
    assert constraint.complete((1, COMMA, 4)) == (1,)
    assert constraint.complete((4, 5, COMMA, 1)) == (4, 5, COMMA, 1)
    assert constraint.complete((1, COMMA, 1)) == (1,)
    assert constraint.complete((1, COMMA)) == (1,)
    assert constraint.complete((4,)) == ()
    assert constraint.complete(()) == ()


def test_an_entry_listed_twice_counts_once() -> None:
    """A repeated sequence must not be given twice, and is read as its first place."""
    constraint = ListConstraint(Trie([(1,), (1,), (2,)]), COMMA, STOP)
    written = _walk(constraint, [0])
    assert written == [1, COMMA, 2, STOP]
    assert constraint.read(written[:-1]) == [0, 2]


def test_fingerprints_tell_grammars_apart() -> None:
    """Grammars must have one fingerprint exactly when they allow the same lists."""
    trie = Trie([(1,), (2, 3)])
    made = [
        ListConstraint(trie, COMMA, STOP),
        ListConstraint(trie, COMMA, STOP, most=1),
        ListConstraint(trie, COMMA, STOP, least=2),
        ListConstraint(trie, COMMA, STOP, distinct=False),
        ListConstraint(trie, COMMA, STOP, distinct_by=[0, 0]),
        ListConstraint(trie, COMMA, 49),
        ListConstraint(Trie([(1, 2), (3,)]), COMMA, STOP),
    ]
    assert len({constraint.fingerprint for constraint in made}) == len(made)
    assert ListConstraint(Trie([(1,), (2, 3)]), COMMA, STOP, distinct_by=[7, 9]).fingerprint == made[0].fingerprint


def test_what_cannot_come_next_is_refused() -> None:
    """Advancing by a token that no entry has there must be refused."""
    constraint = ListConstraint(Trie([(1, 2)]), COMMA, STOP)
    with pytest.raises(ValueError, match="token 9"):
        constraint.advance(constraint.start(), 9)
    with pytest.raises(ValueError, match="constraint: token"):
        constraint.advance(constraint.advance(constraint.start(), 1), COMMA)


def test_impossible_grammars_are_refused() -> None:
    """Empty entries, entries that hold the separator, and numbers out of range must be refused in one line."""
    trie = Trie([(1,), (2,)])
    for make in (
        lambda: Trie([()]),
        lambda: Trie([(1, -1)]),
        lambda: ListConstraint(trie, 1, STOP),
        lambda: ListConstraint(trie, COMMA, 2),
        lambda: ListConstraint(trie, COMMA, COMMA),
        lambda: ListConstraint(trie, COMMA, STOP, most=2, least=3),
        lambda: ListConstraint(trie, COMMA, STOP, most=-1),
        lambda: ListConstraint(trie, COMMA, STOP, distinct_by=[0]),
    ):
        with pytest.raises(ValueError, match=r"^(trie|constraint): [^\n]*$"):
            make()
