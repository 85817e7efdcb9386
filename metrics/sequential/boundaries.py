"""Bounds for a test that is read several times, exact by recursive numerical integration.

The statistics Z_1..Z_K of the looks are taken to have the canonical joint distribution (Jennison and Turnbull 2000,
"Group Sequential Methods", section 3.1): Z_k is normal with mean theta sqrt(I_k) and variance 1, and the scores
S_k = Z_k sqrt(I_k) have independent increments. The density of S_k on the event that no bound was crossed before
follows from that of S_{k-1} by one integral (Armitage, McPherson and Rowe 1969; Jennison and Turnbull, chapter 19),
here by Gauss-Legendre quadrature with as many nodes as the narrowest increment needs. Knows no data.
"""

import math
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri, roots_legendre

Floats = npt.NDArray[np.float64]

FARTHEST: Final = 38.0
"""In standard deviations: beyond it the normal tail is 0 in double precision."""
_LEAST_PROBABILITY: Final = 1e-16
"""Less than this is not spent: the bound is then infinite."""
_TAIL: Final = 9.0
"""Standard deviations around the mean outside of which a density is taken to be 0; the mass there is below 1e-18."""
_NODES_A_DEVIATION: Final = 3.5
_LEAST_STEP: Final = 0.005
"""Least growth of information between two looks, relative to the later: below it they are as good as one."""


def spending_bounds(information: npt.ArrayLike, spent: npt.ArrayLike) -> Floats:
    """Two-sided symmetric bounds on |Z| that use up the level as planned, if there is no effect.

    Args:
        information: 1 / variance of the estimate at each look, in any unit, not falling: [looks].
        spent: two-sided level used up by each look, not falling: [looks].

    Returns:
        The bound of each look, infinite where nothing is spent: [looks].

    Raises:
        ValueError: if lengths differ, or a sequence falls or is out of range.
    """
    scale = _usable_information(information)
    used = np.asarray(spent, np.float64)
    if used.shape != scale.shape:
        raise ValueError(f"spent: {used.shape} (must be {scale.shape}, one for each look)")
    steps = np.diff(used, prepend=0.0)
    if used.size and (steps.min() < 0.0 or used[-1] >= 1.0):
        raise ValueError("spent: falls or reaches 1 (must grow from look to look and stay below 1)")
    bounds = np.empty_like(scale)
    walk = _Walk(scale, 0.0)
    for look, step in enumerate(steps):
        bounds[look] = walk.bound_for(step / 2.0)
        walk.go_on(bounds[look])
    return bounds


def crossing_probabilities(
    information: npt.ArrayLike, bounds: npt.ArrayLike, effect: float = 0.0
) -> tuple[Floats, Floats]:
    """Probability of crossing the upper and the lower bound for the first time at each look.

    Args:
        information: at each look, not falling: [looks].
        bounds: on |Z|: [looks].
        effect: the true effect, in the unit of one over the root of ``information``.

    Returns:
        Upper and lower probabilities: [looks] each.

    Raises:
        ValueError: as ``spending_bounds``.
    """
    scale = _usable_information(information)
    first = float(np.asarray(information, np.float64)[0]) if scale.size else 1.0
    limits = np.asarray(bounds, np.float64)
    if limits.shape != scale.shape:
        raise ValueError(f"bounds: {limits.shape} (must be {scale.shape}, one for each look)")
    upper, lower = np.empty_like(scale), np.empty_like(scale)
    walk = _Walk(scale, effect * math.sqrt(first))
    for look, limit in enumerate(limits):
        upper[look], lower[look] = walk.beyond(limit), walk.beneath(-limit)
        walk.go_on(limit)
    return upper, lower


def inflation(information: npt.ArrayLike, bounds: npt.ArrayLike, alpha: float, power: float) -> float:
    """How much more information at the last look the bounds need than a single look of the same power.

    Jennison and Turnbull's R(K, alpha, beta) (2000, tables 2.2 and 2.4) for their tests.

    Args:
        information: at each look; only proportions matter: [looks].
        bounds: on |Z|: [looks].
        alpha: two-sided level of the single look.
        power: wanted, above alpha / 2.

    Raises:
        ValueError: as ``spending_bounds``, or if the power cannot be reached.
    """
    share = np.asarray(information, np.float64)
    share = share / share[-1]
    if not alpha / 2.0 < power < 1.0:
        raise ValueError(f"power: {power} (must lie between {alpha / 2.0} and 1)")

    def lacking(drift: float) -> float:
        return float(crossing_probabilities(share, bounds, drift)[0].sum()) - power

    return (float(brentq(lacking, 0.0, 30.0, xtol=1e-12)) / float(ndtri(1.0 - alpha / 2.0) + ndtri(power))) ** 2


