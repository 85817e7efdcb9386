"""What share of each segment's requests gets the cognitive channel: a quadratic program, solved once a day.

A segment g is an activity level in a city in a context. Of its n_g requests a day a share w_g may draw on the
cognitive channel, the rest is served by the utility channel alone. Per exposed request the channel is estimated to
gain u_g clicks, v_g conversions and m_g novel exposures, and costs gpu_g GPU-seconds. Conversions are what is counted
as such; in experiments these are orders bought at once, without those from the cart (``allocation.channels``). Each day

    maximise    sum_g n_g u_g w_g - (gamma / 2) w' S w
    subject to  sum_g n_g v_g w_g   >= -tau sum_g n_g b_g       conversions: at most tau of utility's are given up
                sum_g n_g m_g w_g   >=  N sum_g n_g             novelty: N more novel exposures a request, on average
                sum_g n_g gpu_g w_g <=  B                       GPU-seconds a day
                |w_g - yesterday_g| <=  delta                   ramp
                lower <= w_g <= upper                           every segment keeps being explored, and compared

with S the covariance of the estimated totals n_g u_g, so that an uncertain gain is bought with caution
(mean and variance as in Markowitz 1952, "Portfolio selection"). It is the program of RecGPT-V2, section on traffic
allocation (arXiv 2512.14503), lifted from the candidates of a request to the segments of a day; budgets, ramp and
the covariance in place of the plain ridge are this project's own.

Limits that cannot all hold give way in a fixed order: novelty first, then conversions, then the ramp, then the
lower bound. The GPU budget and the upper bound never do. Each gives way by the least that suffices, given all that
come after it in that order (preemptive goal programming, Charnes and Cooper 1961): ramp and lower bound in closed
form, conversions and novelty by a linear program each. So the quadratic program handed to the solver has a solution.

It does not know how gains are estimated (``allocation.gains``), what a segment means, or how a share becomes
a draw for one visit.
"""

import warnings
from dataclasses import dataclass, fields
from typing import Final, Literal, NamedTuple

import cvxpy as cp
import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog

Floats = npt.NDArray[np.float64]
Status = Literal["optimal", "relaxed", "fallback"]
Limit = Literal["novelty", "conversion", "ramp", "lower"]

GIVES_WAY: Final[tuple[Limit, ...]] = ("novelty", "conversion", "ramp", "lower")
"""Limits in the order in which they give way."""

_SECONDS_AN_HOUR: Final = 3600.0
_POINT: Final = 0.01
# Rows are scaled so that their largest coefficient is 1. A limit that gives way leaves this much room beyond the
# least that suffices: without it the feasible set has no interior and the multipliers are not unique.
_ROOM: Final = 1e-6
_AT_LIMIT: Final = 1e-7
_ROUNDING: Final = 1e-9
# The reduced tolerances say what the solver may still call inaccurate rather than failed.
_TOLERANCES: Final = {
    **dict.fromkeys(("tol_feas", "tol_gap_abs", "tol_gap_rel"), 1e-10),
    **dict.fromkeys(("reduced_tol_feas", "reduced_tol_gap_abs", "reduced_tol_gap_rel"), 1e-7),
}
_LP_TOLERANCES: Final = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
_BUDGET, _CONVERSION, _NOVELTY = range(3)


