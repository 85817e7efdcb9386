"""Steps of a language model by their shape: reading so many tokens behind so many others, writing one more.

A step is one pass of the model. A plan of calls becomes a list of such steps, which can be timed as they are, or told
from a fit of steps that were. Fits hold whole shapes out and are judged on them. Knows no model, no device and no
clock: seconds come from outside.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np
import numpy.typing as npt

from simulator.serving.hardware import Accelerator, Precision
from simulator.serving.steptime import Fit, MeasuredSteps, StepTime, fit
from simulator.serving.transformer import ModelShape, step_cost
from simulator.serving.workload import CallShape, JobShape

HELD_OUT_EVERY: Final = 4
"""Every fourth shape of a phase, the third first, is left to judge the fit."""

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, order=True)
class StepShape:
    """One pass of the model.

    Attributes:
        new: tokens that each row reads; 1 writes.
        past: tokens before them, whose keys and values are there.
        batch: rows.
    """

    new: int
    past: int
    batch: int

    @property
    def phase(self) -> str:
        """``prefill`` or ``decode``."""
        return "decode" if self.new == 1 else "prefill"

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """New tokens, tokens to choose, pairs of tokens that meet, tokens seen: what ``StepCost`` multiplies."""
        pairs = self.new * self.past + self.new * (self.new + 1) // 2
        return self.new * self.batch, self.batch, pairs * self.batch, (self.past + self.new) * self.batch


@dataclass(frozen=True)
class Timed:
    """Seconds of one piece of work, raw and in the order of the rounds."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Bounds of the middle half, linear between neighbours."""
        low, high = np.quantile(self.seconds, (0.25, 0.75)).tolist()
        return float(low), float(high)


@dataclass(frozen=True)
class PlanStep:
    """Passes of one shape in a plan; those that write go on from ``shape.past``, one token further each.

    Attributes:
        shape: of the first pass.
        times: how many follow.
    """

    shape: StepShape
    times: int

    @property
    def shapes(self) -> tuple[StepShape, ...]:
        """Each pass."""
        shape = self.shape
        if shape.phase == "prefill":
            return (shape,) * self.times
        return tuple(StepShape(1, shape.past + place, shape.batch) for place in range(self.times))


@dataclass(frozen=True)
class Cuts:
    """How work is cut into passes.

    Attributes:
        read_tokens: most tokens that are read at once, rows times tokens of each; a longer row is read alone.
        write_rows: most rows that write side by side.
        multiple: rows that write are filled up to a multiple of it.
    """

    read_tokens: int
    write_rows: int
    multiple: int = 1


def grid(
    prompts: Sequence[int],
    behind: Sequence[int],
    prompt_rows: Sequence[int],
    pasts: Sequence[int],
    rows: Sequence[int],
    read_tokens: int,
) -> list[StepShape]:
    """Shapes of reading and writing, each once, ordered.

    Args:
        prompts: tokens read, 2 at least.
        behind: tokens before them.
        prompt_rows: rows that read.
        pasts: tokens before one that is written.
        rows: rows that write.
        read_tokens: more tokens at once are left out, since a model that is cut there never reads so many.
    """
    read = {StepShape(new, past, batch) for new in prompts for past in behind for batch in prompt_rows}
    read = {shape for shape in read if shape.new * shape.batch <= read_tokens}
    return [*sorted(read), *sorted({StepShape(1, past, batch) for past in pasts for batch in rows})]


def held_out(shapes: Sequence[StepShape]) -> Bools:
    """Which shapes are left to judge a fit: of each phase, from the least work to the most, every fourth, [shapes]."""
    marked = np.zeros(len(shapes), np.bool_)
    for phase in ("prefill", "decode"):
        of_phase = [place for place, shape in enumerate(shapes) if shape.phase == phase]
        of_phase.sort(key=lambda place: (shapes[place].counts[2], shapes[place].batch))
        marked[of_phase[2::HELD_OUT_EVERY]] = True
    return marked


