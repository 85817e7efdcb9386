import importlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.shards import MOST_USERS, ShardPool, WorkerDiedError, cut, shard_pool
from simulator.world import World

# Another process finds a task by its module's name, and test modules have none that it could import.
TASKS = '''
"""Tasks for other processes."""

import os
import signal
import time

import numpy as np

from simulator.batches import Candidates, Slates
from simulator.engine import Simulation, opening_state
from simulator.tables import UserDays


def double(task, tick):
    for _ in range(3):
        tick()
    return 2 * task


def tick_often(task, tick):
    for _ in range(task):
        tick()


def threads(task, tick):
    return os.environ.get("OMP_NUM_THREADS")


def refuse(task, tick):
    if task == 1:
        raise ValueError(f"task: {task}")
    return task


def die_once(task, tick):
    folder, number = task
    for step in range(4):
        tick()
        if step == 1 and number == 1 and not os.path.exists(folder + "/died"):
            open(folder + "/died", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
    return 10 * number


def outlive(task, tick):
    time.sleep(600)


def die(task, tick):
    tick()
    os.kill(os.getpid(), signal.SIGKILL)


class Fixed:
    def begin(self, rows):
        pass

    def refresh(self, day, context):
        pass

    def candidates(self, requests):
        items = np.tile(np.arange(requests.slots, dtype=np.int32), (len(requests), 1))
        return Candidates(items, np.zeros(items.shape), np.zeros(items.shape, np.int8))

    def allocate(self, requests, candidates):
        return Slates(candidates.items, candidates.channel)

    def observe(self, requests, slates, responses):
        pass

    def diary(self):
        pass


def play(world, tick):
    record = UserDays(world.users, 0, world.days)
    Simulation(world, opening_state(world, 0), Fixed(), Fixed(), [record], lambda day: tick()).run(0, world.days)
    return record.sums
'''


def lives(process: Path) -> bool:
    """Whether a process, by its folder in /proc, runs; one that only waits to be collected does not."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Ticks:
    """Counts its calls."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        """One more."""
        self.count += 1


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """Tasks in a module that worker processes can import."""
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "shard_tasks_for_tests.py").write_text(TASKS, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield importlib.import_module("shard_tasks_for_tests")
        sys.modules.pop("shard_tasks_for_tests")


@pytest.fixture(scope="module")
def pool(tasks: ModuleType) -> Iterator[ShardPool]:
    """Two worker processes."""
    with shard_pool(2) as opened:
        yield opened


@given(st.integers(0, 300_000), st.integers(1, 64))
@settings(max_examples=60, deadline=None)
def test_a_cut_covers_every_row_once(users: int, workers: int) -> None:
    """Shards put together are all rows in their order, none twice, whatever the numbers."""
    shards = cut(users, workers)
    assert np.array_equal(np.concatenate(shards), np.arange(users))
    assert all(rows.dtype == np.int64 for rows in shards)


@given(st.integers(1, 300_000), st.integers(1, 64))
@settings(max_examples=60, deadline=None)
def test_a_cut_is_even(users: int, workers: int) -> None:
    """Shards differ by one row at the most, none is empty or too large, and every worker that can be fed has one."""
    sizes = [len(rows) for rows in cut(users, workers)]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1
    assert max(sizes) <= MOST_USERS
    assert len(sizes) >= min(users, workers)


@pytest.mark.parametrize("workers", [0, -1])
def test_a_pool_of_nobody_is_refused(workers: int) -> None:
    """A pool without workers is an error that names the field and the value."""
    with pytest.raises(ValueError, match=f"workers: {workers} "):
        ShardPool(workers)


def test_other_processes_answer_as_this_one_does(pool: ShardPool, tasks: ModuleType) -> None:
    """Results come in the order of the tasks and every tick arrives, whoever does the work."""
    for some in ([], [5], list(range(12))):
        ticks, here = Ticks(), Ticks()
        assert pool.map(tasks.double, some, ticks) == [2 * task for task in some]
        with shard_pool(1) as alone:
            assert alone.map(tasks.double, some, here) == [2 * task for task in some]
        assert ticks.count == here.count == 3 * len(some)


def test_workers_share_the_cores(tasks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each worker computes with its part of the cores, one at least, unless the environment says otherwise."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("simulator.shards.cores", lambda: 5)
    with shard_pool(2) as two:
        assert two.map(tasks.threads, [0], Ticks()) == ["2"]
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with shard_pool(2) as told:
        assert told.map(tasks.threads, [0], Ticks()) == ["7"]


def test_more_ticks_than_a_pipe_holds_all_arrive(pool: ShardPool, tasks: ModuleType) -> None:
    """A worker that ticks more often than the pipe can hold is neither blocked for good nor shortened."""
    ticks = Ticks()
    pool.map(tasks.tick_often, [12_000, 9_000], ticks)
    assert ticks.count == 21_000


@pytest.mark.parametrize("workers", [1, 2])
def test_a_tasks_error_reaches_the_caller(pool: ShardPool, tasks: ModuleType, workers: int) -> None:
    """What a task raises is raised here, with its own type and words, and the pool goes on."""
    chosen = pool if workers == 2 else ShardPool(1)
    with pytest.raises(ValueError, match="task: 1"):
        chosen.map(tasks.refuse, [0, 1, 2], Ticks())
    assert chosen.map(tasks.double, [4], Ticks()) == [8]


def test_shards_played_elsewhere_are_the_same_bytes(pool: ShardPool, tasks: ModuleType, world: World) -> None:
    """The world's shards, played by other processes, are the world played whole by this one."""
    ticks = Ticks()
    parts = pool.map(tasks.play, [world.take(rows) for rows in cut(world.users, 3)], ticks)
    whole: dict[str, Any] = tasks.play(world, lambda: None)
    assert ticks.count == 3 * world.days
    for name, sums in whole.items():
        assert np.concatenate([part[name] for part in parts]).tobytes() == sums.tobytes(), name
    assert whole["clicks"].sum() > 0


