"""Simulated time in whole nanoseconds, and the order of what happens at one moment.

Whole numbers make a sum of steps the same however it is split, so an instance that looks ahead over many iterations
ends at the very moment at which it would have ended step by step. What falls on one moment is ordered by rank, not by
who was there first: arrivals, then ends of iterations, then the dispatch of what waits, then what instances do next.
"""

from typing import Final

import numpy as np
import simpy
from simpy.events import EventPriority

SECOND: Final = 1_000_000_000

END: Final = EventPriority(2)
DISPATCH: Final = EventPriority(3)
PLAN: Final = EventPriority(4)
"""Ranks after simpy's own 0 (urgent) and 1 (normal)."""


class Pause(simpy.Event):
    """A timeout with a rank among what happens at its moment."""

    def __init__(self, clock: simpy.Environment, nanoseconds: int, rank: EventPriority) -> None:
        self.env = clock
        self.callbacks = []
        self._ok = True
        self._value = None
        self._defused = False
        clock.schedule(self, rank, nanoseconds)


def nanoseconds(seconds: float) -> int:
    """Seconds as the clock counts them."""
    return int(np.rint(seconds * SECOND))
