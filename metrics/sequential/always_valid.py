"""Bounds that hold at every moment, however often one looks and whenever one stops.

Both methods here mix the likelihood ratio over a normal distribution of effects. They differ in how wide that is: the
mixture sequential probability ratio test (mSPRT; Johari, Koomen, Pekelis and Walsh 2017, "Peeking at A/B tests") fixes
it as an effect one would expect, the asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas
2024, "Time-uniform central limit theory and asymptotic confidence sequences", Annals of Statistics 52) as the width
that makes the interval narrowest at a moment named in advance. Knows errors and no data.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def mixture_bounds(error: npt.ArrayLike, spread: float, alpha: float) -> Floats:
    """Bounds on |Z| that hold at all looks together: [looks].

    With r = (spread / error)^2 the mixture exceeds 1 / alpha where Z^2 > (1 + 1/r) (2 log(1/alpha) + log(1 + r))
    (Waudby-Smith et al. 2024, theorem 2.2, with r in place of t rho^2; Johari et al. 2017, section 4).

    Args:
        error: standard error of the estimate at each look: [looks].
        spread: standard deviation of the mixture, in the unit of the estimate.
        alpha: two-sided level.

    Raises:
        ValueError: if a number is not positive, or ``alpha`` is no level.
    """
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha: {alpha} (must lie between 0 and 1)")
    ratio = _ratio(error, spread)
    return np.asarray(np.sqrt((1.0 + 1.0 / ratio) * (2.0 * np.log(1.0 / alpha) + np.log1p(ratio))))


def always_valid_p(z: npt.ArrayLike, error: npt.ArrayLike, spread: float) -> Floats:
    """The p-value that may be read at every look: 1 over the largest mixture so far, at most 1: [looks].

    Args:
        z: estimate over its error at each look: [looks].
        error: standard error at each look: [looks].
        spread: as for ``mixture_bounds``.

    Raises:
        ValueError: as ``mixture_bounds``.
    """
    ratio = _ratio(error, spread)
    squared = np.square(np.asarray(z, np.float64))
    log_mixture = 0.5 * squared * ratio / (1.0 + ratio) - 0.5 * np.log1p(ratio)
    return np.exp(-np.maximum.accumulate(np.maximum(log_mixture, 0.0)))


def narrowest_spread(error: float, alpha: float) -> float:
    """The spread whose interval is about as narrow as can be when the standard error has come down to ``error``.

    (spread / error)^2 = -2 log(alpha) + log(1 - 2 log(alpha)) (Waudby-Smith et al. 2024, section B.2).

    Raises:
        ValueError: if the error is not positive or ``alpha`` is no level.
    """
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha: {alpha} (must lie between 0 and 1)")
    if not error > 0.0:
        raise ValueError(f"error: {error} (must be positive)")
    level = -2.0 * np.log(alpha)
    return float(error * np.sqrt(level + np.log1p(level)))


def _ratio(error: npt.ArrayLike, spread: float) -> Floats:
    errors = np.asarray(error, np.float64)
    if not spread > 0.0:
        raise ValueError(f"spread: {spread} (must be positive)")
    if errors.size and not errors.min() > 0.0:
        raise ValueError(f"error: {errors.min()} (must be positive)")
    return np.square(spread / errors)
