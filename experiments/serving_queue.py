"""An arm's near-line jobs meet its cluster: who waits, when thoughts are done, what cards do meanwhile.

Who is due on which day is a pure function of all users' schedule; how long jobs are was counted before. So everything
here is settled before anybody is served, once for all users of the platform, and a shard only looks up its own.

Two scales are told apart. A queue before the cluster, over hours and days, holds as many jobs as the platform's users
ask for; it is a fluid (``simulator.serving.backlog``). Inside, over seconds, a part of the cluster is played call by
call (``simulator.serving.stretch``): at its full rate while jobs wait, at the day's rate while none does. A user whose
job waits is not asked for twice, and a prompt is written when its job is begun, so thoughts are of that day.

The first day's refresh of everybody is done before the doors open: it costs the cluster nothing and delays nobody.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from experiments.serving_config import PlatformServing
from policies.delivery import DaysByUser, Deliveries
from simulator.batches import DAY_SECONDS, Bools, Floats, Ints
from simulator.serving.backlog import DAY, DayOfQueue
from simulator.serving.cluster import Cluster
from simulator.serving.counted import CountedJobs
from simulator.serving.errors import ServingError
from simulator.serving.steptime import StepTime
from simulator.serving.stretch import Stretch, at_rate, full_rate
from simulator.shards import Tick
from simulator.streams import Stream

HOUR = 3600.0


@dataclass(frozen=True)
class QueueTask:
    """An arm's jobs and its cluster, as another process can be sent them.

    Attributes:
        block: the settings.
        arm: whose cluster it is.
        grants: (day, user ids) in the order of days; the first holds everybody.
        users: how many the world has.
        jobs: what a job asks for.
        seed: of the run.
    """

    block: PlatformServing
    arm: str
    grants: Sequence[tuple[int, Ints]]
    users: int
    jobs: CountedJobs
    seed: int

    @property
    def users_each(self) -> float:
        """Users of the platform that a simulated one stands for."""
        return self.block.users / self.users


@dataclass(frozen=True)
class QueueDay:
    """A day of the queue.

    Attributes:
        day: which.
        granted: simulated users that the schedule had.
        merged: those of them whose last job was still waiting, so that no new one was asked for.
        queue: what the platform asked of the cluster; jobs are the platform's.
        light: the cluster at the day's rate, None where there was no time at which jobs came and none waited.
    """

    day: int
    granted: int
    merged: int
    queue: DayOfQueue
    light: Stretch | None

    @property
    def light_jobs(self) -> float:
        """The platform's jobs that came while none waited."""
        return self.queue.rate * self.queue.light

    def busy(self, cards: int) -> float:
        """Card seconds in which cards computed: all of them while jobs waited, a share of them while none did."""
        return cards * self.queue.at_full_rate + (self.light_jobs * self.light.busy if self.light else 0.0)


@dataclass(frozen=True)
class Done:
    """Jobs of simulated users, in the order in which they were asked for; [jobs].

    Attributes:
        user, day: of each, int64; ``day`` is that on which it was asked for.
        due, begun, ready: seconds since the horizon's start.
    """

    user: Ints
    day: Ints
    due: Floats
    begun: Floats
    ready: Floats


@dataclass(frozen=True)
class ArmQueue:
    """What became of an arm's jobs.

    Attributes:
        cluster: that did them.
        jobs: what a job asks for.
        full: the cluster at its full rate.
        days: from the second on; on the first nobody waits for anything.
        done: jobs of simulated users, those not done by the end among them.
        deliveries: the same as a look-up.
    """

    cluster: Cluster
    jobs: CountedJobs
    full: Stretch
    days: tuple[QueueDay, ...]
    done: Done
    deliveries: Deliveries


def play_queue(task: QueueTask, tick: Tick) -> ArmQueue:
    """Play an arm's jobs; ``tick`` is called after each day.

    Raises:
        ServingError: the cluster cannot serve the jobs.
    """
    return _played(task, task.block.cluster(task.arm), tick)


def play_band(task: QueueTask, tick: Tick) -> tuple[ArmQueue, ArmQueue] | None:
    """The same with step times shorter, and longer, by their measured error; None where it is not known.

    Raises:
        ServingError: as ``play_queue``.
    """
    cluster = task.block.cluster(task.arm)
    error = cluster.pool.coefficients.error
    if error is None:
        return None
    faster, slower = (
        replace(cluster, pool=replace(cluster.pool, coefficients=slowed(cluster.pool.coefficients, factor)))
        for factor in (1.0 - min(error, 0.99), 1.0 + error)
    )
    return _played(task, faster, tick), _played(task, slower, tick)


