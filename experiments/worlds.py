"""From a config's ``world`` section to a world, and the history that comes with it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np

from experiments.world_config import DrawnTraffic, FittedPurchases, GeneratedWorld, LogWorld, TraceTraffic
from simulator.datasets.interactions import DatasetError, PurchaseLog
from simulator.datasets.online_retail import read_online_retail
from simulator.environment.weather import cities_of, load_climates
from simulator.fitted.continuation import continue_log
from simulator.generated import generate_world
from simulator.recorded import RecordedWorld, build_recorded_world
from simulator.traffic import read_trace, trace_mistakes, with_trace
from simulator.world import World

READERS = {"online_retail": read_online_retail}


@dataclass(frozen=True)
class BuiltWorld:
    """A world, and the log it was made from if it was.

    Attributes:
        world: the truth.
        recorded: the log side, or None for a generated world.
        counts: what became of the rows of the log or trace, or None where there is neither.
    """

    world: World
    recorded: RecordedWorld | None
    counts: dict[str, int] | None = None

    @property
    def rows(self) -> np.ndarray:
        """All rows."""
        return np.arange(self.world.users, dtype=np.int64)


def purchases_of(config: LogWorld, seed: int) -> PurchaseLog:
    """The purchases that a log world is made of: the log's, or from some day on drawn ones.

    Raises:
        DatasetError: the log cannot be used, or cannot be fitted to.
    """
    source = READERS[config.dataset](config.path)
    chosen = config.purchases
    if not isinstance(chosen, FittedPurchases):
        return source
    days = max(source.days - chosen.from_day, 0) if chosen.days is None else chosen.days
    try:
        return continue_log(source, chosen.from_day, days, config.country, seed)
    except DatasetError as error:
        raise DatasetError(f"world.purchases.from_day: {chosen.from_day} ({error})") from error


def traffic_mistakes(
    config: GeneratedWorld | LogWorld,
    *,
    start: date | None,
    days: int,
    scenario: str,
    traffic: DrawnTraffic | TraceTraffic,
) -> Iterator[str]:
    """What keeps a world and its trace apart, if it has one, without building the world: a line each.

    Args:
        config: the ``world`` section.
        start: day 0.
        days: of the horizon.
        scenario: "item" or "feed".
        traffic: the ``traffic`` section.

    Raises:
        DatasetError: the trace cannot be read.
    """
    if isinstance(traffic, TraceTraffic) and isinstance(config, GeneratedWorld) and start is not None:
        known = load_climates() | config.climates
        places = cities_of({city: known[city] for city in config.cities}, config.cities_per_climate)
        cities = [place.name for place in places.values()]
        yield from trace_mistakes(
            read_trace(traffic.path), start=start, days=days, users=config.users, scenario=scenario, cities=cities
        )


def build_world(
    config: GeneratedWorld | LogWorld,
    *,
    start: date | None,
    days: int | None,
    scenario: str,
    slots: int,
    seed: int,
    seen_days: int | None = None,
    traffic: DrawnTraffic | TraceTraffic | None = None,
) -> BuiltWorld:
    """Build the world that a config describes.

    Args:
        config: the ``world`` section.
        start: day 0; None takes the log's own.
        days: of the horizon; None goes to the log's end.
        scenario: "item" or "feed".
        slots: positions on a page.
        seed: of all draws.
        seen_days: day from which the occasions and topics of ``world.unseen`` may appear; None for never.
        traffic: the ``traffic`` section; None lets the world draw its visits.

    Raises:
        DatasetError: the log or the trace cannot be used.
        ValueError: something named in the config does not exist, or the log does not reach far enough.
    """
    if isinstance(config, LogWorld):
        recorded = build_recorded_world(
            purchases_of(config, seed),
            start=start,
            days=days,
            country=config.country,
            scenario=scenario,
            slots=slots,
            currency=config.currency,
            behaviour=config.behaviour,
            seed=seed,
        )
        return BuiltWorld(recorded.world, recorded, recorded.counts)
    if start is None or days is None:
        raise ValueError("horizon.start: missing; a generated world needs its first day, as in 2015-10-05")
    world = generate_world(
        users=config.users,
        items=config.items,
        cities=config.cities,
        climates=config.climates,
        country=config.country,
        start=start,
        days=days,
        scenario=scenario,
        slots=slots,
        currency=config.currency,
        contexts=config.contexts,
        behaviour=config.behaviour,
        seed=seed,
        unseen=config.unseen,
        unseen_until=days if seen_days is None else seen_days,
        cities_per_climate=config.cities_per_climate,
    )
    if isinstance(traffic, TraceTraffic):
        world, counts = with_trace(world, read_trace(traffic.path), start)
        return BuiltWorld(world, None, counts)
    return BuiltWorld(world, None)
