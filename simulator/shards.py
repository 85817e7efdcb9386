"""The same run on one core or on several: users are cut into shards, and processes play shards side by side.

A shard's outcome depends on its users alone, so how many shards there are, who plays them and how often it was tried
changes nothing. What is sent to another process is the shard's part of the world and its guests, through memory that
both have open (``shared_memory``); nothing is read back from the parent.
"""

import importlib
import multiprocessing
import multiprocessing.connection
import multiprocessing.queues
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, Final, NamedTuple, NoReturn

import numpy as np

from simulator.batches import Ints
from simulator.pools import MOST_DEATHS, Counted, Pool, ResultT, Steps, TaskT, Tick, WorkerDiedError, checked_workers
from simulator.shared_memory import Address, Message, SharedMemory, UnreachableError, new_memory, reached, read, written

MOST_USERS: Final = 50_000
"""Users of one shard at the most, which bounds the memory of a worker."""

ENOUGH_USERS: Final = 10_000
"""Users of a shard that are worth a message."""

TURNS: Final = 3
"""Shards that a worker plays one after the other where there are enough users: what one leaves is read while another is
played, and who had slow ones in the end plays fewer."""

_POLL_SECONDS: Final = 0.2
_ticks: "multiprocessing.queues.SimpleQueue[tuple[int, int]] | None" = None


