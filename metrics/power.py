"""What a test can notice: its power, and the smallest effect that it would notice.

By the normal distribution, since users are many. Where clusters are randomised they are few, and Student's t takes its
place, shifted by the effect (Hayes and Moulton 2017, "Cluster Randomised Trials", chapter 7); the noncentral t would be
a little more exact, and is undefined in floating point where effects are large. The two-sided power counts both tails,
so that power and smallest effect invert each other; since an error falls with the root of the users, the square of the
one over an effect is how many times as many users would notice that effect. Knows errors, no data.
"""

from typing import Any

from scipy.optimize import brentq
from scipy.stats import norm
from scipy.stats import t as student


def power_of(effect: float, error: float, alpha: float, degrees: float | None = None) -> float:
    """Probability that a two-sided test rejects.

    Args:
        effect: the true effect.
        error: standard error of its estimate.
        alpha: two-sided level.
        degrees: of freedom of the error, where clusters are few; None where units are many.

    Raises:
        ValueError: if the error or the degrees are not positive or ``alpha`` is no level.
    """
    _check(alpha)
    if not error > 0.0:
        raise ValueError(f"error: {error} (must be positive)")
    law = _law(degrees)
    critical = float(law.isf(alpha / 2.0)) * error
    return float(law.sf((critical - effect) / error) + law.cdf((-critical - effect) / error))


def smallest_effect(error: float, alpha: float, power: float, degrees: float | None = None) -> float:
    """The effect that is noticed with the wanted power (minimum detectable effect), above 0.

    ``degrees`` as for ``power_of``.

    Raises:
        ValueError: if a number is out of range; a power of alpha or less needs no effect.
    """
    _check(alpha, power)
    if not error > 0.0:
        raise ValueError(f"error: {error} (must be positive)")
    law = _law(degrees)
    farthest = float(law.isf(alpha / 2.0) - law.isf(power)) + 1.0

    def lacking(effect: float) -> float:
        return power_of(effect, 1.0, alpha, degrees) - power

    return error * float(brentq(lacking, 0.0, farthest, xtol=1e-13, rtol=1e-13, maxiter=500))


def _law(degrees: float | None) -> Any:
    """The distribution of an estimate over its standard error."""
    if degrees is None:
        return norm
    if not degrees > 0.0:
        raise ValueError(f"degrees: {degrees} (must be positive)")
    return student(degrees)


def _check(alpha: float, power: float | None = None) -> None:
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha: {alpha} (must lie between 0 and 1)")
    if power is not None and not alpha < power < 1.0:
        raise ValueError(f"power: {power} (must lie between alpha, {alpha}, and 1)")
