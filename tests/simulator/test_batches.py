import ast
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simulator
from simulator import batches
from simulator.batches import (
    BUY,
    CART,
    CLICK,
    Candidates,
    ObservedCatalog,
    ObservedHistory,
    ObservedUsers,
    Requests,
    read_only,
)
from simulator.catalog import Catalog
from simulator.engine import Simulation, opening_state
from simulator.environment.context import Environment, ObservedContext
from simulator.population import Population
from simulator.state import State
from simulator.world import Baskets, Items, Needs, RecordedVisits, Users, World

LATENT = [
    "quality",
    "style",
    "interest",
    "weight",
    "patience",
    "intent",
    "sensitivity",
    "satisfaction",
    "satiation",
    "novelty",
    "price_level",
    "need",
    "needs",
    "visit_rate",
    "visit_value",
    "present",
    "next_time",
    "logit",
    "probability",
    "truth",
    "segment",
    "births",
    "traffic",
    "basket",
    "baskets",
]
TRUTH = (World, Population, Catalog, State, Items, Users, Needs, Baskets, RecordedVisits, Environment)
SOURCES = sorted(Path(simulator.__file__).parent.rglob("*.py"))
GUESTS = {"policies", "allocation", "metrics", "experiments"}


def reachable(root: Any) -> Iterator[Any]:
    """Everything that can be reached from an object by attributes and by items."""
    seen: set[int] = set()
    todo = [root]
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, str | bytes | int | float | type):
            continue
        seen.add(id(thing))
        yield thing
        if isinstance(thing, np.ndarray):
            continue
        if isinstance(thing, dict):
            todo += list(thing.values())
        elif isinstance(thing, list | tuple | set):
            todo += list(thing)
        todo += list(getattr(thing, "__dict__", {}).values())


@pytest.fixture(scope="module")
def spied(
    world: World, ranked: type, straight: type
) -> tuple[World, State, list[tuple[Requests, int]], list[tuple[int, ObservedContext]]]:
    """All requests that a policy was handed, with the days of context they came with, and all it was refreshed with."""
    requests_seen: list[tuple[Requests, int]] = []
    refreshed: list[tuple[int, ObservedContext]] = []

    class Spy(ranked):
        def refresh(self, day: int, context: ObservedContext) -> None:
            refreshed.append((day, context))

        def candidates(self, requests: Requests) -> Candidates:
            requests_seen.append((requests, requests.context.days))
            return super().candidates(requests)

    state = opening_state(world, 0)
    Simulation(world, state, Spy(range(60)), straight()).run(0, world.days)
    return world, state, requests_seen, refreshed


def test_kinds_rank_by_strength() -> None:
    """A purchase is more than a cart, and a cart more than a click."""
    assert 0 < CLICK < CART < BUY


def test_read_only_is_a_view_that_cannot_be_written() -> None:
    """A read-only view follows its array and refuses to change it, and the array itself stays writable."""
    array = np.arange(3)
    view = read_only(array)
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 5
    array[0] = 7
    assert view[0] == 7
    assert np.shares_memory(array, view)


@pytest.mark.parametrize("observed", [ObservedCatalog, ObservedUsers, ObservedHistory, ObservedContext, Requests])
def test_no_observed_field_is_latent(observed: type) -> None:
    """What a policy is handed has no field for interests, intents, tastes, quality or response probabilities."""
    for field in dataclasses.fields(observed):
        assert field.name not in LATENT
        assert not any(word in LATENT for word in field.name.split("_") if word != "price"), field.name


def test_structs_are_frozen() -> None:
    """No struct that passes between the world and its guests lets a field be replaced."""
    structs = [c for c in vars(batches).values() if dataclasses.is_dataclass(c)]
    assert len(structs) >= 9
    assert all(c.__dataclass_params__.frozen for c in structs)  # type: ignore[union-attr]


def test_no_truth_is_reachable_from_a_request(spied: Any) -> None:
    """Walking all attributes of a request meets neither the world nor any table of the truth."""
    world, state, requests, _ = spied
    truths = [
        world.catalog.quality,
        world.catalog.style,
        world.population.style,
        world.population.interest_weight,
        world.population.intent_weight,
        world.population.patience,
        state.intent,
        state.satisfaction,
        state.visit_value,
        state.next_time,
        state.visit,
    ]
    for request, _ in (requests[0], requests[-1]):
        for thing in reachable(request):
            assert not isinstance(thing, TRUTH), type(thing)
            if isinstance(thing, np.ndarray):
                assert not any(np.may_share_memory(thing, truth) for truth in truths)