@dataclass(frozen=True)
class SplitSettings:
    """What the operator wants; the defaults are choices, not measurements.

    Attributes:
        risk_aversion: gamma >= 0, per click: clicks given up per squared click of variance, twice.
        conversion_tolerance: tau >= 0, share of utility's conversions that may be given up.
        novelty_floor: N, novel exposures gained a request averaged over all requests; None for no floor.
        gpu_budget: B >= 0, GPU-seconds a day; None for no budget.
        ramp: delta in [0, 1], the largest change of a share from one day to the next.
        lower: smallest share of a segment; above 0 every segment is explored.
        upper: largest share of a segment; under 1 every segment keeps requests to compare with.

    Raises:
        ValueError: when a setting is outside its range.
    """

    risk_aversion: float
    conversion_tolerance: float = 0.01
    novelty_floor: float | None = None
    gpu_budget: float | None = None
    ramp: float = 0.1
    lower: float = 0.05
    upper: float = 0.95

    def __post_init__(self) -> None:
        for name in ("risk_aversion", "conversion_tolerance", "gpu_budget"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value < np.inf:
                raise ValueError(f"{name}: {value} (must be a finite number, 0 or more)")
        if self.novelty_floor is not None and not np.isfinite(self.novelty_floor):
            raise ValueError(f"novelty_floor: {self.novelty_floor} (must be finite; leave it out for no floor)")
        if not 0.0 <= self.ramp <= 1.0:
            raise ValueError(f"ramp: {self.ramp} (must be from 0 to 1)")
        if not 0.0 <= self.lower <= self.upper <= 1.0:
            raise ValueError(f"lower, upper: {self.lower}, {self.upper} (must be 0 <= lower <= upper <= 1)")


@dataclass(frozen=True)
class DayInputs:
    """What is expected of one day, per segment; a request is the unit whose channel is drawn.

    Attributes:
        requests: n, [segments] requests a day, 0 or more.
        click_gain: u, [segments] clicks a request.
        click_covariance: [segments, segments] covariance of the estimate u, positive semidefinite.
        conversion_gain: v, [segments] conversions a request.
        conversion_rate: b, [segments] conversions a request of the utility channel alone, 0 or more.
        novelty_gain: m, [segments] novel exposures a request.
        gpu_seconds: gpu, [segments] GPU-seconds a request, 0 or more.
        yesterday: [segments] yesterday's share; None on the first day, which has no ramp.
    """

    requests: Floats
    click_gain: Floats
    click_covariance: Floats
    conversion_gain: Floats
    conversion_rate: Floats
    novelty_gain: Floats
    gpu_seconds: Floats
    yesterday: Floats | None


@dataclass(frozen=True)
class Prices:
    """What one more unit of each limit would gain, in risk-adjusted clicks a day; 0 where a limit does not bind.

    Where a limit gave way, its price is that of the level it gave way to.

    Attributes:
        gpu_second: clicks per GPU-second of budget.
        conversion: clicks per conversion a day that may be given up in addition.
        novelty: clicks per novel exposure a day taken off the floor.
        novelty_point: clicks per 0.01 taken off ``novelty_floor``.
        ramp_up: [segments] clicks per unit of share a segment might rise further.
        ramp_down: [segments] clicks per unit of share a segment might fall further.
        lower: [segments] clicks per unit off the lower bound.
        upper: [segments] clicks per unit onto the upper bound.
    """

    gpu_second: float
    conversion: float
    novelty: float
    novelty_point: float
    ramp_up: Floats
    ramp_down: Floats
    lower: Floats
    upper: Floats

    @property
    def gpu_hour(self) -> float:
        """Clicks per GPU-hour of budget."""
        return _SECONDS_AN_HOUR * self.gpu_second


class GaveWay(NamedTuple):
    """A limit that could not be kept.

    Attributes:
        limit: which one.
        shortfall: by how much: novel exposures a day, conversions a day, or share (the largest over segments).
    """

    limit: Limit
    shortfall: float


@dataclass(frozen=True)
class Split:
    """The day's answer.

    Attributes:
        share: w, [segments] in [0, 1].
        objective: risk-adjusted clicks a day gained at that share.
        status: "optimal"; "relaxed" where limits gave way; "fallback" where the solver failed and the share is
            yesterday's, moved as little as the bounds, the ramp and the budget ask for.
        gave_way: the limits that gave way, in the order of ``GIVES_WAY``; in a fallback conversions and novelty were
            not looked at.
        prices: of the limits as they held; zeros in a fallback.
    """

    share: Floats
    objective: float
    status: Status
    gave_way: tuple[GaveWay, ...]
    prices: Prices


class _Box(NamedTuple):
    """The range of each share, and which of its sides the ramp draws rather than the bounds.

    Where the lower corner alone spends the budget, the segments that cost anything have no range left: ``spent``.
    """

    low: Floats
    high: Floats
    low_is_ramp: npt.NDArray[np.bool_]
    high_is_ramp: npt.NDArray[np.bool_]
    spent: npt.NDArray[np.bool_]
    gave_way: tuple[GaveWay, ...]


class _Rows(NamedTuple):
    """``coefficients @ w >= floor`` for budget (signs turned), conversions and novelty; divided by ``scale``."""

    coefficients: Floats
    floor: Floats
    scale: Floats
    gave_way: tuple[GaveWay, ...]


class SplitProgram:
    """The program for a number of segments, compiled once and solved for the inputs of any day.

    The answer depends on the day's inputs alone, not on days solved before.

    Args:
        segments: how many, 1 or more.
        settings: the limits.

    Raises:
        ValueError: when there is no segment.
    """

    def __init__(self, segments: int, settings: SplitSettings) -> None:
        if segments < 1:
            raise ValueError(f"segments: {segments} (must be 1 or more)")
        self.segments = segments
        self.settings = settings
        self._share = cp.Variable(segments)
        self._gain = cp.Parameter(segments)
        self._root = cp.Parameter((segments, segments))
        self._low = cp.Parameter(segments)
        self._high = cp.Parameter(segments)
        self._coefficients = cp.Parameter((3, segments))
        self._floor = cp.Parameter(3)
        self._rows = self._coefficients @ self._share >= self._floor
        self._problem = cp.Problem(
            cp.Maximize(self._gain @ self._share - 0.5 * cp.sum_squares(self._root @ self._share)),
            [self._rows, self._share >= self._low, self._share <= self._high],
        )

    def solve(self, day: DayInputs) -> Split:
        """The best split of one day; limits that cannot hold give way, and a failing solver means a fallback.

        Raises:
            ValueError: when an input has the wrong shape, is not finite, or is outside its range.
        """
        _validate(day, self.segments)
        box = _box(day, self.settings)
        asked = _scaled_rows(day, self.settings, box)
        rows = _attainable(asked, box)
        gain = day.requests * day.click_gain
        root = np.sqrt(self.settings.risk_aversion) * _square_root(day.click_covariance) * day.requests
        solved = None if rows is None else self._solve_scaled(gain, root, box, rows)
        if rows is None or solved is None:
            share = _paid(box.low if day.yesterday is None else np.clip(day.yesterday, box.low, box.high), asked, box)
            return Split(share, _objective(gain, root, share), "fallback", box.gave_way, _no_prices(self.segments))
        share, multipliers = solved
        gave_way = (*rows.gave_way, *box.gave_way)
        return Split(
            share=share,
            objective=_objective(gain, root, share),
            status="relaxed" if gave_way else "optimal",
            gave_way=gave_way,
            prices=_prices(gain, root, share, multipliers, day, box, rows),
        )

    def _solve_scaled(self, gain: Floats, root: Floats, box: _Box, rows: _Rows) -> tuple[Floats, Floats] | None:
        """Share [segments] and multipliers of the unscaled rows [3], or None where the solver gives no answer."""
        size = float(max(np.abs(gain).max(), (root**2).sum(axis=0).max())) or 1.0
        self._gain.value = gain / size
        self._root.value = root / np.sqrt(size)
        self._low.value, self._high.value = box.low, box.high
        self._coefficients.value, self._floor.value = rows.coefficients, rows.floor
        try:
            with warnings.catch_warnings():
                # cvxpy warns of an inaccurate solution; the status says so too, and is what is acted upon.
                warnings.simplefilter("ignore")
                self._problem.solve(solver=cp.CLARABEL, warm_start=False, **_TOLERANCES)
        except cp.SolverError:
            return None
        share, multipliers = self._share.value, self._rows.dual_value
        if self._problem.status not in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE) or share is None or multipliers is None:
            return None
        share = np.clip(share, box.low, box.high)
        slack = rows.coefficients @ share - rows.floor
        if not np.isfinite(share).all() or not np.isfinite(multipliers).all() or (slack < -_ROOM).any():
            return None
        multipliers = np.where(slack > np.maximum(multipliers, _AT_LIMIT), 0.0, np.maximum(multipliers, 0.0))
        return share, multipliers * size / rows.scale


