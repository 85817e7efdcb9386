"""The peer setting of the simulator's benchmark: its policy ranks as it says, and nothing of the engine is left out."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from allocation.top_slots import TopSlots
from experiments.history import no_log
from simulator.batches import NO_ITEM, Requests
from simulator.engine import Simulation, opening_state
from simulator.state import HISTORY_LENGTH, State, observed_history
from simulator.tables import UserDays
from simulator.world import World


def _loaded() -> ModuleType:
    """By its own name, under which the scripts find it too: what is compiled here is kept for them."""
    root = str(Path(__file__).parents[2])
    sys.path.insert(0, root)
    try:
        return importlib.import_module("benchmarks._peer")
    finally:
        sys.path.remove(root)


peer = _loaded()
Played = tuple[World, Any, State, UserDays]


@pytest.fixture(scope="module")
def played() -> Played:
    """A fifth of the peer setting's users on their first day."""
    world = peer.peer_world(2).take(np.arange(400))
    policy = peer.peer_policy()
    policy.fit(no_log(), world.catalog.observed, world.population.observed, world.environment.observed().until(0))
    state, record = opening_state(world, 0), UserDays(world.users, 0, 1)
    Simulation(world, state, policy, TopSlots(), [record]).run(0, 1)
    return world, policy, state, record


def asked(world: World, state: State, already: np.ndarray) -> Requests:
    """A second page of everybody."""
    rows = np.arange(world.users)
    observed = world.population.observed
    return Requests(
        row=rows,
        user=observed.user[rows],
        visit=state.visit[rows],
        page=1,
        slots=peer.SLOTS,
        max_pages=20,
        time=np.full(len(rows), 90_000),
        day=np.ones(len(rows), np.int64),
        city=observed.city[rows],
        users=observed,
        history=observed_history(state),
        context=world.environment.observed().until(1),
        already=already,
    )


def test_every_item_is_scored_for_every_page(played: Played) -> None:
    """A slate is the best of all items by the taste of the last interactions, without what the visit has shown."""
    world, policy, state, _ = played
    rng = np.random.default_rng(1)
    already = np.array([rng.permutation(peer.ITEMS)[: peer.SLOTS] for _ in range(world.users)], np.int32)
    already[::7] = NO_ITEM
    answer = policy.candidates(asked(world, state, already))
    for row in range(world.users):
        count = int(state.event_count[row])
        last = [state.event_item[row, n % HISTORY_LENGTH] for n in range(count - 1, max(count - peer.LAST, 0) - 1, -1)]
        taste = policy._factor[last].sum(axis=0) / max(len(last), 1)
        score = policy._appeal + policy._factor @ taste
        score[already[row][already[row] >= 0]] = -np.inf
        best = np.sort(score)[::-1][: peer.SLOTS]
        assert np.allclose(answer.scores[row], best, atol=1e-4)
        assert np.allclose(score[answer.items[row]], best, atol=1e-4)
        assert len(set(answer.items[row].tolist())) == peer.SLOTS


def test_an_answer_does_not_depend_on_who_else_asks(played: Played) -> None:
    """The same slate for a user alone as among all, to the bit."""
    world, policy, state, _ = played
    all_of = asked(world, state, np.full((world.users, peer.SLOTS), NO_ITEM, np.int32))
    whole = policy.candidates(all_of)
    for row in (0, 17, 399):
        one = slice(row, row + 1)
        parts = {
            name: getattr(all_of, name)[one] for name in ("row", "user", "visit", "time", "day", "city", "already")
        }
        alone = policy.candidates(replace(all_of, **parts))
        assert alone.items[0].tolist() == whole.items[row].tolist()
        assert alone.scores[0].tobytes() == whole.scores[row].tobytes()


def test_nothing_is_left_out_of_the_peer_setting(played: Played) -> None:
    """Users come and stay as it says, click, buy and are remembered: it is the same engine."""
    world, _, state, record = played
    sums = {name: of.sum() for name, of in record.sums.items()}
    assert world.catalog.items == peer.ITEMS
    assert world.slots == peer.SLOTS
    assert 15 < sums["pages"] / sums["sessions"] <= 20
    assert sums["impressions"] == peer.SLOTS * sums["pages"]
    assert 0 < sums["orders"] < sums["atc"] < sums["clicks"] < sums["impressions"]
    from_cart = state.event_count.sum() - sums["clicks"]
    assert 0 < from_cart < sums["orders"]
    assert state.shown_count.sum() == sums["impressions"] - sums["clicks"]
    assert (state.satisfaction != world.behaviour.returning.neutral).mean() > 0.9


def test_ordinary_visits_are_those_of_any_world() -> None:
    """The variant differs in nothing but how long visits are."""
    ordinary, busy = peer.ordinary_world(1).behaviour, peer.peer_world(1).behaviour
    assert ordinary.population.visits_per_day == busy.population.visits_per_day
    assert ordinary.response == type(ordinary.response)()
    assert ordinary.population.patience < busy.population.patience
