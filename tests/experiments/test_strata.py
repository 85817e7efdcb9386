from datetime import date

import numpy as np
import pytest

from experiments.strata import CALLED, UNSEEN, unseen_strata
from simulator.environment.trends import PERCEPTIBLE
from simulator.generated import generate_world
from simulator.parameters import BehaviourParameters, ContextParameters
from simulator.taxonomy import load_taxonomy
from simulator.world import World

DAYS = 40


@pytest.fixture(scope="module")
def world() -> World:
    """Forty days from the first of October: Halloween is the thirty-first of them."""
    return generate_world(
        users=20,
        items=60,
        cities=["seattle"],
        country="US",
        start=date(2015, 10, 1),
        days=DAYS,
        scenario="item",
        slots=5,
        currency="USD",
        contexts=ContextParameters(),
        behaviour=BehaviourParameters(),
        seed=7,
    )


def categories(*names: str) -> np.ndarray:
    """Indices of categories by name."""
    known = [category.name for category in load_taxonomy().categories]
    return np.array([known.index(name) for name in names], np.int32)


def test_nothing_kept_out_is_no_stratum(world: World) -> None:
    """Where the log saw everything there is nothing to tell apart."""
    assert unseen_strata(world, (), np.arange(DAYS), np.zeros(DAYS, np.int32)) == {}


def test_occasions_are_live_around_their_days(world: World) -> None:
    """Halloween is live from the beginning of its lead-up to its after-glow, and calls for costumes, not for mats."""
    lead = int(world.environment.calendar.lead_days[world.environment.calendar.occasions.index("halloween")])
    costume, yoga_mat = categories("kids_costume", "yoga_mat")
    found = unseen_strata(world, ("halloween",), np.arange(DAYS), np.full(DAYS, costume))
    live = np.flatnonzero(found[UNSEEN])
    assert live[0] == 30 - lead
    assert 30 in live
    assert live[-1] < 37
    assert (np.diff(live) == 1).all()
    assert np.array_equal(found[CALLED], found[UNSEEN])
    assert not unseen_strata(world, ("halloween",), np.arange(DAYS), np.full(DAYS, yoga_mat))[CALLED].any()


def test_topics_are_live_while_they_are_perceptible(world: World) -> None:
    """A topic is live while people notice it, and calls for the categories that it lifts by half or more."""
    taxonomy = load_taxonomy()
    trends = world.environment.trends
    column = int((trends.level > PERCEPTIBLE).sum(axis=0).argmax())
    topic = next(each for each in taxonomy.topics if each.key == trends.topics[column])
    names = [category.name for category in taxonomy.categories]
    day = np.repeat(np.arange(DAYS), len(names))
    found = unseen_strata(world, (topic.key,), day, np.tile(np.arange(len(names)), DAYS).astype(np.int32))
    live = trends.level[:, column] > PERCEPTIBLE
    assert live.any()
    assert np.array_equal(found[UNSEEN], live[day])
    wanted = np.array([topic.categories.get(name, 0.0) >= 0.5 for name in names])
    assert np.array_equal(found[CALLED].reshape(DAYS, -1), live[:, None] & wanted)


def test_signals_add_up(world: World) -> None:
    """With several kept out, a visit belongs to a stratum if it does for any of them."""
    trends = world.environment.trends
    keys = ("halloween", trends.topics[int(trends.level.max(axis=0).argmax())])
    day, category = np.arange(DAYS), np.tile(categories("kids_costume", "yoga_mat"), DAYS // 2)
    both = unseen_strata(world, keys, day, category)
    for name in (UNSEEN, CALLED):
        each = [unseen_strata(world, (key,), day, category)[name] for key in keys]
        assert np.array_equal(both[name], each[0] | each[1])
