"""A world made from the taxonomy and a seed, with no data to download."""

from collections.abc import Mapping, Sequence
from datetime import date

from simulator.catalog import generate_catalog
from simulator.environment.context import build_environment
from simulator.environment.weather import Climate
from simulator.parameters import BehaviourParameters, ContextParameters
from simulator.population import generate_population
from simulator.taxonomy import load_taxonomy
from simulator.world import World, contextual_needs, no_baskets


def generate_world(
    *,
    users: int,
    items: int,
    cities: Sequence[str],
    country: str,
    start: date,
    days: int,
    scenario: str,
    slots: int,
    currency: str,
    contexts: ContextParameters,
    behaviour: BehaviourParameters,
    seed: int,
    unseen: Sequence[str] = (),
    unseen_until: int = 0,
    climates: Mapping[str, Climate] | None = None,
    cities_per_climate: int = 1,
) -> World:
    """Draw a world. Equal arguments give equal worlds; items and users can be added without moving the others.

    Args:
        users: how many.
        items: how many.
        cities: names with a climate, shipped or given; users live in equal shares in all cities of these climates.
        country: ISO code whose holidays count.
        start: day 0.
        days: of the whole horizon.
        scenario: "item" or "feed".
        slots: positions on a page.
        currency: what prices are in.
        contexts: how much each signal matters to users.
        behaviour: the parameters.
        seed: of all draws.
        unseen: keys of occasions and topics that do not happen before ``unseen_until``.
        unseen_until: first day on which they may.
        climates: of cities that are not shipped, by name.
        cities_per_climate: how many cities have the climate of each name.

    Raises:
        ValueError: an unknown city, country, occasion or topic.
    """
    taxonomy = load_taxonomy()
    environment = build_environment(
        cities, country, start, days, seed, taxonomy, climates=climates, cities_per_climate=cities_per_climate
    ).without(unseen, unseen_until)
    catalog = generate_catalog(taxonomy, items, behaviour.catalog, behaviour.population.style_dimensions, seed)
    population = generate_population(
        taxonomy, users, len(environment.cities), behaviour.population, behaviour.intent, seed
    )
    return World(
        seed=seed,
        days=days,
        scenario=scenario,
        slots=slots,
        currency=currency,
        catalog=catalog,
        population=population,
        environment=environment,
        needs=contextual_needs(environment, taxonomy, contexts),
        contexts=contexts,
        behaviour=behaviour,
        visits=None,
        baskets=no_baskets(),
    )
