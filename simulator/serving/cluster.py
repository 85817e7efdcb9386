"""Serving a workload on a cluster: one pool that reads and writes, or two with a link between them.

With one pool every instance reads prompts and writes answers. With a decode pool (Zhong et al. 2024, "DistServe"; Patel
et al. 2024, "Splitwise") the first pool only reads: it chooses the first token, and when an instance of the second has
room, the keys and values of the whole prompt are sent there. Prefixes are shared where prompts are read; what is sent,
and what the decode pool holds, is each call's own.

Everything follows from the workload and the settings; there is no draw in here and no clock but the simulated one.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import simpy

from simulator.serving.calls import Call
from simulator.serving.checks import at_least, share
from simulator.serving.clock import SECOND
from simulator.serving.errors import ServingError
from simulator.serving.hardware import BF16, GIBIBYTE, Accelerator, Precision
from simulator.serving.instance import Instance, Limits, Meter, Outlets, Speed
from simulator.serving.link import Link, SharedLink
from simulator.serving.pool import Events, Pool, RunningPool
from simulator.serving.transformer import ModelShape, step_cost
from simulator.serving.workload import NO_PREFIX, Workload

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Cluster:
    """A cluster's settings.

    Attributes:
        shape: of the model, which every instance holds whole.
        pool: that reads prompts, and writes answers too unless there is a decode pool.
        decode: the pool that writes answers, or None.
        link: from the first pool to the second; needed with a decode pool.
        precision: of weights, keys, values and products.
        prefix_cache: whether an instance keeps what prompts begin with for those who begin alike.
        usable_memory: share of a card's memory for weights, keys and values; the rest is for what passes through.

    Raises:
        ServingError: a decode pool without a link or the reverse, or a share outside (0, 1].
    """

    shape: ModelShape
    pool: Pool
    decode: Pool | None = None
    link: Link | None = None
    precision: Precision = BF16
    prefix_cache: bool = True
    usable_memory: float = 0.9

    def __post_init__(self) -> None:
        share("cluster.usable_memory", self.usable_memory)
        if (self.decode is None) != (self.link is None):
            raise ServingError(
                "cluster.link: a decode pool needs a link, and a link a decode pool; give both or neither"
            )

    @property
    def pools(self) -> tuple[Pool, ...]:
        """The pools, that which reads first."""
        return (self.pool,) if self.decode is None else (self.pool, self.decode)

    @property
    def gpus(self) -> int:
        """Cards at the start."""
        return sum(pool.instances for pool in self.pools)


def kv_capacity(shape: ModelShape, precision: Precision, card: Accelerator, usable: float = 0.9) -> int:
    """Tokens whose keys and values fit beside the weights.

    Raises:
        ServingError: the model does not fit.
    """
    weights, room = shape.parameters * precision.weight_bytes, usable * card.memory
    tokens = int((room - weights) // shape.kv_bytes_per_token(precision))
    if tokens < 1:
        lacking = (weights + shape.kv_bytes_per_token(precision) - room) / GIBIBYTE
        raise ServingError(
            f"model: weights of {weights / GIBIBYTE:.1f} GiB in {precision.name} do not fit the accelerator {card.name}"
            f" ({room / GIBIBYTE:.1f} GiB usable): {lacking:.1f} GiB are lacking"
        )
    return tokens


@dataclass(frozen=True)
class PoolUse:
    """What a pool did.

    Attributes:
        accelerator: its card.
        peak_flops: of the card at the cluster's precision, operations a second.
        instances: the most that were there at one moment.
        busy_seconds, provisioned_seconds: of all instances together; an instance is provisioned from when it is asked
            for to its end, or to the end of the last job.
        steps: iterations.
        flops: operations, causal count; ``flops_again`` of them repeated what a call that was put back had lost.
        bytes: moved between memory and chip.
        tokens_read, tokens_read_again, tokens_written: counted where it happened; the first token of a call is written
            where its prompt is read.
        prefix_reads, prefix_hits: calls that found their prefix absent, and present; counted at every admission.
        tokens_cached: prompt tokens that were not read, since they were there.
        preemptions: calls put back for lack of memory.
        kv_capacity, kv_peak: tokens that fit on an instance, and the most that any of them held.
    """

    accelerator: Accelerator
    peak_flops: float
    instances: int
    busy_seconds: float
    provisioned_seconds: float
    steps: int
    flops: int
    flops_again: int
    bytes: int
    tokens_read: int
    tokens_read_again: int
    tokens_written: int
    prefix_reads: int
    prefix_hits: int
    tokens_cached: int
    preemptions: int
    kv_capacity: int
    kv_peak: int


@dataclass(frozen=True)
class Served:
    """How a workload was served. Moments are seconds since the start, float64 [calls] or [jobs].

    Attributes:
        cluster, workload: which.
        released: each call's stage began.
        admitted: an instance took it, for the first time.
        first: its first token was there.
        handed: its keys and values were where it is decoded; NaN where the first token was the last.
        finished: its last token was there.
        preemptions: how often it was put back, int64 [calls].
        job_started: each job was let in, which is its arrival unless too many jobs were in the cluster, [jobs].
        job_finished: the last call of each job was finished, [jobs].
        pools: what each pool did, that which reads first.
        link_bytes, link_busy_seconds: of the link; 0 without one.
    """

    cluster: Cluster
    workload: Workload
    released: Floats
    admitted: Floats
    first: Floats
    handed: Floats
    finished: Floats
    preemptions: Ints
    job_started: Floats
    job_finished: Floats
    pools: tuple[PoolUse, ...]
    link_bytes: int
    link_busy_seconds: float

    @property
    def model_error(self) -> float | None:
        """The largest of the pools' errors of step time, to be told with every figure; None if any was not measured."""
        errors = [pool.coefficients.error for pool in self.cluster.pools]
        return max((error for error in errors if error is not None), default=None) if None not in errors else None


