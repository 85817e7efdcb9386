"""Asking a language model many prompts at once: shared prefixes, a KV cache, constraints, greedy or sampled.

**Determinism.** A prompt's answer must not depend on what else is asked at the same time, or two runs that cut the same
work differently would part. Measured for torch 2.13 with MKL on x86: the bits of a row's result do not depend on the
other rows' contents, on what padding holds, or on the number of threads, but they do depend on the padded length, and
rows that make up a small product take other paths: fewer than four for a thread, so fewer than 16 for a few threads.
Therefore

- padded lengths are multiples that follow from the row's own length (``PREFIX_BUCKET``, ``SUFFIX_BUCKET``), and only
  rows of the same padded lengths are computed together;
- a batch of suffixes, and every decoding step, has a multiple of ``ROWS`` rows, filled up with copies of the first;
- a new token's attention is computed with four rows or more (``attention``);
- prefixes are read in causal order without a mask and all else with one given in full, since the library would take
  another kernel for a batch that happens to have no padding;
- sampled tokens come from counter-based draws, named by the caller's ids and the step.

On CUDA the library chooses kernels by the shape of a batch, so there the same calls repeat, but another batch size may
change a row's last bits. So may another library version, processor family or data type; the key of a cached answer
names the last, the device's kind and torch's version.

Knows no policy and no meaning of a prompt. Counts what it runs, not what a policy plans.
"""

import time
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import DynamicCache

from policies.language.constraint import ListConstraint, ListStates
from policies.language.errors import LanguageError
from policies.language.kv import ROOM, Masks, RoomyLayer
from policies.language.ledger import Ledger
from policies.language.model import Language
from policies.language.prompt_cache import cache_key
from policies.language.soft_tokens import SoftVocabulary, embed
from simulator.batches import Ints
from simulator.streams import Stream

PREFIX_BUCKET: Final = 64
SUFFIX_BUCKET: Final = 16
ROWS: Final = 16
"""Fewest rows of a matrix product whose path does not depend on their number."""
READ_TOKENS: Final = 4096
"""Most padded prefix tokens read at once."""
KEPT_BYTES: Final = 256 << 20
"""Most memory for keys and values of prefixes that later calls may ask for again."""

Tokens = tuple[int, ...]
States = list[tuple[Tensor, Tensor]]
"""Keys and values of one prefix in each layer, [heads, padded length, head width]."""


@dataclass(frozen=True)
class Prompt:
    """What a model is asked: a beginning that other prompts may share, and the rest.

    Attributes:
        prefix: token ids, entities' among them; may be empty.
        suffix: token ids that follow; may be empty where the prefix is not.
        keep: first tokens of the prefix that stay where the window is too short: what follows them goes, oldest first.
    """

    prefix: Tokens
    suffix: Tokens
    keep: int = 0


@dataclass(frozen=True)
class Beginning:
    """A prefix that several prompts share: its tokens, and how many of them stay (see ``Prompt``)."""

    tokens: Tokens
    keep: int

    def asked(self, suffix: Tokens) -> Prompt:
        """The prompt that goes on with ``suffix``."""
        return Prompt(self.tokens, suffix, self.keep)


@dataclass(frozen=True)
class Decoding:
    """How an answer is written.

    Attributes:
        max_tokens: most tokens of an answer.
        stop: tokens that end it.
        constraint: grammar of the answers, one for all prompts or one for each; its stop ends an answer too.
        temperature: 0 takes the likeliest token, above it tokens are drawn.
        stream: where draws come from, needed above 0.

    Raises:
        ValueError: a number is out of range, or tokens are to be drawn and there is no stream.
    """

    max_tokens: int
    stop: Tokens
    constraint: ListConstraint | Sequence[ListConstraint] | None = None
    temperature: float = 0.0
    stream: Stream | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.max_tokens < 1:
            raise ValueError(f"decoding.max_tokens: {self.max_tokens} (at least 1)")
        if self.temperature < 0:
            raise ValueError(f"decoding.temperature: {self.temperature} (0 or more)")
        if self.temperature > 0 and self.stream is None:
            raise ValueError(f"decoding.stream: none (temperature {self.temperature} draws tokens and needs one)")


