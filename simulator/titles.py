"""Titles of items, composed from the words of their categories.

A title is a maker, one or two modifiers, perhaps a material, the core words, a detail (size, pack, colour or
for whom) and now and then what it is for (weather, season, occasion). Knows nothing of prices, quality or who
will read it: the title of item ``i`` depends on the seed, ``i`` and the item's category alone.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Final

import numpy as np
import numpy.typing as npt

from simulator.streams import Stream
from simulator.taxonomy import Category, Taxonomy

Integers = npt.NDArray[np.int64]

PURPOSE_SHARE: Final = 0.3
"""Share of titles naming a purpose, where the category has one and the detail does not say for whom."""
PURPOSE_THRESHOLD: Final = 0.5
"""The weight of a weather signal or occasion from which a title may name it."""

_ROUNDS: Final = 4
_ORDERS: Final = 4

_WEATHER_WORDS: Final = {
    "rain": "for rainy days",
    "snow": "for snowy days",
    "heat": "for hot days",
    "cold": "for cold days",
    "wind": "for windy days",
    "sun": "for sunny days",
}

# The shopping festivals are missing on purpose: they sell a thing, they do not say what it is for.
_OCCASION_WORDS: Final = {
    "new_year": "for New Year",
    "lunar_new_year": "for Lunar New Year",
    "valentines_day": "for Valentine's Day",
    "womens_day": "for Women's Day",
    "easter": "for Easter",
    "mothers_day": "for Mother's Day",
    "fathers_day": "for Father's Day",
    "graduation": "for graduation",
    "independence_day": "for Independence Day",
    "summer_holidays": "for summer holidays",
    "back_to_school": "for back to school",
    "mid_autumn": "for Mid-Autumn Festival",
    "halloween": "for Halloween",
    "diwali": "for Diwali",
    "thanksgiving": "for Thanksgiving",
    "hanukkah": "for Hanukkah",
    "christmas": "for Christmas",
}


def compose_titles(taxonomy: Taxonomy, category: npt.ArrayLike, seed: int) -> list[str]:
    """A natural-language title for every item.

    Each category has a finite space of titles. An item's place in it is its index, shuffled by a permutation
    of that space, so two items of one category share their words only when their indices differ by a multiple
    of the size of the space (20,000 or more for the categories shipped here).

    Args:
        taxonomy: the words.
        category: category of each item [items], indices into ``taxonomy.categories``.
        seed: the run's seed.

    Returns:
        One title per item, mostly of 6 to 13 words.

    Raises:
        ValueError: a category index lies outside the taxonomy.
    """
    category = np.asarray(category, dtype=np.int64)
    spaces = [_TitleSpace(entry) for entry in taxonomy.categories]
    if category.size and not 0 <= category.min() <= category.max() < len(spaces):
        wrong = category[(category < 0) | (category >= len(spaces))][0]
        raise ValueError(f"category: {wrong} (must be 0..{len(spaces) - 1}, an index into the taxonomy)")

    items = np.arange(category.size)
    places = _shuffle(items, np.array([space.radices for space in spaces])[category], category, seed)
    purpose = Stream(seed, "titles.purpose").uniform(items)
    return [
        spaces[c].title(place, draw)
        for c, place, draw in zip(category.tolist(), places.tolist(), purpose.tolist(), strict=True)
    ]


def _shuffle(items: Integers, radices: Integers, category: Integers, seed: int) -> Integers:
    """Each item's choices [items, parts]: its index, permuted within its category's space, in mixed radix.

    The permutation is an alternating Feistel network on pairs (a, b), a < A and b < B with A * B the size of
    the space: adding a function of one half to the other, modulo, can be undone, so no two places collide
    (Black and Rogaway 2002, "Ciphers with arbitrary finite domains").
    """
    half = radices.shape[1] // 2
    left_size, right_size = radices[:, :half].prod(axis=1), radices[:, half:].prod(axis=1)
    left, right = items % left_size, items // left_size % right_size
    stream = Stream(seed, "titles.words")
    for turn in range(_ROUNDS):
        left = (left + (stream.uniform(category, turn, 0, right) * left_size).astype(np.int64)) % left_size
        right = (right + (stream.uniform(category, turn, 1, left) * right_size).astype(np.int64)) % right_size

    choices = np.empty_like(radices)
    for columns, rest in ((range(half), left), (range(half, radices.shape[1]), right)):
        for column in columns:
            rest, choices[:, column] = np.divmod(rest, radices[:, column])
    return choices


@dataclass(frozen=True)
class _TitleSpace:
    """All the titles of one category: the lists from which each part of a title is chosen."""

    category: Category

    @cached_property
    def modifiers(self) -> list[tuple[str, ...]]:
        """Single modifiers, and pairs in the order in which the taxonomy lists them."""
        words = self.category.modifiers
        return [*((word,) for word in words), *combinations(words, 2)]

    @cached_property
    def materials(self) -> tuple[str, ...]:
        """The materials, and none."""
        return (*self.category.materials, "")

    @cached_property
    def purposes(self) -> list[tuple[float, str]]:
        """What the thing is for, with cumulated probabilities within the share of titles that say it."""
        category = self.category
        found = [
            (weight, phrases[key])
            for weights, phrases in (
                (category.weather, _WEATHER_WORDS),
                (category.occasions, _OCCASION_WORDS),
            )
            for key, weight in weights.items()
            if weight >= PURPOSE_THRESHOLD and key in phrases
        ]
        found += [(PURPOSE_THRESHOLD, f"for {season}") for season in category.seasons]
        total = sum(weight for weight, _ in found)
        bounds = np.cumsum([PURPOSE_SHARE * weight / total for weight, _ in found])
        return [(float(bound), phrase) for bound, (_, phrase) in zip(bounds, found, strict=True)]

    @cached_property
    def radices(self) -> tuple[int, ...]:
        """How many choices each part of a title has, in the order ``title`` reads them."""
        category = self.category
        return (
            _ORDERS,
            len(self.modifiers),
            len(self.materials),
            len(category.brands),
            len(category.words),
            len(category.details),
        )

    def title(self, choices: list[int], draw: float) -> str:
        """The title at a place of the space; ``draw`` in (0, 1) decides which purpose is named, if any."""
        order, modifier, material, brand, core, detail = choices
        category = self.category
        adjectives = self.modifiers[modifier]
        stuff = self.materials[material]
        name, maker, end = category.words[core], category.brands[brand], category.details[detail]
        described = " ".join(filter(None, (*adjectives, stuff, name)))
        listed = ", ".join(filter(None, (*adjectives, stuff)))
        text = (
            f"{maker} {described}{_joined(end)}",
            f"{described} by {maker}{_joined(end)}",
            f"{maker} {name}, {listed}, {end}",
            f"{name} by {maker}, {listed}, {end}",
        )[order]
        purpose = next((phrase for bound, phrase in self.purposes if draw < bound), "")
        if end.startswith("for "):  # "for kids for Easter" reads badly: whom it is for is enough
            purpose = ""
        title = f"{text} {purpose}" if purpose else text
        return title[0].upper() + title[1:]


def _joined(phrase: str) -> str:
    """A closing phrase with what joins it to the words before: "in navy" needs no comma, "size M" does."""
    return f" {phrase}" if phrase.split(" ", 1)[0] in {"for", "in", "with"} else f", {phrase}"
