"""How far what was simulated is from what is real, beside how far the real is from itself.

A distance means nothing without its noise. So the real users are halved at random many times. The floor is the distance
of one half from the other; the distance is that of one half from as many simulated users. Both are of samples of the
same size, so of a simulation that is drawn from the same law as reality both are the same but for luck.

Pure arrays: does not know what is compared.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from simulator.streams import Stream

Ids = npt.NDArray[np.integer[Any]]
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

HIGH: Final = 0.95
"""The floor's upper quantile: one real half in twenty is further from the other."""


class NothingToCompareError(ValueError):
    """A side has no values, so that there is no distance."""


class Sample(NamedTuple):
    """Values of users.

    Attributes:
        user: whose each value is, counted from 0, [values].
        value: the values, [values]; whole numbers from 0 where they name categories.
        users: how many there are, those without a value included.
    """

    user: Ids
    value: npt.NDArray[Any]
    users: int

    def of(self, chosen: Flags) -> npt.NDArray[Any]:
        """Values of the chosen users, [values]; ``chosen`` is [users]."""
        return self.value[chosen[self.user]]


Distance = Callable[[npt.NDArray[Any], npt.NDArray[Any]], float]
"""Of two sets of values: 0 where they are distributed alike, at most 1."""


def share_distance(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
    """Jensen-Shannon distance of two distributions given as counts, [categories] each.

    The square root of the divergence in bits, which is a metric (Endres and Schindelin 2003, IEEE Transactions on
    Information Theory 49). 0 for the same shares, 1 for shares that have nothing in common.

    Raises:
        NothingToCompareError: one holds nothing.
        ValueError: they differ in length.
    """
    if len(first) != len(second):
        raise ValueError(f"counts: {len(first)} and {len(second)} categories; give both the same")
    if not first.sum() > 0 or not second.sum() > 0:
        raise NothingToCompareError("counts: one side is empty; compare what has values")
    p, q = first / first.sum(), second / second.sum()
    middle = (p + q) / 2.0

    def divergence(a: Floats) -> float:
        there = a > 0
        return float(np.sum(a[there] * np.log2(a[there] / middle[there])))

    return float(np.sqrt(max((divergence(p) + divergence(q)) / 2.0, 0.0)))


def js_of_categories(categories: int) -> Distance:
    """Jensen-Shannon distance of how often each of the categories occurs among values."""

    def distance(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
        return share_distance(np.bincount(first, minlength=categories), np.bincount(second, minlength=categories))

    return distance


def js_of_ranks(categories: int) -> Distance:
    """The same of how often the most frequent category occurs, the next, and so on, whichever they are."""

    def distance(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
        return share_distance(*(np.sort(np.bincount(each, minlength=categories))[::-1] for each in (first, second)))

    return distance


def ks(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
    """Kolmogorov-Smirnov distance: the largest gap between two empirical distribution functions.

    Raises:
        NothingToCompareError: one side is empty.
    """
    if not len(first) or not len(second):
        raise NothingToCompareError("values: one side is empty; compare what has values")
    a, b = np.sort(first), np.sort(second)
    every = np.concatenate([a, b])
    below_a = np.searchsorted(a, every, side="right") / len(a)
    below_b = np.searchsorted(b, every, side="right") / len(b)
    return float(np.abs(below_a - below_b).max())


@dataclass(frozen=True)
class Beside:
    """A distance beside its noise.

    Attributes:
        distance: of real users from as many simulated ones, the median over halvings.
        floor: of real users from as many other real ones, the median over the same halvings.
        floor_high: the quantile ``HIGH`` of it.
        times: halvings, or draws, that were asked.
    """

    distance: float
    floor: float
    floor_high: float
    times: int

    @property
    def ratio(self) -> float | None:
        """Distance over floor: 1 is as good as real; None where the floor is 0."""
        return self.distance / self.floor if self.floor > 0 else None

    @property
    def within_noise(self) -> bool:
        """Whether the distance is not above what real halves show in 19 of 20 halvings."""
        return self.distance <= self.floor_high


def beside_the_floor(real: Sample, simulated: Sample, distance: Distance, halvings: int, seed: int) -> Beside:
    """Hold a simulated sample against a real one.

    A halving is a random half of the real users, the other half of the same size, and as many of the simulated users
    (all of them where there are fewer). Halvings in which a side has no value at all are left out.

    Args:
        real: at least two users.
        simulated: at least one user.
        distance: of two sets of values.
        halvings: how many, at least 1.
        seed: of the halvings; the same for all that is compared, so that rows are of the same halves.

    Raises:
        NothingToCompareError: no halving has values on all sides.
    """
    size = real.users // 2
    of_real, of_simulated = Stream(seed, "realism/real"), Stream(seed, "realism/simulated")
    distances, floors = [], []
    for number in range(halvings):
        order = np.argsort(of_real.uniform(number, np.arange(real.users)), kind="stable")
        one, other = np.zeros((2, real.users), np.bool_)
        one[order[:size]], other[order[size : 2 * size]] = True, True
        drawn = _some(simulated.users, min(size, simulated.users), of_simulated, number)
        parts = real.of(one), real.of(other), simulated.of(drawn)
        if min(len(part) for part in parts) == 0:
            continue
        floors.append(distance(parts[0], parts[1]))
        distances.append(distance(parts[0], parts[2]))
    if not floors:
        raise NothingToCompareError("values: some side has none in every halving; compare what has values")
    return Beside(float(np.median(distances)), float(np.median(floors)), float(np.quantile(floors, HIGH)), len(floors))


def beside_counts(real: Floats, simulated: Floats, draws: int, seed: int) -> Beside:
    """Hold simulated counts against real ones whose users are not known.

    The floor is what as many independent draws from the real shares would show: sampling noise alone. The actions of
    one person are not independent, so a real sample of that many users would be further away than the floor says.

    Args:
        real: of each category, [categories].
        simulated: likewise.
        draws: samples that make the floor.
        seed: of the samples.

    Raises:
        NothingToCompareError: one side is empty.
    """
    found = share_distance(real, simulated)
    edges = np.cumsum(real / real.sum())
    stream = Stream(seed, "realism/counts")
    total = int(simulated.sum())
    floors = []
    for number in range(draws):
        place = np.searchsorted(edges, stream.uniform(number, np.arange(total)))
        floors.append(share_distance(real, np.bincount(np.minimum(place, len(real) - 1), minlength=len(real))))
    return Beside(found, float(np.median(floors)), float(np.quantile(floors, HIGH)), draws)


def zipf_exponent(counts: Ids, tail: float = 0.1) -> float | None:
    """Exponent of the rank-frequency law of the most frequent categories: frequency falls as rank to its minus.

    Hill's (1975, Annals of Statistics 3) estimator of the tail index, whose inverse is the exponent.

    Args:
        counts: of each category, [categories].
        tail: share of the categories that occur, the most frequent first, that make the tail.

    Returns:
        The exponent; None where the tail has fewer than 10 categories.
    """
    there = np.sort(counts[counts > 0])[::-1].astype(np.float64)
    size = int(len(there) * tail)
    if size < 10:
        return None
    return float(np.mean(np.log(there[:size] / there[size])))


def _some(users: int, size: int, stream: Stream, number: int) -> Flags:
    chosen = np.zeros(users, np.bool_)
    chosen[np.argsort(stream.uniform(number, np.arange(users)), kind="stable")[:size]] = True
    return chosen
