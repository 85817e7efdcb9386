"""The refresh schedule: budget, ages, causes, and independence from whatever it must not depend on."""

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from policies.recgpt.nearline import NO_CLASS, RefreshParams, Schedule, oldest_first, weather_class
from simulator.environment.context import ObservedContext, build_environment
from simulator.taxonomy import WEATHER_SIGNALS, load_taxonomy

DAYS = 16
AGELESS = 10**6
CITIES = 3
RAIN, SUN = WEATHER_SIGNALS.index("rain"), WEATHER_SIGNALS.index("sun")
BASE = build_environment(
    [f"place {k}" for k in range(CITIES)], "US", date(2015, 6, 1), DAYS, 1, load_taxonomy(), with_weather=False
).observed()
OCCASIONS, TOPICS = len(BASE.occasions), len(BASE.topics)


def context_of(
    weather: Any = None, days_until: dict[int, list[int]] | None = None, trend: dict[int, list[float]] | None = None
) -> ObservedContext:
    """A quiet context with a weather class for each city and day, and days to some occasions and levels of topics."""
    signals = np.zeros((CITIES, DAYS, len(WEATHER_SIGNALS)))
    if weather is not None:
        city, day = np.nonzero(np.asarray(weather) != NO_CLASS)
        signals[city, day, np.asarray(weather)[city, day]] = 0.8
    until = np.full((DAYS, OCCASIONS), 10_000, np.int32)
    for occasion, column in (days_until or {}).items():
        until[:, occasion] = column
    level = np.zeros((DAYS, TOPICS))
    for topic, levels in (trend or {}).items():
        level[:, topic] = levels
    return replace(BASE, weather_signals=signals, days_until=until, trend_level=level)


def random_context(seed: int) -> ObservedContext:
    """Weather, occasions and topics that come and go at random."""
    rng = np.random.default_rng(seed)
    return context_of(
        rng.integers(-1, 3, (CITIES, DAYS)),
        {k: rng.integers(0, 60, DAYS).tolist() for k in range(2)},
        {k: (rng.random(DAYS) * 0.4).tolist() for k in range(2)},
    )


def run(params: RefreshParams, city: Any, context: ObservedContext, seed: int = 3, first: int = 2) -> list[np.ndarray]:
    """Days of the last refresh after each day of the schedule, one int64 [users] a day."""
    return [schedule.last.copy() for schedule in steps(params, city, context, seed, first)]


def steps(params: RefreshParams, city: Any, context: ObservedContext, seed: int = 3, first: int = 2) -> Any:
    """The schedule after each of its days."""
    schedule = Schedule(params, np.asarray(city, np.int32), seed)
    schedule.begin(first, context)
    yield schedule
    for day in range(first + 1, DAYS):
        schedule.step(day, context)
        yield schedule


cities = st.lists(st.integers(-1, CITIES - 1), min_size=1, max_size=60)
seeds = st.integers(0, 2**31)
causes = st.sets(st.sampled_from(["weather", "holiday", "trend"])).map(tuple)


@settings(deadline=None, max_examples=40)
@given(city=cities, seed=seeds, on=causes, age=st.integers(1, 9), budget=st.floats(0, 1.5))
def test_budget_is_never_exceeded(city: list[int], seed: int, on: tuple[str, ...], age: int, budget: float) -> None:
    """After the first day no day grants more than a day's jobs, rounded up, nor all days together more than theirs."""
    params = RefreshParams(max_age_days=age, on=on, budget=budget)
    granted = [int((last == 2 + k).sum()) for k, last in enumerate(run(params, city, random_context(seed), seed))]
    assert granted[0] == len(city)
    assert all(jobs <= np.ceil(budget * len(city)) for jobs in granted[1:])
    for days in range(1, len(granted)):
        assert sum(granted[1 : days + 1]) <= budget * len(city) * days + 1e-6


@settings(deadline=None, max_examples=40)
@given(city=cities, seed=seeds, on=causes, age=st.integers(1, 9))
def test_without_a_budget_nobody_waits_or_outlives_the_age(
    city: list[int], seed: int, on: tuple[str, ...], age: int
) -> None:
    """Without a budget whoever is due is refreshed on the day, and no tags grow older than ``max_age_days - 1``."""
    params = RefreshParams(max_age_days=age, on=on)
    for k, schedule in enumerate(steps(params, city, random_context(seed), seed)):
        assert not schedule.waiting.any()
        assert (2 + k - schedule.last).max() < age


