"""Who is in which arm: a salted hash of the user id, so that assignment needs no table and cannot drift.

Two experiments with different salts split the same users independently of each other (Kohavi, Tang and Xu 2020,
"Trustworthy Online Controlled Experiments", ch. 4). Clusters are few, and chance alone would divide them unevenly: they
are put in a drawn order and dealt out by the shares (complete randomisation; Imbens and Rubin 2015, "Causal
Inference for Statistics, Social, and Biomedical Sciences", section 4.4).
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from simulator.batches import Ints
from simulator.streams import Stream


def assign(user: Ints, shares: Mapping[str, float], salt: str, seed: int) -> npt.NDArray[np.int64]:
    """Arm index of each user, int64 [users], in the order of ``shares``.

    Args:
        user: ids, int64 [users].
        shares: share of traffic by arm, summing to 1.
        salt: name of the experiment.
        seed: seed of the experiment.

    Raises:
        ValueError: a share is not positive, or they do not sum to 1.
    """
    return np.searchsorted(_bounds(shares), Stream(seed, f"assignment/{salt}").uniform(user), side="right")


def assign_cities(cities: int, shares: Mapping[str, float], salt: str, seed: int) -> npt.NDArray[np.int64]:
    """Arm index of each city, int64 [cities], in the order of ``shares``.

    Every city is as likely as its share says to get an arm, and every arm gets its share of the cities, rounded down or
    up.

    Raises:
        ValueError: as for ``assign``.
    """
    return _dealt(np.zeros(1, np.int64), cities, shares, f"assignment/{salt}/city", seed)[0]


def assign_blocks(cities: int, blocks: int, shares: Mapping[str, float], salt: str, seed: int) -> npt.NDArray[np.int64]:
    """Arm index of each city in each block of time, int64 [cities, blocks], in the order of ``shares``.

    Every city is dealt out its own blocks, as ``assign_cities`` does with cities.

    Raises:
        ValueError: as for ``assign``.
    """
    return _dealt(np.arange(cities, dtype=np.int64), blocks, shares, f"assignment/{salt}/block", seed)


def _dealt(
    deck: npt.NDArray[np.int64], cards: int, shares: Mapping[str, float], name: str, seed: int
) -> npt.NDArray[np.int64]:
    """Arms of the cards of each deck, int64 [decks, cards].

    A deck is shuffled, and its cards laid on the line from 0 to 1 at equal distances from a drawn beginning (systematic
    sampling), where each arm has its share.
    """
    bounds = _bounds(shares)
    order = Stream(seed, f"{name}/order").uniform(deck[:, None], np.arange(cards)[None, :])
    rank = np.argsort(np.argsort(order, axis=1, kind="stable"), axis=1, kind="stable")
    begin = Stream(seed, f"{name}/begin").uniform(deck)[:, None]
    return np.searchsorted(bounds, (rank + begin) / cards, side="right").astype(np.int64)


def _bounds(shares: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """Where one arm ends and the next begins on the line from 0 to 1, float64 [arms - 1]."""
    values = np.asarray(list(shares.values()), dtype=np.float64)
    if not (values > 0).all():  # NaN is refused too
        raise ValueError(f"shares: {dict(shares)}; every share must be above 0")
    if abs(values.sum() - 1.0) > 1e-9:
        raise ValueError(f"shares: {dict(shares)} sum to {values.sum():g}; they must sum to 1")
    return np.cumsum(values)[:-1]
