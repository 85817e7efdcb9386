"""A stand-in for a language policy: tags by arithmetic, words by hashing, and no model anywhere."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from policies.language.embedder import Embedder
from policies.recgpt.base import TagPolicy, TagPolicyParams
from policies.recgpt.tags import TagVocabulary
from policies.recgpt.towers import TowerParams, Towers, fit_towers
from policies.thoughts import Thoughts
from simulator.batches import InteractionLog, Ints32, ObservedCatalog, ObservedUsers, Requests
from simulator.environment.context import ObservedContext
from simulator.serving.transformer import ModelShape
from simulator.world import World

HISTORY_DAYS = 16


@dataclass(frozen=True)
class WordHashes:
    """A text as the sum of one random direction a word, scaled to length 1."""

    width: int = 24
    fingerprint: str = "words"

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors float32 [texts, width]."""
        rows = []
        for text in texts:
            words = [zlib.crc32(word.encode()) for word in text.lower().replace("'", " ").split()]
            rows.append(sum(np.random.default_rng(word).normal(size=self.width) for word in words))
        vectors = np.array(rows).reshape(len(texts), self.width)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class Arithmetic(TagPolicy):
    """Thinks of the categories that a user met and of some that depend on user and day; remembers who was asked."""

    Params = TagPolicyParams

    def prepare(
        self, log: InteractionLog, catalog: ObservedCatalog, users: ObservedUsers, context: ObservedContext
    ) -> None:
        """Read the tags off the catalogue."""
        self.catalog = catalog
        self.vocabulary = TagVocabulary.of(catalog, 12)
        self.asked: list[tuple[int, int]] = []
        self._texts: list[str] = []

    def model_shape(self) -> ModelShape:
        """Any shape."""
        return ModelShape(layers=1, width=8, heads=1, kv_heads=1, head_dim=8, ffn=16, vocabulary=32)

    def embedder(self) -> Embedder:
        """Words by hashing."""
        return WordHashes()

    def begin(self, rows: int) -> None:
        """Forget who was asked."""
        super().begin(rows)
        self.asked = []
        self._texts = []

    def reason(self, requests: Requests) -> Thoughts:
        """Two parts: categories lately met, and an arithmetic series that moves with the day."""
        categories, wanted = self.catalog.categories, self.params.tags
        tags = np.full((len(requests), wanted), -1, np.int32)
        proposed = np.full((len(requests), 2, wanted), -1, np.int32)
        for n, row in enumerate(requests.row):
            items = requests.history.item[row]
            met = np.unique(self.catalog.category[items[items >= 0]])[:wanted]
            drawn = (requests.user[n] * 5 + requests.day[n] * 7 + 3 * np.arange(wanted)) % categories
            union = list(dict.fromkeys([*drawn.tolist(), *met.tolist()]))[:wanted]
            tags[n, : len(union)] = self.vocabulary.core_tag[union]
            proposed[n, 0, : len(met)] = self.vocabulary.core_tag[met]
            proposed[n, 1] = self.vocabulary.core_tag[drawn]
            self.asked.append((int(requests.user[n]), int(requests.day[n])))
            self.ledger.count("thinker", 100, 0, 10)
        none = np.zeros(len(requests), np.int64)
        parts = tuple(("met", "drawn") for _ in range(len(requests)))
        return Thoughts(tags, proposed, none, none, parts, ("plain",) * len(requests), none, none, none, none)

    def explain(self, requests: Requests, items: Ints32, tags: Ints32, thoughts: Thoughts) -> Ints32:
        """A text of its own for each tag that brought an item."""
        out = np.full(items.shape, -1, np.int32)
        for n, k in zip(*np.nonzero(items >= 0), strict=True):
            text = f"for {self.vocabulary.texts[tags[n, k]]}"
            if text not in self._texts:
                self._texts.append(text)
            out[n, k] = self._texts.index(text)
        return out

    def explanations(self) -> Sequence[str]:
        """Texts so far."""
        return self._texts


@pytest.fixture(scope="session")
def vocabulary(world: World) -> TagVocabulary:
    """The tags of the small world's catalogue."""
    return TagVocabulary.of(world.catalog.observed, 12)


@pytest.fixture(scope="session")
def towers(world: World, log: InteractionLog, vocabulary: TagVocabulary) -> Towers:
    """Towers trained on the small world's log."""
    observed = world.catalog.observed
    return fit_towers(log, observed, world.population.observed, vocabulary, WordHashes(), TowerParams(width=16), 3)


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    """Words by hashing."""
    return WordHashes()


@pytest.fixture(scope="session")
def fit_arithmetic(world: World, log: InteractionLog) -> Callable[..., Arithmetic]:
    """``fit_arithmetic(thinker, log=..., seed=..., **params)``: the stand-in (or a subclass), fitted, not yet begun."""

    def fitted(
        thinker: type[Arithmetic] = Arithmetic, log: InteractionLog = log, seed: int = 5, **params: Any
    ) -> Arithmetic:
        settings = {"towers": {"width": 16, "epochs": 1}, "utility": {"factors": 8, "iterations": 3}} | params
        policy = thinker(TagPolicyParams.model_validate(settings), seed)
        context = world.environment.observed().until(max(log.end_day - 1, 0))
        policy.fit(log, world.catalog.observed, world.population.observed, context)
        return policy

    return fitted


@pytest.fixture(scope="session")
def arithmetic() -> type[Arithmetic]:
    """The stand-in's class, to derive from."""
    return Arithmetic
