"""What a run comes to: latencies, goodput, use of the accelerators; and what a promise and a price are.

Latency and accelerator time are two things: a chain of short calls may be slow and cheap, a wide stage fast and dear.
No figure here mixes them. A figure that rests on modelled step times comes with their error.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
import numpy.typing as npt

from simulator.serving.checks import above_zero, share
from simulator.serving.cluster import Served
from simulator.serving.errors import ServingError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

HOUR: Final = 3600.0


@dataclass(frozen=True)
class Slo:
    """What a service promises (service level objective).

    Attributes:
        ttft: seconds from the release of a call to its first token, at most.
        tpot: seconds from one of its tokens to the next, on average over the call, at most.
        job: seconds from a job's arrival to its end, at most.
        share: of jobs that must keep all of this, with all of their calls.

    Raises:
        ServingError: nothing is promised, a bound is not above 0, or the share is outside (0, 1].
    """

    ttft: float | None = None
    tpot: float | None = None
    job: float | None = None
    share: float = 0.95

    def __post_init__(self) -> None:
        bounds = {"slo.ttft": self.ttft, "slo.tpot": self.tpot, "slo.job": self.job}
        if all(bound is None for bound in bounds.values()):
            raise ServingError("slo: nothing is promised; give ttft, tpot or job")
        for field, bound in bounds.items():
            if bound is not None:
                above_zero(field, bound)
        share("slo.share", self.share)


@dataclass(frozen=True)
class Price:
    """What an hour of a card costs; the user's figure.

    Attributes:
        per_hour: of one card.
        currency: its name.
        at: the day of the price.

    Raises:
        ServingError: the price is not above 0.
    """

    per_hour: float
    currency: str
    at: date

    def __post_init__(self) -> None:
        above_zero("price.per_hour", self.per_hour)


@dataclass(frozen=True)
class Spread:
    """A distribution in a few numbers; NaN where there was nothing to measure."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    count: int


@dataclass(frozen=True)
class Figures:
    """A run's figures. Latencies in seconds.

    Attributes:
        ttft: from a call's release to its first token.
        tpot: from token to token, a call's mean; calls of one token have none.
        call: from a call's release to its last token.
        queue_wait: from a call's release to its first admission.
        job: from a job's arrival to its end.
        jobs_per_second: finished, from the first arrival to the last end.
        kept: share of jobs that kept the promise; None without one.
        goodput: jobs a second that did; None without a promise.
        mfu_busy, mfu_provisioned: useful operations (causal count, without what was repeated) over what the cards could
            have done while they were busy, and while they were there.
        mbu_busy: bytes moved over what the memories could have moved while the cards were busy.
        gpu_seconds_busy, gpu_seconds_provisioned: of all cards.
        gpu_hours: provisioned.
        gpu_seconds_busy_per_job, gpu_seconds_provisioned_per_job: the same over jobs.
        model_error: median relative error of the step times, None if they were assumed.
    """

    ttft: Spread
    tpot: Spread
    call: Spread
    queue_wait: Spread
    job: Spread
    jobs_per_second: float
    kept: float | None
    goodput: float | None
    mfu_busy: float
    mfu_provisioned: float
    mbu_busy: float
    gpu_seconds_busy: float
    gpu_seconds_provisioned: float
    gpu_hours: float
    gpu_seconds_busy_per_job: float
    gpu_seconds_provisioned_per_job: float
    model_error: float | None


def figures(served: Served, slo: Slo | None = None, warm_up: float = 0.0) -> Figures:
    """The figures of a run.

    Args:
        served: the run.
        slo: the promise, if there is one.
        warm_up: share of the jobs, the first to arrive, that latencies and the promise leave out because they met an
            empty cluster. What cards did is counted from the start, and so is the throughput.

    Raises:
        ServingError: the warm-up leaves no job.
    """
    jobs = served.workload.jobs
    skipped = int(np.floor(warm_up * jobs))
    if not 0 <= skipped < jobs:
        raise ServingError(f"warm_up: {warm_up:g}; it must be at least 0 and leave one of {jobs} jobs")
    late = served.workload.job >= skipped
    took = served.job_finished - served.workload.arrival
    seconds = float(served.job_finished.max() - served.workload.arrival[0])
    good = kept_promise(served, slo)[skipped:] if slo is not None else None
    kept = float(good.mean()) if good is not None else None
    busy = sum(pool.busy_seconds for pool in served.pools)
    provisioned = sum(pool.provisioned_seconds for pool in served.pools)
    useful = sum(pool.flops - pool.flops_again for pool in served.pools)
    moved = sum(pool.bytes for pool in served.pools)
    return Figures(
        ttft=spread((served.first - served.released)[late]),
        tpot=spread(tpot(served)[late]),
        call=spread((served.finished - served.released)[late]),
        queue_wait=spread((served.admitted - served.released)[late]),
        job=spread(took[skipped:]),
        jobs_per_second=jobs / seconds,
        kept=kept,
        goodput=kept * jobs / seconds if kept is not None else None,
        mfu_busy=useful / sum(pool.busy_seconds * pool.peak_flops for pool in served.pools),
        mfu_provisioned=useful / sum(pool.provisioned_seconds * pool.peak_flops for pool in served.pools),
        mbu_busy=moved / sum(pool.busy_seconds * pool.accelerator.bandwidth for pool in served.pools),
        gpu_seconds_busy=busy,
        gpu_seconds_provisioned=provisioned,
        gpu_hours=provisioned / HOUR,
        gpu_seconds_busy_per_job=busy / jobs,
        gpu_seconds_provisioned_per_job=provisioned / jobs,
        model_error=served.model_error,
    )


def tpot(served: Served) -> Floats:
    """Seconds from token to token of each call, NaN for calls of one token, [calls]."""
    gaps = served.workload.output - 1
    return np.where(gaps > 0, (served.finished - served.first) / np.maximum(gaps, 1), np.nan)


def kept_promise(served: Served, slo: Slo) -> Bools:
    """Which jobs kept all that is promised, [jobs]."""
    kept = np.ones(served.workload.jobs, np.bool_)
    if slo.ttft is not None:
        np.logical_and.at(kept, served.workload.job, served.first - served.released <= slo.ttft)
    if slo.tpot is not None:
        np.logical_and.at(kept, served.workload.job, ~(tpot(served) > slo.tpot))
    if slo.job is not None:
        kept &= served.job_finished - served.workload.arrival <= slo.job
    return kept


def spread(values: Sequence[float] | Floats) -> Spread:
    """Mean and quantiles (linear between neighbours), values that are NaN left out."""
    there = np.asarray(values, np.float64)
    there = there[~np.isnan(there)]
    if not len(there):
        return Spread(math.nan, math.nan, math.nan, math.nan, math.nan, 0)
    p50, p90, p95, p99 = (float(quantile) for quantile in np.quantile(there, (0.5, 0.9, 0.95, 0.99)))
    return Spread(float(there.mean()), p50, p90, p95, p99, len(there))
