"""What one shard plays: its history under the exploring logger, then the warm-up and the arms.

These functions run in worker processes; they know a shard's users and nothing of other shards.
"""

import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from allocation.top_slots import TopSlots
from policies.delivery import Deliveries
from policies.registry import RegisteredPolicy
from simulator.engine import Simulation, VisitCount, opening_state
from simulator.protocols import Allocator
from simulator.shards import Tick
from simulator.state import State, copy_state
from simulator.tables import Impressions, Recorder, UserDays
from simulator.truth import Truth
from simulator.world import World


@dataclass(frozen=True)
class HistoryTask:
    """Days 0..end_day of a shard under the logger."""

    world: World
    logger: RegisteredPolicy
    end_day: int


@dataclass(frozen=True)
class HistoryResult:
    """What was logged, and how the users are left."""

    columns: tuple[npt.NDArray[Any], ...]
    state: State
    visits: VisitCount


def play_history(task: HistoryTask, tick: Tick) -> HistoryResult:
    """Play a shard's history."""
    state = opening_state(task.world, 0)
    impressions = Impressions()
    simulation = Simulation(task.world, state, task.logger, TopSlots(), [impressions], lambda day: tick())
    simulation.run(0, task.end_day)
    return HistoryResult(impressions.columns(), state, simulation.visits)


@dataclass(frozen=True)
class Phases:
    """Days of the experiment, each start inclusive and end exclusive."""

    warmup_start: int
    experiment_start: int
    experiment_end: int
    follow_up_end: int

    def of(self, first: int, last: int) -> list[str]:
        """Phase of each day from ``first`` to ``last`` (exclusive)."""
        return [
            "warmup" if d < self.experiment_start else "experiment" if d < self.experiment_end else "follow_up"
            for d in range(first, last)
        ]


@dataclass(frozen=True)
class Notes:
    """What a policy wrote down while it served.

    Attributes:
        diary: what it thought and what that would cost, or None of a policy that does not think.
        seconds: wall-clock seconds by role.
    """

    diary: dict[str, Any] | None = None
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class WarmupTask:
    """Days between history and experiment of a shard, under the control policy for everyone."""

    world: World
    state: State
    policy: RegisteredPolicy
    arm_of_row: npt.NDArray[np.str_]
    phases: Phases


@dataclass(frozen=True)
class WarmupResult:
    """The warm-up's user days, the state on the experiment's first morning, and what the policy wrote down."""

    table: pl.DataFrame
    state: State
    visits: VisitCount
    notes: Notes


def play_warmup(task: WarmupTask, tick: Tick) -> WarmupResult:
    """Play a shard's warm-up."""
    span = (task.phases.warmup_start, task.phases.experiment_start)
    record = UserDays(task.world.users, *span)
    visits, notes = _play(task.world, task.state, task.policy, TopSlots(), record, span, tick)
    user = task.world.population.observed.user
    return WarmupResult(record.table(user, task.arm_of_row, task.phases.of(*span)), task.state, visits, notes)


@dataclass(frozen=True)
class ArmTask:
    """The experiment of some users under one arm.

    Attributes:
        world, state: the users as the warm-up left them; the state is not written to.
        policy: fitted.
        allocator: decides what is exposed.
        arm_of_row: the arm each user is assigned to, whichever is played.
        arm: name of what is played.
        assigned_arm: the arm whose users it is meant for.
        phases: days.
        deliveries: when near-line jobs are done, or None where they take no time.
    """

    world: World
    state: State
    policy: RegisteredPolicy
    allocator: Allocator
    arm_of_row: npt.NDArray[np.str_]
    arm: str
    assigned_arm: str
    phases: Phases
    deliveries: Deliveries | None = None


@dataclass(frozen=True)
class ArmResult:
    """What an arm left.

    Attributes:
        table: user days of the experiment and follow-up.
        visits: what became of the visits that fell due.
        churned: users assigned to the arm who have left for good by the end.
        diary: what the allocator wrote down by day, or None.
        notes: what the policy wrote down.
    """

    table: pl.DataFrame
    visits: VisitCount
    churned: int
    diary: dict[str, Any] | None
    notes: Notes


def play_arm(task: ArmTask, tick: Tick) -> ArmResult:
    """Play users under one arm, from a copy of the moment at which the arms part."""
    span = (task.phases.experiment_start, task.phases.follow_up_end)
    state = copy_state(task.state)
    record = UserDays(task.world.users, *span)
    visits, notes = _play(task.world, state, task.policy, task.allocator, record, span, tick, task.deliveries)
    user = task.world.population.observed.user
    return ArmResult(
        table=record.table(user, task.arm_of_row, task.phases.of(*span)),
        visits=visits,
        churned=int((~state.present[task.arm_of_row == task.assigned_arm]).sum()),
        diary=task.allocator.diary(),
        notes=notes,
    )


def _play(
    world: World,
    state: State,
    policy: RegisteredPolicy,
    allocator: Allocator,
    recorder: Recorder,
    span: tuple[int, int],
    tick: Tick,
    deliveries: Deliveries | None = None,
) -> tuple[VisitCount, Notes]:
    policy.deliver(deliveries)
    if policy.knows_truth:
        policy.bind_truth(Truth(world, state))  # type: ignore[attr-defined]
    simulation = Simulation(world, state, policy, allocator, [recorder], lambda day: tick())
    if span[1] <= span[0]:  # the policy may still hold what it wrote down elsewhere
        return simulation.visits, Notes()
    simulation.run(*span)
    # In one process the same policy goes on to serve another arm.
    return simulation.visits, Notes(copy.deepcopy(policy.diary()), dict(policy.seconds()))
