from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from allocation.settings import Allocation, ExposureAllocation, FixedAllocation, NoAllocation, SplitChoice
from experiments.config import ExperimentConfig, config_hash, resolved
from policies.two_channel import TwoChannel, TwoChannelParams

ADAPTER: TypeAdapter[Any] = TypeAdapter(Allocation)
QP = {"kind": "exposure_qp", "lambda": 0.02, "min": 1, "max": 3, "solver": "threshold", "split": {"start": 0.4}}
ARMS = {
    "control": {"policy": "two_channel", "share": 0.5},
    "treatment": {"policy": "two_channel", "share": 0.5, "allocation": QP},
}


def configured(**changes: Any) -> ExperimentConfig:
    """An experiment with an allocation, some sections replaced."""
    assert TwoChannel.Params is TwoChannelParams
    base = {
        "name": "small",
        "seed": 1,
        "world": {"kind": "generated", "users": 10, "items": 60, "cities": ["seattle"], "country": "US"},
        "horizon": {"start": "2015-10-05", "history_days": 2, "days": 2},
        "arms": ARMS,
        "analysis": {"metrics": ["ctr"]},
        "oracle": True,
    }
    return ExperimentConfig.model_validate(base | changes)


@pytest.mark.parametrize(
    ("changes", "field", "remedy"),
    [
        ({"lambda": 0.0}, "lambda", "greater than 0"),
        ({"lambda": float("inf")}, "lambda", "finite"),
        ({"conversion_floor": -0.1}, "conversion_floor", "greater than or equal to 0"),
        ({"min": 3, "max": 2}, "max", r"2 is below min \(3\); raise it"),
        ({"min": -1}, "min", "greater than or equal to 0"),
        ({"max": 0}, "max", "greater than or equal to 1"),
        ({"solver": "simplex"}, "solver", "'dual', 'cvxpy' or 'threshold'"),
        ({"split": {"least": 0.6, "most": 0.5}}, "split.most", r"0.5 is below least \(0.6\); raise it"),
        ({"split": {"ramp": 0.0}}, "split.ramp", "greater than 0"),
        ({"split": {"attitude": "hopeful"}}, "split.attitude", "'pessimistic', 'neutral' or 'optimistic'"),
        ({"split": {"half_life_days": 0}}, "split.half_life_days", "greater than 0"),
        ({"slots": 2}, "slots", "not permitted"),
    ],
)
def test_bad_values_are_refused(changes: dict[str, Any], field: str, remedy: str) -> None:
    """A value outside its bounds is refused under its name in the file, with what it must be."""
    with pytest.raises(ValidationError, match=remedy) as found:
        ADAPTER.validate_python({"kind": "exposure_qp"} | changes)
    (error,) = found.value.errors()
    assert ".".join(str(part) for part in error["loc"][1:]) == field


@pytest.mark.parametrize("slots", [0, -2])
def test_fixed_shows_at_least_one(slots: int) -> None:
    """A fixed allocation of no slot is refused; that is kind none."""
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        ADAPTER.validate_python({"kind": "fixed", "slots": slots})


def test_kind_is_needed() -> None:
    """Which allocation it is must be said, and must be a known one."""
    for data in ({}, {"kind": "best"}):
        with pytest.raises(ValidationError, match="kind"):
            ADAPTER.validate_python(data)


def test_kinds_load_as_their_own() -> None:
    """Each kind has its own model, with a budget from 0 to 4 and everybody exposed by default."""
    assert isinstance(ADAPTER.validate_python({"kind": "none"}), NoAllocation)
    assert ADAPTER.validate_python({"kind": "fixed"}) == FixedAllocation(kind="fixed")
    found = ADAPTER.validate_python({"kind": "exposure_qp"})
    assert (found.least, found.most, found.split) == (0, 4, None)


