from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.serving_config import PlatformServing
from experiments.serving_queue import ArmQueue, QueueTask, play_band, play_queue, slowed
from simulator.batches import DAY_SECONDS, Ints
from simulator.serving.backlog import DAY
from simulator.serving.counted import CountedJobs
from simulator.serving.errors import ServingError
from simulator.serving.steptime import StepTime
from simulator.serving.stretch import full_rate

USERS = 200
JOBS = CountedJobs(
    np.array([0.5, 0.5]),
    np.array([0, 0, 0, 1, 1]),
    np.array([0, 0, 1, 0, 1]),
    np.zeros(5, np.int64),
    np.array([300, 300, 100, 500, 60]),
    np.array([20, 10, 15, 25, 10]),
)


def task(
    load: float, cards: int = 2, grants: list[tuple[int, Ints]] | None = None, days: int = 6, **changes: Any
) -> QueueTask:
    """A platform whose users are all granted every day, at a load that a mean day has on one cluster of two cards."""
    fields = {"model": "qwen3-8b", "hardware": "h20", "instances": cards, "jobs": 60, "jobs_at_once": 16} | changes
    block = PlatformServing.model_validate(fields | {"users": 1})
    capacity = 2 * full_rate(block.cluster(), JOBS, 16, 3, 60).rate * DAY
    block = block.model_copy(update={"users": round(load * capacity)})
    everybody = np.arange(USERS)
    grants = grants or [(10 + day, everybody) for day in range(days)]
    return QueueTask(block, "arm", grants, USERS, JOBS, 3)


def played(*arguments: Any, **changes: Any) -> ArmQueue:
    """A task, carried out."""
    return play_queue(task(*arguments, **changes), lambda: None)


def test_a_large_cluster_delays_nobody() -> None:
    """Far below what the cluster can do, thoughts must be there seconds after they were asked for."""
    queue = played(0.3)
    took = queue.done.ready - queue.done.due
    assert 0.0 < took.min() <= took.max() < 60.0
    assert not any(day.merged for day in queue.days)
    assert all(day.queue.load == pytest.approx(0.3, rel=0.01) for day in queue.days)


def test_the_first_day_costs_nothing() -> None:
    """On the first day everybody's thoughts must be there from its first second, before any job."""
    queue = played(0.3)
    users, start = np.arange(USERS), np.full(USERS, 10 * DAY_SECONDS)
    assert (queue.deliveries.day_of(users, start) == 10).all()
    assert (queue.deliveries.day_of(users, start - 1) == -1).all()
    assert [day.day for day in queue.days] == [11, 12, 13, 14, 15]
    assert queue.done.due.min() >= 11 * DAY


def test_a_small_cluster_delays_and_is_not_asked_twice() -> None:
    """Above what it can do jobs must wait ever longer, and a user who waits is not asked for again."""
    queue = played(1.5)
    waits = [float((queue.done.begun - queue.done.due)[queue.done.day == day.day].mean()) for day in queue.days[:2]]
    assert 3600.0 < waits[0] < waits[1]
    assert all(day.merged for day in queue.days[1:])
    for user in range(0, USERS, 17):
        mine = queue.done.user == user
        due, begun, ready = (part[mine] for part in (queue.done.due, queue.done.begun, queue.done.ready))
        assert (begun[:-1] <= due[1:]).all()
        assert (np.diff(ready) >= 0.0).all()


@settings(max_examples=15, deadline=None)
@given(st.floats(0.2, 3.0), st.integers(0, USERS - 1), st.integers(0, 6 * DAY_SECONDS))
def test_thoughts_are_of_the_day_on_which_they_were_begun(load: float, user: int, after: int) -> None:
    """At any moment what serves must be begun by then, and overdue only if something newer was asked for by then."""
    queue = played(load)
    at = np.array([10 * DAY_SECONDS + after])
    who = np.array([user])
    day = int(queue.deliveries.day_of(who, at)[0])
    done = (queue.done.user == user) & (queue.done.ready <= at[0] - 1)
    assert day >= max([10, *np.floor(queue.done.begun[done] / DAY).astype(int).tolist()])
    assert day <= at[0] // DAY_SECONDS
    if not queue.deliveries.overdue(who, at)[0]:
        asked = (queue.done.user == user) & (queue.done.due + 1 <= at[0])
        assert day >= max([10, *queue.done.day[asked].tolist()])


