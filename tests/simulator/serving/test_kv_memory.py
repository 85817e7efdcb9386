from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from simulator.serving.kv_memory import KvMemory
from simulator.serving.workload import NO_PREFIX


def _read(memory: KvMemory, prefix: int) -> None:
    entry = memory.prefix(prefix)
    assert entry is not None
    entry.unread = 0


def test_a_prefix_is_held_once() -> None:
    """Calls that begin alike must take the prefix's places once, and only the first must read it."""
    memory = KvMemory(100)
    memory.admit(7, 40, 10, 0)
    _read(memory, 7)
    memory.admit(7, 40, 10, 0)
    assert (memory.used, memory.reads, memory.hits, memory.cached) == (60, 1, 1, 40)
    memory.release(7, 10)
    memory.release(7, 10)
    assert memory.used == 40
    memory.admit(7, 40, 5, 0)
    assert (memory.used, memory.reads, memory.hits) == (45, 1, 2)


def test_the_prefix_left_longest_ago_goes_first() -> None:
    """When places are needed, idle prefixes must go in the order in which they were left, and used ones stay."""
    memory = KvMemory(100)
    for prefix in (1, 2, 3):
        memory.admit(prefix, 30, 1, 0)
        _read(memory, prefix)
    memory.release(2, 1)
    memory.release(1, 1)
    assert memory.has_room(NO_PREFIX, 0, 60, 0)
    assert not memory.has_room(NO_PREFIX, 0, 70, 0)
    memory.admit(NO_PREFIX, 0, 20, 0)
    assert memory.prefix(2) is None
    assert memory.prefix(1) is not None
    assert memory.prefix(3) is not None


def test_an_idle_prefix_is_not_counted_as_room_for_its_own_call() -> None:
    """A call must not be let in on places that its own prefix takes."""
    memory = KvMemory(50)
    memory.admit(1, 40, 5, 0)
    _read(memory, 1)
    memory.release(1, 5)
    assert memory.has_room(1, 40, 10, 0)
    assert not memory.has_room(1, 40, 11, 0)
    assert memory.has_room(NO_PREFIX, 0, 50, 0)
    assert not memory.has_room(NO_PREFIX, 0, 50, 1)


def test_a_prefix_that_was_not_read_to_its_end_is_dropped() -> None:
    """When its only call leaves before the prefix is read, nothing must be kept."""
    memory = KvMemory(100)
    memory.admit(1, 40, 5, 0)
    memory.release(1, 5)
    assert memory.prefix(1) is None
    assert memory.used == 0


class Memory(RuleBasedStateMachine):
    """Calls that come, grow and go in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = KvMemory(200)
        self.calls: list[list[int]] = []

    @rule(prefix=st.integers(NO_PREFIX, 4), own=st.integers(1, 60), promised=st.integers(0, 20))
    def come(self, prefix: int, own: int, promised: int) -> None:
        """A call is admitted if it has room."""
        length = 0 if prefix == NO_PREFIX else 10 * (prefix + 1)
        if self.memory.has_room(prefix, length, own, promised):
            self.memory.admit(prefix, length, own, promised)
            assert self.memory.free >= promised
            self.calls.append([prefix, own])
            if prefix != NO_PREFIX:
                _read(self.memory, prefix)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), tokens=st.integers(1, 30))
    def grow(self, data: st.DataObject, tokens: int) -> None:
        """A call writes if there is room."""
        call = data.draw(st.sampled_from(self.calls))
        if self.memory.make_room(tokens):
            self.memory.grow(tokens)
            call[1] += tokens

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        """A call leaves."""
        call = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        self.memory.release(*call)

    @invariant()
    def adds_up(self) -> None:
        """What is used is what calls have of their own and the prefixes held, and it fits."""
        held = sum(10 * (prefix + 1) for prefix in range(5) if self.memory.prefix(prefix) is not None)
        assert self.memory.used == sum(own for _, own in self.calls) + held
        assert self.memory.used <= self.memory.peak <= self.memory.capacity
        assert all(self.memory.prefix(prefix) is not None for prefix, _ in self.calls if prefix != NO_PREFIX)


TestMemory = Memory.TestCase
TestMemory.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
