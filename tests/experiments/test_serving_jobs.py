from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from allocation.segments import TIERS, Segments
from experiments.serving_jobs import sample_jobs, seconds_a_visit, tiers_of
from simulator.batches import DAY_SECONDS, Floats, InteractionLog, Ints, Requests
from simulator.environment.context import ObservedContext
from simulator.generated import generate_world
from simulator.parameters import BehaviourParameters, ContextParameters
from simulator.serving.counted import CountedJobs
from simulator.world import World

DAYS = 10


@pytest.fixture(scope="module")
def world() -> World:
    """120 users in two cities."""
    return generate_world(
        users=120,
        items=100,
        cities=["seattle", "new_york"],
        country="US",
        start=date(2015, 10, 5),
        days=DAYS + 5,
        scenario="item",
        slots=5,
        currency="USD",
        contexts=ContextParameters(),
        behaviour=BehaviourParameters(),
        seed=2,
    )


@pytest.fixture(scope="module")
def log() -> InteractionLog:
    """User u interacts u times, once an hour from the first day's start, all on visits of their own."""
    user = np.repeat(np.arange(120), np.arange(120))
    time = np.concatenate([np.arange(number) * 3600 for number in range(120)])
    order = np.lexsort((user, time))
    nothing = np.zeros(len(user), np.int64)
    return InteractionLog(
        0, DAYS, user[order], (nothing + 7).astype(np.int32), time[order], nothing.astype(np.int8), None
    )


class Hand:
    """A thinker whose first call is as long as the history, and whose schedule has half of each city every day."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def count_jobs(self, requests: Requests, weight: Floats) -> CountedJobs:
        """One call a request."""
        jobs = len(requests)
        self.asked = requests.user.tolist()
        self.days = set(requests.day.tolist())
        self.context_days = requests.context.days
        stage = np.zeros(jobs, np.int64)
        history = requests.history.count[requests.row].astype(np.int64)
        return CountedJobs(weight, np.arange(jobs), stage, stage, history + 1, stage + 1)

    def grants(self, first: int, last: int, context: ObservedContext) -> Iterator[tuple[int, Ints]]:
        """Everybody, then users of even number in Seattle and of every fourth number in New York."""
        for day in range(first, last):
            user = np.arange(120)
            yield day, user if day == first else user[(user + 2 * day) % 4 == 0]


def test_tiers_follow_the_log(log: InteractionLog) -> None:
    """Users must be light under 20 interactions, medium under 60, heavy above."""
    assert np.bincount(tiers_of(log, 120)).tolist() == [20, 40, 60]


def test_the_sample_is_even_over_tiers_and_weighed_back(world: World, log: InteractionLog) -> None:
    """Every tier must give as many users, standing for all of it, with their histories of the last morning."""
    hand = Hand()
    sampled = sample_jobs(hand, world, log, 30, seed=1)
    assert np.bincount(sampled.tier).tolist() == [10, 10, 10]
    assert np.bincount(sampled.tier, sampled.jobs.weight) == pytest.approx([1 / 6, 1 / 3, 1 / 2])
    assert hand.days == {DAYS - 1}
    assert hand.context_days == DAYS
    before = [int(((log.user == user) & (log.time < (DAYS - 1) * DAY_SECONDS)).sum()) for user in hand.asked]
    assert (sampled.jobs.own - 1).tolist() == before
    assert hand.asked == [user for user in hand.asked if user in range(120)]


def test_the_same_users_are_asked_whoever_thinks(world: World, log: InteractionLog) -> None:
    """The sample must follow from the seed alone, and another seed draw other users."""
    hands = [Hand(), Hand(), Hand()]
    for hand, seed in zip(hands, (1, 1, 2), strict=True):
        sample_jobs(hand, world, log, 30, seed)
    assert hands[0].asked == hands[1].asked
    assert sorted(hands[0].asked) != sorted(hands[2].asked)


def test_small_worlds_are_asked_whole(world: World, log: InteractionLog) -> None:
    """A sample of more users than a tier has must take them all, once each."""
    hand = Hand()
    sampled = sample_jobs(hand, world, log, 900, seed=1)
    assert sorted(hand.asked) == list(range(120))
    assert sampled.jobs.weight == pytest.approx(np.full(120, 1 / 120))


def test_seconds_of_a_visit_are_seconds_of_its_jobs(world: World, log: InteractionLog) -> None:
    """Seconds of all visits of a tier and city must add up to the seconds of all its users' jobs."""
    segments = Segments(tuple(world.environment.cities))
    seconds = np.array([1.0, 2.0, 4.0])
    found = seconds_a_visit(Hand(), world, log, seconds, segments).reshape(len(TIERS), 2, 2)
    assert (found[:, :, 0] == found[:, :, 1]).all()
    tier, city = tiers_of(log, 120), world.population.observed.city
    for c in range(2):
        granted = [
            user for day, users in Hand().grants(0, DAYS, None) if day for user in users.tolist() if city[user] == c
        ]
        pace = len(granted) / (DAYS - 1) / (city == c).sum()
        for t in range(3):
            mine = (tier == t) & (city == c)
            visits = int(np.isin(log.user, np.flatnonzero(mine)).sum())
            assert found[t, c, 0] * visits / DAYS == pytest.approx(seconds[t] * pace * mine.sum())


def test_seconds_of_a_visit_where_nobody_came(world: World, log: InteractionLog) -> None:
    """A segment without visits must be given the pace of everybody, never nothing and never infinity."""
    light = tiers_of(log, 120) == 0
    quiet = log.where(~light[log.user], None)
    found = seconds_a_visit(Hand(), world, quiet, np.ones(3), Segments(tuple(world.environment.cities)))
    assert np.isfinite(found).all()
    assert (found > 0.0).all()


def test_visits_are_counted_once_where_there_are_impressions(world: World, log: InteractionLog) -> None:
    """With impressions, a visit of many impressions must count once."""
    shown: Any = SimpleNamespace(
        user=np.repeat(log.user, 3), visit=np.repeat(log.time // 3600, 3), time=np.repeat(log.time, 3)
    )
    segments = Segments(tuple(world.environment.cities))
    with_impressions = seconds_a_visit(Hand(), world, replace(log, impressions=shown), np.ones(3), segments)
    assert with_impressions == pytest.approx(seconds_a_visit(Hand(), world, log, np.ones(3), segments))
