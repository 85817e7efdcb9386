from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numba import njit

from simulator.batches import BUY, CART, CLICK, DAY_SECONDS, FAVOURITE, Ints
from simulator.intent import contextual_need, draw_intents, intent_constants
from simulator.parameters import ContextParameters
from simulator.recorded import RecordedWorld
from simulator.state import INTENTS, State, copy_state, new_state, write_events
from simulator.streams import stream_key
from simulator.world import Needs, Users, World

VISITS = 200
NOON = 10 * DAY_SECONDS + 43_200


@njit
def _need(users: Users, needs: Needs, row: int, city: int, day: int, category: int) -> float:
    return contextual_need(users, needs, row, city, day, category)


def draw(world: World, state: State, row: Ints, time: int = NOON) -> np.ndarray:
    """Intents of one visit of each row, [rows, INTENTS]."""
    constants = intent_constants(world.behaviour.intent, stream_key(world.seed, "intent"))
    times = np.full(len(row), time, dtype=np.int64)
    arrays = (world.user_arrays(), world.item_arrays(), world.needs, world.baskets)
    draw_intents(*arrays, state, row, times, constants)
    return state.intent[row].copy()


def many(world: World, state: State, row: Ints, visits: int = VISITS) -> np.ndarray:
    """Intents of many visits, [rows, visits, INTENTS]."""
    out = []
    for visit in range(visits):
        state.visit[:] = visit
        out.append(draw(world, state, row))
    return np.stack(out, axis=1)


def blank(world: World) -> State:
    """Users who have done nothing."""
    return new_state(world.users, world.catalog.items, 0.25)


def only(source: str) -> dict[str, dict[str, float]]:
    """Behaviour in which one source of intent has all the weight."""
    return {"intent": {"long_term": 0.0, "recent": 0.0, "contextual": 0.0} | {source: 1.0}}


def need_table(world: World, day: int) -> np.ndarray:
    """What each user's context calls for by the equation in words, [users, categories]."""
    p, n = world.population, world.needs
    weather, trend = n.weather[p.observed.city, day], n.trend[day][p.age_band]
    called = p.sensitivity[:, [0]] * weather + p.sensitivity[:, [1]] * n.occasion[day] + p.sensitivity[:, [2]] * trend
    return n.audience[p.segment] * called


def test_long_term_intents_are_interests(make_world: Callable[..., World], rows: Ints) -> None:
    """Where only interests count, every intent is one of the user's interests, as often as its weight says."""
    world = make_world(only("long_term"), contexts=ContextParameters.model_validate(0))
    drawn = many(world, blank(world), rows)
    category, weight = world.population.interest_category, world.population.interest_weight
    share = (drawn[:, :, :, None] == category[:, None, None, :]).mean(axis=(1, 2))
    assert np.allclose(share.sum(axis=1), 1.0)
    error = (share - weight) / np.sqrt(np.maximum(weight * (1 - weight), 1e-4) / (VISITS * INTENTS))
    assert abs(error.mean()) < 0.1
    assert np.abs(error).max() < 5.0
    assert abs(error[weight > 0.05].std() - 1.0) < 0.15


def test_interests_out_of_season_are_drawn_less(make_world: Callable[..., World], rows: Ints) -> None:
    """An interest out of season is drawn in proportion to what its season leaves of it."""
    world = make_world(only("long_term"))
    drawn = many(world, blank(world), rows)
    category, weight = world.population.interest_category, world.population.interest_weight
    left = weight * world.needs.season[0][category]
    left /= left.sum(axis=1, keepdims=True)
    assert not np.allclose(left, weight)
    share = (drawn[:, :, :, None] == category[:, None, None, :]).mean(axis=(1, 2))
    assert np.abs(share - left).max() < 5.0 * np.sqrt(0.25 / (VISITS * INTENTS))


def test_intents_without_context_never_leave_the_interests(make_world: Callable[..., World], rows: Ints) -> None:
    """With a contextual weight of 0 and no history, needs that shout change nothing."""
    world = make_world({"intent": {"contextual": 0.0}}, contexts=ContextParameters.model_validate(5))
    drawn = many(world, blank(world), rows, 20)
    assert (drawn[:, :, :, None] == world.population.interest_category[:, None, None, :]).any(axis=3).all()


