"""What there is to show: items with titles and prices that anyone can read, and a quality and style that nobody can."""

from dataclasses import dataclass

import numpy as np

from simulator.batches import Floats, Ints, Ints32, ObservedCatalog, read_only
from simulator.parameters import CatalogParameters
from simulator.streams import Stream
from simulator.taxonomy import Taxonomy
from simulator.titles import compose_titles

PRICE_FOR_QUALITY = 0.3
"""Share of an item's price deviation (in sds) that its quality explains: better things cost somewhat more."""


@dataclass(frozen=True)
class Catalog:
    """The items of a world.

    Attributes:
        observed: what the shop's item table says, the part that policies see.
        quality: latent appeal that all users share, float64 [items].
        style: latent taste position within the category, float64 [items, dimensions], unit variance of a dot product.
        price_level: log-price in sds from the category's median, float64 [items].
        repeat: how soon a category is bought again, 0 (once in years) to 1 (all the time), float64 [categories].
    """

    observed: ObservedCatalog
    quality: Floats
    style: Floats
    price_level: Floats
    repeat: Floats

    @property
    def items(self) -> int:
        """Number of items."""
        return self.observed.items


def draw_categories(taxonomy: Taxonomy, items: int, skew: float, seed: int) -> Ints32:
    """Category of each item, int32 [items]: Zipf shares over categories in a drawn order.

    The first items cover every category once (as far as they reach), so that no category is empty in a
    catalogue of at least as many items as categories.
    """
    n = len(taxonomy.categories)
    order = np.argsort(Stream(seed, "catalog/category-rank").uniform(np.arange(n)), kind="stable")
    share = np.empty(n)
    share[order] = (1.0 + np.arange(n)) ** -skew
    cumulative = np.cumsum(share / share.sum())
    drawn = np.searchsorted(cumulative, Stream(seed, "catalog/category").uniform(np.arange(items)))
    category = np.minimum(drawn, n - 1).astype(np.int32)
    first = min(n, items)
    category[:first] = np.arange(first, dtype=np.int32)
    return category


def generate_catalog(
    taxonomy: Taxonomy, items: int, parameters: CatalogParameters, style_dimensions: int, seed: int
) -> Catalog:
    """Draw a catalogue. Item i depends on (seed, i) alone, so a longer catalogue begins with the shorter one."""
    ids = np.arange(items)
    category = draw_categories(taxonomy, items, parameters.category_skew, seed)
    quality = Stream(seed, "catalog/quality").normal(ids)
    noise = Stream(seed, "catalog/price").normal(ids)
    level = PRICE_FOR_QUALITY * quality + np.sqrt(1.0 - PRICE_FOR_QUALITY**2) * noise
    price = np.round(taxonomy.price_median[category] * np.exp(taxonomy.price_spread[category] * level), 2)
    listed: Ints = -1 - Stream(seed, "catalog/listed").integers(parameters.max_age_days, ids)
    style = Stream(seed, "catalog/style").normal(ids[:, None], np.arange(style_dimensions)[None, :])
    observed = ObservedCatalog(
        titles=tuple(compose_titles(taxonomy, category, seed)),
        category=read_only(category),
        category_names=tuple(c.words[0] for c in taxonomy.categories),
        department=read_only(taxonomy.department),
        department_names=taxonomy.department_titles,
        price=read_only(np.maximum(price, 0.01)),
        listed=read_only(listed),
    )
    return Catalog(
        observed, parameters.quality_spread * quality, style / style_dimensions**0.25, level, taxonomy.repeat
    )
