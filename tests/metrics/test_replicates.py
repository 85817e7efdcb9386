import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.replicates import mean_of_replicates

# R's data set `sleep` (Cushny and Peebles 1905; Student 1908): extra hours of sleep, group 1.
SLEEP = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]


def test_students_example() -> None:
    """``t.test(sleep$extra[sleep$group == 1])`` in R gives 0.75 and -0.5297804 to 2.0297804."""
    found = mean_of_replicates(SLEEP)
    assert found.mean == pytest.approx(0.75)
    assert found.ci == pytest.approx((-0.5297804, 2.0297804), abs=1e-7)
    assert found.replicates == 10


def test_one_replicate_has_no_spread() -> None:
    """The mean of one is that one, and nothing is known of how far it is off."""
    assert mean_of_replicates([0.2]) == (0.2, None, 1)


@given(
    values=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20),
    shift=st.floats(-1e6, 1e6),
    alpha=st.floats(0.001, 0.4),
)
def test_the_interval_moves_with_its_values_and_narrows_with_its_level(
    values: list[float], shift: float, alpha: float
) -> None:
    """Shifted values shift mean and interval, the mean lies in the middle, and a lower level is narrower."""
    found, moved = mean_of_replicates(values, alpha), mean_of_replicates([each + shift for each in values], alpha)
    assert found.ci is not None
    assert moved.ci is not None
    close = 1e-6 * (1 + abs(shift) + max(map(abs, values)))
    assert moved.mean == pytest.approx(found.mean + shift, abs=close)
    assert moved.ci[0] == pytest.approx(found.ci[0] + shift, abs=1000 * close)
    assert sum(found.ci) / 2 == pytest.approx(found.mean, abs=close)
    narrower = mean_of_replicates(values, alpha + 0.1).ci
    assert narrower is not None
    assert narrower[1] - narrower[0] <= found.ci[1] - found.ci[0] + close


@pytest.mark.parametrize("values", [[], [0.1, math.nan], [np.inf]])
def test_what_has_no_mean_is_refused(values: list[float]) -> None:
    """No value, and values that are not finite, are errors."""
    with pytest.raises(ValueError, match="must be finite numbers, at least one"):
        mean_of_replicates(values)
