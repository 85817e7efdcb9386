from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.serving.errors import ServingError
from simulator.serving.workload import (
    NO_PREFIX,
    CallShape,
    JobShape,
    Workload,
    draw_workload,
    parallel_job,
    planned_job,
)

PARALLEL = parallel_job(calls=4, shared=4000, own=96, output=64)
PLANNED = planned_job(CallShape(68, 32, 700), CallShape(90, 64), 3, CallShape(256, 32, 700))


def test_shapes_of_jobs() -> None:
    """Parallel calls must stand in one stage, and a planner, its experts and an arbiter in three."""
    assert [len(stage) for stage in PARALLEL.stages] == [4]
    assert [len(stage) for stage in PLANNED.stages] == [1, 3, 1]
    drawn = draw_workload(PLANNED, 1.0, 2, 0)
    assert drawn.stage.tolist() == [0, 1, 1, 1, 2] * 2
    assert drawn.job.tolist() == [0] * 5 + [1] * 5
    assert drawn.prompt.tolist() == [768, 90, 90, 90, 956] * 2
    assert drawn.output.tolist() == [32, 64, 64, 64, 32] * 2
    assert drawn.prefix.tolist() == [1, NO_PREFIX, NO_PREFIX, NO_PREFIX, 1, 2, NO_PREFIX, NO_PREFIX, NO_PREFIX, 2]
    assert (drawn.jobs, drawn.calls) == (2, 10)


def test_instructions_are_shared_by_all() -> None:
    """A prefix of all calls must be one prefix of one length, however lengths vary."""
    job = JobShape(((CallShape(50, 5, 200, "all"), CallShape(60, 5, 100)),))
    drawn = draw_workload(job, 1.0, 30, 1, variation=0.5)
    assert set(drawn.prefix[::2].tolist()) == {0}
    assert set(drawn.prefix_tokens[::2].tolist()) == {200}
    assert len(set(drawn.prefix[1::2].tolist())) == 30
    assert len(set(drawn.prefix_tokens[1::2].tolist())) > 15


def test_draws_have_their_means() -> None:
    """Gaps must be exponential at the rate, and lengths must vary around their means as asked."""
    drawn = draw_workload(PARALLEL, 5.0, 4000, 3, variation=0.4)
    gaps = np.diff(drawn.arrival)
    assert gaps.mean() == pytest.approx(0.2, rel=0.05)
    assert gaps.std() == pytest.approx(0.2, rel=0.08)
    assert drawn.output.mean() == pytest.approx(64, rel=0.02)
    assert drawn.output.std() / drawn.output.mean() == pytest.approx(0.4, rel=0.05)
    assert drawn.prefix_tokens[::4].mean() == pytest.approx(4000, rel=0.03)
    assert (drawn.prefix_tokens.reshape(-1, 4) == drawn.prefix_tokens[::4, None]).all()


@given(st.integers(0, 2**31), st.integers(1, 40), st.floats(0.1, 50.0), st.floats(0.0, 1.0))
@settings(max_examples=25, deadline=None)
def test_fewer_jobs_are_the_first_of_more(seed: int, jobs: int, rate: float, variation: float) -> None:
    """A job must not change with how many come after it, and its lengths not with the rate."""
    some = draw_workload(PLANNED, rate, jobs, seed, variation)
    more = draw_workload(PLANNED, rate, jobs + 7, seed, variation)
    faster = draw_workload(PLANNED, 2.0 * rate, jobs, seed, variation)
    assert np.array_equal(some.arrival, more.arrival[:jobs])
    for name in ("prompt", "output", "prefix", "prefix_tokens"):
        assert np.array_equal(getattr(some, name), getattr(more, name)[: some.calls])
        assert np.array_equal(getattr(some, name), getattr(faster, name))
    assert faster.arrival == pytest.approx(some.arrival / 2.0)


