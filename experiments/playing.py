"""What one shard plays: its history under the exploring logger, then the warm-up and the arms.

These functions run in worker processes; they know a shard's users and nothing of other shards. Each goes on from what
was kept of its piece, if anything was, and tells of all days, those that it skips included.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from allocation.top_slots import TopSlots
from experiments.guests import blaming, guests_of
from experiments.pieces import Kept, Pace, Piece
from policies.delivery import Deliveries
from policies.registry import RegisteredPolicy, keeps_its_place
from simulator.batches import Bools, Ints
from simulator.engine import Simulation, VisitCount, opening_state
from simulator.first_pages import FirstPages
from simulator.protocols import Allocator
from simulator.shards import Tick
from simulator.snapshots import as_array, as_value, prefixed, under
from simulator.state import State, copy_state
from simulator.tables import IMPRESSION_COLUMNS, Impressions, Recorder, UserDays, UserPeriods
from simulator.traffic import Visits
from simulator.truth import Truth
from simulator.world import World

Columns = tuple[npt.NDArray[Any], ...]


@dataclass(frozen=True)
class HistoryTask:
    """Days 0..end_day of a shard under the logger.

    ``piece`` is where to keep it, None for nowhere; ``watch`` asks for its visits. Likewise in the tasks below, where
    ``hours`` asks for a table by periods of a day (``UserPeriods``) instead of days.
    """

    world: World
    logger: RegisteredPolicy
    end_day: int
    piece: Piece | None = None
    watch: bool = False


@dataclass(frozen=True)
class HistoryResult:
    """What was logged, how the users are left, and where visits were watched all of them, as ``Visits.columns``."""

    columns: Columns
    state: State
    visits: VisitCount
    seen: Ints | None = None


def play_history(task: HistoryTask, tick: Tick) -> HistoryResult:
    """Play a shard's history."""
    kept = _found(task.piece)
    if kept is not None and kept.finished:
        _tick_all(task.end_day, tick)
        log = under("log", kept.arrays)
        return HistoryResult(tuple(log[name] for name in IMPRESSION_COLUMNS), _state(kept), _visits(kept))
    state = opening_state(task.world, 0)
    impressions = Impressions()
    span = (0, task.end_day)
    watcher = Visits() if task.watch else None
    visits = _play(task.world, state, task.logger, TopSlots(), impressions, span, tick, task.piece, kept, watcher)
    columns = impressions.columns()
    if task.piece is not None:
        log = prefixed("log", dict(zip(IMPRESSION_COLUMNS, columns, strict=True)))
        task.piece.finish(task.end_day, log | prefixed("state", state._asdict()) | {"visits": _counts(visits)})
    return HistoryResult(columns, state, visits, _seen(watcher))


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

    @property
    def warmup(self) -> tuple[int, int]:
        """First day of the warm-up, and the day after its last."""
        return self.warmup_start, self.experiment_start

    @property
    def arms(self) -> tuple[int, int]:
        """First day of experiment and follow-up, and the day after their last."""
        return self.experiment_start, self.follow_up_end


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
    """Days between history and experiment of a shard, under the control policy for everyone; ``arm`` is the control."""

    world: World
    state: State
    policy: RegisteredPolicy
    arm: str
    arm_of_row: npt.NDArray[np.str_]
    phases: Phases
    piece: Piece | None = None
    watch: bool = False
    hours: int | None = None


@dataclass(frozen=True)
class WarmupResult:
    """The warm-up's user days, the state on the experiment's first morning, what the policy wrote down, visits seen."""

    table: pl.DataFrame
    state: State
    visits: VisitCount
    notes: Notes
    seen: Ints | None = None


def play_warmup(task: WarmupTask, tick: Tick) -> WarmupResult:
    """Play a shard's warm-up.

    Raises:
        PolicyFaultError: a policy that is not of this project failed, or gave what cannot be shown.
    """
    span = task.phases.warmup
    record = _recorder(task.world.users, span, task.hours)
    user = task.world.population.observed.user
    if span[0] == span[1]:  # the policy may still hold what it wrote down elsewhere
        return WarmupResult(record.table(user, task.arm_of_row, []), task.state, VisitCount(), Notes())
    watcher = Visits() if task.watch else None
    kept = _found(task.piece)
    if kept is not None and kept.finished:
        _tick_all(span[1] - span[0], tick)
        record.restore(under("record", kept.arrays))
        state, visits, notes = _state(kept), _visits(kept), Notes(**as_value(kept.arrays["notes"]))
    else:
        state = task.state
        with blaming(guests_of(task.arm, task.policy)):
            visits = _play(task.world, state, task.policy, TopSlots(), record, span, tick, task.piece, kept, watcher)
            told = _written_down(task.policy)
        notes = Notes(**as_value(told))
        if task.piece is not None:
            arrays = prefixed("record", record.snapshot()) | prefixed("state", state._asdict())
            task.piece.finish(span[1], arrays | {"visits": _counts(visits), "notes": told})
    table = record.table(user, task.arm_of_row, task.phases.of(*span))
    return WarmupResult(table, state, visits, notes, _seen(watcher))


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
        piece: where to keep what is played; None for nowhere.
        watch: whether the visits are asked for.
        hours: of the periods of a day that the table is wanted by; None for whole days.
        looked_at: whose first page is written down, bool [users]; None for nobody's.
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
    piece: Piece | None = None
    watch: bool = False
    hours: int | None = None
    looked_at: Bools | None = None


