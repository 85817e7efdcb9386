"""Texts in the tokens of a model: words, and items as titles, as short names or as soft tokens.

Knows a tokenizer's words and a catalogue's titles; no model, and nothing of what the texts are for.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from policies.recgpt.wording import Entity, Text


class Encodes(Protocol):
    """What packing needs of a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Token ids without special tokens."""
        ...


class TextEncoder:
    """Texts to ids; entities as titles, as a short name, or as soft tokens.

    Args:
        tokenizer: of the model.
        titles: of the items.
        first_entity: id of item 0 as a soft token (the vocabulary's size).
    """

    def __init__(self, tokenizer: Encodes, titles: Sequence[str], first_entity: int) -> None:
        self._tokenizer, self._titles, self._first = tokenizer, titles, first_entity
        self._known: dict[str, tuple[int, ...]] = {}

    def words(self, text: str) -> tuple[int, ...]:
        """Ids of plain text; kept, as pieces repeat."""
        found = self._known.get(text)
        if found is None:
            found = tuple(self._tokenizer.encode(text)) if text else ()
            if len(text) < 200:
                self._known[text] = found
        return found

    def full(self, text: Text, short: Mapping[int, str] | None = None) -> tuple[int, ...]:
        """Entities written out, those in ``short`` under the name given there."""
        ids: list[int] = []
        for part in text:
            if isinstance(part, Entity):
                name = short[part.item] if short is not None and part.item in short else self._titles[part.item]
                ids += self.words(f" {name}")
            else:
                ids += self.words(part)
        return tuple(ids)

    def hybrid(self, text: Text) -> tuple[int, ...]:
        """Entities as one soft token each."""
        ids: list[int] = []
        for part in text:
            if isinstance(part, Entity):
                ids.append(self._first + part.item)
            else:
                ids += self.words(part)
        return tuple(ids)
