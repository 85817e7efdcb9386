"""What an experiment's YAML may say: every key, its type, its bounds and its default.

Knows the shape of a config and the names it may refer to (policies, metrics). Does not know what its parts ask of each
other, where a config comes from, how its errors are worded, or how an experiment is run.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from allocation.settings import Allocation, NoAllocation
from experiments.analysis_config import Analysis
from experiments.assignment_config import Assignment, ByUser
from experiments.config_checks import evaluation_mistakes, experiment_mistakes
from experiments.errors import refuse
from experiments.serving_config import PlatformServing
from experiments.sweep_config import Sweep
from experiments.world_config import DrawnTraffic, Traffic, World
from metrics.offline_definitions import offline_metric
from policies.registry import policy_class
from simulator.environment.calendar import FIRST_YEAR, LAST_YEAR
from simulator.parameters import Parameters

Scenario = Literal["item", "feed"]

_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_SHARE_TOLERANCE: Final = 1e-9


def slug(value: str) -> str:
    """A name as it is, if files and pages can be called by it; else a ValueError that says what may."""
    if not _SLUG.fullmatch(value):
        raise ValueError(f"{value!r} is not a usable name; use up to 64 of a-z, 0-9, _ and -, a letter or digit first")
    return value


def _checked_years(first: date, days: int) -> date:
    """The day after the last of ``days`` days, all within the years that have a calendar."""
    if first.year < FIRST_YEAR or first.toordinal() + days > date(LAST_YEAR, 12, 31).toordinal() + 1:
        raise ValueError(
            f"{days} days from {first} leave {FIRST_YEAR}..{LAST_YEAR}, whose occasions are known; stay there"
        )
    return first + timedelta(days=days)


class Horizon(Parameters):
    """The days of an experiment: history to learn from, warm-up, the experiment, a follow-up."""

    start: date | None = Field(default=None, description="first day of the history; a log's first day if left out")
    history_days: int = Field(ge=1, description="days logged before the warm-up; policies learn from them")
    warmup_days: int = Field(
        default=0,
        ge=0,
        description="days before the arms part, all users under one policy; the covariates of CUPED",
    )
    days: int = Field(ge=1, description="days of the experiment")
    follow_up_days: int = Field(default=0, ge=0, description="days watched after it, for retention")
    end: date | None = Field(
        default=None,
        validate_default=True,
        description="day after the last one; given, it must agree with the days",
    )

    @field_validator("end")
    @classmethod
    def _end_agrees(cls, end: date | None, info: ValidationInfo) -> date | None:
        parts = ("start", "history_days", "warmup_days", "days", "follow_up_days")
        if any(part not in info.data for part in parts):
            return end
        start, *spans = (info.data[part] for part in parts)
        if start is None:
            if end is not None:
                raise ValueError(f"{end} is given without a start; give horizon.start too, or neither")
            return None
        if end is not None and end <= start:
            raise ValueError(f"end before start ({end} is not after {start}); swap them or leave end out")
        expected = _checked_years(start, sum(spans))
        if end is not None and end != expected:
            raise ValueError(f"{end} does not agree with start and days, which end on {expected}; leave end out")
        return expected


class HistoryHorizon(Parameters):
    """The days of an offline evaluation: a history, of which the last days are held out."""

    start: date | None = Field(default=None, description="first day of the history; a log's first day if left out")
    history_days: int = Field(ge=2, description="days of the history, the held-out ones included")

    @field_validator("history_days")
    @classmethod
    def _known_years(cls, days: int, info: ValidationInfo) -> int:
        if info.data.get("start") is not None:
            _checked_years(info.data["start"], days)
        return days


class PolicyChoice(Parameters):
    """A policy by name, with its parameters. The resolved config holds every parameter."""

    policy: str = Field(description="name of a registered policy; see `testbed policies`")
    params: dict[str, Any] = Field(default_factory=dict, validate_default=True, description="the policy's parameters")

    @field_validator("policy")
    @classmethod
    def _known_policy(cls, policy: str) -> str:
        policy_class(policy)
        return policy

    @field_validator("params")
    @classmethod
    def _params_of_policy(cls, params: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "policy" not in info.data:
            return params
        checked = policy_class(info.data["policy"]).Params.model_validate(params)
        return checked.model_dump(mode="json")


class Arm(PolicyChoice):
    """One variant of the experiment."""

    share: float = Field(gt=0.0, le=1.0, description="share of users; the arms' shares sum to 1")
    allocation: Allocation = Field(
        default=NoAllocation(), description="which cognitive candidates are shown, for a policy that has them"
    )

    @field_validator("allocation")
    @classmethod
    def _channels_to_allocate(cls, allocation: Allocation, info: ValidationInfo) -> Allocation:
        if allocation.kind != "none" and "policy" in info.data and not policy_class(info.data["policy"]).two_channels:
            raise ValueError(
                f"kind {allocation.kind!r}, but policy {info.data['policy']!r} has no cognitive channel; "
                "use two_channel, or leave allocation out"
            )
        return allocation


class Frontier(Parameters):
    """Further values of lambda at which an arm with the exposure program is played on all users, beside the test."""

    arm: str = Field(description="an arm with allocation.kind exposure_qp")
    lambdas: tuple[Annotated[float, Field(gt=0.0)], ...] = Field(min_length=1, description="values to play")

    @field_validator("lambdas")
    @classmethod
    def _once_each(cls, lambdas: tuple[float, ...]) -> tuple[float, ...]:
        for value in lambdas:
            if lambdas.count(value) > 1:
                raise ValueError(f"{value} comes twice; name each lambda once")
        return lambdas


class Page(Parameters):
    """What a page holds."""

    slots: int = Field(default=10, ge=1, le=50, description="items on a page")


class ExperimentConfig(Parameters):
    """A closed-loop experiment: users meet their arm's policy, respond, and return or not."""

    kind: Literal["experiment"] = "experiment"
    name: str = Field(description="names the run directory")
    seed: int = Field(ge=0, le=2**63 - 1, description="every draw is a pure function of it")
    world: World
    traffic: Traffic = Field(default=DrawnTraffic(), description="when users come")
    horizon: Horizon
    scenario: Scenario = Field(default="item", description="where pages are shown; on a feed other cards compete")
    page: Page = Field(default=Page())
    arms: dict[str, Arm] = Field(description="the variants; order matters, the first is the control")
    assignment: Assignment = Field(default=ByUser(), description="what is randomised")
    analysis: Analysis = Field(default=Analysis())
    frontier: Frontier | None = Field(default=None, description="play one arm at other lambdas; needs oracle: true")
    serving: PlatformServing | None = Field(
        default=None, description="a simulated cluster does each arm's near-line jobs; left out: they take no time"
    )
    sweep: Sweep | None = Field(
        default=None, description="keys that take several values, for `testbed sweep`; no part of a single run"
    )
    oracle: bool = Field(
        default=False, description="play every user under every arm too, for the exact effect (runs longer)"
    )

    @field_validator("name")
    @classmethod
    def _name_is_slug(cls, name: str) -> str:
        return slug(name)

    @field_validator("arms")
    @classmethod
    def _arms_share_all(cls, arms: dict[str, Arm]) -> dict[str, Arm]:
        for name in arms:
            slug(name)
        if len(arms) < 2:
            raise ValueError(f"{len(arms)} given; a comparison needs at least 2")
        total = math.fsum(arm.share for arm in arms.values())
        if abs(total - 1.0) > _SHARE_TOLERANCE:
            each = ", ".join(f"{name} {arm.share:.12g}" for name, arm in arms.items())
            raise ValueError(f"shares sum to {total:.12g} ({each}); they must sum to 1")
        return arms

    @model_validator(mode="after")
    def _parts_fit(self) -> "ExperimentConfig":
        refuse(experiment_mistakes(self))
        return self

    @property
    def control_name(self) -> str:
        """Name of the arm the others are held against."""
        return self.analysis.control or next(iter(self.arms))


