"""Cheap English for the names of things."""

import pytest

from policies.training.nouns import article, number_of, one_of, sentence, several
from simulator.taxonomy import load_taxonomy


@pytest.mark.parametrize(
    ("name", "one", "some"),
    [
        ("umbrella", "an umbrella", "umbrellas"),
        ("travel mug", "a travel mug", "travel mugs"),
        ("rain boots", "rain boots", "rain boots"),
        ("olive oil", "olive oil", "olive oil"),
        ("mattress", "a mattress", "mattresses"),
        ("scarf", "a scarf", "scarves"),
        ("wireless mouse", "a wireless mouse", "wireless mice"),
        ("cold and flu remedy", "a cold and flu remedy", "cold and flu remedies"),
    ],
)
def test_things_are_named_in_good_english(name: str, one: str, some: str) -> None:
    """One of a thing and several of it have the article and the ending that English asks for."""
    assert one_of(name) == one
    assert several(name) == some


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("UV-blocking sunglasses", "a"),
        ("RFID-blocking wallet", "an"),
        ("universal adapter", "a"),
        ("unlined jacket", "an"),
        ("one-piece swimsuit", "a"),
        ("LED-lit lantern", "an"),
        ("eucalyptus wood table", "a"),
        ("e-reader", "an"),
    ],
)
def test_articles_follow_the_sound(words: str, expected: str) -> None:
    """The article goes with how the first word is spoken."""
    assert article(words) == expected


def test_adjectives_carry_the_article() -> None:
    """The article belongs to the first adjective, and nothing uncounted gets one."""
    assert one_of("raincoat", "insulated") == "an insulated raincoat"
    assert one_of("olive oil", "organic") == "organic olive oil"
    assert sentence("e-readers sell.") == "E-readers sell."


def test_plurals_of_the_taxonomy_stay_plural() -> None:
    """What speaks of many is not made many again."""
    for entry in load_taxonomy().categories:
        for name in entry.words:
            assert (several(name) == name) == (number_of(name) != "one")
