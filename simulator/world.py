"""The world put together: what is, as opposed to what is observed.

``World`` is the truth. The engine reads it to play users; policies never receive it (except those that are
declared to know the truth, and serve as ceilings of clicks).
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from simulator.batches import Floats, Ints, Ints32, ObservedCatalog
from simulator.catalog import Catalog
from simulator.environment.context import Environment
from simulator.parameters import BehaviourParameters, ContextParameters
from simulator.population import Population
from simulator.taxonomy import AGE_BANDS, Taxonomy


class Items(NamedTuple):
    """Item truth for the kernels."""

    category: Ints32
    department: Ints32
    style: Floats
    quality: Floats
    price_level: Floats
    price: Floats
    repeat: Floats


class Users(NamedTuple):
    """User truth for the kernels, by row."""

    user: Ints
    city: Ints32
    segment: Ints32
    age_band: Ints32
    interest_category: Ints32
    interest_weight: Floats
    style: Floats
    price_level: Floats
    price_sensitivity: Floats
    novelty: Floats
    patience: Floats
    visit_rate: Floats
    sensitivity: Floats
    intent_weight: Floats


class Needs(NamedTuple):
    """What the context calls for, before a user's own sensitivity.

    Attributes:
        weather: float64 [cities, days, categories]; occasion: [days, categories]; trend: [days, age bands, categories].
        season: what is left of long-term interest in a category at that time of year, float64 [days, categories].
        audience: how far a category is meant for a segment, float64 [segments, categories].
        weather_mass, occasion_mass, trend_mass: the same summed over categories for each segment (last axis).
    """

    weather: Floats
    occasion: Floats
    trend: Floats
    season: Floats
    audience: Floats
    weather_mass: Floats
    occasion_mass: Floats
    trend_mass: Floats


class Baskets(NamedTuple):
    """Recorded purposes of visits, for worlds made from a log; empty elsewhere.

    Attributes:
        first: index of a user's first recorded visit, int64 [rows + 1].
        offset: where a visit's categories begin, int64 [visits + 1].
        category: categories in the basket, int32 [entries].
    """

    first: Ints
    offset: Ints
    category: Ints32


@dataclass(frozen=True)
class RecordedVisits:
    """Arrivals from a log or a trace, by row.

    Attributes:
        offset: where a row's visits begin, int64 [rows + 1].
        time: ``time[offset[row]:offset[row + 1]]`` rises from visit to visit; seconds, int64 [visits].
        visit: the number that the draws of each visit are keyed by, rising likewise, int64 [visits].
        pages: the most pages that each visit can hold, 0 where nothing is known, int64 [visits].
    """

    offset: Ints
    time: Ints
    visit: Ints
    pages: Ints


@dataclass(frozen=True)
class World:
    """Everything that is the case.

    Attributes:
        seed: of all draws made in this world.
        days: days of the horizon.
        scenario: "item" or "feed".
        slots: positions on a page.
        currency: of prices and revenue.
        catalog, population, environment: what there is, who there is, and the contexts.
        needs: what contexts call for.
        contexts: how much each signal of the context matters to users.
        behaviour: the parameters.
        visits: recorded arrivals, or None where arrivals are drawn.
        baskets: recorded purposes of those visits; empty where none are recorded, as in a trace.
    """

    seed: int
    days: int
    scenario: str
    slots: int
    currency: str
    catalog: Catalog
    population: Population
    environment: Environment
    needs: Needs
    contexts: ContextParameters
    behaviour: BehaviourParameters
    visits: RecordedVisits | None
    baskets: Baskets

    @property
    def users(self) -> int:
        """Number of users."""
        return self.population.rows

    def item_arrays(self) -> Items:
        """Item truth as the kernels take it."""
        observed: ObservedCatalog = self.catalog.observed
        return Items(
            observed.category.copy(),  # copies are writable: the kernels are compiled for one kind of array
            observed.department.copy(),
            self.catalog.style,
            self.catalog.quality,
            self.catalog.price_level,
            observed.price.copy(),
            self.catalog.repeat.copy(),
        )

    def user_arrays(self) -> Users:
        """User truth as the kernels take it."""
        p = self.population
        return Users(
            p.observed.user.copy(),
            p.observed.city.copy(),
            p.segment,
            p.age_band,
            p.interest_category,
            p.interest_weight,
            p.style,
            p.price_level,
            p.price_sensitivity,
            p.novelty,
            p.patience,
            p.visit_rate,
            p.sensitivity,
            p.intent_weight,
        )

    def take(self, rows: Ints) -> "World":
        """The same world with some of its users: a shard."""
        visits, baskets = self.visits, self.baskets
        if visits is not None:
            lengths = np.diff(visits.offset)[rows]
            offset = np.concatenate([[0], np.cumsum(lengths)])
            index = np.repeat(visits.offset[rows] - offset[:-1], lengths) + np.arange(offset[-1])
            visits = RecordedVisits(offset, visits.time[index], visits.visit[index], visits.pages[index])
            if len(baskets.first) > 1:
                sizes = np.diff(baskets.offset)[index]
                entry = np.concatenate([[0], np.cumsum(sizes)])
                entries = np.repeat(baskets.offset[index] - entry[:-1], sizes) + np.arange(entry[-1])
                baskets = Baskets(offset, entry, baskets.category[entries])
        return replace(self, population=self.population.take(rows), visits=visits, baskets=baskets)


def no_baskets() -> Baskets:
    """For worlds in which purposes are drawn."""
    return Baskets(np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(0, np.int32))


def contextual_needs(environment: Environment, taxonomy: Taxonomy, strength: ContextParameters) -> Needs:
    """What each day's weather, occasions and trends call for, each scaled by its own strength (0 switches it off)."""
    weather = strength.weather * environment.weather.signals @ taxonomy.weather.T
    occasion = strength.holidays * environment.calendar.level @ taxonomy.occasion.T
    aged = taxonomy.topic[None, :, :] * taxonomy.topic_age.T[:, None, :]  # [age bands, categories, topics]
    trend = strength.trends * np.einsum("dt,act->dac", environment.trends.level, aged)
    of_day = [environment.season_of(day) for day in range(environment.days)]
    season = 1.0 - min(strength.seasons, 1.0) * (1.0 - taxonomy.season.T[of_day])
    return _with_masses(weather, occasion, trend, season, taxonomy.audience.copy())


def no_needs(cities: int, days: int, categories: int) -> Needs:
    """Contexts that call for nothing, for worlds whose logs already carry their seasons."""
    return _with_masses(
        np.zeros((cities, days, categories)),
        np.zeros((days, categories)),
        np.zeros((days, len(AGE_BANDS), categories)),
        np.ones((days, categories)),
        np.ones((1, categories)),
    )


def _with_masses(
    weather: Floats, occasion: Floats, trend: Floats, season: Floats, audience: npt.NDArray[np.float64]
) -> Needs:
    weather, occasion, trend, season = (np.ascontiguousarray(a) for a in (weather, occasion, trend, season))
    return Needs(
        weather, occasion, trend, season, audience, weather @ audience.T, occasion @ audience.T, trend @ audience.T
    )
