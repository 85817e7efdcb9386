"""Fitting the policies of an experiment on the same log, each distinct one once."""

import json
from collections.abc import Mapping

from experiments.config import PolicyChoice
from experiments.guests import blaming
from experiments.progress import Progress
from policies.registry import RegisteredPolicy, policy_class, silent
from simulator.batches import InteractionLog
from simulator.world import World


def make_policy(choice: PolicyChoice, seed: int, key: str) -> RegisteredPolicy:
    """The policy that a config names, unfitted.

    Args:
        choice: the policy and its parameters.
        seed: of its draws.
        key: of the choice in the config, for messages.

    Raises:
        PolicyFaultError: the code of a policy that is not of this project raised an error.
    """
    chosen = policy_class(choice.policy)
    params = chosen.Params.model_validate(choice.params)
    with blaming({key: chosen}):
        return chosen(params, seed)


def fit_policies(
    choices: Mapping[str, PolicyChoice],
    log: InteractionLog,
    world: World,
    seed: int,
    progress: Progress,
    block: str = "arms",
) -> dict[str, RegisteredPolicy]:
    """Fit each policy on the log; arms with equal policy and parameters share one fit, so an A/A test is exact.

    Policies receive the item table, the declared profiles and the context up to the log's last day: nothing else.

    Args:
        choices: by name.
        log: what they learn from.
        world: whose items and users they see.
        seed: of their draws.
        progress: is told how far things are.
        block: of the config that the choices stand in.

    Raises:
        PolicyFaultError: the code of a policy that is not of this project raised an error.
    """
    fitted: dict[str, RegisteredPolicy] = {}
    by_arm: dict[str, RegisteredPolicy] = {}
    context = world.environment.observed().until(log.end_day - 1)
    with progress.stage("fitting policies", len(choices)) as stage:
        for arm, choice in choices.items():
            key = f"{choice.policy} {json.dumps(choice.params, sort_keys=True)}"
            if key not in fitted:
                policy = make_policy(choice, seed, f"{block}.{arm}")
                policy.say = progress.stage
                with blaming({f"{block}.{arm}": policy}):
                    policy.fit(log, world.catalog.observed, world.population.observed, context)
                policy.say = silent
                fitted[key] = policy
            by_arm[arm] = fitted[key]
            stage.advance()
    return by_arm