class AnswerCache(Protocol):
    """Where answers are kept between runs."""

    def get_many(self, keys: Sequence[bytes]) -> Mapping[bytes, Tokens]:
        """The answers that are there."""

    def put_many(self, answers: Mapping[bytes, Tokens]) -> None:
        """Keep answers."""


@dataclass(frozen=True)
class _Ask:
    """One distinct question: the prompt cut to the window, its grammar and the id of its draws."""

    key: bytes
    prefix: Tokens
    suffix: Tokens
    constraint: ListConstraint | None
    draw: int

    @property
    def prefix_room(self) -> int:
        return -(-len(self.prefix) // PREFIX_BUCKET) * PREFIX_BUCKET

    @property
    def suffix_room(self) -> int:
        return -(-len(self.suffix) // SUFFIX_BUCKET) * SUFFIX_BUCKET


class Generator:
    """Answers prompts with one language model.

    Args:
        language: the model.
        ledger: where calls computed, answers found, seconds and cut prompts are entered.
        cache: where answers are looked up and kept; None for nowhere.
        soft: what the ids behind the vocabulary stand for.
        batch: most prompts computed at once.
    """

    def __init__(
        self,
        language: Language,
        ledger: Ledger,
        cache: AnswerCache | None = None,
        soft: SoftVocabulary | None = None,
        batch: int = 64,
    ) -> None:
        self.language = language
        self.ledger = ledger
        self.cache = cache
        self.soft = soft
        self.batch = batch
        self._kept: OrderedDict[Tokens, States] = OrderedDict()
        self._kept_bytes = 0
        self.masks = Masks.of(language)

    def complete(
        self, prompts: Sequence[Prompt], decoding: Decoding, role: str, draw_ids: npt.ArrayLike | None = None
    ) -> list[Tokens]:
        """The answers of some prompts, each as if it had been asked alone.

        A prefix that several prompts begin with is read once; a prefix read lately by another call is not read again.
        A prompt that leaves no room in the model's window for the longest answer loses the oldest tokens of its prefix,
        and is entered in ``ledger.truncated``.

        Args:
            prompts: what is asked; the same question twice is computed once.
            decoding: how answers are written.
            role: under which the work is entered.
            draw_ids: id of each prompt's draws where tokens are drawn, integers [prompts].

        Returns:
            Token ids of each answer, below the vocabulary's size, without the token that ended it. Where a grammar is
            given and the tokens ran out, an entry that was begun and not ended is left out.

        Raises:
            LanguageError: a prompt is empty, its suffix alone is longer than the window, an id stands for nothing, or
                memory does not suffice for a single prompt.
            ValueError: draw ids or grammars do not match the prompts.
        """
        began = time.perf_counter()
        asks = self._asks(prompts, decoding, draw_ids)
        distinct = {ask.key: ask for ask in asks}
        answers: dict[bytes, Tokens] = dict(self.cache.get_many(list(distinct))) if self.cache is not None else {}
        missing = [ask for key, ask in distinct.items() if key not in answers]
        with torch.inference_mode():
            for done in self._compute(missing, decoding):
                answers.update(done)
                if self.cache is not None:
                    self.cache.put_many(done)
        self.ledger.execute(role, len(missing), len(prompts) - len(missing), time.perf_counter() - began)
        return [answers[ask.key] for ask in asks]

    def forget(self) -> None:
        """Let go of the keys and values that were kept for later calls."""
        self._kept.clear()
        self._kept_bytes = 0

    def _asks(self, prompts: Sequence[Prompt], decoding: Decoding, draw_ids: npt.ArrayLike | None) -> list[_Ask]:
        constraints = decoding.constraint
        if constraints is None or isinstance(constraints, ListConstraint):
            constraints = [constraints] * len(prompts)  # type: ignore[list-item]
        if len(constraints) != len(prompts):
            raise ValueError(f"decoding.constraint: {len(constraints)} grammars (for {len(prompts)} prompts)")
        drawn = decoding.temperature > 0
        draws = np.zeros(len(prompts), np.int64)
        if drawn:
            if draw_ids is None:
                raise ValueError("draw_ids: none (drawn tokens need an id for each prompt)")
            draws = np.asarray(draw_ids, np.int64)
            if draws.shape != (len(prompts),):
                raise ValueError(f"draw_ids: shape {draws.shape} (for {len(prompts)} prompts)")
        language = self.language
        common = (
            language.device.type,
            str(language.dtype),
            torch.__version__,
            decoding.max_tokens,
            tuple(sorted(decoding.stop)),
            (decoding.temperature, int(decoding.stream.key)) if drawn and decoding.stream else None,
        )
        fingerprint, soft = language.fingerprint, self.soft.fingerprint if self.soft else ""
        found = []
        for prompt, constraint, draw in zip(prompts, constraints, draws.tolist(), strict=True):
            longest = min(decoding.max_tokens, constraint.longest) if constraint else decoding.max_tokens
            prefix, suffix = self._fitted(prompt, longest)
            settings = repr((*common, draw, constraint and constraint.fingerprint))
            key = cache_key(fingerprint, soft if self._entities(prefix + suffix) else "", prefix, suffix, settings)
            found.append(_Ask(key, prefix, suffix, constraint, draw))
        return found

    def _fitted(self, prompt: Prompt, max_tokens: int) -> tuple[Tokens, Tokens]:
        prefix, suffix = prompt.prefix, prompt.suffix
        if not suffix:
            if not prefix:
                raise LanguageError("prompt: empty (a model needs at least one token to read)")
            prefix, suffix = prefix[:-1], prefix[-1:]
        room = self.language.window - max_tokens - len(suffix)
        if room < 0:
            raise LanguageError(
                f"prompt: {len(suffix)} tokens behind the prefix and {max_tokens} to write "
                f"(the model's window is {self.language.window})"
            )
        if len(prefix) > room:
            self.ledger.truncated += 1
            keep = min(prompt.keep, room)
            prefix = prefix[:keep] + prefix[len(prefix) - (room - keep) :]
        return prefix, suffix

    def _entities(self, tokens: Tokens) -> bool:
        """Whether there are soft tokens among some."""
        words, most = self.language.vocabulary, max(tokens)
        end = words + (len(self.soft) if self.soft else 0)
        if min(tokens) < 0 or most >= end:
            raise LanguageError(f"prompt: token {most} (ids are 0 to {end - 1}, soft tokens from {words})")
        return most >= words

    def _compute(self, asks: list[_Ask], decoding: Decoding) -> Iterator[dict[bytes, Tokens]]:
        """Answers, some at a time: those of up to ``batch`` prefixes of one padded length."""
        asks = sorted(asks, key=lambda ask: (ask.prefix_room, ask.prefix))
        while asks:
            prefixes: dict[Tokens, None] = {}
            count = 0
            for ask in asks:
                if ask.prefix not in prefixes and len(prefixes) == self.batch:
                    break
                if ask.prefix_room != asks[0].prefix_room:
                    break
                prefixes[ask.prefix] = None
                count += 1
            try:
                yield self._block(asks[:count], list(prefixes), decoding)
            except torch.cuda.OutOfMemoryError:
                self._halve()
                continue
            asks = asks[count:]

    def _halve(self) -> None:
        self.forget()
        torch.cuda.empty_cache()
        if self.batch == 1:
            raise LanguageError("language.batch: 1 (one prompt does not fit in CUDA memory; use a smaller model)")
        self.batch = max(self.batch // 2, 1)
        message = f"language.batch: out of CUDA memory, going on with {self.batch} prompts at once"
        warnings.warn(message, RuntimeWarning, stacklevel=4)

    def _block(self, asks: list[_Ask], prefixes: list[Tokens], decoding: Decoding) -> dict[bytes, Tokens]:
        states = self._read(prefixes)
        answers = {}
        for _, group in groupby(sorted(asks, key=lambda ask: ask.suffix_room), key=lambda ask: ask.suffix_room):
            rows = list(group)
            for start in range(0, len(rows), self.batch):
                part = rows[start : start + self.batch]
                written = _Batch(self, part, [states[ask.prefix] for ask in part], decoding).write()
                answers.update({ask.key: tokens for ask, tokens in zip(part, written, strict=True)})
        return answers

    def _read(self, prefixes: list[Tokens]) -> dict[Tokens, States]:
        """Keys and values of prefixes of one padded length."""
        states: dict[Tokens, States] = {(): []}
        for prefix in prefixes:
            if prefix in self._kept:
                self._kept.move_to_end(prefix)
                states[prefix] = self._kept[prefix]
        missing = [prefix for prefix in prefixes if prefix not in states]
        if not missing:
            return states
        length = -(-len(missing[0]) // PREFIX_BUCKET) * PREFIX_BUCKET
        step = max(min(self.batch, READ_TOKENS // length), 1)
        for start in range(0, len(missing), step):
            part = missing[start : start + step]
            ids = np.zeros((len(part), length), np.int64)
            for row, prefix in enumerate(part):
                ids[row, : len(prefix)] = prefix
            cache: Any = DynamicCache()
            # What pads a prefix stands behind it, where the causal order hides it: no mask is needed.
            self.forward(torch.from_numpy(ids), cache, None, None)
            layers = [(layer.keys, layer.values) for layer in cache.layers]
            for row, prefix in enumerate(part):
                states[prefix] = [(keys[row].clone(), values[row].clone()) for keys, values in layers]
                self._keep(prefix, states[prefix])
        return states

    def _keep(self, prefix: Tokens, states: States) -> None:
        self._kept[prefix] = states
        self._kept_bytes += _bytes(states)
        while self._kept_bytes > KEPT_BYTES:
            self._kept_bytes -= _bytes(self._kept.popitem(last=False)[1])

    def forward(self, ids: Tensor, cache: DynamicCache, mask: Any, positions: Tensor | None) -> Tensor:
        """One pass of the model over ids, int64 [rows, new]: logits behind the last, float32 [rows, vocabulary]."""
        ids = ids.to(self.language.device)
        words = ids.shape[1] == 1 or self.soft is None
        given = {"input_ids": ids} if words else {"inputs_embeds": embed(self.language.model, ids, self.soft)}
        output = self.language.model(
            **given,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = output.logits[:, -1, : self.language.vocabulary].float()
        return logits


class _Batch:
    """Prompts of the same padded lengths on their way to answers."""

    def __init__(self, generator: Generator, asks: list[_Ask], states: list[States], decoding: Decoding) -> None:
        self.generator = generator
        self.asks = asks
        self.decoding = decoding
        self.device = generator.language.device
        rows = np.arange(-(-len(asks) // ROWS) * ROWS)
        rows[len(asks) :] = 0
        if self.device.type != "cpu":
            rows = rows[: len(asks)]
        prefix, suffix = asks[0].prefix_room, asks[0].suffix_room
        steps = min(decoding.max_tokens, ROOM)
        self.layers = [RoomyLayer(prefix + suffix + steps) for _ in range(generator.language.shape.layers)]
        self.cache = DynamicCache()
        self.cache.layers.extend(self.layers)
        for layer in range(len(states[0])):
            keys = torch.stack([states[row][layer][0] for row in rows])
            values = torch.stack([states[row][layer][1] for row in rows])
            self.cache.update(keys, values, layer)
        before = np.array([len(asks[row].prefix) for row in rows])
        length = np.array([len(asks[row].suffix) for row in rows])
        self.ids = np.zeros((len(rows), suffix), np.int64)
        for place, row in enumerate(rows):
            self.ids[place, suffix - length[place] :] = asks[row].suffix
        # A place that holds padding has a position below 0.
        ahead = np.arange(prefix)
        behind = np.arange(suffix) - (suffix - length[:, None])
        held = np.concatenate(
            [
                np.where(ahead < before[:, None], ahead, -1),
                np.where(behind >= 0, before[:, None] + behind, -1),
                (before + length)[:, None] + np.arange(decoding.max_tokens),
            ],
            axis=1,
        )
        self.held = torch.from_numpy(held).to(self.device)
        self.seen = prefix + suffix
        self.mask = generator.masks.reading(self.held[:, : self.seen], suffix)
        self.behind = generator.masks.writing(self.held)
        self.positions = self.held[:, prefix : self.seen].clamp(min=0)
        # Places of this batch's rows among the asks; the rows behind them are copies that fill the batch up.
        self.live = np.arange(len(asks))
        self.states = ListStates([ask.constraint for ask in asks if ask.constraint]) if asks[0].constraint else None

    def write(self) -> list[Tokens]:
        """The answers."""
        decoding, asks = self.decoding, self.asks
        written = np.zeros((len(asks), decoding.max_tokens), np.int64)
        length = np.zeros(len(asks), np.int64)
        ended = np.zeros(len(asks), np.bool_)
        stops = np.zeros(self.generator.language.vocabulary, np.bool_)
        stops[list(decoding.stop)] = True
        own = np.array([ask.constraint.stop if ask.constraint else -1 for ask in asks])
        draws = np.array([ask.draw for ask in asks])
        logits = self.generator.forward(torch.from_numpy(self.ids), self.cache, self.mask, self.positions)
        for step in range(decoding.max_tokens):
            live = self.live
            tokens = self._choose(logits[: len(live)], draws[live], step)
            going = ~ended[live] & ~stops[tokens] & (tokens != own[live])
            written[live[going], step] = tokens[going]
            length[live[going]] += 1
            ended[live] |= ~going
            if step + 1 == decoding.max_tokens or ended.all():
                break
            if self.states is not None:
                self.states.advance(tokens)
            kept = np.flatnonzero(~ended[live])
            if 2 * len(kept) <= len(live):
                tokens = self._compact(kept, tokens)
            logits = self._step(tokens)
        answers = [tuple(row[:count].tolist()) for row, count in zip(written, length, strict=True)]
        return [
            ask.constraint.complete(answer) if ask.constraint and not end else answer
            for ask, answer, end in zip(asks, answers, ended, strict=True)
        ]

    def _choose(self, logits: Tensor, draws: Ints, step: int) -> Ints:
        """The next token of each row: the likeliest that is allowed, or a draw from the softmax over those allowed."""
        if self.states is not None:
            rows, tokens = (torch.from_numpy(part).to(self.device) for part in self.states.allowed())
            allowed = torch.full_like(logits, -torch.inf)
            allowed[rows, tokens] = logits[rows, tokens]
            logits = allowed
        if self.decoding.temperature == 0 or self.decoding.stream is None:
            return logits.argmax(-1).cpu().numpy()
        scaled = logits.cpu().double().numpy() / self.decoding.temperature
        top = scaled.max(-1, keepdims=True)
        # Rows that have ended may have nothing allowed; what is drawn for them is not looked at.
        weight = np.exp(scaled - np.where(np.isfinite(top), top, 0.0))
        cumulative = np.cumsum(weight, axis=-1)
        uniform = self.decoding.stream.uniform(draws, step)
        chosen = (cumulative <= (uniform * cumulative[:, -1])[:, None]).sum(-1)
        return np.minimum(chosen, logits.shape[-1] - 1)

    def _compact(self, kept: Ints, tokens: Ints) -> Ints:
        """Drop rows that have ended, where that makes the batch smaller."""
        rows = -(-len(kept) // ROWS) * ROWS if self.device.type == "cpu" else len(kept)
        if rows >= len(self.held):
            return tokens
        chosen = np.zeros(rows, np.int64)
        chosen[: len(kept)] = kept
        chosen[len(kept) :] = kept[0]
        index = torch.from_numpy(chosen).to(self.device)
        for layer in self.layers:
            layer.batch_select_indices(index)
        self.held = self.held[index]
        if self.behind is not None:
            self.behind = self.behind[index]
        self.live = self.live[kept]
        if self.states is not None:
            self.states.select(kept)
        return tokens[kept]

    def _step(self, tokens: Ints) -> Tensor:
        """Read the tokens just written: logits behind them."""
        rows = np.zeros((len(self.held), 1), np.int64)
        rows[: len(tokens), 0] = tokens
        self.seen += 1
        held = self.held[:, : self.seen]
        mask = self.generator.masks.reading(held, 1) if self.behind is None else self.behind[..., : self.seen]
        return self.generator.forward(torch.from_numpy(rows), self.cache, mask, held[:, -1:])


def _bytes(states: States) -> int:
    return sum(part.nbytes for layer in states for part in layer)
