import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import multivariate_normal, norm

from metrics.sequential.boundaries import crossing_probabilities, inflation, spending_bounds
from metrics.sequential.spending import SPENDING, alpha_spent

# Jennison and Turnbull (2000), "Group Sequential Methods", tables 2.1 and 2.3: C_P and C_B by looks, at alpha 0.01,
# 0.05 and 0.1.
POCOCK = {
    1: (2.576, 1.960, 1.645),
    2: (2.772, 2.178, 1.875),
    3: (2.873, 2.289, 1.992),
    4: (2.939, 2.361, 2.067),
    5: (2.986, 2.413, 2.122),
    6: (3.023, 2.453, 2.164),
    7: (3.053, 2.485, 2.197),
    8: (3.078, 2.512, 2.225),
    9: (3.099, 2.535, 2.249),
    10: (3.117, 2.555, 2.270),
    12: (3.147, 2.588, 2.304),
    15: (3.182, 2.626, 2.344),
    20: (3.225, 2.672, 2.392),
}
OBRIEN_FLEMING = {
    1: (2.576, 1.960, 1.645),
    2: (2.580, 1.977, 1.678),
    3: (2.595, 2.004, 1.710),
    4: (2.609, 2.024, 1.733),
    5: (2.621, 2.040, 1.751),
    6: (2.631, 2.053, 1.765),
    7: (2.640, 2.063, 1.776),
    8: (2.648, 2.072, 1.786),
    9: (2.654, 2.080, 1.794),
    10: (2.660, 2.087, 1.801),
    12: (2.670, 2.098, 1.813),
}
# Tables 2.2 and 2.4: R(K, 0.05, beta), information over that of a fixed test, for power 0.8 and 0.9.
POCOCK_INFLATION = {2: (1.110, 1.100), 3: (1.166, 1.151), 4: (1.202, 1.183), 5: (1.229, 1.207), 10: (1.301, 1.271)}
OBRIEN_INFLATION = {2: (1.008, 1.007), 3: (1.017, 1.016), 4: (1.024, 1.022), 5: (1.028, 1.026), 10: (1.040, 1.037)}
# Five equal looks at 5% two-sided by Lan-DeMets spending (Reboussin, DeMets, Kim and Lan 2000, "Computations for group
# sequential boundaries using the Lan-DeMets spending function method"; R's ldbounds prints the same).
FIVE_LOOKS = {
    "obrien_fleming": (4.8769, 3.3570, 2.6803, 2.2898, 2.0310),
    "pocock": (2.4380, 2.4268, 2.4102, 2.3966, 2.3860),
}

looks_in_time = st.lists(st.integers(1, 40), min_size=1, max_size=8, unique=True).map(
    lambda days: np.sort(np.array(days)) / max(days)
)


def constant(looks: int, alpha: float, delta: float) -> float:
    """The C whose bounds C (k / K)^(delta - 1/2) at K equal looks are crossed with the chance alpha (Wang, Tsiatis)."""
    share = np.arange(1, looks + 1) / looks

    def excess(c: float) -> float:
        return float(crossing_probabilities(share, c * share ** (delta - 0.5))[0].sum()) - alpha / 2.0

    return float(brentq(excess, 0.1, 12.0, xtol=1e-12))


@pytest.mark.parametrize("looks", sorted(POCOCK))
def test_constants_are_those_of_jennison_and_turnbull(looks: int) -> None:
    """Bounds that are crossed with the chance alpha have the tables' constants, Pocock's and O'Brien and Fleming's."""
    for column, alpha in enumerate((0.01, 0.05, 0.1)):
        assert constant(looks, alpha, 0.5) == pytest.approx(POCOCK[looks][column], abs=6e-4)
        if looks in OBRIEN_FLEMING:
            assert constant(looks, alpha, 0.0) == pytest.approx(OBRIEN_FLEMING[looks][column], abs=6e-4)


@pytest.mark.parametrize("looks", sorted(POCOCK_INFLATION))
def test_sample_sizes_are_those_of_jennison_and_turnbull(looks: int) -> None:
    """What several looks cost in information agrees with the tables to their last digit."""
    share = np.arange(1, looks + 1) / looks
    for table, delta in ((POCOCK_INFLATION, 0.5), (OBRIEN_INFLATION, 0.0)):
        bounds = constant(looks, 0.05, delta) * share ** (delta - 0.5)
        for power, published in zip((0.8, 0.9), table[looks], strict=True):
            assert inflation(share, bounds, 0.05, power) == pytest.approx(published, abs=6e-4)


