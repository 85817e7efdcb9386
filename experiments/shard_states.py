"""The state of all users on one morning, in the pieces that shards have left.

What is played next is often cut as before, and then a piece is handed on as it is. Knows states and rows; does not know
what has been played, nor what will be.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from simulator.batches import Ints
from simulator.state import State


@dataclass(frozen=True)
class ShardStates:
    """States of shards, whose rows follow each other.

    Attributes:
        parts: the states, in the order of their rows.
    """

    parts: tuple[State, ...]

    def of(self, rows: Ints) -> State:
        """The state of some users.

        Args:
            rows: theirs among all users, rising.

        Returns:
            A shard's own state if these are its rows, and a copy otherwise. It is not to be written to.

        Raises:
            ValueError: rows do not rise, or there are no such users.
        """
        bounds = np.cumsum([0, *(len(part.present) for part in self.parts)])
        if len(rows) and (rows[0] < 0 or rows[-1] >= bounds[-1] or (np.diff(rows) <= 0).any()):
            raise ValueError(f"rows: {rows} (must rise, from 0 at the least to below {bounds[-1]})")
        cuts = np.searchsorted(rows, bounds)
        for number, (begin, end) in enumerate(pairwise(bounds)):
            if end - begin == len(rows) == cuts[number + 1] - cuts[number]:
                return self.parts[number]
        taken = []
        for arrays in zip(*self.parts, strict=True):
            whole = np.empty((len(rows), *arrays[0].shape[1:]), arrays[0].dtype)
            for number, (begin, end) in enumerate(pairwise(cuts)):
                # "clip" writes straight into the place; without it numpy makes a copy first
                np.take(arrays[number], rows[begin:end] - bounds[number], axis=0, out=whole[begin:end], mode="clip")
            taken.append(whole)
        return State._make(taken)
