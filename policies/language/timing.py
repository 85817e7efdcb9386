"""What steps of a language model take on the CPU, measured with the generator's own passes.

A pass has the generator's cache, masks and rows. Shapes are taken in turn, there and back, round after round, so that a
machine that slows down slows all of them. The first pass of each shape does not count. Prompts are random tokens over
random keys and values, since arithmetic on zeros is faster on some devices.

Seconds are those of a stopwatch that is handed in; the one here counts CPU-seconds of one thread. Knows no policy.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

import torch
from torch import Tensor
from transformers import DynamicCache

from policies.language.batch import ROWS
from policies.language.generation import READ_TOKENS, Generator
from policies.language.kv import RoomyLayer
from policies.language.ledger import Ledger
from policies.language.model import Language
from policies.language.steps import Cuts, PlanStep, StepShape, Timed
from simulator.serving.hardware import Accelerator

CPU: Final = Accelerator(
    "cpu",
    bf16_flops=1e11,
    fp8_flops=None,
    bandwidth=2e10,
    memory=8e9,
    source="no data sheet: round numbers that a fit divides by, so that its shares of a peak mean nothing",
    fp32_flops=1e11,
)
CUTS: Final = Cuts(READ_TOKENS, write_rows=64, multiple=ROWS)
"""As the generator cuts, with as many prompts at once as it takes by default."""

Stopwatch = Callable[[Callable[[], object]], float]
_Name = TypeVar("_Name")


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
