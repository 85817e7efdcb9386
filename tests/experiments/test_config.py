import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from experiments.config import EvaluationConfig, ExperimentConfig, config_hash, resolved
from experiments.kinds import CONFIG_KINDS
from policies.registry import RegisteredPolicy, register_policy
from simulator.batches import Candidates, Requests
from simulator.parameters import Parameters


class Tuning(Parameters):
    """Parameters of the policy below."""

    depth: int = Field(default=3, ge=1)
    prior: float = 0.5


@register_policy("config_test_policy")
class Tunable(RegisteredPolicy):
    """A policy with parameters, only ever named."""

    Params = Tuning

    def candidates(self, requests: Requests) -> Candidates:
        """Never called."""
        raise NotImplementedError


WORLD = {"kind": "generated", "users": 100, "items": 200, "cities": ["seattle"], "country": "US"}
POLICY = {"policy": "config_test_policy"}
EXPERIMENT: dict[str, Any] = {
    "name": "small",
    "seed": 7,
    "world": WORLD,
    "horizon": {"start": "2015-10-05", "history_days": 10, "warmup_days": 2, "days": 3, "follow_up_days": 1},
    "arms": {"control": POLICY | {"share": 0.5}, "treatment": POLICY | {"share": 0.5}},
}
EVALUATION: dict[str, Any] = {
    "kind": "evaluation",
    "name": "offline",
    "seed": 7,
    "world": WORLD,
    "horizon": {"start": "2015-10-05", "history_days": 10},
    "holdout_days": 3,
    "policies": {"one": POLICY, "two": POLICY},
}


def changed(data: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A copy with some values replaced; double underscores lead into mappings."""
    data = copy.deepcopy(data)
    for path, value in changes.items():
        *parents, key = path.split("__")
        target = data
        for parent in parents:
            target = target.setdefault(parent, {})
        target[key] = value
    return data


def experiment(**changes: Any) -> ExperimentConfig:
    """The small experiment with changes."""
    return ExperimentConfig.model_validate(changed(EXPERIMENT, **changes))


def refusals(model: type[ExperimentConfig] | type[EvaluationConfig], data: dict[str, Any]) -> list[tuple[str, str]]:
    """Where and why a config is refused."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(data)
    return [(".".join(map(str, item["loc"])), item["msg"]) for item in caught.value.errors()]


@pytest.mark.parametrize("data", [EXPERIMENT, EVALUATION])
def test_resolved_config_loads_back(data: dict[str, Any]) -> None:
    """A resolved config is JSON, is accepted again, and resolves to itself."""
    model = CONFIG_KINDS[data.get("kind", "experiment")]
    once = resolved(model.model_validate(data))
    again = model.model_validate(json.loads(json.dumps(once, allow_nan=False)))
    assert resolved(again) == once
    assert config_hash(again) == config_hash(model.model_validate(data))


def test_hash_ignores_defaults_written_out_and_sees_every_change() -> None:
    """The hash depends on what a config means, the order of arms included, not on its length."""
    plain = config_hash(experiment())
    same = [
        experiment(oracle=False),
        experiment(page__slots=10),
        experiment(horizon__end="2015-10-21"),
        experiment(analysis__control="control"),
        experiment(arms__control=POLICY | {"share": 0.5, "params": {"depth": 3}}),
    ]
    assert {config_hash(config) for config in same} == {plain}
    other = [
        experiment(seed=8),
        experiment(analysis__control="treatment"),
        experiment(world__contexts=0),
        experiment(arms=dict(reversed(EXPERIMENT["arms"].items()))),
    ]
    assert len({plain, *map(config_hash, other)}) == 5


def test_control_is_the_first_arm_unless_named() -> None:
    """The control is the first arm, or the one the analysis names, which must exist."""
    assert experiment().control_name == "control"
    assert experiment(analysis__control="treatment").control_name == "treatment"
    assert (
        "analysis.control: 'x' is none of control, treatment"
        in refusals(ExperimentConfig, changed(EXPERIMENT, analysis__control="x"))[0][1]
    )


def test_the_unseen_must_be_known_to_the_world() -> None:
    """Occasions and topics may be named by key; a wrong one is one line with what comes close, a twin is refused."""
    assert experiment(world__unseen=["halloween", "capybara"]).world.unseen == ("halloween", "capybara")  # type: ignore[union-attr]
    assert experiment().world.unseen == ()  # type: ignore[union-attr]
    for wrong, why in ((["helloween"], "did you mean halloween"), (["easter", "easter"], "comes twice")):
        ((where, message),) = refusals(ExperimentConfig, changed(EXPERIMENT, world__unseen=wrong))
        assert where.endswith("unseen")
        assert why in message
        assert "\n" not in message


def test_params_are_those_of_the_policy() -> None:
    """An arm's params are checked against its policy, errors say where, defaults are filled in."""
    config = experiment(arms__control=POLICY | {"share": 0.5, "params": {"depth": 5}})
    assert config.arms["control"].params == {"depth": 5, "prior": 0.5}
    assert config.arms["treatment"].params == {"depth": 3, "prior": 0.5}
    data = changed(EXPERIMENT, arms__control=POLICY | {"share": 0.5, "params": {"depth": 0, "dpeth": 1}})
    assert {where for where, _ in refusals(ExperimentConfig, data)} == {
        "arms.control.params.depth",
        "arms.control.params.dpeth",
    }


@settings(deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=2, max_size=6))
def test_shares_that_sum_to_one_are_accepted(weights: list[int]) -> None:
    """Any shares that sum to 1 up to rounding are accepted, and a tenth more for one arm is not."""
    shares = [weight / sum(weights) for weight in weights]
    arms = {f"arm{n}": POLICY | {"share": share} for n, share in enumerate(shares)}
    assert len(experiment(arms=arms).arms) == len(weights)
    arms["arm0"]["share"] *= 1.1
    refused = refusals(ExperimentConfig, changed(EXPERIMENT, arms=arms))
    assert refused[0][0].startswith("arms")


