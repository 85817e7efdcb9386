import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.fitted.baskets import MOST_AGAIN, BasketSizes, Repeats, fit_basket_sizes, fit_repeat_shares, power_of
from simulator.streams import Stream


def test_sizes_keep_their_distribution_and_their_owners() -> None:
    """Drawn for new customers, sizes have the log's quantiles, and a customer's are as alike as they were."""
    stream = Stream(3, "test/sizes")
    user = np.repeat(np.arange(2000), 5)
    own = 0.8 * stream.normal(0, np.arange(2000))
    size = 1 + np.floor(10 * np.exp(own[user] + 0.6 * stream.normal(1, np.arange(len(user))))).astype(np.int64)
    fitted, count, mean = fit_basket_sizes(size, user, 2000)
    assert fitted.between / (fitted.between + fitted.within) == pytest.approx(0.64, abs=0.03)
    assert fitted.between + fitted.within == pytest.approx(1.0, abs=0.02)
    assert (count == 5).all()
    assert mean.mean() == pytest.approx(0.0, abs=0.01)
    nobody = fitted.own(np.zeros(2000, np.int64), np.zeros(2000), 10_000 + np.arange(2000), stream)
    drawn = fitted.draw(nobody[user], 10_000 + user, np.arange(len(user)), stream)
    quantiles = [0.1, 0.25, 0.5, 0.75, 0.9]
    assert np.quantile(drawn, quantiles) == pytest.approx(np.quantile(size, quantiles), rel=0.12)
    again, _, _ = fit_basket_sizes(drawn, user, 2000)
    assert again.between == pytest.approx(fitted.between, abs=0.05)


def test_who_took_much_takes_much() -> None:
    """A customer with many large baskets goes on with large ones, in the order of what was seen."""
    fitted = BasketSizes(np.arange(1, 101), 0.5, 0.5)
    stream = Stream(1, "test/sizes")
    own = fitted.own(np.array([50, 50, 0]), np.array([1.5, -1.5, 0.0]), np.array([1, 2, 3]), stream)
    assert own[0] > 1.0 > -1.0 > own[1]
    large, small = (fitted.draw(np.full(400, score), np.full(400, 9), np.arange(400), stream) for score in own[:2])
    assert large.mean() > 70 > 30 > small.mean()


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


def test_one_basket_each_is_refused() -> None:
    """Where nobody has two baskets, what is the customer's own cannot be told."""
    with pytest.raises(ValueError, match="nobody has two"):
        fit_basket_sizes(np.array([1, 2, 3]), np.arange(3), 3)
