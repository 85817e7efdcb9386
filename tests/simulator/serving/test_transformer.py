import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.serving.errors import ServingError
from simulator.serving.hardware import BF16, FP8
from simulator.serving.transformer import (
    MODEL_SHAPES,
    QWEN3_8B,
    QWEN3_14B,
    ModelShape,
    causal_flops,
    model_shape,
    square_flops,
    step_cost,
)

SMALL = ModelShape(layers=3, width=64, heads=4, kv_heads=2, head_dim=16, ffn=96, vocabulary=400)
CALLS = st.lists(st.tuples(st.integers(1, 500), st.integers(0, 500), st.integers(0, 1)), min_size=1, max_size=8)


@given(st.integers(0, 300), st.integers(0, 200), st.integers(0, 200))
def test_reading_in_two_parts_costs_the_same(past: int, first: int, second: int) -> None:
    """Tokens read behind a cache must cost what they cost when all are read at once, and no more than the square."""
    whole = causal_flops(SMALL, first + second, past, 2)
    assert whole == causal_flops(SMALL, first, past, 1) + causal_flops(SMALL, second, past + first, 1)
    assert whole <= square_flops(SMALL, first + second, past, 2)


@given(CALLS)
def test_an_iteration_costs_what_its_calls_cost(calls: list[tuple[int, int, int]]) -> None:
    """The sums of a batch must give the very operations that its calls have one by one."""
    cost = step_cost(SMALL, BF16)
    new, logits = sum(n for n, _, _ in calls), sum(m for _, _, m in calls)
    pairs = sum(n * p + n * (n + 1) // 2 for n, p, _ in calls)
    assert cost.flops(new, logits, pairs) == sum(causal_flops(SMALL, *call) for call in calls)


@pytest.mark.parametrize(
    ("name", "published", "kibibytes"),
    [
        ("qwen3-0.6b", 596_049_920, 112),
        ("qwen3-4b", 4_022_468_096, 144),
        ("qwen3-8b", 8_190_735_360, 144),
        ("qwen3-14b", 14_768_307_200, 160),
    ],
)
def test_qwen3_has_its_published_size(name: str, published: int, kibibytes: int) -> None:
    """Parameters must be those that are published but for the gains of the norms, and KV bytes those by hand."""
    shape = model_shape(name)
    gains = shape.layers * (2 * shape.width + 2 * shape.head_dim) + shape.width
    assert shape.parameters + gains == published
    assert shape.kv_bytes_per_token(BF16) == kibibytes * 1024
    assert shape.kv_bytes_per_token(FP8) == kibibytes * 512


def test_qwen3_8b_by_hand() -> None:
    """A layer of the 8B has 192,937,984 weights, and reading 1,000 tokens takes 14.0 TFLOP plus attention."""
    layer = 4096 * 48 * 128 + 4096 * 4096 + 3 * 4096 * 12_288
    assert layer == 192_937_984
    assert QWEN3_8B.linear_weights == 36 * layer
    read = 2 * 36 * layer * 1000 + 2 * 4096 * 151_936 + 4 * 36 * 4096 * 500_500
    assert causal_flops(QWEN3_8B, 1000, 0, 1) == read
    assert read / 1e12 == pytest.approx(14.19, abs=0.005)


def test_head_width_is_not_taken_from_the_width_of_the_model() -> None:
    """Where heads times head width differs from the width of the model, keys and queries must keep their own."""
    shape = MODEL_SHAPES["qwen3-0.6b"]
    assert shape.heads * shape.head_dim == 2 * shape.width
    attention = 1024 * (16 + 2 * 8) * 128 + 16 * 128 * 1024
    assert shape.linear_weights == 28 * (attention + 3 * 1024 * 3072)


def test_bytes_of_a_decoding_step_by_hand() -> None:
    """A batch of two behind 10 and 20 tokens must read all weights once, 32 tokens of keys and values, and write 2."""
    cost = step_cost(SMALL, BF16)
    kv = 2 * 3 * 2 * 16 * 2
    weights = 2 * (SMALL.linear_weights + 400 * 64)
    layer = (64 + 64 + 2 * 32) + (64 + 64) + (64 + 64) + (64 + 2 * 96) + (96 + 64)
    activations = 2 * (2 * (3 * layer + 64) + 2 * 400)
    assert cost.bytes(2, 2, 11 + 21) == weights + kv * (32 + 2) + activations
    unread = cost.bytes(2, 0, 32)
    assert unread == cost.bytes(2, 2, 32) - 2 * 400 * 64 - 2 * 2 * 400


def test_narrower_numbers_move_fewer_bytes() -> None:
    """In 8 bits weights, keys and values must take half of what they take in 16."""
    wide, narrow = step_cost(QWEN3_14B, BF16), step_cost(QWEN3_14B, FP8)
    assert (wide.weight_bytes, wide.kv_bytes) == (2 * narrow.weight_bytes, 2 * narrow.kv_bytes)
    assert wide.token_bytes == narrow.token_bytes


def test_several_iterations_at_once() -> None:
    """An array of tokens seen must give each iteration what it has alone."""
    cost, seen = step_cost(SMALL, FP8), np.arange(5, 50, 9)
    assert cost.flops(3, 3, seen).tolist() == [cost.flops(3, 3, each) for each in seen.tolist()]
    assert cost.bytes(3, 3, seen).tolist() == [cost.bytes(3, 3, each) for each in seen.tolist()]


def test_unknown_models_are_refused() -> None:
    """A name that is not known must be answered with those that are."""
    with pytest.raises(ServingError, match=r"model: qwen9; known are qwen3-0\.6b, qwen3-4b, qwen3-8b, qwen3-14b"):
        model_shape("qwen9")
