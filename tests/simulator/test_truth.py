from itertools import pairwise

import numpy as np

from simulator.batches import Ints
from simulator.engine import opening_state
from simulator.response import respond, response_constants
from simulator.state import new_state, take_state
from simulator.streams import stream_key
from simulator.truth import Truth
from simulator.world import World


def test_the_truth_is_what_users_do(world: World, rows: Ints) -> None:
    """Of items examined for certain, users click the share that the true logits say, in every range of them."""
    state = new_state(world.users, world.catalog.items, 0.25)
    state.intent[:] = world.population.interest_category[:, :3]
    truth = Truth(world, state)
    time = np.full(len(rows), 86_400 * 5, dtype=np.int64)
    chance = 1.0 / (1.0 + np.exp(-truth.click_logits(rows, time)))
    assert chance.shape == (world.users, world.catalog.items)
    behaviour = world.behaviour
    constants = response_constants(
        behaviour.response.model_copy(update={"examination_decay": 0.0}),
        behaviour.feed,
        "item",
        stream_key(world.seed, "response"),
    )
    slates = np.tile(np.arange(truth.items, dtype=np.int32), (len(rows), 1))
    clicked = respond(
        world.user_arrays(),
        world.item_arrays(),
        world.needs,
        take_state(state, rows),
        rows,
        time,
        0,
        True,
        slates,
        constants,
    ).clicked
    edges = np.quantile(chance, [0.0, 0.5, 0.8, 0.95, 0.99, 1.0])
    for low, high in pairwise(edges):
        here = (chance >= low) & (chance <= high)
        error = np.sqrt((chance[here] * (1 - chance[here])).sum())
        assert abs(clicked[here].sum() - chance[here].sum()) < 4 * error


def test_the_truth_moves_with_the_state(world: World, rows: Ints) -> None:
    """The handle sees its users' state as it is now: an intent that changes raises its category's logits."""
    state = opening_state(world, 0)
    truth = Truth(world, state)
    time = np.zeros(len(rows), dtype=np.int64)
    before = truth.click_logits(rows, time)
    state.intent[:, 0] = 5
    after = truth.click_logits(rows, time)
    five = world.catalog.observed.category == 5
    assert np.allclose(after[:, five] - before[:, five], world.behaviour.response.intent)
    assert (after >= before).all()


def test_a_shards_truth_is_the_worlds(world: World, rows: Ints) -> None:
    """The logits of a shard's rows are those of the same users in the whole world, to the bit."""
    state = opening_state(world, 0)
    some = rows[20:50]
    time = np.full(len(some), 3600, dtype=np.int64)
    whole = Truth(world, state).click_logits(some, time)
    shard = Truth(world.take(some), take_state(state, some)).click_logits(np.arange(len(some)), time)
    assert np.array_equal(whole, shard)
