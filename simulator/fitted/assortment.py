"""What a shop's customers take home for the first time: categories by customer and month, and items by popularity.

An item's chance is that of its category, times its share of what the category sells lately. A category's chance is the
customer's own, which customers have in common to a degree that is fitted, moves with the month of the year, and again
is another for each basket, to a degree that is fitted too. Knows neither when customers come nor how much they take.
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
_TASTE, _THEME = range(2)


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
        breadth: concentration of a basket's shares around its customer's: the smaller, the more of one kind it is.
    """

    category: SmallIntegers
    half_life: float
    popularity: Floats
    share: Floats
    by_month: Floats
    likeness: float
    breadth: float

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
        return _dirichlet(shape, draw, self.share[None, :])

    def themes(self, taste: Floats, customer: Integers, number: Integers, stream: Stream) -> Floats:
        """Each basket's own shares of categories, [baskets, categories].

        Args:
            taste: its customer's, [baskets, categories].
            customer: its customer's number, [baskets].
            number: its own, [baskets].
            stream: of the draws.
        """
        every = np.arange(len(self.share))
        draw = stream.uniform(_THEME, customer[:, None], number[:, None], every[None, :])
        return _dirichlet(self.breadth * taste, draw, taste)


def fit_assortment(
    item: SmallIntegers,
    user: Integers,
    visit: Integers,
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
        visit: likewise, the number of its basket.
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
    count, mean, total = _by_group(user, category[item], np.zeros(len(item), np.int64), plain[None, :], 0.0)
    likeness = _concentration(count, mean, total)
    breadth = _concentration(*_by_group(visit, category[item], user, plain[None, :], likeness))
    return Assortment(category, half_life, popularity, share, by_month, likeness, breadth)


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


def _by_group(
    group: Integers, category: SmallIntegers, owner: Integers, share: Floats, prior: float
) -> tuple[Integers, Floats, Integers]:
    """Purchases by group and category, and what mean shares the rest of the owner's purchases give.

    The mean is that of a Dirichlet posterior with ``share`` as its prior of weight ``prior``, given what the owner
    bought in other groups; groups whose owner bought less elsewhere than the prior weighs are left out, unless all are.

    Args:
        group: of each purchase, [purchases].
        category: of each purchase, [purchases].
        owner: of each purchase, the same within a group, from 0, [purchases].
        share: of the categories, [1, categories].
        prior: its weight; 0: the mean is the prior, whatever the owner bought.

    Returns:
        Count and mean of each group and category that occur together, [pairs], and size of each group, [groups].
    """
    categories = share.shape[1]
    groups, of_group, size = np.unique(group, return_inverse=True, return_counts=True)
    who = np.zeros(len(groups), np.int64)
    who[of_group] = owner
    pair, count = np.unique(of_group * categories + category, return_counts=True)
    place, kind = pair // categories, pair % categories
    if prior == 0.0:
        return count, share[0, kind], size
    bought = np.zeros((int(owner.max()) + 1, categories))
    np.add.at(bought, (owner, category), 1.0)
    elsewhere = bought.sum(axis=1)[who] - size
    known = elsewhere >= prior if (elsewhere >= prior).any() else np.ones(len(groups), np.bool_)
    there = known[place]
    mean = (prior * share[0, kind] + bought[who[place], kind] - count) / (prior + elsewhere[place])
    return count[there], mean[there], size[known]


def _concentration(count: Integers, mean: Floats, size: Integers) -> float:
    """Concentration of greatest Dirichlet-multinomial likelihood of counts, given means; as ``_by_group`` has them."""

    def loss(logarithm: float) -> float:
        k = float(np.exp(logarithm))
        own = np.sum(gammaln(k * mean + count) - gammaln(k * mean))
        return -float(own + np.sum(gammaln(k) - gammaln(k + size)))

    return float(np.exp(minimize_scalar(loss, bounds=(-3.0, 9.0), method="bounded").x))


def _dirichlet(shape: Floats, draw: Floats, otherwise: Floats) -> Floats:
    """Dirichlet draws by row from uniform ones, as normalised gammas; ``otherwise`` where all are too small to tell."""
    gamma = np.where(shape > 1e-12, gammaincinv(np.maximum(shape, 1e-12), draw), 0.0)
    total = gamma.sum(axis=1, keepdims=True)
    return np.asarray(np.where(total > 0, gamma / np.where(total > 0, total, 1.0), otherwise), np.float64)