def _validate(day: DayInputs, segments: int) -> None:
    for field in fields(day):
        value = getattr(day, field.name)
        if value is None:
            continue
        shape = (segments, segments) if field.name == "click_covariance" else (segments,)
        if np.shape(value) != shape:
            raise ValueError(f"{field.name}: shape {np.shape(value)} (must be {shape})")
        if not np.isfinite(value).all():
            raise ValueError(f"{field.name}: {np.asarray(value)[~np.isfinite(value)][0]} (every value must be finite)")
    for name in ("requests", "conversion_rate", "gpu_seconds"):
        least = float(getattr(day, name).min())
        if least < 0.0:
            raise ValueError(f"{name}: {least} (must be 0 or more)")
    if day.yesterday is not None and (day.yesterday.min() < 0.0 or day.yesterday.max() > 1.0):
        raise ValueError(f"yesterday: {day.yesterday.min()} to {day.yesterday.max()} (shares must be from 0 to 1)")
    if not np.allclose(day.click_covariance, day.click_covariance.T):
        raise ValueError("click_covariance: not symmetric (must be a covariance)")


def _square_root(covariance: Floats) -> Floats:
    """F [segments, segments] with F'F = covariance."""
    values, vectors = np.linalg.eigh(covariance)
    largest = float(np.abs(values).max())
    if values.min() < -1e-8 * largest:
        raise ValueError(f"click_covariance: eigenvalue {values.min()} (must be positive semidefinite)")
    return np.asarray(np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T, dtype=np.float64)


