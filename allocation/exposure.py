"""The quadratic program that decides how much each cognitive candidate of a request, or of a pool, is shown.

    maximise    sum s_i x_i - lambda/2 ||x||^2
    subject to  sum (o_i - o*) x_i >= 0,   Q <= sum x_i <= P,   0 <= x_i <= 1

with s_i the expected click gain and o_i the expected conversion of candidate i (RecGPT-V2 report, traffic allocation).
Three methods share one interface and one result: ``dual`` (exact, ours), ``cvxpy`` (a general solver, the reference)
and ``threshold`` (the rule used in production, x_i = 1[h_i > lambda] with multipliers from elsewhere).

No request goes without an answer. Where the constraints cannot all be met they give way in a fixed order:

1. Q gives way first, to the number of usable candidates: no exposure can be had from candidates that are not there.
2. Then the floor gives way, to the largest surplus that Q allows. Among the exposures that reach it, the one with the
   best objective is taken. Q is kept because it is a promise of places to fill, and a page with holes helps no
   conversion; the floor is an average that later requests can repay. So the candidates of highest o are shown, and
   ties in o are settled by the objective. No index decides, so the answer does not depend on the candidates' order.

What is then solved is a feasible program (the floor lowered to that surplus), with multipliers, gap and residual of
its own. The caps P and 0 <= x <= 1 never give way.

This module knows nothing of users, items or arms, nor of how the numbers are found (``allocation.dual``,
``allocation.reference``).
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag, StrEnum
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from allocation.dual import EXACT, FLOOR_GAVE_WAY, LEAST_GAVE_WAY, solve_rows
from allocation.face import reach_of_floor
from allocation.survey import certify

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Method = Literal["dual", "cvxpy", "threshold"]

METHODS: Final[tuple[Method, ...]] = ("dual", "cvxpy", "threshold")
ACCURATE: Final = 1e-8
_MET: Final = 1e-9
_Answer = Callable[[Floats, Floats, float, float, float, float], tuple[Floats, float, float]]


class Status(StrEnum):
    """What kind of answer this is."""

    OPTIMAL = "optimal"
    """The program as given, solved: gap and KKT residual below 1e-8."""
    RELAXED = "relaxed"
    """The program could not be met; solved to the same accuracy after a constraint gave way."""
    INEXACT = "inexact"
    """Solved, but the gap or the residual is above 1e-8."""
    FEASIBLE = "feasible"
    """A rule's answer that meets every constraint."""
    VIOLATED = "violated"
    """A rule's answer that misses a constraint."""


class GaveWay(IntFlag):
    """Which constraints the answer does not meet as given."""

    NONE = EXACT
    LEAST = LEAST_GAVE_WAY
    FLOOR = FLOOR_GAVE_WAY
    MOST = 4


@dataclass(frozen=True)
class ExposureRules:
    """The constants of the program.

    Attributes:
        penalty: lambda > 0, the price of concentrating exposure, in units of click gain.
        floor: o*, the conversion the exposed candidates must reach on average.
        least: Q >= 0, the least total exposure.
        most: P >= Q, the largest total exposure; may be infinite.

    Raises:
        ValueError: a value is outside these bounds.
    """

    penalty: float
    floor: float = 0.0
    least: float = 0.0
    most: float = math.inf

    def __post_init__(self) -> None:
        if not (math.isfinite(self.penalty) and self.penalty > 0.0):
            raise ValueError(f"penalty: {self.penalty}; it must be finite and above 0")
        if not math.isfinite(self.floor):
            raise ValueError(f"floor: {self.floor}; it must be finite")
        if not (math.isfinite(self.least) and self.least >= 0.0):
            raise ValueError(f"least: {self.least}; it must be finite and at least 0")
        if not self.most >= self.least:
            raise ValueError(f"most: {self.most}; it must be at least least ({self.least})")


@dataclass(frozen=True)
class Multipliers:
    """The prices of the constraints.

    Attributes:
        conversion: alpha >= 0, click gain given up for a unit of conversion.
        pressure: r, above 0 where Q pushes exposure up, below 0 where P holds it down.

    Raises:
        ValueError: a price is not finite, or that of conversion is below 0.
    """

    conversion: float
    pressure: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.conversion) and self.conversion >= 0.0):
            raise ValueError(f"conversion: {self.conversion}; it must be finite and at least 0")
        if not math.isfinite(self.pressure):
            raise ValueError(f"pressure: {self.pressure}; it must be finite")