@pytest.mark.parametrize("method", sorted(FIVE_LOOKS))
def test_spending_bounds_are_the_published_ones(method: str) -> None:
    """Lan-DeMets bounds at five equal looks are those of the authors' program."""
    share = np.arange(1, 6) / 5
    bounds = spending_bounds(share, alpha_spent(method, share, 0.05))  # type: ignore[arg-type]
    assert bounds == pytest.approx(FIVE_LOOKS[method], abs=6e-5)


def test_one_sided_spending_agrees_with_another_program() -> None:
    """Each side of a two-sided test at 10% is a one-sided test at 5%, whose bounds SeqBounds.jl documents."""
    share = np.array([0.25, 0.5, 0.75, 1.0])
    bounds = spending_bounds(share, alpha_spent("obrien_fleming", share, 0.1))
    assert bounds == pytest.approx([3.74955, 2.53993, 2.01604, 1.72014], abs=5e-5)


@settings(max_examples=25, deadline=None)
@given(looks_in_time, st.sampled_from(SPENDING), st.floats(0.001, 0.2), st.floats(0.3, 4.0))
def test_the_level_is_spent_and_not_more(times: np.ndarray, method: str, alpha: float, exponent: float) -> None:
    """At any looks, the chance of a false alarm by each look is what the function spends."""
    spent = alpha_spent(method, times, alpha, exponent)  # type: ignore[arg-type]
    upper, lower = crossing_probabilities(times, spending_bounds(times, spent))
    assert np.cumsum(upper + lower) == pytest.approx(spent, abs=1e-9)
    assert upper == pytest.approx(lower, abs=1e-12)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.floats(0.2, 5.0), min_size=2, max_size=3),
    st.lists(st.floats(0.8, 3.0), min_size=3, max_size=3),
    st.floats(-2.0, 2.0),
)
def test_integration_agrees_with_the_multivariate_normal(
    steps: list[float], bounds: list[float], effect: float
) -> None:
    """The chance of never crossing is that of a box under the normal distribution with the looks' correlations."""
    information = np.cumsum(steps)
    limits = np.array(bounds[: len(steps)])
    upper, lower = crossing_probabilities(information, limits, effect)
    ratio = np.minimum.outer(information, information) / np.maximum.outer(information, information)
    inside = multivariate_normal(effect * np.sqrt(information), np.sqrt(ratio)).cdf(limits, lower_limit=-limits)
    assert 1.0 - (upper + lower).sum() == pytest.approx(inside, abs=3e-5)


def test_a_single_look_is_the_fixed_test() -> None:
    """One look at the end has the normal quantile for its bound, and needs no more information."""
    bounds = spending_bounds([7.0], [0.05])
    assert bounds == pytest.approx([norm.isf(0.025)], abs=1e-10)
    assert inflation([1.0], bounds, 0.05, 0.8) == pytest.approx(1.0, abs=1e-3)


def test_looks_that_are_nearly_one_are_told_apart() -> None:
    """Sixty daily looks, and looks at the same information, keep the level exactly."""
    for information in (np.arange(1, 61) / 60, np.array([1.0, 1.0, 1.001, 2.0])):
        spent = alpha_spent("pocock", np.linspace(0, 1, len(information) + 1)[1:], 0.05)
        bounds = spending_bounds(information, spent)
        upper, _ = crossing_probabilities(information, bounds)
        assert 2 * upper.sum() == pytest.approx(0.05, abs=1e-9)


def test_nothing_spent_means_no_way_to_stop() -> None:
    """A look at which no level is spent has an infinite bound, and the next spends all of it."""
    bounds = spending_bounds([1.0, 2.0], [0.0, 0.05])
    assert np.isinf(bounds[0])
    assert bounds[1] == pytest.approx(norm.isf(0.025), abs=1e-9)


def test_naive_peeking_at_five_looks_has_the_published_error() -> None:
    """Reading a 5% test at five equal looks gives 14.2% false alarms (Armitage, McPherson and Rowe 1969, table 2)."""
    upper, lower = crossing_probabilities(np.arange(1, 6), np.full(5, 1.959964))
    assert (upper + lower).sum() == pytest.approx(0.142, abs=5e-4)


@pytest.mark.parametrize(
    ("information", "spent", "message"),
    [
        ([1.0, 0.5], [0.01, 0.05], "information: falls at look 2"),
        ([0.0, 0.5], [0.01, 0.05], "information: must be positive"),
        ([1.0, 2.0], [0.05, 0.01], "spent: falls"),
        ([1.0, 2.0], [0.05], "spent: "),
    ],
)
def test_impossible_plans_are_refused(information: list[float], spent: list[float], message: str) -> None:
    """What falls, is not positive or has another length is named."""
    with pytest.raises(ValueError, match=message):
        spending_bounds(information, spent)
