"""What holds for every engine: processes of this machine, and Ray where it is installed."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.pools import MOST_DEATHS, Counted, Engine, Pool, Steps, WorkerDiedError
from simulator.shards import PROCESSES

CAUSE = rf"{MOST_DEATHS} times .*\((signal 9|at last, its process ended)\).*--workers"


@pytest.fixture(scope="module", params=["processes", "ray"])
def engine(request: pytest.FixtureRequest, tasks: ModuleType) -> Engine:
    """An engine with two cores."""
    if request.param == "processes":
        return PROCESSES
    request.getfixturevalue("ray_running")
    from simulator.ray_cluster import RayCluster

    return RayCluster(tasks.same_everywhere)


@pytest.fixture(scope="module")
def pool(engine: Engine) -> Iterator[Pool]:
    """Two workers."""
    with engine.pool(2) as opened:
        yield opened


class Ticks:
    """Counts its calls."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        """One more."""
        self.count += 1


@pytest.mark.parametrize("workers", [0, -1])
def test_a_pool_of_nobody_is_refused(engine: Engine, workers: int) -> None:
    """A pool without workers is an error that names the field and the value."""
    with pytest.raises(ValueError, match=f"workers: {workers} "), engine.pool(workers):
        pass


def test_others_answer_as_this_process_does(pool: Pool, tasks: ModuleType) -> None:
    """Results come in the order of the tasks and every tick arrives, whoever does the work."""
    for some in ([], [5], list(range(12))):
        ticks, here = Ticks(), Ticks()
        assert pool.map(tasks.double, some, ticks) == [2 * task for task in some]
        with PROCESSES.pool(1) as alone:
            assert alone.map(tasks.double, some, here) == [2 * task for task in some]
        assert ticks.count == here.count == 3 * len(some)


def test_more_ticks_than_a_pipe_holds_all_arrive(pool: Pool, tasks: ModuleType) -> None:
    """A worker that ticks more often than a pipe can hold is neither blocked for good nor shortened."""
    ticks = Ticks()
    pool.map(tasks.tick_often, [12_000, 9_000], ticks)
    assert ticks.count == 21_000


def test_a_tasks_error_reaches_the_caller(engine: Engine, pool: Pool, tasks: ModuleType) -> None:
    """What a task raises is raised here, with its own type and words, and the pool goes on."""
    with engine.pool(1) as alone:
        for chosen in (pool, alone):
            with pytest.raises(ValueError, match=r"^task: 1$"):
                chosen.map(tasks.refuse, [0, 1, 2], Ticks())
            assert chosen.map(tasks.double, [4], Ticks()) == [8]


def test_a_task_may_write_to_what_it_got(pool: Pool, tasks: ModuleType) -> None:
    """Arrays that tasks share arrive writable, and what one of them writes neither another one nor the caller sees."""
    common = np.arange(100_000, dtype=np.float64)
    work = [tasks.Sum(common, np.full(len(common), float(number))) for number in range(4)]
    for number, found in enumerate(pool.map(tasks.add_in_place, work, Ticks())):
        assert np.array_equal(found, np.arange(100_000) + number)
        found[:] = 0.0
    assert np.array_equal(common, np.arange(100_000))


def test_workers_that_die_again_and_again_are_an_error_and_not_a_hang(engine: Engine, tasks: ModuleType) -> None:
    """A task that kills every worker ends the map with an error of one line that says how and what to do."""
    with engine.pool(2) as doomed:
        with pytest.raises(WorkerDiedError, match=CAUSE) as caught:
            doomed.map(tasks.die, [0, 1], Ticks())
        assert "\n" not in str(caught.value)


def test_a_worker_killed_once_is_replaced(engine: Engine, tasks: ModuleType, tmp_path: Path) -> None:
    """What a killed worker had in hand is done by another, no step is told twice, and the pool goes on."""
    ticks = Ticks()
    with engine.pool(2) as pool:
        work = [(str(tmp_path), number) for number in range(5)]
        assert pool.map(tasks.die_once, work, ticks) == [0, 10, 20, 30, 40]
        assert (tmp_path / "died").exists()
        assert ticks.count == 4 * 5
        assert pool.map(tasks.double, [4], Ticks()) == [8]


def test_steps_done_before_are_not_told(engine: Engine, pool: Pool, tasks: ModuleType) -> None:
    """Of a task that goes on from an earlier attempt only the steps after it are told."""
    with engine.pool(1) as alone:
        for chosen in (pool, alone):
            ticks = Ticks()
            assert chosen.map(tasks.tick_often, [5, 7, 3], ticks, [2, 0, 3]) == [None] * 3
            assert ticks.count == 3 + 7


def test_a_listener_that_fails_ends_the_map(engine: Engine, tasks: ModuleType) -> None:
    """What listening to steps raises, such as an interruption, ends the map, and the workers are free again."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), engine.pool(2) as pool:
        pool.map(tasks.double, [1, 2, 3], interrupted)
    with engine.pool(2) as another:
        assert another.map(tasks.double, [4], Ticks()) == [8]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), max_size=40), st.tuples(*[st.integers(0, 5)] * 3))
def test_every_step_is_told_once(said: list[tuple[int, int]], already: tuple[int, int, int]) -> None:
    """However often and in whatever order attempts say how far they are, the furthest of each task is what is told."""
    ticks = Ticks()
    steps = Steps(already, ticks)
    for place, count in said:
        steps.reached(place, count)
    furthest = [max([before, *(count for at, count in said if at == place)]) for place, before in enumerate(already)]
    assert ticks.count == sum(furthest) - sum(already)


def test_an_attempt_counts_its_own_steps() -> None:
    """A tick says how many there were."""
    said: list[int] = []
    tick = Counted(said.append)
    tick()
    tick()
    assert (said, tick.count) == ([1, 2], 2)
