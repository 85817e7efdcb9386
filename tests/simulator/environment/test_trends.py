import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.environment.trends import PERCEPTIBLE, simulate_trends

TOPICS = [f"topic_{index}" for index in range(45)]
RECURRING = np.arange(45) % 3 != 0


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 120), st.integers(0, 2**31))
def test_a_day_does_not_depend_on_the_horizon(days: int, seed: int) -> None:
    """Levels of the first days, and births in them, are the same whatever the horizon."""
    short, long = (simulate_trends(TOPICS[:6], RECURRING[:6], n, seed) for n in (days, 131))
    assert np.array_equal(short.level, long.level[:days])
    assert short.births == tuple(birth for birth in long.births if birth.day < days)


def test_another_topic_does_not_change_a_topic() -> None:
    """A topic's story is the same alone and among others, in any order."""
    together = simulate_trends(TOPICS, RECURRING, 60, 2)
    order = np.arange(45)[::-1]
    backwards = simulate_trends([TOPICS[index] for index in order], RECURRING[order], 60, 2)
    assert np.array_equal(backwards.level, together.level[:, order])
    assert backwards.births == together.births
    alone = simulate_trends(TOPICS[7:8], RECURRING[7:8], 60, 2)
    assert np.array_equal(alone.level[:, 0], together.level[:, 7])


def test_a_few_topics_are_alive_on_a_typical_day() -> None:
    """Of 45 topics three to eight are perceptible on the median day, in the first month as later."""
    for seed in range(5):
        alive = (simulate_trends(TOPICS, RECURRING, 365, seed).level > PERCEPTIBLE).sum(axis=1)
        assert 3 <= np.median(alive) <= 8
        assert 3 <= alive[:28].mean() <= 8


def test_new_topics_are_born_once_and_recurring_ones_rest() -> None:
    """New topics are born at most once and in the horizon; recurring births are 30 days apart or more."""
    trends = simulate_trends(TOPICS, RECURRING, 1000, 1)
    born = {key: [birth.day for birth in trends.births if birth.topic == key] for key in TOPICS}
    assert all(len(born[key]) <= 1 and min(born[key], default=0) >= 0 for key in np.array(TOPICS)[~RECURRING])
    assert all((np.diff(born[key]) >= 30).all() for key in np.array(TOPICS)[RECURRING])
    assert any(days and days[0] < 0 for days in born.values())
    assert max(len(days) for days in born.values()) > 3


def test_levels_grow_to_their_peak_and_are_forgotten() -> None:
    """Levels lie in [0, 1]; a new topic is unheard of before birth, nears its peak, and fades."""
    trends = simulate_trends(TOPICS, np.zeros(45, dtype=bool), 400, 8)
    assert np.all((trends.level >= 0.0) & (trends.level <= 1.0))
    assert not trends.level.flags.writeable
    for birth in trends.births:
        curve = trends.level[:, TOPICS.index(birth.topic)]
        assert not curve[: birth.day].any()
        if birth.day < 300:
            top = int(curve.argmax())
            assert 0.8 * birth.peak < curve[top] <= birth.peak
            assert np.all(np.diff(curve[birth.day : top + 1]) >= 0.0)
            assert np.all(np.diff(curve[top:]) <= 0.0)
            assert curve[top + 60] < 0.05


def test_birth_counts_are_poisson() -> None:
    """Without rest (new topics) the share unborn after n days is exp(-rate n)."""
    keys = [f"new_{index}" for index in range(1500)]
    trends = simulate_trends(keys, np.zeros(1500, dtype=bool), 50, 3, births_per_day=0.02)
    assert 1.0 - len(trends.births) / 1500 == pytest.approx(np.exp(-1.0), abs=0.04)
    assert simulate_trends(keys[:3], np.zeros(3, dtype=bool), 50, 3, births_per_day=0.0).births == ()


def test_peaks_are_heavy_tailed() -> None:
    """Most fashions stay small while a few reach nearly everybody."""
    peaks = np.array([birth.peak for birth in simulate_trends(TOPICS, np.ones(45, dtype=bool), 3000, 4).births])
    assert np.quantile(peaks, 0.5) < 0.5
    assert np.quantile(peaks, 0.95) > 0.9


def test_bad_requests_are_refused() -> None:
    """Repeated keys, a mask of another length, an empty horizon and a negative rate raise an error."""
    with pytest.raises(ValueError, match="keys must differ"):
        simulate_trends(["a", "a"], [True, True], 3, 0)
    with pytest.raises(ValueError, match="one entry for each of 2"):
        simulate_trends(["a", "b"], [True], 3, 0)
    with pytest.raises(ValueError, match="at least 1"):
        simulate_trends(["a"], [True], 0, 0)
    with pytest.raises(ValueError, match="0 or more"):
        simulate_trends(["a"], [True], 3, 0, births_per_day=-1.0)
