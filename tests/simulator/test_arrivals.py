import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit
from scipy import stats

from simulator.arrivals import (
    SESSION_SECONDS,
    DrawnVisits,
    RecordedTraffic,
    ReturnConstants,
    drifted,
    kicked,
    load_profiles,
    return_constants,
    traffic_of,
)
from simulator.batches import DAY_SECONDS, Ints
from simulator.engine import opening_state
from simulator.recorded import RecordedWorld
from simulator.state import NEVER, State, copy_state, new_state
from simulator.world import World

TABLES = Path(__file__).parents[2] / "../shared/data/taobao_tables"
LOYAL = {"sensitivity": 0.0, "churn_base": -60.0, "churn_sensitivity": 0.0}


@njit
def _drifted(state: State, row: int, time: int, c: ReturnConstants) -> float:
    return drifted(state, row, time, c)


def visits_of(world: World, value: float, start: int = 0) -> tuple[Ints, Ints, Ints, State]:
    """Row, visit id and time of all visits, each of them worth ``value``, and the state after the last."""
    state = opening_state(world, start)
    traffic = traffic_of(world)
    out = []
    while len(due := np.flatnonzero(state.next_time < NEVER)):
        out.append((due, state.visit[due], state.next_time[due]))
        state.visit_value[due] = value
        traffic.close_visits(state, due, state.next_time[due])
    row, visit, time = (np.concatenate(column) for column in zip(*out, strict=True))
    return row, visit, time, state


def expected_by_hour(world: World) -> np.ndarray:
    """Expected visits in each hour of the horizon at neutral satisfaction, [hours]: a Poisson process with a dead time.

    A visit keeps the next half hour free of visits, so that of the intensity L an hour about L (1 - L / 2) is left.
    """
    profiles, calendar = load_profiles(), world.environment.calendar
    shape = np.outer(profiles.weekday[calendar.weekday] * calendar.traffic, profiles.hour).ravel()
    hourly = world.population.visit_rate[:, None] * shape[None, :] / 24.0
    return (hourly * (1.0 - hourly * SESSION_SECONDS / 3600)).sum(axis=0)


@pytest.fixture(scope="module")
def steady(make_world: Callable[..., World]) -> tuple[World, Ints, Ints, Ints]:
    """A larger world in which nobody minds anything and nobody leaves, with all its visits."""
    world = make_world({"returning": LOYAL, "population": {"visits_per_day": 0.3}}, users=2500, items=50, days=28)
    row, visit, time, _ = visits_of(world, 0.0)
    return world, row, visit, time


def test_profiles_have_mean_one() -> None:
    """The profiles move visits about the day and the week without adding any."""
    profiles = load_profiles()
    assert profiles.hour.shape == (24,)
    assert profiles.weekday.shape == (7,)
    assert np.isclose(profiles.hour.mean(), 1.0)
    assert np.isclose(profiles.weekday.mean(), 1.0)
    assert min(profiles.hour.min(), profiles.weekday.min()) > 0.0


def test_profiles_are_those_of_the_log_they_name() -> None:
    """The shipped hours and weekdays are the page views of the public log, divided by their means."""
    if not TABLES.exists():
        pytest.skip(f"{TABLES.name} is absent")

    def views(name: str) -> np.ndarray:
        with (TABLES / name).open(newline="", encoding="utf-8") as file:
            return np.array([float(row["pv_actions"]) for row in csv.DictReader(file)])

    hour, day = views("hourly_metrics.csv"), views("daily_metrics.csv")[:7]  # Saturday 25 Nov to Friday 1 Dec 2017
    week = np.roll(day, -2)
    assert np.abs(load_profiles().hour - hour / hour.mean()).max() < 0.001
    assert np.abs(load_profiles().weekday - week / week.mean()).max() < 0.001


def test_visits_come_as_often_as_their_rate(steady: tuple[World, Ints, Ints, Ints]) -> None:
    """At neutral mood without churn, users come as often as their rates say, within three standard errors."""
    world, row, _, _ = steady
    expected = expected_by_hour(world).sum()
    assert len(row) > 15_000
    assert abs(len(row) - expected) < 3 * np.sqrt(expected)
    busy = world.population.visit_rate > np.median(world.population.visit_rate)
    share = world.population.visit_rate[busy].sum() / world.population.visit_rate.sum()
    assert abs(busy[row].mean() - share) < 0.015


