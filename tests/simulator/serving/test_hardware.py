from dataclasses import replace

import pytest

from simulator.serving.cluster import kv_capacity
from simulator.serving.errors import ServingError
from simulator.serving.hardware import (
    A100,
    ACCELERATORS,
    BF16,
    FP8,
    FP32,
    GIBIBYTE,
    H20,
    H100,
    Precision,
    accelerator,
    precision,
)
from simulator.serving.transformer import QWEN3_8B, QWEN3_14B


def test_peaks_are_dense() -> None:
    """8-bit peaks must be twice the 16-bit ones, and none the figure with sparsity."""
    for card in ACCELERATORS.values():
        assert card.bf16_flops < 1e15
        assert card.fp8_flops is None or card.fp8_flops == pytest.approx(2 * card.bf16_flops, rel=1e-3)
        assert card.source


def test_names_are_looked_up() -> None:
    """A known name must give its row, an unknown one an error that lists the known ones."""
    assert accelerator("h20") is H20
    assert precision("fp8") is FP8
    with pytest.raises(ServingError, match=r"^accelerator: h300; known are a100, h100, h20, h200$"):
        accelerator("h300")
    with pytest.raises(ServingError, match=r"^precision: int4; known are bf16, fp8$"):
        precision("int4")


def test_peak_of_a_precision() -> None:
    """A card must give the peak of a width that it has, and say so where it has none."""
    assert (H100.peak(BF16), H100.peak(FP8)) == (989.4e12, 1978.9e12)
    with pytest.raises(ServingError, match="precision: fp8; the accelerator a100 has no fp8 products, use bf16"):
        A100.peak(FP8)
    with pytest.raises(ServingError, match="precision: fp4; known are bf16, fp8"):
        H100.peak(Precision("fp4", 1, 1, 1))


def test_a_processor_has_the_peak_that_it_is_given() -> None:
    """32-bit products have a peak where one is stated, and none of the table's cards states one."""
    assert replace(H20, fp32_flops=1e11).peak(FP32) == 1e11
    with pytest.raises(ServingError, match="precision: fp32; known are bf16, fp8"):
        H20.peak(FP32)


def test_tokens_that_fit_beside_the_weights() -> None:
    """On an 80 GB card at 90% the 8B in 16 bits must leave place for 377,191 tokens of 144 KiB."""
    assert kv_capacity(QWEN3_8B, BF16, H100) == int((0.9 * 80e9 - 2 * QWEN3_8B.parameters) // (144 * 1024)) == 377_191


def test_a_model_that_does_not_fit_says_what_is_lacking() -> None:
    """The error must name the card and the GiB that are lacking."""
    lacking = (2 * QWEN3_14B.parameters + 160 * 1024 - 0.3 * 80e9) / GIBIBYTE
    with pytest.raises(
        ServingError, match=rf"27\.5 GiB in bf16 .* a100 \(22\.4 GiB usable\): {lacking:.1f} GiB are lack"
    ):
        kv_capacity(QWEN3_14B, BF16, A100, usable=0.3)
