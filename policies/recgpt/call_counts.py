"""From the calls that an agent books to jobs as a serving cluster takes them.

The account of a plan holds sums by role. A cluster needs to know which calls belong to one job, which of them wait for
which, and what they share. Knows roles and token counts; knows no prompt and no model.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np

from simulator.batches import Floats, Ints
from simulator.serving.counted import CountedJobs


@dataclass(frozen=True)
class JobCalls:
    """Calls of one role, as they were booked; int64 [calls].

    Attributes:
        role: who called.
        row: the request whose job each belongs to.
        prompt, cached, generated: see ``Agent.book``.
    """

    role: str
    row: Ints
    prompt: Ints
    cached: Ints
    generated: Ints


def counted_jobs(
    booked: Sequence[JobCalls], stages: Sequence[Sequence[str]], readers: AbstractSet[str], weight: Floats
) -> CountedJobs:
    """One job a request, its calls in stages.

    What a job's plan finds in a cache is what its calls share: the longest cached beginning, read once by the first of
    the ``readers``. A plan that caches nothing shares nothing.

    Args:
        booked: calls by role.
        stages: roles side by side, stage by stage.
        readers: roles whose prompts begin with the history.
        weight: of each request, float64 [requests].

    Raises:
        ValueError: a role is in no stage.
    """
    of_stage = {role: number for number, roles in enumerate(stages) for role in roles}
    for part in booked:
        if part.role not in of_stage:
            raise ValueError(f"role: {part.role!r} is in no stage ({stages}); give it one")
    row = np.concatenate([part.row for part in booked])
    stage = np.concatenate([np.full(len(part.row), of_stage[part.role]) for part in booked])
    prompt, cached, generated = (
        np.concatenate([getattr(part, name) for part in booked]) for name in ("prompt", "cached", "generated")
    )
    reads = np.concatenate([np.full(len(part.row), part.role in readers) for part in booked])
    beginning = np.zeros(len(weight), np.int64)
    np.maximum.at(beginning, row, cached)
    shared = np.where(reads, beginning[row], 0)
    order = np.lexsort((stage, row))
    return CountedJobs(
        weight=weight,
        job=row[order].astype(np.int64),
        stage=stage[order].astype(np.int64),
        shared=shared[order].astype(np.int64),
        own=np.maximum(prompt - shared, 1)[order].astype(np.int64),
        output=(generated + 1)[order].astype(np.int64),  # the token that ends an answer is written too
    )
