"""A table of pieces measured one after the other within a time: models loaded in turn, what does not fit said.

The order of the pieces is their importance. Before a piece runs it is guessed what it takes, by data sheet and by how
the guesses did so far; one that the time left does not suffice for is dropped, and cheaper ones behind it may still
run. Every piece leaves rows: measured, or with the reason why not.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import torch

from policies.language.gpu.cards import Card
from policies.language.gpu.engine import Engine
from policies.language.gpu.rounds import WINDOW, Clock, Outcome, in_one_line, in_rounds
from policies.language.gpu.rows import PRECISIONS, PlanRow, StepRow
from policies.language.gpu.works import WRITTEN, PlanWork, ReadStep, Work, WriteStep, Writing
from policies.language.steps import Cuts, StepShape, plan_steps, step_work
from simulator.serving.hardware import H100, Accelerator
from simulator.serving.steptime import ASSUMED
from simulator.serving.transformer import ModelShape
from simulator.serving.workload import JobShape

CUTS: Final = Cuts(read_tokens=32_768, write_rows=256)
"""Tokens read and rows that write at once."""
LAUNCHING: Final = 7e-4
"""Seconds that the host takes to launch a layer's kernels one by one: a judgement, for guessing what a piece takes."""
SETTING_UP: Final = 0.5
"""Seconds that a piece takes besides its runs: memory, recording. A judgement."""

Row = StepRow | PlanRow


@dataclass(frozen=True)
class StepPiece:
    """One step to be measured."""

    step: StepShape
    writing: Writing | None

    @property
    def label(self) -> str:
        """What it is called."""
        if self.writing is None:
            return f"reading {self.step.new:,} tokens behind {self.step.past:,}, {self.step.batch} rows"
        return f"writing behind {self.step.past:,} tokens, {self.step.batch} rows, {self.writing}"


@dataclass(frozen=True)
class PlanPiece:
    """Some rows' plans, replayed in turn.

    Attributes:
        plan: where the lengths come from.
        jobs: rows in turn: the name, the calls of a refresh, and whether what they share is read once.
        refreshes: side by side.
        writing: how steps of writing are launched.
    """

    plan: str
    jobs: tuple[tuple[str, JobShape, bool], ...]
    refreshes: int
    writing: Writing

    @property
    def label(self) -> str:
        """What it is called."""
        return f"plan {self.plan}, {self.refreshes} refreshes side by side, {self.writing}"


Piece = StepPiece | PlanPiece


@dataclass(frozen=True)
class Group:
    """The pieces of one model.

    Attributes:
        model: its name.
        shape: of it.
        dtype: a key of ``rows.PRECISIONS``.
        load: makes it ready on the device.
        pieces: in the order of their importance.
        energy: whether energy is counted too, which takes a window for each piece.
    """

    model: str
    shape: ModelShape
    dtype: Literal["bf16", "fp8"]
    load: Callable[[], Engine]
    pieces: tuple[Piece, ...]
    energy: bool = True


@dataclass
class Measured:
    """What a campaign found.

    Attributes:
        rows: in the order of the pieces.
        dropped: labels of the pieces that the time did not suffice for.
        failed: what went wrong otherwise than for lack of memory or time, one line each.
        seconds: that it took by the host's clock.
    """

    rows: list[Row] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def as_dicts(self, sheet: Accelerator | None) -> list[dict[str, Any]]:
        """The rows as results hold them."""
        return [row.as_dict(sheet) for row in self.rows]


