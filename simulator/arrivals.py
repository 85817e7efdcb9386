"""When users come, and when they leave for good.

Two kinds of traffic with one interface: visits drawn from an intensity that remembers satisfaction, and visits
recorded in a log. Which policy served the last visit is unknown here; only how it was received.
"""

from importlib.resources import files
from typing import Final, NamedTuple, Protocol

import numpy as np
import yaml

from simulator.batches import DAY_SECONDS, Floats, Ints
from simulator.compiled import bare_kernel, inlined
from simulator.environment.calendar import busiest_day
from simulator.parameters import ResponseParameters, ReturnParameters
from simulator.state import NEVER, State
from simulator.streams import mix, stream_key, to_unit
from simulator.world import Users, World

SESSION_SECONDS: Final = 1_800
"""Arrivals within half an hour of the last visit's start belong to that visit (the usual session rule of web logs)."""

_GAP, _ACCEPT, _CHURN = 0, 1, 2


class Traffic(Protocol):
    """Who comes when."""

    def open(self, state: State, start: int) -> None:
        """Set the first visit of every row at or after ``start`` (seconds)."""
        ...

    def close_visits(self, state: State, row: Ints, time: Ints) -> None:
        """The visits of these rows are over: move satisfaction, decide who has left, set the next visits."""
        ...

    def pages(self, row: Ints, time: Ints) -> Ints | None:
        """The most pages of the visits that begin at ``time``, int64 [rows]; None where nothing limits them."""
        ...


class Profiles(NamedTuple):
    """Relative intensity by hour of day [24] and weekday [7, Monday first], each of mean 1."""

    hour: Floats
    weekday: Floats


def load_profiles() -> Profiles:
    """The shipped profiles; ``profiles.yaml`` names their source."""
    raw = yaml.safe_load(files("simulator").joinpath("profiles.yaml").read_text(encoding="utf-8"))
    hour, weekday = np.asarray(raw["hour"], float), np.asarray(raw["weekday"], float)
    return Profiles(hour / hour.mean(), weekday / weekday.mean())


class ReturnConstants(NamedTuple):
    """``ReturnParameters`` and the clock as the kernels take them; times in seconds."""

    key: np.uint64
    memory: float
    memory_seconds: float
    sensitivity: float
    neutral: float
    excitation: float
    excitation_seconds: float
    churn_base: float
    churn_sensitivity: float
    visit_reward: float
    end: int


@inlined
def drifted(state: State, row: int, time: int, c: ReturnConstants) -> float:
    """Satisfaction at ``time``: what was felt, drifting back to neutral."""
    elapsed = time - state.satisfaction_time[row]
    return c.neutral + (state.satisfaction[row] - c.neutral) * np.exp(-elapsed / c.memory_seconds)


@inlined
def kicked(state: State, row: int, time: int, c: ReturnConstants) -> float:
    """How many times the intensity is what it would be without self-excitation, at least 1, some time after a visit.

    The kick of the last visit takes the place of earlier ones' (a renewal form of Hawkes' process 1971), so the highest
    intensity is known beforehand, and candidates are common to all arms.
    """
    if c.excitation == 0.0:
        return 1.0
    return 1.0 + c.excitation * np.exp((state.satisfaction_time[row] - time) / c.excitation_seconds)


@inlined
def _judge(users: Users, state: State, row: int, time: int, c: ReturnConstants) -> None:
    felt = 1.0 - np.exp(-c.visit_reward * state.visit_value[row])
    before = drifted(state, row, time, c)
    after = before + c.memory * (felt - before)
    state.satisfaction[row] = after
    state.satisfaction_time[row] = time
    logit = c.churn_base + c.churn_sensitivity * (c.neutral - after)
    key = mix(mix(c.key, users.user[row]), state.visit[row])
    if to_unit(mix(key, _CHURN)) < 1.0 / (1.0 + np.exp(-logit)):
        state.present[row] = False


@bare_kernel
def _judge_all(users: Users, state: State, row: Ints, time: Ints, c: ReturnConstants) -> None:
    for n in range(len(row)):
        _judge(users, state, row[n], time[n], c)


