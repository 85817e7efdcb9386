from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from allocation.top_slots import TopSlots
from experiments.switching import Schedule, Switching, SwitchingAllocator
from policies.registry import NoParams, RegisteredPolicy
from simulator.batches import NO_EXPLANATION, NO_ITEM, Candidates, Requests, Slates
from simulator.response import SECONDS_A_PAGE

HOUR = 3600


class Telling(RegisteredPolicy):
    """Shows items of its own, each with a text that it has just thought of; counts what it serves."""

    def __init__(self, name: str, first: int, width: int, tells: bool = True) -> None:
        super().__init__(NoParams(), 0)
        self.name, self.first, self.width, self.tells = name, first, width, tells
        self.said: list[str] = []
        self.served: list[int] = []

    def begin(self, rows: int) -> None:
        """Forget."""
        self.said, self.served = [], []

    def candidates(self, requests: Requests) -> Candidates:
        """The same items for everybody, and a text a request beside the first."""
        n = len(requests)
        items = np.tile(np.arange(self.first, self.first + self.width, dtype=np.int32), (n, 1))
        texts = np.full(items.shape, NO_EXPLANATION, np.int32)
        for row, user in enumerate(requests.user.tolist()):
            texts[row, 0] = len(self.said)
            self.said.append(f"{self.name} to {user}")
            self.served.append(user)
        channel = np.zeros(items.shape, np.int8)
        return Candidates(items, items.astype(np.float64), channel, explanation=texts if self.tells else None)

    def explanations(self) -> Sequence[str]:
        """All so far."""
        return self.said

    def snapshot(self) -> dict[str, Any]:
        """What begin forgets."""
        return {"served": np.array(self.served), "said": np.array(self.said, dtype="U")}

    def restore(self, kept: Any) -> None:
        """See ``snapshot``."""
        self.served, self.said = kept["served"].tolist(), kept["said"].tolist()


class Forgetful(Telling):
    """Has a ``begin`` of its own, and no snapshot."""

    def begin(self, rows: int) -> None:
        """Forget."""
        super().begin(rows)


def requests(time: Sequence[int], city: Sequence[int], page: int = 0, slots: int = 4) -> Requests:
    """A batch of pages asked for at these seconds."""
    n = len(time)
    nothing: Any = None
    return Requests(
        row=np.arange(n),
        user=np.arange(n) + 100,
        visit=np.zeros(n, np.int64),
        page=page,
        slots=slots,
        max_pages=6,
        time=np.array(time, np.int64),
        day=np.array(time, np.int64) // 86_400,
        city=np.array(city, np.int32),
        users=nothing,
        history=nothing,
        context=nothing,
        already=np.zeros((n, page * slots), np.int32),
    )


SCHEDULE = Schedule(start=86_400, hours=6, arm=np.array([[0, 1, 1, 0], [1, 0, 0, 1]]))


def test_the_hour_and_the_city_decide() -> None:
    """A visit is served by the arm of its city's block, from the block's first second to its last."""
    begins = [86_400, 86_400 + 6 * HOUR - 1, 86_400 + 6 * HOUR, 86_400 + 24 * HOUR - 1]
    assert SCHEDULE.arm_of(requests(begins, [0] * 4)).tolist() == [0, 0, 1, 0]
    assert SCHEDULE.arm_of(requests(begins, [1] * 4)).tolist() == [1, 1, 0, 1]


def test_a_visit_keeps_its_arm_over_the_turn() -> None:
    """Later pages belong to the block in which the visit began."""
    begun = 86_400 + 6 * HOUR - 10
    for page in range(4):
        assert SCHEDULE.arm_of(requests([begun + page * SECONDS_A_PAGE], [0], page)).tolist() == [0]


def test_turns_go_through_all_arms() -> None:
    """Over as many turns as there are arms every block has every arm once."""
    plays = np.stack([SCHEDULE.rotated(turn, 2).arm for turn in range(2)])
    assert (np.sort(plays, axis=0) == np.array([0, 1])[:, None, None]).all()


def two(**kinds: Any) -> tuple[Switching, SwitchingAllocator, list[Telling]]:
    """Two arms behind one policy and one allocator."""
    arms = {"a": Telling("a", 0, 3), "b": kinds.get("b", Telling("b", 50, 6))}
    together = Switching(arms, SCHEDULE)
    together.begin(10)
    return together, SwitchingAllocator({"a": TopSlots(), "b": TopSlots()}, SCHEDULE), list(arms.values())


def test_answers_come_back_in_the_order_of_the_requests() -> None:
    """Each request has its own arm's items; a shorter page is padded at its end."""
    policy, allocator, arms = two()
    batch = requests([86_400] * 5, [0, 1, 0, 1, 1])
    slates = allocator.allocate(batch, policy.candidates(batch))
    assert slates.items.tolist() == [
        [0, 1, 2, NO_ITEM],
        [50, 51, 52, 53],
        [0, 1, 2, NO_ITEM],
        [50, 51, 52, 53],
        [50, 51, 52, 53],
    ]
    assert [arm.served for arm in arms] == [[100, 102], [101, 103, 104]]


