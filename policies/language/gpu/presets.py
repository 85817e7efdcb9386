"""Published shapes as models with random weights: the arithmetic of a model without its file.

What a pass takes does not depend on what the weights are, as long as they are neither zeros nor overflow; their text
means nothing. Knows the Qwen3 configurations; loads no file and no network.
"""

from typing import Any, Final

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, Qwen3Config

from simulator.serving.transformer import ModelShape, model_shape

SOURCE: Final = "Qwen/Qwen3-* config.json and the Qwen3 technical report (arXiv 2505.09388), table 1"
POSITIONS: Final = 40_960
ROPE_BASE: Final = 1_000_000.0


def qwen3_config(shape: ModelShape) -> Qwen3Config:
    """The transformers configuration of a dense Qwen3 of this shape, as published: rotary base 10^6, 40,960 places."""
    return Qwen3Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.ffn,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        hidden_act="silu",
        max_position_embeddings=POSITIONS,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_BASE},
        attention_bias=False,
        use_sliding_window=False,
        tie_word_embeddings=shape.tied,
    )


def random_model(shape: ModelShape, device: torch.device, dtype: torch.dtype, seed: int) -> PreTrainedModel:
    """A model of this shape whose weights are drawn as its training would begin, made on the device itself.

    Args:
        shape: of a dense Qwen3.
        device: where it is made; the weights never pass through the host's memory.
        dtype: of the weights.
        seed: of the weights; torch's own generators are left as they were.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.device(device):
        torch.manual_seed(seed)
        model: Any = AutoModelForCausalLM.from_config(qwen3_config(shape), dtype=dtype)
    found: PreTrainedModel = model.eval().requires_grad_(False)
    return found


def preset_model(name: str, device: torch.device, dtype: torch.dtype, seed: int) -> PreTrainedModel:
    """The published model of this name with random weights.

    Raises:
        ServingError: no such model is known.
    """
    return random_model(model_shape(name), device, dtype, seed)