@dataclass(frozen=True)
class Exposure:
    """The answer to one program.

    Attributes:
        x: exposure, [candidates], each in [0, 1]; 0 where a score is not finite.
        multipliers: alpha and r. Not unique where no candidate is strictly between 0 and 1; x always is.
        objective: s . x - lambda/2 ||x||^2.
        total: sum of x.
        surplus: sum of (o - o*) x; below 0 where the floor is missed.
        status: what kind of answer this is.
        gave_way: constraints not met as given.
        excluded: candidates left out because a score is not finite.
        gap: duality gap over the size of the objective's terms (``allocation.survey.certify``).
        residual: largest scaled violation of the KKT conditions.
        seconds: wall time of the solve.
    """

    x: Floats
    multipliers: Multipliers
    objective: float
    total: float
    surplus: float
    status: Status
    gave_way: GaveWay
    excluded: int
    gap: float
    residual: float
    seconds: float


@dataclass(frozen=True)
class Exposures:
    """The answers to many programs; field by field as in ``Exposure``.

    Attributes:
        x: [requests, candidates]; 0 beyond a request's own candidates.
        conversion: alpha, [requests].
        pressure: r, [requests].
        objective: [requests].
        total: [requests].
        surplus: [requests].
        gave_way: bits of ``GaveWay``, int64 [requests].
        excluded: int64 [requests].
        gap: [requests].
        residual: [requests].
        rule: whether a rule was applied instead of solving.
        seconds: wall time of all of them.
    """

    x: Floats
    conversion: Floats
    pressure: Floats
    objective: Floats
    total: Floats
    surplus: Floats
    gave_way: Ints
    excluded: Ints
    gap: Floats
    residual: Floats
    rule: bool
    seconds: float

    def status(self, row: int) -> Status:
        """What kind of answer row ``row`` is."""
        if self.rule:
            return Status.VIOLATED if self.gave_way[row] else Status.FEASIBLE
        if not (self.residual[row] <= ACCURATE and abs(self.gap[row]) <= ACCURATE):
            return Status.INEXACT
        return Status.RELAXED if self.gave_way[row] else Status.OPTIMAL

    def row(self, row: int, candidates: int | None = None) -> Exposure:
        """The answer to one program, cut to its own number of candidates if given."""
        return Exposure(
            x=self.x[row, :candidates],
            multipliers=Multipliers(float(self.conversion[row]), float(self.pressure[row])),
            objective=float(self.objective[row]),
            total=float(self.total[row]),
            surplus=float(self.surplus[row]),
            status=self.status(row),
            gave_way=GaveWay(int(self.gave_way[row])),
            excluded=int(self.excluded[row]),
            gap=float(self.gap[row]),
            residual=float(self.residual[row]),
            seconds=self.seconds,
        )


def solve(
    clicks: npt.ArrayLike,
    conversions: npt.ArrayLike,
    rules: ExposureRules,
    method: Method = "dual",
    multipliers: Multipliers | None = None,
) -> Exposure:
    """Exposure of one request's or pool's candidates.

    Args:
        clicks: s, expected click gain, [candidates]; may be empty.
        conversions: o, expected conversion, [candidates].
        rules: constants of the program.
        method: ``dual``, ``cvxpy`` or ``threshold``.
        multipliers: for ``threshold`` the prices to apply; for ``dual`` where to start, which changes the time taken
            and not the answer; unused by ``cvxpy``.

    Raises:
        ValueError: shapes differ, the method is unknown, or ``threshold`` has no multipliers.
    """
    s = np.atleast_1d(np.asarray(clicks, dtype=np.float64))
    o = np.atleast_1d(np.asarray(conversions, dtype=np.float64))
    if s.ndim != 1:
        raise ValueError(f"clicks: shape {s.shape}; it must be [candidates]")
    if s.shape != o.shape:
        raise ValueError(f"conversions: shape {o.shape}; it must be that of clicks, {s.shape}")
    return solve_batch(s[None], o[None], rules, method=method, multipliers=multipliers).row(0)


