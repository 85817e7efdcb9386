"""Tags: "modifier core word", or the core word alone: what language policies predict in place of items.

The core word of a tag is the name of a category, the modifier a word that the shop's own titles use for it. The
vocabulary is read off the catalogue's titles; it knows no user, no log and no language model.
"""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from policies.thoughts import NO_TAG
from simulator.batches import Ints32, ObservedCatalog, ReadOnlyArrays

_WORD: Final = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")
_JOINING: Final = frozenset(
    ("and", "by", "for", "from", "per", "set", "sets", "size", "sizes", "sizing", "the", "with", "without")
)


@dataclass(frozen=True)
class TagVocabulary(ReadOnlyArrays):
    """All valid tags of a catalogue.

    Attributes:
        texts: the tags in words, first the bare core words in the order of the categories.
        category: category of each tag, int32 [tags].
        core_tag: the tag that is the bare core word of each category, int32 [categories].
        of_item: the tag that each item's own title carries, int32 [items].
    """

    texts: tuple[str, ...]
    category: Ints32
    core_tag: Ints32
    of_item: Ints32

    @classmethod
    def of(cls, catalog: ObservedCatalog, modifiers: int) -> "TagVocabulary":
        """Read the tags off the titles of a catalogue.

        A modifier is a word of three letters or more that titles write small, that is no part of a category's name
        and no joining word, and that stands in at least one title beside the category's full name: a word that only
        ever replaces the name is another name for the thing.

        Args:
            catalog: titles and categories.
            modifiers: most frequent ones kept for each category.
        """
        names = [name.lower() for name in catalog.category_names]
        words = [_words(title) for title in catalog.titles]
        small = {word for row in words for word in row[1:] if word.islower()}
        beside: list[Counter[str]] = [Counter() for _ in names]
        counts: list[Counter[str]] = [Counter() for _ in names]
        found: list[list[str]] = []
        for row, title, category in zip(words, catalog.titles, catalog.category, strict=True):
            name = names[category]
            own = set(name.split())
            eligible = [word.lower() for word in row if word in small or word.lower() in small]
            eligible = [w for w in eligible if len(w) > 2 and w not in own and w not in _JOINING]
            counts[category].update(set(eligible))
            if name in title.lower():
                beside[category].update(set(eligible))
            found.append(eligible)
        kept = [
            [word for word, _ in sorted(count.items(), key=lambda pair: (-pair[1], pair[0])) if near[word]][:modifiers]
            for count, near in zip(counts, beside, strict=True)
        ]
        texts = list(catalog.category_names)
        category = list(range(len(texts)))
        place: dict[tuple[str, int], int] = {}
        for index, modifying in enumerate(kept):
            for word in modifying:
                place[word, index] = len(texts)
                texts.append(f"{word} {catalog.category_names[index]}")
                category.append(index)
        of_item = [
            next((place[word, int(c)] for word in row if (word, int(c)) in place), int(c))
            for row, c in zip(found, catalog.category, strict=True)
        ]
        return cls(
            texts=tuple(texts),
            category=np.array(category, np.int32),
            core_tag=np.arange(catalog.categories, dtype=np.int32),
            of_item=np.array(of_item, np.int32),
        )

    @cached_property
    def _by_text(self) -> dict[str, int]:
        return {text.lower(): tag for tag, text in reversed(list(enumerate(self.texts)))}

    @cached_property
    def _by_name(self) -> dict[str, int]:
        return {self.texts[tag].lower(): int(tag) for tag in reversed(self.core_tag)}

    def parse(self, text: str) -> int:
        """The tag that a text names, or ``NO_TAG``.

        A text that is no tag of the vocabulary, as a free hand may write it, counts as the bare core word that ends it
        (the longest, where several do).
        """
        text = " ".join(text.lower().split())
        tag = self._by_text.get(text)
        if tag is not None:
            return tag
        parts = text.split(" ")
        for start in range(len(parts)):
            tag = self._by_name.get(" ".join(parts[start:]))
            if tag is not None:
                return tag
        return NO_TAG


def _words(title: str) -> list[str]:
    return _WORD.findall(title)
