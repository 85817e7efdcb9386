"""A small world, a small shop's log, and the plainest guests: what most tests of the simulator start from."""

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from simulator.batches import NO_ITEM, UTILITY, Candidates, Ints, Requests, Slates
from simulator.datasets.interactions import PurchaseLog
from simulator.engine import Simulation, VisitCount, opening_state
from simulator.generated import generate_world
from simulator.parameters import BehaviourParameters, ContextParameters
from simulator.recorded import RecordedWorld, build_recorded_world
from simulator.state import State
from simulator.streams import Stream
from simulator.tables import Impressions, Recorder, UserDays
from simulator.world import World

DAYS = 20
LOG_DAYS = 12


class Ranked:
    """A policy that ranks given items in a given order, a page at a time, and nothing after the last of them."""

    def __init__(self, items: Sequence[int]) -> None:
        self._items = np.asarray(items, dtype=np.int32)

    def fit(self, log: Any, catalog: Any, users: Any, context: Any) -> None:
        """Nothing to learn."""

    def begin(self, rows: int) -> None:
        """Nothing to forget."""

    def refresh(self, day: int, context: Any) -> None:
        """Nothing to think about."""

    def candidates(self, requests: Requests) -> Candidates:
        """The next page of the order."""
        page = np.full(requests.slots, NO_ITEM, np.int32)
        here = self._items[requests.page * requests.slots :][: requests.slots]
        page[: len(here)] = here
        items = np.tile(page, (len(requests), 1))
        return Candidates(items, np.zeros(items.shape), np.full(items.shape, UTILITY, np.int8))


class Lucky(Ranked):
    """A policy that shows random items, anew on every visit."""

    def __init__(self, items: int) -> None:
        super().__init__([])
        self._ids = np.arange(items)
        self._stream = Stream(77, "test/lucky")

    def candidates(self, requests: Requests) -> Candidates:
        """The items in a random order, from the place where the page begins."""
        luck = self._stream.uniform(requests.user[:, None], requests.visit[:, None], self._ids[None, :])
        begin = requests.page * requests.slots
        items = np.argsort(luck, axis=1)[:, begin : begin + requests.slots].astype(np.int32)
        return Candidates(items, np.zeros(items.shape), np.full(items.shape, UTILITY, np.int8))


class Straight:
    """An allocator that shows a policy's answer as it is."""

    def refresh(self, day: int, context: Any) -> None:
        """Nothing to decide."""

    def observe(self, requests: Requests, slates: Slates, responses: Any) -> None:
        """Nothing to learn."""

    def diary(self) -> None:
        """Nothing to tell."""

    def allocate(self, requests: Requests, candidates: Candidates) -> Slates:
        """The first slots, or all there are."""
        slots, explanation = requests.slots, candidates.explanation
        return Slates(
            candidates.items[:, :slots],
            candidates.channel[:, :slots],
            explanation=None if explanation is None else explanation[:, :slots],
        )


@dataclass(frozen=True)
class Played:
    """A simulation that has run, and everything it left."""

    user_days: UserDays
    log: tuple[Any, ...]
    state: State
    visits: VisitCount


def _play(
    world: World,
    policy: Any = None,
    state: State | None = None,
    days: tuple[int, int] | None = None,
    recorders: Sequence[Recorder] = (),
) -> Played:
    first, last = days or (0, world.days)
    state = opening_state(world, first) if state is None else state
    user_days, impressions = UserDays(world.users, first, last), Impressions()
    policy = Lucky(world.catalog.items) if policy is None else policy
    simulation = Simulation(world, state, policy, Straight(), [user_days, impressions, *recorders])
    simulation.run(first, last)
    return Played(user_days, impressions.columns(), state, simulation.visits)


def _make_world(behaviour: dict[str, dict[str, Any]] | None = None, **changes: Any) -> World:
    arguments: dict[str, Any] = {
        "users": 150,
        "items": 400,
        "cities": ["seattle", "new_york"],
        "country": "US",
        "start": date(2024, 11, 18),
        "days": DAYS,
        "scenario": "item",
        "slots": 10,
        "currency": "USD",
        "contexts": ContextParameters(),
        "behaviour": BehaviourParameters.model_validate(behaviour or {}),
        "seed": 20,
    }
    return generate_world(**(arguments | changes))


