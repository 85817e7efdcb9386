"""Cheap English for the names of things: a or an, one or many, is or are.

Rules with short lists of exceptions, good enough for what a shop sells. Knows no taxonomy and draws nothing.
"""

import re
from functools import cache
from typing import Final, Literal

Number = Literal["one", "many", "mass"]

_MASS_WORDS: Final = """
    balm base blend brew bunting butter candy chocolate cocoa coffee cream d3 detergent filling food foundation
    formula furniture gel ink kibble litter lotion luggage milk mix nightwear oil paint paper parfum perfume polish
    powder relief repellent sanitiser sealant shampoo spray stripping sunscreen tape tea underwear wash
    """
_MASS: Final = frozenset(_MASS_WORDS.split())
_MASS_NAMES: Final = frozenset({"gift wrap"})
_SAID_AS_AN: Final = re.compile(r"(?:[aeio]|u(?!ni(?!n)|se|sb|v\b|v-|p[ -]?f\b)|hour|honest|heir)", re.IGNORECASE)
_SAID_AS_A: Final = re.compile(r"(?:eu|ew|one\b|once\b|u\b)", re.IGNORECASE)
_SPELLED: Final = re.compile(r"[A-Z](?:[A-Z]*\b|[A-Z]+)")
_SPOKEN: Final = frozenset({"STEM", "HEPA"})
_LETTERS_AS_AN: Final = "AEFHILMNORSX"
_ENDINGS: Final = (("shelf", "shelves"), ("scarf", "scarves"), ("knife", "knives"), ("mouse", "mice"))


@cache
def number_of(name: str) -> Number:
    """Whether a thing's name speaks of one, of many, or of a stuff that is not counted."""
    head = name.lower().split()[-1]
    if head in _MASS or name.lower() in _MASS_NAMES:
        return "mass"
    return "many" if head.endswith("s") and not head.endswith(("ss", "us", "is")) else "one"


@cache
def article(words: str) -> str:
    """``a`` or ``an``, as the first of the words is spoken."""
    first = words.split()[0]
    spelled = _SPELLED.match(first)
    if spelled and spelled.group() not in _SPOKEN:
        return "an" if first[0] in _LETTERS_AS_AN else "a"
    return "an" if _SAID_AS_AN.match(first) and not _SAID_AS_A.match(first) else "a"


def one_of(name: str, adjectives: str = "") -> str:
    """A thing as one buys it: ``an umbrella``, ``waterproof rain boots``, ``olive oil``."""
    words = f"{adjectives} {name}" if adjectives else name
    return f"{article(words)} {words}" if number_of(name) == "one" else words


@cache
def several(name: str) -> str:
    """A thing as a shop stocks it: ``umbrellas``, ``rain boots``, ``olive oil``."""
    if number_of(name) != "one":
        return name
    if re.search(r"(?:s|x|ch|sh)$", name):
        return f"{name}es"
    if re.search(r"[^aeiou]y$", name):
        return f"{name[:-1]}ies"
    for ending, plural in _ENDINGS:
        if name.endswith(ending):
            return name.removesuffix(ending) + plural
    return f"{name}s"


def sentence(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]
