"""RecGPT-V1: parallel routes, each of which reads the whole history in full text and reasons alone.

The union of the routes' tags goes to retrieval (RecGPT-V2 report, section on what V1 grew into). With
``share_prefix`` the routes find the history in a KV cache after the first has read it: the answers are the same, the
account is not. That control is ours; the report lacks it.
"""

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from policies.recgpt.agent import Agent, AgentParams, Bill, interleaved, lengths
from policies.recgpt.explanation import fixed_template
from policies.recgpt.wording import ROUTES, route_task
from policies.registry import register_policy
from policies.thoughts import NO_TAG, Thoughts, padded
from simulator.batches import NO_ITEM, Ints32, Requests
from simulator.parameters import Parameters

Route = Literal["habits", "weather", "season", "trends"]


class RecGPTV1Params(AgentParams):
    """Parameters of ``recgpt_v1``."""

    routes: tuple[Route, ...] = Field(default=ROUTES, min_length=1, description="routes, each a call of its own")
    route_tags: Annotated[int, Field(ge=1, description="tags asked of each route")] = 10
    share_prefix: bool = Field(
        default=False, description="routes after the first find the history in a KV cache; the same answers for less"
    )


@register_policy("recgpt_v1")
class RecGPTV1(Agent):
    """Utility's ranking beside items for the tags that parallel LLM routes predict, each from the full-text history."""

    Params: ClassVar[type[Parameters]] = RecGPTV1Params
    stages: ClassVar[tuple[tuple[str, ...], ...]] = (("route",),)
    readers: ClassVar[frozenset[str]] = frozenset({"route"})

    def reason(self, requests: Requests) -> Thoughts:
        """See ``TagPolicy``."""
        params: RecGPTV1Params = self.params
        routes = params.routes
        _ = self.generator
        signals = self.signals(requests)
        prefixes = [self.beginning(requests, row) for row in range(len(requests))]
        prompts = [
            prefix.asked(self.encoder.words(route_task(route, signal)))
            for prefix, signal in zip(prefixes, signals, strict=True)
            for route in routes
        ]
        tags, answers, invalid = self.ask_tags(prompts, "route", params.route_tags)
        bill = Bill.of(len(requests))
        calls = np.arange(len(prompts))
        rows = calls // len(routes)
        prefix_length = np.array([len(prompt.prefix) for prompt in prompts], np.int64)
        suffix_length = np.array([len(prompt.suffix) for prompt in prompts], np.int64)
        again = params.share_prefix & (calls % len(routes) > 0)
        written = lengths(answers)
        self.book(bill, rows, "route", prefix_length + suffix_length, np.where(again, prefix_length, 0), written)
        by_request = written.reshape(len(requests), len(routes))
        for longest in by_request.max(axis=1).tolist():
            self.ledger.job("refresh", 1, longest)
        proposed = [tags[k * len(routes) : (k + 1) * len(routes)] for k in range(len(requests))]
        return Thoughts(
            tags=padded([interleaved(each, params.tags) for each in proposed], params.tags),
            proposed=_stacked(proposed, params.route_tags),
            generated=np.array([sum(map(len, each)) for each in proposed], np.int64)
            + np.bincount(rows, invalid, len(requests)).astype(np.int64),
            invalid=np.bincount(rows, invalid, len(requests)).astype(np.int64),
            parts=tuple(routes for _ in range(len(requests))),
            style=("",) * len(requests),
            prompt_tokens=bill.prompt,
            cached_tokens=bill.cached,
            generated_tokens=bill.generated,
            flops=bill.flops,
        )

    def explain(self, requests: Requests, items: Ints32, tags: Ints32, thoughts: Thoughts) -> Ints32:
        """See ``TagPolicy``: the fixed template, for each tag and item."""
        texts = self.texts
        out = np.full(items.shape, -1, np.int32)
        names, category = self.catalog.category_names, self.catalog.category
        for n, k in zip(*np.nonzero((items != NO_ITEM) & (tags != NO_TAG)), strict=True):
            core = names[category[items[n, k]]]
            out[n, k] = texts.number(fixed_template(core, self.vocabulary.texts[tags[n, k]]))
        return out


def _stacked(proposed: list[list[list[int]]], width: int) -> Ints32:
    """Lists of tags of each request's routes, int32 [requests, routes, width]."""
    return np.stack([padded(each, width) for each in proposed]) if proposed else np.zeros((0, 0, width), np.int32)
