"""Programs at or beyond the edge of the floor: the largest surplus the budget allows, and the best that reaches it.

At the edge the surplus is a sum that cancels, and no finite search on alpha can tell "just met" from "just missed", so
the answer is put together from the order of the conversions instead.

Numba's cache watches the file of the function that was called, not this one: after editing here, run
``make clean-kernels``.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

from allocation.pressure import ROUNDING, pressure_of
from allocation.survey import expose, fma, plus

Floats = npt.NDArray[np.float64]

LARGE: Final = 1e300


@njit(cache=True, error_model="numpy")
def reach_of_floor(
    s: Floats, g: Floats, n: int, penalty: float, least: float, most: float
) -> tuple[float, float, float, float]:
    """The largest surplus the budget allows, where that is at most 0; else some surplus above 0 that it allows.

    Returns (surplus, its absolute size, tau, bound). The largest surplus takes every candidate with g above tau and
    none below. Where the surplus is above 0, ``bound`` is a ceiling for alpha: the exposure behind it and any
    dual value sandwich the optimum (Slater's condition; Boyd and Vandenberghe 2004, exercise 5.3).
    """
    positive = 0
    for i in range(n):
        positive += g[i] > 0.0
    if positive >= least:
        tau = 0.0
        share = min(1.0, most / positive) if positive > 0 else 0.0
        tied = 0.0
    else:
        rank = n - math.ceil(least)
        tau = np.partition(g[:n], rank)[rank]
        above = 0
        ties = 0
        for i in range(n):
            above += g[i] > tau
            ties += g[i] == tau
        share = 1.0
        tied = (least - above) / ties
    surplus = 0.0
    weight = 0.0
    reached = 0.0
    ceiling = 0.0
    for i in range(n):
        value = share if g[i] > tau else (tied if g[i] == tau else 0.0)
        surplus += g[i] * value
        weight += abs(g[i]) * value
        reached += value * (s[i] - 0.5 * penalty * value)
        best = min(max(s[i] / penalty, 0.0), 1.0)
        ceiling += best * (s[i] - 0.5 * penalty * best)
    return surplus, weight, tau, (ceiling - reached) / surplus if surplus > 0.0 else np.inf


@njit(cache=True, error_model="numpy")
def on_the_face(
    s: Floats, g: Floats, n: int, tau: float, penalty: float, least: float, most: float, block: Floats, x: Floats
) -> tuple[float, float, float]:
    """Fill ``x`` with the best of the exposures that reach the largest surplus; return multipliers that certify it.

    All above tau are shown, none below; the ties share what is left as the program without a floor would. The
    smallest alpha that explains both sides is then a maximum over the candidates.
    """
    ties = 0
    above = 0
    for i in range(n):
        ties += g[i] == tau
        above += g[i] > tau
    tied = np.empty(ties)
    flat = np.zeros(ties)
    k = 0
    lowest, highest = np.inf, -np.inf
    for i in range(n):
        if g[i] == tau:
            tied[k] = s[i]
            lowest, highest = min(lowest, s[i]), max(highest, s[i])
            k += 1
    least_tied = max(least - above, 0.0)
    most_tied = max(most - above, 0.0) if tau == 0.0 else least_tied
    most_tied = min(most_tied, float(ties))
    pressure, pressure_low = 0.0, 0.0
    shares = np.zeros(ties)
    if ties > 0:
        margin = 2.0 * penalty + 1e-14 * (abs(lowest) + abs(highest))
        found = pressure_of(
            tied,
            flat,
            ties,
            (0.0, 0.0, 0.0),
            0.0,
            0.0,
            0.0,
            0.0,
            min(-highest, 0.0) - margin,
            max(-lowest, 0.0) + margin,
            penalty,
            least_tied,
            most_tied,
            0.0,
            ROUNDING,
            block,
        )
        pressure, pressure_low = found[0], found[1]
        if found[5] > 0.0:
            target = least_tied if pressure > 0.0 else most_tied
            if pressure != 0.0:
                pressure, pressure_low = plus(pressure, pressure_low, (target - found[2]) * penalty / found[5])
        expose(tied, flat, 0, ties, 0.0, 0.0, pressure, pressure_low, 1.0 / penalty, shares, 0)
    alpha = -pressure / -tau if tau < 0.0 else 0.0
    alpha = max(alpha, 0.0)
    k = 0
    for i in range(n):
        if g[i] > tau:
            x[i] = 1.0
            alpha = max(alpha, (penalty - s[i] - pressure) / (g[i] - tau))
        elif g[i] < tau:
            x[i] = 0.0
            alpha = max(alpha, (s[i] + pressure) / (tau - g[i]))
        else:
            x[i] = shares[k]
            k += 1
    alpha = min(alpha, LARGE)
    r, r_low = plus(pressure, pressure_low, -alpha * tau)
    return alpha, r, r_low - fma(alpha, tau, -alpha * tau)
