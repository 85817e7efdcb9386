"""A first-come queue before a cluster, over days, in the limit of very many jobs.

A platform asks for so many jobs a day that their numbers even out: what counts is how fast they come and how fast the
cluster can work. So the queue is a fluid (Newell 1971, "Applications of queueing theory", chapter 2): it grows by the
difference of the two rates, drains by it, and does not fall below nothing. What a job waits at its turn is the work
before it over the capacity. The scatter that the limit leaves out is that of a cluster below its capacity, where waits
are short; it is found call by call elsewhere (``stretch``). Knows rates and seconds only.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from simulator.serving.checks import above_zero, at_least
from simulator.serving.errors import ServingError
from simulator.serving.workload import Floats

DAY: Final = 86_400.0


@dataclass(frozen=True)
class DayOfQueue:
    """One day of the queue: jobs come evenly over a window from its start, and the cluster works all day.

    Attributes:
        capacity: jobs a second that the cluster finishes while it has enough of them.
        before: jobs that wait when the day begins.
        jobs: that come.
        window: seconds over which they come, at most a day.

    Raises:
        ServingError: a number is out of its bounds.
    """

    capacity: float
    before: float
    jobs: float
    window: float = DAY

    def __post_init__(self) -> None:
        above_zero("capacity", self.capacity)
        at_least("before", self.before, 0.0)
        at_least("jobs", self.jobs, 0.0)
        above_zero("window", self.window)
        if self.window > DAY:
            raise ServingError(f"window: {self.window:g} seconds; it must be at most a day ({DAY:g})")

    @property
    def rate(self) -> float:
        """Jobs a second within the window."""
        return self.jobs / self.window

    @property
    def load(self) -> float:
        """What comes within the window over what the cluster can do meanwhile."""
        return self.rate / self.capacity

    @property
    def caught_up(self) -> float:
        """Seconds into the window until nobody waits; the whole window where that does not happen in it."""
        if self.before == 0.0 and self.load <= 1.0:
            return 0.0
        if self.load >= 1.0:
            return self.window
        return min(self.window, self.before / (self.capacity - self.rate))

    @property
    def at_full_rate(self) -> float:
        """Seconds of the day in which jobs wait, so that the cluster has all it can do."""
        return self.caught_up + min(DAY - self.window, self.waiting(self.window) / self.capacity)

    @property
    def light(self) -> float:
        """Seconds of the window in which nobody waits and jobs are begun as they come."""
        return self.window - self.caught_up

    @property
    def served(self) -> float:
        """Jobs begun during the day."""
        return self.before + self.jobs - self.after

    @property
    def after(self) -> float:
        """Jobs that wait when the day ends."""
        return max(0.0, self.waiting(self.window) - self.capacity * (DAY - self.window))

    def waiting(self, offset: float) -> float:
        """Jobs that wait so many seconds into the window."""
        return max(0.0, self.before + (self.rate - self.capacity) * offset)

    def waits(self, offset: Floats) -> Floats:
        """Seconds from coming to being begun for jobs that come at these seconds of the window, [jobs]."""
        return np.maximum(0.0, self.before + (self.rate - self.capacity) * offset) / self.capacity
