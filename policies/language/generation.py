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
from itertools import groupby
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import DynamicCache

from policies.language.asking import PREFIX_BUCKET, Ask, Decoding, Prompt, Tokens
from policies.language.batch import Batch, States
from policies.language.constraint import ListConstraint
from policies.language.errors import LanguageError
from policies.language.kv import Masks
from policies.language.ledger import Ledger
from policies.language.model import Language
from policies.language.prompt_cache import cache_key
from policies.language.soft_tokens import SoftVocabulary, embed

READ_TOKENS: Final = 4096
"""Most padded prefix tokens read at once."""
KEPT_BYTES: Final = 256 << 20
"""Most memory for keys and values of prefixes that later calls may ask for again."""


class AnswerCache(Protocol):
    """Where answers are kept between runs."""

    def get_many(self, keys: Sequence[bytes]) -> Mapping[bytes, Tokens]:
        """The answers that are there."""

    def put_many(self, answers: Mapping[bytes, Tokens]) -> None:
        """Keep answers."""


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

    def _asks(self, prompts: Sequence[Prompt], decoding: Decoding, draw_ids: npt.ArrayLike | None) -> list[Ask]:
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
            *((decoding.no_repeat,) if decoding.no_repeat else ()),
        )
        fingerprint, soft = language.fingerprint, self.soft.fingerprint if self.soft else ""
        found = []
        for prompt, constraint, draw in zip(prompts, constraints, draws.tolist(), strict=True):
            longest = min(decoding.max_tokens, constraint.longest) if constraint else decoding.max_tokens
            prefix, suffix = self._fitted(prompt, longest)
            settings = repr((*common, draw, constraint and constraint.fingerprint))
            key = cache_key(fingerprint, soft if self._entities(prefix + suffix) else "", prefix, suffix, settings)
            found.append(Ask(key, prefix, suffix, constraint, draw))
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

    def _compute(self, asks: list[Ask], decoding: Decoding) -> Iterator[dict[bytes, Tokens]]:
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

    def _block(self, asks: list[Ask], prefixes: list[Tokens], decoding: Decoding) -> dict[bytes, Tokens]:
        states = self._read(prefixes)
        answers = {}
        for _, group in groupby(sorted(asks, key=lambda ask: ask.suffix_room), key=lambda ask: ask.suffix_room):
            rows = list(group)
            for start in range(0, len(rows), self.batch):
                part = rows[start : start + self.batch]
                written = self._written(part, [states[ask.prefix] for ask in part], decoding)
                answers.update({ask.key: tokens for ask, tokens in zip(part, written, strict=True)})
        return answers

    def _written(self, asks: list[Ask], states: list[States], decoding: Decoding) -> list[Tokens]:
        return Batch(self.language, self.forward, self.masks, asks, states, decoding).write()

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


def _bytes(states: States) -> int:
    return sum(part.nbytes for layer in states for part in layer)