def test_conservation_over_days() -> None:
    """What a day leaves must wait before the next day's jobs, and no job is lost."""
    queue = played(1.2)
    for before, after in zip(queue.days, queue.days[1:], strict=False):
        assert after.queue.before == before.queue.after
    asked = sum(day.queue.jobs for day in queue.days)
    assert asked == pytest.approx(sum(day.queue.served for day in queue.days) + queue.days[-1].queue.after)
    each = task(1.2).users_each
    assert asked == pytest.approx(each * len(queue.done.user))
    assert sum(day.granted - day.merged for day in queue.days) == len(queue.done.user)


def test_more_cards_are_never_later() -> None:
    """With more cards no user's first job may be begun later, and cards must be busy for the same work or less."""
    small, large = played(1.5), played(1.5, cards=4)
    first_day = [queue.done.day == 11 for queue in (small, large)]
    assert (large.done.begun[first_day[1]] <= small.done.begun[first_day[0]] + 60.0).all()
    assert large.days[0].queue.after < small.days[0].queue.after
    assert small.days[0].busy(2) == pytest.approx(2 * DAY, rel=0.01)
    assert large.days[0].busy(4) < 4 * DAY


def test_a_larger_platform_with_more_cards_is_the_same() -> None:
    """Twice the users on twice the cards, both more than are played, must wait the same."""
    one, two = played(3.0, cards=4), played(6.0, cards=8)
    assert two.done.begun == pytest.approx(one.done.begun, abs=1.0)


def test_a_burst_waits_longer_than_an_even_day() -> None:
    """Jobs asked for within four hours must wait where the same jobs over a whole day do not."""
    even, burst = played(0.6), played(0.6, spread_hours=4.0)
    assert (even.done.begun - even.done.due).max() < 10.0
    assert (burst.done.begun - burst.done.due).max() > 3600.0
    assert all(day.queue.after == 0.0 for day in burst.days)
    assert max((burst.done.due % DAY).max(), 0.0) <= 4 * 3600.0


def test_a_day_without_jobs_drains() -> None:
    """Where nobody is granted the cluster must work off what waits, and then rest."""
    everybody, nobody = np.arange(USERS), np.zeros(0, np.int64)
    grants = [(10, everybody), (11, everybody), (12, nobody), (13, nobody)]
    queue = played(1.4, grants=grants)
    assert queue.days[0].queue.after > 0.0
    assert queue.days[1].queue.after == 0.0
    assert queue.days[1].busy(2) == pytest.approx(0.4 * 2 * DAY, rel=0.02)
    assert queue.days[2].busy(2) == 0.0


def test_the_same_twice() -> None:
    """Two plays of one task must end in the same bytes, and another seed must not."""
    one, two = (play_queue(task(0.9), lambda: None) for _ in range(2))
    other = play_queue(replace(task(0.9), seed=4), lambda: None)
    assert one.done.ready.tobytes() == two.done.ready.tobytes()
    assert one.done.ready.tobytes() != other.done.ready.tobytes()


def test_no_days_are_no_jobs() -> None:
    """A run of the first day alone must ask for nothing."""
    queue = played(1.0, days=1)
    assert queue.days == ()
    assert len(queue.done.user) == 0
    assert (queue.deliveries.day_of(np.arange(3), np.full(3, 11 * DAY_SECONDS)) == 10).all()


def test_a_call_that_no_card_holds_is_one_line() -> None:
    """A history longer than what fits beside the model must be refused with arm, model and card."""
    long = replace(JOBS, own=np.array([300, 900_000, 100, 500, 60]))
    with pytest.raises(ServingError, match=r"serving: workload: call \d+ needs 900,\d+ tokens") as error:
        play_queue(replace(task(0.5), jobs=long), lambda: None)
    assert "(arm arm, qwen3-8b on h20); take a larger card" in str(error.value)


def test_the_band_lies_around() -> None:
    """Step times shorter and longer by their error must give loads under and over, and no band without an error."""
    assert play_band(task(0.8), lambda: None) is None
    step = {"compute_efficiency": 0.45, "memory_efficiency": 0.8, "per_step": 1e-3, "error": 0.1}
    known = task(0.8, step_time=step)
    band = play_band(known, lambda: None)
    assert band is not None
    faster, slower = band
    middle = play_queue(known, lambda: None)
    assert faster.days[0].queue.load == pytest.approx(0.9 * middle.days[0].queue.load, rel=0.01)
    assert slower.days[0].queue.load == pytest.approx(1.1 * middle.days[0].queue.load, rel=0.01)


def test_slowed_step_times_are_longer_by_the_factor() -> None:
    """Every part of an iteration must take as many times as long."""
    step = StepTime(0.4, 0.7, 1e-5, 2e-5, 3e-4, "sum")
    arguments = (0.01, 0.02, 36, 8)
    assert slowed(step, 1.3).seconds(*arguments) == pytest.approx(1.3 * step.seconds(*arguments))
