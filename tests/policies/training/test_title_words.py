"""What a title says of its item."""

import numpy as np
import pytest

from policies.training.title_words import has_digit, read_title
from simulator.taxonomy import load_taxonomy
from simulator.titles import compose_titles

TAXONOMY = load_taxonomy()


def test_titles_are_read_back() -> None:
    """What is read stands in the title, among the category's words, and a modifier or figure is nearly always there."""
    category = np.arange(780) % len(TAXONOMY.categories)
    for title, index in zip(compose_titles(TAXONOMY, category, 2), category, strict=True):
        entry = TAXONOMY.categories[index]
        words = read_title(title, entry)
        assert words.name in entry.words
        assert words.name.lower() in title.lower()
        for found, known in ((words.modifiers, entry.modifiers), (words.materials, entry.materials)):
            assert set(found) <= set(known)
            assert all(word.lower() in title.lower() and not has_digit(word) for word in found)
        assert words.modifiers or any(word.lower() in title.lower() for word in entry.modifiers if has_digit(word))


@pytest.mark.parametrize(
    ("title", "name", "materials", "whom"),
    [
        ("Vegan leather sandals by Nobody for women", "sandals", ("vegan leather",), "women"),
        ("Nobody sandals, flat, leather, in black", "sandals", ("leather",), ""),
        ("Something else altogether", "sandals", (), ""),
    ],
)
def test_longer_words_hide_shorter_ones(title: str, name: str, materials: tuple[str, ...], whom: str) -> None:
    """Vegan leather is no leather, and what a title does not say is not read."""
    sandals = next(entry for entry in TAXONOMY.categories if entry.name == "sandals")
    words = read_title(title, sandals)
    assert (words.name, words.materials, words.whom) == (name, materials, whom)
