"""What a test can notice: power, the smallest effect it would notice, and the users it needs.

By the normal distribution, since users are many. Where clusters are randomised they are few, and Student's t takes its
place, shifted by the effect (Hayes and Moulton 2017, "Cluster Randomised Trials", chapter 7); the noncentral t would be
a little more exact, and is undefined in floating point where effects are large. The two-sided power counts both tails,
so that power and smallest effect invert each other. For proportions the error under no difference is that of the pooled
rate, as in R's ``power.prop.test`` (Fleiss, Levin and Paik 2003, "Statistical Methods for Rates and Proportions",
section 4.3). Knows errors and shares, no data.
"""

import math
from collections.abc import Callable
from typing import Any, Final

from scipy.optimize import brentq
from scipy.stats import norm
from scipy.stats import t as student

_MOST_USERS: Final = 1e18


def power_of(
    effect: float, error: float, alpha: float, null_error: float | None = None, degrees: float | None = None
) -> float:
    """Probability that a two-sided test rejects.

    Args:
        effect: the true effect.
        error: standard error of its estimate.
        alpha: two-sided level.
        null_error: standard error that the test assumes, where it is another.
        degrees: of freedom of the error, where clusters are few; None where units are many.

    Raises:
        ValueError: if an error or the degrees are not positive or ``alpha`` is no level.
    """
    _check(alpha)
    assumed = error if null_error is None else null_error
    if not (error > 0.0 and assumed > 0.0):
        raise ValueError(f"error: {min(error, assumed)} (must be positive)")
    law = _law(degrees)
    critical = float(law.isf(alpha / 2.0)) * assumed
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
    return error * _root(lambda effect: power_of(effect, 1.0, alpha, degrees=degrees) - power, 0.0, farthest)


def users_needed(
    effect: float, variances: tuple[float, float], shares: tuple[float, float], alpha: float, power: float
) -> float:
    """Users of both arms together at which an effect is noticed with the wanted power; not rounded.

    Args:
        effect: to be noticed, not 0.
        variances: of one user's value under control and treatment, after CUPED if that is used.
        shares: of the users that control and treatment get; only their proportion matters.
        alpha: two-sided level.
        power: wanted.

    Raises:
        ValueError: if a number is out of range.
    """
    _check(alpha, power)
    if effect == 0.0:
        raise ValueError("effect: 0 (must differ from 0, no number of users would notice it)")
    unit = _error_of_one(variances, shares)
    return (unit / (abs(effect) / smallest_effect(1.0, alpha, power))) ** 2


def error_with(users: float, variances: tuple[float, float], shares: tuple[float, float]) -> float:
    """Standard error of the effect with this many users in both arms together.

    Raises:
        ValueError: if a number is out of range.
    """
    if not users > 0.0:
        raise ValueError(f"users: {users} (must be positive)")
    return _error_of_one(variances, shares) / math.sqrt(users)


def power_of_proportions(control: float, treatment: float, users: tuple[float, float], alpha: float) -> float:
    """Power of the test of two proportions.

    Args:
        control: true proportion under control.
        treatment: true proportion under treatment.
        users: of control and treatment.
        alpha: two-sided level.

    Raises:
        ValueError: if a number is out of range.
    """
    _check_proportions(control, treatment)
    if not min(users) > 0.0:
        raise ValueError(f"users: {min(users)} (must be positive)")
    pooled = (users[0] * control + users[1] * treatment) / sum(users)
    null_error = math.sqrt(pooled * (1.0 - pooled) * (1.0 / users[0] + 1.0 / users[1]))
    error = math.sqrt(control * (1.0 - control) / users[0] + treatment * (1.0 - treatment) / users[1])
    return power_of(treatment - control, error, alpha, null_error)


def smallest_rise(control: float, users: tuple[float, float], alpha: float, power: float) -> float:
    """The treatment's proportion, above the control's, that is noticed with the wanted power.

    Raises:
        ValueError: if a number is out of range, or if not even a rise to nearly 1 is noticed.
    """
    _check(alpha, power)
    most = 1.0 - 1e-12
    _check_proportions(control, most)
    if power_of_proportions(control, most, users, alpha) < power:
        raise ValueError(f"users: {users} (too few to notice any rise with power {power}; take more)")
    return _root(lambda rate: power_of_proportions(control, rate, users, alpha) - power, control, most)


def users_for_proportions(
    control: float, treatment: float, shares: tuple[float, float], alpha: float, power: float
) -> float:
    """Users of both arms together at which two proportions are told apart with the wanted power; not rounded.

    Raises:
        ValueError: if a number is out of range or the proportions are equal.
    """
    _check(alpha, power)
    if control == treatment:
        raise ValueError(f"treatment: {treatment} (must differ from control)")
    whole = sum(shares)

    def lacking(log_users: float) -> float:
        users = (math.exp(log_users) * shares[0] / whole, math.exp(log_users) * shares[1] / whole)
        return power_of_proportions(control, treatment, users, alpha) - power

    return math.exp(_root(lacking, math.log(1e-6), math.log(_MOST_USERS)))


def design_effect(cluster_size: float, correlation: float, size_variation: float = 0.0) -> float:
    """How many times more units a test needs when clusters are randomised instead of units.

    1 + ((1 + cv^2) m - 1) rho with m units a cluster on average (Kish 1965, section 5.4; for clusters of different
    sizes Eldridge, Ashby and Kerry 2006).

    Args:
        cluster_size: units a cluster, at least 1.
        correlation: intraclass correlation, 0 to 1.
        size_variation: standard deviation of cluster sizes over their mean.

    Raises:
        ValueError: if a number is out of range.
    """
    if not (cluster_size >= 1.0 and 0.0 <= correlation <= 1.0 and size_variation >= 0.0):
        raise ValueError(
            f"cluster_size, correlation, size_variation: {cluster_size}, {correlation}, {size_variation} "
            "(must be at least 1, 0 to 1, at least 0)"
        )
    return 1.0 + ((1.0 + size_variation**2) * cluster_size - 1.0) * correlation


def _law(degrees: float | None) -> Any:
    """The distribution of an estimate over its standard error."""
    if degrees is None:
        return norm
    if not degrees > 0.0:
        raise ValueError(f"degrees: {degrees} (must be positive)")
    return student(degrees)


def _error_of_one(variances: tuple[float, float], shares: tuple[float, float]) -> float:
    """Standard error of the effect that one user would give if users could be divided."""
    if not (min(variances) >= 0.0 and max(variances) > 0.0):
        raise ValueError(f"variances: {variances} (must be at least 0, and one of them positive)")
    if not min(shares) > 0.0:
        raise ValueError(f"shares: {shares} (must be positive)")
    whole = sum(shares)
    return math.sqrt(sum(variance * whole / share for variance, share in zip(variances, shares, strict=True)))


def _root(lacking: Callable[[float], float], low: float, high: float) -> float:
    return float(brentq(lacking, low, high, xtol=1e-13, rtol=1e-13, maxiter=500))


def _check(alpha: float, power: float | None = None) -> None:
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha: {alpha} (must lie between 0 and 1)")
    if power is not None and not alpha < power < 1.0:
        raise ValueError(f"power: {power} (must lie between alpha, {alpha}, and 1)")


def _check_proportions(control: float, treatment: float) -> None:
    for name, rate in (("control", control), ("treatment", treatment)):
        if not 0.0 < rate < 1.0:
            raise ValueError(f"{name}: {rate} (must lie between 0 and 1)")
