"""What the parts of a config ask of each other: every mistake that they make together, a line each.

Knows whole configs whose keys are right one by one. Does not know how mistakes reach the user.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import TYPE_CHECKING

from allocation.channels import learns_across_users
from allocation.settings import ExposureAllocation
from experiments.assignment_config import ByCityHours, block_mistakes, city_mistakes, look_mistakes
from experiments.world_config import GeneratedWorld, LogWorld, TraceTraffic
from metrics.definitions import resolve
from policies.registry import policy_class

if TYPE_CHECKING:
    from experiments.config import Arm, EvaluationConfig, ExperimentConfig


def experiment_mistakes(config: "ExperimentConfig") -> Iterator[str]:
    """What is wrong between the parts of an experiment: lines that name key, value and remedy."""
    yield from _start_mistakes(config.world, config.horizon.start)
    yield from _control_mistakes("analysis.control", config.analysis.control, config.arms)
    if isinstance(config.traffic, TraceTraffic) and isinstance(config.world, LogWorld):
        yield "traffic: a log world has the visits of its log; leave traffic out, or use a generated world"
    for name, arm in config.arms.items():
        yield from _allocation_mistakes(config, name, arm)
    yield from _frontier_mistakes(config)
    yield from _serving_mistakes(config)
    yield from _assignment_mistakes(config)
    watched = config.horizon.days + config.horizon.follow_up_days
    for metric in resolve(config.analysis.metrics):
        if metric.needs_days > watched:
            yield (
                f"analysis.metrics: {metric.name!r} needs {metric.needs_days} days but horizon.days + "
                f"horizon.follow_up_days is {watched}; leave it out or lengthen the horizon"
            )
    try:
        config.analysis.sequential.days_of(config.horizon.days)
    except ValueError as error:
        yield f"analysis.sequential.looks: {error}"


def evaluation_mistakes(config: "EvaluationConfig") -> Iterator[str]:
    """What is wrong between the parts of an offline evaluation, likewise."""
    yield from _control_mistakes("control", config.control, config.policies)
    for name, choice in config.policies.items():
        if isinstance(config.world, LogWorld) and policy_class(choice.policy).knows_truth:
            yield (
                f"policies.{name}: {choice.policy!r} needs the truth of a simulation, and of a real log only what "
                "happened is known; drop it"
            )
    if config.horizon is None:
        if isinstance(config.world, GeneratedWorld):
            yield "horizon: missing; a generated world needs horizon.start and horizon.history_days"
        return
    yield from _start_mistakes(config.world, config.horizon.start)
    if config.holdout_days >= config.horizon.history_days:
        yield (
            f"holdout_days: {config.holdout_days} leaves nothing to learn from; "
            f"hold out fewer than horizon.history_days ({config.horizon.history_days})"
        )


def _start_mistakes(world: GeneratedWorld | LogWorld, start: date | None) -> Iterator[str]:
    if isinstance(world, GeneratedWorld) and start is None:
        yield "horizon.start: missing; a generated world needs its first day, as in 2015-10-05"


def _control_mistakes(field: str, control: str | None, names: Iterable[str]) -> Iterator[str]:
    if control is not None and control not in names:
        yield f"{field}: {control!r} is none of {', '.join(names)}; name one of them"


def _allocation_mistakes(config: "ExperimentConfig", name: str, arm: "Arm") -> Iterator[str]:
    """An allocation that this world or page cannot serve, and a budget of seconds that nobody counts."""
    if arm.allocation.kind == "exposure_qp" and isinstance(config.world, LogWorld):
        yield (
            f"arms.{name}.allocation: 'exposure_qp' weighs estimated clicks and orders, and a sales log has no "
            "impressions to estimate them from; use kind fixed, or a generated world"
        )
    wanted = getattr(arm.allocation, "slots", getattr(arm.allocation, "most", 0))
    if wanted > config.page.slots:
        yield (
            f"arms.{name}.allocation: {wanted} cognitive items on a page of {config.page.slots} (page.slots); "
            "ask for fewer"
        )
    split = getattr(arm.allocation, "split", None)
    counted = config.serving is not None and policy_class(arm.policy).near_line
    if split and split.gpu_seconds is not None and not (split.gpu_seconds_a_visit or counted):
        yield (
            f"arms.{name}.allocation.split.gpu_seconds_a_visit: 0 under a budget (gpu_seconds: "
            f"{split.gpu_seconds}); give the cost of a visit too, or a serving block that counts it"
        )


def _frontier_mistakes(config: "ExperimentConfig") -> Iterator[str]:
    if config.frontier is None:
        return
    chosen = config.arms.get(config.frontier.arm)
    if chosen is None or not isinstance(chosen.allocation, ExposureAllocation):
        yield f"frontier.arm: {config.frontier.arm!r} is no arm with allocation.kind exposure_qp; name one"
    if not config.oracle:
        yield "frontier: given without oracle: true; a frontier is played on all users, so add it"


def _serving_mistakes(config: "ExperimentConfig") -> Iterator[str]:
    """A cluster that nobody uses or that belongs to no arm."""
    if config.serving is None:
        return
    if not any(policy_class(arm.policy).near_line for arm in config.arms.values()):
        yield "serving: no arm's policy thinks near line; use recgpt_v1 or recgpt_v2, or leave it out"
    if config.horizon.days < 2:
        yield "serving: needs horizon.days of 2 or more; on the first day everybody's thoughts are there already"
    for name in config.serving.instances_by_arm:
        if name not in config.arms:
            yield f"serving.instances_by_arm: {name!r} is none of {', '.join(config.arms)}; name an arm"
    if isinstance(config.world, GeneratedWorld) and config.serving.users < config.world.users:
        yield (
            f"serving.users: {config.serving.users} for {config.world.users} simulated users (world.users); "
            "a platform has as many at least"
        )


def _assignment_mistakes(config: "ExperimentConfig") -> Iterator[str]:
    """Clusters that this world has not, and blocks whose reading is for users randomised one by one."""
    unit = config.assignment.unit
    if unit == "user":
        return
    if config.serving is not None:
        yield (
            f"serving: given with assignment.unit {unit}; a cluster's share of the platform is that of users, so "
            "leave serving out or use assignment.unit user"
        )
    yield from look_mistakes(unit, config.analysis, config.horizon.days)
    if isinstance(config.world, LogWorld):
        yield (
            f"assignment.unit: {unit}, but the places of a log differ too much in size; use user, or a generated world"
        )
    else:
        yield from _city_mistakes(config, config.world)
    if not isinstance(config.assignment, ByCityHours):
        return
    if config.frontier is not None:
        yield "frontier: given with assignment.unit city_hours; it is over users, so leave it out"
    for name, arm in config.arms.items():
        if learns_across_users(arm.allocation):
            yield (
                f"arms.{name}.allocation: learns from its users, and with assignment.unit city_hours users are "
                "nobody's own; use the solver dual or cvxpy, without split"
            )


def _city_mistakes(config: "ExperimentConfig", world: GeneratedWorld) -> Iterator[str]:
    """Too few cities or blocks, or too few users in them."""
    shares: Mapping[str, float] = {name: arm.share for name, arm in config.arms.items()}
    cities, horizon = len(world.cities) * world.cities_per_climate, config.horizon
    if isinstance(config.assignment, ByCityHours):
        metrics = config.analysis.metrics
        yield from block_mistakes(config.assignment, cities, horizon.days, horizon.follow_up_days, metrics, shares)
    else:
        yield from city_mistakes(cities, world.cities_per_climate, world.users, shares)
