"""The network between two pools: all transfers under way share it equally (processor sharing).

Knows bytes and moments, not what is sent.
"""

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import simpy

from simulator.serving.checks import above_zero, at_least
from simulator.serving.clock import SECOND, nanoseconds


@dataclass(frozen=True)
class Link:
    """A link's figures.

    Attributes:
        bytes_per_second: of all transfers together.
        latency: seconds from the last byte sent to its arrival.

    Raises:
        ServingError: the rate is not above 0, or the latency is below 0.
    """

    bytes_per_second: float
    latency: float = 0.0

    def __post_init__(self) -> None:
        above_zero("link.bytes_per_second", self.bytes_per_second)
        at_least("link.latency", self.latency, 0.0)


class SharedLink:
    """A link at work.

    It counts the bytes that each of the transfers under way has been served since the link was last idle. That is one
    number for all of them, and a transfer ends when it reaches the number at which it began plus its size.

    Attributes:
        sent: bytes of all transfers so far.
        busy: nanoseconds with a transfer under way.
    """

    def __init__(self, clock: simpy.Environment, link: Link) -> None:
        self.sent = 0
        self.busy = 0
        self._clock = clock
        self._rate = link.bytes_per_second / SECOND
        self._latency = nanoseconds(link.latency)
        self._served = 0.0
        self._since = 0
        self._ends: list[tuple[float, int, Callable[[], None]]] = []
        self._plan = 0

    def send(self, size: int, key: int, arrived: Callable[[], None]) -> None:
        """Send ``size`` bytes and call ``arrived`` then; ``key`` orders transfers that end at one moment."""
        self._catch_up()
        self.sent += size
        heapq.heappush(self._ends, (self._served + size, key, arrived))
        self._schedule()

    def _catch_up(self) -> None:
        now = int(self._clock.now)
        if self._ends:
            self.busy += now - self._since
            self._served += (now - self._since) * self._rate / len(self._ends)
        else:
            self._served = 0.0
        self._since = now

    def _schedule(self) -> None:
        self._plan += 1
        if not self._ends:
            return
        left = (self._ends[0][0] - self._served) * len(self._ends) / self._rate
        wake = self._clock.timeout(max(1, math.ceil(left)), self._plan)
        wake.callbacks.append(self._finish)

    def _finish(self, event: simpy.Event) -> None:
        if event.value != self._plan:
            return  # another transfer began or ended since this was planned
        self._catch_up()
        served = self._served + self._rate / len(self._ends)  # whole nanoseconds: less than one early counts as there
        while self._ends and self._ends[0][0] <= served:
            _, _, arrived = heapq.heappop(self._ends)
            self._clock.timeout(self._latency, arrived).callbacks.append(_call)
        self._schedule()


def _call(event: Any) -> None:
    event.value()
