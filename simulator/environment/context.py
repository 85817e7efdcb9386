"""The environment: weather, calendar and trends of one world, and the part of them that anyone can observe.

``Environment`` is what the world plays out. ``ObservedContext`` is its observable side: what a forecast-less
observer of a city could write down on a day, in numbers and in words. Nothing here knows users or items.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from simulator.environment.calendar import NEVER, Calendar, build_calendar
from simulator.environment.trends import PERCEPTIBLE, Trends, simulate_trends
from simulator.environment.weather import (
    CONDITIONS,
    UNKNOWN_CONDITION,
    Climate,
    Weather,
    cities_of,
    load_climates,
    no_weather,
    simulate_weather,
)
from simulator.taxonomy import SEASONS, Taxonomy

Floats = npt.NDArray[np.float64]

_WARMTH: Final = (
    (0.0, "freezing"),
    (8.0, "cold"),
    (16.0, "cool"),
    (22.0, "mild"),
    (28.0, "warm"),
    (np.inf, "hot"),
)
_SKY: Final = {"sun": "sunny", "cloud": "cloudy", "drizzle": "drizzle", "rain": "rain", "snow": "snow"}
_LIGHT_MM: Final = 5.0
_HEAVY_MM: Final = 20.0
_WINDY_MS: Final = 7.0


def season_of_month(month: int) -> int:
    """Index into ``taxonomy.SEASONS`` of a month (1-12): northern meteorological seasons."""
    return (month - 3) % 12 // 3


@dataclass(frozen=True)
class ObservedContext:
    """What can be seen of the environment; read-only arrays indexed by city and day of the horizon.

    A policy serving a request of (city, day) may read weather and trends of that day and earlier ones. Later
    rows of ``weather_signals``, ``trend_level`` and the readings are the future and are not to be read: hand
    training code ``until(day)``. The calendar is public knowledge on any day.

    Attributes:
        start: date of day 0.
        cities: the cities' keys.
        occasions: keys of the occasions.
        occasion_titles: the occasions in words.
        topics: keys of the topics.
        topic_names: the topics in words.
        temp_max: C, [cities, days]; NaN where the world has no weather.
        temp_min: C, [cities, days].
        precipitation: mm, [cities, days].
        wind: m/s, [cities, days].
        condition: index into ``weather.CONDITIONS`` or ``UNKNOWN_CONDITION``, [cities, days].
        weather_signals: strengths in the order of ``WEATHER_SIGNALS``, 0 to 1, [cities, days, signals].
        occasion_level: 0 to 1, [days, occasions].
        days_until: days to the next start, ``calendar.NEVER`` if none is near, [days, occasions].
        lead_days: length of each occasion's lead-up, days, [occasions].
        public_holiday: [days].
        weekday: Monday 0, [days].
        season: index into ``taxonomy.SEASONS``, [days].
        trend_level: 0 to 1, [days, topics].
    """

    start: date
    cities: tuple[str, ...]
    occasions: tuple[str, ...]
    occasion_titles: tuple[str, ...]
    topics: tuple[str, ...]
    topic_names: tuple[str, ...]
    temp_max: Floats
    temp_min: Floats
    precipitation: Floats
    wind: Floats
    condition: npt.NDArray[np.int8]
    weather_signals: Floats
    occasion_level: Floats
    days_until: npt.NDArray[np.int32]
    lead_days: npt.NDArray[np.int32]
    public_holiday: npt.NDArray[np.bool_]
    weekday: npt.NDArray[np.int8]
    season: npt.NDArray[np.int8]
    trend_level: Floats

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                value.setflags(write=False)

    @property
    def days(self) -> int:
        """Number of days that can be read."""
        return int(self.weekday.size)

    def until(self, day: int) -> "ObservedContext":
        """The same context without anything after ``day``.

        Raises:
            ValueError: if the day lies outside the horizon.
        """
        self._check_day(day)
        end = day + 1
        return replace(
            self,
            temp_max=self.temp_max[:, :end],
            temp_min=self.temp_min[:, :end],
            precipitation=self.precipitation[:, :end],
            wind=self.wind[:, :end],
            condition=self.condition[:, :end],
            weather_signals=self.weather_signals[:, :end],
            occasion_level=self.occasion_level[:end],
            days_until=self.days_until[:end],
            public_holiday=self.public_holiday[:end],
            weekday=self.weekday[:end],
            season=self.season[:end],
            trend_level=self.trend_level[:end],
        )

    def describe(self, city_index: int, day: int) -> str:
        """The day in words: ``cool, light rain, 11 C; Mid-Autumn Festival in 6 days; trending: matcha``.

        The parts are today's weather (the figure is the maximum), occasions within their lead-up nearest
        first, and topics of a level above ``PERCEPTIBLE``, strongest first; parts with nothing to say are
        left out.

        Raises:
            ValueError: if the city or the day lies outside.
        """
        trends = self.trend_words(day)
        parts = (
            self.weather_words(city_index, day),
            self.occasion_words(day),
            f"trending: {trends}" if trends else "",
        )
        return "; ".join(part for part in parts if part)

    def weather_words(self, city: int, day: int) -> str:
        """Today's weather, ``cool, light rain, 11 C`` (the figure is the maximum); empty where it is not known.

        Raises:
            ValueError: if the city or the day lies outside.
        """
        self._check_day(day)
        if not 0 <= city < len(self.cities):
            raise ValueError(f"city_index: {city} (must be 0..{len(self.cities) - 1})")
        if self.condition[city, day] == UNKNOWN_CONDITION:
            return ""
        warmest, rain = float(self.temp_max[city, day]), float(self.precipitation[city, day])
        sky = _SKY[CONDITIONS[self.condition[city, day]]]
        if sky in ("rain", "snow"):
            sky = f"light {sky}" if rain < _LIGHT_MM else f"heavy {sky}" if rain >= _HEAVY_MM else sky
        words = [next(word for below, word in _WARMTH if warmest < below), sky]
        if self.wind[city, day] >= _WINDY_MS:
            words.append("windy")
        return ", ".join([*words, f"{round(warmest)} C"])

    def season_words(self, day: int) -> str:
        """The season's name.

        Raises:
            ValueError: if the day lies outside.
        """
        self._check_day(day)
        return SEASONS[self.season[day]]

    def occasion_words(self, day: int) -> str:
        """Occasions within their lead-up, nearest first: ``Halloween in 6 days, Diwali in 17 days``.

        Raises:
            ValueError: if the day lies outside.
        """
        self._check_day(day)
        near = np.flatnonzero(self.days_until[day] <= self.lead_days)
        nearest_first = near[np.argsort(self.days_until[day, near], kind="stable")]
        return ", ".join(
            f"{self.occasion_titles[index]} {_when(int(self.days_until[day, index]))}" for index in nearest_first
        )

    def trend_words(self, day: int) -> str:
        """Topics of a level above ``PERCEPTIBLE``, strongest first: ``capybara, matcha``.

        Raises:
            ValueError: if the day lies outside.
        """
        self._check_day(day)
        alive = np.flatnonzero(self.trend_level[day] > PERCEPTIBLE)
        strongest_first = alive[np.argsort(-self.trend_level[day, alive], kind="stable")]
        return ", ".join(self.topic_names[index] for index in strongest_first)

    def _check_day(self, day: int) -> None:
        if not 0 <= day < self.days:
            raise ValueError(f"day: {day} (must be 0..{self.days - 1})")


@dataclass(frozen=True)
class Environment:
    """The contextual side of a world.

    Attributes:
        cities: keys of the cities, the first axis of the weather.
        country: ISO 3166 two-letter code of all cities.
        start: date of day 0.
        days: length of the horizon.
        weather: [cities, days] readings and signals.
        calendar: occasions and holidays by day.
        trends: topics by day.
        topic_names: the topics of ``trends`` in words.
    """

    cities: tuple[str, ...]
    country: str
    start: date
    days: int
    weather: Weather
    calendar: Calendar
    trends: Trends
    topic_names: tuple[str, ...]

    def date_of(self, day: int) -> date:
        """The date of a day of the horizon (day 0 is ``start``)."""
        return self.start + timedelta(days=day)

    def season_of(self, day: int) -> int:
        """Index into ``taxonomy.SEASONS`` of a day: northern meteorological seasons, in every country."""
        return season_of_month(self.date_of(day).month)

    def describe(self, city_index: int, day: int) -> str:
        """The day in words; see ``ObservedContext.describe``."""
        return self.observed().describe(city_index, day)

    def without(self, unseen: Sequence[str], until: int) -> "Environment":
        """The same environment in which some occasions and topics do not happen before a day.

        Nothing of them acts or can be observed before ``until``; from then on they are as they were. How many visits a
        day brings stays as it was.

        Args:
            unseen: keys of occasions and topics.
            until: first day of the horizon on which they may appear.

        Raises:
            ValueError: a key is of no occasion and no topic.
        """
        calendar, trends = self.calendar, self.trends
        unknown = [key for key in unseen if key not in calendar.occasions and key not in trends.topics]
        if unknown:
            raise ValueError(f"unseen: {', '.join(unknown)} (no such occasion or topic)")
        if not unseen:
            return self
        occasion = [column for column, key in enumerate(calendar.occasions) if key in unseen]
        topic = [column for column, key in enumerate(trends.topics) if key in unseen]
        level, days_until, attention = calendar.level.copy(), calendar.days_until.copy(), trends.level.copy()
        level[:until, occasion] = 0.0
        days_until[:until, occasion] = NEVER
        attention[:until, topic] = 0.0
        return replace(
            self,
            calendar=replace(calendar, level=level, days_until=days_until),
            trends=replace(trends, level=attention),
        )

    def observed(self) -> ObservedContext:
        """The observable side (no birth of a trend, no traffic)."""
        return ObservedContext(
            start=self.start,
            cities=self.cities,
            occasions=self.calendar.occasions,
            occasion_titles=self.calendar.titles,
            topics=self.trends.topics,
            topic_names=self.topic_names,
            temp_max=self.weather.temp_max,
            temp_min=self.weather.temp_min,
            precipitation=self.weather.precipitation,
            wind=self.weather.wind,
            condition=self.weather.condition,
            weather_signals=self.weather.signals,
            occasion_level=self.calendar.level,
            days_until=self.calendar.days_until,
            lead_days=self.calendar.lead_days,
            public_holiday=self.calendar.public_holiday,
            weekday=self.calendar.weekday,
            season=np.array([self.season_of(day) for day in range(self.days)], dtype=np.int8),
            trend_level=self.trends.level,
        )


def build_environment(
    cities: Sequence[str],
    country: str,
    start: date,
    days: int,
    seed: int,
    taxonomy: Taxonomy,
    *,
    with_weather: bool = True,
    climates: Mapping[str, Climate] | None = None,
    cities_per_climate: int = 1,
) -> Environment:
    """The environment of a world.

    Args:
        cities: keys of ``climates.yaml`` or of ``climates``, or any names where ``with_weather`` is false.
        country: ISO 3166 two-letter code.
        start: date of day 0.
        days: length of the horizon.
        seed: the world's seed.
        taxonomy: gives the topics.
        with_weather: false for a world whose places have no fitted climate (a log): no signal, no readings.
        climates: of cities that are not shipped.
        cities_per_climate: how many cities have the climate of each key, with weather of their own.

    Raises:
        ValueError: if there is no city, a city has no climate, or the country or the horizon is refused by
            the calendar.
    """
    if not cities:
        raise ValueError("cities: none given (name at least one)")
    calendar = build_calendar(country, start, days)
    if with_weather:
        known = load_climates() | dict(climates or {})
        unknown = [city for city in cities if city not in known]
        if unknown:
            raise ValueError(f"cities: {', '.join(unknown)} (no climate; known are {', '.join(sorted(known))})")
        named = cities_of({city: known[city] for city in cities}, cities_per_climate)
        cities, weather = tuple(named), simulate_weather(list(named.values()), start, days, seed)
    else:
        weather = no_weather(len(cities), days)
    topics = taxonomy.topics
    return Environment(
        cities=tuple(cities),
        country=country,
        start=start,
        days=days,
        weather=weather,
        calendar=calendar,
        trends=simulate_trends(
            [topic.key for topic in topics], [topic.kind == "recurring" for topic in topics], days, seed
        ),
        topic_names=tuple(topic.name for topic in topics),
    )


def _when(days: int) -> str:
    """How far away, in words."""
    return "now" if days == 0 else "tomorrow" if days == 1 else f"in {days} days"
