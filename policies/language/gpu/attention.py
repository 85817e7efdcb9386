"""Attention without masks, so that a device's fastest kernels can be taken.

A pass that is measured has no padding: every row is as long as the others, what is held is all seen, and what is new is
read in order. Which token sees which then follows from the two lengths alone, and no mask of new times held tokens is
built or read. Query heads share keys where they lie; nothing is repeated. Knows no cache, no device and no clock.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from policies.language.errors import LanguageError

NAME: Final = "causal_without_masks"


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **given: Any,
) -> tuple[Tensor, None]:
    """Causal attention as transformers calls it: the last ``new`` of the held places look.

    Args:
        module: the layer.
        query: [rows, query heads, new, head width].
        key: [rows, key heads, held, head width]; what is new is among what is held.
        value: the same shape as ``key``.
        attention_mask: none; rows without padding need none.
        dropout: none, since nothing is trained.
        scaling: of the products; one over the root of the head width if left out.
        given: what else the layer passes on.

    Returns:
        [rows, new, query heads, head width], and no weights.

    Raises:
        LanguageError: the layer wants a mask, looks back less far than what is held, or weighs scores otherwise.
    """
    new, held = query.shape[2], key.shape[2]
    window = given.get("sliding_window")
    if attention_mask is not None or (window is not None and window < held):
        raise LanguageError(
            f"model: its layers see a part of {held} tokens (a mask or a window of {window}); take shorter prompts or "
            "a model whose layers see all"
        )
    if given.get("softcap") is not None or given.get("s_aux") is not None or given.get("position_bias") is not None:
        raise LanguageError("model: its attention is not the plain softmax; it cannot be measured here")
    found = scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=causal_lower_right(new, held) if 1 < new < held else None,
        is_causal=new == held and new > 1,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return found.transpose(1, 2), None


@contextmanager
def without_masks(model: PreTrainedModel) -> Iterator[None]:
    """Let a model attend this way, and give back the attention it had."""
    before = model.config.get_text_config()._attn_implementation
    # No mask function is registered under the name: transformers then builds no mask and hands none on.
    AttentionInterface.register(NAME, attend)
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
