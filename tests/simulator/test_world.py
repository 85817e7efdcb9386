import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.parameters import ContextParameters
from simulator.recorded import RecordedWorld
from simulator.shards import cut
from simulator.state import take_state
from simulator.taxonomy import load_taxonomy
from simulator.world import World, contextual_needs, no_baskets, no_needs


def test_kernels_are_given_the_tables_of_the_world(world: World) -> None:
    """What kernels read is the catalogue and the population, row by row."""
    users, items = world.user_arrays(), world.item_arrays()
    assert np.array_equal(users.user, world.population.observed.user)
    assert users.style is world.population.style
    assert items.quality is world.catalog.quality
    assert np.array_equal(items.price, world.catalog.observed.price)
    assert len(users.user) == world.users
    assert items.department.shape == (world.catalog.observed.categories,)
    assert items.category.max() < len(items.department)


def test_needs_are_never_negative_and_sum_to_their_masses(world: World) -> None:
    """Every need is 0 or more, and each mass is the need summed over categories as the segment sees it."""
    needs = world.needs
    for need, mass in (
        (needs.weather, needs.weather_mass),
        (needs.occasion, needs.occasion_mass),
        (needs.trend, needs.trend_mass),
    ):
        assert need.min() >= 0.0
        assert need.max() > 0.0
        assert np.allclose(mass, (need[..., None, :] * needs.audience).sum(axis=-1))


@pytest.mark.parametrize("strength", [0.0, 0.5, 3.0])
def test_needs_scale_with_the_strength_of_context(world: World, strength: float) -> None:
    """Needs are proportional to the strength of contexts, and all 0 where contexts are switched off."""
    scaled = contextual_needs(world.environment, load_taxonomy(), ContextParameters.model_validate(strength))
    for name in ("weather", "occasion", "trend", "weather_mass", "occasion_mass", "trend_mass"):
        assert np.allclose(getattr(scaled, name), strength * getattr(world.needs, name)), name
        assert strength > 0 or not getattr(scaled, name).any()


def test_no_needs_call_for_nothing() -> None:
    """A world without contexts has needs of the right shapes, all 0, and an audience of one segment."""
    needs = no_needs(2, 3, 5)
    assert needs.weather.shape == (2, 3, 5)
    assert needs.occasion_mass.shape == (3, 1)
    assert not any(table.any() for name, table in needs._asdict().items() if name not in ("audience", "season"))
    assert (needs.audience == 1).all()
    assert (needs.season == 1).all()


@given(st.lists(st.integers(0, 149), min_size=1, max_size=30, unique=True))
@settings(max_examples=15, deadline=None)
def test_a_shard_is_the_same_world(world: World, chosen: list[int]) -> None:
    """A shard has its users' rows in the order asked for, and shares everything else with the whole."""
    index = np.array(chosen)
    part = world.take(index)
    assert part.users == len(chosen)
    assert np.array_equal(part.population.observed.user, index)
    assert np.array_equal(part.population.style, world.population.style[index])
    assert (part.catalog, part.environment, part.seed) == (world.catalog, world.environment, world.seed)
    assert part.needs is world.needs
    assert part.visits is None
    assert len(part.baskets.first) == len(no_baskets().first)


@given(st.lists(st.integers(0, 5), max_size=6, unique=True))
@settings(max_examples=25, deadline=None)
def test_a_recorded_shard_keeps_each_users_visits(recorded: RecordedWorld, chosen: list[int]) -> None:
    """Each user of a recorded shard, in whatever order, has the arrival times and baskets of the whole world."""
    whole, part = recorded.world, recorded.world.take(np.array(chosen, dtype=np.int64))
    assert whole.visits is not None
    assert part.visits is not None
    assert len(part.visits.offset) == len(chosen) + 1
    for row, user in enumerate(chosen):
        mine = slice(part.visits.offset[row], part.visits.offset[row + 1])
        theirs = slice(whole.visits.offset[user], whole.visits.offset[user + 1])
        assert np.array_equal(part.visits.time[mine], whole.visits.time[theirs])
        assert part.baskets.first[row] == mine.start
        for n in range(mine.stop - mine.start):
            here, there = part.baskets.offset[mine.start + n :][:2], whole.baskets.offset[theirs.start + n :][:2]
            basket = part.baskets.category[here[0] : here[1]]
            assert np.array_equal(basket, whole.baskets.category[there[0] : there[1]])


