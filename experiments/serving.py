"""Serving inside an experiment: before the arms are played, each arm's near-line jobs are done by its own cluster.

Every arm that thinks has a cluster to itself, so no arm slows another. What is settled here goes two ways: to the
shards, as moments at which thoughts are done; and to the results, as what cards would do and what that would cost.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import cast

import numpy as np

from allocation.segments import TIERS, Segments
from experiments.config import ExperimentConfig
from experiments.errors import UserError
from experiments.playing import Phases
from experiments.progress import Progress
from experiments.serving_config import PlatformServing
from experiments.serving_jobs import SampledJobs, sample_jobs, seconds_a_visit
from experiments.serving_queue import ArmQueue, QueueTask, play_band, play_queue
from policies.delivery import NearLine
from policies.registry import RegisteredPolicy
from simulator.batches import Floats, InteractionLog
from simulator.pools import Pool
from simulator.serving.cluster import Cluster
from simulator.serving.errors import ServingError
from simulator.serving.planner import least_gpus
from simulator.serving.stretch import full_rate
from simulator.streams import Stream
from simulator.world import World


@dataclass(frozen=True)
class ServedArm:
    """An arm's jobs, done.

    Attributes:
        queue: what became of them.
        band: the same with step times shorter, and longer, by their error; None where it is not known.
        gpus_for_slo: the least cards that keep the promise on the busiest day, with the step times as they are, then
            shorter and longer; None without a promise.
        gpu_seconds: of near-line work behind a visit of each segment that an allocation tells apart, [segments].
    """

    queue: ArmQueue
    band: tuple[ArmQueue, ArmQueue] | None
    gpus_for_slo: tuple[int, ...] | None
    gpu_seconds: Floats


def serve_arms(
    config: ExperimentConfig,
    world: World,
    fitted: Mapping[str, RegisteredPolicy],
    log: InteractionLog,
    phases: Phases,
    pool: Pool,
    progress: Progress,
) -> dict[str, ServedArm]:
    """Let the clusters of the arms that think do their jobs; empty without a ``serving`` block.

    Args:
        config: the checked config.
        world: all users.
        fitted: policies by arm.
        log: that they were fitted on.
        phases: days.
        pool: arms are played side by side.
        progress: is told how far things are.

    Raises:
        UserError: the platform has fewer users than the world.
        ServingError: a cluster cannot serve an arm's jobs, or no number of cards keeps the promise.
    """
    block = config.serving
    if block is None:
        return {}
    if block.users < world.users:
        raise UserError(
            f"serving.users: {block.users} for {world.users} users of the world; a platform has as many at least"
        )
    thinkers = {name: cast(NearLine, policy) for name, policy in fitted.items() if policy.near_line}
    sampled: dict[int, SampledJobs] = {}
    tasks = []
    with progress.stage("counting the calls of jobs", len(thinkers)) as stage:
        for name, policy in thinkers.items():
            if id(policy) not in sampled:  # arms with equal parameters share one
                sampled[id(policy)] = sample_jobs(policy, world, log, block.sample, config.seed)
            observed = world.environment.observed()
            grants = tuple(policy.grants(phases.experiment_start, phases.follow_up_end, observed))
            tasks.append(QueueTask(block, name, grants, world.users, sampled[id(policy)].jobs, config.seed))
            stage.advance()
    days = sum(len(task.grants) - 1 for task in tasks)
    measured = block.step_time is not None and block.step_time.error is not None
    with progress.stage("serving refreshes", days * (3 if measured else 1)) as stage:
        queues = pool.map(play_queue, tasks, stage.advance)
        bands = pool.map(play_band, tasks, stage.advance)
    segments = Segments(tuple(world.environment.cities))
    found = {}
    with progress.stage("sizing clusters", len(tasks)) as stage:
        for task, queue, band in zip(tasks, queues, bands, strict=True):
            policy = thinkers[task.arm]
            found[task.arm] = ServedArm(
                queue=queue,
                band=band,
                gpus_for_slo=gpus_for_slo(block, task, (queue, *(band or ()))) if block.slo else None,
                gpu_seconds=seconds_a_visit(
                    policy, world, log, _seconds_a_job(task, queue, sampled[id(policy)]), segments
                ),
            )
            stage.advance()
    return found


def gpus_for_slo(block: PlatformServing, task: QueueTask, queues: tuple[ArmQueue, ...]) -> tuple[int, ...]:
    """The least cards that keep the promise at the rate of the busiest day, for each set of step times.

    A promise over a simulated stretch may be kept by fewer cards than the rate keeps busy, while a queue grows; so no
    cluster is smaller than what the full rate asks for.

    Raises:
        ServingError: not even a card for each job keeps it.
    """
    assert block.slo is not None
    found = []
    for queue in queues:
        rate = max((day.queue.rate for day in queue.days), default=0.0)
        if rate == 0.0:
            found.append(1)
            continue
        gaps = Stream(task.seed, "serving/arrivals").exponential(np.arange(block.jobs)) / rate
        workload = task.jobs.workload(task.jobs.drawn(block.jobs, task.seed), np.cumsum(gaps))
        try:
            plan = least_gpus(queue.cluster, workload, block.slo.slo(), most=block.jobs)
        except ServingError as error:
            raise ServingError(f"serving.{error} (arm {task.arm}, {block.hardware})") from None
        found.append(max(plan.gpus, ceil(rate / queue.full.rate)))
    return tuple(found)


def _seconds_a_job(task: QueueTask, queue: ArmQueue, sampled: SampledJobs) -> Floats:
    """GPU-seconds of a job by activity tier at the full rate, float64 [tiers]; of nobody's tier the mean's."""
    cluster: Cluster = queue.cluster
    seconds = np.full(len(TIERS), queue.full.busy)
    for tier in np.unique(sampled.tier).tolist():
        part = sampled.jobs.of(sampled.tier == tier)
        seconds[tier] = full_rate(cluster, part, task.block.jobs_at_once, task.seed, task.block.jobs).busy
    return seconds
