import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from metrics.sequential.spending import SPENDING, alpha_spent


@settings(deadline=None)
@given(st.sampled_from(SPENDING), st.floats(1e-6, 0.5), st.floats(0.2, 5.0))
def test_spending_grows_from_nothing_to_the_level(method: str, alpha: float, exponent: float) -> None:
    """Nothing is spent at the start, all of it at the end, and never any is given back."""
    spent = alpha_spent(method, np.linspace(0.0, 1.0, 50), alpha, exponent)  # type: ignore[arg-type]
    assert spent[0] == 0.0
    assert spent[-1] == pytest.approx(alpha, rel=1e-9)
    assert (np.diff(spent) >= 0.0).all()


def test_values_by_their_formulas() -> None:
    """Half-way the functions spend what their definitions say."""
    one_side = 2 - 2 * norm.cdf(norm.ppf(1 - 0.05 / 4) / np.sqrt(0.5))
    assert alpha_spent("obrien_fleming", 0.5, 0.05) == pytest.approx(2 * one_side)
    assert alpha_spent("pocock", 0.5, 0.05) == pytest.approx(0.05 * np.log(1 + (np.e - 1) / 2))
    assert alpha_spent("power", 0.5, 0.05, 3.0) == pytest.approx(0.05 / 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("haybittle", 0.5, 0.05), "method: 'haybittle'"),
        (("pocock", 1.5, 0.05), "time: 1.5"),
        (("pocock", 0.5, 0.0), "alpha: 0.0"),
        (("power", 0.5, 0.05, 0.0), "exponent: 0.0"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: tuple, message: str) -> None:
    """The message names the argument and its value."""
    with pytest.raises(ValueError, match=message):
        alpha_spent(*arguments)
