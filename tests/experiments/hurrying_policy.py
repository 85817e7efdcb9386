"""A policy with near-line jobs and no language model; a module of its own, so that worker processes can import it."""

from typing import ClassVar

import numpy as np

from policies.language.embedder import Embedder, make_embedder
from policies.language.model import BUILTIN_FOLDER
from policies.recgpt.base import TagPolicy, TagPolicyParams
from policies.recgpt.tags import TagVocabulary
from policies.registry import register_policy
from policies.thoughts import Thoughts
from simulator.batches import Floats, InteractionLog, Ints32, ObservedCatalog, ObservedUsers, Requests
from simulator.environment.context import ObservedContext
from simulator.parameters import Parameters
from simulator.serving.counted import CountedJobs
from simulator.serving.transformer import ModelShape


class HurryingParams(TagPolicyParams):
    """Parameters of ``hurrying``."""

    prompt: int = 100


@register_policy("hurrying")
class Hurrying(TagPolicy):
    """Thinks of categories that move with the day; a job is two calls, the first as long as its user's history."""

    Params: ClassVar[type[Parameters]] = HurryingParams
    near_line: ClassVar[bool] = True

    def prepare(
        self, log: InteractionLog, catalog: ObservedCatalog, users: ObservedUsers, context: ObservedContext
    ) -> None:
        """Read the tags off the catalogue."""
        self.catalog = catalog
        self.vocabulary = TagVocabulary.of(catalog, 0)

    def model_shape(self) -> ModelShape:
        """Any shape."""
        return ModelShape(layers=1, width=8, heads=1, kv_heads=1, head_dim=8, ffn=16, vocabulary=32)

    def embedder(self) -> Embedder:
        """That of the package."""
        return make_embedder("builtin", BUILTIN_FOLDER)

    def reason(self, requests: Requests) -> Thoughts:
        """An arithmetic series that moves with user and day."""
        wanted = self.params.tags
        drawn = (requests.user[:, None] * 5 + requests.day[:, None] * 7 + 3 * np.arange(wanted)) % (
            self.catalog.categories
        )
        tags = self.vocabulary.core_tag[drawn].astype(np.int32)
        self.ledger.count("thinker", np.full(len(requests), self.params.prompt), 0, 10)
        for _ in range(len(requests)):
            self.ledger.job("refresh", 2, 20)
        none = np.zeros(len(requests), np.int64)
        return Thoughts(
            tags, tags[:, None], none, none, (("drawn",),) * len(requests), ("",) * len(requests), *(none,) * 4
        )

    def explain(self, requests: Requests, items: Ints32, tags: Ints32, thoughts: Thoughts) -> Ints32:
        """No texts."""
        return np.full(items.shape, -1, np.int32)

    def count_jobs(self, requests: Requests, weight: Floats) -> CountedJobs:
        """See ``NearLine``."""
        jobs = len(requests)
        own = np.full((jobs, 2), 20)
        own[:, 0] = self.params.prompt + requests.history.count[requests.row]
        return CountedJobs(
            weight,
            np.repeat(np.arange(jobs), 2),
            np.tile([0, 1], jobs),
            np.zeros(2 * jobs, np.int64),
            own.reshape(-1),
            np.full(2 * jobs, 10),
        )
