from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, DynamicCache, GPT2Config

from policies.language.model import Language
from simulator.serving.transformer import ModelShape, causal_flops, shape_of, square_flops

SHAPE = ModelShape(layers=3, width=64, heads=4, kv_heads=2, head_dim=16, ffn=96, vocabulary=400)


def _attention(causal: bool) -> Any:
    """Operations of attention over what each query sees (causal), or over the whole square."""

    def count(query: list[int], key: list[int], value: list[int], *_: Any, out_shape: Any = None, **__: Any) -> int:
        batch, heads, new, width = query
        held = key[2]
        seen = new * (held - new) + new * (new + 1) // 2 if causal else new * held
        return 2 * batch * heads * seen * (width + value[3])

    return count


def _counted(language: Language, past: int, new: int, logits: int, causal: bool) -> int:
    """What torch counts; the rotary angles, the only batched product outside attention, are left out."""
    cache = DynamicCache()
    with torch.inference_mode():
        if past:
            language.model(input_ids=torch.zeros(1, past, dtype=torch.long), past_key_values=cache, use_cache=True)
        operators = torch.ops.aten
        mapping: Any = {
            operators._scaled_dot_product_flash_attention_for_cpu: _attention(causal),
            operators.bmm: lambda *_, **__: 0,
        }
        counter = FlopCounterMode(display=False, custom_mapping=mapping)
        with counter:
            language.model(
                input_ids=torch.zeros(1, new, dtype=torch.long),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=logits,
            )
    return int(counter.get_total_flops())


@pytest.mark.parametrize(("past", "new", "logits"), [(0, 1, 1), (0, 17, 1), (23, 9, 9), (40, 8, 2)])
def test_both_counts_are_those_of_torch(tiny_language: Language, past: int, new: int, logits: int) -> None:
    """The formulas must agree to the digit with torch's own counter, told how attention is counted."""
    assert causal_flops(tiny_language.shape, new, past, logits) == _counted(tiny_language, past, new, logits, True)
    assert square_flops(tiny_language.shape, new, past, logits) == _counted(tiny_language, past, new, logits, False)


def test_shape_is_read_off_a_configuration(tiny_folder: Path) -> None:
    """Every number of the shape must come from the model's own configuration."""
    assert shape_of(AutoConfig.from_pretrained(tiny_folder)) == SHAPE
    weights = 3 * (64 * (4 + 2 * 2) * 16 + 4 * 16 * 64 + 3 * 64 * 96)
    assert SHAPE.linear_weights == weights


def test_shape_falls_back_on_what_older_configurations_leave_out() -> None:
    """Where a configuration names no heads for keys, no head width or no inner width, the usual ones must be taken."""
    shape = shape_of(GPT2Config(n_embd=48, n_layer=2, n_head=6, vocab_size=50))
    assert shape == ModelShape(layers=2, width=48, heads=6, kv_heads=6, head_dim=8, ffn=192, vocabulary=50)
