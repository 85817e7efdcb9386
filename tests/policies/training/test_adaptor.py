"""The adaptor learns while the language model stands still."""

import numpy as np
import pytest
import torch

from policies.language.model import Language
from policies.recgpt.encoding import TextEncoder
from policies.recgpt.wording import WHAT
from policies.training.adaptor import Aligned, train_adaptor
from policies.training.settings import AdaptorParams, AdaptorSftParams

ITEMS = 12


@pytest.fixture
def encoder(tiny_language: Language) -> TextEncoder:
    """Texts of a dozen items."""
    titles = [f"thing number {'abcdefghijkl'[item]}" for item in range(ITEMS)]
    return TextEncoder(tiny_language.tokenizer, titles, tiny_language.vocabulary)


def test_the_backbone_does_not_move(tiny_language: Language, encoder: TextEncoder) -> None:
    """After training, every weight of the language model has its old bits, and the loss of the adaptor has fallen."""
    before = {name: value.clone() for name, value in tiny_language.model.state_dict().items()}
    vectors = np.eye(ITEMS, 8, dtype=np.float32) + 0.1
    words = [encoder.words(f" {letter}") for letter in "abcdefghijkl"]
    questions = [(item, "What is it?", "abcdefghijkl"[item]) for item in range(ITEMS)]
    aligned = [
        Aligned((tiny_language.vocabulary + item,), (((5,), (*words[item], tiny_language.newline)),))
        for item in range(ITEMS)
    ]
    params = AdaptorParams(
        hidden=32, sft=AdaptorSftParams(steps=40, rows=2, length=64, learning_rate=2e-2, weight_decay=0, bfloat16=False)
    )
    adaptor, log = train_adaptor(tiny_language, encoder, vectors, aligned, questions, params, 3)
    after = tiny_language.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert log.loss[-1] < log.loss[0]
    assert adaptor(torch.from_numpy(vectors)).shape == (ITEMS, tiny_language.shape.width)


def test_the_same_seed_trains_the_same_adaptor(tiny_language: Language, encoder: TextEncoder) -> None:
    """An adaptor is a function of seed and data."""
    vectors = np.eye(ITEMS, 8, dtype=np.float32)
    questions = [(item, "What is it?", "ab"[item % 2]) for item in range(ITEMS)]
    params = AdaptorParams(hidden=16, sft=AdaptorSftParams(steps=4, rows=2, length=64, bfloat16=False))
    weights = [
        train_adaptor(tiny_language, encoder, vectors, [], questions, params, 3)[0].state_dict() for _ in range(2)
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_an_item_starts_near_the_words_that_say_what_it_is(tiny_language: Language, encoder: TextEncoder) -> None:
    """Before anything is learnt, an item's token is nearer to the word for its kind than to the word for another's."""
    vectors = np.eye(ITEMS, 8, dtype=np.float32)[np.arange(ITEMS) % 2]
    questions = [(item, WHAT, "ab"[item % 2]) for item in range(ITEMS)]
    params = AdaptorParams(
        hidden=32, sft=AdaptorSftParams(steps=1, rows=1, length=32, learning_rate=1e-9, matrix_rate=1e-9)
    )
    adaptor, _ = train_adaptor(tiny_language, encoder, vectors, [], questions, params, 3)
    words = tiny_language.model.get_input_embeddings().weight.detach()
    kinds = torch.stack([words[list(encoder.words(f" {letter}"))].mean(dim=0) for letter in "ab"])
    with torch.no_grad():
        found = adaptor(torch.from_numpy(vectors))
    near = torch.nn.functional.cosine_similarity(found[:, None], kinds[None], dim=2)
    assert (near.argmax(dim=1) == torch.arange(ITEMS) % 2).all()
    assert near.max(dim=1).values.min() > 0.9
