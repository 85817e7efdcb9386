"""Experiments drawn from a table of potential outcomes: who takes part, and in which arm.

Two designs. *Fixed*: the users of the table take part, each once, and only the arms are drawn anew (Fisher's and
Neyman's randomisation; Imbens and Rubin 2015, chapters 5 and 6). *Drawn*: as many users are drawn from the table with
replacement, so that the table is the population and its effect the known truth. Every draw is a function of seed and
replication alone. Knows users' places in a table and no outcome.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from simulator.streams import Stream

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Design = Literal["fixed", "drawn"]
Assign = Callable[[Ints, int], Ints]
"""From ids of units and the number of a replication to the index of each unit's arm."""


@dataclass(frozen=True)
class Draw:
    """One experiment.

    Attributes:
        replication: its number.
        row: place in the table of each unit: [units].
        arm: index of each unit's arm: [units].
    """

    replication: int
    row: Ints
    arm: Ints

    def weights(self, arm: int, rows: int) -> Floats:
        """How often each row of the table stands in an arm: [rows]."""
        return np.bincount(self.row[self.arm == arm], minlength=rows).astype(np.float64)


def draw(design: Design, user: Ints, replication: int, assign: Assign, seed: int) -> Draw:
    """Draw one experiment.

    Args:
        design: whether the users are those of the table or drawn from it.
        user: ids of the table's users: [rows].
        replication: its number.
        assign: the experiment's own assignment, by id and replication.
        seed: of the draws.
    """
    if design == "fixed":
        return Draw(replication, np.arange(len(user)), assign(user, replication))
    # A user drawn twice is two units, which need not be in the same arm.
    unit = np.arange(len(user))
    row = Stream(seed, "audit/users").integers(len(user), replication, unit)
    return Draw(replication, row, assign(unit, replication))