def test_visits_come_at_their_hours_and_days(steady: tuple[World, Ints, Ints, Ints]) -> None:
    """Visits fall on hours of the day and on days as the profiles and the calendar say (chi-square, variation)."""
    world, _, _, time = steady
    expected = expected_by_hour(world).reshape(world.days, 24)
    for counted, wanted in (
        (np.bincount(time // 3600 % 24, minlength=24), expected.sum(axis=0)),
        (np.bincount(time // DAY_SECONDS, minlength=world.days), expected.sum(axis=1)),
    ):
        share, shape = counted / counted.sum(), wanted / wanted.sum()
        assert stats.chisquare(counted, shape * counted.sum()).pvalue > 1e-3
        assert 0.5 * np.abs(share - shape).sum() < 0.03


def test_visits_are_apart_and_in_order(steady: tuple[World, Ints, Ints, Ints]) -> None:
    """A user's visits come in order of their ids, half an hour apart at the least, within the horizon."""
    world, row, visit, time = steady
    order = np.lexsort((visit, row))
    row, visit, time = row[order], visit[order], time[order]
    same = row[1:] == row[:-1]
    assert (np.diff(time)[same] >= SESSION_SECONDS).all()
    assert (np.diff(visit)[same] > 0).all()
    assert time.min() >= 0
    assert time.max() < world.days * DAY_SECONDS


def test_candidate_visits_are_common_to_all_arms(make_world: Callable[..., World]) -> None:
    """Visits made under delight and under dismay are drawn from the same candidates: one id, one time."""
    world = make_world({"returning": {"sensitivity": 3.0, "churn_base": -60.0}})
    times: dict[tuple[int, int], int] = {}
    counts = []
    for value in (5.0, 0.0):
        row, visit, time, _ = visits_of(world, value)
        counts.append(len(row))
        for key, when in zip(zip(row.tolist(), visit.tolist(), strict=True), time.tolist(), strict=True):
            assert times.setdefault(key, when) == when
    assert len(times) < sum(counts)
    assert counts[0] > 1.5 * counts[1]


def test_mood_does_not_matter_to_the_insensitive(make_world: Callable[..., World]) -> None:
    """With no sensitivity and no churn, visits under delight and under dismay are the same visits."""
    world = make_world({"returning": LOYAL})
    delight, dismay = visits_of(world, 5.0), visits_of(world, 0.0)
    for one, other in zip(delight[:3], dismay[:3], strict=True):
        assert np.array_equal(one, other)


def test_return_rises_with_satisfaction(make_world: Callable[..., World]) -> None:
    """The more visits are worth, the more of them there are, and the fewer users leave for good."""
    world = make_world({"returning": {"churn_base": -3.0}}, users=400)
    played = [visits_of(world, value) for value in (0.0, 0.4, 3.0)]
    counts, present = [len(p[0]) for p in played], [int(p[3].present.sum()) for p in played]
    assert counts == sorted(counts)
    assert counts[-1] > 1.2 * counts[0]
    assert present == sorted(present)
    assert present[-1] > present[0]


def test_satisfaction_is_an_average_that_drifts_back(world: World) -> None:
    """One visit moves satisfaction by its share towards what was felt; time takes it back to neutral exponentially."""
    returning, reward = world.behaviour.returning, world.behaviour.response.visit_reward
    state, c = opening_state(world, 0), return_constants(world)
    rows = np.flatnonzero(state.next_time < NEVER)[:20]
    time = state.next_time[rows].copy()
    state.visit_value[rows] = 2.0
    DrawnVisits(world).close_visits(state, rows, time)
    felt = 1.0 - np.exp(-reward * 2.0)
    after = returning.neutral + returning.memory * (felt - returning.neutral)
    assert np.allclose(state.satisfaction[rows], after)
    row, now = int(rows[0]), int(time[0])
    assert np.isclose(_drifted(state, row, now, c), after)
    later = _drifted(state, row, now + int(returning.memory_days * DAY_SECONDS), c)
    assert np.isclose(later - returning.neutral, (after - returning.neutral) / np.e, rtol=1e-3)
    assert np.isclose(_drifted(state, row, now + 10**9, c), returning.neutral)


def test_satisfaction_stays_a_share(make_world: Callable[..., World]) -> None:
    """Satisfaction never leaves 0..1, so that the bound of the thinning is one."""
    world = make_world({"returning": {"memory": 1.0, "churn_base": -60.0}})
    for value in (0.0, 1e9):
        satisfaction = visits_of(world, value)[3].satisfaction
        assert ((satisfaction >= 0.0) & (satisfaction <= 1.0)).all()


def test_who_has_left_never_returns(make_world: Callable[..., World]) -> None:
    """Where leaving is certain everybody comes once at the most, and no later opening brings anybody back."""
    world = make_world({"returning": {"churn_base": 60.0}})
    row, _, _, state = visits_of(world, 1.0)
    assert len(np.unique(row)) == len(row) > 100
    assert not state.present[row].any()
    came = np.zeros(world.users, dtype=bool)
    came[row] = True
    assert state.present[~came].all()
    DrawnVisits(world).open(state, 0)
    assert (state.next_time[row] == NEVER).all()


def test_churn_is_its_probability(make_world: Callable[..., World]) -> None:
    """After a visit that left users neutral, they leave for good with the probability of the base logit."""
    world = make_world({"returning": {"churn_base": -1.0, "memory": 0.0}}, users=3000, items=50)
    state = opening_state(world, 0)
    rows = np.flatnonzero(state.next_time < NEVER)
    DrawnVisits(world).close_visits(state, rows, state.next_time[rows].copy())
    expected = 1.0 / (1.0 + np.e)
    assert abs((~state.present[rows]).mean() - expected) < 4 * np.sqrt(expected * (1 - expected) / len(rows))


def test_dismay_makes_more_leave(make_world: Callable[..., World]) -> None:
    """On the same draws everybody who leaves after a good visit would have left after a bad one."""
    world = make_world({"returning": {"churn_base": -2.0, "churn_sensitivity": 8.0, "memory": 0.5}}, users=1000)
    start = opening_state(world, 0)
    rows = np.flatnonzero(start.next_time < NEVER)
    left = []
    for value in (0.0, 5.0):
        state = copy_state(start)
        state.visit_value[:] = value
        DrawnVisits(world).close_visits(state, rows, state.next_time[rows].copy())
        left.append(~state.present)
    assert (left[0] | ~left[1]).all()
    assert left[0].sum() > 1.5 * left[1].sum()


@pytest.mark.parametrize("start", [0, 6])
def test_nobody_comes_before_the_opening(world: World, start: int) -> None:
    """First visits lie at or after the day of opening, and after the end there are none."""
    state = opening_state(world, start)
    coming = state.next_time < NEVER
    assert coming.sum() > 0.9 * world.users
    assert (state.next_time >= start * DAY_SECONDS).all()
    assert (state.next_time[coming] < world.days * DAY_SECONDS).all()
    assert (opening_state(world, world.days).next_time == NEVER).all()


def test_visits_do_not_depend_on_who_else_comes(world: World, rows: Ints) -> None:
    """Closing visits one by one or together, in any order, sets the same next visits."""
    start = opening_state(world, 0)
    rows = rows[start.next_time < NEVER]
    together, apart = copy_state(start), copy_state(start)
    traffic = DrawnVisits(world)
    traffic.close_visits(together, rows, start.next_time[rows])
    for row in rows[::-1]:
        traffic.close_visits(apart, np.array([row]), start.next_time[[row]])
    for name, array in together._asdict().items():
        assert np.array_equal(array, getattr(apart, name)), name


def test_a_users_rate_is_the_users_own(world: World) -> None:
    """One user made busier changes no visit of the others."""
    rate = world.population.visit_rate.copy()
    rate[7] *= 4
    busy = replace(world, population=replace(world.population, visit_rate=rate))
    (row, _, time, _), (busy_row, _, busy_time, _) = visits_of(world, 1.0), visits_of(busy, 1.0)

    def by_user(row: Ints, time: Ints) -> list[tuple[int, int]]:
        return sorted((r, t) for r, t in zip(row.tolist(), time.tolist(), strict=True) if r != 7)

    assert by_user(row, time) == by_user(busy_row, busy_time)
    assert (busy_row == 7).sum() > (row == 7).sum()


def test_recorded_traffic_is_the_record(recorded: RecordedWorld) -> None:
    """Recorded visits come at the recorded times with ids counted from the first, whatever they were worth."""
    visits = recorded.world.visits
    assert visits is not None
    for value in (0.0, 9.0):
        row, visit, time, state = visits_of(recorded.world, value)
        order = np.lexsort((visit, row))
        assert np.array_equal(time[order], visits.time)
        assert np.array_equal(np.bincount(row, minlength=6), np.diff(visits.offset))
        assert np.array_equal(visit[order], np.concatenate([np.arange(n) for n in np.diff(visits.offset)]))
        assert state.present.all()


@pytest.mark.parametrize("day", [0, 1, 5, 11, 12])
def test_recorded_traffic_may_open_later(recorded: RecordedWorld, day: int) -> None:
    """Opened on a later day, a record goes on with its first visit from then on, under the id it always had."""
    visits = recorded.world.visits
    assert visits is not None
    state = opening_state(recorded.world, day)
    for row in range(recorded.world.users):
        mine = visits.time[visits.offset[row] : visits.offset[row + 1]]
        later = np.flatnonzero(mine >= day * DAY_SECONDS)
        assert state.next_time[row] == (mine[later[0]] if len(later) else NEVER)
        assert state.visit[row] == (later[0] if len(later) else len(mine))


def test_each_world_gets_its_traffic(world: World, recorded: RecordedWorld) -> None:
    """A world with a record replays it and one without draws; asking the latter for its record is an error."""
    assert isinstance(traffic_of(world), DrawnVisits)
    assert isinstance(traffic_of(recorded.world), RecordedTraffic)
    with pytest.raises(ValueError, match=r"world\.visits"):
        RecordedTraffic(world)


def test_a_blank_state_has_a_first_candidate(world: World) -> None:
    """Opening moves every user from no visit to a numbered one."""
    state: Any = new_state(world.users, world.catalog.items, 0.25)
    DrawnVisits(world).open(state, 0)
    assert (state.visit >= 0).all()


EXCITED = {**LOYAL, "excitation": 3.0, "excitation_hours": 4.0}


def gaps_of(world: World) -> Ints:
    """Seconds between visits of the same user."""
    row, visit, time, _ = visits_of(world, 0.0)
    order = np.lexsort((visit, row))
    same = np.diff(row[order]) == 0
    return np.asarray(np.diff(time[order])[same])


@njit
def _kicked(state: State, row: int, time: int, c: ReturnConstants) -> float:
    return kicked(state, row, time, c)


def test_a_visit_calls_for_another(make_world: Callable[..., World]) -> None:
    """Self-excitation makes visits more, and more of them soon after another; without it nothing changes.

    The expected kick of a user with one visit a day or so is small against the day, so most gaps stay long.
    """
    plain, excited, none = (
        make_world({"returning": behaviour, "population": {"visits_per_day": 0.5}}, users=800, items=50)
        for behaviour in (LOYAL, EXCITED, {**LOYAL, "excitation": 0.0, "excitation_hours": 1.0})
    )
    soon = 6 * 3600
    gaps, kicked_gaps = gaps_of(plain), gaps_of(excited)
    assert len(kicked_gaps) > 1.1 * len(gaps)
    assert (kicked_gaps < soon).mean() > 1.5 * (gaps < soon).mean()
    for one, other in zip(visits_of(plain, 1.0)[:3], visits_of(none, 1.0)[:3], strict=True):
        assert np.array_equal(one, other)


@given(st.floats(0.0, 20.0), st.floats(0.1, 100.0), st.integers(0, 10**7))
def test_the_kick_decays_and_is_bounded(world: World, excitation: float, hours: float, later: int) -> None:
    """Right after a visit the kick is 1 + excitation, never more and never below 1, and it falls with time."""
    c = return_constants(world)._replace(excitation=excitation, excitation_seconds=hours * 3600)
    state = new_state(1, 4, 0.25)
    assert _kicked(state, 0, 0, c) == pytest.approx(1.0 + excitation)
    now, then = _kicked(state, 0, later, c), _kicked(state, 0, later + 3600, c)
    assert 1.0 <= then <= now <= 1.0 + excitation


def test_the_bound_holds_at_the_busiest_moment(make_world: Callable[..., World]) -> None:
    """Users whose intensity is at its bound all the time come at every candidate, and as often as that intensity says.

    With a kick that does not decay and profiles that are flat at their peak. A bound that is too high would thin
    candidates; one that is too low would cut the rate.
    """
    world = make_world(
        {"returning": {**LOYAL, "excitation": 4.0, "excitation_hours": 1e9}, "population": {"visits_per_day": 0.02}},
        users=400,
        items=50,
    )
    traffic = DrawnVisits(world)
    traffic._intensity = np.full_like(traffic._intensity, traffic._peak)
    state = opening_state(world, 0)
    state.visit[:], state.satisfaction_time[:] = 0, 0
    rows = np.arange(world.users)
    traffic.close_visits(state, rows, np.zeros(world.users, np.int64))
    came = state.next_time < NEVER
    skipped = state.visit[came] - 1
    assert came.sum() > 100
    assert (skipped == 0).mean() > 0.95  # the others lie within half an hour of the visit
    expected = 1.0 - np.exp(-world.population.visit_rate * traffic._peak * 5.0 * world.days)
    assert abs(came.sum() - expected.sum()) < 4 * np.sqrt((expected * (1 - expected)).sum())


def test_excited_candidates_are_common_to_all_arms(make_world: Callable[..., World]) -> None:
    """With self-excitation too, visits made under delight and under dismay have one id and one time in both."""
    returning = {"sensitivity": 3.0, "churn_base": -60.0, "excitation": 2.0}
    world = make_world({"returning": returning})
    times: dict[tuple[int, int], int] = {}
    counts = []
    for value in (5.0, 0.0):
        row, visit, time, _ = visits_of(world, value)
        counts.append(len(row))
        for key, when in zip(zip(row.tolist(), visit.tolist(), strict=True), time.tolist(), strict=True):
            assert times.setdefault(key, when) == when
    assert len(times) < sum(counts)
    assert counts[0] > counts[1]