def test_compression_shortens_what_is_shared() -> None:
    """Prefixes must shrink by the ratio, rounded up, and nothing else."""
    drawn = draw_workload(PLANNED, 1.0, 3, 0)
    shorter = drawn.compressed(7.0)
    assert shorter.prefix_tokens.tolist() == [100, 0, 0, 0, 100] * 3
    assert shorter.prompt.tolist() == [168, 90, 90, 90, 356] * 3
    assert np.array_equal(shorter.output, drawn.output)
    assert np.array_equal(drawn.compressed(1.0).prompt, drawn.prompt)
    with pytest.raises(ServingError, match=r"compression: 0\.5; it must be finite and at least 1"):
        drawn.compressed(0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CallShape(0, 5), r"call\.own: 0; it must be finite and at least 1"),
        (lambda: CallShape(5, 0), r"call\.output: 0"),
        (lambda: CallShape(5, 5, -1), r"call\.shared: -1"),
        (lambda: CallShape(5, 5, 1, "user"), r"call\.scope: user; it must be job or all"),
        (lambda: JobShape(()), r"job\.stages: \(\); there must be one"),
        (lambda: JobShape(((),)), r"job\.stages: .* a call in each"),
        (lambda: JobShape(((CallShape(5, 5, 3), CallShape(5, 5, 4)),)), r"call\.shared: \[3, 4\] within one job"),
        (lambda: draw_workload(PARALLEL, 0.0, 5, 0), "rate: 0; it must be finite and above 0"),
        (lambda: draw_workload(PARALLEL, 1.0, 0, 0), "jobs: 0; it must be finite and at least 1"),
        (lambda: draw_workload(PARALLEL, 1.0, 1, 0, -0.1), r"variation: -0\.1"),
    ],
)
def test_bounds_of_shapes(make: Any, message: str) -> None:
    """A shape that is no job must be refused with the field."""
    with pytest.raises(ServingError, match=message):
        make()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"job": [0, 0, 1]}, "columns of .* calls; all must be one length"),
        ({"arrival": [1.0, 0.5]}, r"workload\.arrival: not ascending from 0"),
        ({"arrival": [-1.0, 0.5]}, r"workload\.arrival: not ascending from 0"),
        ({"job": [0, 0, 0, 0]}, r"workload\.job: not 0, 1, 2"),
        ({"job": [1, 1, 0, 0]}, r"workload\.job: not 0, 1, 2"),
        ({"stage": [0, 2, 0, 0]}, r"workload\.stage: not 0, 1"),
        ({"stage": [1, 1, 0, 0]}, r"workload\.stage: not 0, 1"),
        ({"stage": [0, 1, 1, 1]}, r"workload\.stage: not 0, 1"),
        ({"prompt": [9, 0, 9, 9]}, r"workload\.prompt: 0 of call 1; it must be at least 1"),
        ({"output": [9, 9, 0, 9]}, r"workload\.output: 0 of call 2; it must be at least 1"),
        ({"prefix_tokens": [9, 0, 0, 0]}, r"workload\.prefix_tokens: 9 of call 0; it must be less than the prompt"),
        ({"prefix_tokens": [-1, 0, 0, 0]}, r"workload\.prefix_tokens: -1 of call 0; it must be at least 0"),
        ({"prefix": [-2, -1, -1, -1]}, r"workload\.prefix: -2 of call 0"),
        ({"prefix": [5, -1, -1, -1]}, r"workload\.prefix_tokens: 0 of call 0; it must be above 0 where"),
        ({"prefix": [5, 5, -1, -1], "prefix_tokens": [3, 4, 0, 0]}, "one prefix has several lengths"),
    ],
)
def test_columns_that_are_no_jobs(changes: dict[str, list[Any]], message: str) -> None:
    """Columns that describe no jobs must be refused with the column, and the call where it is one."""
    good = Workload(
        arrival=np.array([0.0, 1.0]),
        job=np.array([0, 0, 1, 1]),
        stage=np.array([0, 1, 0, 0]),
        prompt=np.full(4, 9),
        output=np.full(4, 9),
        prefix=np.full(4, NO_PREFIX),
        prefix_tokens=np.zeros(4, np.int64),
    )
    columns: dict[str, Any] = {name: np.array(column) for name, column in changes.items()}
    with pytest.raises(ServingError, match=message):
        replace(good, **columns)
