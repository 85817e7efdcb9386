"""One accelerator with a copy of the model: it reads prompts and writes answers, an iteration at a time.

A process of one event an iteration. An iteration writes one token for every call in the decoding batch and reads, with
the room that is left in its token budget, prompts in the order of admission, in chunks (Agrawal et al. 2024,
"Sarathi-Serve"). Calls join and leave between iterations (Yu et al. 2022, "Orca"). When the batch outgrows the memory,
the call admitted last is put back and read again later (recomputation, Kwon et al. 2023, "vLLM").

While nothing is read, iterations differ only by one token a call, so many are planned at once; whoever comes in between
interrupts, and the plan is cut at the end of the iteration under way. Time is in whole nanoseconds, so the outcome is
the same as step by step. Of the batch only sums are kept, since the time of an iteration depends on nothing else.
"""

import heapq
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import numpy.typing as npt
import simpy

from simulator.serving.calls import Call
from simulator.serving.clock import END, PLAN, SECOND, Pause
from simulator.serving.kv_memory import KvMemory
from simulator.serving.steptime import StepTime
from simulator.serving.transformer import StepCost
from simulator.serving.workload import NO_PREFIX

Ints = npt.NDArray[np.int64]
Events = Generator[simpy.Event, None, None]

STEPS_AHEAD = 512
"""Iterations planned at once, at most. It changes nothing but the speed."""

WATERMARK: Final = 0.01
"""Share of the memory that an admission leaves free for the batch to grow into (the default of vLLM's scheduler)."""