def cut(users: int, workers: int) -> list[Ints]:
    """Rows of each shard: consecutive, as even as possible, none above MOST_USERS, and as many for every worker."""
    turns = -(-users // (workers * MOST_USERS))
    if workers > 1:
        turns = max(turns, min(TURNS, users // (workers * ENOUGH_USERS)))
    shards = max(1, min(users, workers * max(turns, 1)))
    return [np.ascontiguousarray(rows) for rows in np.array_split(np.arange(users, dtype=np.int64), shards)]


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_worker(
    ticks: "multiprocessing.queues.SimpleQueue[tuple[int, int]]", threads: int, modules: Sequence[str]
) -> None:
    global _ticks
    _ticks = ticks
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # read when torch is loaded, which comes later
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for module in modules:
        with suppress(Exception):  # a hint; a task that needs it says so better
            importlib.import_module(module)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Who is started meanwhile never hears of an interrupt, not even while it loads Python."""
    if threading.current_thread() is not threading.main_thread():  # others may not say what a signal means
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _ready() -> None:
    """The first task of a process, because it is started when there is one and nobody idle."""


def _end_with_parent() -> None:
    """Without its parent a worker would go on, and write what another attempt is writing too."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


def _call(message: Message, address: Address | None, place: int) -> Message:
    """Work on a task; its result lies where the task lay."""

    def say(count: int) -> None:
        if _ticks is not None:
            _ticks.put((place, count))

    with reached(address) as memory:
        work, task = read(message, memory)
        return written(work(task, Counted(say)), memory)


class _Sent(NamedTuple):
    """A task on its way, by its place among the others, and the memory that it and its answer go through."""

    place: int
    memory: SharedMemory | None


class ShardPool:
    """Plays tasks in this process (one worker) or in others.

    Args:
        workers: processes; 1 means none but this one.
        modules: what processes load when they start, which is now, and not with the first task.
    """

    def __init__(self, workers: int, modules: Sequence[str] = ()) -> None:
        self.workers = checked_workers(workers)
        self._modules = tuple(modules)
        self._reachable = True
        self._executor: ProcessPoolExecutor | None = None
        if workers > 1:
            self._start()

    def _start(self) -> None:
        # Spawned, not forked: a forked child of a process with OpenMP threads can hang.
        context = multiprocessing.get_context("spawn")
        self._queue = context.SimpleQueue()
        threads = max(1, cores() // self.workers)
        start = (self._queue, threads, self._modules)
        self._executor = ProcessPoolExecutor(self.workers, context, _start_worker, start)
        with _uninterrupted(), suppress(BrokenProcessPool):  # who is given a task then meets it, and counts the death
            for _ in range(self.workers):
                self._executor.submit(_ready)

    def map(
        self,
        work: Callable[[TaskT, Tick], ResultT],
        tasks: Sequence[TaskT],
        tick: Tick,
        already: Sequence[int] | None = None,
    ) -> list[ResultT]:
        """See ``Pool``.

        Where a worker process dies, those that were with it are ended too, and every task without an answer is given
        to new ones. ``MOST_DEATHS`` are counted in a row, without a task being finished in between.
        """
        steps = Steps([0] * len(tasks) if already is None else already, tick)
        if self._executor is None:
            return [work(task, Counted(partial(steps.reached, place))) for place, task in enumerate(tasks)]
        answers: dict[int, Callable[[], ResultT]] = {}
        deaths = 0
        while len(answers) < len(tasks):
            left = [place for place in range(len(tasks)) if place not in answers]
            found, causes = self._attempt(work, tasks, left, steps)
            answers |= found
            if len(answers) == len(tasks):
                break
            deaths = 1 if found else deaths + 1
            if deaths == MOST_DEATHS:
                raise WorkerDiedError(
                    f"worker processes ended without an answer, {deaths} times in a row ({causes}); if memory was "
                    "short, go on with fewer --workers"
                )
        return [answers[place]() for place in range(len(tasks))]

    def _attempt(
        self, work: Callable[[TaskT, Tick], ResultT], tasks: Sequence[TaskT], places: Sequence[int], steps: Steps
    ) -> tuple[dict[int, Callable[[], ResultT]], str]:
        """Answers to some tasks, errors among them, by place; those missing went with workers that died, and how.

        One task more than there are workers is on its way, so that none waits for the next.
        """
        assert self._executor is not None
        answers: dict[int, Callable[[], ResultT]] = {}
        waiting = deque(places)
        flying: dict[Future[Message], _Sent] = {}
        processes: dict[int, Any] = {}
        broken = False
        with ExitStack() as undone:
            undone.callback(_give_up, flying)
            while flying or (waiting and not broken):
                while waiting and not broken and len(flying) <= self.workers:
                    try:
                        self._send(work, tasks[waiting[0]], waiting[0], flying)
                    except BrokenProcessPool:
                        broken = True
                    else:
                        waiting.popleft()
                    processes |= self._executor._processes or {}
                done, _ = wait(flying, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                self._drain(steps)
                for future in done:
                    sent = flying.pop(future)
                    try:
                        answers[sent.place] = _answer(future, sent.memory)
                    except UnreachableError:
                        self._reachable = False
                        waiting.append(sent.place)
                    except BrokenProcessPool:
                        broken = True
                    finally:
                        if sent.memory is not None:
                            sent.memory.close()
        if len(answers) == len(places):
            return answers, ""
        self._executor.shutdown(wait=True, cancel_futures=True)  # a broken one ends what is left of its processes
        self._start()
        return answers, _causes([process.exitcode for process in processes.values()])

    def _send(self, work: Any, task: Any, place: int, flying: dict[Future[Message], _Sent]) -> None:
        assert self._executor is not None
        memory = new_memory() if self._reachable else None
        try:
            message = written((work, task), memory)
            future = self._executor.submit(_call, message, None if memory is None else memory.address, place)
        except BaseException:
            if memory is not None:
                memory.close()
            raise
        flying[future] = _Sent(place, memory)

    def _drain(self, steps: Steps) -> None:
        while not self._queue.empty():
            steps.reached(*self._queue.get())

    def close(self) -> None:
        """End the processes; unfinished tasks are given up."""
        if self._executor is not None:
            for process in list((self._executor._processes or {}).values()):
                process.terminate()
            self._executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def shard_pool(workers: int, modules: Sequence[str] = ()) -> Iterator[ShardPool]:
    """A pool that is closed whatever happens."""
    pool = ShardPool(workers, modules)
    try:
        yield pool
    finally:
        pool.close()


class Processes:
    """The engine that plays shards in processes of this machine."""

    name: Final = "processes"

    @property
    def cores(self) -> int:
        """Processors that this process may use."""
        return cores()

    def pool(self, workers: int, modules: Sequence[str] = ()) -> AbstractContextManager[Pool]:
        """See ``Engine``; one worker is this process."""
        return shard_pool(workers, modules)


PROCESSES: Final = Processes()


def _answer(future: Future[Message], memory: SharedMemory | None) -> Callable[[], Any]:
    """What gives a task's result or raises its error, once all tasks are done.

    Raises:
        BrokenProcessPool: its worker died.
        UnreachableError: the worker did not get the task.
    """
    error = future.exception()
    if isinstance(error, BrokenProcessPool | UnreachableError):
        raise error
    if error is not None:
        return partial(_raise, error)
    result = read(future.result(), memory)
    return lambda: result


def _raise(error: BaseException) -> NoReturn:
    raise error


def _give_up(flying: dict[Future[Message], _Sent]) -> None:
    for future, sent in flying.items():
        future.cancel()
        if sent.memory is not None:
            sent.memory.close()


def _causes(codes: Sequence[int | None]) -> str:
    """How processes ended, in words; those that the pool ended itself are left out where another has a cause."""
    ended = sorted({code for code in codes if code is not None and code != 0})
    own = [code for code in ended if code != -signal.SIGTERM] or ended
    return ", ".join(f"signal {-code}" if code < 0 else f"exit code {code}" for code in own) or "cause unknown"
