"""The exposure program: how fast the exact solver is, how it grows, and what the hard threshold loses.

Times are CPU-seconds on one core, the middle of several runs after one that warms up; ratios are between solvers on
the same programs in the same run. The reference is compiled before it is timed where it keeps what it compiled (up to
1,000 candidates). Scores are drawn (skewed click gains with mean 0.09, conversions that partly follow them), not taken
from a model; the floor and the budget are set so that both bind. What the threshold loses depends on such choices, so
it is shown for several lambdas, and it is nobody's target. Run from the repository's root:

    python benchmarks/allocation.py --json benchmarks/results/allocation.json
"""

import sys
from pathlib import Path

# This folder is first on the path of a script, and its allocation.py would hide the package of that name.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from allocation.exposure import Exposure, ExposureRules, GaveWay, solve, solve_batch
from benchmarks._bench import Case, arguments, cpu_seconds, finish, machine
from simulator.streams import Stream

Floats = npt.NDArray[np.float64]

SEED: Final = 20_250
POOL: Final = 1_000_000
REQUESTS: Final = 10_000
SLATE: Final = 50
LAMBDAS: Final = (0.01, 0.03, 0.1)
LAMBDA: Final = 0.1
POOLS: Final = 40
POOL_OF_A_PERIOD: Final = 20_000
DRIFT: Final = 0.1
"""Standard deviation of the common factor by which click gains move from one pool to the next (log scale)."""


def scores(shape: tuple[int, int], name: str) -> tuple[Floats, Floats]:
    """Click gains and conversions, [requests, candidates]: correlated normals (0.3) bent into skewed shares."""
    row, column = np.ogrid[: shape[0], : shape[1]]
    first = Stream(SEED, f"{name}/clicks").normal(row, column)
    second = 0.3 * first + np.sqrt(1 - 0.3**2) * Stream(SEED, f"{name}/conversions").normal(row, column)
    return 0.36 * ndtr(first) ** 3, 0.1 * ndtr(second) ** 4


def rules(o: Floats, candidates: int, penalty: float = LAMBDA) -> ExposureRules:
    """A floor at the 85th percentile of conversion, 10% to 20% of the candidates shown."""
    return ExposureRules(penalty, float(np.quantile(o, 0.85)), 0.1 * candidates, 0.2 * candidates)


def middle(work: Callable[[], object], runs: int, repeats: int = 1) -> float:
    """Median CPU-seconds of a call over ``runs`` runs of ``repeats`` calls each, after one that is not counted."""

    def several() -> None:
        for _ in range(repeats):
            work()

    several()
    return float(np.median([cpu_seconds(several) for _ in range(runs)])) / repeats


def speed() -> list[Case]:
    """Pools of growing size, and many small programs at once."""
    cases, each = [], {}
    for n, runs, repeats in ((10_000, 11, 50), (100_000, 11, 5), (POOL, 7, 1)):
        s, o = (score[0] for score in scores((1, n), f"pool {n}"))
        terms = rules(o, n)
        seconds = middle(partial(solve, s, o, terms), runs, repeats)
        each[n] = seconds / n
        case = f"one pool of {n:,}"
        target = 150.0 if n == POOL else None
        cases.append(Case(case, "exact solve", 1e3 * seconds, "ms", target, at_most=True))
        cases.append(Case(case, "exact solve a candidate", 1e9 * each[n], "ns"))
        found = solve(s, o, terms)
        cases.append(Case(case, "KKT residual", found.residual, "", 1e-8, at_most=True))
    growth = each[POOL] / each[10_000]
    cases.append(Case("from 10,000 to 1,000,000", "growth of time a candidate", growth, "x", 2.0, at_most=True))
    seconds = middle(partial(solve, s, o, rules(o, POOL, 1e-6)), 3)
    cases.append(Case(f"one pool of {POOL:,}, lambda 1e-6", "exact solve", 1e3 * seconds, "ms"))
    s, o = scores((REQUESTS, SLATE), "requests")
    seconds = middle(partial(solve_batch, s, o, rules(o, SLATE)), 7)
    cases.append(Case(f"{REQUESTS:,} requests x {SLATE}", "exact solve", 1e3 * seconds, "ms", 100.0, at_most=True))
    return cases


