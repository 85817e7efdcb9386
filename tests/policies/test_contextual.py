from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from policies.contextual import SIGNALS, ContextLifts, context_levels, where_and_when
from policies.examples import draw_examples
from policies.registry import RegisteredPolicy
from simulator.batches import InteractionLog, Requests
from simulator.environment.context import ObservedContext
from simulator.world import World

CITIES, DAYS, CATEGORIES = 2, 60, 12


@pytest.fixture(scope="module")
def weather() -> ObservedContext:
    """Two cities with one weather signal, one occasion and one trend, each present now and then."""
    rng = np.random.default_rng(1)
    signals = (rng.random((CITIES, DAYS, 1)) < 0.3).astype(float)
    occasion = (np.arange(DAYS) % 20 < 4).astype(float)[:, None]
    trend = np.clip((np.arange(DAYS) - 40) / 10, 0, 1)[:, None]
    return SimpleNamespace(weather_signals=signals, occasion_level=occasion, trend_level=trend)  # type: ignore[return-value]


def counted(weather: ObservedContext) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Category, click, city and day of impressions: 1 gains in weather, 2 on the occasion, 3 with the trend."""
    rng = np.random.default_rng(2)
    n = 400_000
    category = rng.integers(0, CATEGORIES, n).astype(np.int32)
    city, day = rng.integers(0, CITIES, n), rng.integers(0, DAYS, n)
    gain = np.ones(n)
    gain += (category == 1) * weather.weather_signals[city, day, 0]
    gain += (category == 2) * weather.occasion_level[day, 0]
    gain += (category == 3) * weather.trend_level[day, 0]
    return category, rng.random(n) < 0.1 * gain, city, day


@pytest.mark.parametrize("first", [0, 15])
def test_each_kind_of_context_lifts_its_own_category(first: int, weather: ObservedContext) -> None:
    """What weather, an occasion and a trend do is found in the part of each, whichever day the log begins on."""
    category, clicked, city, day = counted(weather)
    logged = day >= first
    lifts = ContextLifts(category[logged], clicked[logged], city[logged], day[logged], weather, CATEGORIES, prior=20.0)
    dry_then_wet = [int(np.flatnonzero(weather.weather_signals[1, :, 0] == wet)[0]) for wet in (0, 1)]
    found = lifts.of(weather, np.array([1, 1]), np.array(dry_then_wet))
    assert found.shape == (2, CATEGORIES, len(SIGNALS))
    assert not found[0, :, 0].any()
    assert found[1, :, 0].argmax() == 1
    assert found[1, 1, 0] > 0.3
    late = lifts.of(weather, np.array([0, 0]), np.array([43, 59]))
    assert late[0, :, 1].argmax() == 2
    assert late[1, :, 2].argmax() == 3
    assert late[1, 3, 2] > late[0, 3, 2] > 0
    others = np.delete(late, [1, 2, 3], axis=1)
    assert np.abs(others).max() < 0.12


def test_lifts_of_examples_are_those_of_their_days(weather: ObservedContext) -> None:
    """Looking up examples equals looking up each (city, day) and taking the example's category."""
    category, clicked, city, day = (part[:3000] for part in counted(weather))
    lifts = ContextLifts(category, clicked, city, day, weather, CATEGORIES, prior=5.0)
    direct = lifts.of(weather, city, day)[np.arange(3000), category]
    assert np.array_equal(lifts.of_examples(city, day, category, weather), direct)


def test_no_example_is_no_lift(weather: ObservedContext) -> None:
    """A log without examples leaves every lift at 0, and can be asked about nothing."""
    nothing = np.zeros(0, np.int64)
    lifts = ContextLifts(nothing.astype(np.int32), nothing > 0, nothing, nothing, weather, CATEGORIES, prior=5.0)
    assert not lifts.of(weather, np.array([0]), np.array([3])).any()
    assert lifts.of_examples(nothing, nothing, nothing.astype(np.int32), weather).shape == (0, 3)


def test_unknown_weather_counts_as_none(weather: ObservedContext) -> None:
    """A place without readings has signals at 0, not NaN."""
    unknown = SimpleNamespace(**{**vars(weather), "weather_signals": weather.weather_signals * np.nan})
    levels = context_levels(unknown, np.array([0]), np.array([4]))  # type: ignore[arg-type]
    assert [level.tolist() for level in levels] == [[[0.0]], *(level.tolist() for level in levels[1:])]
    assert all(np.isfinite(level).all() for level in levels)


def test_visit_over_the_last_midnight_counts_for_the_last_day(log: InteractionLog, world: World) -> None:
    """City and day of an example are its user's and its visit's, and never lie after what the log covers."""
    people = world.population.observed
    examples = draw_examples(log, world.users, world.catalog.items, 10**9, 1)
    city, day = where_and_when(examples, people, log.end_day)
    assert np.array_equal(city, people.city[examples.visit_user[examples.visit]])
    assert np.array_equal(day, examples.visit_time[examples.visit] // 86_400)
    assert where_and_when(examples, people, 5)[1].max() == 4


def test_context_of_the_day_changes_the_ranking(
    fit: Callable[..., RegisteredPolicy], ask: Callable[..., Requests], world: World
) -> None:
    """Another day's context, all else equal, changes what is recommended."""
    policy = fit("contextual")
    requests = ask(np.arange(100))
    today = policy.candidates(requests)
    policy.refresh(3, world.environment.observed().until(3))
    other = policy.candidates(requests)
    assert not np.array_equal(today.items[:, :5], other.items[:, :5])


def test_ranking_reads_the_context_through_refresh_alone(
    fit: Callable[..., RegisteredPolicy], ask: Callable[..., Requests], world: World
) -> None:
    """Days after the one refreshed are not looked at: without them the answer is the same."""
    policy = fit("contextual")
    requests = ask(np.arange(50))
    found = policy.candidates(requests)
    policy.refresh(16, world.environment.observed())  # two days longer than what is known on day 16
    assert policy.candidates(requests).items.tobytes() == found.items.tobytes()
    assert policy.candidates(replace(requests, context=world.environment.observed())).items.tobytes() == (
        found.items.tobytes()
    )


def test_pool_narrower_than_a_visit_is_widened(
    fit: Callable[..., RegisteredPolicy], ask: Callable[..., Requests]
) -> None:
    """However small the re-ranked pool is set, a whole visit can be served from it."""
    found = fit("contextual", pool=1, trees=3).candidates(ask(np.arange(10), max_pages=6))
    assert (found.items >= 0).all()