class Campaign:
    """Measures groups of pieces.

    Args:
        card: the device.
        seconds: that all may take by the host's clock, what went before it left out.
        rounds: samples of each step.
        plan_rounds: samples of each plan.
        clock: seconds of the host.
        window: seconds over which energy is counted; 0 for no counting.
        cuts: how rows are cut into passes.
        tell: is told what is being done, one line each.
        advance: is called when a piece is done, or dropped.
    """

    def __init__(
        self,
        card: Card,
        seconds: float,
        rounds: int,
        plan_rounds: int,
        clock: Clock,
        window: float = WINDOW,
        cuts: Cuts = CUTS,
        tell: Callable[[str], None] = lambda line: None,
        advance: Callable[[], None] = lambda: None,
    ) -> None:
        self._advance = advance
        self._card, self._clock, self._tell, self._cuts = card, clock, tell, cuts
        self._seconds, self._rounds, self._plan_rounds = seconds, rounds, plan_rounds
        self._window = window if card.meter is not None else 0.0
        self._guessed = self._taken = self._begun = 0.0

    def run(self, groups: Sequence[Group], after: Callable[[Measured], None] = lambda measured: None) -> Measured:
        """Measure all that the time suffices for.

        Args:
            groups: in the order of their importance.
            after: is called when a model's pieces are done, with what was found so far.
        """
        self._begun = self._clock()
        found = Measured()
        for group in groups:
            self._group(found, group)
            self._card.free()
            found.seconds = self._clock() - self._begun
            after(found)
        return found

    def guess(self, group: Group, piece: Piece) -> float:
        """Seconds that a piece should take, by the step times that are assumed for cards."""
        sheet = self._card.sheet or H100
        shape, precision = group.shape, PRECISIONS[group.dtype]

        def passes(steps: Sequence[StepShape], writing: Writing | None) -> float:
            total = 0.0
            for step in steps:
                flops, moved = step_work(shape, step, precision)
                told = float(
                    ASSUMED.seconds(flops / sheet.peak(precision), moved / sheet.bandwidth, shape.layers, step.batch)
                )
                total += told if writing == "graph" else max(told, LAUNCHING * shape.layers)
            return total

        if isinstance(piece, StepPiece):
            once = passes([piece.step], piece.writing) * (WRITTEN[piece.writing] if piece.writing else 1)
            window = once + self._window if group.energy and self._window else 0.0
            return SETTING_UP + once * (self._rounds + 1) + window
        seconds = 0.0
        for _, job, shared in piece.jobs:
            steps = [each for step in plan_steps(job, shared, piece.refreshes, self._cuts) for each in step.shapes]
            read = passes([each for each in steps if each.phase == "prefill"], None)
            once = read + passes([each for each in steps if each.phase == "decode"], piece.writing)
            window = max(once, self._window) + SETTING_UP if group.energy and self._window else 0.0
            seconds += (SETTING_UP + once) * (self._plan_rounds + 1) + window
        return seconds

    def _group(self, found: Measured, group: Group) -> None:
        if not any(self._fits(group, piece) for piece in group.pieces):
            for piece in group.pieces:
                self._drop(found, group, piece)
            return
        self._tell(f"{group.model}, {group.dtype}: loading")
        try:
            engine = group.load()
        except (torch.OutOfMemoryError, RuntimeError, ValueError) as error:
            why = "the model does not fit in the card's memory"
            if not isinstance(error, torch.OutOfMemoryError):
                why = f"the model cannot be made ready ({in_one_line(error)})"
                found.failed.append(f"{group.model}, {group.dtype}: {why}")
            self._tell(f"  left out: {why}")
            for piece in group.pieces:
                found.rows += self._rows(group, piece, {}, why)
            return
        with engine.ready():
            for piece in group.pieces:
                if self._fits(group, piece):
                    self._piece(found, group, piece, engine)
                else:
                    self._drop(found, group, piece)
                self._advance()

    def _fits(self, group: Group, piece: Piece) -> bool:
        """Whether the time left should suffice, as the guesses did so far."""
        slower = self._taken / self._guessed if self._guessed else 1.0
        return self._clock() - self._begun + self.guess(group, piece) * slower <= self._seconds

    def _piece(self, found: Measured, group: Group, piece: Piece, engine: Engine) -> None:
        self._tell(f"{group.model}, {group.dtype}: {piece.label}")
        started = self._clock()
        outcomes = self._measured(engine, piece, self._window if group.energy else 0.0)
        rows = self._rows(group, piece, outcomes, None)
        found.rows += rows
        if all(row.outcome.why_not is None for row in rows):
            self._taken += self._clock() - started
            self._guessed += self.guess(group, piece)
        for row in rows:
            if row.outcome.why_not is not None:
                self._tell(f"  left out: {row.outcome.why_not}")
                if not row.outcome.memory:
                    found.failed.append(f"{group.model}, {group.dtype}, {piece.label}: {row.outcome.why_not}")

    def _drop(self, found: Measured, group: Group, piece: Piece) -> None:
        found.dropped.append(f"{group.model}, {group.dtype}: {piece.label}")
        found.rows += self._rows(group, piece, {}, "the time did not suffice")

    def _measured(self, engine: Engine, piece: Piece, window: float) -> dict[str, Outcome]:
        works: dict[str, Callable[[], Work]] = {}
        if isinstance(piece, StepPiece):
            step, writing = piece.step, piece.writing
            works[""] = lambda: ReadStep(engine, step) if writing is None else WriteStep(engine, step, writing)
            return in_rounds(self._card, works, self._rounds, self._clock, window)
        for row, job, shared in piece.jobs:
            works[row] = _plan_maker(engine, job, shared, piece, self._cuts)
        return in_rounds(self._card, works, self._plan_rounds, self._clock, window)

    def _rows(self, group: Group, piece: Piece, outcomes: Mapping[str, Outcome], why_not: str | None) -> list[Row]:
        nothing = Outcome(1, [], [], why_not=why_not)
        about = (group.model, group.shape, group.dtype)
        if isinstance(piece, StepPiece):
            return [StepRow(*about, piece.step, piece.writing, outcomes.get("", nothing))]
        rows: list[Row] = []
        for row, job, shared in piece.jobs:
            steps = plan_steps(job, shared, piece.refreshes, self._cuts)
            passes = tuple(shape for step in steps for shape in step.shapes)
            outcome = outcomes.get(row, nothing)
            rows.append(
                PlanRow(*about, piece.plan, row, piece.refreshes, len(job.stages), piece.writing, passes, outcome)
            )
        return rows


def _plan_maker(engine: Engine, job: JobShape, shares: bool, piece: PlanPiece, cuts: Cuts) -> Callable[[], Work]:
    return lambda: PlanWork(engine, job, shares, piece.refreshes, cuts, piece.writing)