def against_reference() -> list[Case]:
    """The same programs by both solvers."""
    cases = []
    for rows, n, repeats, runs in ((200, SLATE, 20, 3), (1, 1_000, 200, 5), (1, 10_000, 20, 3), (1, 100_000, 5, 1)):
        s, o = scores((rows, n), f"reference {rows} {n}")
        terms = rules(o, n)
        ours = middle(partial(solve_batch, s, o, terms), 5, repeats)
        theirs = middle(partial(solve_batch, s, o, terms, method="cvxpy"), runs)
        exact, other = solve_batch(s, o, terms), solve_batch(s, o, terms, method="cvxpy")
        apart = float(np.abs(other.objective / exact.objective - 1.0).max())
        case = f"{rows} x {n:,}" if rows > 1 else f"one pool of {n:,}"
        cases.append(Case(case, "CVXPY with Clarabel", 1e3 * theirs, "ms"))
        cases.append(Case(case, "exact is faster by", theirs / ours, "x", 100.0))
        cases.append(Case(case, "objectives apart", apart, "", 1e-8, at_most=True))
    return cases


def what_threshold_loses() -> list[Case]:
    """A sequence of pools, each decided by the rule with the exact multipliers of its own and of the pool before."""
    cases = []
    s, o = scores((POOLS + 1, POOL_OF_A_PERIOD), "periods")
    s *= np.exp(DRIFT * Stream(SEED, "drift").normal(np.arange(POOLS + 1)))[:, None]
    for penalty in LAMBDAS:
        terms = rules(o, POOL_OF_A_PERIOD, penalty)
        exact = [solve(s[t], o[t], terms) for t in range(POOLS + 1)]
        best = np.array([figures(s[t], o[t], exact[t]) for t in range(1, POOLS + 1)])
        for source, back in (("its own multipliers", 0), ("the pool before's", 1)):
            ruled = [solve(s[t], o[t], terms, "threshold", exact[t - back].multipliers) for t in range(1, POOLS + 1)]
            got = np.array([figures(s[t], o[t], found) for t, found in enumerate(ruled, start=1)])
            objective, clicks, _, _ = got.sum(axis=0) / best.sum(axis=0)
            surplus = got[:, 2] / (terms.floor * got[:, 3]) - 1.0
            totals = got[:, 3] / terms.most
            under = np.mean([GaveWay.FLOOR in found.gave_way for found in ruled])
            outside = np.mean([bool(found.gave_way & (GaveWay.LEAST | GaveWay.MOST)) for found in ruled])
            case = f"lambda {penalty:g}, {source}"
            cases += [
                Case(case, "objective, of the exact one's", 100 * objective, "%"),
                Case(case, "expected clicks, of the exact one's", 100 * clicks, "%"),
                Case(case, "conversion surplus, of what the floor asks", 100 * float(surplus.mean()), "%"),
                Case(case, "conversion surplus, worst pool", 100 * float(surplus.min()), "%"),
                Case(case, "exposure, of P", 100 * float(totals.mean()), "%"),
                Case(case, "exposure, lowest pool, of P", 100 * float(totals.min()), "%"),
                Case(case, "exposure, highest pool, of P", 100 * float(totals.max()), "%"),
                Case(case, "pools under the floor", 100 * float(under), "%"),
                Case(case, "pools outside [Q, P]", 100 * float(outside), "%"),
            ]
    return cases


def figures(s: Floats, o: Floats, found: Exposure) -> tuple[float, float, float, float]:
    """Objective, expected clicks, expected conversions and exposure of one answer."""
    return found.objective, float(s @ found.x), float(o @ found.x), found.total


def main() -> None:
    """Measure, print, and write if asked to."""
    options = arguments(__doc__).parse_args()
    where = machine() | {name: version(name) for name in ("cvxpy", "clarabel")}
    cases = [*speed(), *against_reference(), *what_threshold_loses()]
    finish("allocation", cases, where, options.json, "The exposure program")


if __name__ == "__main__":
    main()
