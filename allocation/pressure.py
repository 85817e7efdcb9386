"""The budget pressure r that belongs to a conversion multiplier alpha: one monotone root.

For a fixed alpha the total exposure sum clip((s_i + alpha g_i + r) / lambda, 0, 1) grows with r, piecewise linearly
(the continuous quadratic knapsack; Kiwiel 2008, "Breakpoint searching algorithms for the continuous quadratic knapsack
problem"). Newton steps inside a bracket find it: on the piece that holds the root a step is exact.

It does not know the conversion floor.

Numba's cache watches the file of the function that was called, not this one: after editing here, run
``make clean-kernels``.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

from allocation.survey import minus, plus, survey

Floats = npt.NDArray[np.float64]

ROUNDING: Final = 1e-14
LIMIT: Final = 400


@njit(cache=True)
def pressure_of(
    s: Floats,
    g: Floats,
    n: int,
    settled: tuple[float, float, float],
    alpha: float,
    alpha_low: float,
    r: float,
    r_low: float,
    below: float,
    above: float,
    penalty: float,
    least: float,
    most: float,
    centre: float,
    tolerance: float,
    x: Floats,
) -> tuple[float, float, float, float, float, float, float, float, int]:
    """The budget pressure r that belongs to alpha, with the survey taken there and the number of surveys.

    The total must be ``least`` where r > 0 and ``most`` where r < 0; at r = 0 it may be anything between. So the
    excess is monotone in r with an upward jump at 0, and a step that would cross 0 stops there once to look.
    ``tolerance`` is that of the total, relative to what it must be.
    """
    inverse = 1.0 / penalty
    low, low_low, low_excess = below, 0.0, -(least if below > 0.0 else most) - 1e-300
    high, high_low, high_excess = above, 0.0, max(settled[0] + n - (least if above > 0.0 else most), 1e-300)
    if r <= low or r >= high:
        r, r_low = (low, 0.0) if r <= low else (high, 0.0)
    last = np.inf
    newton = True
    bisect = False
    surveys = 0
    while True:
        sums = survey(s, g, n, settled, alpha, alpha_low, r, r_low, inverse, centre, x)
        surveys += 1
        target = least if r > 0.0 else most
        if r == 0.0:
            target = min(max(sums[0], least), most)
        excess = sums[0] - target
        if abs(excess) <= tolerance * target or surveys >= LIMIT:
            break
        if excess < 0.0:
            low, low_low, low_excess = r, r_low, excess
        else:
            high, high_low, high_excess = r, r_low, excess
        if newton and abs(excess) > 0.25 * last:
            newton = False
        last = abs(excess)
        step = -excess * penalty / sums[3] if sums[3] > 0.0 else 0.0
        trial, trial_low = plus(r, r_low, step)
        inside = minus(trial, trial_low, low, low_low) > 0.0 and minus(high, high_low, trial, trial_low) > 0.0
        if not (newton and step != 0.0 and inside):
            width = minus(high, high_low, low, low_low)
            share = 0.5 if bisect else min(max(low_excess / (low_excess - high_excess), 0.02), 0.98)
            trial, trial_low = plus(low, low_low, share * width)
            bisect = not bisect
            newton = True
            last = np.inf
        if low < 0.0 < high and trial * r <= 0.0 and r != 0.0:
            trial, trial_low = 0.0, 0.0
        if minus(trial, trial_low, low, low_low) <= 0.0 or minus(high, high_low, trial, trial_low) <= 0.0:
            break
        r, r_low = trial, trial_low
    return r, r_low, sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], surveys