def _objective(gain: Floats, root: Floats, share: Floats) -> float:
    return float(gain @ share - 0.5 * np.sum((root @ share) ** 2))


def _box(day: DayInputs, settings: SplitSettings) -> _Box:
    """Bounds and ramp as one range per segment whose lower corner the budget can pay for.

    A segment without requests has nothing to decide by, and stays where it was.
    """
    lower = np.full(day.requests.size, settings.lower)
    upper = np.full(day.requests.size, settings.upper)
    beyond = np.full(day.requests.size, np.inf)
    floor = -beyond if day.yesterday is None else day.yesterday - settings.ramp
    ceiling = beyond if day.yesterday is None else day.yesterday + settings.ramp
    low = np.clip(floor, lower, upper)
    gpu = day.requests * day.gpu_seconds
    budget = np.inf if settings.gpu_budget is None else settings.gpu_budget
    cost = float(gpu @ lower)
    if cost > budget:
        lower = np.where(gpu > 0.0, lower * (budget / cost), lower)
    if gpu @ low > budget:
        low = _lowered(low, np.where(gpu > 0.0, lower, low), gpu, budget)
    spent = (gpu > 0.0) & (gpu @ low >= budget - _ROOM * float(gpu.max()))
    high = np.where(spent, low, np.clip(ceiling, lower, upper))
    idle = day.requests == 0.0
    resting = low if day.yesterday is None else np.clip(day.yesterday, low, high)
    low, high = np.where(idle, resting, low), np.where(idle, resting, high)
    gave_way: list[GaveWay] = []
    shortfall = max(float((low - ceiling).max()), float((floor - low).max()))
    if shortfall > _ROUNDING:
        gave_way.append(GaveWay("ramp", shortfall))
    if lower.min() < settings.lower:
        gave_way.append(GaveWay("lower", float((settings.lower - lower).max())))
    return _Box(low, high, floor > lower, ceiling < upper, spent, tuple(gave_way))


def _lowered(low: Floats, lower: Floats, gpu: Floats, budget: float) -> Floats:
    """``low`` with all segments let down by the same step, none further than ``lower``, until the budget pays."""
    steps = np.unique(np.append(low - lower, 0.0))
    costs = np.maximum(low - steps[:, None], lower) @ gpu
    step = np.interp(budget, costs[::-1], steps[::-1])
    return np.asarray(np.maximum(low - step, lower), dtype=np.float64)


