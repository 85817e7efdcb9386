"""What plays shards, whatever it is: a pool takes tasks and gives their results, an engine opens pools.

Knows tasks, steps, and that who works on a task may die. Does not know processes or machines, nor what a task is.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol, TypeVar

MOST_DEATHS: Final = 3
"""Deaths of workers without progress between them after which a pool gives up."""

Tick = Callable[[], None]
TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")


class WorkerDiedError(RuntimeError):
    """Workers ended without an answer (killed from outside, or out of memory), again and again."""


class EngineError(ValueError):
    """An engine cannot be had, or a machine of it cannot play this run; the message says what to do."""


class Pool(Protocol):
    """Plays tasks.

    Attributes:
        workers: how many tasks are played side by side.
    """

    workers: int

    def map(
        self,
        work: Callable[[TaskT, Tick], ResultT],
        tasks: Sequence[TaskT],
        tick: Tick,
        already: Sequence[int] | None = None,
    ) -> list[ResultT]:
        """Results of ``work(task, tick)`` in the order of the tasks.

        A task whose worker dies is given to another one. It may therefore be worked on more than once: what it writes
        must be the same each time.

        Args:
            work: a function of a module, so that another process can find it. It calls ``tick`` once for each step of
                the task, steps that it found done and skips included.
            tasks: one for each shard.
            tick: called here once for each step of a task, whatever attempt makes it.
            already: steps of each task that need not be told, because they were done before; none if left out.

        Raises:
            WorkerDiedError: workers died ``MOST_DEATHS`` times, and nothing was finished between.
        """
        ...


class Engine(Protocol):
    """Opens pools.

    Attributes:
        name: how commands call it.
        cores: processors that it may use: the number of workers where nobody says another.
    """

    @property
    def name(self) -> str:
        """See the class."""
        ...

    @property
    def cores(self) -> int:
        """See the class."""
        ...

    def pool(self, workers: int, modules: Sequence[str] = ()) -> AbstractContextManager[Pool]:
        """A pool of so many workers, which is closed whatever happens.

        Args:
            workers: how many.
            modules: what tasks will need, in case workers can load it before there are any; nothing else hangs on it.

        Raises:
            ValueError: workers are fewer than 1.
        """
        ...


class Steps:
    """Tells of the steps of each task that were not told before, whichever attempt at it makes them.

    Args:
        already: steps of each task that need not be told.
        tick: told of each other one.
    """

    def __init__(self, already: Sequence[int], tick: Tick) -> None:
        self._tick = tick
        self._told = list(already)

    def reached(self, place: int, count: int) -> None:
        """An attempt at a task has made ``count`` steps by now; what was said of it earlier may arrive later."""
        for _ in range(count - self._told[place]):
            self._told[place] += 1
            self._tick()


class Counted:
    """The ``tick`` of one attempt at a task: counts, and says how far it is."""

    def __init__(self, say: Callable[[int], None]) -> None:
        self.count = 0
        self._say = say

    def __call__(self) -> None:
        """One more step."""
        self.count += 1
        self._say(self.count)


def checked_workers(workers: int) -> int:
    """The number of workers of a pool.

    Raises:
        ValueError: it is below 1.
    """
    if workers < 1:
        raise ValueError(f"workers: {workers} (must be at least 1)")
    return workers
