import numpy as np
import pytest

from policies.recgpt.call_counts import JobCalls, counted_jobs

STAGES = (("planner",), ("expert", "style"), ("arbiter",))
READERS = frozenset({"planner", "style", "arbiter"})


def calls(role: str, row: list[int], prompt: list[int], cached: list[int], generated: list[int]) -> JobCalls:
    """Calls of one role."""
    return JobCalls(role, *(np.array(each, np.int64) for each in (row, prompt, cached, generated)))


def test_calls_are_put_into_jobs_and_stages() -> None:
    """Each call must stand in its job's stage, share what the plan caches, and write one token more than its answer."""
    booked = [
        calls("planner", [0, 1], [50, 60], [0, 0], [5, 6]),
        calls("expert", [0, 0, 1], [20, 21, 22], [0, 0, 0], [7, 8, 9]),
        calls("arbiter", [0, 1], [55, 66], [40, 45], [3, 4]),
        calls("style", [0, 1], [48, 58], [40, 45], [1, 1]),
    ]
    jobs = counted_jobs(booked, STAGES, READERS, np.array([0.25, 0.75]))
    assert jobs.job.tolist() == [0] * 5 + [1] * 4
    assert jobs.stage.tolist() == [0, 1, 1, 1, 2, 0, 1, 1, 2]
    assert jobs.shared.tolist() == [40, 0, 0, 40, 40, 45, 0, 45, 45]
    assert jobs.own.tolist() == [10, 20, 21, 8, 15, 15, 22, 13, 21]
    assert jobs.output.tolist() == [6, 8, 9, 2, 4, 7, 10, 2, 5]
    assert jobs.weight.tolist() == [0.25, 0.75]


def test_what_is_not_cached_is_not_shared() -> None:
    """A plan that reads the history with every call must share nothing."""
    jobs = counted_jobs(
        [calls("route", [0, 0], [50, 60], [0, 0], [5, 6])], (("route",),), frozenset({"route"}), np.ones(1)
    )
    assert jobs.shared.tolist() == [0, 0]
    assert jobs.own.tolist() == [50, 60]


def test_the_plans_tokens_are_kept() -> None:
    """Prompt tokens must be those booked, and tokens read those booked without the cached ones."""
    booked = [calls("route", [0, 0, 0], [50, 60, 70], [0, 40, 40], [5, 6, 7])]
    jobs = counted_jobs(booked, (("route",),), frozenset({"route"}), np.ones(1))
    assert jobs.prompt_tokens == 180.0
    assert jobs.read_tokens == 180.0 - 80.0
    assert jobs.written_tokens == 18.0 + 3.0


def test_a_role_without_a_stage_is_refused() -> None:
    """A role that no stage names must be an error that names it."""
    with pytest.raises(ValueError, match="'judge' is in no stage"):
        counted_jobs([calls("judge", [0], [5], [0], [1])], STAGES, READERS, np.ones(1))
