"""Entities as single tokens: ids behind the vocabulary that stand for projected text embeddings.

Hybrid representation inference of the RecGPT-V2 report (arXiv 2512.14503, section on hybrid representation): the
embedding h of an entity's text becomes z = W2 ReLU(W1 h + b1) + b2 in the language model's input space. Entity ``i``
has the id ``vocabulary + i`` among word tokens. Knows neither items nor how the embeddings or the adaptor came to be.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from policies.language.errors import LanguageError


@dataclass(frozen=True)
class SoftVocabulary:
    """The vectors that stand for entities.

    Attributes:
        vectors: one row an entity, in the input space of a language model, float32 [entities, width].
    """

    vectors: Tensor

    def __len__(self) -> int:
        """Number of entities."""
        return len(self.vectors)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the vectors, hexadecimal."""
        array = self.vectors.detach().to("cpu", torch.float32).contiguous().numpy()
        return hashlib.sha256(repr(array.shape).encode() + array.tobytes()).hexdigest()


def embed(model: nn.Module, ids: Tensor, soft: SoftVocabulary | None) -> Tensor:
    """Input embeddings of word and entity tokens; gradients flow to the vectors where these ask for them.

    Args:
        model: a transformers causal language model.
        ids: int64 [...]; below the vocabulary's size words, from there on entities.
        soft: the entities' vectors, None where there are none.

    Returns:
        In the model's data type and on its device, [..., width].

    Raises:
        LanguageError: an id is of no word and no entity, or the vectors are not as wide as the model.
    """
    table: Any = model.get_input_embeddings()  # type: ignore[operator]
    words, width = table.weight.shape
    entities = 0 if soft is None else len(soft)
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < words + entities:
        raise LanguageError(
            f"prompt: token {int(ids.max())} (ids are 0 to {words + entities - 1}: {words} words, {entities} entities)"
        )
    if soft is None:
        return table(ids)
    if soft.vectors.shape[1] != width:
        raise LanguageError(
            f"soft tokens: width {soft.vectors.shape[1]} (the language model's is {width}; train its own adaptor)"
        )
    entity = ids >= words
    embedded = table(ids.masked_fill(entity, 0))
    vectors = soft.vectors.to(embedded.device)[(ids - words).clamp(min=0)]
    return torch.where(entity[..., None], vectors.to(embedded.dtype), embedded)


class Adaptor(nn.Module):
    """z = W2 ReLU(W1 h + b1) + b2: from a text embedding to one token of the language model.

    Args:
        inputs: width e of the text embeddings.
        hidden: width h between the two maps.
        outputs: width D of the language model.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.second = nn.Linear(hidden, outputs)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Project embeddings: [..., e] to [..., D]."""
        return self.second(torch.relu(self.first(embeddings)))


def save_adaptor(adaptor: Adaptor, path: Path) -> None:
    """Write an adaptor's weights as safetensors."""
    save_file({name: value.detach().cpu().contiguous() for name, value in adaptor.state_dict().items()}, str(path))


def load_adaptor(path: Path) -> Adaptor:
    """Read an adaptor; its widths are those of its weights.

    Raises:
        LanguageError: there is no such file, or it holds no adaptor.
    """
    if not path.is_file():
        raise LanguageError(f"adaptor: {path} (no such file; train one for this language model)")
    try:
        weights = load_file(str(path))
        hidden, inputs = weights["first.weight"].shape
        adaptor = Adaptor(inputs, hidden, len(weights["second.weight"]))
        adaptor.load_state_dict(weights)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise LanguageError(f"adaptor: {path} (holds no two-layer adaptor: {str(error).splitlines()[0]})") from None
    return adaptor.eval().requires_grad_(False)


def soft_vocabulary(adaptor: Adaptor, vectors: npt.NDArray[Any]) -> SoftVocabulary:
    """Project entities' text embeddings, float32 [entities, e], into tokens.

    Raises:
        LanguageError: the embeddings are not as wide as the adaptor expects.
    """
    expected = adaptor.first.in_features
    if vectors.ndim != 2 or vectors.shape[1] != expected:
        raise LanguageError(
            f"soft tokens: embeddings of shape {vectors.shape} (the adaptor reads [entities, {expected}])"
        )
    with torch.no_grad():
        return SoftVocabulary(
            adaptor(torch.as_tensor(vectors, dtype=torch.float32, device=adaptor.first.weight.device))
        )
