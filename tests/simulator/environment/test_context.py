from dataclasses import fields
from datetime import date
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from simulator.environment.calendar import NEVER
from simulator.environment.context import (
    Environment,
    ObservedContext,
    build_environment,
    season_of_month,
)
from simulator.environment.trends import PERCEPTIBLE
from simulator.taxonomy import OCCASIONS, SEASONS, WEATHER_SIGNALS

START = date(2015, 9, 1)
TOPICS: Any = SimpleNamespace(
    topics=tuple(
        SimpleNamespace(key=f"t{i}", name=f"topic {i}", kind="recurring" if i % 2 else "new") for i in range(20)
    )
)


def world(days: int = 100, seed: int = 3, country: str = "US", **options: bool) -> Environment:
    """A small environment of two cities."""
    return build_environment(("seattle", "new_york"), country, START, days, seed, TOPICS, **options)


def arrays(context: ObservedContext) -> dict[str, np.ndarray]:
    """Every array of an observed context."""
    return {
        field.name: getattr(context, field.name)
        for field in fields(context)
        if isinstance(getattr(context, field.name), np.ndarray)
    }


def sketch(**changes: Any) -> ObservedContext:
    """A single day of one city, written by hand."""
    one_day: dict[str, Any] = {
        "start": START,
        "cities": ("seattle",),
        "occasions": ("mid_autumn", "halloween"),
        "occasion_titles": ("Mid-Autumn Festival", "Halloween"),
        "topics": ("capybara", "matcha", "yoyo"),
        "topic_names": ("capybara", "matcha", "yo-yo"),
        "temp_max": np.array([[11.2]]),
        "temp_min": np.array([[7.0]]),
        "precipitation": np.array([[2.0]]),
        "wind": np.array([[3.0]]),
        "condition": np.array([[3]], dtype=np.int8),
        "weather_signals": np.zeros((1, 1, len(WEATHER_SIGNALS))),
        "occasion_level": np.zeros((1, 2)),
        "days_until": np.array([[6, NEVER]], dtype=np.int32),
        "lead_days": np.array([14, 28], dtype=np.int32),
        "public_holiday": np.array([False]),
        "weekday": np.array([0], dtype=np.int8),
        "season": np.array([2], dtype=np.int8),
        "trend_level": np.array([[0.8, 0.5, PERCEPTIBLE]]),
    }
    return ObservedContext(**(one_day | changes))


def test_a_day_in_words() -> None:
    """A day reads as weather; occasions near, nearest first; perceptible topics, strongest first."""
    assert (
        sketch().describe(0, 0) == "cool, light rain, 11 C; Mid-Autumn Festival in 6 days; trending: capybara, matcha"
    )
    busy = sketch(
        wind=np.array([[9.0]]),
        precipitation=np.array([[30.0]]),
        days_until=np.array([[1, 0]], dtype=np.int32),
        trend_level=np.zeros((1, 3)),
    )
    assert busy.describe(0, 0) == "cool, heavy rain, windy, 11 C; Halloween now, Mid-Autumn Festival tomorrow"
    outside_lead = sketch(days_until=np.array([[15, 29]], dtype=np.int32), trend_level=np.zeros((1, 3)))
    assert outside_lead.describe(0, 0) == "cool, light rain, 11 C"


def test_shapes_and_dates() -> None:
    """Every observed array has its documented shape, is read-only, and the words match the axes."""
    environment = world()
    context = environment.observed()
    by_city, by_day = (2, 100), (100,)
    expected = {
        "temp_max": by_city,
        "temp_min": by_city,
        "precipitation": by_city,
        "wind": by_city,
        "condition": by_city,
        "weather_signals": (*by_city, len(WEATHER_SIGNALS)),
        "occasion_level": (100, len(OCCASIONS)),
        "days_until": (100, len(OCCASIONS)),
        "lead_days": (len(OCCASIONS),),
        "public_holiday": by_day,
        "weekday": by_day,
        "season": by_day,
        "trend_level": (100, 20),
    }
    assert {name: values.shape for name, values in arrays(context).items()} == expected
    assert not any(values.flags.writeable for values in arrays(context).values())
    assert len(context.occasion_titles) == len(OCCASIONS)
    assert context.topic_names[4] == "topic 4"
    assert environment.date_of(30) == date(2015, 10, 1)
    assert SEASONS[environment.season_of(0)] == "autumn"
    assert [SEASONS[season_of_month(month)] for month in (2, 3, 6, 12)] == [
        "winter",
        "spring",
        "summer",
        "winter",
    ]
    assert environment.describe(1, 7) == context.describe(1, 7)


def test_until_holds_nothing_of_the_future() -> None:
    """A context cut at a day equals that of a world which ended on that day."""
    cut = world(days=100).observed().until(40)
    short = world(days=41).observed()
    assert cut.days == 41
    for name, values in arrays(cut).items():
        assert np.array_equal(values, arrays(short)[name]), name
        assert not values.flags.writeable
    with pytest.raises(ValueError, match=r"day: 41 \(must be 0\.\.40\)"):
        cut.describe(0, 41)