@dataclass
class Meter:
    """What an instance did; whole numbers, so that sums do not depend on their order."""

    busy: int = 0
    steps: int = 0
    flops: int = 0
    flops_again: int = 0
    bytes: int = 0
    tokens_read: int = 0
    tokens_read_again: int = 0
    tokens_written: int = 0
    preemptions: int = 0

    def add(self, other: "Meter") -> None:
        """Count what another instance did."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


@dataclass(frozen=True)
class Speed:
    """How long iterations of a model take on a card, from whole numbers to whole nanoseconds.

    Attributes:
        cost: of the model.
        peak: operations a second.
        bandwidth: bytes a second.
        coefficients: of the step time.
        layers: of the model.
    """

    cost: StepCost
    peak: float
    bandwidth: float
    coefficients: StepTime
    layers: int

    def nanoseconds(self, flops: npt.ArrayLike, moved: npt.ArrayLike, requests: int) -> Ints:
        """Durations of iterations of these operations and bytes; at least 1."""
        seconds = self.coefficients.seconds(
            np.asarray(flops) / self.peak, np.asarray(moved) / self.bandwidth, self.layers, requests
        )
        return np.maximum(1, np.rint(seconds * SECOND)).astype(np.int64)


@dataclass(frozen=True)
class Limits:
    """What an instance takes at once.

    Attributes:
        calls: in the batch, those that are read or whose keys and values are on their way among them.
        tokens: new tokens an iteration.
        kv_tokens: places for keys and values.
        prefixes: whether calls that share a prefix share its places.
    """

    calls: int
    tokens: int
    kv_tokens: int
    prefixes: bool


@dataclass(frozen=True)
class Outlets:
    """Whom an instance tells what happened.

    Attributes:
        read: the prompt is read and the first token chosen; returns whether the call is decoded here.
        finished: the last token was chosen.
        put_back: the call has to wait for room again.
        room: calls left, so others may come.
    """

    read: Callable[["Instance", Call], bool]
    finished: Callable[[Call], None]
    put_back: Callable[[Call], None]
    room: Callable[[], None]


class Instance:
    """One instance; ``admit`` and ``join`` bring calls, ``let_go`` takes one that was handed on.

    Args:
        clock: that drives it.
        index: its place among the pool's instances, in the order of starting.
        speed, limits, outlets: see there.

    Attributes:
        memory: its keys and values.
        meter: what it did.
        open: whether it takes calls.
        started: when it was asked for, nanoseconds.
        stopped: when it was given back, or None.
    """

    def __init__(self, clock: simpy.Environment, index: int, speed: Speed, limits: Limits, outlets: Outlets) -> None:
        self.index = index
        self.memory = KvMemory(limits.kv_tokens)
        self.meter = Meter()
        self.open = True
        self.started = int(clock.now)
        self.stopped: int | None = None
        self._clock = clock
        self._speed = speed
        self._limits = limits
        self._outlets = outlets
        self._spare = int(WATERMARK * limits.kv_tokens)
        self._residents: dict[int, Call] = {}
        self._reading: deque[Call] = deque()
        self._joining: list[Call] = []
        self._leaving: list[tuple[int, int, Call]] = []
        self._steps = 0
        self._seen = 0
        self._unread = 0
        self._held: dict[int, int] = {}
        self._ends: Ints | None = None
        self._cuttable = False
        self._wake: simpy.Event | None = None
        self._process = clock.process(self._run())

    @property
    def calls(self) -> int:
        """Calls that it takes care of, without those that only wait to be handed on."""
        return len(self._residents)

    @property
    def empty(self) -> bool:
        """Whether it holds no call at all, not even one that waits to be handed on."""
        return not self._residents and not self._held

    def has_room(self, call: Call, own: int) -> bool:
        """Whether the call can be admitted now with so many tokens of its own."""
        if not self.open or len(self._residents) >= self._limits.calls:
            return False
        spare = 0 if self.empty else self._spare
        return self.memory.has_room(*self._shared(call), own + spare, self._promised())

    def burden(self, call: Call) -> tuple[int, int, int]:
        """What the call would cost here, to be compared: tokens, calls, place.

        Tokens are those that stand before it. A prefix that is not here counts twice: the call waits for it, and the
        instance reads what is known elsewhere. So calls with a common prefix meet until one more wait is longer.
        """
        known = self.memory.prefix(call.prefix) is not None
        return self._unread + (0 if known else 2 * call.prefix_tokens), len(self._residents), self.index

    def admit(self, call: Call) -> None:
        """Take a call whose prompt is to be read; there must be room."""
        call.unread = call.to_read
        self._reserve(call, call.unread)
        entry = self.memory.prefix(call.prefix)
        if entry is not None and entry.users == 1 and entry.unread:
            self._unread += entry.unread
        self._unread += call.unread
        self._reading.append(call)
        self._disturb(must=True)

    def expect(self, call: Call) -> None:
        """Take a call that was read elsewhere; its keys and values follow. There must be room."""
        self._reserve(call, call.held)
        self._disturb(must=False)

    def join(self, call: Call) -> None:
        """The keys and values of an expected call are here."""
        self._joining.append(call)
        self._disturb(must=True)

    def let_go(self, call: Call) -> None:
        """A call that was read here has been handed on."""
        self.memory.release(self._shared(call)[0], self._held.pop(call.index))
        self._outlets.room()

    def _shared(self, call: Call) -> tuple[int, int]:
        """The prefix that the call has here, and its length."""
        return (call.prefix, call.prefix_tokens) if self._limits.prefixes else (NO_PREFIX, 0)

    def _reserve(self, call: Call, own: int) -> None:
        self.memory.admit(*self._shared(call), own, self._promised())
        call.own = own
        self._residents[call.index] = call

    def _promised(self) -> int:
        """Places that the iterations of the present plan have taken so far."""
        if self._ends is None:
            return 0
        begun = min(int(np.searchsorted(self._ends, self._clock.now)) + 1, len(self._ends))
        return begun * len(self._leaving)

    def _disturb(self, must: bool) -> None:
        """Wake up, or cut the plan where it would not have been made like this."""
        if self._wake is not None:
            if must:
                wake, self._wake = self._wake, None
                wake.succeed()
        elif self._ends is not None and self._cuttable:
            grown = len(self._ends) * len(self._leaving)
            if must or self.memory.free < grown:
                self._cuttable = False
                self._process.interrupt()

    def _run(self) -> Events:
        while True:
            if not (self._reading or self._leaving or self._joining):
                self._wake = self._clock.event()
                yield self._wake
            yield Pause(self._clock, 0, PLAN)
            for call in self._joining:
                self._decode(call)
            self._joining.clear()
            self._make_room()
            if self._reading:
                yield from self._mixed_step()
            elif self._leaving:
                yield from self._decoding_steps()

    def _make_room(self) -> None:
        """Put back calls admitted last until the batch can grow by a token each."""
        while self._leaving and not self.memory.make_room(len(self._leaving)):
            decoding = {call.index for _, _, call in self._leaving}
            reading = {call.index for call in self._reading}
            victim = next(c for c in reversed(self._residents.values()) if c.index in decoding or c.index in reading)
            if victim.index in decoding:
                self._leaving = [entry for entry in self._leaving if entry[1] != victim.index]
                heapq.heapify(self._leaving)
                since = self._steps - victim.joined_at
                victim.written += since
                self._seen -= victim.held
                own = had = victim.own + since
            else:
                self._reading.remove(victim)
                self._unread -= victim.unread
                own, had = victim.own, victim.own - victim.unread
            victim.lost = max(victim.lost, had - (0 if self._limits.prefixes else victim.prefix_tokens))
            victim.preemptions += 1
            self.meter.preemptions += 1
            self._remove(victim, own)
            self._outlets.put_back(victim)

    def _remove(self, call: Call, own: int) -> None:
        entry = self.memory.prefix(call.prefix)
        if entry is not None and entry.users == 1:
            self._unread -= entry.unread
        del self._residents[call.index]
        self.memory.release(self._shared(call)[0], own)

    def _decode(self, call: Call) -> None:
        """Put a call that is all read into the batch."""
        call.joined_at = self._steps
        self._seen += call.held
        heapq.heappush(self._leaving, (self._steps + call.output - call.written, call.index, call))

    def _mixed_step(self) -> Events:
        """One iteration that reads, beside what it writes."""
        batch, cost, meter = len(self._leaving), self._speed.cost, self.meter
        budget = self._limits.tokens - batch
        new, logits, pairs, seen = batch, batch, self._seen + batch, self._seen + batch
        read = again = requests = 0
        done: list[Call] = []
        for call in self._reading:
            if budget == 0:
                break
            past = call.prefix_tokens + call.to_read - call.unread
            entry = self.memory.prefix(call.prefix)
            if entry is not None and entry.unread:
                past = entry.tokens - entry.unread
                shared = min(budget, entry.unread)
                entry.unread -= shared
            else:
                shared = 0
            own = min(budget - shared, call.unread)
            repeated = min(own, max(0, call.lost - (call.to_read - call.unread)))
            if repeated:
                before = past + shared
                again += cost.flops(repeated, 0, repeated * before + repeated * (repeated + 1) // 2)
                meter.tokens_read_again += repeated
            call.unread -= own
            tokens = shared + own
            budget -= tokens
            read += tokens
            requests += 1
            pairs += tokens * past + tokens * (tokens + 1) // 2
            seen += past + tokens
            if call.unread == 0:
                logits += 1
                done.append(call)
        new += read
        flops, moved = cost.flops(new, logits, pairs), cost.bytes(new, logits, seen)
        duration = int(self._speed.nanoseconds(flops, moved, batch + requests))
        self._unread -= read
        self.memory.grow(batch)
        yield Pause(self._clock, duration, END)
        meter.busy += duration
        meter.steps += 1
        meter.flops += flops
        meter.flops_again += again
        meter.bytes += moved
        meter.tokens_read += read
        meter.tokens_written += batch + len(done)
        self._advance(1, batch)
        for call in done:
            self._reading.popleft()
            self._finish_reading(call)

    def _finish_reading(self, call: Call) -> None:
        now = int(self._clock.now)
        call.written += 1
        call.lost = 0
        if call.first < 0:
            call.first = now
        if call.written == call.output:
            call.finished = now
            self._remove(call, call.own)
            self._outlets.finished(call)
            self._outlets.room()
        elif self._outlets.read(self, call):
            call.handed = now
            self._decode(call)
        else:
            del self._residents[call.index]
            self._held[call.index] = call.own
            self._outlets.room()

    def _decoding_steps(self) -> Events:
        """Iterations that only write, until one of the batch is finished, memory is short or somebody comes."""
        batch, cost, now = len(self._leaving), self._speed.cost, int(self._clock.now)
        steps = min(self._leaving[0][0] - self._steps, self.memory.free // batch, STEPS_AHEAD)
        seen = self._seen + batch + batch * np.arange(steps, dtype=np.int64)
        flops, moved = cost.flops(batch, batch, seen), cost.bytes(batch, batch, seen)
        ends = now + np.cumsum(self._speed.nanoseconds(flops, moved, batch))
        self._ends, self._cuttable = ends, True
        try:
            yield Pause(self._clock, int(ends[-1]) - now, END)
        except simpy.Interrupt:
            steps = int(np.searchsorted(ends, self._clock.now)) + 1
            self._ends = ends[:steps]
            left = int(ends[steps - 1]) - int(self._clock.now)
            if left:
                yield Pause(self._clock, left, END)
        self._ends, self._cuttable = None, False
        meter = self.meter
        meter.busy += int(ends[steps - 1]) - now
        meter.steps += steps
        later = batch * (steps * (steps - 1) // 2)  # tokens seen beyond those of the first iteration, over all
        meter.flops += steps * int(flops[0]) + later * cost.pair_flops
        meter.bytes += steps * int(moved[0]) + later * cost.kv_bytes
        meter.tokens_written += batch * steps
        self.memory.grow(batch * steps)
        self._advance(steps, batch)

    def _advance(self, steps: int, batch: int) -> None:
        """Count iterations of the batch, and see off who is finished."""
        if not batch:
            return
        self._steps += steps
        self._seen += steps * batch
        left = False
        while self._leaving and self._leaving[0][0] <= self._steps:
            _, _, call = heapq.heappop(self._leaving)
            call.finished = int(self._clock.now)
            since = call.output - call.written
            self._seen -= call.held + since
            call.written = call.output
            self._remove(call, call.own + since)
            self._outlets.finished(call)
            left = True
        if left:
            self._outlets.room()