@bare_kernel
def _thin(
    users: Users,
    state: State,
    row: Ints,
    time: Ints,
    intensity: Floats,
    peak: float,
    c: ReturnConstants,
) -> None:
    """Set the next visit of each row.

    Candidate times come from a homogeneous process at the highest intensity the user can ever have; candidate k is a
    visit if its own uniform falls under the ratio of the intensity then to that bound (Lewis and Shedler 1979).
    Candidates depend on (user, k) alone: under another policy the same candidates are accepted or not by the same
    uniforms.
    """
    highest_mood = np.exp(c.sensitivity * (1.0 - c.neutral))
    highest_kick = 1.0 + c.excitation
    for n in range(len(row)):
        r = row[n]
        if not state.present[r]:
            state.next_time[r] = NEVER
            continue
        bound = users.visit_rate[r] * peak * highest_mood * highest_kick / DAY_SECONDS
        user_key = mix(c.key, users.user[r])
        second = time[n]
        k = state.visit[r]
        after_a_visit = k >= 0
        while True:
            k += 1
            key = mix(user_key, k)
            second += 1 + int(-np.log(to_unit(mix(key, _GAP))) / bound)
            if second >= c.end:
                state.next_time[r] = NEVER
                break
            if after_a_visit and second - time[n] < SESSION_SECONDS:
                continue
            mood = np.exp(c.sensitivity * (drifted(state, r, second, c) - c.neutral))
            kick = kicked(state, r, second, c) if after_a_visit else 1.0
            rate = users.visit_rate[r] * intensity[second // 3600] * mood * kick / DAY_SECONDS
            if to_unit(mix(key, _ACCEPT)) * bound < rate:
                state.next_time[r] = second
                break
        state.visit[r] = k


class DrawnVisits:
    """Visits drawn by thinning: profiles of hour, weekday and occasion, memory of satisfaction, self-excitation."""

    def __init__(self, world: World) -> None:
        self._users = world.user_arrays()
        self._constants = return_constants(world)
        profiles = load_profiles()
        calendar = world.environment.calendar
        day = profiles.weekday[calendar.weekday] * calendar.traffic
        self._intensity = np.outer(day, profiles.hour).ravel()
        # Of all years, so that a longer horizon does not redraw the visits of the shorter one.
        busiest = busiest_day(calendar.country)
        self._peak = float(profiles.hour.max() * profiles.weekday.max() * busiest)

    def open(self, state: State, start: int) -> None:
        """See ``Traffic``."""
        row = np.arange(len(state.visit))
        self._draw(state, row, np.full(len(row), start, dtype=np.int64))

    def close_visits(self, state: State, row: Ints, time: Ints) -> None:
        """See ``Traffic``."""
        _judge_all(self._users, state, row, time, self._constants)
        self._draw(state, row, time)

    def pages(self, row: Ints, time: Ints) -> None:
        """See ``Traffic``: as many as the user has patience for."""

    def _draw(self, state: State, row: Ints, time: Ints) -> None:
        _thin(self._users, state, row, time, self._intensity, self._peak, self._constants)


class RecordedTraffic:
    """Visits exactly when a log or a trace has them: nobody comes more often, or stays away, for what was shown."""

    def __init__(self, world: World) -> None:
        if world.visits is None:
            raise ValueError("world.visits: none recorded; use DrawnVisits")
        visits = self._visits = world.visits
        self._span = world.days * DAY_SECONDS + 1
        rows = np.repeat(np.arange(world.users), np.diff(visits.offset))
        self._key = rows * self._span + visits.time  # rises over all visits of all rows

    def open(self, state: State, start: int) -> None:
        """See ``Traffic``."""
        rows = np.arange(len(state.visit))
        self._set(state, rows, np.searchsorted(self._key, rows * self._span + start))

    def close_visits(self, state: State, row: Ints, time: Ints) -> None:
        """See ``Traffic``."""
        self._set(state, row, np.searchsorted(self._key, row * self._span + time, side="right"))

    def pages(self, row: Ints, time: Ints) -> Ints:
        """See ``Traffic``."""
        pages = self._visits.pages[np.searchsorted(self._key, row * self._span + time)]
        return np.where(pages > 0, pages, NEVER)

    def _set(self, state: State, row: Ints, index: Ints) -> None:
        """Let the visits at ``index`` be the next ones; after a row's last visit there is none."""
        visits = self._visits
        there = index < visits.offset[row + 1]
        state.next_time[row] = NEVER
        state.next_time[row[there]] = visits.time[index[there]]
        state.visit[row] = 0
        state.visit[row[there]] = visits.visit[index[there]]
        over = ~there & (index > visits.offset[row])
        state.visit[row[over]] = visits.visit[index[over] - 1] + 1


def return_constants(world: World) -> ReturnConstants:
    """Bind the world's parameters to its clock and stream."""
    returning: ReturnParameters = world.behaviour.returning
    response: ResponseParameters = world.behaviour.response
    return ReturnConstants(
        key=stream_key(world.seed, "arrivals"),
        memory=returning.memory,
        memory_seconds=returning.memory_days * DAY_SECONDS,
        sensitivity=returning.sensitivity,
        neutral=returning.neutral,
        excitation=returning.excitation,
        excitation_seconds=returning.excitation_hours * 3600,
        churn_base=returning.churn_base,
        churn_sensitivity=returning.churn_sensitivity,
        visit_reward=response.visit_reward,
        end=world.days * DAY_SECONDS,
    )


def traffic_of(world: World) -> Traffic:
    """The traffic of a world: recorded where there is a record, drawn elsewhere."""
    return DrawnVisits(world) if world.visits is None else RecordedTraffic(world)