def _joined(parts: list[Any]) -> tuple[dict[str, bytes], dict[str, bytes], list[bytes], tuple[int, int, int]]:
    """What shards left, put together: sums, states, impressions sorted by user and time, and visits."""
    sums = {name: np.concatenate([p.user_days.sums[name] for p in parts]).tobytes() for name in parts[0].user_days.sums}
    fields = parts[0].state._fields
    states = {name: np.concatenate([getattr(p.state, name) for p in parts]).tobytes() for name in fields}
    columns = [np.concatenate(column) for column in zip(*(p.log for p in parts), strict=True)]
    order = np.lexsort((columns[4], columns[3], columns[0]))
    visits = (
        sum(p.visits.drawn for p in parts),
        sum(p.visits.served for p in parts),
        sum(p.visits.lost for p in parts),
    )
    return sums, states, [column[order].tobytes() for column in columns], visits


@pytest.mark.parametrize("scenario", ["item", "feed"])
@pytest.mark.parametrize("shards", [3, 7])
def test_shards_change_nothing(
    make_world: Callable[..., World], play: Callable[..., Any], scenario: str, shards: int
) -> None:
    """Played whole or in shards, all users' days, impressions and final states are the same bytes."""
    whole = make_world(scenario=scenario, users=100, days=10)
    parts = [play(whole.take(rows)) for rows in cut(whole.users, shards)]
    assert _joined(parts) == _joined([play(whole)])


def test_read_only_tables_stay_so_in_other_processes(world: World, recorded: RecordedWorld) -> None:
    """A world sent to another process has the same tables read-only there: what policies see cannot be written."""
    for sent in (world, recorded.world):
        arrived = pickle.loads(pickle.dumps(sent))  # noqa: S301 - made here
        for table in ("population", "catalog"):
            before, after = (getattr(w, table).observed for w in (sent, arrived))
            for name, values in vars(before).items():
                if isinstance(values, np.ndarray):
                    assert getattr(after, name).flags.writeable == values.flags.writeable, name


def test_shards_have_the_memory_layout_of_the_whole(world: World, recorded: RecordedWorld) -> None:
    """A shard's arrays have the layout of the whole world's, so that kernels are compiled once and read by rows."""
    for whole in (world, recorded.world):
        part = whole.take(np.arange(3))
        for make in (World.user_arrays, World.item_arrays):
            for name, array in make(whole)._asdict().items():
                assert array.flags.c_contiguous, name
                assert getattr(make(part), name).flags.c_contiguous, name


def test_the_order_of_users_changes_nothing(world: World, play: Callable[..., Any]) -> None:
    """Users played in another order live the same days."""
    order = np.argsort(np.arange(world.users) * 7 % world.users, kind="stable")
    mixed, whole = play(world.take(order)), play(world)
    for name, sums in whole.user_days.sums.items():
        assert np.array_equal(mixed.user_days.sums[name], sums[order]), name
    for name, array in take_state(whole.state, order)._asdict().items():
        assert np.array_equal(getattr(mixed.state, name), array), name


def test_recorded_shards_change_nothing(recorded: RecordedWorld, play: Callable[..., Any]) -> None:
    """A recorded world's shards, one of them without anybody, put together are the whole."""
    nobody = np.zeros(0, np.int64)
    parts = [play(recorded.world.take(rows)) for rows in (*cut(6, 3), nobody)]
    assert _joined(parts) == _joined([play(recorded.world)])
    assert sum(part.visits.drawn for part in parts) > 0
