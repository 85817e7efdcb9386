"""A batch of prompts written to their ends: token by token, rows that have ended dropped on the way.

Keeps to what makes a row's answer depend on that row alone (``generation`` says what that takes). Does not know where
prompts come from, nor where answers go.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from policies.language.asking import Ask, Decoding, Tokens
from policies.language.constraint import ListStates
from policies.language.kv import ROOM, Masks, RoomyLayer
from policies.language.model import Language
from simulator.batches import Ints

ROWS: Final = 16
"""Fewest rows of a matrix product whose path does not depend on their number."""

States = list[tuple[Tensor, Tensor]]
"""Keys and values of one prefix in each layer, [heads, padded length, head width]."""
Forward = Callable[[Tensor, DynamicCache, Any, Tensor | None], Tensor]


class Batch:
    """Prompts of the same padded lengths on their way to answers.

    Args:
        language: the model.
        forward: one pass of it over ids, int64 [rows, new], with a cache, a mask and positions: logits behind the last.
        masks: of its attention.
        asks: what is asked, of equal ``prefix_room`` and of equal ``suffix_room``.
        states: keys and values of each prefix.
        decoding: how answers are written.
    """

    def __init__(
        self,
        language: Language,
        forward: Forward,
        masks: Masks,
        asks: list[Ask],
        states: list[States],
        decoding: Decoding,
    ) -> None:
        self.language = language
        self.forward = forward
        self.masks = masks
        self.asks = asks
        self.decoding = decoding
        self.device = language.device
        rows = np.arange(-(-len(asks) // ROWS) * ROWS)
        rows[len(asks) :] = 0
        if self.device.type != "cpu":
            rows = rows[: len(asks)]
        prefix, suffix = asks[0].prefix_room, asks[0].suffix_room
        steps = min(decoding.max_tokens, ROOM)
        self.layers = [RoomyLayer(prefix + suffix + steps) for _ in range(language.shape.layers)]
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
        self.mask = masks.reading(self.held[:, : self.seen], suffix)
        self.behind = masks.writing(self.held)
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
        stops = np.zeros(self.language.vocabulary, np.bool_)
        stops[list(decoding.stop)] = True
        own = np.array([ask.constraint.stop if ask.constraint else -1 for ask in asks])
        draws = np.array([ask.draw for ask in asks])
        logits = self.forward(torch.from_numpy(self.ids), self.cache, self.mask, self.positions)
        for step in range(decoding.max_tokens):
            live = self.live
            if decoding.no_repeat:
                again = (torch.from_numpy(part) for part in repeats(written[live, :step], decoding.no_repeat))
                logits[tuple(part.to(self.device) for part in again)] = -torch.inf
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
        mask = self.masks.reading(held, 1) if self.behind is None else self.behind[..., : self.seen]
        return self.forward(torch.from_numpy(rows), self.cache, mask, held[:, -1:])


def repeats(written: Ints, count: int) -> tuple[Ints, Ints]:
    """Tokens that would make ``count`` tokens in a row stand in a row a second time.

    Args:
        written: tokens so far, int64 [rows, tokens].
        count: length of what may not come again, at least 2.

    Returns:
        Rows and tokens, int64 [found]; a pair may come several times.
    """
    step = written.shape[1]
    if step < count:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    runs = np.lib.stride_tricks.sliding_window_view(written, count, axis=1)
    row, place = np.nonzero((runs[:, :, :-1] == written[:, None, step - count + 1 :]).all(axis=-1))
    return row, runs[row, place, -1]
