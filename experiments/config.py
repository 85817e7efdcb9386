"""What an experiment's YAML may say: every key, its type, its bounds and its default.

Knows the shape of a config and the names it may refer to (policies, metrics, cities). Does not know where a
config comes from, how its errors are worded, or how an experiment is run.
"""

import difflib
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import holidays
from pydantic import Field, ValidationInfo, field_validator, model_validator

from allocation.channels import learns_across_users
from allocation.settings import Allocation, ExposureAllocation, NoAllocation
from experiments.analysis_config import Analysis
from experiments.assignment_config import (
    MOST,
    Assignment,
    ByCityHours,
    ByUser,
    check_analysis,
    check_blocks,
    check_cities,
)
from experiments.serving_config import PlatformServing
from experiments.sweep_config import Sweep
from metrics.definitions import resolve
from metrics.offline_definitions import offline_metric
from policies.registry import policy_class
from simulator.environment.calendar import FIRST_YEAR, LAST_YEAR
from simulator.environment.weather import Climate, cities_of, load_climates
from simulator.fitted.shop import FEWEST_DAYS
from simulator.parameters import BehaviourParameters, ContextParameters, Parameters
from simulator.taxonomy import OCCASIONS, load_taxonomy

Scenario = Literal["item", "feed"]

_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_SHARE_TOLERANCE: Final = 1e-9


def slug(value: str) -> str:
    """A name as it is, if files and pages can be called by it; else a ValueError that says what may."""
    if not _SLUG.fullmatch(value):
        raise ValueError(f"{value!r} is not a usable name; use up to 64 of a-z, 0-9, _ and -, a letter or digit first")
    return value


