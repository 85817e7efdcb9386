import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from simulator.fitted.levels import Levels, fit_levels, normal_scores, place, standardised
from simulator.streams import Stream

USERS, EACH = 2000, 5


def test_values_keep_their_distribution_and_their_owners() -> None:
    """Drawn for new customers, values have the log's quantiles, and a customer's are as alike as they were."""
    stream = Stream(3, "test/levels")
    user = np.repeat(np.arange(USERS), EACH)
    own = 0.8 * stream.normal(0, np.arange(USERS))
    size = 1 + np.floor(10 * np.exp(own[user] + 0.6 * stream.normal(1, np.arange(len(user))))).astype(np.int64)
    fitted = fit_levels(normal_scores(size), user, USERS)
    levels = fitted.levels
    assert levels.between / (levels.between + levels.within) == pytest.approx(0.64, abs=0.03)
    assert levels.between + levels.within == pytest.approx(1.0, abs=0.02)
    assert (fitted.count == EACH).all()
    assert fitted.mean.mean() == pytest.approx(0.0, abs=0.01)
    nobody = levels.own(np.zeros(USERS, np.int64), np.zeros(USERS), 10_000 + np.arange(USERS), stream)
    score = levels.score(nobody[user], stream, 10_000 + user, np.arange(len(user)))
    drawn = np.sort(size)[place(score, len(size))]
    quantiles = [0.1, 0.25, 0.5, 0.75, 0.9]
    assert np.quantile(drawn, quantiles) == pytest.approx(np.quantile(size, quantiles), rel=0.12)
    again = fit_levels(normal_scores(drawn), user, USERS).levels
    assert again.between == pytest.approx(levels.between, abs=0.05)


def test_who_took_much_takes_much() -> None:
    """A customer with many high scores goes on with high ones; of who has none, nothing is known but the spread."""
    levels, stream = Levels(0.5, 0.5), Stream(1, "test/levels")
    own = levels.own(np.array([50, 50]), np.array([1.5, -1.5]), np.array([1, 2]), stream)
    assert own[0] > 1.0 > -1.0 > own[1]
    unknown = levels.own(np.zeros(4000, np.int64), np.zeros(4000), np.arange(4000), stream)
    assert unknown.std() == pytest.approx(np.sqrt(0.5), rel=0.05)


def test_what_a_score_depends_on_is_recovered() -> None:
    """A slope on something of the occasion's own is found, and scores drawn with it have it and variance 1."""
    stream = Stream(9, "test/levels")
    rows = np.arange(USERS * EACH)
    user, given_there = rows // EACH, stream.normal(0, rows)
    own = 0.6 * stream.normal(1, np.arange(USERS))
    score = own[user] - 0.5 * given_there + np.sqrt(0.39) * stream.normal(2, rows)
    levels = fit_levels(score, user, USERS, given_there).levels
    assert levels.slope == pytest.approx(-0.5, abs=0.03)
    assert levels.between == pytest.approx(0.36, abs=0.03)
    drawn = levels.score(own[user], stream, user, rows, given=given_there)
    assert drawn.std() == pytest.approx(1.0, abs=0.03)
    assert np.mean(drawn * given_there) == pytest.approx(-0.5, abs=0.04)


@given(arrays(np.float64, st.integers(1, 40), elements=st.floats(-1e6, 1e6)))
def test_scores_keep_the_order(values: np.ndarray) -> None:
    """Equal values have equal scores, larger ones larger, and the place that a score stands for exists."""
    score = normal_scores(values)
    order = np.argsort(values, kind="stable")
    assert (np.diff(score[order]) >= 0).all()
    assert ((np.diff(values[order]) > 0) == (np.diff(score[order]) > 1e-12)).all()
    found = place(np.append(score, [-40.0, 40.0]), len(values))
    assert found.min() >= 0
    assert found.max() < len(values)


def test_standardised_values_have_weighted_moments() -> None:
    """Weighted mean and variance are 0 and 1; what does not vary becomes 0."""
    weight = np.array([1.0, 2.0, 5.0])
    found = standardised(np.array([3.0, 7.0, 8.0]), weight)
    assert np.average(found, weights=weight) == pytest.approx(0.0)
    assert np.average(found**2, weights=weight) == pytest.approx(1.0)
    assert not standardised(np.full(3, 4.0), weight).any()


def test_one_occasion_each_is_refused() -> None:
    """Where nobody has two occasions, what is the customer's own cannot be told."""
    with pytest.raises(ValueError, match="nobody has two"):
        fit_levels(np.array([1.0, 2.0, 3.0]), np.arange(3), 3)
