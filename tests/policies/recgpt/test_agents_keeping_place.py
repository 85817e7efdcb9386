"""A thinking policy that another process takes over from at the end of a day."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allocation.channels import build_allocator
from allocation.settings import FixedAllocation
from policies.recgpt.base import TagPolicy, TagPolicyParams
from policies.registry import policy_class
from simulator.batches import InteractionLog
from simulator.world import World

ROWS = np.arange(0, 300, 15)
SMALL: dict[str, Any] = {
    "towers": {"width": 16, "epochs": 1},
    "utility": {"factors": 8, "iterations": 3},
    "calibration_visits": 6,
    "cognitive": 5,
    "explained": 2,
    "tags": 5,
    "refresh": {"max_age_days": 2, "budget": 0.6},
    "sample_users": 200,
}


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("recgpt_v1", {"routes": ["habits", "weather"], "route_tags": 3}),
        ("recgpt_v2", {"experts": 2, "expert_tags": 4}),
        ("recgpt_v2", {"experts": 1, "expert_tags": 4, "explained": 0, "reasoner": "distilled", "distill_users": 12}),
    ],
)
def test_a_twin_takes_over(
    name: str,
    params: dict[str, Any],
    world: World,
    log: InteractionLog,
    agent_folder: Path,
    check_going_on: Callable[..., None],
    tmp_path: Path,
) -> None:
    """Tags, schedule, accounts, samples and explanations go on in another process as they would have here."""
    chosen = policy_class(name)
    language = {"model": str(agent_folder), "device": "cpu", "cache": False}
    policy = chosen(chosen.Params.model_validate({"language": language, **SMALL, **params}), 5)
    assert isinstance(policy, TagPolicy)
    assert isinstance(policy.params, TagPolicyParams)
    policy.fit(log, world.catalog.observed, world.population.observed, world.environment.observed().until(15))
    twin = pickle.loads(pickle.dumps(policy))  # noqa: S301 - as a process pool does
    fixed = FixedAllocation.model_validate({"kind": "fixed", "slots": 2})

    def allocators() -> Any:
        return build_allocator(fixed, 5, world.environment.cities, np.ones(len(ROWS), np.bool_))

    check_going_on(policy, twin, tmp_path, rows=ROWS, allocators=allocators)
    diary = policy.diary()
    assert diary is not None
    assert sum(diary["executed"].values()) > len(ROWS) / 4
    assert diary["samples"]