def test_shares_message_shows_the_sum() -> None:
    """Shares that do not sum to 1 are named with their sum."""
    arms = {"control": POLICY | {"share": 0.5}, "treatment": POLICY | {"share": 0.7}}
    assert refusals(ExperimentConfig, changed(EXPERIMENT, arms=arms)) == [
        ("arms", "Value error, shares sum to 1.2 (control 0.5, treatment 0.7); they must sum to 1")
    ]


@pytest.mark.parametrize(
    ("changes", "where", "why"),
    [
        ({"name": "../up"}, "name", "usable name"),
        ({"seed": -1}, "seed", "greater than or equal to 0"),
        ({"world__users": 0}, "world.generated.users", "greater than or equal to 1"),
        ({"world__items": 49}, "world.generated.items", "greater than or equal to 50"),
        ({"world__cities": ["atlantis"]}, "world.generated.cities", "no climate; choose from"),
        ({"world__cities": ["seattle", "seattle"]}, "world.generated.cities", "comes twice"),
        ({"world__cities": []}, "world.generated.cities", "at least 1"),
        ({"world__country": "us"}, "world.generated.country", "no calendar"),
        ({"world__contexts": 5.1}, "world.generated.contexts.weather", "less than or equal to 5"),
        (
            {"world__behaviour": {"returning": {"memory": 2}}},
            "world.generated.behaviour.returning.memory",
            "1",
        ),
        ({"horizon__end": "2015-10-01"}, "horizon.end", "end before start"),
        ({"horizon__end": "2015-10-20"}, "horizon.end", "2015-10-21; leave end out"),
        ({"horizon__days": 0}, "horizon.days", "greater than or equal to 1"),
        ({"horizon__days": 10**9}, "horizon.end", "stay there"),
        ({"horizon__start": "1815-10-05"}, "horizon.end", "stay there"),
        ({"horizon__start": None}, "", "horizon.start: missing"),
        ({"horizon__start": None, "horizon__end": "2015-10-21"}, "horizon.end", "without a start"),
        ({"scenario": "list"}, "scenario", "'item' or 'feed'"),
        ({"page__slots": 0}, "page.slots", "greater than or equal to 1"),
        (
            {"arms__treatment": {"policy": "nobody", "share": 0.5}},
            "arms.treatment.policy",
            "unknown policy 'nobody'; known",
        ),
        ({"arms": {"only": POLICY | {"share": 1}}}, "arms", "at least 2"),
        ({"arms__A B": POLICY | {"share": 0.5}}, "arms", "usable name"),
        ({"analysis__metrics": ["ctr", "ctrr"]}, "analysis.metrics", "'ctrr' is unknown"),
        ({"analysis__metrics": ["ctr", "ctr"]}, "analysis.metrics", "twice"),
        ({"analysis__metrics": ["gmv"]}, "analysis.primary", "not among analysis.metrics"),
        ({"analysis__metrics": ["ctr", "lt14"]}, "", "'lt14' needs 14 days"),
        ({"analysis__alpha": 0.5}, "analysis.alpha", "less than 0.5"),
        ({"analysis__correction": "bonferroni"}, "analysis.correction", "'holm'"),
        ({"oracle": "perhaps"}, "oracle", "boolean"),
    ],
)
def test_experiment_refuses(changes: dict[str, Any], where: str, why: str) -> None:
    """What makes no sense is refused at the field that says it."""
    refused = refusals(ExperimentConfig, changed(EXPERIMENT, **changes))
    assert any(where == at and why in message for at, message in refused), refused