def fit_steps(timed: Mapping[ModelShape, Mapping[StepShape, Timed]], card: Accelerator, precision: Precision) -> Fit:
    """Fit a step time to the medians of steps, with whole shapes of each model held out.

    Args:
        timed: steps and their seconds, by the model that made them.
        card: what peak and bandwidth the fit divides by.
        precision: of the numbers.

    Returns:
        The fit; ``held_out`` follows the steps model by model, [steps].

    Raises:
        ServingError: too few steps, or an efficiency cannot be told from them.
    """
    rows = [(shape, step, seconds) for shape, steps in timed.items() for step, seconds in steps.items()]
    work = np.array([step_work(shape, step, precision) for shape, step, _ in rows], np.float64).reshape(-1, 2)
    steps = MeasuredSteps(
        flops=work[:, 0],
        bytes=work[:, 1],
        layers=np.array([float(shape.layers) for shape, _, _ in rows]),
        requests=np.array([float(step.batch) for _, step, _ in rows]),
        seconds=np.array([seconds.median for _, _, seconds in rows]),
    )
    out = [held_out(list(each)) for each in timed.values()]
    return fit(steps, card, precision, np.concatenate(out))


def told_seconds(
    shape: ModelShape, coefficients: StepTime, steps: Sequence[StepShape], card: Accelerator, precision: Precision
) -> list[float]:
    """Seconds of each step as a fit tells them."""
    work = np.array([step_work(shape, each, precision) for each in steps], np.float64)
    rows = np.array([each.batch for each in steps])
    told = coefficients.seconds(work[:, 0] / card.peak(precision), work[:, 1] / card.bandwidth, shape.layers, rows)
    return [float(seconds) for seconds in told]


def step_work(shape: ModelShape, step: StepShape, precision: Precision) -> tuple[int, int]:
    """Operations (causal count) and bytes of one pass."""
    new, logits, pairs, seen = step.counts
    cost = step_cost(shape, precision)
    return cost.flops(new, logits, pairs), cost.bytes(new, logits, seen)


def plan_steps(job: JobShape, shares: bool, jobs: int, cuts: Cuts) -> list[PlanStep]:
    """The passes by which some equal jobs are thought through side by side.

    Stage after stage: what prompts share is read once a job where the plan keeps it, then each call reads the rest,
    then its calls write side by side. Padding of prompts is left out.

    Args:
        job: the calls of each.
        shares: whether what calls share is kept from one to the next; otherwise each call reads it.
        jobs: how many.
        cuts: how rows are cut.
    """
    steps: list[PlanStep] = []
    kept = False
    for stage in job.stages:
        for call, group in groupby(sorted(stage, key=_order)):
            rows = len(list(group)) * jobs
            if shares and call.shared and not kept:
                steps += _reads(call.shared, 0, jobs, cuts)
                kept = True
            past = call.shared if shares else 0
            steps += _reads(call.shared + call.own - past, past, rows, cuts)
            if call.output > 1:
                steps += [
                    PlanStep(
                        StepShape(1, call.shared + call.own, -(-batch // cuts.multiple) * cuts.multiple),
                        call.output - 1,
                    )
                    for batch in cut_rows(rows, cuts.write_rows)
                ]
    return steps


def _order(call: CallShape) -> tuple[int, int, int]:
    return call.shared, call.own, call.output


def _reads(new: int, past: int, rows: int, cuts: Cuts) -> list[PlanStep]:
    """Reading the same number of tokens in each row; one token more than one, since one writes."""
    parts = cut_rows(rows, max(1, cuts.read_tokens // new))
    return [PlanStep(StepShape(max(2, new), past, batch), len(list(same))) for batch, same in groupby(parts)]


def cut_rows(rows: int, most: int) -> list[int]:
    """Sizes of parts, as many at ``most`` as there are, and the rest."""
    full, rest = divmod(rows, most)
    return [most] * full + ([rest] if rest else [])