@dataclass(frozen=True)
class ArmResult:
    """What an arm left.

    Attributes:
        table: user days of the experiment and follow-up.
        visits: what became of the visits that fell due.
        churned: users assigned to the arm who have left for good by the end.
        diary: what the allocator wrote down by day, or None.
        notes: what the policy wrote down.
        pages: first pages of the users looked at, as ``FirstPages.told`` gives them.
        seen: the visits, as ``Visits.columns``, where they were watched.
    """

    table: pl.DataFrame
    visits: VisitCount
    churned: int
    diary: dict[str, Any] | None
    notes: Notes
    pages: list[dict[str, Any]]
    seen: Ints | None = None


def play_arm(task: ArmTask, tick: Tick) -> ArmResult:
    """Play users under one arm, from a copy of the moment at which the arms part.

    Raises:
        PolicyFaultError: a policy that is not of this project failed, or gave what cannot be shown.
    """
    span = task.phases.arms
    record = _recorder(task.world.users, span, task.hours)
    watcher = Visits() if task.watch else None
    kept = _found(task.piece)
    if kept is not None and kept.finished:
        _tick_all(span[1] - span[0], tick)
        arrays: Mapping[str, npt.NDArray[Any]] = kept.arrays
        record.restore(under("record", arrays))
    else:
        state = copy_state(task.state)
        nobody = np.zeros(task.world.users, np.bool_)
        looked_at = nobody if task.looked_at is None else task.looked_at
        user, explanations = task.world.population.observed.user, task.policy.explanations
        pages = FirstPages(looked_at, user, task.world.slots, state, explanations)
        with blaming(guests_of(task.assigned_arm, task.policy)):
            visits = _play(
                task.world,
                state,
                task.policy,
                task.allocator,
                record,
                span,
                tick,
                task.piece,
                kept,
                watcher,
                task.deliveries,
                pages,
            )
            told = _written_down(task.policy)
        churned = int((~state.present[task.arm_of_row == task.assigned_arm]).sum())
        arrays = {
            "visits": _counts(visits),
            "churned": np.array(churned),
            "diary": as_array(task.allocator.diary()),
            "notes": told,
            "pages": as_array(pages.told()),
        }
        if task.piece is not None:
            task.piece.finish(span[1], arrays | prefixed("record", record.snapshot()))
    return ArmResult(
        table=record.table(task.world.population.observed.user, task.arm_of_row, task.phases.of(*span)),
        visits=VisitCount(*arrays["visits"].tolist()),
        churned=int(arrays["churned"]),
        diary=as_value(arrays["diary"]),
        notes=Notes(**as_value(arrays["notes"])),
        pages=as_value(arrays["pages"]),
        seen=_seen(watcher),
    )


def _play(
    world: World,
    state: State,
    policy: RegisteredPolicy,
    allocator: Allocator,
    recorder: Recorder,
    span: tuple[int, int],
    tick: Tick,
    piece: Piece | None,
    kept: Kept | None,
    watcher: Visits | None,
    deliveries: Deliveries | None = None,
    pages: FirstPages | None = None,
) -> VisitCount:
    """Play the days of ``span`` that ``kept`` does not hold, and keep the state at day closes."""
    policy.deliver(deliveries)
    if policy.knows_truth:
        policy.bind_truth(Truth(world, state))  # type: ignore[attr-defined]
    keeps = piece if piece is not None and keeps_its_place(policy) else None
    pace = Pace(1.0 if piece is None else piece.share)

    def day_closed(day: int) -> None:
        tick()
        if keeps is None or day + 1 == span[1] or not pace.due:
            return
        begun = time.monotonic()
        arrays = simulation.snapshot()
        if arrays is not None:
            keeps.keep(day + 1, arrays)
        pace.kept(begun)

    recorders = [each for each in (recorder, pages, watcher) if each is not None]
    simulation = Simulation(world, state, policy, allocator, recorders, day_closed)
    first = span[0] if kept is None else kept.day
    _tick_all(first - span[0], tick)
    simulation.run(first, span[1], None if kept is None else kept.arrays)
    return simulation.visits


def _recorder(users: int, span: tuple[int, int], hours: int | None) -> UserDays:
    return UserDays(users, *span) if hours is None else UserPeriods(users, *span, hours)


def _seen(watcher: Visits | None) -> Ints | None:
    return None if watcher is None else watcher.columns()


def _found(piece: Piece | None) -> Kept | None:
    return None if piece is None else piece.load()


def _tick_all(steps: int, tick: Tick) -> None:
    for _ in range(steps):
        tick()


def _state(kept: Kept) -> State:
    return State(**under("state", kept.arrays))


def _counts(visits: VisitCount) -> npt.NDArray[np.int64]:
    return np.array([visits.drawn, visits.served, visits.lost], np.int64)


def _visits(kept: Kept) -> VisitCount:
    return VisitCount(*kept.arrays["visits"].tolist())


def _written_down(policy: RegisteredPolicy) -> npt.NDArray[np.uint8]:
    """What a policy wrote down, as bytes: in one process the same policy goes on to serve another arm."""
    return as_array({"diary": policy.diary(), "seconds": policy.seconds()})