def test_state_is_seen_and_not_touched(spied: Any) -> None:
    """Every array of a request that views the world or its state is read-only."""
    world, state, requests, _ = spied
    request, _ = requests[-1]
    owned = [*state, *vars(world.population.observed).values(), *vars(world.environment.observed()).values()]
    arrays = [array for array in owned if isinstance(array, np.ndarray)]
    found = 0
    for thing in reachable(request):
        if isinstance(thing, np.ndarray) and any(np.shares_memory(thing, array) for array in arrays):
            found += 1
            assert not thing.flags.writeable
    assert found >= len(dataclasses.fields(ObservedHistory)) + len(dataclasses.fields(ObservedUsers))


def test_a_context_ends_today(spied: Any) -> None:
    """A request comes with the context up to its own day and no further, and so does each day's refresh."""
    world, _, requests, refreshed = spied
    assert [(day, context.days) for day, context in refreshed] == [(day, day + 1) for day in range(world.days)]
    assert len(requests) > world.days
    for request, days in requests:
        assert (request.day == days - 1).all()
        assert request.context.trend_level.shape[0] == days
        assert request.context.weather_signals.shape[1] == days


def test_midnight_belongs_to_the_new_day(world: World, ranked: type, straight: type) -> None:
    """A visit at the very second of midnight is played under the new day's context, once it is known."""
    midnight = 3 * 86_400
    seen: list[tuple[int, int]] = []

    class Spy(ranked):
        def candidates(self, requests: Requests) -> Candidates:
            seen.extend((int(time), requests.context.days) for time in requests.time if requests.page == 0)
            return super().candidates(requests)

    state = opening_state(world, 0)
    state.next_time[:] = midnight
    state.next_time[::2] = midnight - 1
    Simulation(world, state, Spy(range(60)), straight()).run(0, 4)
    assert (midnight, 4) in seen
    assert (midnight - 1, 3) in seen
    assert all(days == time // 86_400 + 1 for time, days in seen)


def test_requests_say_who_and_when(spied: Any) -> None:
    """A batch holds no user twice, and its columns agree with the tables that they index."""
    world, _, requests, _ = spied
    for request, _ in requests:
        assert len(np.unique(request.user)) == len(request) == len(request.row)
        assert np.array_equal(request.users.user[request.row], request.user)
        assert np.array_equal(request.users.city[request.row], request.city)
        assert (request.slots, request.max_pages) == (world.slots, world.behaviour.response.max_pages)
        assert 0 <= request.page < request.max_pages
        assert (request.time // 86_400 >= request.day).all()


def test_a_guest_cannot_move_the_world(world: World, play: Callable[..., Any], ranked: type) -> None:
    """A policy that writes into its request is refused, or at least changes nothing."""

    class Vandal(ranked):
        def candidates(self, requests: Requests) -> Candidates:
            answer = super().candidates(requests)
            for array in (requests.row, requests.day):  # the rows the engine goes on with, the days a table is filed by
                if array.flags.writeable:
                    array[:] = array[0]
            return answer

    honest, vandal = play(world, ranked(range(60))), play(world, Vandal(range(60)))
    assert np.array_equal(honest.user_days.sums["sessions"], vandal.user_days.sums["sessions"])


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_the_world_imports_no_guest(path: Path) -> None:
    """No module of the simulator imports policies, allocation, metrics or experiments."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        assert not {name.split(".")[0] for name in names} & GUESTS


@pytest.mark.parametrize("path", [p for p in SOURCES if p.stem != "tables"], ids=lambda path: path.stem)
def test_the_world_never_looks_at_the_arm(path: Path) -> None:
    """No parameter, field or variable of the simulator is named after an arm; only the written table has the column."""
    words = {"arm", "arms", "treatment", "control", "variant"}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        name = ""
        if isinstance(node, ast.arg):
            name = node.arg
        elif isinstance(node, ast.Name):
            name = node.id
        elif isinstance(node, ast.Attribute):
            name = node.attr
        elif isinstance(node, ast.keyword):
            name = node.arg or ""
        assert not set(name.lower().split("_")) & words, f"{path.name}: {name}"
