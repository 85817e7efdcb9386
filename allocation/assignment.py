"""Who is in which arm: a salted hash of the user id, so that assignment needs no table and cannot drift.

Two experiments with different salts split the same users independently of each other (Kohavi, Tang and Xu 2020,
"Trustworthy Online Controlled Experiments", ch. 4).
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
    values = np.asarray(list(shares.values()), dtype=np.float64)
    if not (values > 0).all():  # NaN is refused too
        raise ValueError(f"shares: {dict(shares)}; every share must be above 0")
    if abs(values.sum() - 1.0) > 1e-9:
        raise ValueError(f"shares: {dict(shares)} sum to {values.sum():g}; they must sum to 1")
    bounds = np.cumsum(values)[:-1]
    return np.searchsorted(bounds, Stream(seed, f"assignment/{salt}").uniform(user), side="right")
