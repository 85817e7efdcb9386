"""One simulation in which every visit is served by the arm that its city has at that hour (a switchback).

Policies and allocators of several arms behind one of each: every request goes to those of its arm, and answers come
back in the order of the requests. What an arm's policy keeps while it serves, it keeps of its own visits alone; what
users remember they take from one arm to the next. Knows arms by their number and blocks of hours; does not know cities
by name, nor what is measured.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from policies.delivery import Deliveries
from policies.registry import NoParams, RegisteredPolicy, keeps_its_place
from simulator.answers import check_candidates
from simulator.batches import (
    NO_EXPLANATION,
    NO_ITEM,
    UTILITY,
    Candidates,
    InteractionLog,
    Ints,
    Ints32,
    ObservedCatalog,
    ObservedUsers,
    Requests,
    Responses,
    Slates,
)
from simulator.environment.context import ObservedContext
from simulator.protocols import Allocator
from simulator.response import SECONDS_A_PAGE
from simulator.snapshots import Arrays, prefixed, under
from simulator.truth import Truth

_HOUR: Final = 3600
_EMPTY: Final[dict[str, Any]] = {
    "items": NO_ITEM,
    "scores": 0.0,
    "channel": UTILITY,
    "propensity": np.nan,
    "click": np.nan,
    "conversion": np.nan,
    "explanation": NO_EXPLANATION,
}
"""What stands where a shorter answer has no more entries, and in a column that another arm's answers have."""

_OPTIONAL: Final = {"propensity", "click", "conversion", "explanation"}
"""Columns that an arm need not give."""


