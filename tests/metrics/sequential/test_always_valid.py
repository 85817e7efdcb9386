import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from metrics.sequential.always_valid import always_valid_p, mixture_bounds, narrowest_spread

errors = st.floats(1e-4, 10.0)


@settings(deadline=None)
@given(errors, st.floats(1e-3, 10.0), st.floats(0.001, 0.3))
def test_bound_and_p_value_say_the_same(error: float, spread: float, alpha: float) -> None:
    """At the bound the p-value is alpha, beyond it smaller, below it larger."""
    (bound,) = mixture_bounds([error], spread, alpha)
    (at,) = always_valid_p([bound], [error], spread)
    (beyond,) = always_valid_p([bound * 1.01], [error], spread)
    (below,) = always_valid_p([bound * 0.99], [error], spread)
    assert at == pytest.approx(alpha, rel=1e-9)
    assert beyond < alpha < below


@settings(deadline=None)
@given(st.lists(st.floats(-6.0, 6.0), min_size=2, max_size=20), st.floats(0.01, 1.0))
def test_the_p_value_never_rises(z: list[float], spread: float) -> None:
    """What was once significant stays so: one may stop at any look."""
    p = always_valid_p(z, 1.0 / np.sqrt(np.arange(1, len(z) + 1)), spread)
    assert (np.diff(p) <= 0.0).all()
    assert ((p > 0.0) & (p <= 1.0)).all()


def test_the_interval_is_theorem_2_2() -> None:
    """The radius is sigma sqrt(2 (t rho^2 + 1) / (t^2 rho^2) log(sqrt(t rho^2 + 1) / alpha)) of Waudby-Smith et al."""
    sigma, rho, alpha = 1.7, 0.13, 0.05
    for t in (3.0, 50.0, 4000.0):
        published = sigma * np.sqrt(2 * (t * rho**2 + 1) / (t**2 * rho**2) * np.log(np.sqrt(t * rho**2 + 1) / alpha))
        error = sigma / np.sqrt(t)
        assert mixture_bounds([error], rho * sigma, alpha)[0] * error == pytest.approx(published, rel=1e-12)


def test_the_narrowest_spread_is_near_the_narrowest() -> None:
    """Half or twice the spread gives a wider interval at the moment it was chosen for."""
    for alpha in (0.01, 0.05, 0.1):
        best = narrowest_spread(0.3, alpha)
        widths = [float(mixture_bounds([0.3], best * factor, alpha)[0]) for factor in (0.5, 1.0, 2.0)]
        assert widths[1] < min(widths[0], widths[2])


def test_always_looking_keeps_the_level() -> None:
    """A thousand walks read at each of 500 steps alarm at most as often as promised, and a fixed bound does not."""
    rng = np.random.default_rng(5)
    steps = np.arange(1, 501)
    z = np.cumsum(rng.standard_normal((1000, 500)), axis=1) / np.sqrt(steps)
    error = 1.0 / np.sqrt(steps)
    for spread in (0.1, narrowest_spread(error[-1], 0.05)):
        alarms = int((np.abs(z) >= mixture_bounds(error, spread, 0.05)).any(axis=1).sum())
        assert alarms <= binom.ppf(0.999, 1000, 0.05)
    assert int((np.abs(z) >= 1.96).any(axis=1).sum()) > 300


@pytest.mark.parametrize(("error", "spread", "alpha"), [(0.0, 1.0, 0.05), (1.0, 0.0, 0.05), (1.0, 1.0, 1.0)])
def test_arguments_out_of_range_are_refused(error: float, spread: float, alpha: float) -> None:
    """No bound without an error, a spread and a level."""
    with pytest.raises(ValueError, match="must"):
        mixture_bounds([error], spread, alpha)
