import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp

from metrics.realism import (
    Sample,
    beside_counts,
    beside_the_floor,
    js_of_categories,
    js_of_ranks,
    ks,
    share_distance,
    zipf_exponent,
)

COUNTS = arrays(np.int64, 6, elements=st.integers(0, 1000)).filter(lambda a: a.sum() > 0)
VALUES = arrays(np.float64, st.integers(1, 60), elements=st.floats(-5, 5).map(lambda x: round(x, 1)))


def users_of(rng: np.random.Generator, users: int, mean: float = 0.0) -> Sample:
    """Users with ten values each, of a level of their own."""
    level = rng.normal(mean, 1.0, users)
    user = np.repeat(np.arange(users), 10)
    return Sample(user, level[user] + rng.normal(0.0, 0.5, len(user)), users)


@given(COUNTS, COUNTS)
def test_js_is_scipys(first: np.ndarray, second: np.ndarray) -> None:
    """The distance of shares is SciPy's in base 2, symmetric, between 0 and 1."""
    found = share_distance(first, second)
    assert found == pytest.approx(float(jensenshannon(first, second, base=2)), abs=1e-7)
    assert found == pytest.approx(share_distance(second, first))
    assert 0.0 <= found <= 1.0 + 1e-12


@given(VALUES, VALUES)
def test_ks_is_scipys(first: np.ndarray, second: np.ndarray) -> None:
    """The distance of values is SciPy's two-sample statistic, ties included."""
    assert ks(first, second) == pytest.approx(ks_2samp(first, second, method="exact").statistic)


def test_distances_know_alike_and_nothing_in_common() -> None:
    """0 for the same, 1 for what shares nothing; ranks do not care which category is which."""
    assert share_distance(np.array([1, 3]), np.array([2, 6])) == 0.0
    assert share_distance(np.array([1, 0]), np.array([0, 7])) == 1.0
    one, other = np.repeat([0, 1, 2], [5, 3, 1]), np.repeat([2, 0, 1], [5, 3, 1])
    assert js_of_categories(3)(one, other) > 0.2
    assert js_of_ranks(3)(one, other) == 0.0


def test_a_sample_of_the_same_law_is_at_its_floor() -> None:
    """Simulated users drawn as the real ones are no further from them than real halves are."""
    rng = np.random.default_rng(4)
    found = beside_the_floor(users_of(rng, 600), users_of(rng, 600), ks, 60, 1)
    assert found.ratio == pytest.approx(1.0, abs=0.35)
    assert found.within_noise
    assert found.floor < found.floor_high
    assert found.times == 60


def test_the_floor_is_of_users_not_of_values() -> None:
    """Values of one user go together, so that the floor is above that of as many independent values."""
    rng = np.random.default_rng(5)
    grouped = users_of(rng, 200)
    apart = Sample(np.arange(2000), grouped.value, 2000)
    floors = [beside_the_floor(sample, sample, ks, 60, 1).floor for sample in (grouped, apart)]
    assert floors[0] > 1.4 * floors[1]


def test_another_law_is_far_from_its_floor() -> None:
    """A shift of half a standard deviation is several times the floor, however many simulated users there are."""
    rng = np.random.default_rng(6)
    real = users_of(rng, 600)
    for users in (100, 600, 3000):
        found = beside_the_floor(real, users_of(rng, users, 0.5), ks, 40, 1)
        assert found.ratio is not None
        assert found.ratio > 2.0
        assert not found.within_noise


def test_comparisons_are_pure_functions_of_their_seed() -> None:
    """The same seed gives the same halves, another gives others."""
    rng = np.random.default_rng(7)
    real, simulated = users_of(rng, 50), users_of(rng, 60)
    one, again, other = (beside_the_floor(real, simulated, ks, 20, seed) for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_counts_are_held_against_sampling_noise() -> None:
    """Draws from the real shares are at their floor; other shares are not."""
    rng = np.random.default_rng(8)
    shares = np.array([0.5, 0.3, 0.2])
    drawn = rng.multinomial(20_000, shares).astype(float)
    assert beside_counts(shares, drawn, 200, 3).floor_high > 0.0
    near = [beside_counts(shares, rng.multinomial(20_000, shares).astype(float), 50, 3).within_noise for _ in range(40)]
    assert 0.8 < np.mean(near) <= 1.0
    far = beside_counts(shares, np.array([11_000.0, 6_000.0, 3_000.0]), 50, 3)
    assert not far.within_noise


def test_the_tail_of_a_power_law_has_its_exponent() -> None:
    """Frequencies that fall with their rank to a power have that power as their exponent."""
    rank = np.arange(1, 20_001)
    for exponent in (0.6, 1.0):
        counts = (1e7 * rank**-exponent).astype(np.int64)
        assert zipf_exponent(counts) == pytest.approx(exponent, rel=0.03)
    assert zipf_exponent(np.array([5, 3, 1])) is None


def test_nothing_to_compare_is_refused() -> None:
    """Empty sides and unequal categories are named."""
    with pytest.raises(ValueError, match="one side is empty"):
        share_distance(np.zeros(3), np.ones(3))
    with pytest.raises(ValueError, match="2 and 3 categories"):
        share_distance(np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match="one side is empty"):
        ks(np.zeros(0), np.ones(2))
    nobody = Sample(np.zeros(0, np.int64), np.zeros(0), 10)
    with pytest.raises(ValueError, match="in every halving"):
        beside_the_floor(nobody, nobody, ks, 5, 1)