def _purchase_log() -> PurchaseLog:
    """Six customers, thirty items of five categories, a basket of one to four items on some days."""
    users, items, categories = 6, 30, 5
    luck = Stream(3, "test/log")
    rows: list[tuple[int, int, int]] = []
    for customer in range(users):
        for day in range(LOG_DAYS):
            if luck.uniform(customer, day) < 0.55 or (customer, day) in ((0, 0), (5, LOG_DAYS - 1)):
                second = day * 86_400 + 8 * 3600 + int(luck.uniform(customer, day, 1) * 600) * 60
                basket = np.argsort(luck.uniform(customer, day, 2, np.arange(items)))[
                    : 1 + int(luck.integers(4, customer, day))
                ]
                rows += [(second, customer, int(item)) for item in basket]
    time, user, item = (np.array(column, dtype=np.int64) for column in zip(*sorted(rows), strict=True))
    new = np.r_[True, (np.diff(time) != 0) | (np.diff(user) != 0)]
    first_seen = np.full(items, time[-1])
    np.minimum.at(first_seen, item, time)
    price = np.round(1.0 + 20.0 * luck.uniform(np.arange(items), 9), 2)
    return PurchaseLog(
        start=date(2011, 3, 1),
        item_codes=tuple(f"code {n}" for n in range(items)),
        titles=tuple(f"thing {n}" for n in range(items)),
        price=price,
        category=(np.arange(items) % categories).astype(np.int32),
        category_names=tuple(f"category {n}" for n in range(categories)),
        first_seen=first_seen,
        user_codes=tuple(f"customer {n}" for n in range(users)),
        user_country=("Norway", "France", "Norway", "Norway", "France", "Norway"),
        user=user,
        item=item.astype(np.int32),
        time=time,
        quantity=np.ones(len(time), np.int64),
        refund_row=np.zeros(0, np.int64),
        refund_time=np.zeros(0, np.int64),
        refund_quantity=np.zeros(0, np.int64),
        unit_price=price[item],
        visit=np.cumsum(new) - 1,
        counts={"raw_rows": len(time), "kept": len(time)},
    )


def _record(log: PurchaseLog, **changes: Any) -> RecordedWorld:
    arguments: dict[str, Any] = {
        "start": None,
        "days": None,
        "country": "GB",
        "scenario": "item",
        "slots": 5,
        "currency": "GBP",
        "behaviour": BehaviourParameters(),
        "seed": 8,
    }
    return build_recorded_world(log, **(arguments | changes))


@pytest.fixture(scope="session")
def tasks() -> Iterator[ModuleType]:
    """Tasks in a module that worker processes can import, which test modules are not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        yield importlib.import_module("shard_tasks")
        sys.modules.pop("shard_tasks")


@pytest.fixture(scope="session")
def make_world() -> Callable[..., World]:
    """Draws a small world; keyword arguments replace the defaults."""
    return _make_world


@pytest.fixture(scope="session")
def world() -> World:
    """The small world: 150 users, 400 items, two cities, 20 days. Not to be written to."""
    return _make_world()


@pytest.fixture(scope="session")
def play() -> Callable[..., Played]:
    """Plays a world and returns what it left."""
    return _play


@pytest.fixture(scope="session")
def ranked() -> type[Ranked]:
    """The policy that shows given items."""
    return Ranked


@pytest.fixture(scope="session")
def lucky() -> type[Lucky]:
    """The policy that shows random items."""
    return Lucky


@pytest.fixture(scope="session")
def straight() -> type[Straight]:
    """The allocator that shows a policy's answer."""
    return Straight


@pytest.fixture(scope="session")
def purchase_log() -> PurchaseLog:
    """The small shop's log."""
    return _purchase_log()


@pytest.fixture(scope="session")
def record() -> Callable[..., RecordedWorld]:
    """Makes a world from a log; keyword arguments replace the defaults."""
    return _record


@pytest.fixture(scope="session")
def recorded(purchase_log: PurchaseLog) -> RecordedWorld:
    """The world made from the small shop's log."""
    return _record(purchase_log)


@pytest.fixture
def rows(world: World) -> Ints:
    """All rows of the small world."""
    return np.arange(world.users)
