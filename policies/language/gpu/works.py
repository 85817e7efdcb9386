"""What is run and timed: one step, or a plan of calls from the first token read to the last one written.

A work is made once for its shape, prepared before each run (random tokens and, where there is a past, random keys and
values, all drawn anew), and run between marks. A plan is replayed as its policy asks for it: stage after stage, what
calls share read once and copied to each call's own memory, the calls of a stage side by side. Knows no policy by name
and no clock.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Final, Literal, Protocol

import torch
from torch import Tensor

from policies.language.gpu.engine import COPY, DECODE, PREFILL, Engine, Phases
from policies.language.gpu.storage import Storage
from policies.language.steps import Cuts, StepShape, cut_rows
from simulator.serving.workload import CallShape, JobShape

Writing = Literal["eager", "graph"]
WRITTEN: Final = {"eager": 8, "graph": 32}
"""Tokens that a run of a writing step writes, so that a sample lasts some milliseconds; it tells one token's share."""


class Work(Protocol):
    """A piece of work that can be run again and again.

    Attributes:
        parts: equal parts of a run; a sample over it is one pass, or one refresh.
    """

    parts: int

    def prepare(self) -> None:
        """Draw its inputs anew."""

    def run(self, phases: Phases) -> None:
        """Do it, between marks."""


class ReadStep:
    """Reading a prompt, behind others or alone."""

    def __init__(self, engine: Engine, shape: StepShape) -> None:
        self.parts = 1
        self._engine, self._shape = engine, shape
        self._storage = engine.storage(shape.batch, shape.past + shape.new)

    def prepare(self) -> None:
        """New tokens behind new keys and values."""
        self._engine.fill(self._storage, self._shape.past)
        self._ids = self._engine.tokens(self._shape.batch, self._shape.new)

    def run(self, phases: Phases) -> None:
        """One pass."""
        with phases.phase(PREFILL):
            self._engine.read(self._ids, self._storage.cache(self._shape.past), self._shape.past)


class WriteStep:
    """Writing tokens one after the other, launched by the host or recorded."""

    def __init__(self, engine: Engine, shape: StepShape, writing: Writing) -> None:
        self.parts = WRITTEN[writing]
        self._engine, self._shape = engine, shape
        self._storage = engine.storage(shape.batch, shape.past + (1 if writing == "graph" else self.parts))
        engine.fill(self._storage, shape.past)
        self._recorded = engine.recorded(self._storage, shape.past) if writing == "graph" else None

    def prepare(self) -> None:
        """New keys and values, and a new token to begin with."""
        self._engine.fill(self._storage, self._shape.past)
        self._first = self._engine.tokens(self._shape.batch, 1)

    def run(self, phases: Phases) -> None:
        """``parts`` passes."""
        past = self._shape.past
        with phases.phase(DECODE):
            if self._recorded is not None:
                self._recorded(self._first, self.parts)
            else:
                self._engine.write(self._first, self._storage.cache(past), past, self.parts)


class PlanWork:
    """A plan of calls for some refreshes side by side.

    Memory for all calls is taken, and steps are recorded, before anything is timed, as a server does when it starts.
    What is timed is reading, copying what calls share, and writing.

    Args:
        engine: the model.
        job: the calls of a refresh.
        shares: whether what calls share is read once; otherwise each call reads it.
        refreshes: side by side.
        cuts: how rows are cut into passes.
        writing: ``eager`` makes each pass at its own context; ``graph`` replays one step, recorded at the context of a
            call's middle token.
    """

    def __init__(
        self, engine: Engine, job: JobShape, shares: bool, refreshes: int, cuts: Cuts, writing: Writing
    ) -> None:
        self.parts = refreshes
        self._engine, self._cuts, self._writing = engine, cuts, writing
        longest = max(call.shared for call in job.calls) if shares else 0
        self._prefix = engine.storage(refreshes, longest) if longest else None
        self._groups = [
            _Group(self, call, len(list(calls)), longest if call.shared else 0)
            for stage in job.stages
            for call, calls in groupby(sorted(stage, key=lambda each: (each.shared, each.own, each.output)))
        ]

    def prepare(self) -> None:
        """New tokens."""
        if self._prefix is not None:
            self._shared = self._engine.tokens(self._prefix.rows, self._prefix.places)
        for group in self._groups:
            group.prepare()

    def run(self, phases: Phases) -> None:
        """All stages, one after the other."""
        kept = False
        for group in self._groups:
            if group.kept and not kept and self._prefix is not None:
                with phases.phase(PREFILL):
                    self.read(self._prefix, self._shared, 0)
                kept = True
            group.run(phases, self._prefix)

    def read(self, storage: Storage, ids: Tensor, past: int) -> Tensor:
        """Read rows in as many passes as they are cut into; the tokens chosen, int64 [rows, 1]."""
        chosen, first = [], 0
        for rows in cut_rows(len(ids), max(1, self._cuts.read_tokens // ids.shape[1])):
            part = slice(first, first + rows)
            chosen.append(self._engine.read(ids[part], storage.cache(past, part), past))
            first += rows
        return torch.cat(chosen)


class _Group:
    """Equal calls of a stage, those of all refreshes."""

    def __init__(self, plan: PlanWork, call: CallShape, calls: int, kept: int) -> None:
        engine = plan._engine
        self.kept = kept
        self._plan, self._engine, self._call, self._calls = plan, engine, call, calls
        rows = calls * plan.parts
        self._held = call.shared + call.own
        self._storage = engine.storage(rows, self._held + max(1, call.output - 1))
        self._parts: list[slice] = []
        for count in cut_rows(rows, plan._cuts.write_rows):
            first = self._parts[-1].stop if self._parts else 0
            self._parts.append(slice(first, first + count))
        self._recorded: Sequence[Callable[[Tensor, int], Tensor]] = ()
        if plan._writing == "graph" and call.output > 1:
            middle = self._held + (call.output - 1) // 2
            engine.fill(self._storage, middle)
            self._recorded = [engine.recorded(self._storage, middle, part) for part in self._parts]

    def prepare(self) -> None:
        """Tokens that a call reads itself: all of its prompt, or what follows the part that is kept."""
        self._ids = self._engine.tokens(self._storage.rows, self._held - self.kept)

    def run(self, phases: Phases, prefix: Storage | None) -> None:
        """Copy what is kept, read the rest, write."""
        if self.kept and prefix is not None:
            with phases.phase(COPY):
                self._storage.take(prefix, self.kept, 0, self._calls)
        with phases.phase(PREFILL):
            chosen = self._plan.read(self._storage, self._ids, self.kept)
        if self._call.output < 2:
            return
        with phases.phase(DECODE):
            for number, part in enumerate(self._parts):
                if self._recorded:
                    self._recorded[number](chosen[part], self._call.output - 1)
                else:
                    cache = self._storage.cache(self._held, part)
                    self._engine.write(chosen[part], cache, self._held, self._call.output - 1)