@settings(deadline=None, max_examples=40)
@given(city=cities, seed=seeds, on=causes, budget=st.none() | st.floats(0, 0.5))
def test_counters_add_up(city: list[int], seed: int, on: tuple[str, ...], budget: float | None) -> None:
    """Those due by age or by change alone are those granted or waiting, and each cause is counted where it is on."""
    params = RefreshParams(max_age_days=5, on=on, budget=budget)
    for k, schedule in enumerate(steps(params, city, random_context(seed), seed)):
        day = 2 + k
        of = schedule.counters(day)
        by_cause = [of["due_weather"], of["due_holiday"], of["due_trend"]]
        assert of["due_age"] + of["due_change"] == of["granted"] + of["waiting"]
        assert of["waiting"] == schedule.waiting.sum()
        assert of["granted"] == (schedule.last == day).sum()
        assert of["due_change"] <= sum(by_cause)
        assert max(by_cause) <= of["due_change"] + of["due_age"]
        assert {cause for cause, due in zip(("weather", "holiday", "trend"), by_cause, strict=True) if due} <= set(on)
        assert of["mean_age_days"] == pytest.approx((day - schedule.last).mean())


@settings(deadline=None, max_examples=30)
@given(city=cities, more=cities, seed=seeds)
def test_other_users_do_not_matter_without_a_budget(city: list[int], more: list[int], seed: int) -> None:
    """A user's refreshes follow from the row, the city and the context, whoever else is on the platform."""
    params, context = RefreshParams(), random_context(seed)
    alone = run(params, city, context, seed)
    among = run(params, city + more, context, seed)
    assert all(np.array_equal(a, b[: len(city)]) for a, b in zip(alone, among, strict=True))


@settings(deadline=None, max_examples=60)
@given(data=st.data(), last=st.lists(st.integers(0, 5), min_size=1, max_size=40), seed=seeds)
def test_order_of_users_does_not_matter(data: st.DataObject, last: list[int], seed: int) -> None:
    """Listed in another order with their draws, the same users get the places, the oldest before the younger."""
    draw = np.random.default_rng(seed).random(len(last))
    order = np.array(data.draw(st.permutations(range(len(last)))))
    places = data.draw(st.integers(0, len(last) + 2))
    days = np.array(last)
    chosen = oldest_first(days, draw, places)
    assert np.array_equal(order[oldest_first(days[order], draw[order], places)], chosen)
    assert len(chosen) == min(places, len(last))
    refused = np.setdiff1d(np.arange(len(last)), chosen)
    if len(chosen) and len(refused):
        assert days[chosen].max() <= days[refused].min()


@settings(deadline=None, max_examples=20)
@given(city=cities, seed=seeds, budget=st.none() | st.floats(0, 0.5))
def test_the_future_is_not_read(city: list[int], seed: int, budget: float | None) -> None:
    """Handed the context day by day, or all of it, the schedule is the same."""
    params, context = RefreshParams(budget=budget), random_context(seed)
    whole = run(params, city, context, seed)
    schedule = Schedule(params, np.asarray(city, np.int32), seed)
    schedule.begin(2, context.until(2))
    for day in range(3, DAYS):
        schedule.step(day, context.until(day))
        assert np.array_equal(schedule.last, whole[day - 2])


def test_without_places_only_the_first_day_thinks() -> None:
    """With a budget of 0 everybody keeps the tags of the first day."""
    assert (run(RefreshParams(budget=0), [0, 1, -1], random_context(4))[-1] == 2).all()


def test_fractions_of_a_job_add_up() -> None:
    """A quarter of a job a day for one user is one job in four days."""
    last = run(RefreshParams(max_age_days=1, budget=0.25), [0], context_of(), first=0)
    assert [int(day[0]) for day in last] == [0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12]


def test_ages_are_staggered() -> None:
    """In a quiet world every day after the first sees about one user in ``max_age_days``."""
    last = run(RefreshParams(max_age_days=7), np.zeros(7000), context_of(), first=0)
    granted = np.array([(row == day).sum() for day, row in enumerate(last)])[1:]
    assert granted.min() > 850
    assert granted.max() < 1150
    assert granted[:7].sum() == 7000


def test_beginning_again_forgets() -> None:
    """A schedule that begins anew is one that never ran."""
    context = random_context(9)
    schedule = Schedule(RefreshParams(budget=0.2), np.zeros(50, np.int32), 3)
    first = []
    for _ in range(2):
        schedule.begin(0, context)
        for day in range(1, 6):
            schedule.step(day, context)
        first.append(schedule.last.copy())
    assert np.array_equal(first[0], first[1])
    schedule.begin(3, context)
    with pytest.raises(ValueError, match=r"day: 0 \(not scheduled\)"):
        schedule.counters(0)