def test_recent_intents_continue_what_was_clicked(make_world: Callable[..., World], rows: Ints) -> None:
    """Where only recent intent counts, intents are the categories clicked, the later the more often."""
    world = make_world(only("recent"))
    state = blank(world)
    category = world.catalog.observed.category
    old, new = (int(np.flatnonzero(category == c)[0]) for c in (3, 7))
    decay = world.behaviour.intent.recent_days * DAY_SECONDS
    for item, time in ((old, NOON - int(decay)), (new, NOON)):
        write_events(
            state,
            rows,
            np.full(len(rows), item, np.int32),
            np.full(len(rows), CLICK, np.int8),
            np.full(len(rows), time),
        )
    drawn = many(world, state, rows, 50)
    assert set(np.unique(drawn).tolist()) == {3, 7}
    expected = 1.0 / (1.0 + np.exp(-1.0))
    assert abs((drawn == 7).mean() - expected) < 4 * np.sqrt(expected * (1 - expected) / drawn.size)


def test_what_was_bought_is_no_longer_looked_for(make_world: Callable[..., World], rows: Ints) -> None:
    """A purchase leaves no recent intent: with nothing else in the history, intents are interests."""
    world = make_world({"intent": {"contextual": 0.0}})
    state = blank(world)
    strange = np.array([next(c for c in range(300) if c not in user) for user in world.population.interest_category])
    item = np.array([np.flatnonzero(world.catalog.observed.category == c)[0] for c in strange], np.int32)
    write_events(state, rows, item, np.full(len(rows), BUY, np.int8), np.full(len(rows), NOON))
    assert not (many(world, state, rows, 30) == strange[:, None, None]).any()


def test_what_was_kept_calls_louder(make_world: Callable[..., World], rows: Ints) -> None:
    """A favourite or a carted item weighs ``kept`` clicks in what was clicked lately."""
    world = make_world({"intent": only("recent")["intent"] | {"kept": 3.0}})
    category = world.catalog.observed.category
    one, other, count = 0, int(np.flatnonzero(category != category[0])[0]), len(rows)
    for kind, share in ((CLICK, 0.5), (FAVOURITE, 0.75), (CART, 0.75)):
        state = blank(world)
        for item, what in ((one, kind), (other, CLICK)):
            when = np.full(count, NOON - 60)
            write_events(state, rows, np.full(count, item, np.int32), np.full(count, what, np.int8), when)
        drawn = many(world, state, rows, 20).reshape(-1)
        assert set(np.unique(drawn)) == {category[one], category[other]}
        spread = np.sqrt(share * (1 - share) / len(drawn))
        assert abs((drawn == category[one]).mean() - share) < 5 * spread