def test_words_say_only_what_is_there() -> None:
    """Descriptions name the perceptible topics and the occasions within their lead-up, and no others."""
    context = world().observed()
    for day in range(0, 100, 7):
        text = context.describe(0, day)
        named = set(text.split("trending: ")[1].split(", ")) if "trending" in text else set()
        assert named == {f"topic {i}" for i in np.flatnonzero(context.trend_level[day] > PERCEPTIBLE)}
        near = context.days_until[day] <= context.lead_days
        assert [title in text for title in context.occasion_titles] == near.tolist()


def test_a_world_without_climate() -> None:
    """Without weather any place name is accepted, no signal is felt, and the words leave the weather out."""
    environment = build_environment(("Leeds",), "GB", date(2010, 12, 1), 30, 1, TOPICS, with_weather=False)
    context = environment.observed()
    assert not context.weather_signals.any()
    assert " C" not in context.describe(0, 20).split(";")[0]
    assert "Christmas in 4 days" in context.describe(0, 20)


def test_the_seed_moves_weather_and_trends_but_not_the_calendar() -> None:
    """Two seeds share the calendar and nothing random; one seed gives the same bytes twice."""
    first, again, other = world(seed=1).observed(), world(seed=1).observed(), world(seed=2).observed()
    assert all(np.array_equal(a, b) for a, b in zip(arrays(first).values(), arrays(again).values(), strict=True))
    assert not np.array_equal(first.temp_max, other.temp_max)
    assert not np.array_equal(first.trend_level, other.trend_level)
    assert np.array_equal(first.occasion_level, other.occasion_level)


def test_bad_requests_are_refused() -> None:
    """Unknown cities, no cities, unknown countries and days outside raise a telling error."""
    with pytest.raises(ValueError, match=r"cities: atlantis \(no climate; known are new_york, seattle\)"):
        build_environment(("atlantis",), "US", START, 3, 0, TOPICS)
    with pytest.raises(ValueError, match="name at least one"):
        build_environment((), "US", START, 3, 0, TOPICS)
    with pytest.raises(ValueError, match="ISO 3166"):
        world(country="XX")
    with pytest.raises(ValueError, match=r"city_index: 2 \(must be 0\.\.1\)"):
        world(days=3).describe(2, 0)
    with pytest.raises(ValueError, match=r"day: -1 \(must be 0\.\.2\)"):
        world(days=3).observed().until(-1)


def test_the_parts_of_a_day_in_words() -> None:
    """Weather, season, occasions and trends can be had one by one, without labels, and make up the whole."""
    day = sketch()
    assert day.weather_words(0, 0) == "cool, light rain, 11 C"
    assert day.season_words(0) == "autumn"
    assert day.occasion_words(0) == "Mid-Autumn Festival in 6 days"
    assert day.trend_words(0) == "capybara, matcha"
    dull = sketch(trend_level=np.zeros((1, 3)), days_until=np.full((1, 2), NEVER), condition=np.array([[-1]], np.int8))
    assert (dull.weather_words(0, 0), dull.occasion_words(0), dull.trend_words(0)) == ("", "", "")
    context = world().observed()
    for city, at in ((0, 3), (1, 70)):
        trends = context.trend_words(at)
        parts = (context.weather_words(city, at), context.occasion_words(at), trends and f"trending: {trends}")
        assert context.describe(city, at) == "; ".join(filter(None, parts))
    for words in (context.season_words, context.occasion_words, context.trend_words):
        with pytest.raises(ValueError, match="day: 100"):
            words(100)
    with pytest.raises(ValueError, match="day: 100"):
        context.weather_words(0, 100)
    with pytest.raises(ValueError, match="city_index: 2"):
        context.weather_words(2, 0)


@pytest.mark.parametrize("until", [0, 1, 60, 100])
def test_the_unseen_stays_away_until_its_day(until: int) -> None:
    """Before the day nothing of the unseen acts or can be observed; from then on, and elsewhere, all is as it was."""
    whole = world()
    topic = whole.trends.topics[int(whole.trends.level[:60].max(axis=0).argmax())]
    cut = whole.without(("halloween", topic), until)
    before, after = whole.observed(), cut.observed()
    o, t = whole.calendar.occasions.index("halloween"), whole.trends.topics.index(topic)
    assert before.occasion_level[:, o].any()
    assert before.trend_level[:60, t].any()
    assert not after.occasion_level[:until, o].any()
    assert not after.trend_level[:until, t].any()
    assert (after.days_until[:until, o] == NEVER).all()
    hidden = {"occasion_level": o, "days_until": o, "trend_level": t}
    for name, values in arrays(before).items():
        found = arrays(after)[name]
        assert not found.flags.writeable
        if name in hidden:
            assert np.array_equal(found[until:], values[until:]), name
            assert np.array_equal(np.delete(found, hidden[name], 1), np.delete(values, hidden[name], 1)), name
        else:
            assert np.array_equal(found, values, equal_nan=True), name
    assert np.array_equal(cut.calendar.traffic, whole.calendar.traffic)
    name = whole.topic_names[t]
    for day in range(until):
        assert "Halloween" not in cut.describe(0, day)
        assert name not in after.trend_words(day).split(", ")


def test_only_what_exists_can_be_unseen() -> None:
    """An unknown key is an error that names it."""
    with pytest.raises(ValueError, match="unseen: helloween"):
        world(days=3).without(("christmas", "helloween"), 2)
