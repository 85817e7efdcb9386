"""How much of a basket is bought again.

A share that depends on how many different items a customer has, times a factor of the customer's own (gamma-Poisson).
Which of the items at hand is bought again depends on how often it was bought and how well it sells. Knows neither when
customers come, nor how much they take, nor what they buy for the first time.
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

MOST_AGAIN: Final = 0.98
"""Largest share of a basket that may be expected to be bought again."""
_FACTOR: Final = 0


@dataclass(frozen=True)
class Repeats:
    """How much is bought again.

    Attributes:
        share: of a purchase to be of an item that the customer has, by the power of two that the number of different
            items the customer has lies in: 1, 2 to 3, 4 to 7, ..., [powers].
        evenness: shape of the gamma distribution, of mean 1, of customers' own factors on it.
        popularity: exponent of an item's recent sales in which of the items is bought again.
    """

    share: Floats
    evenness: float
    popularity: float

    def factor(self, again: Floats, expected: Floats, customer: Integers, stream: Stream) -> Floats:
        """Customers' own factors, drawn given how many purchases were repeats and how many should, [customers]."""
        draw = stream.uniform(_FACTOR, customer)
        return np.asarray(gammaincinv(self.evenness + again, draw) / (self.evenness + expected), np.float64)

    def of(self, owned: int, factor: float) -> float:
        """Probability that a purchase of who has ``owned`` different items, with that factor, is a repeat."""
        return 0.0 if owned == 0 else min(float(self.share[power_of(owned, len(self.share))]) * factor, MOST_AGAIN)


def power_of(owned: int, powers: int) -> int:
    """Which of the shares is that of who has so many different items, at least 1."""
    return min(owned.bit_length() - 1, powers - 1)


def fit_repeat_shares(
    again: npt.NDArray[np.bool_], owned: Integers, user: Integers, users: int
) -> tuple[Repeats, Floats, Floats]:
    """Fit how much is bought again; the popularity's exponent is left at 1.

    Args:
        again: whether each purchase was of an item that the customer had, [purchases].
        owned: different items that the customer had before the visit, [purchases].
        user: of each purchase, [purchases].
        users: how many there are.

    Returns:
        The fit, and each user's repeats and how many were expected, [users].
    """
    powers = max(int(owned.max(initial=1)).bit_length(), 1)
    there = owned > 0
    power = np.minimum(np.frexp(np.maximum(owned, 1).astype(np.float64))[1] - 1, powers - 1)
    asked = np.bincount(power[there], minlength=powers)
    came = np.bincount(power[there & again], minlength=powers)
    overall = (came.sum() + 1.0) / (asked.sum() + 2.0)
    share = (came + 50.0 * overall) / (asked + 50.0)
    repeats = np.bincount(user, (again & there).astype(np.float64), users)
    expected = np.bincount(user, np.where(there, share[power], 0.0), users)
    some = expected > 0
    y, mean = repeats[some], expected[some]

    def loss(logarithm: float) -> float:
        k = float(np.exp(logarithm))
        return -float(np.sum(gammaln(k + y) - gammaln(k) + k * np.log(k / (k + mean)) + y * np.log(mean / (k + mean))))

    evenness = float(np.exp(minimize_scalar(loss, bounds=(-3.0, 6.0), method="bounded").x)) if some.any() else 1.0
    return Repeats(share, evenness, 1.0), np.asarray(repeats, np.float64), np.asarray(expected, np.float64)
