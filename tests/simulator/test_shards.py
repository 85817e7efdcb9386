import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.shards import ENOUGH_USERS, MOST_USERS, TURNS, _uninterrupted, cut, shard_pool
from simulator.world import World


def lives(process: Path) -> bool:
    """Whether a process, by its folder in /proc, runs; one that only waits to be collected does not."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


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


@given(st.integers(1, 1_000_000), st.integers(1, 64))
@settings(max_examples=100, deadline=None)
def test_no_worker_has_a_shard_more_than_another(users: int, workers: int) -> None:
    """Every worker plays as many shards as the next, several where users are many, and one where they are few."""
    sizes = [len(rows) for rows in cut(users, workers)]
    assert len(sizes) % workers == 0 or len(sizes) == users < workers
    if workers > 1 and len(sizes) > workers:
        assert min(sizes) >= ENOUGH_USERS
    if workers > 1 and users >= TURNS * workers * ENOUGH_USERS:
        assert len(sizes) >= TURNS * workers


def test_workers_share_the_cores(tasks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each worker computes with its part of the cores, one at least, unless the environment says otherwise."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("simulator.shards.cores", lambda: 5)
    with shard_pool(2) as two:
        assert two.map(tasks.threads, [0], lambda: None) == ["2"]
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with shard_pool(2) as told:
        assert told.map(tasks.threads, [0], lambda: None) == ["7"]


def test_who_is_being_started_hears_no_interrupt() -> None:
    """Processes begun meanwhile ignore interrupts from their first moment on, and this one hears them again after."""
    outside = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background a shell has it ignored
    ask = "print(next(line for line in open('/proc/self/status') if line.startswith('SigIgn')))"
    with _uninterrupted():
        told = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)  # noqa: S603
    assert int(told.stdout.split()[1], 16) & 1 << (signal.SIGINT - 1)
    assert signal.signal(signal.SIGINT, outside) is signal.default_int_handler


def test_a_hint_that_cannot_be_loaded_is_no_matter(
    tasks: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that fails as it is loaded leaves tasks that do not need it as they are."""
    (tmp_path / "failing_hint.py").write_text("raise RuntimeError('no')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with shard_pool(2, ["failing_hint"]) as pool:
        assert pool.map(tasks.double, [1, 2], lambda: None) == [2, 4]


def test_processes_start_with_the_pool(tasks: ModuleType) -> None:
    """All of them are there before the first task, with what they were told to load; what is missing is no matter."""
    with shard_pool(3, ["colorsys", "there.is.no.such.module"]) as pool:
        assert pool._executor is not None
        assert len(pool._executor._processes) == 3
        assert pool.map(tasks.loaded, ["colorsys"] * 3, lambda: None) == [True] * 3
    with shard_pool(2) as untold:
        assert untold.map(tasks.loaded, ["colorsys"], lambda: None) == [False]


@pytest.mark.usefixtures("tasks")
def test_shards_played_elsewhere_are_the_same_bytes(world: World) -> None:
    """The world's shards, played by other processes, are the world played whole by this one."""
    player, days = importlib.import_module("shard_player"), []
    with shard_pool(2) as pool:
        parts = pool.map(player.play, [world.take(rows) for rows in cut(world.users, 3)], lambda: days.append(1))
    whole: dict[str, Any] = player.play(world, lambda: None)
    assert len(days) == 3 * world.days
    for name, sums in whole.items():
        assert np.concatenate([part[name] for part in parts]).tobytes() == sums.tobytes(), name
    assert whole["clicks"].sum() > 0


def test_workers_end_with_their_parent(tasks: ModuleType) -> None:
    """When the process that started them is killed, workers in the midst of a task end too."""
    code = (
        "import numpy as np\n"
        "from shard_tasks import outlive\n"
        "from simulator.shards import shard_pool\n"
        "begun = []\n"
        "def tell():\n"
        "    begun.append(1)\n"
        "    if len(begun) == 2: print(*pool._executor._processes, flush=True)\n"
        "with shard_pool(2) as pool:\n"
        "    pool.map(outlive, [np.ones(1 << 20)] * 2, tell)\n"
    )
    path = os.pathsep.join([str(Path(str(tasks.__file__)).parent), str(Path(__file__).parents[2])])
    parent = subprocess.Popen(  # noqa: S603  the project's own interpreter and code
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path}
    )
    assert parent.stdout is not None
    workers = [Path("/proc", number) for number in parent.stdout.readline().split()]
    assert len(workers) == 2
    shared = [path.readlink() for worker in workers for path in (worker / "fd").iterdir()]
    assert sum("memfd:" in str(memory) for memory in shared) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 120
    while any(map(lives, workers)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(lives, workers))


def test_a_pool_closes_whatever_happens(tasks: ModuleType) -> None:
    """Leaving the pool by an exception ends its processes."""
    processes: list[Any] = []

    def interrupted() -> None:
        with shard_pool(2) as opened:
            opened.map(tasks.double, [1, 2], lambda: None)
            assert opened._executor is not None
            processes.extend((opened._executor._processes or {}).values())
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert processes
    assert not any(process.is_alive() for process in processes)