def test_aliases_load_and_dump_back() -> None:
    """What a file calls lambda, min and max is read, and written under the same names."""
    found = ADAPTER.validate_python(QP)
    assert isinstance(found, ExposureAllocation)
    assert (found.penalty, found.least, found.most) == (0.02, 1, 3)
    assert found.split == SplitChoice(start=0.4)
    dumped = ADAPTER.dump_python(found, mode="json", by_alias=True)
    assert {key: dumped[key] for key in ("lambda", "min", "max")} == {"lambda": 0.02, "min": 1, "max": 3}
    assert ADAPTER.validate_python(dumped) == found


def test_resolved_config_reloads_equal() -> None:
    """A resolved config with allocations and a frontier resolves to itself, with the same hash."""
    config = configured(frontier={"arm": "treatment", "lambdas": [0.01, 0.5]})
    again = ExperimentConfig.model_validate(resolved(config))
    assert resolved(again) == resolved(config)
    assert (again.arms, again.frontier) == (config.arms, config.frontier)
    assert config_hash(again) == config_hash(config)
    assert resolved(config)["arms"]["treatment"]["allocation"]["lambda"] == 0.02


def test_one_channel_has_nothing_to_allocate() -> None:
    """An allocation for a policy with one channel is refused, with the policy that has two."""
    arms = ARMS | {"treatment": {"policy": "utility", "share": 0.5, "allocation": {"kind": "fixed"}}}
    with pytest.raises(ValidationError, match=r"policy 'utility' has no cognitive channel; use two_channel") as found:
        configured(arms=arms)
    assert found.value.errors()[0]["loc"] == ("arms", "treatment", "allocation")
    arms["treatment"] = {"policy": "utility", "share": 0.5, "allocation": {"kind": "none"}}
    assert configured(arms=arms).arms["treatment"].allocation.kind == "none"


def test_frontier_needs_the_truth() -> None:
    """A frontier is played on all users, so it is refused without the oracle."""
    with pytest.raises(ValidationError, match="frontier: given without oracle: true"):
        configured(frontier={"arm": "treatment", "lambdas": [0.1]}, oracle=False)


@pytest.mark.parametrize("arm", ["control", "nobody"])
def test_frontier_needs_a_program(arm: str) -> None:
    """A frontier of an arm that has no lambda, or is not there, is refused."""
    with pytest.raises(ValidationError, match=rf"frontier.arm: '{arm}' is no arm with allocation.kind exposure_qp"):
        configured(frontier={"arm": arm, "lambdas": [0.1]})


@pytest.mark.parametrize("lambdas", [[], [0.0], [-1.0]])
def test_frontier_needs_values(lambdas: list[float]) -> None:
    """A frontier without values of lambda, or with one that is not above 0, is refused."""
    with pytest.raises(ValidationError, match=r"frontier\.lambdas"):
        configured(frontier={"arm": "treatment", "lambdas": lambdas})


@pytest.mark.parametrize("values", [{"least": 0.95}, {"start": 0.05}])
def test_bounds_are_checked_against_defaults_too(values: dict[str, float]) -> None:
    """A value that contradicts another's default is refused like one that contradicts a given value."""
    with pytest.raises(ValueError, match=r"raise it|move start"):
        SplitChoice(**values)


def test_a_budget_of_seconds_needs_the_seconds_of_a_visit() -> None:
    """A budget of GPU-seconds is refused where a visit costs none, and nobody else counts what it costs."""
    for cost, taken in ((0.0, False), (0.1, True)):
        split = {"gpu_seconds": 5.0, "gpu_seconds_a_visit": cost}
        arms = ARMS | {"treatment": ARMS["treatment"] | {"allocation": QP | {"split": split}}}
        if taken:
            configured(arms=arms)
            continue
        with pytest.raises(ValidationError, match=r"arms\.treatment\.allocation\.split\..*give the cost of a visit"):
            configured(arms=arms)


def test_budget_is_checked_against_the_default() -> None:
    """A least number of items above the default of the most is refused."""
    with pytest.raises(ValueError, match="below min"):
        ExposureAllocation.model_validate({"kind": "exposure_qp", "min": 6})
