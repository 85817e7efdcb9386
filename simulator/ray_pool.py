"""Plays tasks on a Ray cluster that this process is connected to.

Every task is tried by a worker of the cluster, and given to another when that one dies; Ray's own retries are off, so
that what is tried how often is said in one place. What several tasks hold, such as the catalogue and a fitted policy,
goes into the cluster's object store once. What a worker gets and gives back is copied, never shared memory, so that
play may write to its arrays as anywhere else.

Needs the extra ``ray``; importing this module without it is an ``ImportError``. Does not know what a task is, nor how a
cluster comes to be.
"""

import os
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import ray
from ray.exceptions import (
    GetTimeoutError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RaySystemError,
    RayTaskError,
    WorkerCrashedError,
)

from simulator.pools import (
    MOST_DEATHS,
    Counted,
    EngineError,
    ResultT,
    Steps,
    TaskT,
    Tick,
    WorkerDiedError,
    checked_workers,
)
from simulator.sending import Parcel, packed, shared_by, unpacked

_POLL_SECONDS: Final = 0.2
_TELL_SECONDS: Final = 0.1
_ALONE_SECONDS: Final = 60.0
_REMEDY: Final = "install the testbed, its packages and the policies' modules on all machines of the cluster"
_DEATHS: Final = {
    WorkerCrashedError: "its process ended",
    OutOfMemoryError: "its machine was short of memory",
    NodeDiedError: "its machine was lost",
    ObjectLostError: "its answer was lost with a machine",
}


@dataclass(frozen=True)
class Surroundings:
    """What a worker must have in common with the process that sends it tasks.

    Attributes:
        folder: to work in; paths are relative to it.
        path: where modules are found, if the worker does not find them anyway.
        agreed: what decides the bytes of a run, such as versions, by name.
        fingerprint: the function that tells this, packed, since its module may first be found by ``path``.
    """

    folder: str
    path: tuple[str, ...]
    agreed: Mapping[str, str]
    fingerprint: Parcel

    def enter(self) -> None:
        """Make this process like the one that sends tasks.

        Raises:
            EngineError: this machine does not have the folder, or has another version of something.
        """
        machine = socket.gethostname()
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise EngineError(
                f"--engine ray: machine {machine} has no folder {self.folder}; run from one that all machines share"
            ) from error
        sys.path.extend(entry for entry in self.path if entry not in sys.path)
        here = unpacked(self.fingerprint)()
        for name, version in self.agreed.items():
            if here.get(name) != version:
                raise EngineError(
                    f"--engine ray: machine {machine} has {name} {here.get(name)}, and this one {version}; install "
                    "the same on all"
                )


class _Board:
    """Where workers write how far they are; it may forget, which costs nothing but a late word of progress."""

    def __init__(self) -> None:
        self._reached: dict[tuple[int, int], int] = {}

    def write(self, key: tuple[int, int], count: int) -> None:
        """An attempt at a task, by its map and its place there, has made so many steps."""
        self._reached[key] = max(count, self._reached.get(key, 0))

    def read(self) -> dict[tuple[int, int], int]:
        """Steps that were written since this was asked before."""
        reached, self._reached = self._reached, {}
        return reached


