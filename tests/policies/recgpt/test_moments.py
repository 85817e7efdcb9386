from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.recgpt.moments import requests_at
from simulator.batches import DAY_SECONDS, InteractionLog
from simulator.environment.context import ObservedContext
from simulator.response import SECONDS_A_PAGE
from simulator.state import State
from simulator.world import World


def everything(world: World, log: InteractionLog) -> tuple[ObservedContext, np.ndarray, np.ndarray]:
    """Context of the log's days, all users, and a time after all that it holds."""
    context = world.environment.observed().until(log.end_day - 1)
    users = np.arange(world.users)
    return context, users, np.full(world.users, world.days * DAY_SECONDS)


def test_end_of_the_log_is_the_state_that_play_left(world: World, log: InteractionLog, state: State) -> None:
    """Replayed to its end, a log gives the ring buffers that play kept; it knows pages where they know visits."""
    context, users, time = everything(world, log)
    found = requests_at(log, world.population.observed, world.catalog.items, context, users, time).history
    assert np.array_equal(found.item, state.event_item)
    assert np.array_equal(found.kind, state.event_kind)
    apart = found.time - state.event_time
    assert ((apart >= 0) & (apart < world.behaviour.response.max_pages * SECONDS_A_PAGE)).all()
    assert np.array_equal(found.count, state.event_count)
    assert np.array_equal(found.interacted, state.interacted)
    assert np.array_equal(np.sort(found.shown, axis=1), np.sort(state.shown_item, axis=1))
    assert np.array_equal(found.shown_count, state.shown_count)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_moments_hold_what_came_before_and_nothing_else(world: World, log: InteractionLog, data: st.DataObject) -> None:
    """A moment's history is that of the log cut at its time, with the user's own profile, whatever stands beside it."""
    context, _, _ = everything(world, log)
    users = world.population.observed
    count = data.draw(st.integers(1, 5))
    user = np.array(data.draw(st.lists(st.integers(0, world.users - 1), min_size=count, max_size=count)))
    time = np.array(data.draw(st.lists(st.integers(0, 20 * DAY_SECONDS), min_size=count, max_size=count)))
    found = requests_at(log, users, world.catalog.items, context, user, time)
    assert np.array_equal(found.row, np.arange(count))
    assert np.array_equal(found.day, np.minimum(time // DAY_SECONDS, context.days - 1))
    for n in range(count):
        before = (log.user == user[n]) & (log.time < time[n])
        items = log.item[before]
        assert found.history.count[n] == len(items)
        kept = found.history.item[n][found.history.item[n] >= 0]
        assert set(kept) == set(items[-64:])
        bits = np.unpackbits(found.history.interacted[n].view(np.uint8), bitorder="little")
        assert set(np.flatnonzero(bits)) == set(items)
        for field in ("city", "gender", "age_band", "household"):
            assert getattr(found.users, field)[n] == getattr(users, field)[user[n]]


def test_ledger_of_sales_has_no_impressions_to_replay(world: World, log: InteractionLog) -> None:
    """Without impressions nothing was shown in vain; interactions are the same."""
    context, users, time = everything(world, log)
    observed, items = world.population.observed, world.catalog.items
    whole = requests_at(log, observed, items, context, users, time).history
    sales = requests_at(replace(log, impressions=None), observed, items, context, users, time).history
    assert (sales.shown_count == 0).all()
    assert whole.shown_count.any()
    assert np.array_equal(whole.item, sales.item)