@pytest.mark.parametrize(
    ("changes", "where", "why"),
    [
        ({"metrics": ["auc"]}, "metrics", "recall@k"),
        ({"metrics": ["recall@0"]}, "metrics", "recall@k"),
        ({"metrics": ["gflops@3"]}, "metrics", "tag_validity"),
        ({"metrics": ["hr@30", "hr@30"]}, "metrics", "twice"),
        ({"max_visits": 0}, "max_visits", "greater than or equal to 1"),
        ({"policies": {}}, "policies", "at least 1"),
        ({"policies__No": POLICY}, "policies", "usable name"),
        ({"control": "three"}, "", "control: 'three' is none of one, two"),
        ({"holdout_days": 10}, "", "holdout_days: 10 leaves nothing"),
        ({"horizon": None}, "", "horizon: missing"),
        ({"horizon__start": "1815-10-05"}, "horizon.history_days", "stay there"),
        ({"replicates": 1}, "replicates", "greater than or equal to 100"),
    ],
)
def test_evaluation_refuses(changes: dict[str, Any], where: str, why: str) -> None:
    """What makes no sense is refused at the field that says it."""
    refused = refusals(EvaluationConfig, changed(EVALUATION, **changes))
    assert any(where == at and why in message for at, message in refused), refused


def test_log_world_needs_no_start() -> None:
    """A log's first day is the default start, so neither kind of config has to name one."""
    world = {"kind": "log", "dataset": "online_retail", "path": "log.csv"}
    config = experiment(world=world, horizon={"history_days": 10, "days": 3})
    assert config.horizon.start is None
    assert config.horizon.end is None
    offline = EvaluationConfig.model_validate(changed(EVALUATION, world=world, horizon=None))
    assert offline.control_name == "one"


def test_schema_describes_every_key() -> None:
    """Every key of both kinds, however deep, has a description, a title being no explanation."""
    for model in CONFIG_KINDS.values():
        schema = model.model_json_schema()
        for name, definition in schema["$defs"].items():
            assert definition.get("description"), name


def test_a_student_that_writes_no_style_is_not_asked_for_texts() -> None:
    """V2 with a student and texts, the default number too, is refused; without texts, or with V1's template, not."""
    student = {"reasoner": "distilled"}

    def of(policy: str, **params: Any) -> dict[str, Any]:
        return changed(EXPERIMENT, arms__treatment={"policy": policy, "share": 0.5, "params": student | params})

    for number in ({}, {"explained": 2}):
        ((where, why),) = refusals(ExperimentConfig, of("recgpt_v2", **number))
        assert where == "arms.treatment.params.reasoner"
        assert f"(explained: {number.get('explained', 6)}); set explained: 0" in why
    for accepted in (of("recgpt_v2", explained=0), of("recgpt_v1"), of("recgpt_v2", reasoner="lm")):
        ExperimentConfig.model_validate(accepted)
