"""How much of the level may be used up by a moment of the experiment: alpha spending functions.

Lan and DeMets (1983), "Discrete sequential boundaries for clinical trials", Biometrika 70. Knows time as a share of the
plan and nothing of data.
"""

from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

Floats = npt.NDArray[np.float64]
Spending = Literal["obrien_fleming", "pocock", "power"]

SPENDING: Final = get_args(Spending)


def alpha_spent(method: Spending, time: npt.ArrayLike, alpha: float, exponent: float = 1.0) -> Floats:
    """Two-sided level used up by each moment; each side spends half of it.

    ``obrien_fleming``: each side spends 2 - 2 Phi(z(1 - alpha / 4) / sqrt(t)), very little early. ``pocock``:
    alpha log(1 + (e - 1) t), nearly evenly. ``power``: alpha t^exponent (Kim and DeMets 1987); 1 resembles Pocock's
    bounds and 3 those of O'Brien and Fleming (Jennison and Turnbull 2000, section 7.2.3).

    Args:
        method: the function.
        time: share of the plan that has passed, 0 to 1: [looks].
        alpha: two-sided level of the whole experiment.
        exponent: of ``power``, above 0.

    Returns:
        The level spent by then, alpha at time 1: [looks].

    Raises:
        ValueError: if the method is unknown, or a number is out of range.
    """
    moments = np.asarray(time, np.float64)
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha: {alpha} (must lie between 0 and 1)")
    if moments.size and not (moments.min() >= 0.0 and moments.max() <= 1.0):
        raise ValueError(f"time: {moments.min()} to {moments.max()} (must lie between 0 and 1)")
    if method == "obrien_fleming":
        with np.errstate(divide="ignore"):
            return np.asarray(4.0 * norm.sf(norm.isf(alpha / 4.0) / np.sqrt(moments)))
    if method == "pocock":
        return np.asarray(alpha * np.log1p((np.e - 1.0) * moments))
    if method == "power":
        if not exponent > 0.0:
            raise ValueError(f"exponent: {exponent} (must be positive)")
        return np.asarray(alpha * moments**exponent)
    raise ValueError(f"method: {method!r} (choose from {', '.join(SPENDING)})")
