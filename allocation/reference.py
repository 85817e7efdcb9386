"""The exposure program handed to a general solver, as a reference: CVXPY, disciplined and parametrised, and Clarabel.

Up to 1,000 candidates the program is compiled once for their number and kept, and solving again only fills in numbers
(Agrawal et al. 2019, "Differentiable convex optimization layers", on disciplined parametrised programming). What is
kept grows with the square of their number (150 GB at 100,000), so larger programs are compiled each time. Scores are
scaled to about 1 first, because an interior-point method stops at tolerances measured against 1. Its exposures are good
to about 1e-8 where lambda is not much smaller than the scores; below that only the objective is.

It knows nothing of validation or of which constraint gives way: that is ``allocation.exposure``.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cvxpy as cp
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

TOLERANCE: Final = 1e-11
KEPT_UP_TO: Final = 1_000


@dataclass(frozen=True)
class _Compiled:
    problem: cp.Problem
    x: cp.Variable
    gain: cp.Parameter
    slope: cp.Parameter
    root: cp.Parameter
    wanted: cp.Parameter
    least: cp.Parameter
    most: cp.Parameter
    floor: cp.Constraint
    lower: cp.Constraint
    upper: cp.Constraint


@lru_cache(maxsize=16)
def _compiled(candidates: int) -> _Compiled:
    x = cp.Variable(candidates)
    gain, slope = cp.Parameter(candidates), cp.Parameter(candidates)
    root = cp.Parameter(nonneg=True)
    wanted, least, most = cp.Parameter(), cp.Parameter(), cp.Parameter()
    floor, lower, upper = slope @ x >= wanted, cp.sum(x) >= least, cp.sum(x) <= most
    problem = cp.Problem(
        cp.Maximize(gain @ x - 0.5 * cp.sum_squares(root * x)), [floor, lower, upper, x >= 0.0, x <= 1.0]
    )
    return _Compiled(problem, x, gain, slope, root, wanted, least, most, floor, lower, upper)


def solve_reference(
    gain: Floats, slope: Floats, penalty: float, least: float, most: float, wanted: float
) -> tuple[Floats, float, float]:
    """Maximise gain . x - penalty/2 ||x||^2 with slope . x >= wanted, least <= sum(x) <= most and 0 <= x <= 1.

    Args:
        gain: s, finite, [candidates]; may be empty.
        slope: o - o*, finite, [candidates].
        penalty: lambda > 0.
        least: Q, at most the number of candidates.
        most: P.
        wanted: least surplus; 0 unless the floor gave way.

    Returns:
        x clipped to [0, 1], alpha and r. Where the solver gives no answer they are 0, and a certificate will say so.
    """
    if len(gain) == 0:
        return np.zeros(0), 0.0, 0.0
    compiled = _compiled(len(gain))
    unit = max(float(np.abs(gain).max()), penalty)
    steepness = float(np.abs(slope).max()) or 1.0
    compiled.gain.value = gain / unit
    compiled.slope.value = slope / steepness
    compiled.root.value = np.sqrt(penalty / unit)
    compiled.wanted.value = wanted / steepness
    compiled.least.value = least
    compiled.most.value = min(most, float(len(gain)))
    try:
        compiled.problem.solve(
            solver=cp.CLARABEL,
            ignore_dpp=len(gain) > KEPT_UP_TO,
            tol_gap_abs=TOLERANCE,
            tol_gap_rel=TOLERANCE,
            tol_feas=TOLERANCE,
            reduced_tol_gap_abs=1e-8,
            reduced_tol_gap_rel=1e-8,
            reduced_tol_feas=1e-8,
        )
    except cp.SolverError:
        return np.zeros(len(gain)), 0.0, 0.0
    value = compiled.x.value
    if value is None or not np.isfinite(value).all():
        return np.zeros(len(gain)), 0.0, 0.0
    # Without slopes the floor's price is whatever the solver happened to leave there.
    alpha = max(float(compiled.floor.dual_value), 0.0) * unit / steepness if slope.any() else 0.0
    pressure = (float(compiled.lower.dual_value) - float(compiled.upper.dual_value)) * unit
    return np.clip(value, 0.0, 1.0), alpha, pressure