def _scaled_rows(day: DayInputs, settings: SplitSettings, box: _Box) -> _Rows:
    """The three rows as asked for, each divided by its largest coefficient.

    A floor that every share in the box is above is drawn up to just under the box: it stays without effect, and
    the solver sees no number out of proportion.
    """
    n = day.requests
    rows = np.stack([-n * day.gpu_seconds, n * day.conversion_gain, n * day.novelty_gain])
    floors = np.array(
        [
            -np.inf if settings.gpu_budget is None or box.spent.any() else -settings.gpu_budget,
            -settings.conversion_tolerance * float(n @ day.conversion_rate),
            -np.inf if settings.novelty_floor is None else settings.novelty_floor * float(n.sum()),
        ]
    )
    scale = np.abs(rows).max(axis=1)
    scale[scale == 0.0] = 1.0
    scaled = rows / scale[:, None]
    worst = np.minimum(scaled * box.low, scaled * box.high).sum(axis=1)
    return _Rows(scaled, np.maximum(floors / scale, worst - 1.0), scale, ())


def _attainable(asked: _Rows, box: _Box) -> _Rows | None:
    """The rows with conversions, then novelty, lowered to what can be had; None where the linear solver fails."""
    floor = asked.floor.copy()
    gave_way: list[GaveWay] = []
    for row, limit in ((_CONVERSION, "conversion"), (_NOVELTY, "novelty")):
        best = linprog(
            -asked.coefficients[row],
            A_ub=-asked.coefficients[:row],
            b_ub=-floor[:row],
            bounds=np.column_stack([box.low, box.high]),
            options=_LP_TOLERANCES,
        )
        if best.status != 0:
            return None
        short = float(floor[row] + best.fun)
        floor[row] = min(floor[row], -best.fun)
        if short > _ROUNDING:
            floor[row] -= _ROOM
            gave_way.insert(0, GaveWay(limit, short * float(asked.scale[row])))  # type: ignore[arg-type]
    return _Rows(asked.coefficients, floor, asked.scale, tuple(gave_way))


def _prices(
    gain: Floats, root: Floats, share: Floats, multipliers: Floats, day: DayInputs, box: _Box, rows: _Rows
) -> Prices:
    """Multipliers of the rows as they are, those of the box from what is left of the gradient.

    Where the lower corner spends the budget, the next second goes to the segment that gains most from it.
    """
    pull = gain - root.T @ (root @ share) + (rows.coefficients * rows.scale[:, None]).T @ multipliers
    gpu_second = float(multipliers[_BUDGET])
    if box.spent.any():
        gpu = day.requests * day.gpu_seconds
        gpu_second = max(0.0, float((pull[box.spent] / gpu[box.spent]).max()))
        pull = pull - gpu_second * gpu
    up = np.where(box.high - share < _AT_LIMIT, np.maximum(pull, 0.0), 0.0)
    down = np.where(share - box.low < _AT_LIMIT, np.maximum(-pull, 0.0), 0.0)
    return Prices(
        gpu_second=gpu_second,
        conversion=float(multipliers[_CONVERSION]),
        novelty=float(multipliers[_NOVELTY]),
        novelty_point=_POINT * float(day.requests.sum() * multipliers[_NOVELTY]),
        ramp_up=np.where(box.high_is_ramp, up, 0.0),
        ramp_down=np.where(box.low_is_ramp, down, 0.0),
        lower=np.where(box.low_is_ramp, 0.0, down),
        upper=np.where(box.high_is_ramp, 0.0, up),
    )


def _no_prices(segments: int) -> Prices:
    none = np.zeros(segments)
    return Prices(0.0, 0.0, 0.0, 0.0, none, none, none, none)


def _paid(share: Floats, asked: _Rows, box: _Box) -> Floats:
    """A share drawn towards the lower corner of the box until the budget pays for it."""
    room = max(0.0, float(asked.coefficients[_BUDGET] @ box.low - asked.floor[_BUDGET]))
    excess = float(asked.coefficients[_BUDGET] @ (box.low - share))
    kept = 1.0 if excess <= room else room / excess
    return np.asarray(box.low + kept * (share - box.low), dtype=np.float64)
