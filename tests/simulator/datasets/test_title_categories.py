import doctest
from itertools import combinations
from random import Random

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from simulator.datasets import title_categories
from simulator.datasets.title_categories import OTHER, WORDS_FILE, derive_categories, readable_title

TITLES = [
    *(f"{colour} hanging heart t-light holder" for colour in ("White", "Red", "Pink")),
    "Vintage glass tealight holder w bird",
    *(f"Lunch bag {motif}" for motif in ("red retrospot", "woodland", "cars blue")),
    *(f"{motif} gift bag large" for motif in ("Red spot", "Birthday", "Skulls")),
    "Posy candy bag",
    "Jumbo bag owls",
    "Strawberry shopper bag",
    *(f"{cover} hot water bottle" for cover in ("Chocolate", "Love", "Knitted Union flag")),
    "Wicker heart small",
    "Heart of wicker large",
    "Painted metal heart",
    "Sombrero",
]


def sorted_titles(titles: list[str], minimum_items: int = 3) -> dict[str, str]:
    """The category name of every title."""
    category, names = derive_categories(titles, minimum_items)
    return {title: names[index] for title, index in zip(titles, category, strict=True)}


def test_titles_are_sorted_by_what_they_sell() -> None:
    """Colours, motifs and what follows a preposition must not decide; shared words must lengthen the name."""
    found = sorted_titles(TITLES)
    assert found["White hanging heart t-light holder"] == "t-light holder"
    assert found["Vintage glass tealight holder w bird"] == "t-light holder"
    assert found["Lunch bag cars blue"] == "lunch bag"
    assert found["Skulls gift bag large"] == "gift bag"
    assert found["Jumbo bag owls"] == "bag"
    assert found["Love hot water bottle"] == "hot water bottle"
    assert found["Heart of wicker large"] == "heart"
    assert found["Sombrero"] == OTHER


def test_an_exception_does_not_undo_a_longer_name() -> None:
    """One napkin ring among many key rings must be "other", not a reason to call them all rings."""
    found = sorted_titles([*(f'Letter "{letter}" key ring' for letter in "ABCDEFGH"), "Napkin ring"])
    assert found['Letter "A" key ring'] == "key ring"
    assert found["Napkin ring"] == OTHER


words = st.sampled_from(
    [
        "pink",
        "set of 6",
        "glass",
        "heart",
        "owl",
        "bag",
        "lunch",
        "mug",
        "coffee",
        "ring",
        "key",
        "with",
        "trowel",
        "other",
        "ribbon",
        "7",
        "t-light",
        "holder",
    ]
)


@given(st.lists(st.lists(words, max_size=5).map(" ".join), max_size=40), st.integers(1, 6), st.randoms())
def test_categories_are_large_enough_and_do_not_depend_on_order(
    titles: list[str], minimum_items: int, random: Random
) -> None:
    """Every category but "other" must hold enough items, and the order of the titles must not matter."""
    category, names = derive_categories(titles, minimum_items)
    sizes = np.bincount(category, minlength=len(names))
    assert category.dtype == np.int32
    assert len(category) == len(titles)
    assert np.all(sizes >= [1 if name == OTHER else minimum_items for name in names])
    named = [name for name in names if name != OTHER]
    assert list(names) == sorted(named) + [OTHER] * (OTHER in names)

    shuffled = random.sample(range(len(titles)), len(titles))
    again, names_again = derive_categories([titles[index] for index in shuffled], minimum_items)
    assert names_again == names
    assert np.array_equal(again, category[shuffled])


def test_minimum_below_one_is_an_error() -> None:
    """A category of no items is not a category."""
    with pytest.raises(ValueError, match="minimum_items: 0"):
        derive_categories(["Mug"], 0)


@given(st.text())
def test_titles_are_one_tidy_line(description: str) -> None:
    """A title must hold no control of layout and no space at its ends, whatever the description."""
    title = readable_title(description)
    assert title == " ".join(title.split())


def test_documented_examples_hold() -> None:
    """The examples in the docstrings must be true."""
    assert doctest.testmod(title_categories).failed == 0


def test_word_lists_do_not_contradict_each_other() -> None:
    """A word must stand in one list only, or its meaning would depend on the order of the checks."""
    data = yaml.safe_load(WORDS_FILE.read_text(encoding="utf-8"))
    lists = {name: data[name].split() for name in ("fillers", "descriptors", "motifs")}
    members = [word for group in data["groups"].values() for word in group.split()]
    for name, listed in (*lists.items(), ("groups", members)):
        assert len(listed) == len(set(listed)), name
    for first, second in combinations(lists, 2):
        assert not set(lists[first]) & set(lists[second])
    assert not set(members) & {*lists["fillers"], *lists["descriptors"]}
