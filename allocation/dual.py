"""The exact solver of the exposure program: two multipliers, found on the concave dual, arrays in and arrays out.

For multipliers (alpha, r) the best exposure is x_i = clip((s_i + alpha g_i + r) / lambda, 0, 1) with g_i = o_i - o*.
Each alpha has its r (``allocation.pressure``), and with that r the conversion surplus grows with alpha, piecewise
linearly, so alpha is a root too. Newton steps inside a bracket find it. On the piece that holds the root a step solves
the linear system of the candidates strictly between 0 and 1, so the answer is exact to rounding, not to a tolerance.

It knows nothing of validation, names or result types: that is ``allocation.exposure``. Boyd and Vandenberghe 2004,
"Convex Optimization", ch. 5.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

from allocation.face import LARGE, on_the_face, reach_of_floor
from allocation.pressure import LIMIT, ROUNDING, pressure_of
from allocation.survey import BLOCK, certify, expose, minus, plus, survey

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

EXACT: Final = 0
LEAST_GAVE_WAY: Final = 1
FLOOR_GAVE_WAY: Final = 2

_PRUNE_ABOVE: Final = 128
_VANISHED: Final = 1e-18
_ROUGH: Final = 1e-3
_ROUGH_ROUNDS: Final = 5


@njit(cache=True, error_model="numpy")
def _settle(
    s: Floats,
    g: Floats,
    n: int,
    settled: tuple[float, float, float],
    alpha: float,
    r: float,
    down: float,
    up: float,
    penalty: float,
    live_s: Floats,
    live_g: Floats,
) -> tuple[int, float, float, float]:
    """Keep the candidates that do not stay at 0 or at 1 for every alpha in [alpha - down, alpha + up].

    The pressure moves by no more than -g of some candidate per unit of alpha, or not at all, which bounds every h.
    """
    lowest, highest = 0.0, 0.0
    for i in range(n):
        lowest, highest = min(lowest, g[i]), max(highest, g[i])
    total, surplus, weight = settled
    kept = 0
    for i in range(n):
        height = s[i] + alpha * g[i] + r
        margin = 1e-6 * penalty + 1e-14 * (abs(s[i]) + alpha * abs(g[i]) + abs(r))
        fall = max(up * (highest - g[i]), down * (g[i] - lowest))
        rise = max(up * (g[i] - lowest), down * (highest - g[i]))
        if height - fall >= penalty + margin:
            total += 1.0
            surplus += g[i]
            weight += abs(g[i])
        elif height + rise > -margin:
            live_s[kept] = s[i]
            live_g[kept] = g[i]
            kept += 1
    return kept, total, surplus, weight


@njit(cache=True, error_model="numpy")
def _solve(
    s: Floats,
    g: Floats,
    n: int,
    penalty: float,
    least: float,
    most: float,
    alpha: float,
    r: float,
    live_s: Floats,
    live_g: Floats,
    block: Floats,
    x: Floats,
) -> tuple[float, float, float, float, float, int]:
    """Solve one scaled program into ``x``.

    Returns alpha and r as two floats each, the surplus asked for (below 0 if the floor gave way), and the surveys.
    """
    live, now_s, now_g = n, s, g
    lowest_s, highest_s, lowest_g, highest_g = np.inf, -np.inf, np.inf, -np.inf
    mean = 0.0
    for i in range(n):
        lowest_s, highest_s = min(lowest_s, s[i]), max(highest_s, s[i])
        lowest_g, highest_g = min(lowest_g, g[i]), max(highest_g, g[i])
        mean += g[i]
    centre = mean / n
    if most <= 0.0:
        for i in range(n):
            x[i] = 0.0
        return 0.0, 0.0, -max(highest_s, 0.0), 0.0, 0.0, 0

    settled = (0.0, 0.0, 0.0)
    alpha_low, r_low = 0.0, 0.0
    low, low_low, low_slack = 0.0, 0.0, -1.0
    high, high_low, high_slack = np.inf, 0.0, np.inf
    zero_seen = False
    before_alpha, before_alpha_low, before_r = -1.0, 0.0, 0.0
    first_weight, first_total = 0.0, 0.0
    last = np.inf
    newton = True
    bisect = False
    misses = 0
    surveys = 0
    settled_width = np.inf
    for rounds in range(LIMIT):
        below = -(highest_s + alpha * highest_g)
        above = -(lowest_s + alpha * lowest_g)
        margin = 2.0 * penalty + 1e-14 * (abs(below) + abs(above))
        below, above = min(below - margin, -penalty), max(above + margin, penalty)
        if before_alpha >= 0.0:
            moved = minus(alpha, alpha_low, before_alpha, before_alpha_low)
            margin = penalty + 1e-14 * (abs(before_r) + abs(moved) * max(highest_g, -lowest_g))
            below = max(below, before_r - max(moved * highest_g, moved * lowest_g, 0.0) - margin)
            above = min(above, before_r + max(-moved * highest_g, -moved * lowest_g, 0.0) + margin)
        # Far from the root its side is all that is needed, and a rough r tells it: the surplus errs by less than the
        # total's excess times the range of g. Where that is not enough, r is made exact at once.
        tolerance = _ROUGH if rounds < _ROUGH_ROUNDS else ROUNDING
        while True:
            r, r_low, total, slack, weight, free, moment1, moment2, taken = pressure_of(
                now_s,
                now_g,
                live,
                settled,
                alpha,
                alpha_low,
                r,
                r_low,
                below,
                above,
                penalty,
                least,
                most,
                centre,
                tolerance,
                block,
            )
            surveys += taken
            bound = r != 0.0 and free > 0.0
            off = total - (least if r > 0.0 else most if r < 0.0 else min(max(total, least), most))
            excess = off if bound else 0.0
            mean = centre + moment1 / free if free > 0.0 else 0.0
            if bound:
                slope = (moment2 - moment1 * moment1 / free) / penalty
                slack -= mean * excess
            else:
                slope = (moment2 + 2.0 * centre * moment1 + centre * centre * free) / penalty if r == 0.0 else 0.0
            slope = slope if slope > 0.0 else 0.0
            error = 2.0 * abs(off) * (highest_g - lowest_g if bound else max(highest_g, -lowest_g))
            if tolerance == ROUNDING or (abs(slack) > error and (alpha > 0.0 or slack < 0.0)):
                break
            tolerance = ROUNDING
            if bound:
                r, r_low = plus(r, r_low, -excess * penalty / free)
                centre = mean
        if slack < 0.0:
            first_weight, first_total = max(first_weight, weight), max(first_total, total)
        zero_seen = zero_seen or alpha == 0.0
        if (alpha == 0.0 and slack >= 0.0) or abs(slack) <= ROUNDING * max(weight, first_weight):
            break
        if slack < 0.0:
            low, low_low, low_slack = alpha, alpha_low, slack
            misses += high == np.inf
        else:
            high, high_low, high_slack = alpha, alpha_low, slack
        if newton and abs(slack) > 0.25 * last:
            newton = False
        last = abs(slack)
        if high == np.inf and (slope == 0.0 or misses > 2):
            surplus, size, tau, ceiling = reach_of_floor(s, g, n, penalty, least, most)
            if surplus <= ROUNDING * size:
                alpha, r, r_low = on_the_face(s, g, n, tau, penalty, least, most, block, x)
                return alpha, 0.0, r, r_low, surplus if surplus < -ROUNDING * size else 0.0, surveys
            high, high_slack = max(ceiling, 2.0 * low), surplus
        step = -slack / slope if slope > 0.0 else 0.0
        trial, trial_low = plus(alpha, alpha_low, step)
        if high == np.inf:
            trial, trial_low = (trial, trial_low) if trial > 4.0 * low else (4.0 * low, 0.0)
        else:
            inside = minus(trial, trial_low, low, low_low) > 0.0 and minus(high, high_low, trial, trial_low) > 0.0
            if not (newton and step != 0.0 and inside):
                width = minus(high, high_low, low, low_low)
                if bisect and high > 16.0 * low > 0.0:
                    trial, trial_low = math.sqrt(low) * math.sqrt(high), 0.0
                else:
                    share = 0.5 if bisect else min(max(low_slack / (low_slack - high_slack), 0.02), 0.98)
                    trial, trial_low = plus(low, low_low, share * width)
                if not zero_seen:
                    trial, trial_low = 0.0, 0.0
                bisect = not bisect
                newton = True
                last = np.inf
            elif minus(trial, trial_low, low, low_low) <= 0.0 or minus(high, high_low, trial, trial_low) <= 0.0:
                break
            width = minus(high, high_low, low, low_low)
            if (
                zero_seen
                and tolerance == ROUNDING
                and rounds >= _ROUGH_ROUNDS
                and live > _PRUNE_ABOVE
                and width < 0.25 * settled_width
            ):
                settled_width = width
                down = max(minus(alpha, alpha_low, low, low_low), 0.0)
                up = max(minus(high, high_low, alpha, alpha_low), 0.0)
                live, gone, surplus, size = _settle(
                    now_s, now_g, live, settled, alpha, r, down, up, penalty, live_s, live_g
                )
                now_s, now_g = live_s, live_g
                settled = (gone, surplus, size)
                if live > 0:
                    lowest_s, highest_s, lowest_g, highest_g = np.inf, -np.inf, np.inf, -np.inf
                    for i in range(live):
                        lowest_s, highest_s = min(lowest_s, live_s[i]), max(highest_s, live_s[i])
                        lowest_g, highest_g = min(lowest_g, live_g[i]), max(highest_g, live_g[i])
        if zero_seen and (minus(trial, trial_low, alpha, alpha_low) == 0.0):
            break
        before_alpha, before_alpha_low, before_r = alpha if tolerance == ROUNDING else -1.0, alpha_low, r
        moved = minus(trial, trial_low, alpha, alpha_low)
        if bound:
            r, r_low = plus(r, r_low, -mean * moved)
            centre = mean
        alpha, alpha_low = trial, trial_low

    # Where only candidates that meet the floor exactly are left, a sum of rounding errors cannot tell.
    if alpha > 0.0 and weight <= 100.0 * ROUNDING * first_weight:
        surplus, size, tau, ceiling = reach_of_floor(s, g, n, penalty, least, most)
        if surplus <= ROUNDING * size:
            alpha, r, r_low = on_the_face(s, g, n, tau, penalty, least, most, block, x)
            return alpha, 0.0, r, r_low, surplus if surplus < -ROUNDING * size else 0.0, surveys
    inverse = 1.0 / penalty
    polished, polished_low, pressed, pressed_low = alpha, alpha_low, r, r_low
    if slope > 0.0 and alpha > 0.0:
        polished, polished_low = plus(alpha, alpha_low, -slack / slope)
    if bound:
        moved = minus(polished, polished_low, alpha, alpha_low)
        pressed, pressed_low = plus(r, r_low, -excess * penalty / free - mean * moved)
    if polished > 0.0 or alpha == 0.0:
        checked = survey(s, g, n, (0.0, 0.0, 0.0), polished, polished_low, pressed, pressed_low, inverse, centre, block)
        surveys += 1
        target = least if pressed > 0.0 else most
        new_miss = abs(checked[0] - target) / target if bound else 0.0
        old_miss = abs(excess) / target if bound else 0.0
        if alpha > 0.0:
            new_miss += abs(checked[1]) / max(weight, first_weight, 1e-300)
            old_miss += abs(slack) / max(weight, first_weight, 1e-300)
        if new_miss <= old_miss + ROUNDING:
            alpha, alpha_low, r, r_low = polished, polished_low, pressed, pressed_low
    expose(s, g, 0, n, alpha, alpha_low, r, r_low, inverse, x, 0)
    if alpha > 0.0 and least == 0.0:
        total = 0.0
        for i in range(n):
            total += x[i]
        if total <= _VANISHED * first_total:
            for i in range(n):
                x[i] = 0.0
    return alpha, alpha_low, r, r_low, 0.0, surveys


@njit(cache=True, error_model="numpy")
def solve_rows(
    clicks: Floats,
    conversions: Floats,
    starts: Ints,
    sizes: Ints,
    floor: float,
    penalty: float,
    least: float,
    most: float,
    first_alpha: float,
    first_r: float,
    x: Floats,
    numbers: Floats,
    codes: Ints,
) -> None:
    """Solve each row on its own, one after the other, so that a row's answer does not depend on its neighbours.

    Args:
        clicks: s of all rows, flat.
        conversions: o of all rows, flat.
        starts: where a row begins, int64 [rows].
        sizes: its candidates, int64 [rows].
        floor: o*.
        penalty: lambda.
        least: Q.
        most: P.
        first_alpha: where to start alpha; 0 knows nothing.
        first_r: where to start r.
        x: answer, flat; candidates whose score is not finite get 0.
        numbers: answer [rows, 7]: alpha, r, objective, total, surplus, gap, KKT residual.
        codes: answer [rows, 3]: what gave way, candidates excluded, surveys taken.
    """
    widest = 0
    for row in range(len(starts)):
        widest = max(widest, sizes[row])
    s = np.empty(widest)
    g = np.empty(widest)
    live_s = np.empty(widest)
    live_g = np.empty(widest)
    block = np.empty(BLOCK)
    for row in range(len(starts)):
        n = 0
        largest_s = penalty * 2.0**-40
        largest_g = 0.0
        for i in range(starts[row], starts[row] + sizes[row]):
            gain = clicks[i]
            slope = conversions[i] - floor
            if math.isfinite(gain) and math.isfinite(slope):
                s[n] = gain
                g[n] = slope
                largest_s = max(largest_s, abs(gain))
                largest_g = max(largest_g, abs(slope))
                n += 1
        codes[row, 0] = LEAST_GAVE_WAY if least > n else EXACT
        codes[row, 1] = sizes[row] - n
        codes[row, 2] = 0
        numbers[row, :] = 0.0
        shown = x[starts[row] : starts[row] + sizes[row]]
        if n == 0:
            shown[:] = 0.0
            continue
        # Powers of two: scaling changes no digit of the scores.
        scale_s = math.ldexp(1.0, -min(max(math.frexp(largest_s)[1], -1000), 1000))
        scale_g = math.ldexp(1.0, -min(max(math.frexp(largest_g)[1], -1000), 1000)) if largest_g > 0.0 else 1.0
        for i in range(n):
            s[i] *= scale_s
            g[i] *= scale_g
        own_penalty = max(penalty * scale_s, 1e-250)
        own_least = min(least, float(n))
        own_most = min(most, float(n))
        start_alpha = first_alpha / scale_g * scale_s
        start_r = first_r * scale_s
        if not (0.0 <= start_alpha < LARGE and abs(start_r) < LARGE):
            start_alpha, start_r = 0.0, 0.0
        alpha, alpha_low, r, r_low, wanted, surveys = _solve(
            s, g, n, own_penalty, own_least, own_most, start_alpha, start_r, live_s, live_g, block, shown
        )
        objective, total, surplus, gap, residual = certify(
            s, g, n, shown, alpha, alpha_low, r, r_low, own_penalty, own_least, own_most, wanted
        )
        # The answer stands without gaps; where candidates were left out it is spread, from the end.
        k = n
        if n < sizes[row]:
            for i in range(starts[row] + sizes[row] - 1, starts[row] - 1, -1):
                usable = math.isfinite(clicks[i]) and math.isfinite(conversions[i] - floor)
                k -= usable
                x[i] = x[starts[row] + k] if usable else 0.0
        if wanted < 0.0:
            codes[row, 0] |= FLOOR_GAVE_WAY
        codes[row, 2] = surveys
        numbers[row, 0] = min(alpha / scale_s * scale_g, LARGE)
        numbers[row, 1] = min(max(r / scale_s, -LARGE), LARGE)
        numbers[row, 2] = objective / scale_s
        numbers[row, 3] = total
        numbers[row, 4] = surplus / scale_g
        numbers[row, 5] = gap
        numbers[row, 6] = residual
