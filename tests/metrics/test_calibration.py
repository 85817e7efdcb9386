import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.calibration import BINS, calibration


def test_right_probabilities_are_at_their_noise() -> None:
    """Of outcomes drawn from the probabilities the error is the noise's, far below that of wrong ones."""
    rng = np.random.default_rng(3)
    p = rng.beta(1, 10, 40_000)
    right = calibration(p, rng.random(len(p)) < p, 100, 1)
    assert right.error <= right.noise_high
    assert right.error == pytest.approx(right.noise, rel=0.6)
    double = calibration(p / 2, rng.random(len(p)) < p, 100, 1)
    assert double.error == pytest.approx(p.mean() / 2, rel=0.05)
    assert double.error > 10 * double.noise_high


def test_the_error_of_an_example() -> None:
    """Two bins whose rates are 0.1 and 0.2 off have an error of their mean, by size."""
    p = np.repeat([0.2, 0.6], [10, 10])
    happened = np.concatenate([np.arange(10) < 3, np.arange(10) < 4])
    found = calibration(p, happened, 20, 1, bins=2)
    assert found.error == pytest.approx(0.15)
    assert found.predicted == pytest.approx([0.2, 0.6])
    assert found.observed == pytest.approx([0.3, 0.4])
    assert found.size.tolist() == [10, 10]


@given(st.integers(BINS, 200), st.integers(0, 2**31))
def test_bins_hold_everything(count: int, seed: int) -> None:
    """Bins are of equal size but for one, in order of the probability, and hold every example."""
    rng = np.random.default_rng(seed)
    p = rng.random(count)
    found = calibration(p, rng.random(count) < 0.3, 2, 1)
    assert found.size.sum() == count
    assert found.size.max() - found.size.min() <= 1
    assert (np.diff(found.predicted) >= 0).all()
    assert (found.predicted * found.size).sum() == pytest.approx(p.sum())


def test_what_is_no_probability_is_refused() -> None:
    """Numbers outside 0 to 1, and fewer examples than bins, are named."""
    with pytest.raises(ValueError, match="from 0 to 1"):
        calibration(np.full(20, 1.5), np.zeros(20, bool), 2, 1)
    with pytest.raises(ValueError, match="15 bins need as many"):
        calibration(np.full(3, 0.5), np.zeros(3, bool), 2, 1)