class EvaluationConfig(Parameters):
    """An open-loop evaluation: policies learn from a log's earlier days and meet its last ones."""

    kind: Literal["evaluation"]
    name: str = Field(description="names the run directory")
    seed: int = Field(ge=0, le=2**63 - 1, description="every draw is a pure function of it")
    world: World
    horizon: HistoryHorizon | None = Field(
        default=None, description="needed by a generated world; the whole file of a log if left out"
    )
    holdout_days: int = Field(ge=1, description="last days of the history, held out from the policies")
    policies: dict[str, PolicyChoice] = Field(min_length=1, description="what is compared; the first is the control")
    control: str | None = Field(default=None, description="the one the others are held against; the first if left out")
    metrics: tuple[str, ...] = Field(
        default=("recall@20", "ndcg@20", "hr@30", "novelty@20"),
        min_length=1,
        description="name, or name@k for one that looks k deep; one that does not apply to a policy is null there",
    )
    max_visits: int | None = Field(
        default=None, ge=1, description="held-out visits at which policies are asked, drawn at random; all if left out"
    )
    replicates: int = Field(
        default=1000,
        ge=100,
        le=100_000,
        description="bootstrap replicates of the intervals; p-values take more where many are corrected together",
    )
    alpha: float = Field(
        default=0.05, gt=0.0, lt=0.5, description="the intervals cover 1 - alpha; adjusted p-values are held against it"
    )

    @field_validator("name")
    @classmethod
    def _name_is_slug(cls, name: str) -> str:
        return slug(name)

    @field_validator("policies")
    @classmethod
    def _policy_names(cls, policies: dict[str, PolicyChoice]) -> dict[str, PolicyChoice]:
        for name in policies:
            slug(name)
        return policies

    @field_validator("metrics")
    @classmethod
    def _offline_metrics(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            offline_metric(name)
            if names.count(name) > 1:
                raise ValueError(f"{name!r} comes twice; name each metric once")
        return names

    @model_validator(mode="after")
    def _parts_fit(self) -> "EvaluationConfig":
        refuse(evaluation_mistakes(self))
        return self

    @property
    def control_name(self) -> str:
        """Name of the policy the others are held against."""
        return self.control or next(iter(self.policies))


Config = ExperimentConfig | EvaluationConfig


def resolved(config: Config) -> dict[str, Any]:
    """The config as plain JSON values with every default filled in; loads back to an equal config."""
    data = config.model_dump(mode="json", by_alias=True)
    if data["world"].get("cities_per_climate") == 1:
        del data["world"]["cities_per_climate"]
    if isinstance(config, ExperimentConfig):
        data["analysis"]["control"] = config.control_name
        if config.serving is None:  # what is not asked for leaves a run as it was
            del data["serving"]
        if config.assignment.unit == "user":
            del data["assignment"]
        del data["sweep"]
    else:
        data["control"] = config.control_name
    return data


def canonical(data: Mapping[str, Any]) -> str:
    """A resolved config as the JSON text that is hashed and compared.

    Keys keep their order: that of fields is fixed by the models, and that of arms decides who gets which.
    """
    return json.dumps(data, allow_nan=False, ensure_ascii=True, separators=(",", ":"))


def config_hash(config: Config) -> str:
    """SHA-256 of the resolved config, 64 hexadecimal digits."""
    return resolved_hash(resolved(config))


def resolved_hash(data: Mapping[str, Any]) -> str:
    """SHA-256 of a config that is already resolved, 64 hexadecimal digits."""
    return hashlib.sha256(canonical(data).encode()).hexdigest()
