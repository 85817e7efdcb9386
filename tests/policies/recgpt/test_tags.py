"""Tags are read off titles, and texts are read as tags."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from policies.recgpt.tags import TagVocabulary
from policies.thoughts import NO_TAG
from simulator.batches import ObservedCatalog
from simulator.catalog import generate_catalog
from simulator.parameters import CatalogParameters
from simulator.taxonomy import load_taxonomy


def catalog_of(titles: list[str], category: list[int], names: list[str]) -> ObservedCatalog:
    """A catalogue of titles."""
    n = len(titles)
    return ObservedCatalog(
        titles=tuple(titles),
        category=np.array(category, np.int32),
        category_names=tuple(names),
        department=np.zeros(len(names), np.int32),
        department_names=("all",),
        price=np.ones(n),
        listed=np.zeros(n, np.int64),
    )


BOOTS = catalog_of(
    [
        "Acme waterproof rain boots in navy",
        "Acme waterproof wellies in navy",
        "Sturdy rain boots by Acme, waterproof",
        "Acme cosy tea",
    ],
    [0, 0, 0, 1],
    ["rain boots", "tea"],
)


def test_modifiers_are_words_that_titles_use_beside_the_name() -> None:
    """A tag is a modifier with a category's name; makers and other names of the thing are no modifiers."""
    found = TagVocabulary.of(BOOTS, 12)
    assert found.texts[:2] == ("rain boots", "tea")
    assert "waterproof rain boots" in found.texts
    assert "cosy tea" in found.texts
    assert not any("acme" in text.lower() for text in found.texts)
    assert "wellies rain boots" not in found.texts


def test_an_item_carries_a_tag_of_its_category() -> None:
    """The tag of each item is of the item's category, and says a word of its title where it has one."""
    found = TagVocabulary.of(BOOTS, 12)
    assert (found.category[found.of_item] == BOOTS.category).all()
    assert found.texts[found.of_item[0]] == "waterproof rain boots"


def test_a_free_hand_is_read_by_its_last_words() -> None:
    """A text that is no tag counts as the category whose name ends it, or as none."""
    found = TagVocabulary.of(BOOTS, 12)
    assert found.parse("Very shiny  RAIN boots") == found.core_tag[0]
    assert found.parse("waterproof rain boots") == found.texts.index("waterproof rain boots")
    assert found.parse("boots for rain") == NO_TAG
    assert found.parse("") == NO_TAG


@given(st.integers(0, 2**31))
def test_every_tag_of_a_generated_catalogue_reads_back(seed: int) -> None:
    """Every tag parses to itself, whatever the catalogue."""
    taxonomy = load_taxonomy()
    observed = generate_catalog(taxonomy, 300, CatalogParameters(), 4, seed % 1000).observed
    found = TagVocabulary.of(observed, 12)
    assert len(set(found.texts)) == len(found.texts)
    assert all(found.parse(text) == tag for tag, text in enumerate(found.texts))
    assert (found.category[found.core_tag] == np.arange(observed.categories)).all()
