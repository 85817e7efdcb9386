from datetime import date
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from experiments.config import PolicyChoice
from experiments.fitting import fit_policies, make_policy
from experiments.progress import SilentProgress
from experiments.world_config import GeneratedWorld
from experiments.worlds import build_world
from policies.registry import RegisteredPolicy, register_policy
from simulator.batches import Candidates, InteractionLog, ObservedCatalog, ObservedUsers, Requests
from simulator.environment.context import ObservedContext
from simulator.parameters import Parameters
from simulator.world import World


class SpyParams(Parameters):
    """One parameter."""

    depth: int = 1


@register_policy("fitting_spy")
class Spy(RegisteredPolicy):
    """Keeps what it was fitted on."""

    Params = SpyParams

    def fit(self, *received: Any) -> None:
        """Keep."""
        self.received = received

    def candidates(self, requests: Requests) -> Candidates:
        """Never called."""
        raise NotImplementedError


@pytest.fixture(scope="module")
def world() -> World:
    """A tiny world of 9 days."""
    config = GeneratedWorld(kind="generated", users=5, items=60, cities=("seattle",), country="US")
    return build_world(config, start=date(2015, 10, 5), days=9, scenario="item", slots=5, seed=1).world


@pytest.fixture
def log() -> InteractionLog:
    """A log of 6 days with one click."""
    one = np.array([1])
    return InteractionLog(0, 6, one, one.astype(np.int32), one, one.astype(np.int8), None)


def choices(**depth: int) -> dict[str, PolicyChoice]:
    """Arms of the spy with these depths."""
    return {
        arm: PolicyChoice.model_validate({"policy": "fitting_spy", "params": {"depth": value}})
        for arm, value in depth.items()
    }


def test_equal_choices_share_a_fit(world: World, log: InteractionLog) -> None:
    """Arms of equal policy and parameters get one and the same object, others their own."""
    fitted = fit_policies(choices(a=1, b=2, c=1), log, world, 3, SilentProgress())
    assert list(fitted) == ["a", "b", "c"]
    assert fitted["a"] is fitted["c"]
    assert fitted["a"] is not fitted["b"]
    assert [fitted[arm].params.depth for arm in "abc"] == [1, 2, 1]


def test_default_and_the_same_value_written_out_are_equal(world: World, log: InteractionLog) -> None:
    """A parameter set to its default does not make another policy."""
    plain = {"plain": PolicyChoice.model_validate({"policy": "fitting_spy"})}
    fitted = fit_policies(plain | choices(written=1), log, world, 3, SilentProgress())
    assert fitted["plain"] is fitted["written"]


def test_policies_receive_what_is_observed_and_no_more(world: World, log: InteractionLog) -> None:
    """A fit sees the log, the item table, the declared profiles, and the context up to the log's last day."""
    received = fit_policies(choices(a=1), log, world, 3, SilentProgress())["a"].received  # type: ignore[attr-defined]
    assert [type(each) for each in received] == [InteractionLog, ObservedCatalog, ObservedUsers, ObservedContext]
    assert received[0] is log
    assert received[3].days == log.end_day
    assert received[3].trend_level.shape[0] == log.end_day
    assert received[2].user.tolist() == list(range(5))


def test_policy_is_made_with_checked_parameters_and_the_seed() -> None:
    """Parameters become the policy's own model; one that it does not know is refused."""
    policy = make_policy(choices(a=4)["a"], 11, "arms.a")
    assert isinstance(policy, Spy)
    assert policy.params == SpyParams(depth=4)
    assert policy.seed == 11
    with pytest.raises(ValidationError, match="width"):
        make_policy(PolicyChoice.model_construct(policy="fitting_spy", params={"width": 4}), 11, "arms.a")
