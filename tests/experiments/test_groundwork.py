from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from experiments.config import Arm, ExperimentConfig
from experiments.groundwork import Groundwork, world_key
from simulator.state import State

CONFIG: dict[str, Any] = {
    "name": "small",
    "seed": 7,
    "world": {"kind": "generated", "users": 300, "items": 500, "cities": ["seattle"], "country": "US"},
    "horizon": {"start": "2015-10-05", "history_days": 15, "days": 5},
    "arms": {"a": {"policy": "popularity", "share": 0.5}, "b": {"policy": "utility", "share": 0.5}},
}


def config(**changes: Any) -> ExperimentConfig:
    """The config with some sections replaced."""
    return ExperimentConfig.model_validate(CONFIG | changes)


class Fitted:
    """Stands for a policy: remembers what play does to it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen: list[str] = []


class Workshop:
    """Counts what is made."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def build(self) -> Any:
        """A world."""
        self.made.append("world")
        return SimpleNamespace(number=len(self.made))

    def play(self) -> Any:
        """A history of one shard."""
        self.made.append("history")
        arrays = [np.arange(3) for _ in State._fields]
        return SimpleNamespace(), [(np.arange(3), State._make(arrays))]

    def fit(self, arms: Any) -> Any:
        """A policy for each arm, shared by equal ones."""
        self.made += [f"fit {name}" for name in arms]
        shared: dict[str, Fitted] = {}
        return {name: shared.setdefault(f"{arm.policy}{arm.params}", Fitted(name)) for name, arm in arms.items()}


def stand(ground: Groundwork, shop: Workshop, experiment: ExperimentConfig, workers: int = 1) -> Any:
    """What an experiment asks for, in its order."""
    built = ground.world(experiment, shop.build)
    log, states = ground.history(workers, shop.play)
    return built, log, states, ground.policies(experiment.arms, shop.fit)


def test_what_is_shared_is_made_once_and_handed_out_whole() -> None:
    """A second experiment in the same world makes only what is new, and sees nothing of what the first one changed."""
    ground, shop = Groundwork(keep=True), Workshop()
    _, _, states, policies = stand(ground, shop, config())
    states[0][1][0][:] = -1
    policies["a"].seen.append("first")
    arms = {**CONFIG["arms"], "b": {"policy": "contextual", "share": 0.5}}
    _, _, states, policies = stand(ground, shop, config(arms=arms, oracle=True, name="other"))
    assert shop.made == ["world", "history", "fit a", "fit b", "fit b"]
    assert states[0][1][0].tolist() == [0, 1, 2]
    assert policies["a"].seen == []


def test_arms_with_one_fit_share_one_policy() -> None:
    """Equal policy and parameters are one object in an experiment, so that an A/A test is exact."""
    twice = {name: {"policy": "popularity", "share": 0.5} for name in ("a", "b")}
    for keep in (False, True):
        policies = stand(Groundwork(keep), Workshop(), config(arms=twice))[3]
        assert policies["a"] is policies["b"]


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 8},
        {"world": CONFIG["world"] | {"users": 299}},
        {"horizon": CONFIG["horizon"] | {"days": 6}},
        {"scenario": "feed"},
        {"page": {"slots": 5}},
    ],
)
def test_another_world_is_made_anew_with_all_that_stands_on_it(changes: dict[str, Any]) -> None:
    """Whatever decides a world lets go of the history and the fits of the one before."""
    ground, shop = Groundwork(keep=True), Workshop()
    first = stand(ground, shop, config())[0]
    second = stand(ground, shop, config(**changes))[0]
    assert first is not second
    assert shop.made == ["world", "history", "fit a", "fit b"] * 2


def test_every_key_counts_unless_it_is_known_not_to() -> None:
    """Only keys that a world does not depend on are left out of what tells worlds apart."""
    assert world_key(config()) == world_key(
        config(name="other", oracle=True, arms={**CONFIG["arms"], "a": {"policy": "random", "share": 0.5}})
    )
    left_out = set(ExperimentConfig.model_fields) - {
        "name",
        "arms",
        "assignment",
        "analysis",
        "frontier",
        "serving",
        "oracle",
        "sweep",
    }
    dumped = world_key(config())
    for key in left_out:
        assert f'"{key}"' in dumped


def test_another_cut_is_another_history() -> None:
    """A history is cut as it is asked for."""
    ground, shop = Groundwork(keep=True), Workshop()
    stand(ground, shop, config(), workers=1)
    stand(ground, shop, config(), workers=2)
    assert shop.made.count("history") == 2
    assert shop.made.count("world") == 1


def test_a_single_experiment_keeps_nothing() -> None:
    """Without a next experiment nothing is kept, and what is made is handed on as it is."""
    ground, shop = Groundwork(), Workshop()
    stand(ground, shop, config())
    stand(ground, shop, config())
    assert shop.made == ["world", "history", "fit a", "fit b"] * 2


def test_arms_are_those_of_a_config() -> None:
    """The arms of these tests are those that configs hold."""
    assert all(isinstance(arm, Arm) for arm in config().arms.values())
