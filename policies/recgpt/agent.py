"""What the RecGPT policies share: a language model, the words to ask it in, and the account of every call.

An agent asks, reads the answer as tags, and books what its *plan* reads and writes: a plan may read a history again
that the generator, whose answers are the same, has read once. Does not know how calls are arranged (``v1``, ``v2``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from pydantic import Field

from policies.language.asking import Beginning, Decoding, Prompt
from policies.language.constraint import ListConstraint, Trie
from policies.language.generation import Generator
from policies.language.model import Language, load_language
from policies.language.prompt_cache import PromptCache, default_path
from policies.recgpt.base import TagPolicy, TagPolicyParams
from policies.recgpt.call_counts import JobCalls, counted_jobs
from policies.recgpt.encoding import TextEncoder
from policies.recgpt.explanation import Texts
from policies.recgpt.tags import TagVocabulary
from policies.recgpt.wording import HEAD, HISTORY_EVENTS, STOP, Signals, Text, events_of, history_text, prefix_text
from policies.thoughts import NO_TAG
from policies.training.further import train_on_log
from policies.training.settings import TrainOnLog
from simulator.batches import DAY_SECONDS, Floats, InteractionLog, Ints, ObservedCatalog, ObservedUsers, Requests
from simulator.environment.context import ObservedContext
from simulator.parameters import Parameters
from simulator.population import profile_words
from simulator.serving.counted import CountedJobs

TAG_TOKENS: Final = 12
"""Tokens that one tag of a free answer may take on average, the separator included."""


@dataclass
class Bill:
    """What the plan of each request costs, added up call by call; all int64 [requests]."""

    prompt: Ints
    cached: Ints
    generated: Ints
    flops: Ints

    @classmethod
    def of(cls, requests: int) -> "Bill":
        """Nothing yet."""
        return cls(*(np.zeros(requests, np.int64) for _ in range(4)))


class AgentParams(TagPolicyParams):
    """Parameters of every policy that asks a language model."""

    train: TrainOnLog | None = Field(
        default=None, description="go on training the language model on the log before serving; none if left out"
    )


class Agent(TagPolicy):
    """A policy that asks a language model for tags.

    Class attributes:
        stages: roles whose calls stand side by side in a job, stage by stage; explanations are in none.
        readers: roles whose prompts begin with the user's history.

    Attributes:
        texts: explanations written so far.
    """

    Params: ClassVar[type[Parameters]] = AgentParams
    near_line: ClassVar[bool] = True
    stages: ClassVar[tuple[tuple[str, ...], ...]] = ()
    readers: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, params: Any, seed: int) -> None:
        super().__init__(params, seed)
        self.texts = Texts()
        self._calls: list[JobCalls] | None = None
        self._language: Language | None = None
        self._generator: Generator | None = None

    def explanations(self) -> Sequence[str]:
        """See ``simulator.protocols.Policy``."""
        return self.texts.all

    def prepare(
        self, log: InteractionLog, catalog: ObservedCatalog, users: ObservedUsers, context: ObservedContext
    ) -> None:
        """See ``TagPolicy``: load the model, read the tags off the catalogue."""
        params: AgentParams = self.params
        self.catalog = catalog
        self.vocabulary = TagVocabulary.of(catalog, params.modifiers)
        if params.train is not None:
            self.settings = train_on_log(
                params.train, params.language, log, catalog, users, context, self.vocabulary, self.seed, self.say
            )

    def __getstate__(self) -> dict[str, Any]:
        """Without the model: another process loads its own."""
        state = dict(self.__dict__)
        state["_language"] = state["_generator"] = None
        for name in ("encoder", "_trie", "_comma"):
            state.pop(name, None)
        return state

    @property
    def generator(self) -> Generator:
        """The model at work; loaded when first needed."""
        if self._generator is None:
            settings = self.settings
            language = load_language(settings)
            self._language = language
            self.encoder = TextEncoder(language.tokenizer, self.catalog.titles, language.vocabulary)
            self._trie = self.trie_of(range(len(self.vocabulary.texts)))
            word, comma = (self.encoder.words(text) for text in ("tea", "tea,"))
            self._comma = comma[-1] if comma[:-1] == word else self.encoder.words(",")[-1]
            cache = PromptCache(default_path()) if settings.cache else None
            self._generator = Generator(
                language, self.ledger, cache, self.soft_vocabulary(language), batch=settings.batch
            )
        self._generator.ledger = self.ledger
        return self._generator

    def soft_vocabulary(self, language: Language) -> Any:
        """Entities as soft tokens, for agents that compress their histories."""
        return None

    @property
    def language(self) -> Language:
        """The loaded model."""
        _ = self.generator
        assert self._language is not None
        return self._language

    def trie_of(self, tags: Sequence[int] | range) -> Trie:
        """The tags as token sequences; entry k is ``tags[k]``."""
        assert self._language is not None
        return Trie([self.encoder.words(f" {self.vocabulary.texts[tag]}") for tag in tags])

    def history(self, requests: Requests, row: int) -> Text:
        """Profile and behaviour of the user of a request, as of the morning of its day."""
        at = int(requests.row[row])
        day = int(requests.day[row])
        events = events_of(requests.history, at, requests.history.item.shape[1])
        before = events[2] < day * DAY_SECONDS
        items, kinds, times = (part[before][-HISTORY_EVENTS:] for part in events)
        return prefix_text(profile_words(requests.users, at), history_text(items, kinds, times, day))

    def tokens_of(self, text: Text) -> tuple[int, ...]:
        """Profile and behaviour in tokens, items by their titles."""
        return self.encoder.full(text)

    def beginning(self, requests: Requests, row: int) -> Beginning:
        """What every call about the user of a request begins with; where it is too long, the oldest events go first."""
        _ = self.generator
        text = self.history(requests, row)
        return Beginning(self.tokens_of(text), len(self.tokens_of(text[:HEAD])))

    def signals(self, requests: Requests) -> list[Signals]:
        """The day in words for each request."""
        known: dict[tuple[int, int], Signals] = {}
        out = []
        for city, day in zip(requests.city.tolist(), requests.day.tolist(), strict=True):
            if (city, day) not in known:
                known[city, day] = Signals.of(requests.context, city, day)
            out.append(known[city, day])
        return out

    def ask_tags(
        self,
        prompts: Sequence[Prompt],
        role: str,
        most: int,
        unions: Sequence[Sequence[int]] | None = None,
    ) -> tuple[list[list[int]], list[tuple[int, ...]], Ints]:
        """Ask for lists of tags.

        Args:
            prompts: what is asked.
            role: who asks, for the ledger.
            most: tags wanted of each.
            unions: the tags that each may choose from; all if left out.

        Returns:
            Tags of each answer, distinct and valid; the answers' ids; how many tags of each were invalid, int64.
        """
        generator = self.generator
        language = self.language
        stop = language.newline
        comma = self._comma
        constraint: Any = None
        if unions is not None:
            constraint = [
                ListConstraint(
                    self.trie_of(union), comma, stop, most=min(most, len(union)), least=min(most, len(union))
                )
                for union in unions
            ]
        elif self.params.constrained:
            constraint = ListConstraint(
                self._trie, comma, stop, most=most, least=most, distinct_by=self.vocabulary.category
            )
        longest = TAG_TOKENS * most
        if constraint is not None:  # long enough for any answer, whatever else is asked
            longest = ListConstraint(self._trie, self._comma, stop, most=most).longest + 1
        answers = generator.complete(prompts, Decoding(max_tokens=longest, stop=(stop,), constraint=constraint), role)
        tags, invalid = [], np.zeros(len(prompts), np.int64)
        for row, answer in enumerate(answers):
            parts = language.tokenizer.decode(list(answer)).split(STOP)[0].split(",")
            found = [self.vocabulary.parse(part) for part in parts if part.strip()][:most]
            invalid[row] = found.count(NO_TAG)
            tags.append(list(dict.fromkeys(tag for tag in found if tag != NO_TAG)))
        return tags, answers, invalid

    def ask_text(
        self, prompts: Sequence[Prompt], role: str, most_tokens: int, no_repeat: int = 0
    ) -> tuple[list[str], list[tuple[int, ...]]]:
        """Ask for a line of text: the words, and their ids."""
        language = self.language
        answers = self.generator.complete(prompts, Decoding(most_tokens, ends_of(language), no_repeat=no_repeat), role)
        decode = language.tokenizer.decode
        return [decode(list(answer)).split(STOP)[0].strip() for answer in answers], answers

    def book(self, bill: Bill, rows: Ints, role: str, prompt: Ints, cached: Ints, generated: Ints) -> None:
        """Add calls to the bill and to the ledger.

        Args:
            bill: of the requests.
            rows: the request of each call, int64 [calls].
            role: who called.
            prompt: tokens that the plan gives the model, int64 [calls].
            cached: those of them that the plan finds in a KV cache.
            generated: tokens written, without the stop.
        """
        flops = self.ledger.count(role, prompt, cached, generated)
        if self._calls is not None:
            self._calls.append(JobCalls(role, rows, prompt, cached, generated))
        for total, part in (
            (bill.prompt, prompt),
            (bill.cached, cached),
            (bill.generated, generated),
            (bill.flops, flops),
        ):
            np.add.at(total, rows, part)

    def count_jobs(self, requests: Requests, weight: Floats) -> CountedJobs:
        """See ``NearLine``; students ask their language model here. Begins a new ledger."""
        self.open_ledger()
        self._calls = []
        self.reason(requests)
        calls, self._calls = self._calls, None
        return counted_jobs(calls, self.stages, self.readers, weight)


def ends_of(language: Language) -> tuple[int, ...]:
    """Tokens that end a line of text: those that hold a line break, and the model's own end."""
    end = language.model.config.eos_token_id
    ends = end if isinstance(end, list) else [] if end is None else [end]
    return tuple(sorted({language.newline, *language.line_ends, *ends}))


def interleaved(lists: Sequence[Sequence[int]], most: int) -> list[int]:
    """The first of each, then the second of each, and so on; each once, ``most`` at most."""
    longest = max((len(each) for each in lists), default=0)
    order = (each[place] for place in range(longest) for each in lists if place < len(each))
    return list(dict.fromkeys(order))[:most]


def lengths(answers: Sequence[Sequence[int]]) -> Ints:
    """Tokens written for each answer, without the stop, int64 [answers]."""
    return np.array([len(answer) for answer in answers], np.int64)