class GeneratedWorld(Parameters):
    """A world made from the seed alone: catalogue, population, weather, calendar and trends."""

    kind: Literal["generated"] = Field(description="a world made from the seed")
    users: int = Field(ge=1, description="users of the platform")
    items: int = Field(ge=50, description="items on sale")
    climates: dict[str, Climate] = Field(
        default_factory=dict,
        description="climates of cities that are not shipped, or the name of a file that `testbed climate` wrote",
    )
    cities: tuple[str, ...] = Field(min_length=1, description="where users live; each has its own weather")
    cities_per_climate: int = Field(
        default=1,
        ge=1,
        le=MOST,
        description="cities that have the climate of each of `cities`, with weather of their own on each day",
    )
    country: str = Field(description="ISO 3166 code of the country whose holidays are kept")
    currency: str = Field(default="USD", pattern="^[A-Z]{3}$", description="ISO 4217 code; names the unit of money")
    contexts: ContextParameters = Field(
        default=ContextParameters(),
        description="how much each signal of the context matters to users (0: not at all); one number is for all",
    )
    unseen: tuple[str, ...] = Field(
        default=(), description="occasions and topics (by key) that are kept out of the history, and happen after it"
    )
    behaviour: BehaviourParameters = Field(default=BehaviourParameters(), description="how users behave")

    @field_validator("unseen")
    @classmethod
    def _known_signals(cls, unseen: tuple[str, ...]) -> tuple[str, ...]:
        known = (*OCCASIONS, *(topic.key for topic in load_taxonomy().topics))
        for key in unseen:
            if key not in known:
                close = difflib.get_close_matches(key, known, 3)
                like = f"; did you mean {' or '.join(close)}?" if close else ""
                raise ValueError(f"{key!r} is no occasion and no topic{like} (known: {', '.join(known)})")
            if unseen.count(key) > 1:
                raise ValueError(f"{key!r} comes twice; name each once")
        return unseen

    @field_validator("climates")
    @classmethod
    def _own_climates(cls, climates: dict[str, Climate]) -> dict[str, Climate]:
        shipped = load_climates()
        names = {climate.name for climate in shipped.values()}
        for key, climate in climates.items():
            if key in shipped or climate.name in names:
                raise ValueError(f"{key!r} ({climate.name}) is taken; give the place a key and a name of its own")
            names.add(climate.name)
        return climates

    @field_validator("cities")
    @classmethod
    def _known_cities(cls, cities: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if "climates" not in info.data:
            return cities
        known = [*load_climates(), *info.data["climates"]]
        for city in cities:
            if city not in known:
                raise ValueError(
                    f"{city!r} has no climate; choose from {', '.join(known)}, or fit one with `testbed climate`"
                )
            if cities.count(city) > 1:
                raise ValueError(f"{city!r} comes twice; name each city once")
        return cities

    @field_validator("cities_per_climate")
    @classmethod
    def _cities_apart(cls, each: int, info: ValidationInfo) -> int:
        if "cities" in info.data:
            known = load_climates() | info.data["climates"]
            try:
                cities_of({city: known[city] for city in info.data["cities"]}, each)
            except ValueError as error:
                raise ValueError(f"{each}, with which {str(error).removeprefix('climates: ')}") from error
        return each

    @field_validator("country")
    @classmethod
    def _country_code(cls, country: str) -> str:
        return _checked_country(country)


class RecordedPurchases(Parameters):
    """Every visit and what it is for are the log's."""

    kind: Literal["recorded"] = Field(default="recorded", description="visits and what they are for are the log's")


class FittedPurchases(Parameters):
    """Visits and what they are for are the log's up to a day, and drawn from a shop fitted to it from then on."""

    kind: Literal["fitted"] = Field(description="visits are drawn, from a shop fitted to the log's first days")
    from_day: int = Field(
        ge=FEWEST_DAYS, description="first day that is drawn, counted from the log's first; the days before are fitted"
    )
    days: int | None = Field(default=None, ge=1, description="days that are drawn; to the log's end if left out")


Purchases = Annotated[RecordedPurchases | FittedPurchases, Field(discriminator="kind")]


class LogWorld(Parameters):
    """A world made from a real log: its items, customers, histories and arrival times."""

    kind: Literal["log"] = Field(description="a world made from a real log")
    dataset: Literal["online_retail"] = Field(description="which reader understands the file")
    path: Path = Field(description="the log's file, from the working directory or the config's folder")
    purchases: Purchases = Field(default=RecordedPurchases(), description="who comes when, and what for")
    country: str = Field(default="GB", description="ISO 3166 code of the country whose holidays are kept")
    currency: str = Field(default="GBP", pattern="^[A-Z]{3}$", description="ISO 4217 code; names the unit of money")
    behaviour: BehaviourParameters = Field(default=BehaviourParameters(), description="how users behave")

    @field_validator("country")
    @classmethod
    def _country_code(cls, country: str) -> str:
        return _checked_country(country)


class DrawnTraffic(Parameters):
    """Users come when the world has them come: as drawn, the likelier the better they were served, or as in its log."""

    kind: Literal["drawn"] = Field(default="drawn", description="visits are the world's own")


class TraceTraffic(Parameters):
    """Users come when a trace says, whatever they are shown."""

    kind: Literal["trace"] = Field(description="visits are those of a trace")
    path: Path = Field(description="the trace's file, from the working directory or the config's folder")


Traffic = Annotated[DrawnTraffic | TraceTraffic, Field(discriminator="kind")]

World = Annotated[GeneratedWorld | LogWorld, Field(discriminator="kind")]


def _checked_country(country: str) -> str:
    if country not in holidays.list_supported_countries(include_aliases=False):
        raise ValueError(f"{country!r} has no calendar; use an ISO 3166 two-letter code such as US, GB, CN or DE")
    return country


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
        _check_start(self.world, self.horizon.start)
        _check_control("analysis.control", self.analysis.control, self.arms)
        if isinstance(self.traffic, TraceTraffic) and isinstance(self.world, LogWorld):
            raise ValueError(
                "traffic: a log world has the visits of its log; leave traffic out, or use a generated world"
            )
        for name, arm in self.arms.items():
            if arm.allocation.kind == "exposure_qp" and isinstance(self.world, LogWorld):
                raise ValueError(
                    f"arms.{name}.allocation: 'exposure_qp' weighs estimated clicks and orders, and a sales log has no "
                    "impressions to estimate them from; use kind fixed, or a generated world"
                )
            wanted = getattr(arm.allocation, "slots", getattr(arm.allocation, "most", 0))
            if wanted > self.page.slots:
                raise ValueError(
                    f"arms.{name}.allocation: {wanted} cognitive items on a page of {self.page.slots} (page.slots); "
                    "ask for fewer"
                )
        if self.frontier is not None:
            chosen = self.arms.get(self.frontier.arm)
            if chosen is None or not isinstance(chosen.allocation, ExposureAllocation):
                raise ValueError(
                    f"frontier.arm: {self.frontier.arm!r} is no arm with allocation.kind exposure_qp; name one"
                )
            if not self.oracle:
                raise ValueError("frontier: given without oracle: true; a frontier is played on all users, so add it")
        self._check_serving()
        self._check_assignment()
        watched = self.horizon.days + self.horizon.follow_up_days
        for metric in resolve(self.analysis.metrics):
            if metric.needs_days > watched:
                raise ValueError(
                    f"analysis.metrics: {metric.name!r} needs {metric.needs_days} days but horizon.days + "
                    f"horizon.follow_up_days is {watched}; leave it out or lengthen the horizon"
                )
        try:
            self.analysis.sequential.days_of(self.horizon.days)
        except ValueError as error:
            raise ValueError(f"analysis.sequential.looks: {error}") from error
        return self

    def _check_assignment(self) -> None:
        """Refuse clusters that this world has not, and blocks whose reading is for users randomised one by one."""
        unit = self.assignment.unit
        if unit == "user":
            return
        if isinstance(self.world, LogWorld):
            raise ValueError(
                f"assignment.unit: {unit}, but the places of a log differ too much in size; use user, or a generated "
                "world"
            )
        if self.serving is not None:
            raise ValueError(
                f"serving: given with assignment.unit {unit}; a cluster's share of the platform is that of users, so "
                "leave serving out or use assignment.unit user"
            )
        check_analysis(unit, self.analysis, self.horizon.days)
        each = self.world.cities_per_climate
        shares = {name: arm.share for name, arm in self.arms.items()}
        cities = len(self.world.cities) * each
        if not isinstance(self.assignment, ByCityHours):
            check_cities(cities, each, self.world.users, shares)
            return
        horizon = self.horizon
        check_blocks(self.assignment, cities, horizon.days, horizon.follow_up_days, self.analysis.metrics, shares)
        if self.frontier is not None:
            raise ValueError("frontier: given with assignment.unit city_hours; it is over users, so leave it out")
        for name, arm in self.arms.items():
            if learns_across_users(arm.allocation):
                raise ValueError(
                    f"arms.{name}.allocation: learns from its users, and with assignment.unit city_hours users are "
                    "nobody's own; use the solver dual or cvxpy, without split"
                )

    def _check_serving(self) -> None:
        """Refuse a cluster that nobody uses or that belongs to no arm, and a budget of seconds that nobody counts."""
        for name, arm in self.arms.items():
            split = getattr(arm.allocation, "split", None)
            counted = self.serving is not None and policy_class(arm.policy).near_line
            if split and split.gpu_seconds is not None and not (split.gpu_seconds_a_visit or counted):
                raise ValueError(
                    f"arms.{name}.allocation.split.gpu_seconds_a_visit: 0 under a budget (gpu_seconds: "
                    f"{split.gpu_seconds}); give the cost of a visit too, or a serving block that counts it"
                )
        if self.serving is None:
            return
        if not any(policy_class(arm.policy).near_line for arm in self.arms.values()):
            raise ValueError("serving: no arm's policy thinks near line; use recgpt_v1 or recgpt_v2, or leave it out")
        if self.horizon.days < 2:
            raise ValueError(
                "serving: needs horizon.days of 2 or more; on the first day everybody's thoughts are there already"
            )
        for name in self.serving.instances_by_arm:
            if name not in self.arms:
                raise ValueError(f"serving.instances_by_arm: {name!r} is none of {', '.join(self.arms)}; name an arm")
        if isinstance(self.world, GeneratedWorld) and self.serving.users < self.world.users:
            raise ValueError(
                f"serving.users: {self.serving.users} for {self.world.users} simulated users (world.users); "
                "a platform has as many at least"
            )

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
    replicates: int = Field(default=1000, ge=100, le=100_000, description="bootstrap replicates of the intervals")
    alpha: float = Field(default=0.05, gt=0.0, lt=0.5, description="the intervals cover 1 - alpha")

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
        _check_control("control", self.control, self.policies)
        for name, choice in self.policies.items():
            if isinstance(self.world, LogWorld) and policy_class(choice.policy).knows_truth:
                raise ValueError(
                    f"policies.{name}: {choice.policy!r} needs the truth of a simulation, and of a real log only what "
                    "happened is known; drop it"
                )
        if isinstance(self.world, GeneratedWorld) and self.horizon is None:
            raise ValueError("horizon: missing; a generated world needs horizon.start and horizon.history_days")
        if self.horizon is not None:
            _check_start(self.world, self.horizon.start)
            if self.holdout_days >= self.horizon.history_days:
                raise ValueError(
                    f"holdout_days: {self.holdout_days} leaves nothing to learn from; "
                    f"hold out fewer than horizon.history_days ({self.horizon.history_days})"
                )
        return self

    @property
    def control_name(self) -> str:
        """Name of the policy the others are held against."""
        return self.control or next(iter(self.policies))


Config = ExperimentConfig | EvaluationConfig


def _check_start(world: GeneratedWorld | LogWorld, start: date | None) -> None:
    if isinstance(world, GeneratedWorld) and start is None:
        raise ValueError("horizon.start: missing; a generated world needs its first day, as in 2015-10-05")


def _check_control(field: str, control: str | None, names: Iterable[str]) -> None:
    if control is not None and control not in names:
        raise ValueError(f"{field}: {control!r} is none of {', '.join(names)}; name one of them")


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
