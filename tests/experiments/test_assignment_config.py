import copy
from typing import Any

import pytest
from pydantic import ValidationError

from experiments.config import ExperimentConfig, config_hash, resolved

CONFIG: dict[str, Any] = {
    "name": "designed",
    "seed": 7,
    "world": {
        "kind": "generated",
        "users": 400,
        "items": 300,
        "cities": ["seattle", "new_york"],
        "cities_per_climate": 10,
        "country": "US",
    },
    "horizon": {"start": "2015-10-05", "history_days": 12, "warmup_days": 3, "days": 6},
    "assignment": {"unit": "city"},
    "arms": {"a": {"policy": "popularity", "share": 0.5}, "b": {"policy": "utility", "share": 0.5}},
    "analysis": {"metrics": ["ctr", "sessions"]},
}


def designed(**changes: Any) -> ExperimentConfig:
    """The config with keys replaced, ``section__key`` for one of a section."""
    config = copy.deepcopy(CONFIG)
    for key, value in changes.items():
        section, _, inner = key.partition("__")
        if inner:
            config.setdefault(section, {})[inner] = value
        else:
            config[section] = value
    return ExperimentConfig.model_validate(config)


def test_users_are_randomised_unless_something_else_is_said() -> None:
    """A config that says nothing of it, or says user, has the resolved form and the hash that it had before."""
    silent = {key: value for key, value in CONFIG.items() if key != "assignment"}
    silent["world"] = {key: value for key, value in CONFIG["world"].items() if key != "cities_per_climate"}
    plain = ExperimentConfig.model_validate(silent)
    said = ExperimentConfig.model_validate(
        silent | {"assignment": {"unit": "user"}, "world": silent["world"] | {"cities_per_climate": 1}}
    )
    assert "assignment" not in resolved(plain)
    assert "cities_per_climate" not in resolved(plain)["world"]
    assert config_hash(plain) == config_hash(said)


def test_what_is_asked_for_is_in_the_resolved_config() -> None:
    """A design and the cities it needs survive being written and read, and are another run."""
    config = designed()
    assert resolved(config)["assignment"] == {"unit": "city"}
    assert resolved(ExperimentConfig.model_validate(resolved(config))) == resolved(config)
    assert config_hash(config) != config_hash(designed(assignment={"unit": "user"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"world__cities_per_climate": 2}, "of 4 cities arm 'a' .* gets 2.*world.cities_per_climate to 5"),
        (
            {"arms": {"a": {"policy": "random", "share": 0.9}, "b": {"policy": "utility", "share": 0.1}}},
            "of 20 cities arm 'b' .share 0.1. gets 2.*world.cities_per_climate to 25",
        ),
        (
            {"arms": {"a": {"policy": "random", "share": 0.99}, "b": {"policy": "utility", "share": 0.01}}},
            "arm 'b' .* gets 0.*give it a larger share",
        ),
        ({"world__users": 199}, "199 users in 20 cities; set world.users to 200"),
        ({"analysis__sequential": {"looks": 3}}, "3 looks with assignment.unit city"),
        ({"analysis__sequential": {"method": "msprt"}}, "6 looks with assignment.unit city"),
        ({"world": {"kind": "log", "dataset": "online_retail", "path": "x.csv"}}, "the places of a log differ"),
        ({"assignment": {"unit": "country"}}, "assignment"),
    ],
)
def test_what_a_design_cannot_do_is_refused(changes: dict[str, Any], message: str) -> None:
    """In one line, before anything is played, with what would do."""
    with pytest.raises(ValidationError, match=message):
        designed(**changes)


def test_the_remedy_is_one() -> None:
    """The number of cities that a refusal names is accepted."""
    assert designed(world__cities_per_climate=5).world.cities_per_climate == 5  # type: ignore[union-attr]
    dealt = designed(
        world__cities_per_climate=25,
        world__users=500,
        arms={"a": {"policy": "random", "share": 0.9}, "b": {"policy": "utility", "share": 0.1}},
    )
    assert dealt.arms["b"].share == 0.1
