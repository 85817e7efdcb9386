"""One pass over the candidates of an exposure program at given multipliers: exposures, their sums, a certificate.

The multipliers are unevaluated sums of two floats (Dekker 1971, "A floating-point technique for extending the
available precision"): where lambda is far below the scores, x depends on digits of r that one float does not have.

It does not know how multipliers are found.

Numba's cache watches the file of the function that was called, not this one: after editing here, run
``make clean-kernels``.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import njit, types
from numba.extending import intrinsic

Floats = npt.NDArray[np.float64]

BLOCK: Final = 512
_RESOLUTION: Final = 2.0**-95


def _fused(context: Any, a: Any, b: Any, c: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float64(types.float64, types.float64, types.float64), build


# A product and a sum with one rounding: it gives what was left over when a product was rounded.
fma: Any = intrinsic(_fused)


@njit(cache=True, inline="always")
def plus(high: float, low: float, step: float) -> tuple[float, float]:
    """A two-float number plus a float."""
    total = high + step
    part = total - high
    error = (high - (total - part)) + (step - part) + low
    result = total + error
    return result, error - (result - total)


@njit(cache=True, inline="always")
def minus(high: float, low: float, other_high: float, other_low: float) -> float:
    """The difference of two two-float numbers, as a float."""
    return (high - other_high) + (low - other_low)


@njit(cache=True)
def expose(
    s: Floats,
    g: Floats,
    first: int,
    count: int,
    alpha: float,
    alpha_low: float,
    r: float,
    r_low: float,
    inverse: float,
    x: Floats,
    at: int,
) -> None:
    """Exposure of ``count`` candidates from ``first`` on, written to ``x`` from ``at`` on."""
    for i in range(count):
        slope = g[first + i]
        gain = s[first + i]
        lift = alpha * slope
        error = fma(alpha, slope, -lift) + alpha_low * slope
        partial = gain + lift
        part = partial - gain
        error += (gain - (partial - part)) + (lift - part)
        height = partial + r
        part = height - partial
        error += (partial - (height - part)) + (r - part)
        height += error + r_low
        # What is smaller than the digits carried through the cancellation is not known to differ from 0.
        value = height * inverse if height > _RESOLUTION * (abs(gain) + abs(lift)) else 0.0
        x[at + i] = value if value < 1.0 else 1.0


# Reassociation lets the sums run in vector lanes; it must not reach the two-float arithmetic above.
@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _moments(
    g: Floats, first: int, count: int, x: Floats, centre: float
) -> tuple[float, float, float, float, float, float]:
    total = 0.0
    surplus = 0.0
    weight = 0.0
    free = 0.0
    moment1 = 0.0
    moment2 = 0.0
    for i in range(count):
        value = x[i]
        slope = g[first + i]
        inside = 1.0 if (value > 0.0) & (value < 1.0) else 0.0
        away = (slope - centre) * inside
        total += value
        surplus += slope * value
        weight += abs(slope) * value
        free += inside
        moment1 += away
        moment2 += away * away
    return total, surplus, weight, free, moment1, moment2


@njit(cache=True)
def survey(
    s: Floats,
    g: Floats,
    n: int,
    settled: tuple[float, float, float],
    alpha: float,
    alpha_low: float,
    r: float,
    r_low: float,
    inverse: float,
    centre: float,
    x: Floats,
) -> tuple[float, float, float, float, float, float]:
    """Sums over all candidates: exposure, conversion surplus, its absolute size, and three moments of the free ones.

    Blocks keep the exposures in the nearest cache and the rounding of the sums small.
    """
    total, surplus, weight = settled
    free = 0.0
    moment1 = 0.0
    moment2 = 0.0
    for first in range(0, n, BLOCK):
        count = min(BLOCK, n - first)
        expose(s, g, first, count, alpha, alpha_low, r, r_low, inverse, x, 0)
        part = _moments(g, first, count, x, centre)
        total += part[0]
        surplus += part[1]
        weight += part[2]
        free += part[3]
        moment1 += part[4]
        moment2 += part[5]
    return total, surplus, weight, free, moment1, moment2


@njit(cache=True, error_model="numpy")
def certify(
    s: Floats,
    g: Floats,
    n: int,
    x: Floats,
    alpha: float,
    alpha_low: float,
    r: float,
    r_low: float,
    penalty: float,
    least: float,
    most: float,
    wanted: float,
) -> tuple[float, float, float, float, float]:
    """Objective, total, surplus, relative duality gap and scaled KKT residual of any (x, alpha, r).

    The gap is summed from terms that are each at least 0 where x is feasible, so that it is not the difference of two
    large numbers. Its unit is sum((|s| + |r|) x) + alpha max|g| sum(x) + lambda/2 ||x||^2. The KKT residual is the
    largest of: how far a gradient step projected on [0, 1] moves some x, the gradient measured against the largest of
    |s|, alpha |g|, |r| and lambda; totals outside [Q, P] against Q
    and P; a missed floor against max|g| sum(x); complementary slackness against the gap's unit.
    """
    total = 0.0
    surplus = 0.0
    gain = 0.0
    size = 0.0
    square = 0.0
    gap = 0.0
    worst = 0.0
    unit = max(penalty, abs(r))
    steepest = 0.0
    for i in range(n):
        unit = max(unit, abs(s[i]))
        steepest = max(steepest, abs(g[i]))
    unit = max(unit, alpha * steepest)
    for i in range(n):
        value = x[i]
        lift = alpha * g[i]
        error = fma(alpha, g[i], -lift) + alpha_low * g[i]
        partial = s[i] + lift
        part = partial - s[i]
        error += (s[i] - (partial - part)) + (lift - part)
        height = partial + r
        part = height - partial
        error += (partial - (height - part)) + (r - part)
        height += error + r_low
        moved = min(max(value + (height - penalty * value) / unit, 0.0), 1.0)
        worst = max(worst, abs(moved - value))
        total += value
        surplus += g[i] * value
        gain += s[i] * value
        size += abs(s[i]) * value
        square += value * value
        best = min(max(height / penalty, 0.0), 1.0)
        gap += (best - value) * (height - 0.5 * penalty * (best + value))
    rest = surplus - wanted
    slackness = max(r, 0.0) * abs(total - least) + max(-r, 0.0) * abs(most - total)
    gap += alpha * rest + (r * (total - least) if r > 0.0 else -r * (most - total))
    floor_unit = steepest * total + abs(wanted)
    scale = size + alpha * floor_unit + abs(r) * total + 0.5 * penalty * square
    scale = scale if scale > 0.0 else unit
    residual = max(worst, (total - most) / max(most, 1e-300), (alpha * abs(rest) + slackness) / scale)
    if floor_unit > 0.0:
        residual = max(residual, -rest / floor_unit)
    if least > 0.0:
        residual = max(residual, (least - total) / least)
    return gain - 0.5 * penalty * square, total, surplus, gap / scale, residual