def test_a_killed_worker_is_an_error_and_not_a_hang(tasks: ModuleType) -> None:
    """A task that kills every worker ends the map with an error of one line that says how and what to do."""
    with shard_pool(2) as doomed:
        with pytest.raises(WorkerDiedError, match=r"3 times in a row \(signal 9\).*--workers") as caught:
            doomed.map(tasks.die, [0, 1, 2], Ticks())
        assert "\n" not in str(caught.value)


def test_workers_end_with_their_parent(tasks: ModuleType) -> None:
    """When the process that started them is killed, workers in the midst of a task end too."""
    code = (
        "import os, threading\n"
        "from shard_tasks_for_tests import outlive\n"
        "from simulator.shards import shard_pool\n"
        "def tell():\n"
        "    while len(pool._executor._processes) < 2: pass\n"
        "    print(*pool._executor._processes, flush=True)\n"
        "with shard_pool(2) as pool:\n"
        "    threading.Thread(target=tell).start()\n"
        "    pool.map(outlive, [0, 1], lambda: None)\n"
    )
    path = os.pathsep.join([str(Path(str(tasks.__file__)).parent), str(Path(__file__).parents[2])])
    parent = subprocess.Popen(  # noqa: S603  the project's own interpreter and code
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path}
    )
    assert parent.stdout is not None
    workers = [Path("/proc", number) for number in parent.stdout.readline().split()]
    assert len(workers) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 120
    while any(map(lives, workers)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(lives, workers))


def test_a_worker_killed_once_is_replaced(tasks: ModuleType, tmp_path: Path) -> None:
    """What a killed worker and those ended with it had in hand is done by others, and no step is told twice."""
    ticks = Ticks()
    with shard_pool(2) as pool:
        work = [(str(tmp_path), number) for number in range(5)]
        assert pool.map(tasks.die_once, work, ticks) == [0, 10, 20, 30, 40]
        assert (tmp_path / "died").exists()
        assert ticks.count == 4 * 5
        assert pool.map(tasks.double, [4], Ticks()) == [8]


@pytest.mark.parametrize("workers", [1, 2])
def test_steps_done_before_are_not_told(pool: ShardPool, tasks: ModuleType, workers: int) -> None:
    """Of a task that goes on from an earlier attempt only the steps after it are told."""
    ticks = Ticks()
    chosen = pool if workers == 2 else ShardPool(1)
    assert chosen.map(tasks.tick_often, [5, 7, 3], ticks, [2, 0, 3]) == [None] * 3
    assert ticks.count == 3 + 7


def test_a_pool_closes_whatever_happens(tasks: ModuleType) -> None:
    """Leaving the pool by an exception ends its processes."""
    processes: list[Any] = []

    def interrupted() -> None:
        with shard_pool(2) as opened:
            opened.map(tasks.double, [1, 2], Ticks())
            assert opened._executor is not None
            processes.extend((opened._executor._processes or {}).values())
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert processes
    assert not any(process.is_alive() for process in processes)
