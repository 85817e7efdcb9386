"""Tables of potential outcomes whose truth is known, and an assignment by shares."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import pytest

from metrics.audit.draws import Assign
from metrics.audit.outcomes import Outcomes
from metrics.definitions import Covariate, Metric
from simulator.streams import Stream

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MEAN = Metric("spend", "Spend", "a user", "spend", "mean", "spend", covariates=(Covariate("spend_before"),))
RATIO = Metric("ctr", "CTR", "share", "clicks / views", "ratio", "clicks", "views")


def _assign(user: Ints, replication: int, shares: Sequence[float]) -> Ints:
    return np.searchsorted(np.cumsum(shares)[:-1], Stream(5, "test").uniform(user, replication), side="right")


@pytest.fixture(scope="session")
def assigning() -> Callable[..., Assign]:
    """``assigning(shares)``: an assignment by shares, new for each replication."""
    return lambda shares: partial(_assign, shares=shares)


def _tables(**by_arm: Mapping[str, Floats]) -> Outcomes:
    users = len(next(iter(next(iter(by_arm.values())).values())))
    return Outcomes(np.arange(users), by_arm)


@pytest.fixture(scope="session")
def tables() -> Callable[..., Outcomes]:
    """``tables(arm={column: values}, ...)``: a table of potential outcomes."""
    return _tables


@pytest.fixture(scope="session")
def mean() -> Metric:
    """A mean with a covariate."""
    return MEAN


@pytest.fixture(scope="session")
def ratio() -> Metric:
    """A ratio without one."""
    return RATIO
