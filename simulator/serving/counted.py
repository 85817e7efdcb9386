"""Jobs whose calls were counted one by one: a sample that stands for all the jobs of a platform.

Where a workload of ``workload.draw_workload`` varies token counts around means, one drawn from here repeats jobs that
were really asked for, so calls of one job keep belonging together. Knows no policy, no text and no cluster.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simulator.serving.errors import ServingError
from simulator.serving.workload import NO_PREFIX, Floats, Ints, Workload
from simulator.streams import Stream


@dataclass(frozen=True)
class CountedJobs:
    """Counted jobs, their calls ordered by job and stage.

    Attributes:
        weight: share of all jobs that each stands for, float64 [jobs], summing to 1.
        job, stage: whose call it is and when its turn comes, int64 [calls]; both count from 0 without a gap.
        shared: prompt tokens that calls of the job begin with alike, int64 [calls], 0 where a call begins otherwise.
        own: prompt tokens behind them, at least 1, int64 [calls].
        output: tokens to write, the one that ends the answer among them, at least 1, int64 [calls].

    Raises:
        ServingError: a weight is not above 0, or they do not sum to 1.
    """

    weight: Floats
    job: Ints
    stage: Ints
    shared: Ints
    own: Ints
    output: Ints

    def __post_init__(self) -> None:
        if not ((self.weight > 0.0).all() and abs(float(self.weight.sum()) - 1.0) < 1e-9):
            raise ServingError(f"jobs.weight: sums to {self.weight.sum():g}; shares must be above 0 and sum to 1")
        self.workload(np.arange(len(self.weight)), np.arange(len(self.weight), dtype=np.float64))  # checks the rest

    def __len__(self) -> int:
        """How many jobs were counted."""
        return len(self.weight)

    def of(self, chosen: npt.NDArray[np.bool_]) -> "CountedJobs":
        """Some of the jobs, bool [jobs], standing for all in the same proportions.

        Raises:
            ServingError: none is chosen.
        """
        if not chosen.any():
            raise ServingError("jobs: none is left; choose one at least")
        calls = chosen[self.job]
        weight = self.weight[chosen] / self.weight[chosen].sum()
        job = (np.cumsum(chosen) - 1)[self.job[calls]]
        return CountedJobs(weight, job, self.stage[calls], self.shared[calls], self.own[calls], self.output[calls])

    def mean(self, per_call: Ints) -> float:
        """Sum over a job's calls of a count of each, int64 [calls], averaged over jobs as weighted."""
        return float(self.weight @ np.bincount(self.job, per_call, len(self.weight)))

    @property
    def calls(self) -> float:
        """Calls of a job, on average."""
        return self.mean(np.ones_like(self.own))

    @property
    def prompt_tokens(self) -> float:
        """Prompt tokens of a job's calls, on average."""
        return self.mean(self.shared + self.own)

    @property
    def read_tokens(self) -> float:
        """Prompt tokens that are read where what calls share is read once a job, on average."""
        longest = np.zeros(len(self.weight), np.int64)
        np.maximum.at(longest, self.job, self.shared)
        return self.mean(self.own) + float(self.weight @ longest)

    @property
    def written_tokens(self) -> float:
        """Tokens that a job's calls write, on average."""
        return self.mean(self.output)

    def drawn(self, jobs: int, seed: int) -> Ints:
        """Which of the counted jobs each of ``jobs`` jobs repeats, by weight, int64 [jobs]; more begin with fewer."""
        draw = Stream(seed, "serving/counted").uniform(np.arange(jobs))
        return np.minimum(np.searchsorted(np.cumsum(self.weight), draw), len(self.weight) - 1).astype(np.int64)

    def workload(self, chosen: Ints, arrival: Floats) -> Workload:
        """Jobs that repeat counted ones.

        Args:
            chosen: which, int64 [jobs].
            arrival: seconds since the start, ascending, float64 [jobs].

        Raises:
            ServingError: the counts do not describe jobs.
        """
        begins = np.searchsorted(self.job, np.arange(len(self.weight) + 1))
        counts = np.diff(begins)[chosen]
        job = np.repeat(np.arange(len(chosen)), counts)
        within = np.arange(len(job)) - np.repeat(np.cumsum(counts) - counts, counts)
        call = begins[chosen][job] + within
        shared = self.shared[call]
        return Workload(
            arrival=arrival,
            job=job,
            stage=self.stage[call],
            prompt=shared + self.own[call],
            output=self.output[call],
            prefix=np.where(shared > 0, job, NO_PREFIX),
            prefix_tokens=shared,
        )
