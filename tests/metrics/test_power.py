import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import nct, norm, t
from statsmodels.stats.power import NormalIndPower

from metrics.power import (
    design_effect,
    error_with,
    power_of,
    power_of_proportions,
    smallest_effect,
    smallest_rise,
    users_for_proportions,
    users_needed,
)

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
@given(st.floats(0.01, 0.9), st.floats(50.0, 1e6), st.floats(0.2, 5.0), levels, powers)
def test_power_and_smallest_rise_invert_each_other(
    control: float, users: float, ratio: float, alpha: float, power: float
) -> None:
    """The same holds of proportions."""
    arms = (users, users * ratio)
    if power_of_proportions(control, 1.0 - 1e-12, arms, alpha) < power:
        with pytest.raises(ValueError, match="too few"):
            smallest_rise(control, arms, alpha, power)
        return
    rise = smallest_rise(control, arms, alpha, power)
    assert power_of_proportions(control, rise, arms, alpha) == pytest.approx(power, abs=1e-6)


@settings(deadline=None)
@given(st.floats(0.001, 10.0), st.floats(0.01, 100.0), st.floats(0.0, 100.0), st.floats(0.05, 0.95), levels, powers)
def test_users_and_power_invert_each_other(
    effect: float, before: float, after: float, share: float, alpha: float, power: float
) -> None:
    """With as many users as are needed the test has the power that was asked for, whatever the split."""
    shares = (1.0 - share, share)
    users = users_needed(effect, (before, after), shares, alpha, power)
    assert power_of(effect, error_with(users, (before, after), shares), alpha) == pytest.approx(power, abs=1e-7)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.02, 0.9), st.floats(0.02, 0.9), levels, powers)
def test_users_for_proportions_invert_too(control: float, treatment: float, alpha: float, power: float) -> None:
    """The same holds of proportions that differ."""
    if abs(control - treatment) < 1e-3:
        return
    users = users_for_proportions(control, treatment, (1.0, 1.0), alpha, power)
    found = power_of_proportions(control, treatment, (users / 2, users / 2), alpha)
    assert found == pytest.approx(power, abs=1e-7)


def test_r_power_prop_test() -> None:
    """R's ?power.prop.test: n = 50 has power 0.740, power 0.9 needs 76.7 an arm, n = 50 and power 0.9 notice 0.8026."""
    assert power_of_proportions(0.5, 0.75, (50, 50), 0.05) == pytest.approx(0.740, abs=5e-4)
    assert users_for_proportions(0.5, 0.75, (1, 1), 0.05, 0.9) / 2 == pytest.approx(76.7, abs=0.05)
    assert smallest_rise(0.5, (50, 50), 0.05, 0.9) == pytest.approx(0.8026, abs=5e-5)


def test_r_power_t_test() -> None:
    """R's ?power.t.test for n = 20, delta = 1, sd = 1 is 0.8690 by t; the normal is a little bolder, and right soon."""
    small = power_of(1.0, error_with(40, (1.0, 1.0), (1, 1)), 0.05)
    assert 0.8689528 < small < 0.8689528 + 0.02
    assert users_needed(1.0, (1.0, 1.0), (1, 1), 0.05, 0.9) / 2 == pytest.approx(22.02110, abs=1.1)
    many, effect = 4000, 0.1
    nc, critical = effect * math.sqrt(many / 2), t.isf(0.025, 2 * many - 2)
    exact = nct.sf(critical, 2 * many - 2, nc) + nct.cdf(-critical, 2 * many - 2, nc)
    assert power_of(effect, error_with(2 * many, (1.0, 1.0), (1, 1)), 0.05) == pytest.approx(exact, abs=2e-4)


def test_powers_are_those_of_statsmodels() -> None:
    """The normal power of statsmodels for two samples of different sizes is the same."""
    for effect, first, ratio in ((0.2, 300, 1.0), (0.05, 9000, 0.25), (1e-3, 10**8, 2.0)):
        found = power_of(effect, math.sqrt(1 / first + 1 / (first * ratio)), 0.05)
        assert found == pytest.approx(NormalIndPower().power(effect, first, 0.05, ratio))


def test_large_samples_have_a_power() -> None:
    """A billion users give a number, where the noncentral t gives none."""
    assert power_of(3e-4, error_with(1e9, (1.0, 1.0), (1, 1)), 0.05) == pytest.approx(
        norm.sf(norm.isf(0.025) - 3e-4 * math.sqrt(2.5e8)), abs=1e-9
    )


def test_design_effect_of_kish() -> None:
    """Clusters of 20 with a correlation of 0.05 need 1.95 times the units; singletons and no correlation need 1."""
    assert design_effect(20, 0.05) == pytest.approx(1.95)
    assert design_effect(1, 0.3) == design_effect(50, 0.0) == 1.0
    assert design_effect(20, 0.05, size_variation=0.5) == pytest.approx(1 + (1.25 * 20 - 1) * 0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: power_of(1.0, 0.0, 0.05), "error: 0.0"),
        (lambda: smallest_effect(1.0, 0.05, 0.05), "power: 0.05"),
        (lambda: smallest_effect(1.0, 1.5, 0.8), "alpha: 1.5"),
        (lambda: users_needed(0.0, (1.0, 1.0), (1, 1), 0.05, 0.8), "effect: 0"),
        (lambda: users_needed(1.0, (0.0, 0.0), (1, 1), 0.05, 0.8), "variances: "),
        (lambda: error_with(0, (1.0, 1.0), (1, 1)), "users: 0"),
        (lambda: power_of_proportions(0.0, 0.5, (10, 10), 0.05), "control: 0.0"),
        (lambda: users_for_proportions(0.5, 0.5, (1, 1), 0.05, 0.8), "treatment: 0.5"),
        (lambda: design_effect(0.5, 0.1), "cluster_size"),
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
