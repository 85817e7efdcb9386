import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from metrics.estimates import Estimate
from metrics.sequential.path import AtLevel, Design, Path, first_crossing, sequential_path
from metrics.sequential.spending import SPENDING

METHODS = (*SPENDING, "asymptotic_cs", "msprt")
TIMES = (0.2, 0.4, 0.6, 0.8, 1.0)


def measure(z: float | None, information: float) -> AtLevel:
    """A look with this statistic, with normal intervals at any level."""
    error = 1.0 / math.sqrt(information)

    def at(level: float) -> Estimate:
        effect = None if z is None else z * error
        half = float(norm.isf(level / 2.0)) * error
        ci = None if effect is None else (effect - half, effect + half)
        return Estimate(
            control_value=1.0,
            treatment_value=1.0 + (effect or 0.0),
            effect=effect,
            ci=ci,
            lift=effect,
            lift_ci=ci,
            p_value=None if z is None else float(2.0 * norm.sf(abs(z))),
            method="",
            variance_reduction=None,
            users_control=10,
            users_treatment=12,
            std_error=None if z is None else error,
            log_error=None if z is None else error,
        )

    return at


def walk(z: list[float | None], method: str = "obrien_fleming", alpha: float = 0.05) -> Path:
    """A path with these statistics at equal steps of information."""
    times = np.arange(1, len(z) + 1) / len(z)
    return sequential_path(
        [measure(value, 1000.0 * time) for value, time in zip(z, times, strict=True)],
        times.tolist(),
        Design(method, alpha),  # type: ignore[arg-type]
    )


@settings(deadline=None)
@given(st.floats(-6.0, 6.0).filter(lambda z: abs(z) > 1e-6), st.sampled_from(SPENDING))
def test_one_look_at_the_end_is_the_fixed_test(z: float, method: str) -> None:
    """Bound, p-value and interval are those of the test that is read once."""
    path = walk([z], method)
    (look,) = path.looks
    fixed = measure(z, 1000.0)(0.05)
    assert path.p_value == fixed.p_value
    assert look.bound == pytest.approx(1.959964, abs=1e-6)
    assert look.ci == pytest.approx(fixed.ci)
    assert look.crossed == (path.stopped == 0) == (abs(z) >= 1.959964)


def test_the_path_stops_where_the_statistic_meets_the_bound() -> None:
    """With O'Brien and Fleming's spending, z of 2.5 is not enough at the third look and is at the fourth."""
    path = walk([1.0, 2.0, 2.5, 2.5, 1.0])
    assert [round(look.bound or 0.0, 3) for look in path.looks] == [4.877, 3.357, 2.680, 2.290, 2.031]
    assert path.stopped == 3
    assert path.direction == 1
    assert [look.information for look in path.looks] == pytest.approx(TIMES)
    assert walk([0.0, 0.1, -3.0, 1.0, 0.0]).direction == -1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-4.0, 4.0).filter(lambda z: abs(z) > 1e-3), min_size=2, max_size=6), st.sampled_from(METHODS))
def test_the_sequential_p_value_is_the_level_at_which_the_path_just_stops(z: list[float], method: str) -> None:
    """At a level a little above the p-value the test stops, at a little below it does not."""
    p = walk(z, method).p_value
    assert p is not None
    assert p >= 2.0 * norm.sf(max(map(abs, z))) * (1 - 1e-6)
    # The confidence sequence chooses its mixture by the level: its p-value belongs to the level of the design.
    if 1e-6 < p < 0.9 and method != "asymptotic_cs":
        assert walk(z, method, p * 1.001).stopped is not None
        assert walk(z, method, p * 0.999).stopped is None


@pytest.mark.parametrize("method", METHODS)
def test_p_value_and_stopping_agree_at_the_level_of_the_design(method: str) -> None:
    """The path stops exactly if its p-value reaches alpha."""
    rng = np.random.default_rng(3)
    for _ in range(40):
        path = walk((rng.standard_normal(6) * 1.6).tolist(), method)
        assert path.p_value is not None
        assert (path.stopped is not None) == (path.p_value <= 0.05)


