"""A processor in a card's place, and small models, shared by the tests of measuring on a card.

Nothing is faked about it: passes run, a stopwatch times them, and no step is recorded. What it takes says nothing of an
accelerator, so no figure of it is kept.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from policies.language.gpu.cards import Card
from policies.language.gpu.engine import Engine
from policies.language.gpu.nvml import Reading
from policies.language.gpu.presets import random_model
from simulator.serving.hardware import H200, Accelerator
from simulator.serving.transformer import ModelShape

SMALL = ModelShape(layers=2, width=32, heads=4, kv_heads=2, head_dim=16, ffn=48, vocabulary=200, tied=True)


class ProcessorMeter:
    """A counter of energy that goes up by a watt."""

    driver = None

    def joules(self) -> float:
        """A joule a second."""
        return time.monotonic()

    def reading(self) -> Reading:
        """One clock that is known and one that is not."""
        return {"sm_mhz": 1000, "watts": None}


class ProcessorCard:
    """A processor, asked as a card is; its log holds what it was asked."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.sheet: Accelerator | None = H200
        self.meter: ProcessorMeter | None = ProcessorMeter()
        self.why_no_meter = None
        self.log: list[str] = []

    def mark(self) -> float:
        """Now."""
        self.log.append("mark")
        return time.perf_counter()

    def seconds(self, begin: float, end: float) -> float:
        """Between two moments."""
        assert self.log[-1] != "mark", "the device must have been waited for"
        return end - begin

    def synchronise(self) -> None:
        """Nothing is ever outstanding."""
        self.log.append("synchronise")

    def record(self, step: Callable[[], object]) -> Callable[[], object]:
        """The step itself."""
        self.log.append("record")
        return step

    def begin_peak(self) -> None:
        """Memory is not counted."""

    def peak_bytes(self) -> int:
        """Something that is there."""
        return 1

    def free(self) -> None:
        """Nothing is held."""
        self.log.append("free")

    def describe(self) -> dict[str, Any]:
        """A processor."""
        return {"kind": "cpu", "name": "processor", "sheet": None}


@pytest.fixture
def card() -> ProcessorCard:
    """A processor in a card's place."""
    return ProcessorCard()


@pytest.fixture
def engine(card: Card) -> Iterator[Engine]:
    """A small model with random weights, ready."""
    made = Engine(random_model(SMALL, card.device, torch.float32, 1), card, 2)
    with made.ready():
        yield made
