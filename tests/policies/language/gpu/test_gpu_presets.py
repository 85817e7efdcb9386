"""Published shapes as models: the counted parameters are those of the models that are made."""

import pytest
import torch

from policies.language.gpu.presets import preset_model, qwen3_config, random_model
from simulator.serving.errors import ServingError
from simulator.serving.transformer import MODEL_SHAPES, ModelShape, shape_of

TOTALS = {"qwen3-0.6b": 0.596e9, "qwen3-4b": 4.022e9, "qwen3-8b": 8.191e9, "qwen3-14b": 14.768e9}
"""Parameters that the models' cards state, rounded (0.6B, 4.0B, 8.2B, 14.8B)."""
SMALL = ModelShape(layers=2, width=32, heads=4, kv_heads=2, head_dim=16, ffn=48, vocabulary=200, tied=True)


@pytest.mark.parametrize("name", MODEL_SHAPES)
def test_a_preset_has_the_published_size(name: str) -> None:
    """The model has the published parameters, and its config tells the shape that it came from."""
    shape = MODEL_SHAPES[name]
    config = qwen3_config(shape)
    assert shape_of(config) == shape
    assert config.rope_parameters["rope_theta"] == 1_000_000
    with torch.device("meta"):
        model = preset_model(name, torch.device("meta"), torch.bfloat16, 0)
    count = sum(each.numel() for each in model.parameters())
    assert count == pytest.approx(TOTALS[name], rel=1e-3)
    gains = count - shape.parameters
    assert 0 < gains < 1e-3 * count


@pytest.mark.parametrize("tied", [True, False])
def test_weights_are_drawn_and_repeatable(tied: bool) -> None:
    """Weights are neither zeros nor all the same, depend on the seed alone, and leave torch's generator alone."""
    shape = ModelShape(2, 32, 4, 2, 16, 48, 200, tied)
    state = torch.get_rng_state()
    one, same, other = (random_model(shape, torch.device("cpu"), torch.float32, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    for (name, weights), again, different in zip(
        one.named_parameters(), same.parameters(), other.parameters(), strict=True
    ):
        assert torch.equal(weights, again)
        if "norm" not in name:
            assert weights.std() > 0.01
            assert not torch.equal(weights, different)
        assert not weights.requires_grad
    assert (one.lm_head.weight is one.model.embed_tokens.weight) == tied


def test_an_unknown_preset_is_said() -> None:
    """A name that is no preset must be answered with those that are."""
    with pytest.raises(ServingError, match=r"known are qwen3-0\.6b"):
        preset_model("qwen9", torch.device("cpu"), torch.bfloat16, 0)
