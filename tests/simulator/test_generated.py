import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from simulator.parameters import ContextParameters
from simulator.world import World


def leaves(thing: Any, name: str = "world") -> Iterator[tuple[str, Any]]:
    """All arrays and plain values in a world, each with where it was found."""
    if isinstance(thing, np.ndarray | BaseModel | str | bytes | int | float) or thing is None:
        yield name, thing
    elif dataclasses.is_dataclass(thing):
        for field in dataclasses.fields(thing):
            yield from leaves(getattr(thing, field.name), f"{name}.{field.name}")
    elif isinstance(thing, tuple | list):
        for n, part in enumerate(thing):
            yield from leaves(part, f"{name}[{n}]")
    else:
        yield name, thing


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, bit by bit where they are arrays."""
    if isinstance(one, np.ndarray):
        return bool(one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))
    return bool(one == other)


def test_equal_arguments_give_equal_worlds(make_world: Callable[..., World], world: World) -> None:
    """A world is a pure function of its arguments, down to every bit of every array."""
    one, other = list(leaves(world)), list(leaves(make_world()))
    assert [name for name, _ in one] == [name for name, _ in other]
    assert len(one) > 40
    for (name, a), (_, b) in zip(one, other, strict=True):
        assert same(a, b), name


def test_another_seed_is_another_world(make_world: Callable[..., World], world: World) -> None:
    """Under another seed users, items, weather and trends are others."""
    other = make_world(seed=21)
    assert not np.array_equal(world.catalog.quality, other.catalog.quality)
    assert not np.array_equal(world.population.style, other.population.style)
    assert not np.array_equal(world.environment.weather.temp_max, other.environment.weather.temp_max)
    assert not np.array_equal(world.environment.trends.level, other.environment.trends.level)
    assert np.array_equal(world.environment.calendar.level, other.environment.calendar.level)


def test_more_users_move_nobody(make_world: Callable[..., World], play: Callable[..., Any], ranked: type) -> None:
    """With users added, those who were there live the same days."""
    small, large = make_world(users=40), make_world(users=90)
    few, many = (play(w, ranked(range(60))).user_days.sums for w in (small, large))
    for name, sums in few.items():
        assert np.array_equal(sums, many[name][:40]), name


def test_more_items_that_nobody_shows_move_nobody(
    make_world: Callable[..., World], play: Callable[..., Any], ranked: type
) -> None:
    """Items added to the catalogue and never shown change no user's days."""
    short, long = (play(make_world(users=40, items=n), ranked(range(60))).user_days.sums for n in (100, 400))
    for name, sums in short.items():
        assert np.array_equal(sums, long[name]), name


def test_a_longer_horizon_has_the_same_first_days(make_world: Callable[..., World], world: World) -> None:
    """Days added at the end change no user, no item and no context of the days before."""
    short = make_world(days=8)
    assert np.array_equal(short.population.interest_weight, world.population.interest_weight)
    assert np.array_equal(short.catalog.observed.price, world.catalog.observed.price)
    assert np.array_equal(short.needs.weather, world.needs.weather[:, :8])
    assert np.array_equal(short.needs.occasion, world.needs.occasion[:8])
    assert np.array_equal(short.needs.trend, world.needs.trend[:8])


def test_another_city_moves_no_trait(make_world: Callable[..., World], world: World) -> None:
    """A city added changes where some users live, and neither their traits nor the weather of the first city."""
    one = make_world(cities=["seattle"])
    assert np.array_equal(one.population.style, world.population.style)
    assert np.array_equal(one.population.interest_category, world.population.interest_category)
    assert np.array_equal(one.catalog.quality, world.catalog.quality)
    assert np.array_equal(one.environment.weather.temp_max[0], world.environment.weather.temp_max[0])
    assert set(world.population.observed.city.tolist()) == {0, 1}


def test_all_contexts_can_be_switched_off(make_world: Callable[..., World]) -> None:
    """Without contexts no category is ever needed, while the weather itself goes on."""
    plain = make_world(contexts=ContextParameters.model_validate(0))
    for name, table in plain.needs._asdict().items():
        assert name in ("audience", "season") or not table.any(), name
    assert (plain.needs.season == 1.0).all()
    assert plain.environment.weather.signals.any()


@pytest.mark.parametrize(
    ("signal", "its"),
    [
        ("weather", {"weather", "weather_mass"}),
        ("holidays", {"occasion", "occasion_mass"}),
        ("trends", {"trend", "trend_mass"}),
        ("seasons", {"season"}),
    ],
)
def test_each_context_can_be_switched_off_alone(
    make_world: Callable[..., World], world: World, signal: str, its: set[str]
) -> None:
    """Switching one signal off changes what it calls for and nothing else; what can be observed stays as it was."""
    without = make_world(contexts=ContextParameters(**{signal: 0.0}))
    for name, table in without.needs._asdict().items():
        before = getattr(world.needs, name)
        assert np.array_equal(table, before) == (name not in its), name
        if name in its - {"season"}:
            assert before.any()
            assert not table.any()
    for (where, one), (_, other) in zip(leaves(without), leaves(world), strict=True):
        assert same(one, other) or where.startswith(("world.needs", "world.contexts")), where


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cities": ["atlantis"]}, "atlantis"),
        ({"cities": []}, "cities"),
        ({"country": "XX"}, "XX"),
        ({"days": 0}, "0"),
        ({"unseen": ["xmas"], "unseen_until": 3}, "xmas"),
    ],
)
def test_impossible_worlds_are_refused(make_world: Callable[..., World], changes: dict[str, Any], message: str) -> None:
    """An unknown city or country, or no day at all, is an error of one line that names the value."""
    with pytest.raises(ValueError, match=message) as caught:
        make_world(**changes)
    assert "\n" not in str(caught.value)


def test_the_unseen_calls_for_nothing_before_its_day(make_world: Callable[..., World], world: World) -> None:
    """Needs and arrivals before the day are those of a world without it, later needs those of the world with it."""
    hidden = make_world(unseen=["thanksgiving", "christmas"], unseen_until=9)
    columns = [hidden.environment.calendar.occasions.index(key) for key in ("thanksgiving", "christmas")]
    assert not hidden.environment.calendar.level[:9, columns].any()
    assert world.environment.calendar.level[:9, columns].any()
    assert (hidden.needs.occasion[:9] <= world.needs.occasion[:9]).all()
    assert hidden.needs.occasion[:9].sum() < 0.5 * world.needs.occasion[:9].sum()
    assert np.array_equal(hidden.needs.occasion[9:], world.needs.occasion[9:])
    assert np.array_equal(hidden.needs.weather, world.needs.weather)
    assert np.array_equal(hidden.needs.trend, world.needs.trend)
    assert hidden.catalog.observed.titles == world.catalog.observed.titles
