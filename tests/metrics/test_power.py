import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import nct, norm, t
from statsmodels.stats.power import NormalIndPower

from metrics.power import power_of, smallest_effect

levels = st.floats(0.001, 0.2)
powers = st.floats(0.3, 0.99)


@settings(deadline=None)
@given(st.floats(1e-6, 1e6), levels, powers)
def test_power_and_smallest_effect_invert_each_other(error: float, alpha: float, power: float) -> None:
    """The smallest effect has the power it was asked for, and is the smallest effect of its power, to 1e-6."""
    effect = smallest_effect(error, alpha, power)
    assert power_of(effect, error, alpha) == pytest.approx(power, abs=1e-9)
    assert smallest_effect(error, alpha, power_of(effect, error, alpha)) == pytest.approx(effect, rel=1e-6)
    assert power_of(-effect, error, alpha) == pytest.approx(power, abs=1e-9)


@settings(deadline=None)
@given(st.floats(0.001, 10.0), st.floats(0.01, 100.0), levels, powers)
def test_as_many_times_the_users_as_the_square_says_notice_an_effect(
    effect: float, error: float, alpha: float, power: float
) -> None:
    """With (smallest effect / effect)^2 times the users, whose error is the root of that smaller, the power is met."""
    times = (smallest_effect(error, alpha, power) / effect) ** 2
    assert power_of(effect, error / math.sqrt(times), alpha) == pytest.approx(power, abs=1e-7)


def test_r_power_t_test() -> None:
    """R's ?power.t.test for n = 20, delta = 1, sd = 1 is 0.8690 by t; the normal is a little bolder, and right soon.

    For power 0.9 it asks for 22.02 an arm.
    """
    small = power_of(1.0, math.sqrt(2 / 20), 0.05)
    assert 0.8689528 < small < 0.8689528 + 0.02
    assert 2 * smallest_effect(1.0, 0.05, 0.9) ** 2 == pytest.approx(22.02110, abs=1.1)
    many, effect = 4000, 0.1
    nc, critical = effect * math.sqrt(many / 2), t.isf(0.025, 2 * many - 2)
    exact = nct.sf(critical, 2 * many - 2, nc) + nct.cdf(-critical, 2 * many - 2, nc)
    assert power_of(effect, math.sqrt(2 / many), 0.05) == pytest.approx(exact, abs=2e-4)


def test_powers_are_those_of_statsmodels() -> None:
    """The normal power of statsmodels for two samples of different sizes is the same."""
    for effect, first, ratio in ((0.2, 300, 1.0), (0.05, 9000, 0.25), (1e-3, 10**8, 2.0)):
        found = power_of(effect, math.sqrt(1 / first + 1 / (first * ratio)), 0.05)
        assert found == pytest.approx(NormalIndPower().power(effect, first, 0.05, ratio))


def test_large_samples_have_a_power() -> None:
    """A billion users give a number, where the noncentral t gives none."""
    assert power_of(3e-4, math.sqrt(4 / 1e9), 0.05) == pytest.approx(
        norm.sf(norm.isf(0.025) - 3e-4 * math.sqrt(2.5e8)), abs=1e-9
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: power_of(1.0, 0.0, 0.05), "error: 0.0"),
        (lambda: smallest_effect(1.0, 0.05, 0.05), "power: 0.05"),
        (lambda: smallest_effect(1.0, 1.5, 0.8), "alpha: 1.5"),
        (lambda: smallest_effect(0.0, 0.05, 0.8), "error: 0.0"),
        (lambda: power_of(1.0, 1.0, 0.0), "alpha: 0.0"),
    ],
)
def test_arguments_out_of_range_are_refused(call: object, message: str) -> None:
    """The message names the argument and its value."""
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]


@given(st.floats(0.01, 10.0), st.floats(0.001, 0.2), st.floats(0.3, 0.99), st.integers(1, 200))
def test_power_and_smallest_effect_invert_each_other_with_few_clusters(
    error: float, alpha: float, power: float, degrees: int
) -> None:
    """Also by Student's t."""
    smallest = smallest_effect(error, alpha, power, degrees)
    assert power_of(smallest, error, alpha, degrees=degrees) == pytest.approx(power, abs=1e-6)


def test_few_degrees_ask_for_more_and_many_for_what_the_normal_asks() -> None:
    """A test of ten clusters notices less than one of many users with the same error."""
    assert power_of(3.0, 1.0, 0.05, degrees=8) < power_of(3.0, 1.0, 0.05) - 0.05
    assert power_of(3.0, 1.0, 0.05, degrees=1e7) == pytest.approx(power_of(3.0, 1.0, 0.05), abs=1e-6)
    assert power_of(0.0, 1.0, 0.05, degrees=8) == pytest.approx(0.05)
    with pytest.raises(ValueError, match="degrees: 0"):
        power_of(1.0, 1.0, 0.05, degrees=0)
