"""What experiments stand on and may share: the world, its history, and policies fitted on it.

Each is a pure function of some keys of the config. Who runs several experiments keeps what the next one asks for again,
and gets the bytes that making it anew would give: states and policies, which play changes, are handed out as copies.
Knows which keys decide what; does not know how anything is built, played or fitted.
"""

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from experiments.config import Arm, ExperimentConfig
from experiments.worlds import BuiltWorld
from policies.registry import RegisteredPolicy
from simulator.batches import InteractionLog, Ints
from simulator.state import State, copy_state

BESIDE_THE_WORLD: Final = ("name", "arms", "assignment", "analysis", "frontier", "serving", "oracle", "sweep")
"""Keys that a world and its history do not depend on. Any other key counts, so that a new one is never overlooked."""

History = tuple[InteractionLog, list[tuple[Ints, State]]]


class Groundwork:
    """Makes what an experiment stands on, and keeps the last of it.

    One world is kept at a time, with its history and the policies fitted on it: what asks for another world lets go of
    them, so memory does not grow with the number of experiments but with that of policies.

    Args:
        keep: whether there will be a next experiment; without one nothing is kept and nothing copied.
    """

    def __init__(self, keep: bool = False) -> None:
        self._keep = keep
        self._key = ""
        self._built: BuiltWorld | None = None
        self._history: tuple[int, History] | None = None
        self._fitted: dict[str, RegisteredPolicy] = {}

    def world(self, config: ExperimentConfig, build: Callable[[], BuiltWorld]) -> BuiltWorld:
        """The world of a config, by ``build`` if it is not the one at hand. Play does not change it."""
        key = world_key(config)
        if self._built is None or key != self._key:
            self._key, self._built, self._history, self._fitted = key, None, None, {}
            built = build()
            if not self._keep:
                return built
            self._built = built
        return self._built

    def history(self, workers: int, play: Callable[[], History]) -> History:
        """The history of the world at hand, cut for so many workers, by ``play`` if it is not there."""
        if self._history is None or self._history[0] != workers:
            log, states = play()
            if not self._keep:
                return log, states
            self._history = (workers, (log, states))
        log, states = self._history[1]
        return log, [(rows, copy_state(state)) for rows, state in states]

    def policies(
        self, arms: Mapping[str, Arm], fit: Callable[[Mapping[str, Arm]], dict[str, RegisteredPolicy]]
    ) -> dict[str, RegisteredPolicy]:
        """The policies of arms, fitted on the history at hand, by ``fit`` where that was not done before.

        Arms with equal policy and parameters share one, as ``fit`` makes them.
        """
        if not self._keep:
            return fit(arms)
        keys = {name: policy_key(arm) for name, arm in arms.items()}
        missing = {name: arm for name, arm in arms.items() if keys[name] not in self._fitted}
        if missing:
            self._fitted |= {keys[name]: policy for name, policy in fit(missing).items()}
        handed = {key: copy.deepcopy(self._fitted[key]) for key in dict.fromkeys(keys.values())}
        return {name: handed[key] for name, key in keys.items()}


def world_key(config: ExperimentConfig) -> str:
    """All that decides a world and its history, as text: equal keys, equal bytes."""
    found: dict[str, Any] = config.model_dump(mode="json", exclude=set(BESIDE_THE_WORLD))
    return json.dumps(found, sort_keys=True)


def policy_key(arm: Arm) -> str:
    """All that decides a fit on a given history, as text."""
    return f"{arm.policy} {json.dumps(arm.params, sort_keys=True)}"
