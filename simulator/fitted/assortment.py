"""What a shop's customers take home for the first time: categories by customer and month, and items by popularity.

An item's chance is that of its category, times its share of what the category sells lately. A category's chance is the
customer's own, which customers have in common to a degree that is fitted, and moves with the month of the year. Knows
neither when customers come nor how much they take.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import gammaincinv, gammaln

from simulator.streams import Stream

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
SmallIntegers = npt.NDArray[np.int32]

HALF_LIVES: Final = (7.0, 14.0, 28.0, 56.0, 112.0, 365.0)
"""Days in which a sale's word on what is popular loses half of its weight: the values that are tried."""
MONTHS: Final = 12
_MONTH_PRIOR: Final = 500.0
"""Purchases that pull a month's shares of categories to those of all months."""
_UNSEEN: Final = 0.5
"""Sales that every item is given on top of its own when half-lives are compared, so that none is impossible."""
_TASTE: Final = 0


@dataclass(frozen=True)
class Assortment:
    """What is bought.

    Attributes:
        category: of each item, int32 [items].
        half_life: days.
        popularity: an item's recent share within its category, [items]; sums to 1 in every category that sells.
        share: of each category in all purchases lately, [categories].
        by_month: the same in each month of the year, January first, [12, categories]; ``share`` in months not seen.
        likeness: concentration of customers' own shares around ``share``: the larger, the more alike they are.
    """

    category: SmallIntegers
    half_life: float
    popularity: Floats
    share: Floats
    by_month: Floats
    likeness: float

    def appeal(self, month: int) -> Floats:
        """Weight of each item at a month (January 0), before a customer's own taste, [items]."""
        season = np.divide(self.by_month[month], self.share, out=np.zeros_like(self.share), where=self.share > 0)
        return self.popularity * season[self.category]

    def tastes(self, bought: Floats, customer: Integers, stream: Stream) -> Floats:
        """Each customer's own shares of categories, drawn given what was bought, [customers, categories].

        Dirichlet draws as normalised gammas.

        Args:
            bought: purchases of each category so far, [customers, categories].
            customer: numbers that the draws are keyed by, [customers].
            stream: of the draws.
        """
        shape = self.likeness * self.share[None, :] + bought
        draw = stream.uniform(_TASTE, customer[:, None], np.arange(len(self.share))[None, :])
        gamma = np.where(shape > 0, gammaincinv(np.maximum(shape, 1e-12), draw), 0.0)
        total = gamma.sum(axis=1, keepdims=True)
        return np.where(total > 0, gamma / np.where(total > 0, total, 1.0), self.share[None, :])


def fit_assortment(
    item: SmallIntegers,
    user: Integers,
    day: Integers,
    month: Integers,
    category: SmallIntegers,
    categories: int,
    days: int,
    held_out_days: int,
) -> Assortment:
    """Fit what is bought to purchases.

    Args:
        item: of each purchase that was the customer's first of the item, [purchases].
        user: likewise.
        day: likewise, from 0.
        month: of each purchase, January 0, [purchases].
        category: of each item, int32 [items].
        categories: how many there are.
        days: days fitted to.
        held_out_days: last days, on which half-lives are compared.

    Raises:
        ValueError: there is no purchase before the held-out days, or none in them.
    """
    half_life = best_half_life(item, day, len(category), days, held_out_days)
    weight = 0.5 ** ((days - day) / half_life)
    sold = np.bincount(item, weight, len(category))
    by_category = np.bincount(category, sold, categories)
    popularity = np.divide(sold, by_category[category], out=np.zeros_like(sold), where=by_category[category] > 0)
    share = by_category / by_category.sum()
    plain = np.bincount(category[item], minlength=categories) / len(item)
    of_month = np.zeros((MONTHS, categories))
    np.add.at(of_month, (month, category[item]), 1.0)
    seen = of_month.sum(axis=1, keepdims=True)
    by_month = np.where(seen > 0, (of_month + _MONTH_PRIOR * plain) / (seen + _MONTH_PRIOR), share)
    by_month = np.where(share > 0, by_month, 0.0)
    by_month /= by_month.sum(axis=1, keepdims=True)
    return Assortment(category, half_life, popularity, share, by_month, _likeness(item, user, category, plain))


def best_half_life(item: SmallIntegers, day: Integers, items: int, days: int, held_out_days: int) -> float:
    """The half-life under which earlier sales foretell those of the last days best, by their mean log-probability.

    Raises:
        ValueError: there is no purchase before the held-out days, or none in them.
    """
    begin = days - held_out_days
    earlier, later = day < begin, day >= begin
    if not earlier.any() or not later.any():
        raise ValueError(f"assortment: no purchases before or after day {begin}; fit to a longer part of the log")
    scores = []
    for half_life in HALF_LIVES:
        sold = np.bincount(item[earlier], 0.5 ** ((begin - day[earlier]) / half_life), items) + _UNSEEN
        scores.append(float(np.log(sold / sold.sum())[item[later]].mean()))
    return HALF_LIVES[int(np.argmax(scores))]


def _likeness(item: SmallIntegers, user: Integers, category: SmallIntegers, share: Floats) -> float:
    """Concentration of greatest Dirichlet-multinomial likelihood of customers' purchases by category."""
    pair, count = np.unique(user * len(share) + category[item], return_counts=True)
    of_pair = share[pair % len(share)]
    _, total = np.unique(user, return_counts=True)

    def loss(logarithm: float) -> float:
        k = float(np.exp(logarithm))
        own = np.sum(gammaln(k * of_pair + count) - gammaln(k * of_pair))
        return -float(own + np.sum(gammaln(k) - gammaln(k + total)))

    return float(np.exp(minimize_scalar(loss, bounds=(-3.0, 9.0), method="bounded").x))
