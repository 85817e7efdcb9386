"""What is asked of a cluster: jobs that arrive, each a few stages of model calls.

The calls of a stage run side by side, and a stage begins when the one before it is finished. Calls may share the
beginning of their prompts: those of one job (a user's history, read by each of its calls) or all calls (instructions).
Knows no cluster and no texts, only how many tokens there are.
"""

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from simulator.serving.checks import above_zero, at_least
from simulator.serving.errors import ServingError
from simulator.streams import Stream

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Scope = Literal["job", "all"]

NO_PREFIX: Final = -1


@dataclass(frozen=True)
class CallShape:
    """One call of a job.

    Attributes:
        own: prompt tokens that no other call has, at least 1.
        output: tokens to write, the one that ends the answer among them, at least 1.
        shared: prompt tokens before them that other calls begin with too.
        scope: who shares them: the calls of one ``job`` or ``all`` calls.

    Raises:
        ServingError: a number is too small, or the scope is unknown.
    """

    own: int
    output: int
    shared: int = 0
    scope: Scope = "job"

    def __post_init__(self) -> None:
        at_least("call.own", self.own, 1)
        at_least("call.output", self.output, 1)
        at_least("call.shared", self.shared, 0)
        if self.scope not in ("job", "all"):
            raise ServingError(f"call.scope: {self.scope}; it must be job or all")


@dataclass(frozen=True)
class JobShape:
    """Stages of calls.

    Raises:
        ServingError: a stage is empty, or calls of one scope disagree on how much they share.
    """

    stages: tuple[tuple[CallShape, ...], ...]

    def __post_init__(self) -> None:
        if not self.stages or not all(self.stages):
            raise ServingError(f"job.stages: {self.stages}; there must be one at least, and a call in each")
        for scope in ("job", "all"):
            shared = sorted({call.shared for call in self.calls if call.shared and call.scope == scope})
            if len(shared) > 1:
                raise ServingError(f"call.shared: {shared} within one {scope}; calls must share one prefix")

    @property
    def calls(self) -> tuple[CallShape, ...]:
        """All calls, stage by stage."""
        return tuple(call for stage in self.stages for call in stage)


def parallel_job(calls: int, shared: int, own: int, output: int) -> JobShape:
    """One stage of calls that each read the same history and reason alone."""
    return JobShape((tuple(CallShape(own, output, shared) for _ in range(calls)),))


def planned_job(planner: CallShape, expert: CallShape, experts: int, arbiter: CallShape) -> JobShape:
    """A planner, then experts side by side, then an arbiter."""
    return JobShape(((planner,), (expert,) * experts, (arbiter,)))