def solve_batch(
    clicks: npt.ArrayLike,
    conversions: npt.ArrayLike,
    rules: ExposureRules,
    sizes: npt.ArrayLike | None = None,
    method: Method = "dual",
    multipliers: Multipliers | None = None,
) -> Exposures:
    """Exposure of many requests at once, each its own program; a row's bytes are those of ``solve`` on it alone.

    Args:
        clicks: s, [requests, candidates].
        conversions: o, [requests, candidates].
        rules: constants, the same for all.
        sizes: own candidates of each request, [requests]; the rest is padding and not read. All by default.
        method: as in ``solve``.
        multipliers: as in ``solve``, the same for all.

    Raises:
        ValueError: as ``solve``; or a size outside 0..candidates.
    """
    s = np.ascontiguousarray(clicks, dtype=np.float64)
    o = np.ascontiguousarray(conversions, dtype=np.float64)
    if s.ndim != 2:
        raise ValueError(f"clicks: shape {s.shape}; it must be [requests, candidates]")
    if s.shape != o.shape:
        raise ValueError(f"conversions: shape {o.shape}; it must be that of clicks, {s.shape}")
    requests, candidates = s.shape
    own = np.full(requests, candidates, dtype=np.int64) if sizes is None else np.asarray(sizes, dtype=np.int64)
    if own.shape != (requests,) or ((own < 0) | (own > candidates)).any():
        raise ValueError(
            f"sizes: {own.tolist()[:8]}; it must hold one number in 0..{candidates} for each of {requests} requests"
        )
    if method not in METHODS:
        raise ValueError(f"method: {method!r}; it must be one of {', '.join(METHODS)}")
    answer: _Answer | None = None
    if method == "cvxpy":
        # CVXPY takes a second or more to import, and most users never need it.
        from allocation.reference import solve_reference as answer
    elif method == "threshold":
        if multipliers is None:
            raise ValueError("multipliers: none; the threshold rule needs those of an earlier solve")
        answer = _threshold(multipliers)
    begun = time.perf_counter()
    if answer is None:
        x, numbers, codes = _dual(s, o, own, rules, multipliers)
    else:
        x, numbers, codes = np.zeros(s.shape), np.zeros((requests, 7)), np.zeros((requests, 2), dtype=np.int64)
        for row in range(requests):
            used = slice(0, int(own[row]))
            _one(s[row, used], o[row, used], rules, answer, method == "cvxpy", x[row, used], numbers[row], codes[row])
    return Exposures(
        x=x,
        conversion=numbers[:, 0],
        pressure=numbers[:, 1],
        objective=numbers[:, 2],
        total=numbers[:, 3],
        surplus=numbers[:, 4],
        gave_way=codes[:, 0],
        excluded=codes[:, 1],
        gap=numbers[:, 5],
        residual=numbers[:, 6],
        rule=method == "threshold",
        seconds=time.perf_counter() - begun,
    )


def _dual(
    s: Floats, o: Floats, own: Ints, rules: ExposureRules, start: Multipliers | None
) -> tuple[Floats, Floats, Ints]:
    requests, candidates = s.shape
    x = np.zeros(s.shape)
    numbers = np.empty((requests, 7))
    codes = np.empty((requests, 3), dtype=np.int64)
    solve_rows(
        s.reshape(-1),
        o.reshape(-1),
        np.arange(requests, dtype=np.int64) * candidates,
        own,
        float(rules.floor),
        float(rules.penalty),
        float(rules.least),
        float(rules.most),
        float(start.conversion) if start else 0.0,
        float(start.pressure) if start else 0.0,
        x.reshape(-1),
        numbers,
        codes,
    )
    return x, numbers, codes


def _threshold(prices: Multipliers) -> _Answer:
    def show(
        gain: Floats, slope: Floats, penalty: float, least: float, most: float, wanted: float
    ) -> tuple[Floats, float, float]:
        height = gain + prices.conversion * slope + prices.pressure
        return (height > penalty).astype(np.float64), prices.conversion, prices.pressure

    return show


def _one(
    s: Floats,
    o: Floats,
    rules: ExposureRules,
    answer: _Answer,
    relax: bool,
    x: Floats,
    numbers: Floats,
    codes: Ints,
) -> None:
    """One program by the reference or by the rule, with the scores that are not finite taken out and put back."""
    usable = np.isfinite(s) & np.isfinite(o - rules.floor)
    gain, slope = s[usable], (o - rules.floor)[usable]
    n = len(gain)
    least, most = min(rules.least, float(n)), min(rules.most, float(n))
    wanted = 0.0
    if relax and n > 0:
        surplus, size, _, _ = reach_of_floor(gain, slope, n, rules.penalty, least, most)
        wanted = surplus if surplus < -_MET * size else 0.0
    shown, alpha, pressure = answer(gain, slope, rules.penalty, least, most, wanted)
    objective, total, surplus, gap, residual = certify(
        gain, slope, n, shown, alpha, 0.0, pressure, 0.0, rules.penalty, least, most, wanted
    )
    x[usable] = shown
    numbers[:] = alpha, pressure, objective, total, surplus, gap, residual
    missed = GaveWay.NONE
    if rules.least > (n if relax else total * (1.0 + _MET)):
        missed |= GaveWay.LEAST
    if wanted < 0.0 or (not relax and surplus < -_MET * float(np.abs(slope) @ shown)):
        missed |= GaveWay.FLOOR
    if not relax and total > rules.most * (1.0 + _MET):
        missed |= GaveWay.MOST
    codes[:] = int(missed), len(s) - n
