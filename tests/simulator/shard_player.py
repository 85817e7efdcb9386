"""A whole shard as a task for other processes."""

from typing import Any

import numpy as np
import numpy.typing as npt

from simulator.batches import Candidates, Requests, Slates
from simulator.engine import Simulation, opening_state
from simulator.pools import Tick
from simulator.tables import UserDays
from simulator.world import World


class Fixed:
    """A policy and allocator that shows the first items to everyone."""

    def begin(self, rows: int) -> None:
        """Nothing to forget."""

    def refresh(self, day: int, context: Any) -> None:
        """Nothing to think about."""

    def candidates(self, requests: Requests) -> Candidates:
        """The first items, on every page."""
        items = np.tile(np.arange(requests.slots, dtype=np.int32), (len(requests), 1))
        return Candidates(items, np.zeros(items.shape), np.zeros(items.shape, np.int8))

    def allocate(self, requests: Requests, candidates: Candidates) -> Slates:
        """All of them."""
        return Slates(candidates.items, candidates.channel)

    def observe(self, requests: Any, slates: Any, responses: Any) -> None:
        """Nothing to learn."""

    def diary(self) -> None:
        """Nothing to tell."""


def play(world: World, tick: Tick) -> dict[str, npt.NDArray[Any]]:
    """All days of a shard of the world; sums by user and day."""
    record = UserDays(world.users, 0, world.days)
    guest: Any = Fixed()
    Simulation(world, opening_state(world, 0), guest, guest, [record], lambda day: tick()).run(0, world.days)
    return record.sums