@pytest.mark.parametrize("method", METHODS)
def test_the_first_crossing_is_where_the_path_stops(method: str) -> None:
    """Asked for the stop alone, the same look is found."""
    rng = np.random.default_rng(5)
    found = []
    for _ in range(25):
        z = (rng.standard_normal(5) * 1.6).tolist()
        looks = [measure(value, 1000.0 * time)(0.05) for value, time in zip(z, TIMES, strict=True)]
        found.append(first_crossing(looks, TIMES, Design(method, 0.05)))  # type: ignore[arg-type]
        assert found[-1] == walk(z, method).stopped
    assert len(set(found)) > 1


@pytest.mark.parametrize("method", METHODS)
def test_peeking_daily_keeps_the_level(method: str) -> None:
    """Of 400 walks without an effect, read on 14 days, no more alarm than a binomial at 5% allows."""
    rng = np.random.default_rng(8)
    days = np.arange(1, 15)
    times, design = (days / 14).tolist(), Design(method, 0.05)  # type: ignore[arg-type]
    stopped = 0
    for _ in range(400):
        walked = np.cumsum(rng.standard_normal(14)) / np.sqrt(days)
        looks = [measure(z, 1000.0 * time)(0.05) for z, time in zip(walked.tolist(), times, strict=True)]
        stopped += first_crossing(looks, times, design) is not None
    assert stopped <= binom.ppf(0.999, 400, 0.05)
    if method in SPENDING:
        assert stopped >= binom.ppf(0.001, 400, 0.05)


def test_looks_that_cannot_be_tested_leave_their_level_to_the_next() -> None:
    """Two looks without an estimate spend nothing: the third has the bound of a first look at that time."""
    path = walk([None, None, 1.0, 1.0, 1.0])
    assert path.looks[0].z is path.looks[0].bound is path.looks[1].alpha_spent is None
    direct = sequential_path([measure(1.0, 600.0)], [0.6], Design("obrien_fleming", 0.05))
    assert path.looks[2].bound == pytest.approx(direct.looks[0].bound)
    assert path.looks[2].alpha_spent == direct.looks[0].alpha_spent


def test_a_path_without_any_estimate_says_nothing() -> None:
    """There is no p-value and no stop, and the looks are still listed."""
    path = walk([None, None])
    assert (path.p_value, path.stopped, path.direction, len(path.looks)) == (None, None, 0, 2)


def test_information_that_seems_to_fall_does_not_break_the_bounds() -> None:
    """An error estimated larger than at an earlier look counts as no news."""
    path = sequential_path(
        [measure(1.0, 500.0), measure(1.1, 450.0), measure(2.5, 900.0)], [0.3, 0.6, 1.0], Design("pocock", 0.05)
    )
    assert [look.information for look in path.looks] == pytest.approx([5 / 9, 5 / 9, 1.0])
    assert all(look.bound is not None and math.isfinite(look.bound) for look in path.looks)


def test_json_has_no_infinity() -> None:
    """A look that cannot stop has no bound and no interval."""
    path = walk([1.0] * 40)
    first = path.looks[0].to_json()
    assert first["bound"] is first["ci"] is None
    assert isinstance(path.looks[-1].to_json()["ci"], list)


@pytest.mark.parametrize("times", [(0.5, 0.4), (0.0, 1.0), (0.5, 1.1), (1.0,)])
def test_times_that_do_not_grow_are_refused(times: tuple[float, ...]) -> None:
    """Looks come in order, within the plan, one time each."""
    with pytest.raises(ValueError, match="times: "):
        sequential_path([measure(1.0, 1.0), measure(1.0, 2.0)], times, Design("pocock", 0.05))


def test_an_unknown_method_is_refused() -> None:
    """The message lists what there is."""
    with pytest.raises(ValueError, match="method: 'haybittle'"):
        Design("haybittle", 0.05)  # type: ignore[arg-type]
