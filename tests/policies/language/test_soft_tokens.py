from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from policies.language.errors import LanguageError
from policies.language.model import Language
from policies.language.soft_tokens import Adaptor, SoftVocabulary, embed, load_adaptor, save_adaptor, soft_vocabulary


def _words(language: Language) -> torch.Tensor:
    table = language.model.get_input_embeddings()
    assert isinstance(table, nn.Embedding)
    return table.weight.detach()


def test_an_entity_that_equals_a_word_is_read_as_the_word(tiny_language: Language) -> None:
    """An entity whose vector is a word's embedding must give the logits of the word, bit for bit."""
    soft = SoftVocabulary(_words(tiny_language)[[30, 77]].clone())
    plain = torch.tensor([[5, 77, 9, 30]])
    mixed = torch.tensor([[5, tiny_language.vocabulary + 1, 9, tiny_language.vocabulary]])
    with torch.inference_mode():
        expected = tiny_language.model(input_ids=plain).logits
        found = tiny_language.model(inputs_embeds=embed(tiny_language.model, mixed, soft)).logits
    assert torch.equal(found, expected)


def test_words_alone_need_no_vectors(tiny_language: Language) -> None:
    """Without entities the embeddings must be the model's own."""
    ids = torch.arange(12).reshape(3, 4)
    assert torch.equal(embed(tiny_language.model, ids, None), _words(tiny_language)[ids])


def test_gradients_reach_the_adaptor_and_nothing_else(tiny_language: Language) -> None:
    """Training through soft tokens must move the adaptor while the language model keeps no gradient."""
    adaptor = Adaptor(6, 8, 64)
    soft = SoftVocabulary(adaptor(torch.ones(2, 6)))
    ids = torch.tensor([[1, tiny_language.vocabulary + 1, 3]])
    tiny_language.model(inputs_embeds=embed(tiny_language.model, ids, soft)).logits.sum().backward()
    assert all(parameter.grad is not None for parameter in adaptor.parameters())
    assert all(parameter.grad is None for parameter in tiny_language.model.parameters())


@pytest.mark.parametrize("entity", [2, -401])
def test_an_id_that_stands_for_nothing_is_refused(tiny_language: Language, entity: int) -> None:
    """An id behind the last entity, or below 0, must be refused in one line."""
    soft = SoftVocabulary(torch.zeros(2, 64))
    with pytest.raises(LanguageError, match=r"^prompt: token [^\n]*$"):
        embed(tiny_language.model, torch.tensor([[tiny_language.vocabulary + entity]]), soft)


def test_vectors_of_another_model_are_refused(tiny_language: Language) -> None:
    """Vectors that are not as wide as the model must be refused in one line."""
    with pytest.raises(LanguageError, match=r"^soft tokens: width 63 [^\n]*$"):
        embed(tiny_language.model, torch.tensor([[400]]), SoftVocabulary(torch.zeros(1, 63)))


def test_an_adaptor_survives_its_file(tmp_path: Path) -> None:
    """A saved adaptor must project as before, two layers with a rectifier between."""
    adaptor = Adaptor(5, 7, 3)
    save_adaptor(adaptor, tmp_path / "adaptor.safetensors")
    loaded = load_adaptor(tmp_path / "adaptor.safetensors")
    vectors = np.arange(20, dtype=np.float32).reshape(4, 5)
    soft = soft_vocabulary(loaded, vectors)
    hidden = np.maximum(vectors @ adaptor.first.weight.detach().numpy().T + adaptor.first.bias.detach().numpy(), 0)
    expected = hidden @ adaptor.second.weight.detach().numpy().T + adaptor.second.bias.detach().numpy()
    np.testing.assert_allclose(soft.vectors.numpy(), expected, rtol=1e-4, atol=1e-4)
    assert len(soft) == 4
    assert not soft.vectors.requires_grad


def test_fingerprints_follow_the_vectors() -> None:
    """Equal vectors must have equal fingerprints, others not, nor the same numbers in another shape."""
    first = SoftVocabulary(torch.arange(6.0).reshape(2, 3))
    assert first.fingerprint == SoftVocabulary(torch.arange(6.0).reshape(2, 3)).fingerprint
    assert first.fingerprint != SoftVocabulary(torch.arange(6.0).reshape(3, 2)).fingerprint
    assert first.fingerprint != SoftVocabulary(torch.arange(6.0).reshape(2, 3) + 1e-6).fingerprint


def test_what_is_no_adaptor_is_refused(tmp_path: Path) -> None:
    """A missing file, a broken one and other weights must each be refused in one line."""
    broken, other = tmp_path / "broken.safetensors", tmp_path / "other.safetensors"
    broken.write_bytes(b"nothing of the kind")
    save_file({"weight": torch.zeros(2, 2)}, str(other))
    for path in (tmp_path / "missing.safetensors", broken, other):
        with pytest.raises(LanguageError, match=r"^adaptor: [^\n]*$"):
            load_adaptor(path)
    with pytest.raises(LanguageError, match=r"^soft tokens: [^\n]*$"):
        soft_vocabulary(Adaptor(5, 7, 3), np.zeros((4, 6), np.float32))
