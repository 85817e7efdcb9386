from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from policies.popularity import item_appeal
from policies.popularity_by_context import CELLS, FELT, PopularityByContext, _shares, cell_of
from policies.registry import RegisteredPolicy
from simulator.batches import InteractionLog, Requests
from simulator.environment.context import ObservedContext
from simulator.state import new_state, observed_history
from simulator.taxonomy import OCCASIONS, WEATHER_SIGNALS
from simulator.world import World

NAME = "popularity_by_context"


@pytest.fixture(scope="session")
def context(world: World) -> ObservedContext:
    """The whole horizon, which ends with Halloween behind it and Thanksgiving ahead."""
    return world.environment.observed()


def test_days_are_named_by_what_is_strongest_and_nearest(context: ObservedContext) -> None:
    """Weather is the strongest signal if it is felt, the occasion the nearest within its lead-up, if there is one."""
    days = np.arange(context.days)
    for city in (0, 1):
        cells = cell_of(context, np.full(len(days), city), days)
        for day, (season, weather, occasion) in enumerate(cells.tolist()):
            assert season == context.season[day]
            signals = context.weather_signals[city, day]
            assert weather == (int(signals.argmax()) if signals.max() >= FELT else len(WEATHER_SIGNALS))
            ahead = {o: int(d) for o, d in enumerate(context.days_until[day]) if d <= context.lead_days[o]}
            assert occasion == (min(ahead, key=lambda o: (ahead[o], o)) if ahead else len(OCCASIONS))
    assert len(np.unique(cells[:, 2])) > 1


def test_unknown_cities_have_plain_weather(context: ObservedContext) -> None:
    """Where nobody knows the city, no other city's weather is taken for it."""
    cells = cell_of(context, np.full(context.days, -1), np.arange(context.days))
    assert (cells[:, 1] == len(WEATHER_SIGNALS)).all()


def test_shares_are_shrunken_to_the_wider_context() -> None:
    """A context without clicks has the shares of the next wider one that has some; with many it has its own."""
    clicks = np.zeros((*CELLS, 3))
    clicks[0, 0, 0] = [300, 0, 0]
    clicks[0, 0, 1] = [0, 300_000, 0]
    clicks[1, 2, 3] = [0, 0, 50]
    share = _shares(clicks, prior=100.0)
    assert share.sum(axis=-1) == pytest.approx(np.ones(CELLS))
    assert share[0, 0, 1] == pytest.approx([0, 1, 0], abs=1e-3)
    assert share[0, 0, 0] == pytest.approx((np.array([300, 0, 0]) + 100 * share[0, 0, 9]) / 400)
    assert np.array_equal(share[0, 0, 9], share[0, 0, 8])  # neither occasion was ever near in this weather
    assert np.array_equal(share[2, 0, 0], share[3, 5, 7])  # seasons that the log does not hold
    assert share[2, 0, 0] == pytest.approx((clicks.sum(axis=(0, 1, 2)) + 1) / (clicks.sum() + 3))
    assert share[1, 2, 3, 2] > share[1, 2, 4, 2] > share[2, 0, 0, 2]


def test_categories_come_in_the_order_of_their_shares(
    fit: Callable[..., RegisteredPolicy], ask: Callable[..., Requests], world: World, log: InteractionLog
) -> None:
    """To strangers, an item's score is its category's share over its place in the category by appeal."""
    fresh = observed_history(new_state(world.users, world.catalog.items, 0.5))
    policy = fit(NAME)
    assert isinstance(policy, PopularityByContext)
    requests = ask(np.arange(40), history=fresh)
    found = policy.candidates(requests)
    category = world.catalog.observed.category
    appeal = item_appeal(log, world.catalog.items, 5.0)
    ahead = (category[:, None] == category) & (appeal > appeal[:, None])
    within = 1.0 / (1 + ahead.sum(axis=1))
    cells = cell_of(requests.context, requests.city, requests.day)
    for n in range(40):
        share = policy._share[tuple(cells[n])]
        score = share[category] * within
        best = np.sort(score)[::-1][: found.items.shape[1]]
        assert score[found.items[n]] == pytest.approx(best)
        assert found.scores[n] == pytest.approx(np.log(best))
        order = list(dict.fromkeys(category[found.items[n]].tolist()))
        sold = np.unique(category)
        assert share[order] == pytest.approx(np.sort(share[sold])[::-1][: len(order)])


def test_cities_of_other_weather_get_other_rankings(
    fit: Callable[..., RegisteredPolicy], ask: Callable[..., Requests], world: World, context: ObservedContext
) -> None:
    """Users of one city and day get one ranking; a day whose weather or occasions differ gives another."""
    fresh = observed_history(new_state(world.users, world.catalog.items, 0.5))
    policy = fit(NAME, prior_clicks=1.0)
    rankings = {}
    for day in range(16, 20):
        requests = ask(np.arange(60), day=day, history=fresh)
        found = policy.candidates(requests)
        for n, cell in enumerate(map(tuple, cell_of(requests.context, requests.city, requests.day).tolist())):
            known = rankings.setdefault(cell, found.items[n])
            assert np.array_equal(known, found.items[n])
    seen = list(rankings.values())
    assert len(seen) > 1
    assert any(not np.array_equal(seen[0], other) for other in seen[1:])


def test_it_knows_nobody(fit: Callable[..., RegisteredPolicy], ask: Callable[..., Requests], world: World) -> None:
    """What a user did or was shown changes nothing; the city does."""
    policy, requests = fit(NAME, pool=12), ask(np.arange(30))
    fresh = observed_history(new_state(world.users, world.catalog.items, 0.5))
    found = policy.candidates(requests)
    assert np.array_equal(found.items, policy.candidates(replace(requests, history=fresh)).items)
    assert (found.items[:, :12] >= 0).all()
    assert (found.items[:, 12:] == -1).all()


def test_ledger_is_enough(
    fit: Callable[..., RegisteredPolicy], ask: Callable[..., Requests], sales_log: InteractionLog
) -> None:
    """Categories are counted by interactions, so a log without impressions tells the same of them; no log will do."""
    requests = ask(np.arange(20))
    whole, ledger = fit(NAME), fit(NAME, log=sales_log)
    assert isinstance(whole, PopularityByContext)
    assert isinstance(ledger, PopularityByContext)
    assert np.array_equal(whole._share, ledger._share)
    for log in (sales_log, sales_log.before(0)):
        assert (fit(NAME, log=log).candidates(requests).items >= 0).all()