def test_contextual_intents_follow_the_needs(make_world: Callable[..., World], rows: Ints) -> None:
    """Where only context counts, every intent is needed on that day, as often as its share of the need."""
    world = make_world(only("contextual"))
    need = need_table(world, NOON // DAY_SECONDS)
    drawn = many(world, blank(world), rows).reshape(world.users, -1)
    assert (np.take_along_axis(need, drawn, axis=1) > 0).all()
    share = need / need.sum(axis=1, keepdims=True)
    count = np.stack([np.bincount(mine, minlength=need.shape[1]) for mine in drawn])
    total, expected = count.sum(axis=0), share.sum(axis=0) * drawn.shape[1]
    assert np.abs((total - expected) / np.sqrt(np.maximum(expected, 1.0))).max() < 5.0


def test_contextual_need_is_its_equation(world: World) -> None:
    """The kernel's need is audience times the sum of sensitivities times signals."""
    users = world.user_arrays()
    table = need_table(world, 4)
    for row in range(0, world.users, 31):
        kernel = [_need(users, world.needs, row, int(users.city[row]), 4, c) for c in range(table.shape[1])]
        assert np.allclose(kernel, table[row])


def test_contexts_take_hold_as_far_as_there_is_need(make_world: Callable[..., World], rows: Ints) -> None:
    """The share of contextual intents is w M / (M + half) against the long-term weight, M being the total need."""
    world = make_world({"intent": {"long_term": 1.0, "recent": 0.0, "contextual": 1.0, "weight_spread": 0.0}})
    category = world.population.interest_category
    mass = need_table(world, NOON // DAY_SECONDS).sum(axis=1)
    hold = mass / (mass + world.behaviour.intent.context_half)
    drawn = many(world, blank(world), rows)
    outside = ~(drawn[:, :, :, None] == category[:, None, None, :]).any(axis=3)
    need = need_table(world, NOON // DAY_SECONDS)
    inside = np.take_along_axis(need, category.astype(np.int64), axis=1).sum(axis=1) / mass
    expected = hold / (1.0 + hold) * (1.0 - inside)
    assert expected.mean() > 0.05
    assert abs(outside.mean() - expected.mean()) < 4 * np.sqrt(expected.mean() / outside.size)


def test_no_source_at_all_falls_back_on_interests(make_world: Callable[..., World], rows: Ints) -> None:
    """Where no source has a weight a visit is still for something: an interest."""
    world = make_world({"intent": {"long_term": 0.0, "recent": 0.0, "contextual": 0.0}})
    drawn = many(world, blank(world), rows, 5)
    assert (drawn[:, :, :, None] == world.population.interest_category[:, None, None, :]).any(axis=3).all()


def test_intents_do_not_depend_on_who_else_comes(world: World, rows: Ints) -> None:
    """A visit's intents are the same alone, among others, and in any order; another visit's are others."""
    together = draw(world, blank(world), rows)
    assert np.array_equal(draw(world, blank(world), rows[::-1].copy())[::-1], together)
    state = blank(world)
    alone = np.concatenate([draw(world, state, rows[n : n + 1]) for n in range(len(rows))])
    assert np.array_equal(alone, together)
    state.visit[:] = 5
    assert not np.array_equal(draw(world, state, rows), together)


def test_intents_are_of_those_who_come(world: World, rows: Ints) -> None:
    """Drawing intents sets those of the rows that come and changes nothing else of anybody."""
    state = blank(world)
    before = copy_state(state)
    draw(world, state, rows[:10])
    assert (state.intent[:10] >= 0).all()
    assert (state.intent[10:] == -1).all()
    others = [name for name in state._fields if name != "intent"]
    assert all(np.array_equal(getattr(state, name), getattr(before, name)) for name in others)


def test_a_larger_sensitivity_is_a_larger_share_of_contexts(world: World, rows: Ints) -> None:
    """Users made more sensitive to contexts leave their interests more often, on the same draws."""

    def outside(factor: float) -> Any:
        population = replace(world.population, sensitivity=factor * world.population.sensitivity)
        drawn = many(replace(world, population=population), blank(world), rows, 50)
        return (~(drawn[:, :, :, None] == population.interest_category[:, None, None, :]).any(axis=3)).mean()

    shares = [outside(factor) for factor in (0.0, 0.5, 2.0, 20.0)]
    assert shares[0] == 0.0
    assert shares == sorted(shares)
    assert shares[-1] > shares[1]


@pytest.mark.parametrize("user", range(6))
def test_recorded_intents_come_from_the_basket(recorded: RecordedWorld, user: int) -> None:
    """In a world made from a log, a visit is for categories of the basket that it ended with."""
    world = recorded.world
    assert world.visits is not None
    first, last = world.visits.offset[user], world.visits.offset[user + 1]
    for visit in range(last - first):
        state = blank(world)
        state.visit[:] = visit
        time = int(world.visits.time[first + visit])
        drawn = draw(world, state, np.array([user]), time)[0]
        here = (recorded.log.user == user) & (recorded.log.time == time)
        basket = world.catalog.observed.category[recorded.log.item[here]]
        assert set(drawn.tolist()) <= set(basket.tolist())
