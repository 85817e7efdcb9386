import errno
import os
import pickle
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.sending import WORTHWHILE
from simulator.shards import shard_pool
from simulator.shared_memory import SharedMemory, UnreachableError, new_memory, reached, read, written

Array = npt.NDArray[Any]

LIMIT = 1 << 20
"""Bytes that a file may have where there is little room."""

TYPES = ("f8", "i1", "?", "u8", "<U7", "S3", "M8[s]", "c16", [("a", "i4"), ("b", "f8")], "O")


@dataclass(frozen=True)
class Holder:
    """A dataclass that holds something."""

    part: Any


@st.composite
def arrays(draw: st.DrawFn) -> Array:
    """Arrays of all kinds: around the size from which on they travel apart, in any order, sealed or not."""
    dtype = np.dtype(draw(st.sampled_from(TYPES)))
    size = draw(st.sampled_from([0, 1, 5, WORTHWHILE - 1, WORTHWHILE, WORTHWHILE + 1, 3 * WORTHWHILE]))
    shape = draw(st.sampled_from([(-1,), (-1, 1), (1, -1, 1)]))
    count = max(size // dtype.itemsize, 1) if size else 0
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    if dtype.hasobject:
        array = np.array([None, "text", (1, 2)] * (count // 3 + 1), dtype)[:count].reshape(shape)
    elif dtype.kind == "U":
        array = rng.choice(["", "a", "äöü"], count).astype(dtype).reshape(shape)
    else:
        array = np.frombuffer(rng.bytes(count * dtype.itemsize), dtype).copy().reshape(shape)
        if dtype.kind == "b":
            array = (array.view(np.uint8) % 2).astype(dtype)
    array = draw(st.sampled_from([np.asarray, np.asfortranarray, lambda a: a[::2], lambda a: a[::-1]]))(array)
    array.flags.writeable = draw(st.booleans())
    return array


LEAVES = st.one_of(arrays(), st.none(), st.integers(), st.text(max_size=5), st.just(b"x" * (2 * WORTHWHILE)))
THINGS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.integers(0, 9), inner, max_size=3),
        st.tuples(inner, inner),
        st.builds(Holder, inner),
    ),
    max_leaves=6,
)