def _call(
    parcel: Parcel, shared: Sequence[Any], key: tuple[int, int], board: Any, surroundings: Surroundings
) -> tuple[Parcel, int]:
    """Work on a task; its result and its number of steps. The parcels of what it shares stand in ``shared``."""
    surroundings.enter()
    try:
        work, task = unpacked(parcel, lambda number: ray.get(shared[number]))
    except ModuleNotFoundError as error:
        raise EngineError(f"--engine ray: machine {socket.gethostname()}: {error}; {_REMEDY}") from error
    last = 0.0

    def say(count: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _TELL_SECONDS:
            last = now
            board.write.remote(key, count)

    tick = Counted(say)
    result = work(task, tick)
    return packed(result), tick.count


_remote_board: Final = ray.remote(num_cpus=0, max_restarts=-1)(_Board)
_remote_call: Final = ray.remote(num_cpus=1, max_retries=0)(_call)


class RayPool:
    """Plays tasks on a cluster that this process is connected to.

    Args:
        workers: tasks at once, at the most; fewer where the cluster has fewer processors to spare.
        surroundings: of this process.
    """

    def __init__(self, workers: int, surroundings: Surroundings) -> None:
        self.workers = checked_workers(workers)
        self._surroundings = surroundings
        self._board = _remote_board.remote()
        self._maps = 0

    def map(
        self,
        work: Callable[[TaskT, Tick], ResultT],
        tasks: Sequence[TaskT],
        tick: Tick,
        already: Sequence[int] | None = None,
    ) -> list[ResultT]:
        """See ``Pool``; ``MOST_DEATHS`` are counted for each task."""
        steps = Steps([0] * len(tasks) if already is None else already, tick)
        common = shared_by(tasks)
        stored = [ray.put(parcel) for parcel in common.parcels]
        self._maps += 1
        waiting, deaths = deque(range(len(tasks))), [0] * len(tasks)
        flying: dict[Any, int] = {}
        watch = _Watch()
        answers: dict[int, Callable[[], ResultT]] = {}
        try:
            while len(answers) < len(tasks):
                while waiting and len(flying) < self.workers:
                    place = waiting.popleft()
                    parcel = packed((work, tasks[place]), common)
                    key = (self._maps, place)
                    flying[_remote_call.remote(parcel, stored, key, self._board, self._surroundings)] = place
                done, _ = ray.wait(list(flying), timeout=_POLL_SECONDS)
                self._listen(steps)
                watch.look()
                for answer in done:
                    place = flying.pop(answer)
                    try:
                        answers[place] = self._opened(answer, partial(steps.reached, place))
                    except tuple(_DEATHS) as error:
                        deaths[place] += 1
                        if deaths[place] == MOST_DEATHS:
                            raise _given_up(deaths[place], error) from error
                        waiting.appendleft(place)
            return [answers[place]() for place in range(len(tasks))]
        finally:
            for answer in flying:
                ray.cancel(answer, force=True)

    def _listen(self, steps: Steps) -> None:
        """Hear how far workers are."""
        with suppress(RayActorError, GetTimeoutError):  # the board is restarted, or about to be, or busy
            for (number, place), count in ray.get(self._board.read.remote(), timeout=_POLL_SECONDS).items():
                if number == self._maps:
                    steps.reached(place, count)

    def close(self) -> None:
        """End what the pool started; tasks were ended with their map."""
        ray.kill(self._board)

    @staticmethod
    def _opened(answer: Any, reached: Callable[[int], None]) -> Callable[[], Any]:
        """What gives a task's result or raises its error, once all tasks are done."""
        try:
            parcel, count = ray.get(answer)
        except tuple(_DEATHS):  # also as the error of a worker that could not get what tasks share
            raise
        except RayTaskError as error:
            return partial(_raise, error)
        reached(count)
        result = unpacked(parcel)
        return lambda: result


class _Watch:
    """Notices that a cluster has lost its last machine: Ray would wait for another one for ever."""

    def __init__(self) -> None:
        self._seen = time.monotonic()

    def look(self) -> None:
        """See whether there are processors.

        Raises:
            WorkerDiedError: there have been none for ``_ALONE_SECONDS``.
        """
        now = time.monotonic()
        if processors() > 0:
            self._seen = now
        elif now - self._seen > _ALONE_SECONDS:
            raise WorkerDiedError(f"the Ray cluster has had no processors for {_ALONE_SECONDS:.0f} s; add a machine")


def processors() -> int:
    """Processors of all machines of the cluster."""
    return int(ray.cluster_resources().get("CPU", 0))


def _raise(error: RayTaskError) -> None:
    cause = error.cause
    if isinstance(cause, RaySystemError):  # a worker that could not even load the function that takes tasks
        cause = EngineError(f"--engine ray: a machine of the cluster: {str(cause).splitlines()[0]}; {_REMEDY}")
    raise cause from error


def _given_up(deaths: int, error: Exception) -> WorkerDiedError:
    cause = next(words for kind, words in _DEATHS.items() if isinstance(error, kind))
    return WorkerDiedError(
        f"workers of the Ray cluster ended without an answer, {deaths} times with the same part of the run (at last, "
        f"{cause}); if memory was short, go on with fewer --workers"
    )
