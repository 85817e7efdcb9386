"""A pool of instances of one kind behind one queue.

Calls wait in one queue, ordered by the moment from which they wait, and nobody overtakes: the first in the queue goes
to that instance with room where the fewest tokens stand before it; a prefix that is not there counts twice, so calls
with a common prefix tend to meet. A call that was put back waits at the place of its first coming. Matching
happens once for all that falls on one moment, so it does not depend on which of them was handled first.
"""

import heapq
from collections.abc import Callable, Generator
from dataclasses import dataclass

import simpy

from simulator.serving.autoscale import Autoscale
from simulator.serving.calls import Call
from simulator.serving.checks import at_least
from simulator.serving.clock import DISPATCH, Pause, nanoseconds
from simulator.serving.errors import ServingError
from simulator.serving.hardware import Accelerator
from simulator.serving.instance import Instance, Limits, Meter, Outlets, Speed
from simulator.serving.steptime import ASSUMED, StepTime

Events = Generator[simpy.Event, None, None]


@dataclass(frozen=True)
class Pool:
    """Instances of one kind, each a whole copy of the model on one card.

    Attributes:
        accelerator: the card.
        instances: how many; with autoscaling the least.
        coefficients: of its step time.
        max_calls: in an instance's batch.
        max_tokens: new tokens in an iteration: one for each call that writes, the rest for prompts, in chunks. Large
            chunks read faster where an iteration has fixed costs, and make those who write wait longer for each token.
        autoscale: the rule by which the pool grows and shrinks; None if it does not.

    Raises:
        ServingError: a number is out of its bounds.
    """

    accelerator: Accelerator
    instances: int = 1
    coefficients: StepTime = ASSUMED
    max_calls: int = 256
    max_tokens: int = 2048
    autoscale: Autoscale | None = None

    def __post_init__(self) -> None:
        at_least("pool.instances", self.instances, 1)
        at_least("pool.max_calls", self.max_calls, 1)
        if self.max_tokens < self.max_calls:
            raise ServingError(f"pool.max_tokens: {self.max_tokens}; it must be at least max_calls ({self.max_calls})")
        if self.autoscale is not None:
            self.autoscale.wanted(0, self.instances)


class RunningPool:
    """A pool at work.

    Args:
        clock: that drives it.
        pool: its settings.
        speed, limits, outlets: of its instances.
        take: hands a call to an instance that has room.
        own: places that a call needs of its own, here.

    Attributes:
        instances: all that ever were.
        grown: the most that were there at one moment.
    """

    def __init__(
        self,
        clock: simpy.Environment,
        pool: Pool,
        speed: Speed,
        limits: Limits,
        outlets: Outlets,
        take: Callable[[Instance, Call], None],
        own: Callable[[Call], int],
    ) -> None:
        self.instances: list[Instance] = []
        self.grown = 0
        self._clock = clock
        self._pool = pool
        self._speed = speed
        self._limits = limits
        self._outlets = outlets
        self._take = take
        self._own = own
        self._queue: list[tuple[int, int, Call]] = []
        self._dispatching = False
        self._here: list[Instance] = []
        self._going: set[int] = set()
        for _ in range(pool.instances):
            self._start()
        if pool.autoscale is not None:
            clock.process(self._scale(pool.autoscale))

    def wait(self, call: Call, since: int, delay: int = 0) -> None:
        """Queue a call before those that wait from after ``since``, to be looked at after ``delay`` (ns)."""
        heapq.heappush(self._queue, (since, call.index, call))
        self._soon(delay)

    def room(self) -> None:
        """A call left: another may come, or its instance, if it is to go, may go."""
        if self._going:
            for instance in [each for each in self._here if each.index in self._going and each.empty]:
                self._stop(instance)
        if self._queue:
            self._soon()

    def meter(self) -> Meter:
        """What all instances did."""
        total = Meter()
        for instance in self.instances:
            total.add(instance.meter)
        return total

    def provisioned(self, until: int) -> int:
        """Nanoseconds of all instances, each from when it was asked for to its end or to ``until``."""
        return sum((until if each.stopped is None else each.stopped) - each.started for each in self.instances)

    def _soon(self, delay: int = 0) -> None:
        if not self._dispatching:
            self._dispatching = True
            pause = Pause(self._clock, delay, DISPATCH)
            pause.callbacks.append(self._dispatch)

    def _dispatch(self, _: simpy.Event) -> None:
        self._dispatching = False
        while self._queue:
            call = self._queue[0][2]
            own = self._own(call)
            able = [instance for instance in self._here if instance.has_room(call, own)]
            if not able:
                return
            heapq.heappop(self._queue)
            self._take(min(able, key=lambda instance: instance.burden(call)), call)

    def _start(self) -> Instance:
        instance = Instance(self._clock, len(self.instances), self._speed, self._limits, self._outlets)
        self.instances.append(instance)
        self._here.append(instance)
        self.grown = max(self.grown, len(self._here))
        return instance

    def _stop(self, instance: Instance) -> None:
        instance.stopped = int(self._clock.now)
        self._here.remove(instance)
        self._going.remove(instance.index)

    def _start_up(self, instance: Instance, delay: int) -> Events:
        yield self._clock.timeout(delay)
        if instance.index not in self._going and instance.stopped is None:
            instance.open = True
            self._soon()

    def _scale(self, rule: Autoscale) -> Events:
        unneeded = 0
        while True:
            yield self._clock.timeout(nanoseconds(rule.check_seconds))
            staying = [each for each in self._here if each.index not in self._going]
            calls = len(self._queue) + sum(each.calls for each in self._here)
            wanted = rule.wanted(calls, self._pool.instances)
            for _ in range(wanted - len(staying)):
                started = self._start()
                started.open = False
                self._clock.process(self._start_up(started, nanoseconds(rule.startup_seconds)))
            unneeded = unneeded + 1 if wanted < len(staying) else 0
            if unneeded < rule.patience:
                continue
            unneeded = 0
            for instance in staying[wanted:]:
                instance.open = False
                self._going.add(instance.index)
            self.room()