def assert_alike(one: Any, other: Any) -> None:
    """The same types, bytes and orders in memory all the way down; no array of ``other`` is sealed."""
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tolist() == other.tolist() if one.dtype.hasobject else one.tobytes() == other.tobytes()
        assert (one.flags.c_contiguous, one.flags.f_contiguous) == (other.flags.c_contiguous, other.flags.f_contiguous)
        assert other.flags.writeable
    elif isinstance(one, Holder):
        assert_alike(one.part, other.part)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_alike(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for here, there in zip(one, other, strict=True):
            assert_alike(here, there)
    else:
        assert one == other


def size(memory: SharedMemory) -> int:
    """Bytes that a memory takes."""
    with reached(memory.address) as again:
        assert again is not None
        return os.fstat(again._descriptor).st_size


def open_memories() -> list[str]:
    """Memory without a name that this process has open."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(descriptor.readlink()))
        except OSError:  # that of the listing itself
            continue
    return [path for path in found if "memfd:" in path]


@pytest.fixture
def memory() -> Iterator[SharedMemory]:
    """Shared memory of this process."""
    found = new_memory()
    assert found is not None
    yield found
    found.close()


@pytest.fixture
def little_room() -> Iterator[None]:
    """Files and memory of this process, and of those that it starts, hold ``LIMIT`` bytes each."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def named() -> set[str]:
    """Shared memory that has a name; semaphores, which queues of processes have, aside."""
    return {path.name for path in Path("/dev/shm").iterdir() if not path.name.startswith("sem.")}  # noqa: S108


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Whatever a test does, no memory stays open and none has got a name."""
    before, opened = named(), len(open_memories())
    yield
    assert len(open_memories()) == opened
    assert named() <= before


@given(THINGS)
@settings(deadline=None)
def test_anything_arrives_as_it_was_sent(thing: Any) -> None:
    """Whatever is nested in whatever: what is read is what pickle alone would give, and the memory is free again."""
    memory = new_memory()
    assert memory is not None
    try:
        message = written(thing, memory)
        found = read(message, memory)
        assert_alike(pickle.loads(pickle.dumps(thing, 4)), found)  # noqa: S301  our own bytes
        assert len(pickle.dumps(message)) < 2 * WORTHWHILE
        assert size(memory) == 0
        assert_alike(found, read(written(thing, None), None))
    finally:
        memory.close()


def test_what_is_read_is_ones_own(memory: SharedMemory) -> None:
    """Neither the sender nor a second reading sees what is written to an array that arrived."""
    sent = np.arange(WORTHWHILE, dtype=np.float64)
    found = read(written([sent], memory), memory)[0]
    found[:] = 0.0
    again = read(written([sent], memory), memory)[0]
    assert np.array_equal(sent, np.arange(WORTHWHILE))
    assert np.array_equal(again, sent)


def test_an_array_held_twice_is_written_once(memory: SharedMemory) -> None:
    """An array that stands in two places lies in memory once, and is one array again."""
    array = np.ones(WORTHWHILE)
    message = written((array, Holder(array)), memory)
    assert size(memory) == array.nbytes
    one, other = read(message, memory)
    assert one is other.part


def test_a_segment_is_not_taken_for_the_file_that_has_its_number(tmp_path: Path) -> None:
    """Where the owner has closed it and opened a file under the same number, the file is neither read nor changed."""
    memory = new_memory()
    assert memory is not None
    address = memory.address
    file = tmp_path / "results"
    file.write_text("kept")
    copy = os.open(file, os.O_RDWR)
    os.dup2(copy, address.descriptor)
    with pytest.raises(UnreachableError, match="another file"), reached(address):
        pass
    assert file.read_text() == "kept"
    os.close(copy)
    memory.close()
    with pytest.raises(UnreachableError, match="No such file"), reached(address):
        pass


@pytest.mark.usefixtures("little_room")
def test_without_room_everything_stands_in_the_message(memory: SharedMemory) -> None:
    """Where memory is refused in the middle of an array, it is given back, and the message holds all."""
    things = [np.arange(LIMIT // 16), np.arange(LIMIT)]
    message = written(things, memory)
    assert message.parcel is not None
    assert len(message.parcel) > 8 * LIMIT
    assert size(memory) == 0
    assert_alike(things, read(message, memory))


def test_a_message_cut_off_is_an_error(memory: SharedMemory) -> None:
    """Shared memory that holds less than its message says is noticed, and nothing is made up."""
    messages = [written(thing, memory) for thing in ([np.ones(WORTHWHILE)], b"x" * WORTHWHILE)]
    memory.clear()
    for message in messages:
        with pytest.raises(EOFError, match="too early"):
            read(message, memory)


def doubled(tasks: ModuleType, count: int = 5) -> list[Array]:
    """What a pool of two makes of large tasks, checked against the same sums made here."""
    common = np.arange(LIMIT, dtype=np.float64)
    work = [tasks.Sum(common, np.full(LIMIT, float(number))) for number in range(count)]
    with shard_pool(2) as pool:
        found = pool.map(tasks.add_in_place, work, lambda: None)
    for number, array in enumerate(found):
        assert np.array_equal(array, np.arange(LIMIT) + number)
        assert array.flags.writeable
    assert np.array_equal(common, np.arange(LIMIT))
    return found


@pytest.mark.usefixtures("little_room")
def test_a_pool_without_room_uses_the_pipe(tasks: ModuleType) -> None:
    """Tasks and answers that find no room in memory arrive all the same."""
    doubled(tasks)


def test_a_pool_without_descriptors_uses_the_pipe(tasks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system gives no memory at all, tasks and answers arrive all the same."""

    def refused(name: str) -> int:
        raise OSError(errno.EMFILE, name)

    monkeypatch.setattr(os, "memfd_create", refused)
    assert new_memory() is None
    doubled(tasks)


def test_workers_that_reach_no_segment_are_sent_everything(tasks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where others may not look into this process, tasks are sent again through the pipe, and later ones at once."""
    true, asked = SharedMemory.address.fget, []
    assert true is not None

    def wrong(self: SharedMemory) -> Any:
        asked.append(1)
        return true(self)._replace(inode=0)

    monkeypatch.setattr(SharedMemory, "address", property(wrong))
    doubled(tasks, 9)
    assert 1 <= len(asked) <= 3


def test_few_segments_are_open_at_a_time(tasks: ModuleType) -> None:
    """However many tasks there are, memory is taken for those that are played and for one more."""
    most = 0

    def look() -> None:
        nonlocal most
        most = max(most, len(open_memories()))

    with shard_pool(2) as pool:
        pool.map(tasks.double, list(range(20)), look)
    assert 1 <= most <= 3


def test_errors_and_interrupts_leave_no_segment(tasks: ModuleType) -> None:
    """An error of a task, one of what is sent, and an interrupt let go of all memory; the pool goes on after errors."""
    with shard_pool(2) as pool:
        with pytest.raises(ValueError, match="task: 1"):
            pool.map(tasks.refuse, [0, 1, 2], lambda: None)
        with pytest.raises(AttributeError, match="<lambda>"):
            pool.map(tasks.double, [1, lambda: None], lambda: None)  # type: ignore[list-item]
        assert open_memories() == []
        assert pool.map(tasks.double, [4], lambda: None) == [8]

    def interrupted() -> None:
        raise KeyboardInterrupt

    with shard_pool(2) as pool:
        with pytest.raises(KeyboardInterrupt):
            pool.map(tasks.double, list(range(6)), interrupted)
        assert open_memories() == []


def test_a_killed_worker_leaves_no_segment(tasks: ModuleType, tmp_path: Path) -> None:
    """A task whose worker was killed with a memory open is sent again, whole, and its memory is gone."""
    work = [(str(tmp_path), number, np.full(LIMIT, number)) for number in range(4)]
    with shard_pool(2) as pool:
        found = pool.map(tasks.die_holding, work, lambda: None)
        assert open_memories() == []
    assert [int(array.sum()) for array in found] == [number * LIMIT for number in range(4)]
    assert (tmp_path / "died").exists()