@dataclass(frozen=True)
class Workload:
    """Jobs and their calls, the calls ordered by job and stage.

    Attributes:
        arrival: seconds since the start, float64 [jobs], ascending.
        job, stage: whose call it is and when its turn comes, int64 [calls]; stages count from 0 without a gap.
        prompt: tokens to read, those of the prefix among them, int64 [calls].
        output: tokens to write, int64 [calls]. The first is chosen when the prompt has been read.
        prefix: what the prompt begins with, int64 [calls], ``NO_PREFIX`` or an id of 0 or more.
        prefix_tokens: how long that is, int64 [calls], less than the prompt.

    Raises:
        ServingError: the arrays do not describe jobs.
    """

    arrival: Floats
    job: Ints
    stage: Ints
    prompt: Ints
    output: Ints
    prefix: Ints
    prefix_tokens: Ints

    def __post_init__(self) -> None:
        calls = {len(column) for name, column in vars(self).items() if name != "arrival"}
        if len(calls) != 1 or not len(self.arrival):
            raise ServingError(
                f"workload: columns of {sorted(calls)} calls; all must be one length, with a job at least"
            )
        if not np.isfinite(self.arrival).all() or self.arrival[0] < 0.0 or (np.diff(self.arrival) < 0.0).any():
            raise ServingError("workload.arrival: not ascending from 0; sort the jobs by arrival")
        first = np.flatnonzero(np.diff(self.job, prepend=-1))
        if not np.array_equal(self.job[first], np.arange(len(self.arrival))):
            raise ServingError("workload.job: not 0, 1, 2, ... in order; every job needs a call")
        step = np.diff(self.stage, prepend=0)
        if self.stage[first].any() or not np.isin(np.delete(step, first), (0, 1)).all():
            raise ServingError("workload.stage: not 0, 1, ... within each job; order calls by stage, without a gap")
        self._each("prompt", self.prompt >= 1, "at least 1")
        self._each("output", self.output >= 1, "at least 1")
        self._each("prefix_tokens", self.prefix_tokens >= 0, "at least 0")
        self._each("prefix_tokens", self.prefix_tokens < self.prompt, "less than the prompt")
        has = self.prefix != NO_PREFIX
        self._each("prefix", self.prefix >= NO_PREFIX, f"{NO_PREFIX} or an id of 0 or more")
        self._each("prefix_tokens", (self.prefix_tokens > 0) == has, "above 0 where there is a prefix and only there")
        _, where, which = np.unique(self.prefix[has], return_index=True, return_inverse=True)
        lengths = self.prefix_tokens[has]
        if not np.array_equal(lengths[where][which], lengths):
            raise ServingError("workload.prefix_tokens: one prefix has several lengths; give each length its own id")

    def _each(self, field: str, holds: npt.NDArray[np.bool_], must: str) -> None:
        if not holds.all():
            call = int(np.flatnonzero(~holds)[0])
            raise ServingError(f"workload.{field}: {getattr(self, field)[call]} of call {call}; it must be {must}")

    @property
    def jobs(self) -> int:
        """How many jobs there are."""
        return len(self.arrival)

    @property
    def calls(self) -> int:
        """How many calls there are."""
        return len(self.job)

    def compressed(self, ratio: float) -> "Workload":
        """The same jobs with prefixes shorter by a factor: what a history takes when each entity is one token.

        Raises:
            ServingError: the ratio is under 1.
        """
        at_least("compression", ratio, 1.0)
        shorter = np.ceil(self.prefix_tokens / ratio).astype(np.int64)
        return replace(self, prompt=self.prompt - self.prefix_tokens + shorter, prefix_tokens=shorter)


def draw_workload(shape: JobShape, rate: float, jobs: int, seed: int, variation: float = 0.0) -> Workload:
    """Jobs of one shape that arrive as a Poisson process.

    Draws are keyed by job and call, so fewer jobs are the first of more jobs, and jobs keep their lengths and their
    order at another rate.

    Args:
        shape: of every job; its token counts are means.
        rate: jobs a second.
        jobs: how many.
        seed: of the run.
        variation: standard deviation of the token counts over their mean; log-normal. What is shared within a job is
            drawn once a job, what all calls share does not vary, everything else is drawn for each call.

    Raises:
        ServingError: a number is out of its bounds.
    """
    above_zero("rate", rate)
    at_least("jobs", jobs, 1)
    at_least("variation", variation, 0.0)
    gaps = Stream(seed, "serving/arrivals").exponential(np.arange(jobs)) / rate
    calls = shape.calls
    job = np.repeat(np.arange(jobs, dtype=np.int64), len(calls))
    call = np.tile(np.arange(len(calls), dtype=np.int64), jobs)
    of_stage = [number for number, stage in enumerate(shape.stages) for _ in stage]

    def column(values: list[int]) -> Ints:
        return np.tile(np.array(values, np.int64), jobs)

    def varied(mean: Ints, name: str, *ids: Ints) -> Ints:
        if variation == 0.0:
            return mean
        deviation = np.sqrt(np.log1p(variation**2))
        factor = np.exp(deviation * Stream(seed, f"serving/{name}").normal(*ids) - deviation**2 / 2.0)
        return np.maximum(1, np.rint(mean * factor)).astype(np.int64)

    mean = column([each.shared for each in calls])
    for_all = column([each.scope == "all" for each in calls]).astype(bool)
    shared = np.where(for_all | (mean == 0), mean, varied(mean, "shared", job))
    return Workload(
        arrival=np.cumsum(gaps),
        job=job,
        stage=column(of_stage),
        prompt=shared + varied(column([each.own for each in calls]), "own", job, call),
        output=varied(column([each.output for each in calls]), "output", job, call),
        prefix=np.where(shared == 0, NO_PREFIX, np.where(for_all, 0, job + 1)),
        prefix_tokens=shared,
    )
