from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from simulator.batches import DAY_SECONDS, NO_EXPLANATION, NO_ITEM, Responses, Slates
from simulator.engine import opening_state
from simulator.first_pages import LATELY, FirstPages
from simulator.state import write_events
from simulator.world import World


@pytest.fixture
def pages_under(play: Callable[..., Any]) -> Callable[..., Any]:
    """What is written down of every third user of a world, and the run beside it."""

    def under(world: World, policy: Any, days: tuple[int, int] = (0, 20)) -> Any:
        state = opening_state(world, days[0])
        user = world.population.observed.user
        watch = FirstPages(user % 3 == 0, user, world.slots, state, tuple)
        played = play(world, policy=policy, state=state, days=days, recorders=[watch])
        return watch, played

    return under


def test_the_first_page_of_everybody_chosen_is_told(
    world: World, ranked: type, pages_under: Callable[..., Any]
) -> None:
    """Whoever of the chosen comes has one entry, with the items and the answers of the log; nobody else has."""
    watch, played = pages_under(world, ranked(range(60)))
    told = watch.told()
    log = dict(zip(("user", "visit", "item", "time", "position", "kind"), played.log[:6], strict=True))
    first = {user: log["time"][log["user"] == user].min() for user in np.unique(log["user"]).tolist()}
    assert {entry["user"] for entry in told} == {user for user in first if user % 3 == 0}
    assert len(told) > 20
    for entry in told:
        mine = (log["user"] == entry["user"]) & (log["time"] == first[entry["user"]])
        assert entry["time"] == first[entry["user"]]
        assert [item["item"] for item in entry["page"]] == log["item"][mine].tolist()
        assert [item["answer"] for item in entry["page"]] == log["kind"][mine].tolist()
        assert len(entry["intent"]) >= 1
        assert entry["lately"] == []
    assert {item["answer"] for entry in told for item in entry["page"]} > {0}


def test_under_another_policy_the_moment_is_the_same(
    world: World, ranked: type, pages_under: Callable[..., Any]
) -> None:
    """Users come at the same time and for the same things, whatever they are shown."""
    one, other = (pages_under(world, ranked(order))[0].told() for order in (range(60), range(100, 160)))
    assert [entry["page"] for entry in one] != [entry["page"] for entry in other]
    for entry, beside in zip(one, other, strict=True):
        for key in ("user", "time", "intent", "lately"):
            assert entry[key] == beside[key]


def test_what_was_met_before_is_told_latest_first(world: World, ranked: type, play: Callable[..., Any]) -> None:
    """The last items before the visit, each once, without those of the visit itself."""
    state = opening_state(world, 1)
    row = np.zeros(8, np.int64)
    met = np.array([301, 302, 303, 302, 304, 305, 306, 301], np.int32)
    write_events(state, row, met, np.ones(8, np.int8), np.arange(8) * 60)
    user = world.population.observed.user
    watch = FirstPages(user == user[0], user, world.slots, state, tuple)
    play(world, policy=ranked(range(300, 360)), state=state, days=(1, 20), recorders=[watch])
    (entry,) = watch.told()
    assert entry["time"] >= DAY_SECONDS
    assert entry["lately"] == [301, 306, 305, 304, 302][:LATELY]


def test_it_goes_on_from_a_snapshot(world: World, ranked: type, pages_under: Callable[..., Any]) -> None:
    """Restored in another recorder, what was written down stays, and is not written again."""
    watch, _ = pages_under(world, ranked(range(60)), (0, 3))
    user = world.population.observed.user
    other = FirstPages(user % 3 == 0, user, world.slots, opening_state(world, 3), tuple)
    other.restore({name: array.copy() for name, array in watch.snapshot().items()})
    assert other.told() == watch.told()
    assert 0 < len(watch.told()) < int((user % 3 == 0).sum())
    whole, _ = pages_under(world, ranked(range(60)), (0, 20))
    early = [entry for entry in whole.told() if entry["time"] < 3 * DAY_SECONDS]
    assert early == watch.told()


def test_nobody_chosen_is_nothing_told(world: World, ranked: type, play: Callable[..., Any]) -> None:
    """Without users to look at there is nothing to tell."""
    state = opening_state(world, 0)
    user = world.population.observed.user
    watch = FirstPages(np.zeros(len(user), np.bool_), user, world.slots, state, tuple)
    play(world, policy=ranked(range(60)), state=state, days=(0, 2), recorders=[watch])
    assert watch.told() == []
    assert (watch.items == NO_ITEM).all()


def test_words_outlive_their_numbers(world: World) -> None:
    """What an explanation said is kept in a snapshot, whatever texts a policy that goes on has under that number."""
    user = world.population.observed.user
    chosen, state = user < 2, opening_state(world, 0)
    texts = ["for the first", "for the second"]
    watch = FirstPages(chosen, user, world.slots, state, lambda: texts)
    items = np.arange(2 * world.slots, dtype=np.int32).reshape(2, -1)
    numbers = np.full(items.shape, NO_EXPLANATION, np.int32)
    numbers[:, 0] = (0, 1)
    yes, no = np.ones(items.shape, np.bool_), np.zeros(items.shape, np.bool_)
    zero = np.zeros(items.shape)
    answers = Responses(yes, no, no, no, no, no, zero.astype(np.int64), zero, zero, np.zeros(2, np.bool_))
    requests = SimpleNamespace(page=0, row=np.arange(2), time=np.array([60, 120]))
    watch.page(requests, Slates(items, np.zeros(items.shape, np.int8), None, numbers), answers)  # type: ignore[arg-type]
    told = watch.told()
    assert [entry["page"][0]["explanation"] for entry in told] == texts
    assert {item["explanation"] for entry in told for item in entry["page"][1:]} == {None}
    other = FirstPages(chosen, user, world.slots, opening_state(world, 0), list)
    other.restore({name: array.copy() for name, array in watch.snapshot().items()})
    assert other.told() == told
