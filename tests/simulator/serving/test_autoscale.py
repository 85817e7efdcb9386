import pytest

from simulator.serving.autoscale import Autoscale
from simulator.serving.errors import ServingError


@pytest.mark.parametrize(("calls", "wanted"), [(0, 2), (8, 2), (9, 3), (12, 3), (13, 4), (400, 5)])
def test_wanted_instances(calls: int, wanted: int) -> None:
    """A pool must want its calls over what an instance should have, rounded up, between its least and its most."""
    assert Autoscale(5, 4.0).wanted(calls, 2) == wanted


def test_least_above_most_is_refused() -> None:
    """A least that the rule can never reach must be refused."""
    with pytest.raises(ServingError, match=r"autoscale\.most: 5; it must be at least the pool's instances \(6\)"):
        Autoscale(5, 4.0).wanted(0, 6)
