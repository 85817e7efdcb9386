"""Linear layers in 8 bits: near what 16 bits give, and where they are put."""

import pytest
import torch
from torch import nn

from policies.language.gpu.fp8 import TYPE, Fp8Linear, cut, use_fp8
from policies.language.gpu.presets import random_model
from simulator.serving.transformer import ModelShape

SHAPE = ModelShape(layers=2, width=32, heads=4, kv_heads=2, head_dim=16, ffn=48, vocabulary=208, tied=False)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 3e4])
def test_rows_are_cut_to_within_their_last_bit(scale: float) -> None:
    """Three bits of mantissa are off by a sixteenth at most, at any size of the row, and zeros stay zeros."""
    values = torch.randn((6, 64), generator=torch.Generator().manual_seed(0)) * scale
    values[2] = 0.0
    small, scales = cut(values)
    assert small.dtype == TYPE
    back = small.float() * scales
    assert torch.isfinite(back).all()
    assert torch.equal(back[2], torch.zeros(64))
    large = values.abs() > values.abs().amax(-1, keepdim=True) / 100
    assert ((back - values).abs() <= values.abs() / 15)[large].all()


def test_a_product_in_8_bits_is_near_that_in_16() -> None:
    """Errors of both sides together stay at a few percent of the product, and shapes are kept."""
    random = torch.Generator().manual_seed(1)
    linear = nn.Linear(256, 128, bias=False).bfloat16().requires_grad_(False)
    given = torch.randn((2, 5, 256), generator=random).bfloat16()
    found, wanted = Fp8Linear(linear)(given), linear(given)
    assert found.shape == wanted.shape
    assert found.dtype == torch.bfloat16
    error = (found.float() - wanted.float()).norm() / wanted.float().norm()
    assert 0.001 < error < 0.06


def test_layers_are_replaced_and_the_head_is_not() -> None:
    """Seven linear layers of each block run in 8 bits, and the model's answer stays near."""
    model = random_model(SHAPE, torch.device("cpu"), torch.bfloat16, 3)
    ids = torch.randint(208, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        wanted = model(ids).logits.float()
        assert use_fp8(model) == 7 * SHAPE.layers
        found = model(ids).logits.float()
    assert type(model.lm_head) is nn.Linear
    assert (found - wanted).norm() / wanted.norm() < 0.1
    weights = sum(each.numel() for name, each in model.named_buffers() if each.dtype == TYPE)
    assert weights == SHAPE.linear_weights


def test_layers_that_8_bits_do_not_take_are_refused() -> None:
    """A bias or an odd size must be said before anything is measured."""
    for layer in (nn.Linear(32, 16), nn.Linear(20, 16, bias=False)):
        with pytest.raises(ValueError, match=r"^dtype: fp8 \(layer 0 [^\n]*use bf16\)$"):
            use_fp8(nn.Sequential(layer))
