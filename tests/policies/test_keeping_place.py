"""A policy that another process takes over from at the end of a day."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allocation.channels import build_allocator
from allocation.settings import ExposureAllocation, FixedAllocation
from policies.popularity import Popularity
from policies.ranking import VisitRanking
from policies.registry import RegisteredPolicy, keeps_its_place, policy_class
from policies.two_channel import TwoChannel
from policies.uniform import Uniform
from simulator.world import World

NAMES = (
    "contextual", "exploring_logger", "foresight", "oracle", "popularity", "popularity_by_context", "random", "utility"
)  # fmt: skip
PROGRAM = {"kind": "exposure_qp", "lambda": 0.002, "min": 1, "max": 3}
SPLIT = {"start": 0.5, "half_life_days": 3}
ALLOCATIONS: dict[str, Any] = {
    "fixed": FixedAllocation.model_validate({"kind": "fixed", "slots": 2}),
    "fixed_split": FixedAllocation.model_validate({"kind": "fixed", "slots": 2, "split": SPLIT}),
    "program": ExposureAllocation.model_validate(PROGRAM),
    "rule": ExposureAllocation.model_validate(PROGRAM | {"solver": "threshold"}),
    "rule_split": ExposureAllocation.model_validate(PROGRAM | {"solver": "threshold", "split": SPLIT}),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_twin_takes_over(
    name: str, fit: Callable[..., RegisteredPolicy], check_going_on: Callable[..., None], tmp_path: Path
) -> None:
    """Each policy without thoughts, taken over from at a day's end, leaves what it would have left undisturbed."""
    check_going_on(fit(name), fit(name), tmp_path, rows=np.arange(0, 300, 3 if name == "foresight" else 1))


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_a_twin_takes_over_with_its_allocator(
    allocation: str,
    fit: Callable[..., RegisteredPolicy],
    check_going_on: Callable[..., None],
    world: World,
    tmp_path: Path,
) -> None:
    """Whatever an allocator has learned and written down goes over too: prices, pools, shares, gains, tallies."""
    rows = np.arange(world.users)

    def allocators() -> Any:
        return build_allocator(ALLOCATIONS[allocation], 5, world.environment.cities, rows % 3 > 0)

    params = {"trees": 10, "cognitive": 6}
    policies = fit("two_channel", **params), fit("two_channel", **params)
    check_going_on(*policies, tmp_path, allocators=allocators)


class Guest(Popularity):
    """Remembers more than its base does, and has not said how to keep it."""

    def begin(self, rows: int) -> None:
        """Forget whom it met."""
        super().begin(rows)
        self.met = np.zeros(rows, np.bool_)


class Careful(Guest):
    """Says how."""

    def snapshot(self) -> Any:
        """Whom it met."""
        return {"met": self.met}

    def restore(self, kept: Any) -> None:
        """Whom it met."""
        self.met = kept["met"]


class Derived(Careful):
    """Another ranking, nothing more to keep."""


class Forgetful(Careful):
    """Remembers something else besides."""

    def begin(self, rows: int) -> None:
        """Forget it."""
        super().begin(rows)
        self.other = 0


@pytest.mark.parametrize(
    ("policy", "keeps"),
    [(Guest, False), (Careful, True), (Derived, True), (Forgetful, False), (Popularity, True), (Uniform, True)],
)
def test_a_begin_of_ones_own_needs_a_snapshot_of_ones_own(policy: type[Popularity], keeps: bool) -> None:
    """A policy is asked for snapshots only where the class that defines begin is not below the one that tells."""
    assert keeps_its_place(policy(policy.Params(), 1)) is keeps


def test_every_shipped_policy_keeps_its_place() -> None:
    """No policy of this project falls back to being played from the start of its shard."""
    for name in (*NAMES, "two_channel", "recgpt_v1", "recgpt_v2"):
        chosen = policy_class(name)
        assert keeps_its_place(chosen(chosen.Params(), 1)), name
    assert issubclass(TwoChannel, VisitRanking)
