"""What steps of a language model take, measured: reading so many tokens behind so many others, writing one more.

A step is one pass of the model as the generator makes it: the same cache, the same masks, the same rows. Shapes are
taken in turn, there and back, round after round, so that a machine that slows down slows all of them. The first pass of
each shape does not count. Prompts are random tokens over random keys and values, since arithmetic on zeros is faster on
some devices. A plan of calls becomes a list of such steps, which can be timed as they are, or told from a fit.

Seconds are those of a stopwatch that is handed in; the one here counts CPU-seconds of one thread. Knows no policy.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, Final, TypeVar

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from policies.language.generation import READ_TOKENS, ROWS, Generator
from policies.language.kv import RoomyLayer
from policies.language.ledger import Ledger
from policies.language.model import Language
from simulator.batches import Bools
from simulator.serving.hardware import FP32, Accelerator
from simulator.serving.steptime import Fit, MeasuredSteps, StepTime, fit
from simulator.serving.transformer import ModelShape, step_cost
from simulator.serving.workload import CallShape, JobShape

CPU: Final = Accelerator(
    "cpu",
    bf16_flops=1e11,
    fp8_flops=None,
    bandwidth=2e10,
    memory=8e9,
    source="no data sheet: round numbers that a fit divides by, so that its shares of a peak mean nothing",
    fp32_flops=1e11,
)
HELD_OUT_EVERY: Final = 4
"""Every fourth shape of a phase, the third first, is left to judge the fit."""
WRITE_ROWS: Final = 64
"""Rows that write side by side, as many as the generator takes at once by default."""

Stopwatch = Callable[[Callable[[], object]], float]
_Name = TypeVar("_Name")


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


def grid(
    prompts: Sequence[int], behind: Sequence[int], prompt_rows: Sequence[int], pasts: Sequence[int], rows: Sequence[int]
) -> list[StepShape]:
    """Shapes of reading and writing, each once, ordered.

    Args:
        prompts: tokens read, 2 at least.
        behind: tokens before them.
        prompt_rows: rows that read; more than ``READ_TOKENS`` tokens at once are left out, as the generator cuts there.
        pasts: tokens before one that is written.
        rows: rows that write.
    """
    read = {StepShape(new, past, batch) for new in prompts for past in behind for batch in prompt_rows}
    read = {shape for shape in read if shape.new * shape.batch <= READ_TOKENS}
    return [*sorted(read), *sorted({StepShape(1, past, batch) for past in pasts for batch in rows})]


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU-seconds of the calling thread for one call; all there are within ``one_thread``.

    The process's would hold those of a progress bar too.
    """
    begun = time.thread_time()
    work()
    return time.thread_time() - begun


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread, and give back what it had."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def in_turn(
    works: Mapping[_Name, Callable[[], Callable[[], object]]],
    rounds: int,
    watch: Stopwatch = cpu_seconds,
    advance: Callable[[], None] = lambda: None,
) -> dict[_Name, Timed]:
    """Time pieces of work in turn: once to warm up, then there and back in ``rounds`` rounds.

    Args:
        works: by name; each call prepares the work, untimed, and returns what is to be timed.
        rounds: samples of each.
        watch: seconds of one call.
        advance: is called after each piece.
    """
    names = list(works)
    found: dict[_Name, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        for name in names if number % 2 else reversed(names):
            seconds = watch(works[name]())
            if number:
                found[name].append(seconds)
            advance()
    return {name: Timed(tuple(seconds)) for name, seconds in found.items()}


class Passes:
    """Makes passes of a model ready to run.

    Args:
        language: the model.
        seed: of the random tokens, keys and values.
    """

    def __init__(self, language: Language, seed: int) -> None:
        self._generator = Generator(language, Ledger(language.shape))
        self._language = language
        self._random = torch.Generator().manual_seed(seed)

    def step(self, step: PlanStep) -> Callable[[], object]:
        """The passes of a plan's step, ready to run once."""
        shape, batch = step.shape, step.shape.batch
        if shape.phase == "prefill":
            runs = [self._pass(shape) for _ in range(step.times)]
            return lambda: [run() for run in runs]
        cache = self._cache(batch, shape.past, step.times)
        ids = self._ids(batch, step.times)
        held = torch.arange(shape.past + step.times, device=self._language.device).expand(batch, -1)
        behind = self._generator.masks.writing(held)

        def write() -> None:
            for place in range(step.times):
                seen = shape.past + place + 1
                mask = self._generator.masks.reading(held[:, :seen], 1) if behind is None else behind[..., :seen]
                self._forward(ids[:, place : place + 1], cache, mask, held[:, seen - 1 : seen])

        return write

    def plan(self, steps: Sequence[PlanStep]) -> Callable[[], object]:
        """All steps of a plan, ready to run once; copying kept prefixes together is no part of what is run."""
        runs = [self.step(step) for step in steps]
        return lambda: [run() for run in runs]

    def _pass(self, shape: StepShape) -> Callable[[], object]:
        ids = self._ids(shape.batch, shape.new)
        if shape.past == 0:
            return lambda: self._forward(ids, DynamicCache(), None, None)
        cache = self._cache(shape.batch, shape.past, shape.new)
        held = torch.arange(shape.past + shape.new, device=self._language.device).expand(shape.batch, -1)
        mask = self._generator.masks.reading(held, shape.new)
        return lambda: self._forward(ids, cache, mask, held[:, shape.past :])

    def _forward(self, ids: Tensor, cache: DynamicCache, mask: Any, positions: Tensor | None) -> Tensor:
        with torch.inference_mode():
            return self._generator.forward(ids, cache, mask, positions)

    def _ids(self, batch: int, new: int) -> Tensor:
        return torch.randint(len(self._language.tokenizer), (batch, new), generator=self._random)

    def _cache(self, batch: int, past: int, room: int) -> DynamicCache:
        shape, language = self._language.shape, self._language
        cache = DynamicCache()
        layers = [RoomyLayer(past + room) for _ in range(shape.layers)]
        cache.layers.extend(layers)
        if past:
            for layer in layers:
                states = torch.randn((2, batch, shape.kv_heads, past, shape.head_dim), generator=self._random)
                keys, values = states.to(language.device, language.dtype)
                layer.update(keys, values)
        return cache


def time_steps(
    language: Language,
    shapes: Sequence[StepShape],
    rounds: int,
    seed: int,
    watch: Stopwatch = cpu_seconds,
    advance: Callable[[], None] = lambda: None,
) -> dict[StepShape, Timed]:
    """Time one pass of each shape, in turn.

    Args:
        language: the model.
        shapes: of the passes.
        rounds: samples of each, after one that warms up.
        seed: of the random inputs.
        watch: seconds of one call.
        advance: is called after each pass, ``(rounds + 1) * len(shapes)`` times.
    """
    passes = Passes(language, seed)
    return in_turn({shape: partial(passes.step, PlanStep(shape, 1)) for shape in shapes}, rounds, watch, advance)


def held_out(shapes: Sequence[StepShape]) -> Bools:
    """Which shapes are left to judge a fit: of each phase, from the least work to the most, every fourth, [shapes]."""
    marked = np.zeros(len(shapes), np.bool_)
    for phase in ("prefill", "decode"):
        of_phase = [place for place, shape in enumerate(shapes) if shape.phase == phase]
        of_phase.sort(key=lambda place: (shapes[place].counts[2], shapes[place].batch))
        marked[of_phase[2::HELD_OUT_EVERY]] = True
    return marked


def fit_steps(shape: ModelShape, timed: Mapping[StepShape, Timed], card: Accelerator = CPU) -> Fit:
    """Fit a step time to the medians of steps in 32-bit numbers, with whole shapes held out.

    Args:
        shape: of the model.
        timed: steps and their seconds.
        card: what peak and bandwidth the fit divides by.

    Raises:
        ServingError: too few steps, or an efficiency cannot be told from them.
    """
    work = np.array([_work(shape, each) for each in timed], np.float64)
    steps = MeasuredSteps(
        flops=work[:, 0],
        bytes=work[:, 1],
        layers=np.full(len(work), float(shape.layers)),
        requests=np.array([float(each.batch) for each in timed]),
        seconds=np.array([each.median for each in timed.values()]),
    )
    return fit(steps, card, FP32, held_out(list(timed)))


def told_seconds(
    shape: ModelShape, coefficients: StepTime, steps: Sequence[StepShape], card: Accelerator = CPU
) -> list[float]:
    """Seconds of each step as a fit tells them."""
    work = np.array([_work(shape, each) for each in steps], np.float64)
    rows = np.array([each.batch for each in steps])
    told = coefficients.seconds(work[:, 0] / card.peak(FP32), work[:, 1] / card.bandwidth, shape.layers, rows)
    return [float(seconds) for seconds in told]


def _work(shape: ModelShape, step: StepShape) -> tuple[int, int]:
    new, logits, pairs, seen = step.counts
    cost = step_cost(shape, FP32)
    return cost.flops(new, logits, pairs), cost.bytes(new, logits, seen)


def plan_steps(job: JobShape, shares: bool, jobs: int) -> list[PlanStep]:
    """The passes by which some equal jobs are thought through side by side.

    Stage after stage: what prompts share is read once a job where the plan keeps it, then each call reads the rest,
    then its calls write side by side. Rows are cut as the generator cuts them, and those that write are filled up to a
    multiple of ``ROWS``. The generator's padding of prompts is left out.

    Args:
        job: the calls of each.
        shares: whether what calls share is kept from one to the next; otherwise each call reads it.
        jobs: how many.
    """
    steps: list[PlanStep] = []
    kept = False
    for stage in job.stages:
        for call, group in groupby(sorted(stage, key=_order)):
            rows = len(list(group)) * jobs
            if shares and call.shared and not kept:
                steps += _reads(call.shared, 0, jobs)
                kept = True
            past = call.shared if shares else 0
            steps += _reads(call.shared + call.own - past, past, rows)
            if call.output > 1:
                steps += [
                    PlanStep(StepShape(1, call.shared + call.own, -(-batch // ROWS) * ROWS), call.output - 1)
                    for batch in _cut(rows, WRITE_ROWS)
                ]
    return steps


def _order(call: CallShape) -> tuple[int, int, int]:
    return call.shared, call.own, call.output


def _reads(new: int, past: int, rows: int) -> list[PlanStep]:
    """Reading the same number of tokens in each row; one token more than one, since one writes."""
    parts = _cut(rows, max(1, READ_TOKENS // new))
    return [PlanStep(StepShape(max(2, new), past, batch), len(list(same))) for batch, same in groupby(parts)]


def _cut(rows: int, most: int) -> list[int]:
    full, rest = divmod(rows, most)
    return [most] * full + ([rest] if rest else [])
