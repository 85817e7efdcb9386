"""The ``world`` and ``traffic`` blocks of a config: what a world is made of, and when its users come.

Knows keys, bounds and the names they may refer to (cities, countries, occasions, topics). Builds nothing.
"""

import difflib
from pathlib import Path
from typing import Annotated, Literal

import holidays
from pydantic import Field, ValidationInfo, field_validator

from experiments.assignment_config import MOST
from simulator.environment.weather import Climate, cities_of, load_climates
from simulator.fitted.shop import FEWEST_DAYS
from simulator.parameters import BehaviourParameters, ContextParameters, Parameters
from simulator.taxonomy import OCCASIONS, load_taxonomy


class GeneratedWorld(Parameters):
    """A world made from the seed alone: catalogue, population, weather, calendar and trends."""

    kind: Literal["generated"] = Field(description="a world made from the seed")
    users: int = Field(ge=1, description="users of the platform")
    items: int = Field(ge=50, description="items on sale")
    climates: dict[str, Climate] = Field(
        default_factory=dict,
        description="climates of cities that are not shipped, or the name of a file that `testbed climate` wrote",
    )
    cities: tuple[str, ...] = Field(min_length=1, description="where users live; each has its own weather")
    cities_per_climate: int = Field(
        default=1,
        ge=1,
        le=MOST,
        description="cities that have the climate of each of `cities`, with weather of their own on each day",
    )
    country: str = Field(description="ISO 3166 code of the country whose holidays are kept")
    currency: str = Field(default="USD", pattern="^[A-Z]{3}$", description="ISO 4217 code; names the unit of money")
    contexts: ContextParameters = Field(
        default=ContextParameters(),
        description="how much each signal of the context matters to users (0: not at all); one number is for all",
    )
    unseen: tuple[str, ...] = Field(
        default=(), description="occasions and topics (by key) that are kept out of the history, and happen after it"
    )
    behaviour: BehaviourParameters = Field(default=BehaviourParameters(), description="how users behave")

    @field_validator("unseen")
    @classmethod
    def _known_signals(cls, unseen: tuple[str, ...]) -> tuple[str, ...]:
        known = (*OCCASIONS, *(topic.key for topic in load_taxonomy().topics))
        for key in unseen:
            if key not in known:
                close = difflib.get_close_matches(key, known, 3)
                like = f"; did you mean {' or '.join(close)}?" if close else ""
                raise ValueError(f"{key!r} is no occasion and no topic{like} (known: {', '.join(known)})")
            if unseen.count(key) > 1:
                raise ValueError(f"{key!r} comes twice; name each once")
        return unseen

    @field_validator("climates")
    @classmethod
    def _own_climates(cls, climates: dict[str, Climate]) -> dict[str, Climate]:
        shipped = load_climates()
        names = {climate.name for climate in shipped.values()}
        for key, climate in climates.items():
            if key in shipped or climate.name in names:
                raise ValueError(f"{key!r} ({climate.name}) is taken; give the place a key and a name of its own")
            names.add(climate.name)
        return climates

    @field_validator("cities")
    @classmethod
    def _known_cities(cls, cities: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if "climates" not in info.data:
            return cities
        known = [*load_climates(), *info.data["climates"]]
        for city in cities:
            if city not in known:
                raise ValueError(
                    f"{city!r} has no climate; choose from {', '.join(known)}, or fit one with `testbed climate`"
                )
            if cities.count(city) > 1:
                raise ValueError(f"{city!r} comes twice; name each city once")
        return cities

    @field_validator("cities_per_climate")
    @classmethod
    def _cities_apart(cls, each: int, info: ValidationInfo) -> int:
        if "cities" in info.data:
            known = load_climates() | info.data["climates"]
            try:
                cities_of({city: known[city] for city in info.data["cities"]}, each)
            except ValueError as error:
                raise ValueError(f"{each}, with which {str(error).removeprefix('climates: ')}") from error
        return each

    @field_validator("country")
    @classmethod
    def _country_code(cls, country: str) -> str:
        return _known_country(country)


class RecordedPurchases(Parameters):
    """Every visit and what it is for are the log's."""

    kind: Literal["recorded"] = Field(default="recorded", description="visits and what they are for are the log's")


class FittedPurchases(Parameters):
    """Visits and what they are for are the log's up to a day, and drawn from a shop fitted to it from then on."""

    kind: Literal["fitted"] = Field(description="visits are drawn, from a shop fitted to the log's first days")
    from_day: int = Field(
        ge=FEWEST_DAYS, description="first day that is drawn, counted from the log's first; the days before are fitted"
    )
    days: int | None = Field(default=None, ge=1, description="days that are drawn; to the log's end if left out")


Purchases = Annotated[RecordedPurchases | FittedPurchases, Field(discriminator="kind")]


class LogWorld(Parameters):
    """A world made from a real log: its items, customers, histories and arrival times."""

    kind: Literal["log"] = Field(description="a world made from a real log")
    dataset: Literal["online_retail"] = Field(description="which reader understands the file")
    path: Path = Field(description="the log's file, from the working directory or the config's folder")
    purchases: Purchases = Field(default=RecordedPurchases(), description="who comes when, and what for")
    country: str = Field(default="GB", description="ISO 3166 code of the country whose holidays are kept")
    currency: str = Field(default="GBP", pattern="^[A-Z]{3}$", description="ISO 4217 code; names the unit of money")
    behaviour: BehaviourParameters = Field(default=BehaviourParameters(), description="how users behave")

    @field_validator("country")
    @classmethod
    def _country_code(cls, country: str) -> str:
        return _known_country(country)


class DrawnTraffic(Parameters):
    """Users come when the world has them come: as drawn, the likelier the better they were served, or as in its log."""

    kind: Literal["drawn"] = Field(default="drawn", description="visits are the world's own")


class TraceTraffic(Parameters):
    """Users come when a trace says, whatever they are shown."""

    kind: Literal["trace"] = Field(description="visits are those of a trace")
    path: Path = Field(description="the trace's file, from the working directory or the config's folder")


Traffic = Annotated[DrawnTraffic | TraceTraffic, Field(discriminator="kind")]

World = Annotated[GeneratedWorld | LogWorld, Field(discriminator="kind")]


def _known_country(country: str) -> str:
    if country not in holidays.list_supported_countries(include_aliases=False):
        raise ValueError(f"{country!r} has no calendar; use an ISO 3166 two-letter code such as US, GB, CN or DE")
    return country
