"""The course of a test that is read at planned moments: statistic, bound, interval, and where it would have stopped.

Bounds by alpha spending use two clocks (Lan and DeMets 1989, "Changing frequency of interim analysis in sequential
monitoring"; Jennison and Turnbull 2000, section 7.2): the level is spent by the share of planned days that has passed,
which is known in advance, and the correlation between looks comes from the information the looks have. Information is
1 / variance of the log of treatment over control, since a relative effect is the one that stays the same while totals
grow. Knows estimates of looks and not how they were made.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.stats import norm

from metrics.estimates import Estimate, Interval, finite
from metrics.sequential.always_valid import always_valid_p, mixture_bounds, narrowest_spread
from metrics.sequential.boundaries import FARTHEST, inflation, spending_bounds
from metrics.sequential.spending import SPENDING, alpha_spent

Floats = npt.NDArray[np.float64]
Method = Literal["obrien_fleming", "pocock", "power", "asymptotic_cs", "msprt"]
AtLevel = Callable[[float], Estimate]
"""A look's estimate, with intervals at a level that is only known once its bound is."""

_LEAST_P: Final = 1e-15
_METHODS: Final = {
    "obrien_fleming": "group-sequential, Lan-DeMets spending like O'Brien and Fleming",
    "pocock": "group-sequential, Lan-DeMets spending like Pocock",
    "power": "group-sequential, power-family spending",
    "asymptotic_cs": "always valid, asymptotic confidence sequence",
    "msprt": "always valid, mixture sequential probability ratio test",
}


@dataclass(frozen=True)
class Design:
    """How a test is read before its end.

    Attributes:
        method: spending function, or a method that is valid at every moment.
        alpha: two-sided level of all looks together.
        exponent: of the power family.
        expected_lift: for ``msprt``, the spread of relative effects it is tuned to.
    """

    method: Method
    alpha: float
    exponent: float = 1.0
    expected_lift: float = 0.05

    def __post_init__(self) -> None:
        """Refuse a method that does not exist."""
        if self.method not in get_args(Method):
            raise ValueError(f"method: {self.method!r} (choose from {', '.join(get_args(Method))})")


@dataclass(frozen=True)
class Look:
    """One reading of the test.

    Attributes:
        time: share of the planned days that had passed.
        information: share of the information that the last look has; ``None`` where nothing could be tested.
        z: the statistic as a standard normal deviate; positive where the treatment is higher.
        bound: the look stops the test where |z| reaches it; ``None`` where it cannot stop.
        alpha_spent: level used up by then; ``None`` for methods that do not spend.
        p_value: of this look alone, as if it were the only one.
        effect, lift: the estimates of that day.
        ci, lift_ci: intervals that hold at all looks together (repeated confidence intervals; Jennison and Turnbull
            2000, chapter 9).
        crossed: whether this look reaches its bound.
        users: users counted in both arms.
    """

    time: float
    information: float | None
    z: float | None
    bound: float | None
    alpha_spent: float | None
    p_value: float | None
    effect: float | None
    ci: Interval | None
    lift: float | None
    lift_ci: Interval | None
    crossed: bool
    users: int

    def to_json(self) -> dict[str, Any]:
        """In JSON's own types."""
        pairs = {"ci": self.ci, "lift_ci": self.lift_ci}
        return {**self.__dict__, **{name: list(pair) if pair else None for name, pair in pairs.items()}}


@dataclass(frozen=True)
class Path:
    """All looks of a test.

    Attributes:
        looks: in order of time.
        stopped: index of the first look that reaches its bound; ``None`` if none does.
        p_value: the smallest level at which some look would have reached its bound (Liu and Anderson 2008, "On adaptive
            extensions of group sequential trials", call it the sequential p-value), which may be read whenever one
            stops; ``None`` if nothing could be tested.
        method: in words.
    """

    looks: tuple[Look, ...]
    stopped: int | None
    p_value: float | None
    method: str

    @property
    def direction(self) -> int:
        """1 or -1 if the test stops for a higher or a lower treatment, else 0."""
        z = self.looks[self.stopped].z if self.stopped is not None else None
        return 0 if z is None else int(math.copysign(1, z))


def sequential_path(measures: Sequence[AtLevel], times: Sequence[float], design: Design) -> Path:
    """Read a test at its looks.

    A single look at the end is the fixed test. A look at which nothing can be tested spends nothing; what it leaves is
    spent by the next. A last look before time 1 belongs to a test that is still running.

    Args:
        measures: for each look, its estimate with intervals at a given level.
        times: share of the planned days that had passed, growing, at most 1.
        design: method and level.

    Raises:
        ValueError: if the lengths differ, or the times do not grow within 0 to 1.
    """
    estimates = [measure(design.alpha) for measure in measures]
    reading = _read(estimates, times, design)
    if reading is None:
        blind = tuple(_look(time, found, None, None, None) for time, found in zip(times, estimates, strict=True))
        return Path(blind, None, None, _METHODS[design.method])
    looks = []
    for place, (time, found) in enumerate(zip(times, estimates, strict=True)):
        if place not in reading.usable:
            looks.append(_look(time, found, None, None, None))
            continue
        index = reading.usable.index(place)
        bound = float(reading.bounds[index])
        level = 2.0 * float(norm.sf(bound))
        held = measures[place](level) if level > 1e-12 else None
        share = float(reading.information[index] / reading.information[-1])
        used = None if reading.spent is None else float(reading.spent[index])
        looks.append(_look(time, found, (share, bound, used), held, bool(reading.crossed[index])))
    stopped = next((place for place, each in enumerate(looks) if each.crossed), None)
    tested = [estimates[place] for place in reading.usable]
    p_value = _sequential_p(tested, reading.z, reading.information, reading.times, design)
    return Path(tuple(looks), stopped, p_value, _METHODS[design.method])