@dataclass(frozen=True)
class Schedule:
    """Which arm serves a city in a block of hours.

    Attributes:
        start: first second of the first block, from the horizon's start.
        hours: of a block.
        arm: index of the arm, int64 [cities, blocks].
    """

    start: int
    hours: int
    arm: Ints

    @property
    def blocks(self) -> int:
        """Blocks of a city."""
        return int(self.arm.shape[1])

    def arm_of(self, requests: Requests) -> Ints:
        """The arm of each request: that of the block in which its visit began, int64 [requests]."""
        begun = requests.time - requests.page * SECONDS_A_PAGE
        return self.arm[requests.city, (begun - self.start) // (self.hours * _HOUR)]

    def rotated(self, steps: int, arms: int) -> "Schedule":
        """The same blocks with every arm ``steps`` further on: what each block would have had otherwise."""
        return replace(self, arm=(self.arm + steps) % arms)


class Switching(RegisteredPolicy):
    """The policies of all arms, each for the visits of its blocks.

    Args:
        policies: by arm, in the order that the schedule counts them, fitted. One that serves two arms is copied.
        schedule: who serves when.

    Attributes:
        arms: the policies, by arm.
    """

    def __init__(self, policies: Mapping[str, RegisteredPolicy], schedule: Schedule) -> None:
        super().__init__(NoParams(), 0)
        own: list[RegisteredPolicy] = []
        for policy in policies.values():
            own.append(copy.deepcopy(policy) if any(policy is other for other in own) else policy)
        self.arms: Mapping[str, RegisteredPolicy] = dict(zip(policies, own, strict=True))
        self._schedule = schedule
        self._texts: list[str] = []
        self._numbers: list[list[int]] = [[] for _ in own]

    @property
    def knows_truth(self) -> bool:  # type: ignore[override]  # of a class elsewhere; here it is up to the arms
        """Whether one of the arms is the ceiling."""
        return any(policy.knows_truth for policy in self.arms.values())

    def bind_truth(self, truth: Truth) -> None:
        """Hand the truth to the arms that know it."""
        for policy in self.arms.values():
            if policy.knows_truth:
                policy.bind_truth(truth)  # type: ignore[attr-defined]

    def fit(
        self, log: InteractionLog, catalog: ObservedCatalog, users: ObservedUsers, context: ObservedContext
    ) -> None:
        """Refused: the arms' policies come fitted.

        Raises:
            TypeError: always.
        """
        raise TypeError("Switching: is made of fitted policies")

    def begin(self, rows: int) -> None:
        """See ``simulator.protocols.Policy``; likewise below."""
        self._texts, self._numbers = [], [[] for _ in self.arms]
        for policy in self.arms.values():
            policy.begin(rows)

    def deliver(self, deliveries: Deliveries | None) -> None:
        """See ``RegisteredPolicy``: to every arm."""
        for policy in self.arms.values():
            policy.deliver(deliveries)

    def refresh(self, day: int, context: ObservedContext) -> None:
        """See ``simulator.protocols.Policy``: every arm is ready on every day."""
        for policy in self.arms.values():
            policy.refresh(day, context)

    def candidates(self, requests: Requests) -> Candidates:
        """See ``simulator.protocols.Policy``: each request by its arm's policy."""
        arm = self._schedule.arm_of(requests)
        parts = []
        for number, policy in enumerate(self.arms.values()):
            chosen = np.flatnonzero(arm == number)
            if len(chosen):
                asked = requests.take(chosen)
                answer = policy.candidates(asked)
                check_candidates(policy, answer, asked)
                texts = answer.explanation
                if texts is not None:
                    answer = replace(answer, explanation=self._renumbered(number, policy, texts))
                parts.append((chosen, answer))
        return _joined(Candidates, parts, len(requests))

    def _renumbered(self, number: int, policy: RegisteredPolicy, texts: Ints32) -> Ints32:
        """The same texts by their numbers in ``explanations``, which holds those of all arms."""
        known = self._numbers[number]
        fresh = list(policy.explanations()[len(known) :])
        known += range(len(self._texts), len(self._texts) + len(fresh))
        self._texts += fresh
        return np.append(np.asarray(known, np.int32), np.int32(NO_EXPLANATION))[texts]

    def explanations(self) -> Sequence[str]:
        """See ``simulator.protocols.Policy``."""
        return self._texts

    def snapshot(self) -> Arrays | None:
        """See ``simulator.protocols.Policy``. Numbers of texts are not kept: no later day depends on them."""
        found: dict[str, npt.NDArray[Any]] = {}
        for arm, policy in self.arms.items():
            arrays = policy.snapshot() if keeps_its_place(policy) else None
            if arrays is None:
                return None
            found |= prefixed(arm, arrays)
        return found

    def restore(self, kept: Arrays) -> None:
        """See ``simulator.protocols.Policy``."""
        for arm, policy in self.arms.items():
            policy.restore(under(arm, kept))

    def diary(self) -> dict[str, Any] | None:
        """What the arms wrote down, by arm."""
        return {arm: told for arm, policy in self.arms.items() if (told := policy.diary()) is not None} or None

    def seconds(self) -> dict[str, float]:
        """Wall seconds of all arms' work, by role."""
        total: dict[str, float] = {}
        for policy in self.arms.values():
            for role, seconds in policy.seconds().items():
                total[role] = total.get(role, 0.0) + seconds
        return total


class SwitchingAllocator:
    """The allocators of all arms, each for the visits of its blocks.

    Args:
        allocators: by arm, in the order that the schedule counts them.
        schedule: who serves when.
    """

    def __init__(self, allocators: Mapping[str, Allocator], schedule: Schedule) -> None:
        self._allocators = dict(allocators)
        self._schedule = schedule

    def refresh(self, day: int, context: ObservedContext) -> None:
        """See ``simulator.protocols.Allocator``; likewise below."""
        for allocator in self._allocators.values():
            allocator.refresh(day, context)

    def observe(self, requests: Requests, slates: Slates, responses: Responses) -> None:
        """To each arm what its own visits answered."""
        for chosen, allocator in self._shares(requests):
            allocator.observe(requests.take(chosen), _own(slates, chosen), _taken(responses, chosen))

    def allocate(self, requests: Requests, candidates: Candidates) -> Slates:
        """Each request by its arm's allocator."""
        parts = [
            (chosen, allocator.allocate(requests.take(chosen), _trimmed(_own(candidates, chosen))))
            for chosen, allocator in self._shares(requests)
        ]
        return _joined(Slates, parts, len(requests))

    def _shares(self, requests: Requests) -> list[tuple[Ints, Allocator]]:
        arm = self._schedule.arm_of(requests)
        shares = [(np.flatnonzero(arm == n), allocator) for n, allocator in enumerate(self._allocators.values())]
        return [(chosen, allocator) for chosen, allocator in shares if len(chosen)]

    def diary(self) -> dict[str, Any] | None:
        """What the arms wrote down, by arm."""
        return {arm: told for arm, each in self._allocators.items() if (told := each.diary()) is not None} or None

    def snapshot(self) -> Arrays | None:
        """See ``simulator.protocols.Allocator``."""
        found: dict[str, npt.NDArray[Any]] = {}
        for arm, allocator in self._allocators.items():
            arrays = allocator.snapshot()
            if arrays is None:
                return None
            found |= prefixed(arm, arrays)
        return found

    def restore(self, kept: Arrays) -> None:
        """See ``simulator.protocols.Allocator``."""
        for arm, allocator in self._allocators.items():
            allocator.restore(under(arm, kept))


def _taken(table: Any, chosen: Ints) -> Any:
    """Some rows of a struct of arrays."""
    columns = {field.name: getattr(table, field.name) for field in fields(table)}
    return replace(table, **{name: None if column is None else column[chosen] for name, column in columns.items()})


def _own(table: Any, chosen: Ints) -> Any:
    """An arm's rows of what several arms gave, without columns that are there only since another arm gave them."""
    mine = _taken(table, chosen)
    return replace(mine, **{name: None for name in _OPTIONAL & vars(mine).keys() if _is_empty(name, vars(mine)[name])})


def _is_empty(name: str, column: npt.NDArray[Any] | None) -> bool:
    if column is None:
        return True
    filler = _EMPTY[name]
    return bool(np.isnan(column).all() if filler != filler else (column == filler).all())


def _trimmed(candidates: Candidates) -> Candidates:
    """Without the columns at the end that hold nobody's candidates, which a longer list of another arm brought."""
    filled = np.flatnonzero((candidates.items != NO_ITEM).any(axis=0))
    width = int(filled[-1]) + 1 if len(filled) else 0
    columns: dict[str, Any] = {field.name: getattr(candidates, field.name) for field in fields(candidates)}
    cut: dict[str, Any] = {name: None if each is None else each[:, :width] for name, each in columns.items()}
    return Candidates(**cut)


def _joined(kind: type[Any], parts: Sequence[tuple[Ints, Any]], requests: int) -> Any:
    """Answers of several arms as one, in the order of the requests; a column is there if one of the answers has it."""
    width = max(answer.items.shape[1] for _, answer in parts)
    columns: dict[str, npt.NDArray[Any] | None] = {}
    for field in fields(kind):
        name = field.name
        given = [(chosen, getattr(answer, name)) for chosen, answer in parts]
        present = [column for _, column in given if column is not None]
        if not present:
            columns[name] = None
            continue
        joined = np.full((requests, width), _EMPTY[name], present[0].dtype)
        for chosen, column in given:
            if column is not None:
                joined[chosen, : column.shape[1]] = column
        columns[name] = joined
    return kind(**columns)