def serve(cluster: Cluster, workload: Workload, jobs_at_once: int | None = None) -> Served:
    """Serve every job to its end.

    Args:
        cluster: that serves.
        workload: to be served.
        jobs_at_once: jobs in the cluster at the most; the others wait before it and are let in as they arrived. Without
            such a bound the later stages of jobs queue behind the first stages of jobs that came after them.

    Raises:
        ServingError: the model does not fit a card, a call would not fit an instance's memory, a card lacks the
            precision, or no job may be let in.
    """
    if jobs_at_once is not None:
        at_least("jobs_at_once", jobs_at_once, 1)
    return _Serving(cluster, workload, jobs_at_once).run()


class _Serving:
    """One run."""

    def __init__(self, cluster: Cluster, workload: Workload, jobs_at_once: int | None) -> None:
        self._cluster = cluster
        self._workload = workload
        self._capacities = [
            kv_capacity(cluster.shape, cluster.precision, pool.accelerator, cluster.usable_memory)
            for pool in cluster.pools
        ]
        self._must_fit()
        self._clock = simpy.Environment(initial_time=0)
        self._done = self._clock.event()
        self._reader = self._running(0)
        self._decoder = self._running(1) if cluster.decode is not None else None
        self._link = SharedLink(self._clock, cluster.link) if cluster.link is not None else None
        self._calls = _calls(workload, cluster.prefix_cache)
        self._left_of_stage = np.bincount(_stage_number(workload)).tolist()
        self._stage_of = _stage_number(workload).tolist()
        self._first_of_stage = np.searchsorted(self._stage_of, np.arange(len(self._left_of_stage) + 1)).tolist()
        self._jobs_left = workload.jobs
        self._job_started = [0] * workload.jobs
        self._job_finished = [0] * workload.jobs
        self._places = workload.jobs if jobs_at_once is None else jobs_at_once
        self._outside: deque[int] = deque()
        self._first_call = np.flatnonzero(np.diff(workload.job, prepend=-1)).tolist()
        self._reader_of: dict[int, Instance] = {}

    def run(self) -> Served:
        self._clock.process(self._arrivals())
        self._clock.run(until=self._done)
        calls = self._calls
        return Served(
            cluster=self._cluster,
            workload=self._workload,
            released=_seconds([call.released for call in calls]),
            admitted=_seconds([call.admitted for call in calls]),
            first=_seconds([call.first for call in calls]),
            handed=_seconds([call.handed for call in calls]),
            finished=_seconds([call.finished for call in calls]),
            preemptions=np.array([call.preemptions for call in calls], np.int64),
            job_started=_seconds(self._job_started),
            job_finished=_seconds(self._job_finished),
            pools=tuple(self._use(number) for number in range(len(self._cluster.pools))),
            link_bytes=self._link.sent if self._link else 0,
            link_busy_seconds=self._link.busy / SECOND if self._link else 0.0,
        )

    def _must_fit(self) -> None:
        longest = self._workload.prompt + self._workload.output - 1
        call = int(np.argmax(longest))
        if longest[call] > min(self._capacities):
            raise ServingError(
                f"workload: call {call} needs {longest[call]:,} tokens of keys and values; an instance holds"
                f" {min(self._capacities):,}"
            )

    def _running(self, number: int) -> RunningPool:
        cluster, pool = self._cluster, self._cluster.pools[number]
        card = pool.accelerator
        speed = Speed(
            step_cost(cluster.shape, cluster.precision),
            card.peak(cluster.precision),
            card.bandwidth,
            pool.coefficients,
            cluster.shape.layers,
        )
        reads = number == 0
        limits = Limits(pool.max_calls, pool.max_tokens, self._capacities[number], cluster.prefix_cache and reads)
        outlets = Outlets(self._read, self._finished, self._put_back, lambda: self._pool(number).room())
        if reads:
            return RunningPool(self._clock, pool, speed, limits, outlets, self._admit, lambda call: call.to_read)
        return RunningPool(self._clock, pool, speed, limits, outlets, self._send, lambda call: call.held)

    def _pool(self, number: int) -> RunningPool:
        return self._decoder if number and self._decoder is not None else self._reader

    def _arrivals(self) -> Events:
        moments = np.rint(self._workload.arrival * SECOND).astype(np.int64).tolist()
        for job, moment in enumerate(moments):
            if moment > self._clock.now:
                yield self._clock.timeout(moment - int(self._clock.now))
            self._outside.append(job)
            self._let_in()

    def _let_in(self) -> None:
        while self._outside and self._places:
            job = self._outside.popleft()
            self._places -= 1
            self._job_started[job] = int(self._clock.now)
            self._release(self._stage_of[self._first_call[job]])

    def _release(self, stage: int) -> None:
        now = int(self._clock.now)
        for call in self._calls[self._first_of_stage[stage] : self._first_of_stage[stage + 1]]:
            call.released = now
            self._reader.wait(call, now)

    def _admit(self, instance: Instance, call: Call) -> None:
        if call.admitted < 0:
            call.admitted = int(self._clock.now)
        instance.admit(call)

    def _read(self, instance: Instance, call: Call) -> bool:
        if self._decoder is None:
            return True
        self._reader_of[call.index] = instance
        self._decoder.wait(call, int(self._clock.now))
        return False

    def _send(self, instance: Instance, call: Call) -> None:
        assert self._link is not None
        instance.expect(call)
        size = call.held * self._cluster.shape.kv_bytes_per_token(self._cluster.precision)

        def arrived() -> None:
            call.handed = int(self._clock.now)
            self._reader_of.pop(call.index).let_go(call)
            instance.join(call)

        self._link.send(size, call.index, arrived)

    def _put_back(self, call: Call) -> None:
        # A nanosecond later: by then all instances have planned what they do at this moment.
        self._reader.wait(call, call.released, delay=1)

    def _finished(self, call: Call) -> None:
        stage = self._stage_of[call.index]
        self._left_of_stage[stage] -= 1
        if self._left_of_stage[stage]:
            return
        following = stage + 1
        if following < len(self._left_of_stage) and self._calls[self._first_of_stage[following]].job == call.job:
            self._release(following)
            return
        self._job_finished[call.job] = int(self._clock.now)
        self._places += 1
        self._let_in()
        self._jobs_left -= 1
        if not self._jobs_left:
            self._done.succeed()

    def _use(self, number: int) -> PoolUse:
        running, pool = self._pool(number), self._cluster.pools[number]
        meter: Meter = running.meter()
        memories = [instance.memory for instance in running.instances]
        return PoolUse(
            accelerator=pool.accelerator,
            peak_flops=pool.accelerator.peak(self._cluster.precision),
            instances=running.grown,
            busy_seconds=meter.busy / SECOND,
            provisioned_seconds=running.provisioned(int(self._clock.now)) / SECOND,
            steps=meter.steps,
            flops=meter.flops,
            flops_again=meter.flops_again,
            bytes=meter.bytes,
            tokens_read=meter.tokens_read,
            tokens_read_again=meter.tokens_read_again,
            tokens_written=meter.tokens_written,
            prefix_reads=sum(memory.reads for memory in memories),
            prefix_hits=sum(memory.hits for memory in memories),
            tokens_cached=sum(memory.cached for memory in memories),
            preemptions=meter.preemptions,
            kv_capacity=self._capacities[number],
            kv_peak=max(memory.peak for memory in memories),
        )


def _calls(workload: Workload, prefixes: bool) -> list[Call]:
    rows: Any = zip(
        workload.job.tolist(),
        workload.stage.tolist(),
        workload.prompt.tolist(),
        workload.output.tolist(),
        (workload.prefix if prefixes else np.full(workload.calls, NO_PREFIX)).tolist(),
        workload.prefix_tokens.tolist(),
        strict=True,
    )
    return [Call(index, *row) for index, row in enumerate(rows)]


def _stage_number(workload: Workload) -> Ints:
    """A number for each stage of each job, in the order of the calls, [calls]."""
    begins = (np.diff(workload.job, prepend=0) != 0) | (np.diff(workload.stage, prepend=0) != 0)
    return np.cumsum(begins)


def _seconds(moments: list[int]) -> Floats:
    found = np.array(moments, np.float64) / SECOND
    return np.where(found < 0.0, np.nan, found)
