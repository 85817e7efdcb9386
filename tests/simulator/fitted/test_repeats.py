import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.fitted.repeats import MOST_AGAIN, Repeats, fit_repeat_shares, power_of
from simulator.streams import Stream


def test_repeat_shares_are_those_of_the_log() -> None:
    """Shares by what is owned come back, and repeats of a customer are spread as the evenness says."""
    stream = Stream(6, "test/repeats")
    rows = np.arange(60_000)
    user = rows // 30
    owned = 1 + rows % 30
    factor = 0.5 + 1.0 * (stream.uniform(0, np.arange(2000)) > 0.5)
    again = stream.uniform(1, rows) < np.where(owned >= 8, 0.5, 0.2) * factor[user]
    fitted, repeats, expected = fit_repeat_shares(again, owned, user, 2000)
    assert fitted.share[:5] == pytest.approx([0.2, 0.2, 0.2, 0.5, 0.5], abs=0.02)
    assert repeats.sum() == again.sum()
    assert expected.sum() == pytest.approx(again.sum(), rel=0.02)
    assert 2.0 < fitted.evenness < 8.0  # variance of the factors is 1/4
    drawn = fitted.factor(repeats, expected, np.arange(2000), stream)
    assert drawn[factor > 1].mean() > 1.2 > 0.8 > drawn[factor < 1].mean()


@given(st.integers(0, 5000), st.floats(0.0, 50.0))
def test_repeats_have_a_probability(owned: int, factor: float) -> None:
    """Who owns nothing repeats nothing; elsewhere the probability stays below its bound."""
    repeats = Repeats(np.array([0.1, 0.3, 0.7]), 2.0, 1.0)
    chance = repeats.of(owned, factor)
    assert 0.0 <= chance <= MOST_AGAIN
    assert owned > 0 or chance == 0.0
    assert not owned or power_of(owned, 3) == min(int(np.log2(owned) + 1e-12), 2)
