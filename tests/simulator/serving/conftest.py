from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from simulator.serving.cluster import Cluster
from simulator.serving.hardware import Accelerator
from simulator.serving.pool import Pool
from simulator.serving.steptime import StepTime
from simulator.serving.transformer import ModelShape
from simulator.serving.workload import NO_PREFIX, Workload

SHAPE = ModelShape(layers=2, width=32, heads=4, kv_heads=2, head_dim=8, ffn=64, vocabulary=100)
KV_BYTES = 128
"""Of one token of SHAPE in 16 bits: 2 x 2 layers x 2 heads x 8 x 2 bytes."""
WEIGHT_BYTES = 2 * (2 * (32 * 8 * 8 + 4 * 8 * 32 + 3 * 32 * 64) + 100 * 32)
MILLISECOND = StepTime(1.0, 1.0, per_step=1e-3)
"""Iterations of a millisecond: on a card as fast as these, the tiny model adds next to nothing."""


def _card(kv_tokens: int) -> Accelerator:
    return Accelerator("tiny", 1e18, None, 1e18, WEIGHT_BYTES + KV_BYTES * kv_tokens, "made up")


def _cluster(instances: int = 1, kv_tokens: int = 100_000, **changes: Any) -> Cluster:
    of_pool = {name: changes.pop(name) for name in ("max_calls", "max_tokens", "autoscale") if name in changes}
    of_pool = {"max_calls": 16, "max_tokens": 64} | of_pool
    pool = Pool(_card(kv_tokens), instances, changes.pop("coefficients", MILLISECOND), **of_pool)
    return Cluster(SHAPE, pool, usable_memory=1.0, **changes)


def _calls(
    arrival: list[float], prompt: list[int], output: list[int], prefix: list[int] | None = None, shared: int = 0
) -> Workload:
    """Jobs of one call each."""
    count = len(arrival)
    ids = np.array(prefix if prefix is not None else [NO_PREFIX] * count, np.int64)
    return Workload(
        arrival=np.array(arrival, np.float64),
        job=np.arange(count),
        stage=np.zeros(count, np.int64),
        prompt=np.array(prompt, np.int64),
        output=np.array(output, np.int64),
        prefix=ids,
        prefix_tokens=np.where(ids == NO_PREFIX, 0, shared),
    )


@pytest.fixture(scope="session")
def shape() -> ModelShape:
    """A model so small that its steps take next to no time; 128 bytes of keys and values a token."""
    return SHAPE


@pytest.fixture(scope="session")
def card() -> Callable[[int], Accelerator]:
    """A card on which so many tokens fit beside the small model."""
    return _card


@pytest.fixture(scope="session")
def cluster() -> Callable[..., Cluster]:
    """A cluster of the small model with iterations of a millisecond; keyword arguments replace its settings."""
    return _cluster


@pytest.fixture(scope="session")
def calls() -> Callable[..., Workload]:
    """Jobs of one call each, from arrivals, prompts and outputs."""
    return _calls
