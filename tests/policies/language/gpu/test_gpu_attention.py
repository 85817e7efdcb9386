"""Attention without masks: the same answers as with them."""

import pytest
import torch

from policies.language.errors import LanguageError
from policies.language.gpu.attention import attend, without_masks
from policies.language.gpu.presets import random_model
from simulator.serving.transformer import ModelShape

SHAPE = ModelShape(layers=2, width=32, heads=4, kv_heads=2, head_dim=16, ffn=48, vocabulary=200, tied=True)
NOWHERE = torch.nn.Module()


@pytest.mark.parametrize(("new", "held"), [(1, 9), (9, 9), (4, 9), (1, 1)])
def test_the_last_places_see_what_is_before_them(new: int, held: int) -> None:
    """For any two lengths the result is softmax over what is not later, keys shared by their query heads."""
    random = torch.Generator().manual_seed(0)
    query = torch.randn((3, 4, new, 8), generator=random)
    key, value = torch.randn((2, 3, 2, held, 8), generator=random)
    found, weights = attend(NOWHERE, query, key, value, None, scaling=0.5)
    assert weights is None
    scores = torch.einsum("bhnd,bhmd->bhnm", query, key.repeat_interleave(2, 1)) * 0.5
    later = torch.arange(held)[None] > torch.arange(held - new, held)[:, None]
    wanted = scores.masked_fill(later, -torch.inf).softmax(-1) @ value.repeat_interleave(2, 1)
    torch.testing.assert_close(found, wanted.transpose(1, 2), rtol=1e-5, atol=1e-5)


def test_a_whole_model_answers_the_same() -> None:
    """Logits of a pass, and of a pass behind another, must be those of the library's own attention."""
    model = random_model(SHAPE, torch.device("cpu"), torch.float32, 3)
    ids = torch.randint(200, (2, 12), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        before = model.config._attn_implementation
        wanted = model(ids).logits
        with without_masks(model):
            whole = model(ids).logits
            first = model(ids[:, :7], use_cache=True)
            rest = model(ids[:, 7:], past_key_values=first.past_key_values, use_cache=True).logits
    assert model.config._attn_implementation == before
    torch.testing.assert_close(whole, wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rest, wanted[:, 7:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("given", [{"sliding_window": 5}, {"softcap": 30.0}, {"s_aux": torch.zeros(4)}])
def test_other_attention_is_refused(given: dict[str, object]) -> None:
    """A layer that sees less, or weighs otherwise, must not be measured as if it were plain."""
    query, key = torch.zeros(1, 4, 2, 8), torch.zeros(1, 2, 9, 8)
    with pytest.raises(LanguageError, match=r"^model: [^\n]*$"):
        attend(NOWHERE, query, key, key, None, **given)


def test_a_mask_is_refused() -> None:
    """Rows with padding are not what is measured."""
    query, key = torch.zeros(1, 4, 2, 8), torch.zeros(1, 2, 9, 8)
    with pytest.raises(LanguageError, match="a mask"):
        attend(NOWHERE, query, key, key, torch.zeros(1, 1, 2, 9))


def test_a_window_wider_than_what_is_held_is_no_window() -> None:
    """A sliding layer may be measured as long as it slides over nothing."""
    query, key = torch.ones(1, 4, 2, 8), torch.ones(1, 2, 9, 8)
    assert attend(NOWHERE, query, key, key, None, sliding_window=9)[0].shape == (1, 2, 4, 8)