def test_weather_must_last_two_days_to_count() -> None:
    """One day of rain changes nothing; two make their city due on the second, and only there."""
    weather = np.full((CITIES, DAYS), SUN)
    weather[0, 4] = RAIN
    weather[0, 7:10] = RAIN
    params = RefreshParams(max_age_days=AGELESS, on=("weather",))
    last = run(params, [0, 1, -1], context_of(weather), first=0)
    assert np.unique([row[0] for row in last]).tolist() == [0, 8, 11]
    assert last[-1][1] < 1
    assert last[-1][2] < 1


def test_days_without_a_class_change_nothing() -> None:
    """Faint signals, zero signals and unknown ones are no class, and make nobody due."""
    weather = np.full((CITIES, DAYS), SUN)
    weather[:, 5:] = NO_CLASS
    context = context_of(weather)
    faint = context.weather_signals.copy()
    faint[:, 8:, RAIN] = 0.3
    faint[:, 12:] = np.nan
    context = replace(context, weather_signals=faint)
    assert (weather_class(context)[:, 5:] == NO_CLASS).all()
    assert (run(RefreshParams(max_age_days=AGELESS, on=("weather",)), [0, 1], context, first=0)[-1] == 0).all()


def test_holidays_count_from_their_lead_up() -> None:
    """An occasion makes everybody due once, on the day its lead-up begins; one that is already near does not."""
    lead = int(BASE.lead_days[0])
    coming = [max(lead + 4 - day, 0) for day in range(DAYS)]
    near = [max(int(BASE.lead_days[1]) - day, 0) for day in range(DAYS)]
    context = context_of(days_until={0: coming, 1: near})
    last = run(RefreshParams(max_age_days=AGELESS, on=("holiday",)), [0, -1], context, first=0)
    assert [row.tolist() for row in last[3:5]] == [[0, 0], [4, 4]]
    assert last[-1].tolist() == [4, 4]


def test_trends_count_when_they_become_perceptible() -> None:
    """A topic makes everybody due when it is first perceptible, not while it stays, and again when it comes back."""
    context = context_of(trend={0: [0.0] * 3 + [0.5] * 4 + [0.1] * 3 + [0.6] * 6})
    last = run(RefreshParams(max_age_days=AGELESS, on=("trend",)), [0], context, first=0)
    assert np.unique([row[0] for row in last]).tolist() == [0, 3]
    last = run(RefreshParams(max_age_days=8, on=("trend",)), np.zeros(200), context, first=0)
    thought_in_the_lull = (last[9] >= 7) & (last[9] <= 9)
    assert (last[10][thought_in_the_lull] == 10).all()


def test_days_come_in_order() -> None:
    """A step before the first day, one twice, one left out and one past the context are refused."""
    context = context_of().until(5)
    schedule = Schedule(RefreshParams(), np.zeros(3, np.int32), 1)
    with pytest.raises(ValueError, match=r"day: 1 \(begin first\)"):
        schedule.step(1, context)
    with pytest.raises(ValueError, match="not scheduled"):
        schedule.counters(1)
    schedule.begin(3, context)
    for day in (3, 5):
        with pytest.raises(ValueError, match=rf"day: {day} \(must be 4"):
            schedule.step(day, context)
    schedule.step(4, context)
    schedule.step(5, context)
    with pytest.raises(ValueError, match=r"day: 6 \(must be 0..5"):
        schedule.step(6, context)


def test_unknown_places_are_refused() -> None:
    """A city that the context does not have is an error, an unknown one is not."""
    schedule = Schedule(RefreshParams(), np.array([0, CITIES], np.int32), 1)
    with pytest.raises(ValueError, match=rf"city: {CITIES} \(must be -1..{CITIES - 1}\)"):
        schedule.begin(0, context_of())
    Schedule(RefreshParams(), np.full(2, -1, np.int32), 1).begin(0, context_of())


def test_nobody_can_be_scheduled() -> None:
    """A platform without users has a schedule with nothing in it."""
    schedule = Schedule(RefreshParams(budget=1), np.zeros(0, np.int32), 1)
    schedule.begin(0, context_of())
    schedule.step(1, context_of())
    assert schedule.counters(1)["granted"] == 0


@pytest.mark.parametrize("wrong", [{"max_age_days": 0}, {"budget": -0.1}, {"on": ["moon"]}, {"when": 1}])
def test_parameters_are_checked(wrong: dict[str, Any]) -> None:
    """Ages under a day, negative budgets, unknown causes and unknown keys are refused."""
    with pytest.raises(ValidationError):
        RefreshParams.model_validate(wrong)
