"""The same run on one core or on several: users are cut into shards, and shards are played side by side.

A shard's outcome depends on its users alone, so how many shards there are, and who plays them, changes nothing. What is
sent to another process is the shard's part of the world and its guests; nothing is read back from the parent.
"""

import multiprocessing
import multiprocessing.queues
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import numpy as np

from simulator.batches import Ints

MOST_USERS: Final = 50_000
"""Users of one shard at the most, which bounds the memory of a worker."""

_POLL_SECONDS: Final = 0.2
_ticks: "multiprocessing.queues.SimpleQueue[int] | None" = None

Tick = Callable[[], None]
TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")


class WorkerDiedError(RuntimeError):
    """A worker process ended without an answer (killed from outside, or out of memory)."""


def cut(users: int, workers: int) -> list[Ints]:
    """Rows of each shard: consecutive, as even as possible, none above MOST_USERS where that can be helped."""
    shards = max(1, min(users, max(workers, -(-users // MOST_USERS))))
    return [np.ascontiguousarray(rows) for rows in np.array_split(np.arange(users, dtype=np.int64), shards)]


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_worker(ticks: "multiprocessing.queues.SimpleQueue[int]", threads: int) -> None:
    global _ticks
    _ticks = ticks
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # read when torch is loaded, which comes later
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means


def _tick_to_parent() -> None:
    if _ticks is not None:
        _ticks.put(1)


def _call(work: Callable[[Any, Tick], Any], task: Any) -> Any:
    return work(task, _tick_to_parent)


class ShardPool:
    """Plays tasks in this process (one worker) or in others.

    Args:
        workers: processes; 1 means none but this one.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"workers: {workers} (must be at least 1)")
        self.workers = workers
        self._executor: ProcessPoolExecutor | None = None
        if workers > 1:
            # Spawned, not forked: a forked child of a process with OpenMP threads can hang.
            context = multiprocessing.get_context("spawn")
            self._queue = context.SimpleQueue()
            threads = max(1, cores() // workers)
            self._executor = ProcessPoolExecutor(workers, context, _start_worker, (self._queue, threads))

    def map(self, work: Callable[[TaskT, Tick], ResultT], tasks: Sequence[TaskT], tick: Tick) -> list[ResultT]:
        """Results of ``work(task, tick)`` in the order of the tasks.

        Args:
            work: a function of a module, so that another process can find it.
            tasks: one for each shard.
            tick: called here each time a task calls its own ``tick``.

        Raises:
            WorkerDiedError: a process ended without an answer.
        """
        if self._executor is None:
            return [work(task, tick) for task in tasks]
        futures: list[Future[ResultT]] = [self._executor.submit(_call, work, task) for task in tasks]
        try:
            pending: set[Future[ResultT]] = set(futures)
            while pending:
                _, pending = wait(pending, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                self._drain(tick)
            return [future.result() for future in futures]
        except BrokenProcessPool as error:
            raise WorkerDiedError(
                "a worker process ended without an answer (killed, or out of memory); run again, with fewer --workers "
                "if memory was short"
            ) from error

    def _drain(self, tick: Tick) -> None:
        while not self._queue.empty():
            self._queue.get()
            tick()

    def close(self) -> None:
        """End the processes; unfinished tasks are given up."""
        if self._executor is not None:
            for process in list((self._executor._processes or {}).values()):
                process.terminate()
            self._executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def shard_pool(workers: int) -> Iterator[ShardPool]:
    """A pool that is closed whatever happens."""
    pool = ShardPool(workers)
    try:
        yield pool
    finally:
        pool.close()
