import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from scipy.stats import binom, bootstrap

from metrics.quantiles import QuantileEffect, quantile_effects


def quantile_effect(control: ArrayLike, treatment: ArrayLike, quantile: float, alpha: float) -> QuantileEffect:
    """One quantile."""
    (found,) = quantile_effects(control, treatment, [quantile], alpha)
    return found


@pytest.mark.parametrize("quantile", [0.5, 0.9])
def test_intervals_are_those_of_resampling(quantile: float) -> None:
    """The ends agree with scipy's percentile bootstrap of the difference, to the bootstrap's own error."""
    rng = np.random.default_rng(4)
    control, treatment = rng.lognormal(3.0, 1.0, 1500), rng.lognormal(3.1, 1.0, 1400)
    found = quantile_effect(control, treatment, quantile, 0.1)

    def difference(after: np.ndarray, before: np.ndarray, axis: int) -> np.ndarray:
        return np.quantile(after, quantile, axis=axis) - np.quantile(before, quantile, axis=axis)

    resampled = bootstrap(
        (treatment, control), difference, n_resamples=2000, confidence_level=0.9, method="percentile", rng=1
    )
    width = resampled.confidence_interval.high - resampled.confidence_interval.low
    assert found.ci == pytest.approx(tuple(resampled.confidence_interval), abs=0.08 * width)
    assert found.effect == pytest.approx(difference(treatment, control, 0))


def test_intervals_cover_and_tests_keep_their_level() -> None:
    """Of 300 comparisons of equal populations no more and no fewer alarm than a binomial at 5% allows."""
    rng = np.random.default_rng(6)
    for quantile in (0.5, 0.9):
        found = [quantile_effect(*rng.lognormal(0.0, 1.5, (2, 400)), quantile, 0.05) for _ in range(300)]
        least, most = binom.interval(0.999, 300, 0.05)
        assert least <= sum(not each.ci[0] <= 0.0 <= each.ci[1] for each in found) <= most
        assert least <= sum(each.p_value < 0.05 for each in found) <= most


def test_a_quantile_within_the_zeros_does_not_move() -> None:
    """Where most users have 0 in both arms, the median's effect is 0 without doubt, and the ninth decile's is not."""
    control, treatment = np.repeat([0.0, 10.0], [800, 200]), np.repeat([0.0, 30.0], [800, 200])
    median, decile = (quantile_effect(control, treatment, quantile, 0.05) for quantile in (0.5, 0.9))
    assert (median.effect, median.ci, median.p_value) == (0.0, (0.0, 0.0), 1.0)
    assert (decile.effect, decile.ci) == (20.0, (20.0, 20.0))
    assert decile.p_value < 1e-4


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40),
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40),
    st.floats(0.05, 0.95),
)
def test_order_does_not_matter_and_arms_swap_the_sign(a: list[float], b: list[float], quantile: float) -> None:
    """Shuffling users changes nothing; swapping arms turns effect and interval around and keeps the p-value."""
    found, turned = quantile_effect(a, b, quantile, 0.05), quantile_effect(b, a, quantile, 0.05)
    assert quantile_effect(a[::-1], sorted(b), quantile, 0.05) == found
    assert turned.effect == pytest.approx(-found.effect)
    assert turned.ci == pytest.approx((-found.ci[1], -found.ci[0]))
    assert turned.p_value == found.p_value


@pytest.mark.parametrize(("values", "quantile", "alpha"), [([], 0.5, 0.05), ([1.0], 1.0, 0.05), ([1.0], 0.5, 0.0)])
def test_arguments_out_of_range_are_refused(values: list[float], quantile: float, alpha: float) -> None:
    """An empty arm, a quantile of 1 and a level of 0 have no answer."""
    with pytest.raises(ValueError, match="must"):
        quantile_effect(values, [1.0], quantile, alpha)
