"""Arithmetic of a causal language model, counted from its shape.

A multiplication and an addition are two operations, as is usual. Counted are the matrix products: the layers' linear
maps, attention's two products, and the output head where logits are asked for. Normalisation, activations, softmax and
the rotation by position are left out, as in Kaplan et al. 2020, "Scaling laws for neural language models", section
2.1. Knows no weights, no device and no clock.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy.typing as npt

Count = TypeVar("Count", int, npt.NDArray[Any])


@dataclass(frozen=True)
class ModelShape:
    """What the arithmetic of a decoder with a gated feed-forward depends on (Llama, Qwen, Mistral, Gemma).

    Attributes:
        layers: L.
        width: D, of the residual stream.
        heads: Hq, of the queries.
        kv_heads: Hkv, of keys and values.
        head_dim: d, of one head.
        ffn: F, inner width of the feed-forward.
        vocabulary: V, rows of the output head.
    """

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocabulary: int

    @property
    def linear_weights(self) -> int:
        """N_lin = L [D (Hq + 2 Hkv) d + Hq d D + 3 D F]: weights that every token meets once."""
        attention = self.width * (self.heads + 2 * self.kv_heads) * self.head_dim
        attention += self.heads * self.head_dim * self.width
        return self.layers * (attention + 3 * self.width * self.ffn)


def shape_of(config: Any) -> ModelShape:
    """The shape that a transformers configuration describes.

    A mixture of experts counts as a dense feed-forward of the configured width.
    """
    text = config.get_text_config()
    heads = int(text.num_attention_heads)
    return ModelShape(
        layers=int(text.num_hidden_layers),
        width=int(text.hidden_size),
        heads=heads,
        kv_heads=int(getattr(text, "num_key_value_heads", None) or heads),
        head_dim=int(getattr(text, "head_dim", None) or text.hidden_size // heads),
        ffn=int(getattr(text, "intermediate_size", None) or 4 * text.hidden_size),
        vocabulary=int(text.vocab_size),
    )


def causal_flops(shape: ModelShape, new: Count, past: Count, logits: Count) -> Count:
    """Operations of reading ``new`` tokens behind ``past`` ones whose keys and values are there.

    2 N_lin n + 2 D V m + 4 L Hq d (n p + n (n + 1) / 2). Reading tokens at once or one after the other costs the same
    under this count: each looks at itself and at what is before it.

    Args:
        shape: of the model.
        new: n, tokens read, an integer or int64 array.
        past: p, tokens before them in the cache.
        logits: m, positions at which the head is evaluated.
    """
    seen = new * past + new * (new + 1) // 2
    linear = 2 * shape.linear_weights * new + 2 * shape.width * shape.vocabulary * logits
    return linear + 4 * shape.layers * shape.heads * shape.head_dim * seen


def square_flops(shape: ModelShape, new: Count, past: Count, logits: Count) -> Count:
    """The same where a kernel multiplies the whole square and masks the future out afterwards: n (p + n) pairs."""
    linear = 2 * shape.linear_weights * new + 2 * shape.width * shape.vocabulary * logits
    return linear + 4 * shape.layers * shape.heads * shape.head_dim * new * (past + new)
