import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.taxonomy import load_taxonomy
from simulator.titles import compose_titles

SHOP = load_taxonomy()
COUNT = len(SHOP.categories)
CATEGORY = (np.arange(20_000) * 7919) % COUNT


@given(st.integers(0, 2**32), st.lists(st.integers(0, COUNT - 1), min_size=1, max_size=30), st.data())
@settings(max_examples=25, deadline=None)
def test_title_depends_on_its_own_item_alone(seed: int, category: list[int], data: st.DataObject) -> None:
    """The title of item i changes neither with the number of items nor with the others' categories."""
    item = data.draw(st.integers(0, len(category) - 1))
    others = data.draw(st.lists(st.integers(0, COUNT - 1), min_size=item, max_size=item))
    alone = compose_titles(SHOP, [*others, category[item]], seed)
    assert compose_titles(SHOP, category, seed)[item] == alone[item]


def test_no_title_twice() -> None:
    """No two of 20,000 items of all categories share title and category."""
    titles = compose_titles(SHOP, CATEGORY, 7)
    assert len(set(zip(CATEGORY.tolist(), titles, strict=True))) == CATEGORY.size


@given(st.integers(0, COUNT - 1), st.integers(0, 2**32))
@settings(max_examples=5, deadline=None)
def test_one_category_is_used_up_without_repeats(category: int, seed: int) -> None:
    """Even with 20,000 items in one category, which each has words for, no title occurs twice."""
    assert len(set(compose_titles(SHOP, np.full(20_000, category), seed))) == 20_000


def test_length() -> None:
    """Titles are as long as a marketplace's: nearly all of 6 to 13 words, about 9 on average."""
    words = np.array([len(title.split()) for title in compose_titles(SHOP, CATEGORY, 3)])
    assert ((words >= 6) & (words <= 13)).mean() > 0.95
    assert 8 < words.mean() < 12
    assert words.min() >= 4


def test_title_is_made_of_its_categorys_words() -> None:
    """Every title names the thing, a maker, and at least one modifier of its category, and reads cleanly."""
    for index, title in zip(CATEGORY[:3000], compose_titles(SHOP, CATEGORY[:3000], 11), strict=True):
        category, text = SHOP.categories[index], title.lower()
        assert any(words.lower() in text for words in category.words), title
        assert any(brand in title for brand in category.brands), title
        assert any(modifier.lower() in text for modifier in category.modifiers), title
        assert any(detail.lower() in text for detail in category.details), title
        assert title[0] == title[0].upper()
        assert "  " not in title
        assert ", ," not in title
        assert " ," not in title


def test_every_choice_is_used_evenly() -> None:
    """Over many items of one category each maker is met equally often (chi-square, 1 in 1,000 by chance)."""
    brands = SHOP.categories[0].brands
    titles = compose_titles(SHOP, np.zeros(6000, dtype=int), 5)
    seen = np.array([sum(brand in title for title in titles) for brand in brands])
    expected = 6000 / len(brands)
    assert ((seen - expected) ** 2 / expected).sum() < 31.3  # chi-square, 11 degrees of freedom


def test_purposes_follow_the_taxonomy() -> None:
    """Rain is named on umbrellas now and then, and never on a category that rain does not sell."""
    rain = SHOP.weather[:, 0]
    titles = compose_titles(SHOP, CATEGORY, 2)
    named = np.array(["rainy days" in title for title in titles])
    assert not named[rain[CATEGORY] < 0.5].any()
    assert 0.02 < named[rain[CATEGORY] >= 0.5].mean() < 0.3


def test_seed_changes_titles() -> None:
    """Another seed gives another shop."""
    first, second = compose_titles(SHOP, CATEGORY[:500], 1), compose_titles(SHOP, CATEGORY[:500], 2)
    assert np.mean([a == b for a, b in zip(first, second, strict=True)]) < 0.01


def test_category_outside_the_taxonomy() -> None:
    """An index that is no category is refused by value; no items give no titles."""
    with pytest.raises(ValueError, match=rf"category: {COUNT} \(must be 0"):
        compose_titles(SHOP, [0, COUNT], 1)
    assert compose_titles(SHOP, [], 1) == []
