import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from simulator.batches import ObservedCatalog
from simulator.catalog import PRICE_FOR_QUALITY, Catalog, draw_categories, generate_catalog
from simulator.parameters import CatalogParameters
from simulator.taxonomy import load_taxonomy

SHOP = load_taxonomy()
LEAVES = len(SHOP.categories)
LONG = generate_catalog(SHOP, 2000, CatalogParameters(), 4, 11)


def tables(catalog: Catalog) -> dict[str, np.ndarray]:
    """All columns that have one entry an item."""
    observed = {name: getattr(catalog.observed, name) for name in ("titles", "category", "price", "listed")}
    latent = {name: getattr(catalog, name) for name in ("quality", "style", "price_level")}
    return {name: np.asarray(values) for name, values in (observed | latent).items()}


@given(st.integers(1, 700))
@settings(max_examples=8, deadline=None)
def test_a_longer_catalogue_begins_with_the_shorter(items: int) -> None:
    """Item i depends on (seed, i) alone: more items leave the first ones as they are, to the bit."""
    short = generate_catalog(SHOP, items, CatalogParameters(), 4, 11)
    assert short.items == items
    for name, values in tables(short).items():
        assert np.array_equal(values, tables(LONG)[name][:items]), name


def test_every_category_has_an_item() -> None:
    """A catalogue of at least as many items as categories leaves no category empty."""
    assert (np.bincount(draw_categories(SHOP, LEAVES, 0.6, 5), minlength=LEAVES) == 1).all()
    assert (np.bincount(LONG.observed.category, minlength=LEAVES) >= 1).all()


def test_categories_follow_their_shares() -> None:
    """Without skew all categories are equally likely (chi-square); with skew a few hold much more than their part."""
    even = np.bincount(draw_categories(SHOP, 60_000, 0.0, 5)[LEAVES:], minlength=LEAVES)
    assert stats.chisquare(even).pvalue > 1e-4
    skewed = np.sort(np.bincount(draw_categories(SHOP, 60_000, 0.6, 5)[LEAVES:], minlength=LEAVES))[::-1]
    zipf = (1.0 + np.arange(LEAVES)) ** -0.6
    assert stats.chisquare(skewed, zipf / zipf.sum() * skewed.sum()).pvalue > 1e-4


def test_prices_are_those_of_their_category() -> None:
    """Log-prices have the category's median and spread, cents are whole, and better things cost somewhat more."""
    category, price = LONG.observed.category, LONG.observed.price
    level = np.log(price / SHOP.price_median[category]) / SHOP.price_spread[category]
    assert np.abs(level - LONG.price_level)[price > 2.0].max() < 0.02
    assert abs(LONG.price_level.mean()) < 0.08
    assert abs(LONG.price_level.std() - 1.0) < 0.06
    assert abs(np.corrcoef(LONG.price_level, LONG.quality)[0, 1] - PRICE_FOR_QUALITY) < 0.07
    assert np.allclose(price * 100, np.round(price * 100), atol=1e-6)
    assert price.min() >= 0.01


def test_quality_and_style_have_their_scale() -> None:
    """Quality has the spread asked for, and the taste match of two random items unit variance."""
    wide = generate_catalog(SHOP, 2000, CatalogParameters(quality_spread=2.5), 4, 11)
    assert np.allclose(wide.quality, 2.5 * LONG.quality)
    assert abs(LONG.quality.std() - 1.0) < 0.06
    match = (LONG.style[:1000] * LONG.style[1000:]).sum(axis=1)
    assert abs(match.var() - 1.0) < 0.2


@given(st.integers(1, 1000))
@settings(max_examples=10, deadline=None)
def test_items_are_listed_before_the_horizon(age: int) -> None:
    """Every item was listed before day 0, and none earlier than the oldest allowed."""
    listed = generate_catalog(SHOP, 50, CatalogParameters(max_age_days=age), 2, 3).observed.listed
    assert -age <= listed.min()
    assert listed.max() <= -1


def test_the_item_table_cannot_be_written() -> None:
    """The part of the catalogue that policies see is read-only and has one entry an item."""
    observed = LONG.observed
    for field in dataclasses.fields(ObservedCatalog):
        values = getattr(observed, field.name)
        if isinstance(values, np.ndarray):
            assert not values.flags.writeable
            with pytest.raises(ValueError, match="read-only"):
                values[0] = 0
    assert len(observed.titles) == len(observed.category) == len(observed.price) == observed.items == LONG.items
    assert len(observed.category_names) == len(observed.department) == observed.categories == LEAVES
