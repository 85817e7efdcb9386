"""Fitting the policies of an experiment on the same log, each distinct one once."""

import json
from collections.abc import Mapping

from experiments.config import PolicyChoice
from experiments.progress import Progress
from policies.registry import RegisteredPolicy, policy_class, silent
from simulator.batches import InteractionLog
from simulator.world import World


def make_policy(choice: PolicyChoice, seed: int) -> RegisteredPolicy:
    """The policy that a config names, unfitted."""
    chosen = policy_class(choice.policy)
    return chosen(chosen.Params.model_validate(choice.params), seed)


def fit_policies(
    choices: Mapping[str, PolicyChoice], log: InteractionLog, world: World, seed: int, progress: Progress
) -> dict[str, RegisteredPolicy]:
    """Fit each policy on the log; arms with equal policy and parameters share one fit, so an A/A test is exact.

    Policies receive the item table, the declared profiles and the context up to the log's last day: nothing else.
    """
    fitted: dict[str, RegisteredPolicy] = {}
    by_arm: dict[str, RegisteredPolicy] = {}
    context = world.environment.observed().until(log.end_day - 1)
    with progress.stage("fitting policies", len(choices)) as stage:
        for arm, choice in choices.items():
            key = f"{choice.policy} {json.dumps(choice.params, sort_keys=True)}"
            if key not in fitted:
                policy = make_policy(choice, seed)
                policy.say = progress.stage
                policy.fit(log, world.catalog.observed, world.population.observed, context)
                policy.say = silent
                fitted[key] = policy
            by_arm[arm] = fitted[key]
            stage.advance()
    return by_arm
