from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocation.segments import CONTEXTS, ROUGH, TIER_BOUNDS, TIERS, Segments
from simulator.taxonomy import WEATHER_SIGNALS


def context(weather: list[list[float]], signal: str = "rain") -> Any:
    """Levels of one weather signal by city and day; the others are 0."""
    levels = np.zeros((*np.shape(weather), len(WEATHER_SIGNALS)))
    levels[:, :, WEATHER_SIGNALS.index(signal)] = weather
    return SimpleNamespace(weather_signals=levels)


def asked(count: list[int], city: list[int], today: Any) -> Any:
    """Requests of users who made so many interactions."""
    history = SimpleNamespace(count=np.array(count))
    rows = np.arange(len(count))
    return SimpleNamespace(row=rows, city=np.array(city), history=history, context=today)


def ordinary(cities: int) -> Any:
    """A day on which nothing is special, for some cities."""
    return context([[0.0]] * cities)


@settings(deadline=None)
@given(st.integers(1, 5), st.lists(st.tuples(st.integers(0, 500), st.integers(0, 4), st.booleans()), min_size=1))
def test_every_request_is_in_exactly_one_segment(cities: int, users: list[tuple[int, int, bool]]) -> None:
    """Tier, city and context make the segment, each combination one of its own, and there is a name for each."""
    segments = Segments(tuple(f"city_{n}" for n in range(cities)))
    assert segments.count == len(segments.names) == len(set(segments.names)) == 6 * cities
    count, city = [each[0] for each in users], [each[1] % cities for each in users]
    found = []
    for special in (False, True):
        today = context([[float(special)]] * cities)
        found.append(segments.of(asked(count, city, today)))
        assert found[-1].shape == (len(users),)
        assert ((found[-1] >= 0) & (found[-1] < segments.count)).all()
        for segment, made, place in zip(found[-1], count, city, strict=True):
            tier = TIERS[sum(made >= bound for bound in TIER_BOUNDS)]
            assert segments.names[segment] == f"{tier} users, City {place}, {CONTEXTS[special]}"
    assert not set(found[0]) & set(found[1])


def test_all_segments_are_reached() -> None:
    """No segment is empty by construction."""
    segments = Segments(("seattle", "new_york"))
    counts, cities = np.repeat([0, *TIER_BOUNDS], 2).tolist(), [0, 1] * 3
    days = [ordinary(2), context([[1.0], [1.0]])]
    reached = np.concatenate([segments.of(asked(counts, cities, day)) for day in days])
    assert sorted(reached.tolist()) == list(range(segments.count))
    assert segments.names[2] == "light users, New York, fair weather"


@pytest.mark.parametrize("bound", TIER_BOUNDS)
def test_bounds_belong_to_the_tier_above(bound: int) -> None:
    """At a bound of interactions the next tier begins."""
    below, at = Segments(("seattle",)).of(asked([bound - 1, bound], [0, 0], ordinary(1)))
    assert at == below + len(CONTEXTS)


@pytest.mark.parametrize("signal", WEATHER_SIGNALS)
def test_weather_is_rough_where_it_is(signal: str) -> None:
    """Any signal but the sun's makes a city's own day rough from the bound on; unknown weather is fair."""
    segments = Segments(("a", "b", "c"))
    found = segments.rough_weather(context([[ROUGH], [ROUGH - 0.01], [np.nan]], signal))
    assert found.tolist() == [signal != "sun", False, False]


def test_segment_is_that_of_today() -> None:
    """Of all the days that can be read only the last counts."""
    for weather, rough in (([[1.0, 0.0]], 0), ([[0.0, 1.0]], 1)):
        assert Segments(("a",)).of(asked([0], [0], context(weather))).tolist() == [rough]
