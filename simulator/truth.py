"""A handle on the truth of clicks, for policies that rank by it (``oracle``, ``foresight``).

It tells how likely a click is once an item is looked at. Nobody who ranks by it is unbeatable: it is silent on the
texts beside items, on what a page leaves behind (satisfaction, satiation), on carts and orders, and on what is shown.
"""

from simulator.batches import Floats, Ints
from simulator.response import click_logits, response_constants
from simulator.state import State
from simulator.streams import stream_key
from simulator.world import World


class Truth:
    """What is true of a shard's users at this moment.

    Args:
        world: the shard's world.
        state: its moving state.
    """

    def __init__(self, world: World, state: State) -> None:
        self.items = world.catalog.items
        self._world = world
        self._state = state
        self._users = world.user_arrays()
        self._items = world.item_arrays()
        behaviour = world.behaviour
        self._constants = response_constants(
            behaviour.response, behaviour.feed, world.scenario, stream_key(world.seed, "response")
        )

    def click_logits(self, row: Ints, time: Ints) -> Floats:
        """True logit of a click, given that the item is examined, float64 [rows, items]."""
        return click_logits(self._users, self._items, self._world.needs, self._state, row, time, self._constants)
