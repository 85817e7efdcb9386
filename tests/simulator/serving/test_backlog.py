from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.serving.backlog import DAY, DayOfQueue
from simulator.serving.cluster import Cluster, serve
from simulator.serving.counted import CountedJobs
from simulator.serving.errors import ServingError
from simulator.serving.stretch import full_rate
from simulator.streams import Stream

DAYS = st.builds(
    DayOfQueue,
    capacity=st.floats(0.01, 10.0),
    before=st.one_of(st.just(0.0), st.floats(1.0, 1e6)),
    jobs=st.one_of(st.just(0.0), st.floats(1.0, 1e6)),
    window=st.floats(3600.0, DAY),
)


@given(DAYS)
def test_jobs_are_conserved(day: DayOfQueue) -> None:
    """Jobs begun must be those done at the full rate and those begun as they come; nothing waits below nothing."""
    assert day.served == pytest.approx(day.capacity * day.at_full_rate + day.rate * day.light, rel=1e-6, abs=1e-3)
    assert day.before + day.jobs == pytest.approx(day.served + day.after)
    assert day.after >= 0.0
    assert -1e-6 <= day.served <= day.capacity * DAY * (1 + 1e-9)
    assert 0.0 <= day.at_full_rate <= DAY + 1e-6


@given(DAYS, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_nobody_overtakes(day: DayOfQueue, one: float, other: float) -> None:
    """Who comes later must not be begun earlier."""
    offset = np.sort(np.array([one, other])) * day.window
    begun = offset + day.waits(offset)
    assert begun[1] >= begun[0] - 1e-6


@given(DAYS)
def test_waiting_ends_when_it_is_caught_up(day: DayOfQueue) -> None:
    """Before the queue is caught up everybody must wait, and nobody after."""
    if day.before > 0.0 and 0.0 < day.caught_up < day.window:
        assert (day.waits(np.array([0.0, 0.99 * day.caught_up])) > 0.0).all()
        assert day.waits(np.array([day.window])) == pytest.approx([0.0], abs=1e-6)
    if day.before == 0.0 and day.load <= 1.0:
        assert (day.waits(np.linspace(0.0, day.window, 5)) == 0.0).all()


def test_a_day_by_hand() -> None:
    """Twice what can be done in six hours must take twelve, the last to come waiting six."""
    day = DayOfQueue(capacity=1.0, before=0.0, jobs=2 * 21_600.0, window=21_600.0)
    assert day.load == 2.0
    assert day.waits(np.array([0.0, 10_800.0, 21_600.0])).tolist() == [0.0, 10_800.0, 21_600.0]
    assert (day.at_full_rate, day.light, day.after, day.served) == (43_200.0, 0.0, 0.0, 43_200.0)


def test_what_is_left_waits_overnight() -> None:
    """What a day leaves must be before the next day's jobs."""
    first = DayOfQueue(1.0, 0.0, 1.5 * DAY)
    assert first.after == pytest.approx(0.5 * DAY)
    second = DayOfQueue(1.0, first.after, 0.25 * DAY)
    assert second.waits(np.array([0.0])) == pytest.approx([0.5 * DAY])
    assert second.caught_up == pytest.approx(2 / 3 * DAY)
    assert second.light == pytest.approx(1 / 3 * DAY)


@pytest.mark.parametrize(
    ("field", "values"),
    [("capacity", (0.0, 0.0, 1.0)), ("before", (1.0, -1.0, 1.0)), ("window", (1.0, 0.0, 1.0, 2 * DAY))],
)
def test_impossible_days_are_refused(field: str, values: tuple[float, ...]) -> None:
    """A number out of its bounds must be named."""
    with pytest.raises(ServingError, match=field):
        DayOfQueue(*values)


def test_the_limit_tells_when_a_cluster_played_call_by_call_is_done(cluster: Callable[..., Cluster]) -> None:
    """Jobs of a burst, played one by one on cards that cannot keep up, must be done when the fluid queue says."""
    jobs = CountedJobs(
        np.array([0.5, 0.5]),
        np.array([0, 0, 0, 1, 1]),
        np.array([0, 0, 1, 0, 1]),
        np.zeros(5, np.int64),
        np.array([30, 30, 10, 60, 5]),
        np.array([20, 10, 15, 25, 10]),
    )
    built = cluster(instances=2)
    full = full_rate(built, jobs, jobs_at_once=8, seed=5)
    capacity = 2 * full.rate
    count, window = 6000, 6000 / (1.6 * capacity)
    offset = np.sort(Stream(5, "test/due").uniform(np.arange(count)) * window)
    served = serve(built, jobs.workload(jobs.drawn(count, 5), offset), jobs_at_once=16)
    told = offset + DayOfQueue(capacity, 0.0, count, window).waits(offset) + np.median(full.job)
    off = np.abs(told - served.job_finished)
    # How far the numbers of jobs come so far may be from even, 99.9% of the time (Kolmogorov), as time.
    assert off.max() < 1.95 * np.sqrt(count) / capacity + np.median(full.job)
    assert off.mean() < 0.03 * (told - offset).max()
