"""What a title says of its item: the taxonomy's words that stand in it.

Reads one title against the words of its own category and claims nothing that the title does not say. Words with
digits (sizes, powers) are left out: they are no attributes that one talks of. Knows no user and no day.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Final

from simulator.taxonomy import Category

_PEOPLE_WORDS: Final = """
    adults athletes beginners boys commuters couples creators dad daughter families girls golfers grandparents her
    him juniors kids men mum newborns photographers runners smokers son students teachers teenagers teens toddlers
    twins women
    """
PEOPLE: Final = frozenset(_PEOPLE_WORDS.split()) | {
    "all ages",
    "best friends",
    "big kids",
    "boys and girls",
    "home cooks",
    "pet owners",
    "the whole family",
    "two people",
}
"""Of what a thing may be "for", whom it is for rather than what."""

FOR: Final = "for "


@dataclass(frozen=True)
class TitleWords:
    """What is said in a title, in the taxonomy's spelling.

    Attributes:
        name: what the thing is called there; the category's first name where none of its names stands in the title.
        modifiers: adjectives, in the taxonomy's order.
        materials: what it is made of or tastes of.
        whom: people it is said to be for, "" if none.
        purposes: what else it is said to be for.
    """

    name: str
    modifiers: tuple[str, ...]
    materials: tuple[str, ...]
    whom: str
    purposes: tuple[str, ...]


def read_title(title: str, category: Category) -> TitleWords:
    """The words of a category that stand in the title of one of its items.

    A longer word is looked for first and then taken out, so that "vegan leather" is no leather; the maker's name is
    taken out before anything else.
    """
    rest = title
    for maker in sorted(category.brands, key=len, reverse=True):
        _, rest = _take(rest, maker)
    groups = (category.details, category.words, category.modifiers, category.materials)
    found: list[set[str]] = [set() for _ in groups]
    wanted = [(word, group) for group, words in enumerate(groups) for word in words]
    for word, group in sorted(wanted, key=lambda pair: (pair[1] > 0, -len(pair[0]))):
        there, rest = _take(rest, word)
        if there:
            found[group].add(word)
    told = [tuple(word for word in words if word in seen) for words, seen in zip(groups, found, strict=True)]
    details, names, modifiers, materials = told
    purposes = [detail.removeprefix(FOR) for detail in details if detail.startswith(FOR)]
    purposes = [purpose for purpose in purposes if not has_digit(purpose)]
    return TitleWords(
        name=max(names, key=len, default=category.words[0]),
        modifiers=tuple(word for word in modifiers if not has_digit(word)),
        materials=tuple(word for word in materials if not has_digit(word)),
        whom=next((purpose for purpose in purposes if purpose in PEOPLE), ""),
        purposes=tuple(purpose for purpose in purposes if purpose not in PEOPLE),
    )


def has_digit(text: str) -> bool:
    """Whether a figure stands in the text."""
    return any(character.isdigit() for character in text)


def _take(text: str, words: str) -> tuple[bool, str]:
    """Whether words stand in a text as whole words, and the text without them."""
    found = _whole(words).search(text)
    return (True, f"{text[: found.start()]}|{text[found.end() :]}") if found else (False, text)


@cache
def _whole(words: str) -> re.Pattern[str]:
    """A pattern of its own for every word: more of them than ``re`` keeps compiled."""
    return re.compile(rf"(?<![\w'-]){re.escape(words)}(?![\w'-])", re.IGNORECASE)