def first_crossing(estimates: Sequence[Estimate], times: Sequence[float], design: Design) -> int | None:
    """Index of the first look that reaches its bound; ``None`` if none does. The ``stopped`` of a path, and no more.

    Args:
        estimates: of each look.
        times: as for ``sequential_path``.
        design: method and level.

    Raises:
        ValueError: as ``sequential_path``.
    """
    reading = _read(estimates, times, design)
    if reading is None or not reading.crossed.any():
        return None
    return reading.usable[int(np.argmax(reading.crossed))]


@dataclass(frozen=True)
class _Reading:
    """Statistics and bounds of the looks at which something could be tested, each [usable looks].

    Attributes:
        usable: indices of these looks.
        times: share of the plan that had passed.
        z: statistics.
        information: never falling.
        bounds: on |z|.
        spent: level used up, ``None`` for methods that do not spend.
    """

    usable: list[int]
    times: Floats
    z: Floats
    information: Floats
    bounds: Floats
    spent: Floats | None

    @property
    def crossed(self) -> npt.NDArray[np.bool_]:
        """Whether each look reaches its bound."""
        return np.abs(self.z) >= self.bounds


def _read(estimates: Sequence[Estimate], times: Sequence[float], design: Design) -> _Reading | None:
    """What the looks say and what they are held against; ``None`` if nothing could be tested at any."""
    moments = np.asarray(times, np.float64)
    if len(moments) != len(estimates):
        raise ValueError(f"times: {len(moments)} (must be {len(estimates)}, one for each look)")
    if len(moments) and not (moments[0] > 0.0 and moments[-1] <= 1.0 and (np.diff(moments) > 0.0).all()):
        raise ValueError(f"times: {list(times)} (must grow, from above 0 to at most 1)")
    usable = [place for place, each in enumerate(estimates) if each.z is not None]
    if not usable:
        return None
    tested = [estimates[place] for place in usable]
    information = _information(tested, moments[usable])
    bounds, spent = _bounds(tested, information, moments[usable], design)
    z = np.array([found.z for found in tested], np.float64)
    return _Reading(usable, moments[usable], z, information, bounds, spent)


def looks_cost(times: Sequence[float], design: Design, power: float) -> float:
    """How much more information these looks take than a single one of the same power; 1 for methods that do not spend.

    Args:
        times: share of the planned days that had passed at each look; information is taken to grow with it.
        design: method and level.
        power: wanted.
    """
    if len(times) < 2 or design.method not in SPENDING:
        return 1.0
    spent = alpha_spent(design.method, times, design.alpha, design.exponent)  # type: ignore[arg-type]
    return inflation(times, spending_bounds(times, spent), design.alpha, power)


def _look(
    time: float,
    found: Estimate,
    bounded: tuple[float, float, float | None] | None,
    held: Estimate | None,
    crossed: bool | None,
) -> Look:
    share, bound, spent = bounded or (None, None, None)
    return Look(
        time=float(time),
        information=share,
        z=found.z,
        bound=finite(bound),
        alpha_spent=spent,
        p_value=found.p_value,
        effect=found.effect,
        ci=held.ci if held else None,
        lift=found.lift,
        lift_ci=held.lift_ci if held else None,
        crossed=bool(crossed),
        users=found.users_control + found.users_treatment,
    )


def _information(estimates: Sequence[Estimate], times: Floats) -> Floats:
    """Of each look; never falling, since an estimate that forgets is one whose error is itself an estimate."""
    errors = np.array([found.log_error or np.nan for found in estimates], np.float64)
    if np.isnan(errors).any():
        # Without a relative effect, that of a day: totals grow with the days.
        errors = np.array([found.std_error for found in estimates], np.float64) / times
    return np.maximum.accumulate(1.0 / np.square(errors))


def _bounds(
    estimates: Sequence[Estimate], information: Floats, times: Floats, design: Design
) -> tuple[Floats, Floats | None]:
    if design.method in SPENDING:
        spent = alpha_spent(design.method, times, design.alpha, design.exponent)  # type: ignore[arg-type]
        return spending_bounds(information, spent), spent
    errors = 1.0 / np.sqrt(information)
    return mixture_bounds(errors, _spread(estimates, errors, times, design), design.alpha), None


def _spread(estimates: Sequence[Estimate], errors: Floats, times: Floats, design: Design) -> float:
    """Of the mixture, from what is known at the first look at the latest."""
    if design.method == "msprt":
        if all(found.log_error for found in estimates):
            return design.expected_lift
        base = abs(estimates[0].control_value or 0.0) or float(errors[0])
        return design.expected_lift * base
    # What the error would come down to at the end, if it fell with the root of time.
    return narrowest_spread(float(errors[0] * math.sqrt(times[0])), design.alpha)


def _sequential_p(
    estimates: Sequence[Estimate], z: Floats, information: Floats, times: Floats, design: Design
) -> float | None:
    if design.method not in SPENDING:
        errors = 1.0 / np.sqrt(information)
        return float(always_valid_p(z, errors, _spread(estimates, errors, times, design))[-1])
    if len(z) == 1 and times[0] == 1.0:
        return estimates[0].p_value

    def excess(log_alpha: float) -> float:
        spent = alpha_spent(design.method, times, math.exp(log_alpha), design.exponent)  # type: ignore[arg-type]
        return float(np.max(np.abs(z) - np.minimum(spending_bounds(information, spent), FARTHEST)))

    least, most = math.log(_LEAST_P), math.log1p(-1e-9)
    if excess(most) < 0.0:
        return 1.0
    if excess(least) > 0.0:
        return _LEAST_P
    return math.exp(float(brentq(excess, least, most, xtol=1e-10)))
