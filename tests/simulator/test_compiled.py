import numpy as np
import pytest

from simulator.batches import Floats
from simulator.compiled import inlined, kernel


@inlined
def _over(a: float, b: float) -> float:
    return a / b


@kernel
def _all_over(a: Floats, b: Floats, out: Floats) -> None:
    for n in range(len(a)):
        out[n] = _over(a[n], b[n])


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_divisions_are_those_of_numpy() -> None:
    """A kernel divides as numpy does, by zero too, where it raises nothing."""
    a, b = np.array([1.0, -1.0, 0.0, 7.0]), np.array([0.0, 0.0, 0.0, 3.0])
    out = np.empty(4)
    _all_over(a, b, out)
    assert np.array_equal(out, a / b, equal_nan=True)