def slowed(step: StepTime, factor: float) -> StepTime:
    """Step times that are longer by a factor."""
    return replace(
        step,
        compute_efficiency=step.compute_efficiency / factor,
        memory_efficiency=step.memory_efficiency / factor,
        per_layer=step.per_layer * factor,
        per_request=step.per_request * factor,
        per_step=step.per_step * factor,
    )


def _played(task: QueueTask, cluster: Cluster, tick: Tick) -> ArmQueue:
    block, cards = task.block, cluster.pool.instances
    window = block.spread_hours * HOUR
    try:
        full = full_rate(cluster, task.jobs, block.jobs_at_once, task.seed, block.jobs)
    except ServingError as error:
        raise ServingError(
            f"serving: {error} (arm {task.arm}, {block.model} on {block.hardware}); take a larger card or a smaller "
            "model"
        ) from None
    moment, pick = Stream(task.seed, "serving/due"), Stream(task.seed, "serving/latency")
    (first, everybody), *later = task.grants
    begun = np.full(task.users, first * DAY)
    ready = begun.copy()
    asked = [(everybody, np.full(len(everybody), first), begun[everybody])]
    parts: list[Done] = []
    days: list[QueueDay] = []
    before = 0.0
    for day, granted in later:
        offset = moment.uniform(granted, day) * window
        due = day * DAY + offset
        asked.append((granted, np.full(len(granted), day), due))
        free = begun[granted] <= due
        user, offset, due = granted[free], offset[free], due[free]
        queue = DayOfQueue(cards * full.rate, before, task.users_each * len(user), window)
        light = None
        if queue.light > 0.0 and queue.jobs > 0.0:
            light = at_rate(cluster, task.jobs, block.jobs_at_once, queue.rate / cards, task.seed, block.jobs)
        waits = queue.waits(offset)
        wait, took = _latencies(waits, full, light, pick.uniform(user, day))
        begun[user] = due + wait
        ready[user] = np.maximum(ready[user], due + wait + took)
        parts.append(Done(user, np.full(len(user), day), due, begun[user], ready[user]))
        days.append(QueueDay(day, len(granted), int((~free).sum()), queue, light))
        before = queue.after
        tick()
    done = _joined(parts)
    return ArmQueue(cluster, task.jobs, full, tuple(days), done, _deliveries(asked, done, first, everybody))


def _latencies(waits: Floats, full: Stretch, light: Stretch | None, draw: Floats) -> tuple[Floats, Floats]:
    """Seconds before and in the cluster: of a job played at the full rate where jobs wait, at the day's rate if not."""
    behind: Bools = waits > 0.0
    if light is None:
        behind = np.ones(len(waits), np.bool_)

    def one_of(values: Floats) -> Floats:
        return values[(draw * len(values)).astype(np.int64)]

    if light is None:
        return waits, one_of(full.job)
    return np.where(behind, waits, one_of(light.wait)), np.where(behind, one_of(full.job), one_of(light.job))


def _joined(parts: Sequence[Done]) -> Done:
    nothing = np.zeros(0, np.int64)
    parts = parts or [Done(nothing, nothing, *(np.zeros(0) for _ in range(3)))]
    return Done(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("user", "day", "due", "begun", "ready"))
    )


def _deliveries(asked: Sequence[tuple[Ints, Ints, Floats]], done: Done, first: int, everybody: Ints) -> Deliveries:
    """Whole seconds: what is asked for counts from its second on, what is done from the second after."""
    user, day, due = (np.concatenate(part) for part in zip(*asked, strict=True))
    opening = np.full(len(everybody), first, np.int64)
    ready = np.concatenate([opening * DAY_SECONDS, np.ceil(done.ready).astype(np.int64)])
    begun = np.concatenate([opening, np.floor(done.begun / DAY).astype(np.int64)])
    return Deliveries(
        DaysByUser.of(user, np.floor(due).astype(np.int64), day),
        DaysByUser.of(np.concatenate([everybody, done.user]), ready, begun),
    )
