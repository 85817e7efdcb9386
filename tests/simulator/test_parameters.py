from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from simulator.parameters import BehaviourParameters, Parameters


def _blocks() -> Iterator[tuple[str, Parameters]]:
    behaviour = BehaviourParameters()
    for name in BehaviourParameters.model_fields:
        yield name, getattr(behaviour, name)


def test_defaults_survive_a_round_trip() -> None:
    """Written out and read again, the parameters are the same."""
    behaviour = BehaviourParameters()
    assert BehaviourParameters.model_validate_json(behaviour.model_dump_json()) == behaviour


def test_defaults_meet_their_own_bounds() -> None:
    """No default lies outside the range that a config may give."""
    for _, block in _blocks():
        assert type(block).model_validate(block.model_dump()) == block


def test_every_number_says_what_it_means() -> None:
    """Every parameter has a description, since the config's reader has nothing else to go by."""
    for name, block in _blocks():
        for field, info in type(block).model_fields.items():
            assert info.description, f"{name}.{field}"


def test_no_parameter_knows_an_arm() -> None:
    """No parameter is named after an arm or a policy: there is none by which one could be favoured."""
    words = ("arm", "policy", "treatment", "control", "lift", "uplift", "variant", "effect")
    for name, block in _blocks():
        for field in type(block).model_fields:
            assert not set(field.split("_")) & set(words), f"{name}.{field}"


@pytest.mark.parametrize(
    "wrong",
    [
        {"response": {"no_such_key": 1.0}},
        {"no_such_block": {}},
        {"response": {"examination_decay": -0.1}},
        {"response": {"click_base": float("nan")}},
        {"response": {"click_base": float("inf")}},
        {"response": {"max_pages": 0}},
        {"response": {"extra_views": 1.0}},
        {"response": {"extra_quantity": 1.0}},
        {"returning": {"neutral": 1.5}},
        {"intent": {"recent_days": 0.0}},
        {"population": {"interests": 0}},
        {"feed": {"other_share": 1.01}},
    ],
)
def test_what_is_wrong_is_refused(wrong: dict[str, Any]) -> None:
    """Unknown keys and impossible numbers are refused, never ignored."""
    with pytest.raises(ValidationError):
        BehaviourParameters.model_validate(wrong)


def test_parameters_do_not_change() -> None:
    """Parameters are frozen: a world's truth is not moved while it is played."""
    behaviour = BehaviourParameters()
    with pytest.raises(ValidationError):
        behaviour.response.click_base = 0.0  # type: ignore[misc]
    with pytest.raises(ValidationError):
        behaviour.response = behaviour.response  # type: ignore[misc]
