"""When a pool asks for more instances, and when it gives some back.

The rule is that of Kubernetes' horizontal autoscaler: at every check the pool wants as many instances as its calls,
waiting ones among them, divided by what an instance should have. What is wanted and not there starts at once and takes
calls after its start-up. What is too much is given back only when several checks in a row found it so; an instance that
is to go takes no new calls and ends when its last has left. Knows numbers only.
"""

import math
from dataclasses import dataclass

from simulator.serving.checks import above_zero, at_least
from simulator.serving.errors import ServingError


@dataclass(frozen=True)
class Autoscale:
    """A pool's rule.

    Attributes:
        most: instances at most; the pool's ``instances`` are its least, and there from the start.
        calls_per_instance: wanted, on average.
        check_seconds: from one check to the next.
        startup_seconds: until an instance that was asked for takes calls. It counts as provisioned all the while.
        patience: checks in a row that must find fewer enough.

    Raises:
        ServingError: a number is out of its bounds.
    """

    most: int
    calls_per_instance: float
    check_seconds: float = 15.0
    startup_seconds: float = 60.0
    patience: int = 4

    def __post_init__(self) -> None:
        at_least("autoscale.most", self.most, 1)
        above_zero("autoscale.calls_per_instance", self.calls_per_instance)
        above_zero("autoscale.check_seconds", self.check_seconds)
        at_least("autoscale.startup_seconds", self.startup_seconds, 0.0)
        at_least("autoscale.patience", self.patience, 1)

    def wanted(self, calls: int, least: int) -> int:
        """Instances for so many calls.

        Raises:
            ServingError: the least is more than the most.
        """
        if least > self.most:
            raise ServingError(f"autoscale.most: {self.most}; it must be at least the pool's instances ({least})")
        return min(self.most, max(least, math.ceil(calls / self.calls_per_instance)))
