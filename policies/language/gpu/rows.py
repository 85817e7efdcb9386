"""What a measured row says: seconds, and what they are of a card's peaks.

MFU is useful operations over what the card could have done in that time at the dense peak of the products' type; MBU is
the bytes that had to be moved over what its memory could have moved. Useful operations are counted causally, a token
with itself and what is before it; beside them stands the count of a kernel that multiplies the whole square. A card
without a data sheet has seconds and no shares. Knows no device: everything comes from samples.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from policies.language.gpu.engine import DECODE
from policies.language.gpu.rounds import Outcome
from policies.language.gpu.works import Writing
from policies.language.steps import StepShape, Timed, step_work
from simulator.serving.hardware import BF16, Accelerator, Precision
from simulator.serving.transformer import ModelShape, square_flops

FP8_LAYERS: Final = Precision("fp8", 1, 2, 2)
"""As ``fp8.py`` computes: weights of the layers in 8 bits, keys, values and the output head in 16."""
PRECISIONS: Final = {"bf16": BF16, "fp8": FP8_LAYERS}


@dataclass(frozen=True)
class Work:
    """Operations and bytes.

    Attributes:
        flops: causal count.
        square: whole-square count.
        bytes: moved between memory and chip.
    """

    flops: int = 0
    square: int = 0
    bytes: int = 0


def work_of(shape: ModelShape, steps: Iterable[StepShape], precision: Precision) -> Work:
    """What some passes come to."""
    total = Work()
    for step in steps:
        flops, moved = step_work(shape, step, precision)
        if precision is FP8_LAYERS:
            moved += shape.vocabulary * shape.width  # the head's second byte
        square = square_flops(shape, step.new, step.past, 1) * step.batch
        total = replace(total, flops=total.flops + flops, square=total.square + square, bytes=total.bytes + moved)
    return total


@dataclass(frozen=True)
class StepRow:
    """A step that was measured, or could not be.

    Attributes:
        model: its name.
        shape: of the model.
        dtype: a key of ``PRECISIONS``.
        step: the pass.
        writing: how it was launched; None where it reads.
        outcome: what was measured.
    """

    model: str
    shape: ModelShape
    dtype: str
    step: StepShape
    writing: Writing | None
    outcome: Outcome

    @property
    def timed(self) -> Timed:
        """Seconds of one pass, by sample."""
        return Timed(tuple(sample.busy / self.outcome.parts for sample in self.outcome.samples))

    def as_dict(self, sheet: Accelerator | None) -> dict[str, Any]:
        """The row as results hold it."""
        found: dict[str, Any] = {
            "kind": "step",
            "model": self.model,
            "dtype": self.dtype,
            "phase": self.step.phase,
            "writing": self.writing,
            "new": self.step.new,
            "past": self.step.past,
            "batch": self.step.batch,
            "why_not": self.outcome.why_not,
            "gpu_seconds": None,
        }
        if not self.outcome.samples:
            return found
        work = work_of(self.shape, [self.step], PRECISIONS[self.dtype])
        middle = self.timed.median
        return found | {
            "gpu_seconds": spread(self.timed),
            "tokens_per_second": self.step.new * self.step.batch / middle,
            **_counted(work),
            **shares(work, middle, self.dtype, sheet),
            "peak_memory_bytes": max(max(each.peak_bytes.values()) for each in self.outcome.samples),
            **_energy(self.outcome),
            "clocks": clocks(self.outcome),
        }


@dataclass(frozen=True)
class PlanRow:
    """A plan that was replayed, or could not be.

    Attributes:
        model, shape, dtype: of what computed.
        plan: where the lengths come from.
        row: whose calls they are.
        refreshes: side by side.
        stages: calls that follow one another.
        writing: how steps of writing were launched.
        passes: of one run.
        outcome: what was measured.
    """

    model: str
    shape: ModelShape
    dtype: str
    plan: str
    row: str
    refreshes: int
    stages: int
    writing: Writing
    passes: tuple[StepShape, ...]
    outcome: Outcome

    @property
    def busy(self) -> Timed:
        """Device seconds of all phases for one refresh, by sample."""
        return Timed(tuple(sample.busy / self.refreshes for sample in self.outcome.samples))

    def as_dict(self, sheet: Accelerator | None) -> dict[str, Any]:
        """The row as results hold it."""
        found: dict[str, Any] = {
            "kind": "plan",
            "model": self.model,
            "dtype": self.dtype,
            "plan": self.plan,
            "row": self.row,
            "refreshes_side_by_side": self.refreshes,
            "stages": self.stages,
            "writing": self.writing,
            "why_not": self.outcome.why_not,
            "gpu_seconds": None,
        }
        samples = self.outcome.samples
        if not samples:
            return found
        precision = PRECISIONS[self.dtype]
        work = work_of(self.shape, self.passes, precision)
        of_writing = work_of(self.shape, [each for each in self.passes if each.phase == "decode"], precision)
        held = Timed(tuple(sample.held / self.refreshes for sample in samples))
        names = list(dict.fromkeys(name for sample in samples for name in sample.seconds))
        busy = shares(work, self.busy.median * self.refreshes, self.dtype, sheet)
        provisioned = shares(work, held.median * self.refreshes, self.dtype, sheet)
        decode = [sample.seconds[DECODE] for sample in samples if DECODE in sample.seconds]
        mbu = shares(of_writing, float(np.median(decode)), self.dtype, sheet)["mbu"] if decode else None
        return found | {
            "gpu_seconds": spread(self.busy),
            "gpu_seconds_provisioned": spread(held),
            "seconds_to_last_token": spread(Timed(tuple(sample.held for sample in samples))),
            "phases": {name: _phase(name, samples, self.refreshes) for name in names},
            "passes": len(self.passes),
            **_counted(work, self.refreshes),
            "mfu_busy": busy["mfu"],
            "mfu_provisioned": provisioned["mfu"],
            "mfu_busy_full_square": busy["mfu_full_square"],
            "mbu_decode": mbu,
            **_energy(self.outcome),
            "clocks": clocks(self.outcome),
        }


def _phase(name: str, samples: Sequence[Any], refreshes: int) -> dict[str, Any]:
    return {
        "gpu_seconds": spread(Timed(tuple(sample.seconds[name] / refreshes for sample in samples))),
        "peak_memory_bytes": max(sample.peak_bytes[name] for sample in samples),
    }


def shares(work: Work, seconds: float, dtype: str, sheet: Accelerator | None) -> dict[str, float | None]:
    """MFU by both counts, and MBU; None where the card's peak is not known."""
    if sheet is None or (dtype == "fp8" and sheet.fp8_flops is None):
        return {"mfu": None, "mfu_full_square": None, "mbu": None}
    could = seconds * sheet.peak(PRECISIONS[dtype])
    return {
        "mfu": work.flops / could,
        "mfu_full_square": work.square / could,
        "mbu": work.bytes / (seconds * sheet.bandwidth),
    }


def spread(timed: Timed) -> dict[str, Any]:
    """Median, quartiles and raw samples of seconds."""
    low, high = timed.quartiles
    return {"median": timed.median, "q25": low, "q75": high, "raw": list(timed.seconds)}


def clocks(outcome: Outcome) -> dict[str, list[float | int | None]] | None:
    """What the driver told after the samples, least and most of each."""
    told = [each for each in outcome.clocks if each]
    if not told:
        return None
    columns = {name: [each[name] for each in told if each[name] is not None] for name in told[0]}
    return {name: [min(values), max(values)] if values else [None, None] for name, values in columns.items()}  # type: ignore[type-var]


def _counted(work: Work, parts: int = 1) -> dict[str, float]:
    return {"flops": work.flops / parts, "flops_full_square": work.square / parts, "bytes": work.bytes / parts}


def _energy(outcome: Outcome) -> dict[str, float | None]:
    energy = outcome.energy
    if energy is None:
        return {"joules": None, "watts": None, "energy_window_seconds": None}
    return {
        "joules": energy.joules / energy.parts,
        "watts": energy.joules / energy.seconds,
        "energy_window_seconds": energy.seconds,
    }
