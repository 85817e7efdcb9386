"""Days for questions to be about: calendars of ``YEAR`` in several countries, and weather drawn out of thin air.

None of them is a day of an experiment. Knows calendars and weather; does not know what is asked.
"""

from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from typing import Final

import numpy as np

from policies.training.facts import titles_in_order
from simulator.batches import Floats
from simulator.environment.calendar import build_calendar
from simulator.environment.context import ObservedContext, season_of_month
from simulator.environment.weather import WET_MM, conditions, no_weather, weather_signals
from simulator.streams import Stream

YEAR: Final = 2008
"""Whose calendars are read."""
COUNTRIES: Final = ("US", "GB", "CN", "IN", "IL", "BR", "KR")
"""Whose calendars are read: together they keep every occasion."""
WEATHER_DAYS: Final = 1024
"""Days of weather that are drawn."""

_NEAR: Final = 0.2


@dataclass(frozen=True)
class Days:
    """Days of calendars.

    Attributes:
        words: what lies ahead, as contexts tell it, by day.
        season: index into ``SEASONS``, by day.
        near: by day, the usual titles of occasions within their lead-up with how present they are, ``_NEAR`` at least.
        ahead: by usual title, the days on which it lies ahead, of countries that keep it.
    """

    words: tuple[str, ...]
    season: tuple[int, ...]
    near: tuple[dict[str, float], ...]
    ahead: dict[str, tuple[int, ...]]


@cache
def calendar_days() -> Days:
    """Every day of ``YEAR`` in each of ``COUNTRIES``."""
    words: list[str] = []
    season: list[int] = []
    near: list[dict[str, float]] = []
    ahead: dict[str, list[int]] = {}
    for country in COUNTRIES:
        context = _calendar_context(country)
        titles = titles_in_order(context.occasions)
        kept = context.occasion_level.max(axis=0) >= 0.5
        for day in range(context.days):
            there = np.flatnonzero(context.days_until[day] <= context.lead_days).tolist()
            for occasion in there:
                ahead.setdefault(titles[occasion], [])
                if kept[occasion]:
                    ahead[titles[occasion]].append(len(words))
            words.append(context.describe(0, day))
            season.append(int(context.season[day]))
            near.append({titles[o]: max(float(context.occasion_level[day, o]), _NEAR) for o in there})
    return Days(tuple(words), tuple(season), tuple(near), {title: tuple(rows) for title, rows in ahead.items()})


def _calendar_context(country: str) -> ObservedContext:
    """A year of a country in which nobody knows of weather or trends."""
    start = date(YEAR, 1, 1)
    calendar = build_calendar(country, start, 366)
    weather, days = no_weather(1, 366), np.arange(366)
    month = (np.datetime64(start, "D") + days).astype("datetime64[M]").astype(np.int64) % 12 + 1
    return ObservedContext(
        start=start,
        cities=("anywhere",),
        occasions=calendar.occasions,
        occasion_titles=calendar.titles,
        topics=(),
        topic_names=(),
        temp_max=weather.temp_max,
        temp_min=weather.temp_min,
        precipitation=weather.precipitation,
        wind=weather.wind,
        condition=weather.condition,
        weather_signals=weather.signals,
        occasion_level=calendar.level,
        days_until=calendar.days_until,
        lead_days=calendar.lead_days,
        public_holiday=calendar.public_holiday,
        weekday=calendar.weekday,
        season=np.array([season_of_month(int(m)) for m in month], np.int8),
        trend_level=np.zeros((366, 0)),
    )


@cache
def weathers(seed: int) -> tuple[tuple[str, ...], Floats]:
    """Days of weather out of thin air: as contexts tell them, and how strongly each signal is felt [days, signals]."""
    stream, day = Stream(seed, "knowledge.weather"), np.arange(WEATHER_DAYS)
    high = np.round(-10.0 + 48.0 * stream.uniform(day, 0), 1)
    low = np.round(high - 3.0 - 13.0 * stream.uniform(day, 1), 1)
    wet = stream.uniform(day, 2) < 0.5
    rain = np.round(wet * (WET_MM + 7.0 * stream.exponential(day, 3)), 1)
    wind = np.round(np.exp(np.log(3.8) + 0.5 * stream.normal(day, 4)), 1)
    signals = weather_signals(rain, high, low, wind)
    calendar = _calendar_context(COUNTRIES[0])
    words = []
    blank = replace(
        calendar.until(0),
        occasions=(),
        occasion_titles=(),
        occasion_level=np.zeros((1, 0)),
        days_until=np.zeros((1, 0), np.int32),
        lead_days=np.zeros(0, np.int32),
    )
    condition = conditions(rain, high, low)
    for number in range(WEATHER_DAYS):
        cell = np.s_[number : number + 1]
        context = replace(
            blank,
            temp_max=high[None, cell],
            temp_min=low[None, cell],
            precipitation=rain[None, cell],
            wind=wind[None, cell],
            condition=condition[None, cell],
            weather_signals=signals[None, cell],
        )
        words.append(context.describe(0, 0))
    return tuple(words), signals
