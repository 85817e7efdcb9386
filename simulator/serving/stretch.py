"""A stretch of a cluster's work, played call by call: what it can do at the most, and how it does at a given rate.

A platform's cluster of hundreds of cards is played as a part of it, since cards behind one queue share work evenly: a
few cards with their share of the jobs. What a stretch tells is for each job or call, so that it holds for the whole.
"""

from dataclasses import dataclass, replace
from math import ceil
from typing import Final

import numpy as np

from simulator.serving.checks import above_zero
from simulator.serving.cluster import Cluster, Served, serve
from simulator.serving.counted import CountedJobs
from simulator.serving.figures import tpot
from simulator.serving.planner import WARM_UP
from simulator.serving.workload import Floats
from simulator.streams import Stream

CARDS: Final = 4
"""Cards of the part that is played, at most."""
ROUNDS: Final = 4
"""At the full rate, jobs for each place in the cluster."""


@dataclass(frozen=True)
class Stretch:
    """What was played. Latencies in seconds, of the jobs and calls that met the cluster as it is at this rate.

    Attributes:
        rate: jobs a second and card.
        busy: card seconds a job.
        flops: useful operations a job, causal count.
        wait: from a job's coming to its being let in, [jobs].
        job: from being let in to the last token, [jobs].
        ttft, tpot, call: of calls, as in ``figures``; NaN of a call of one token has no tpot, [calls].
    """

    rate: float
    busy: float
    flops: float
    wait: Floats
    job: Floats
    ttft: Floats
    tpot: Floats
    call: Floats


def full_rate(cluster: Cluster, jobs: CountedJobs, jobs_at_once: int, seed: int, least: int = 400) -> Stretch:
    """The cluster with jobs always waiting: what it can do at the most.

    All jobs are there from the start, several for each place, so that the cluster is full but for the end. The rate
    counts that end too and so is the least bit low. Latencies are those of the middle half of the jobs.

    Args:
        cluster: one pool; its number of instances decides only whether a smaller part than ``CARDS`` is played.
        jobs: what is asked for.
        jobs_at_once: jobs on a card at the most.
        seed: of the run.
        least: jobs played at the least.

    Raises:
        ServingError: the cluster cannot serve the jobs.
    """
    cards = min(CARDS, cluster.pool.instances)
    count = max(least, ROUNDS * jobs_at_once * cards)
    served = _played(cluster, cards, jobs, np.zeros(count), jobs_at_once, seed)
    rate = count / float(served.job_finished.max()) / cards
    middle = (np.arange(count) >= count // 4) & (np.arange(count) < count - count // 4)
    # The queue before the cluster is as long as whoever asks makes it: what jobs waited here says nothing.
    return replace(_stretch(served, middle, rate, 1.0 / rate), wait=np.zeros(int(middle.sum())))


def at_rate(
    cluster: Cluster, jobs: CountedJobs, jobs_at_once: int, rate: float, seed: int, count: int = 400
) -> Stretch:
    """The cluster with jobs that come as a Poisson process, beginning empty; the first tenth is not looked at.

    Args:
        cluster: one pool.
        jobs: what is asked for.
        jobs_at_once: jobs on a card at the most.
        rate: jobs a second and card.
        seed: of the run.
        count: jobs played.

    Raises:
        ServingError: the cluster cannot serve the jobs, or the rate is not above 0.
    """
    above_zero("rate", rate)
    cards = min(CARDS, cluster.pool.instances)
    gaps = Stream(seed, "serving/arrivals").exponential(np.arange(count)) / (rate * cards)
    served = _played(cluster, cards, jobs, np.cumsum(gaps), jobs_at_once, seed)
    late = np.arange(count) >= ceil(WARM_UP * count)
    use = served.pools[0]
    return _stretch(served, late, rate, use.busy_seconds / use.provisioned_seconds / rate)


def _played(cluster: Cluster, cards: int, jobs: CountedJobs, arrival: Floats, jobs_at_once: int, seed: int) -> Served:
    part = replace(cluster, pool=replace(cluster.pool, instances=cards))
    return serve(part, jobs.workload(jobs.drawn(len(arrival), seed), arrival), cards * jobs_at_once)


def _stretch(served: Served, chosen: np.ndarray, rate: float, busy: float) -> Stretch:
    jobs, calls = served.workload.jobs, chosen[served.workload.job]
    return Stretch(
        rate=rate,
        busy=busy,
        flops=(served.pools[0].flops - served.pools[0].flops_again) / jobs,
        wait=np.maximum(served.job_started - served.workload.arrival, 0.0)[chosen],  # moments are whole nanoseconds
        job=(served.job_finished - served.job_started)[chosen],
        ttft=(served.first - served.released)[calls],
        tpot=tpot(served)[calls],
        call=(served.finished - served.released)[calls],
    )