class Sure(Telling):
    """Says how likely clicks are."""

    def candidates(self, requests: Requests) -> Candidates:
        """With an estimate for every item."""
        given = super().candidates(requests)
        return replace(given, click=np.full(given.items.shape, 0.25))


class Listening(TopSlots):
    """Remembers what it was given."""

    def allocate(self, requests: Requests, candidates: Candidates) -> Slates:
        """As ever."""
        self.given = candidates
        return super().allocate(requests, candidates)


def test_an_arm_is_given_its_own_columns() -> None:
    """Estimates and texts that one arm gives are not there for the other, whoever shares the batch."""
    arms = {"a": Sure("a", 0, 3), "b": Telling("b", 50, 6, tells=False)}
    policy, heard = Switching(arms, SCHEDULE), {"a": Listening(), "b": Listening()}
    policy.begin(10)
    batch = requests([86_400] * 4, [0, 1, 0, 1])
    SwitchingAllocator(heard, SCHEDULE).allocate(batch, policy.candidates(batch))
    assert heard["a"].given.click is not None
    assert (heard["a"].given.click == 0.25).all()
    assert heard["a"].given.explanation is not None
    assert heard["b"].given.click is None
    assert heard["b"].given.explanation is None
    assert heard["a"].given.propensity is heard["b"].given.propensity is None


def test_texts_of_two_arms_are_told_apart() -> None:
    """Both arms number their texts from 0; readers get the words of the arm that served them, and none move."""
    policy, allocator, _ = two()
    seen: list[str] = []
    for hour in (0, 6, 12):
        batch = requests([86_400 + hour * HOUR] * 4, [0, 1, 1, 0])
        slates = allocator.allocate(batch, policy.candidates(batch))
        texts = policy.explanations()
        assert list(texts[: len(seen)]) == seen
        seen = list(texts)
        assert slates.explanation is not None
        names = ["ab", "ba"][int(hour > 0)]
        wanted = [f"{names[city]} to {user}" for city, user in zip([0, 1, 1, 0], batch.user.tolist(), strict=True)]
        assert [texts[text] for text in slates.explanation[:, 0]] == wanted
        assert (slates.explanation[:, 1:] == NO_EXPLANATION).all()


def test_an_arm_without_texts_shows_none() -> None:
    """A column that only one arm has is empty for the others."""
    policy, allocator, _ = two(b=Telling("b", 50, 6, tells=False))
    batch = requests([86_400] * 2, [0, 1])
    slates = allocator.allocate(batch, policy.candidates(batch))
    assert slates.explanation is not None
    assert slates.explanation[:, 0].tolist() == [0, NO_EXPLANATION]


def test_one_policy_behind_two_arms_is_two() -> None:
    """Arms with equal policies share a fit, and each keeps what it serves for itself."""
    shared = Telling("both", 0, 4)
    policy = Switching({"a": shared, "b": shared}, SCHEDULE)
    policy.begin(4)
    policy.candidates(requests([86_400] * 3, [0, 1, 1]))
    kept = policy.snapshot()
    assert kept is not None
    assert kept["a/served"].tolist() == [100]
    assert kept["b/served"].tolist() == [101, 102]


def test_a_snapshot_goes_on_where_it_was() -> None:
    """Both arms are as they were, and the words that are shown afterwards are the same."""
    policy, _, _ = two()
    policy.candidates(requests([86_400] * 4, [0, 1, 1, 0]))
    twin, _, arms = two()
    kept = policy.snapshot()
    assert kept is not None
    twin.restore(kept)
    assert [arm.served for arm in arms] == [[100, 103], [101, 102]]
    later = requests([86_400 + 6 * HOUR] * 2, [0, 1])
    shown = []
    for each in (policy, twin):
        texts = each.candidates(later).explanation
        assert texts is not None
        shown.append([each.explanations()[text] for text in texts[:, 0]])
    assert shown[0] == shown[1]


def test_who_cannot_be_kept_is_not_kept() -> None:
    """One arm that cannot say what it would forget is enough."""
    policy, _, _ = two(b=Forgetful("b", 50, 6))
    assert policy.snapshot() is None


def test_requests_are_taken_whole() -> None:
    """Every column of a request goes with it."""
    batch = replace(requests([5, 6, 7], [0, 1, 0], page=1), already=np.arange(12, dtype=np.int32).reshape(3, 4))
    some = batch.take(np.array([2, 0]))
    assert len(some) == 2
    assert some.time.tolist() == [7, 5]
    assert some.user.tolist() == [102, 100]
    assert some.already[:, 0].tolist() == [8, 0]


def test_fitted_policies_are_not_fitted_again() -> None:
    """It is made of what was fitted."""
    policy, _, _ = two()
    with pytest.raises(TypeError, match="fitted"):
        policy.fit(*[None] * 4)  # type: ignore[arg-type]
