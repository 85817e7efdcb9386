"""Arithmetic and memory traffic of a causal language model, counted from its shape.

A multiplication and an addition are two operations, as is usual. Counted are the matrix products: the layers' linear
maps, attention's two products, and the output head where logits are asked for. Normalisation, activations, softmax and
the rotation by position are left out, as in Kaplan et al. 2020, "Scaling laws for neural language models", section
2.1. The causal count is the one used throughout: a token looks at itself and at what is before it. Knows no weights, no
device and no clock.
"""

from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy.typing as npt

from simulator.serving.checks import named
from simulator.serving.hardware import Precision

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
        tied: whether the output head is the embedding table, so that it is held once.
    """

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocabulary: int
    tied: bool = True

    @property
    def linear_weights(self) -> int:
        """N_lin = L [D (Hq + 2 Hkv) d + Hq d D + 3 D F]: weights that every token meets once."""
        attention = self.width * (self.heads + 2 * self.kv_heads) * self.head_dim
        attention += self.heads * self.head_dim * self.width
        return self.layers * (attention + 3 * self.width * self.ffn)

    @property
    def parameters(self) -> int:
        """Weights held: N_lin, the embedding table, and the head where it is a table of its own.

        The gains of the normalisations are left out: a few hundred thousand in a model of billions.
        """
        return self.linear_weights + (1 if self.tied else 2) * self.vocabulary * self.width

    def kv_bytes_per_token(self, precision: Precision) -> int:
        """2 L Hkv d b: keys and values of one token in all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * precision.kv_bytes


QWEN3_0_6B: Final = ModelShape(28, 1024, 16, 8, 128, 3072, 151_936, tied=True)
QWEN3_4B: Final = ModelShape(36, 2560, 32, 8, 128, 9728, 151_936, tied=True)
QWEN3_8B: Final = ModelShape(36, 4096, 32, 8, 128, 12_288, 151_936, tied=False)
QWEN3_14B: Final = ModelShape(40, 5120, 40, 8, 128, 17_408, 151_936, tied=False)

MODEL_SHAPES: Final = {
    "qwen3-0.6b": QWEN3_0_6B,
    "qwen3-4b": QWEN3_4B,
    "qwen3-8b": QWEN3_8B,
    "qwen3-14b": QWEN3_14B,
}
"""The dense Qwen3 models as their published ``config.json`` files describe them (Qwen3 technical report, 2025)."""


def model_shape(name: str) -> ModelShape:
    """The shape of a published model.

    Raises:
        ServingError: no such model is known.
    """
    return named("model", name, MODEL_SHAPES)


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
        tied=bool(getattr(text, "tie_word_embeddings", True)),
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


@dataclass(frozen=True)
class StepCost:
    """What one iteration of a batch takes, as whole-number factors of sums over its calls.

    A batch may read prompts and write answers at once. A call that reads n tokens behind p others adds n to ``new``,
    n p + n (n + 1) / 2 to ``pairs`` and p + n to ``seen``; it adds 1 to ``logits`` where a token is to be chosen.

    Attributes:
        token_flops, logit_flops, pair_flops: 2 N_lin, 2 D V and 4 L Hq d.
        weight_bytes, head_bytes: of the layers and of the head, read once an iteration however large the batch.
        kv_bytes: of a token's keys and values: written for each new token, read for each one seen. Queries that share
            keys read them once, but calls that share a prefix each read it.
        token_bytes: activations of a new token: each product reads its input and writes its output once, the embedding
            is looked up, and what stands between two products stays on the chip.
        logit_bytes: the scores over the vocabulary.
    """

    token_flops: int
    logit_flops: int
    pair_flops: int
    weight_bytes: int
    head_bytes: int
    kv_bytes: int
    token_bytes: int
    logit_bytes: int

    def flops(self, new: int, logits: int, pairs: Count) -> Count:
        """Operations of an iteration, causal count; of several that differ in ``pairs`` alone, if that is an array."""
        return self.token_flops * new + self.logit_flops * logits + self.pair_flops * pairs

    def bytes(self, new: int, logits: int, seen: Count) -> Count:
        """Bytes that an iteration moves between memory and chip; several that differ in ``seen`` alone, if an array."""
        weights = self.weight_bytes + (self.head_bytes if logits else 0)
        return weights + (self.kv_bytes + self.token_bytes) * new + self.logit_bytes * logits + self.kv_bytes * seen


def step_cost(shape: ModelShape, precision: Precision) -> StepCost:
    """The factors of a model at a precision."""
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    handed_on = {
        "queries, keys and values": shape.width + queries + 2 * keys,
        "attention": 2 * queries,
        "its output": queries + shape.width,
        "gate and up": shape.width + 2 * shape.ffn,
        "down": shape.ffn + shape.width,
    }
    return StepCost(
        token_flops=2 * shape.linear_weights,
        logit_flops=2 * shape.width * shape.vocabulary,
        pair_flops=4 * shape.layers * shape.heads * shape.head_dim,
        weight_bytes=shape.linear_weights * precision.weight_bytes,
        head_bytes=shape.vocabulary * shape.width * precision.weight_bytes,
        kv_bytes=shape.kv_bytes_per_token(precision),
        token_bytes=(shape.layers * sum(handed_on.values()) + shape.width) * precision.activation_bytes,
        logit_bytes=shape.vocabulary * precision.activation_bytes,
    )