def _usable_information(information: npt.ArrayLike) -> Floats:
    """Information in units of the first look's, with steps that are wide enough to integrate over."""
    raw = np.asarray(information, np.float64)
    if raw.ndim != 1 or not np.isfinite(raw).all() or (raw <= 0.0).any():
        raise ValueError("information: must be positive and finite, one number for each look")
    scale = raw / raw[0] if raw.size else raw.copy()
    for look in range(1, len(scale)):
        if raw[look] < raw[look - 1] * (1.0 - 1e-12):
            raise ValueError(f"information: falls at look {look + 1} (must not fall)")
        scale[look] = max(scale[look], scale[look - 1] / (1.0 - _LEAST_STEP))
    return scale


class _Walk:
    """The scores of the looks on the event that no bound was crossed yet; starts before the first look.

    Args:
        scale: information at each look: [looks].
        effect: true effect.
    """

    def __init__(self, scale: Floats, effect: float) -> None:
        self._scale, self._effect = scale, effect
        self._deviation = np.sqrt(np.diff(scale, prepend=0.0))
        self._look = 0
        # All mass at 0, before anything was seen.
        self._at, self._mass = np.zeros(1), np.ones(1)

    def beyond(self, limit: float) -> float:
        """Probability that Z of the coming look lies above a limit, and none before crossed."""
        return float(self._mass @ ndtr(-self._distance(limit)))

    def beneath(self, limit: float) -> float:
        """Probability that Z of the coming look lies below a limit, and none before crossed."""
        return float(self._mass @ ndtr(self._distance(limit)))

    def bound_for(self, probability: float) -> float:
        """The limit above which the coming Z lies with this probability; infinite for 0."""
        if probability < _LEAST_PROBABILITY:
            return math.inf

        def excess(limit: float) -> float:
            return math.log(max(self.beyond(limit), 1e-300) / probability)

        return float(brentq(excess, -FARTHEST, FARTHEST, xtol=1e-12, rtol=1e-14))

    def go_on(self, bound: float) -> None:
        """Make the look, with Z between the bounds, and turn to the next."""
        look, root = self._look, math.sqrt(self._scale[self._look])
        centre = self._effect * self._scale[look]
        low, high = (max(-bound, centre / root - _TAIL) * root, min(bound, centre / root + _TAIL) * root)
        self._look += 1
        if self._look == len(self._scale) or high <= low:
            self._at, self._mass = np.zeros(1), np.zeros(1)
            return
        narrowest = min(self._deviation[look], self._deviation[look + 1])
        at, weight = _nodes(math.ceil(_NODES_A_DEVIATION * (high - low) / narrowest))
        at = low + (high - low) * at
        step, mean = self._deviation[look], self._effect * self._deviation[look] ** 2
        standard = (at[:, None] - self._at[None, :] - mean) / step
        density = np.exp(-0.5 * standard * standard) @ self._mass / (step * math.sqrt(2.0 * math.pi))
        self._at, self._mass = at, density * weight * (high - low)

    def _distance(self, limit: float) -> Floats:
        """Of a limit on the coming Z from where each node would expect it, in standard deviations."""
        step = self._deviation[self._look]
        score = limit * math.sqrt(self._scale[self._look])
        return np.asarray((score - self._at - self._effect * step * step) / step)


def _nodes(wanted: int) -> tuple[Floats, Floats]:
    """Nodes and weights on 0..1, at least as many as wanted; few sizes, so that they are computed once."""
    size = 32
    while size < wanted:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return _legendre(size)


@cache
def _legendre(size: int) -> tuple[Floats, Floats]:
    at, weight = roots_legendre(size)
    return (at + 1.0) / 2.0, weight / 2.0
