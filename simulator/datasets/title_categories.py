"""From titles in words to categories: what kind of thing is a "White hanging heart t-light holder"?

For logs that name their items but do not sort them. It reads nothing but the titles and a list of words; it
does not know prices, buyers or what was bought together.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import yaml

from simulator.datasets.interactions import SmallIntegers

OTHER: Final = "other"
WORDS_FILE: Final = Path(__file__).with_name("gift_shop_words.yaml")
PREPOSITIONS: Final = frozenset({"with", "w", "in", "for", "on", "from", "and"})
NEARLY_ALL: Final = 0.9
EXCEPTION: Final = 0.15


@dataclass(frozen=True)
class Words:
    """The lists of ``gift_shop_words.yaml``; ``ignored`` are fillers, descriptors and prepositions."""

    fillers: frozenset[str]
    ignored: frozenset[str]
    motifs: frozenset[str]
    spellings: dict[str, str]
    misspelt: re.Pattern[str]
    groups: dict[str, str]
    capitals: dict[str, str]


class Head(NamedTuple):
    """A word that may say what a title sells, and the words before it, nearest first."""

    label: str
    before: tuple[str, ...]


@cache
def gift_shop_words() -> Words:
    """The word lists shipped beside this module."""
    data = yaml.safe_load(WORDS_FILE.read_text(encoding="utf-8"))
    spellings: dict[str, str] = data["spellings"]
    longest_first = sorted(spellings, key=len, reverse=True)
    fillers = frozenset(data["fillers"].split()) | PREPOSITIONS
    return Words(
        fillers=fillers,
        ignored=fillers | frozenset(data["descriptors"].split()),
        motifs=frozenset(data["motifs"].split()),
        spellings=spellings,
        misspelt=re.compile(rf"(?<![\w'-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w'-])"),
        groups={member: group for group, members in data["groups"].items() for member in members.split()},
        capitals={word.lower(): word for word in data["capitals"].split()},
    )


def readable_title(description: str) -> str:
    """A shop's description in capitals as a line of prose.

    >>> readable_title("SET/6 RED SPOTTY  PAPER CUPS, ")
    'Set of 6 red spotty paper cups'
    >>> readable_title("I LOVE LONDON MINI BACKPACK")
    'I love London mini backpack'
    """
    capitals = gift_shop_words().capitals
    line = " ".join(description.split()).lower().strip(" ,.;")
    line = re.sub(r"\b(?:set|s)\s?/\s?(\d+)\b", r"set of \1", line)
    line = re.sub(r"[a-z0-9]+", lambda word: capitals.get(word[0], word[0]), line)
    line = re.sub(r'"[a-z]"', lambda letter: letter[0].upper(), line)
    return line[:1].upper() + line[1:]


def derive_categories(titles: Sequence[str], minimum_items: int = 8) -> tuple[SmallIntegers, tuple[str, ...]]:
    """Sort items into categories by the head noun of their titles.

    English puts the type last ("pink heart *photo frame*") and details after a preposition ("*box* with
    ribbon"); this kind of shop also puts the type first ("*wrap* daisy carpet"). So the type of a title is
    the last word before any preposition that is neither a filler (colour, size, count), a descriptor
    (material, style, occasion) nor a motif (heart, rose, owl), and that stands first or last among such
    words in at least ``minimum_items`` titles. Without one, the words after the preposition are searched,
    then the motifs, by the same rule. Rare types listed together in the word file count as one. A word
    before the type joins the name where enough titles share it ("lunch bag"), and so does the word before
    that where nearly all of those share it ("hot water bottle"); the others keep the bare name.

    Args:
        titles: Titles in English, [items].
        minimum_items: The fewest items a category may hold; titles that find none are "other".

    Returns:
        The category of every item, int32 [items], and the names, sorted, "other" last where it is needed.

    Raises:
        ValueError: If ``minimum_items`` is below 1.
    """
    if minimum_items < 1:
        raise ValueError(f"minimum_items: {minimum_items}; a category needs at least 1 item")
    words = gift_shop_words()
    parsed = [_parse(title, words) for title in titles]
    heads = _settle([_candidates(title, words, motif=False) for title in parsed], minimum_items)
    untyped = [index for index, head in enumerate(heads) if head is None]
    known = frozenset(head.label for head in heads if head)
    motifs = _settle([_candidates(parsed[index], words, motif=True) for index in untyped], minimum_items, known)
    for index, head in zip(untyped, motifs, strict=True):
        heads[index] = head

    labels = _names(heads, minimum_items)
    names = sorted(set(labels) - {OTHER}) + [OTHER] * (OTHER in labels)
    positions = {name: position for position, name in enumerate(names)}
    return np.array([positions[label] for label in labels], dtype=np.int32), tuple(names)


def _parse(title: str, words: Words) -> tuple[list[str], list[str]]:
    """The words of a title before the first preposition and those from it on, in small letters, singular."""
    line = words.misspelt.sub(lambda written: words.spellings[written[0]], title.lower().replace("'s ", " "))
    tokens = [_singular(token) for token in re.findall(r"[a-z0-9]+(?:['-][a-z0-9]+)*", line)]
    cut = next((place for place, token in enumerate(tokens) if place and token in PREPOSITIONS), len(tokens))
    return tokens[:cut], tokens[cut:]


def _singular(word: str) -> str:
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is", "as")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-2] if word.endswith(("sses", "xes", "ches", "shes")) else word[:-1]


def _candidates(parsed: tuple[list[str], list[str]], words: Words, motif: bool) -> tuple[list[Head], list[Head]]:
    """What a title may sell, best first: the heads before its preposition, last first, and those after it."""
    core, rest = parsed
    return list(_heads(core, words, motif))[::-1], list(_heads(rest, words, motif))


def _heads(tokens: list[str], words: Words, motif: bool) -> Iterator[Head]:
    for place, token in enumerate(tokens):
        if (token in words.motifs) != motif or token in words.ignored or len(token) < 3 or not token[0].isalpha():
            continue
        if token in words.groups:
            yield Head(words.groups[token], ())
            continue
        before: list[str] = []
        for word in tokens[max(place - 2, 0) : place][::-1]:
            if word in words.fillers or not word[0].isalpha() or len(word) < 3:
                break
            before.append(word)
        yield Head(token, tuple(before))


def _settle(
    candidates: list[tuple[list[Head], list[Head]]], minimum_items: int, known: frozenset[str] = frozenset()
) -> list[Head | None]:
    """Every title's first head that is known or that enough titles settle on; None where there is none.

    The rarest label is given up first, so that its titles may strengthen their next choice.
    """
    votes: Counter[str] = Counter()
    for core, _ in candidates:
        votes.update({head.label for head in (core[:1] + core[-1:])})
    supported = {label for label, count in votes.items() if count >= minimum_items} - known
    while True:
        settled = [
            next((head for head in core + rest if head.label in known or head.label in supported), None)
            for core, rest in candidates
        ]
        counts = Counter(head.label for head in settled if head)
        rarest = min(supported, key=lambda label: (counts[label], label), default=None)
        if rarest is None or counts[rarest] >= minimum_items:
            return settled
        supported.remove(rarest)


def _names(heads: list[Head | None], minimum_items: int) -> list[str]:
    """The category name of every title, from its head and the words before it that enough titles share.

    Where the titles left with the bare head would be too few, they are "other" if they are an exception (a
    napkin ring among key rings), and otherwise the rarest longer name is given up to keep them company.
    """
    totals = Counter(head.label for head in heads if head)
    pairs = Counter((head.label, head.before[0]) for head in heads if head and head.before)
    named = {pair for pair, count in pairs.items() if count >= minimum_items}
    dropped = set()
    for label, total in totals.items():
        mine = sorted((pair for pair in named if pair[0] == label), key=lambda pair: (pairs[pair], pair))
        bare = total - sum(pairs[pair] for pair in mine)
        if mine and bare < min(minimum_items, EXCEPTION * total):
            dropped.add(label)
            continue
        while mine and 0 < bare < minimum_items:
            bare += pairs[mine[0]]
            named.remove(mine.pop(0))

    triples = Counter((head.label, head.before[0], head.before[1]) for head in heads if head and len(head.before) > 1)
    longer = {(label, near): far for (label, near, far), n in triples.items() if n > NEARLY_ALL * pairs[label, near]}
    labels = []
    for head in heads:
        pair = (head.label, head.before[0]) if head and head.before else None
        if head and pair in named:
            labels.append(" ".join(word for word in (longer.get(pair), pair[1], pair[0]) if word))
        else:
            labels.append(head.label if head and head.label not in dropped else OTHER)
    return labels
