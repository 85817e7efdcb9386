import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.serving.counted import CountedJobs
from simulator.serving.errors import ServingError
from simulator.serving.workload import NO_PREFIX, CallShape, draw_workload, planned_job


def counted(weight: tuple[float, ...] = (0.75, 0.25)) -> CountedJobs:
    """A job of one call of 10 + 5 tokens, and one of two stages that share 7 tokens."""
    return CountedJobs(
        weight=np.array(weight),
        job=np.array([0, 1, 1, 1]),
        stage=np.array([0, 0, 1, 1]),
        shared=np.array([0, 7, 7, 0]),
        own=np.array([10, 3, 2, 4]),
        output=np.array([5, 6, 1, 2]),
    )


def test_means_are_weighted() -> None:
    """Calls and tokens of a job must be means over jobs as weighted, what is shared being read once a job."""
    jobs = counted()
    assert jobs.calls == pytest.approx(0.75 * 1 + 0.25 * 3)
    assert jobs.prompt_tokens == pytest.approx(0.75 * 10 + 0.25 * (10 + 9 + 4))
    assert jobs.read_tokens == pytest.approx(0.75 * 10 + 0.25 * (3 + 2 + 4 + 7))
    assert jobs.written_tokens == pytest.approx(0.75 * 5 + 0.25 * 9)


@given(st.lists(st.integers(0, 1), min_size=1, max_size=12))
def test_a_workload_repeats_whole_jobs(chosen: list[int]) -> None:
    """Each job of a workload must have the calls of the job it repeats, in order, and a prefix of its own."""
    jobs = counted()
    work = jobs.workload(np.array(chosen), np.arange(len(chosen), dtype=np.float64))
    for number, which in enumerate(chosen):
        mine, source = work.job == number, jobs.job == which
        assert work.stage[mine].tolist() == jobs.stage[source].tolist()
        assert work.prompt[mine].tolist() == (jobs.shared + jobs.own)[source].tolist()
        assert work.output[mine].tolist() == jobs.output[source].tolist()
        assert set(work.prefix[mine].tolist()) <= {NO_PREFIX, number}
        assert ((work.prefix[mine] == NO_PREFIX) == (jobs.shared[source] == 0)).all()


def test_draws_follow_the_weights_and_extend() -> None:
    """Jobs must be drawn as often as they weigh, and fewer of them must be the first of more."""
    drawn = counted().drawn(4000, 3)
    assert abs((drawn == 0).mean() - 0.75) < 0.03  # four standard errors
    assert counted().drawn(100, 3).tolist() == drawn[:100].tolist()
    assert counted().drawn(100, 4).tolist() != drawn[:100].tolist()


def test_a_part_stands_for_all() -> None:
    """Some of the jobs must keep their calls, and weigh 1 together."""
    part = counted().of(np.array([False, True]))
    assert part.weight.tolist() == [1.0]
    assert part.job.tolist() == [0, 0, 0]
    assert part.own.tolist() == [3, 2, 4]
    with pytest.raises(ServingError, match="none is left"):
        counted().of(np.zeros(2, np.bool_))


def test_counts_agree_with_a_drawn_workload() -> None:
    """A job of a stated shape must give the same workload, counted once, as the shape drawn without variation."""
    shape = planned_job(CallShape(20, 8, 30), CallShape(15, 14), 3, CallShape(25, 6, 30))
    calls = shape.calls
    jobs = CountedJobs(
        np.ones(1),
        np.zeros(5, np.int64),
        np.array([0, 1, 1, 1, 2]),
        *(np.array([getattr(call, name) for call in calls]) for name in ("shared", "own", "output")),
    )
    stated = draw_workload(shape, 1.0, 6, 0)
    work = jobs.workload(np.zeros(6, np.int64), stated.arrival)
    for name in ("job", "stage", "prompt", "output", "prefix_tokens"):
        assert getattr(work, name).tolist() == getattr(stated, name).tolist()


@pytest.mark.parametrize("weight", [(0.75, 0.5), (1.0, 0.0)])
def test_weights_that_are_no_shares_are_refused(weight: tuple[float, float]) -> None:
    """Weights must be above 0 and sum to 1."""
    with pytest.raises(ServingError, match=r"jobs\.weight"):
        counted(weight)


def test_calls_that_are_no_jobs_are_refused() -> None:
    """Counts that no workload can have must be refused where they are made."""
    nothing, one = np.zeros(1, np.int64), np.ones(1, np.int64)
    with pytest.raises(ServingError, match="output: 0 of call 0"):
        CountedJobs(np.ones(1), nothing, nothing, nothing, one, nothing)
