"""Attention on the CPU whose bits do not depend on which thread computes a row.

A matrix product of fewer than four rows takes a path, in MKL, whose rounding depends on the alignment of its buffers,
and a thread's buffers are aligned as it happens. One new token has as many rows of queries as there are query heads for
one head of keys: one to three in many models. They are filled up with rows of zeros. Knows no cache and no prompt.
"""

from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME: Final = "sdpa_of_four_rows"
ROWS: Final = 4
"""Fewest rows of a product whose path does not depend on alignment."""


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
    """Scaled dot-product attention as transformers calls it.

    Args:
        module: the layer.
        query: [rows, query heads, new, head width].
        key: [rows, key heads, held, head width].
        value: the same shape as ``key``.
        attention_mask: additive or boolean, [rows, 1, new, held].
        dropout: share of weights dropped.
        scaling: of the products; one over the root of the head width if left out.
        given: what else the layer passes on.

    Returns:
        [rows, new, query heads, head width], and no weights.
    """
    rows, heads, new, width = query.shape
    group = heads // key.shape[1]
    plain = attention_mask is not None and attention_mask.shape[1] == 1 and given.get("position_bias") is None
    if new > 1 or group >= ROWS or not plain or given.get("softcap") is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **given)
    packed = pad(query.reshape(rows, key.shape[1], group, width), (0, 0, 0, ROWS - group))
    found = scaled_dot_product_attention(packed, key, value, attn_mask=attention_mask, dropout_p=dropout, scale=scaling)
    return found[:, :, :group].reshape(rows, 1, heads, -1), None


def use_steady_attention(model: PreTrainedModel) -> None:
    """Let a model that runs torch's own attention on the CPU attend this way."""
    if model.device.type == "cpu" and model.config.get_text_config()._attn_implementation == "sdpa":
        AttentionInterface.register(NAME, attend)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        model.set_attn_implementation(NAME)
