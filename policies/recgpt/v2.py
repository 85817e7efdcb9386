"""RecGPT-V2: a hierarchy of a planner, experts and an arbiter over a compressed history.

The hybrid context is read once; the planner writes personas from it, experts predict tags in parallel for one persona
each, and the arbiter, which finds the context in the planner's KV cache, chooses (RecGPT-V2 report, section on the
hierarchical multi-agent system). ``compression: false`` writes the history out, ``experts: 1`` leaves one expert.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationInfo, field_validator

from policies.language.asking import Prompt
from policies.language.model import Language
from policies.recgpt.agent import Agent, AgentParams, Bill, lengths
from policies.recgpt.arbiter import arbiter_prompts, union_of
from policies.recgpt.compression import entity_tokens
from policies.recgpt.experts import expert_prompts
from policies.recgpt.explanation import STYLE_TOKENS, TEXT_TOKENS
from policies.recgpt.planner import MOST_PERSONAS, PERSONA_TOKENS, planned, planner_prompts
from policies.recgpt.wording import Text, explanation_task, style_task
from policies.registry import register_policy
from policies.thoughts import NO_TAG, Thoughts, padded
from simulator.batches import NO_ITEM, Ints32, Requests
from simulator.parameters import Parameters
from simulator.population import profile_words
from simulator.snapshots import Arrays, as_array, as_value


class RecGPTV2Params(AgentParams):
    """Parameters of ``recgpt_v2``."""

    experts: Annotated[int, Field(ge=1, le=MOST_PERSONAS)] | Literal["adaptive"] = Field(
        default=3, description="personas, an expert each; adaptive: as many as the planner finds, 5 at most"
    )
    expert_tags: Annotated[int, Field(ge=1, description="tags asked of each expert")] = 15
    compression: bool = Field(default=True, description="items of the history as one soft token each; false: titles")

    @field_validator("reasoner")
    @classmethod
    def _explained_by_nobody(cls, reasoner: str, info: ValidationInfo) -> str:
        """A text is written in a style that the model thought up with the tags; a student thinks of tags alone."""
        explained = info.data.get("explained", 0)
        if reasoner == "distilled" and explained:
            raise ValueError(
                f"{reasoner} writes no style, without which recgpt_v2 writes no texts (explained: {explained}); "
                "set explained: 0"
            )
        return reasoner


@register_policy("recgpt_v2")
class RecGPTV2(Agent):
    """Utility's ranking beside items for tags that a planner, experts and an arbiter agree on, over short contexts."""

    Params: ClassVar[type[Parameters]] = RecGPTV2Params
    # Nothing waits for the style; it is put where it reads the context that the planner left.
    stages: ClassVar[tuple[tuple[str, ...], ...]] = (("planner",), ("expert", "style"), ("arbiter",))
    readers: ClassVar[frozenset[str]] = frozenset({"planner", "style", "arbiter"})

    def soft_vocabulary(self, language: Language) -> Any:
        """Entities of the catalogue, as soft tokens."""
        if not self.params.compression:
            return None
        return entity_tokens(language, self.catalog, self.params.language)

    def reason(self, requests: Requests) -> Thoughts:
        """See ``TagPolicy``."""
        params: RecGPTV2Params = self.params
        n = len(requests)
        _ = self.generator
        signals = self.signals(requests)
        profiles = [profile_words(requests.users, int(row)) for row in requests.row]
        prefixes = [self.beginning(requests, row) for row in range(n)]
        everyone = np.arange(n)
        bill = Bill.of(n)
        prefix_length = np.array([len(prefix.tokens) for prefix in prefixes], np.int64)

        experts = None if params.experts == "adaptive" else int(params.experts)
        asked = planner_prompts(prefixes, signals, experts, self.encoder)
        answers, written = self.ask_text(asked, "planner", PERSONA_TOKENS * (experts or MOST_PERSONAS))
        planner_depth = lengths(written)
        self.book(bill, everyone, "planner", _read(asked), np.zeros(n, np.int64), planner_depth)
        personas = planned(answers, experts)

        asked, rows = expert_prompts(profiles, personas, self.encoder)
        tags, written, invalid = self.ask_tags(asked, "expert", params.expert_tags)
        expert_depth = lengths(written)
        self.book(bill, rows, "expert", _read(asked), np.zeros(len(asked), np.int64), expert_depth)
        proposed: list[list[list[int]]] = [[] for _ in range(n)]
        for row, found in zip(rows.tolist(), tags, strict=True):
            proposed[row].append(found)

        unions = [union_of(each, self.vocabulary.category.tolist()) for each in proposed]
        asked = arbiter_prompts(prefixes, signals, unions, self.vocabulary.texts, params.tags, self.encoder)
        chosen, written, _ = self.ask_tags(asked, "arbiter", params.tags, unions)
        arbiter_depth = lengths(written)
        self.book(bill, everyone, "arbiter", _read(asked), prefix_length, arbiter_depth)

        styles, style_depth = [""] * n, np.zeros(n, np.int64)
        if params.explained:
            asked = [
                prefix.asked(self.encoder.words(style_task(signal)))
                for prefix, signal in zip(prefixes, signals, strict=True)
            ]
            styles, written = self.ask_text(asked, "style", STYLE_TOKENS)
            style_depth = lengths(written)  # beside the others: nothing waits for it but the explanations
            self.book(bill, everyone, "style", _read(asked), prefix_length, style_depth)

        slowest = np.zeros(n, np.int64)
        np.maximum.at(slowest, rows, expert_depth)
        for depth in np.maximum(planner_depth + slowest + arbiter_depth, style_depth).tolist():
            self.ledger.job("refresh", 3, depth)
        parts = max((len(each) for each in proposed), default=1)
        stacked = np.full((n, parts, params.expert_tags), NO_TAG, np.int32)
        for row, each in enumerate(proposed):
            stacked[row, : len(each)] = padded(each, params.expert_tags)
        return Thoughts(
            tags=padded(chosen, params.tags),
            proposed=stacked,
            generated=np.bincount(rows, [len(found) for found in tags], n).astype(np.int64)
            + np.bincount(rows, invalid, n).astype(np.int64),
            invalid=np.bincount(rows, invalid, n).astype(np.int64),
            parts=tuple(tuple(each) for each in personas),
            style=tuple(styles),
            prompt_tokens=bill.prompt,
            cached_tokens=bill.cached,
            generated_tokens=bill.generated,
            flops=bill.flops,
        )

    def begin(self, rows: int) -> None:
        """See ``TagPolicy``; what users were told is forgotten too."""
        super().begin(rows)
        self._told: dict[tuple[int, str, str, int], int] = {}

    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """See ``TagPolicy``; and what users were told, in words, since texts are numbered anew."""
        texts = self.texts.all
        told = [[*key, texts[number] if number >= 0 else ""] for key, number in self._told.items()]
        return super().snapshot() | {"told": as_array(told)}

    def restore(self, kept: Arrays) -> None:
        """See ``snapshot``."""
        super().restore(kept)
        for user, style, day, item, text in as_value(kept["told"]):
            self._told[user, style, day, item] = self.texts.number(text) if text else -1

    def tokens_of(self, text: Text) -> tuple[int, ...]:
        """Items as one token each, unless compression is off."""
        return self.encoder.hybrid(text) if self.params.compression else super().tokens_of(text)

    def explain(self, requests: Requests, items: Ints32, tags: Ints32, thoughts: Thoughts) -> Ints32:
        """See ``TagPolicy``: a text in the style chosen for the user, written with the job, of its day.

        Each user's text for an item is asked for, and counted, once a job; that two users with one style on one day
        get one text is the generator's business. Thoughts without a style get no texts.
        """
        signals = self.signals(replace(requests, day=self.thought_on(requests)))
        out = np.full(items.shape, -1, np.int32)
        places = [(int(n), int(k)) for n, k in zip(*np.nonzero(items != NO_ITEM), strict=True) if thoughts.style[n]]
        keys = [(int(requests.user[n]), thoughts.style[n], signals[n].line(), int(items[n, k])) for n, k in places]
        new = {key: place for key, place in zip(keys, places, strict=True) if key not in self._told}
        if new:
            _ = self.generator
            asked = [
                Prompt((), self.encoder.full(explanation_task(key[1], signals[n], key[3])))
                for key, (n, _) in new.items()
            ]
            texts, written = self.ask_text(asked, "explainer", TEXT_TOKENS, no_repeat=2)
            none = np.zeros(len(asked), np.int64)
            self.book(Bill.of(len(asked)), np.arange(len(asked)), "explainer", _read(asked), none, lengths(written))
            for key, text in zip(new, texts, strict=True):
                self._told[key] = self.texts.number(text) if text else -1
        for key, place in zip(keys, places, strict=True):
            out[place] = self._told[key]
        return out


def _read(prompts: Sequence[Prompt]) -> np.ndarray:
    """Tokens that each prompt gives the model, int64 [prompts]."""
    return np.array([len(prompt.prefix) + len(prompt.suffix) for prompt in prompts], np.int64)
