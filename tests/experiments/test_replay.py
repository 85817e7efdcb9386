from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocation.top_slots import TopSlots
from experiments.errors import PolicyFaultError
from experiments.history import make_logger, play_or_read_history
from experiments.progress import SilentProgress
from experiments.replay import (
    WIDTH,
    Answers,
    RankingTask,
    Visits,
    by_arrival,
    draw_visits,
    held_out_visits,
    rank_visits,
)
from experiments.world_config import GeneratedWorld
from experiments.worlds import BuiltWorld, build_world
from metrics.offline import ItemLists
from policies.registry import NoParams, RegisteredPolicy
from policies.thoughts import NO_TAG, Thoughts
from simulator.batches import (
    COGNITIVE,
    DAY_SECONDS,
    NO_ITEM,
    UTILITY,
    Candidates,
    InteractionLog,
    Ints,
    ObservedHistory,
    Requests,
)
from simulator.engine import Simulation, opening_state
from simulator.environment.context import ObservedContext
from simulator.shards import ShardPool
from simulator.tables import Impressions, join_logs
from simulator.truth import Truth
from simulator.world import World

SPLIT = 10 * DAY_SECONDS
DAYS, SPLIT_DAY = 8, 5


def log_of(*rows: tuple[int, int, int, int]) -> InteractionLog:
    """A ledger of (user, item, time, kind) in time order."""
    user, item, time, kind = np.array(sorted(rows, key=lambda row: row[2]), np.int64).reshape(-1, 4).T
    return InteractionLog(0, 20, user, item.astype(np.int32), time, kind.astype(np.int8), None)


def listed(visits: Visits) -> list[tuple[int, int, list[int]]]:
    """User, time and targets of each visit."""
    offsets = visits.targets.offsets.tolist()
    return [
        (user, time, visits.targets.items[a:b].tolist())
        for user, time, a, b in zip(visits.user.tolist(), visits.time.tolist(), offsets[:-1], offsets[1:], strict=True)
    ]


def test_held_out_visits_by_hand() -> None:
    """Later interactions of returning users become visits in time order, half an hour apart, each item once."""
    log = log_of(
        (0, 5, 100, 1),  # before the split: user 0 returns
        (2, 5, SPLIT - 1, 3),  # so does user 2
        (1, 5, SPLIT, 1),  # user 1 is new: left out
        (2, 9, SPLIT + 50, 2),
        (0, 7, SPLIT, 1),
        (0, 6, SPLIT + 60, 3),  # a later page of the same visit
        (0, 7, SPLIT + 60, 2),  # an item again: one target, as it was first met
        (0, 8, SPLIT + 60 + 1799, 1),  # within half an hour of the last interaction
        (0, 8, SPLIT + 60 + 1799 + 1800, 2),  # half an hour later: another visit
    )
    assert listed(held_out_visits(log, SPLIT)) == [
        (0, SPLIT, [7, 6, 8]),
        (2, SPLIT + 50, [9]),
        (0, SPLIT + 60 + 1799 + 1800, [8]),
    ]


@pytest.mark.parametrize("rows", [[], [(0, 5, 100, 1)], [(0, 5, SPLIT, 1)]])
def test_nobody_to_hold_out_is_no_visit(rows: list[tuple[int, int, int, int]]) -> None:
    """An empty log, a log without later days, and a log of strangers have no visits."""
    visits = held_out_visits(log_of(*rows), SPLIT)
    assert listed(visits) == []
    assert visits.targets.offsets.tolist() == [0]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(SPLIT - 40_000, SPLIT + 40_000), st.integers(1, 3)),
        max_size=40,
    )
)
def test_held_out_visits_lose_and_invent_nothing(rows: list[tuple[int, int, int, int]]) -> None:
    """Visits are in time order; their (user, item) pairs are those of returning users after the split."""
    log = log_of(*rows)
    visits = held_out_visits(log, SPLIT)
    known = {row[0] for row in rows if row[2] < SPLIT}
    expected = {(row[0], row[1]) for row in rows if row[2] >= SPLIT and row[0] in known}
    assert {(user, item) for user, _, items in listed(visits) for item in items} == expected
    assert (np.diff(visits.time) >= 0).all()
    assert len(np.unique(visits.visit)) == len(visits)
    for user, time, items in listed(visits):
        assert items
        assert len(set(items)) == len(items)
        assert any(row[:3] == (user, items[0], time) for row in rows) or time in {r[2] for r in rows if r[0] == user}
    for user in known:
        assert (np.diff(visits.time[visits.user == user]) >= 1800).all()


@given(st.permutations(range(5)), st.integers(0, 5))
def test_taking_visits_takes_what_is_theirs(order: list[int], count: int) -> None:
    """Any rows in any order keep their users, times and targets."""
    rows = [(n, 10 * n + k, SPLIT + n, 1 + k % 3) for n in range(5) for k in range(n % 3 + 1)]
    visits = held_out_visits(log_of(*((n, 99, 0, 1) for n in range(5)), *rows), SPLIT)
    chosen = np.array(order[:count], np.int64)
    assert listed(visits.take(chosen)) == [listed(visits)[row] for row in chosen]


@given(st.integers(0, 9), st.integers(1, 60))
def test_visits_are_drawn_without_regard_to_order(seed: int, most: int) -> None:
    """So many distinct visits are drawn, in time order; the same ones whatever else differs, more of them if more."""
    times = np.arange(50) * 100
    targets = ItemLists(np.arange(51), np.arange(50))
    visits = Visits(np.arange(50) % 7, times, np.arange(50), targets)
    drawn = draw_visits(visits, most, seed)
    assert len(drawn) == min(most, 50)
    assert (np.diff(drawn) > 0).all()
    assert set(drawn) <= set(draw_visits(visits, most + 5, seed))
    assert draw_visits(visits, None, seed).tolist() == list(range(50))
    backwards = visits.take(np.arange(50)[::-1])
    assert sorted(49 - draw_visits(backwards, most, seed)) == drawn.tolist()


def tiny_world(users: int = 400) -> BuiltWorld:
    """A world of 8 days."""
    config = GeneratedWorld(kind="generated", users=users, items=80, cities=("seattle",), country="US")
    return build_world(config, start=date(2015, 10, 5), days=DAYS, scenario="item", slots=5, seed=5)


@pytest.fixture(scope="module")
def built() -> BuiltWorld:
    """The world of these tests."""
    return tiny_world()


@pytest.fixture(scope="module")
def log(built: BuiltWorld) -> InteractionLog:
    """Its log, as the users lived it."""
    return by_arrival(play_or_read_history(built, DAYS, 5, ShardPool(1), SilentProgress())[0])


def task(built: BuiltWorld, log: InteractionLog, policy: RegisteredPolicy, most: int | None = None) -> RankingTask:
    """A policy over the last three days."""
    visits = held_out_visits(log, SPLIT_DAY * DAY_SECONDS)
    return RankingTask(built.world, policy, "asked", log, SPLIT_DAY * DAY_SECONDS, visits, draw_visits(visits, most, 1))


def known_items(history: ObservedHistory, row: int) -> dict[int, int]:
    """Latest time at which a user is known to have met each item."""
    found: dict[int, int] = {}
    for item, time in zip(history.item[row].tolist(), history.time[row].tolist(), strict=True):
        if item >= 0:
            found[item] = max(time, found.get(item, time))
    return found


def catalogue(requests: Requests) -> Candidates:
    """Items 0, 1, 2, ..."""
    items = np.tile(np.arange(requests.slots, dtype=np.int32), (len(requests), 1))
    return Candidates(items, -items.astype(float), np.full(items.shape, UTILITY, np.int8))


class Spy(RegisteredPolicy):
    """Keeps what it could see at each request, and ranks the catalogue as it stands."""

    def begin(self, rows: int) -> None:
        """Nothing seen yet."""
        self.seen: list[tuple[int, int, dict[int, int]]] = []
        self.shown: list[int] = []
        self.days: list[int] = []

    def refresh(self, day: int, context: ObservedContext) -> None:
        """The context ends with the day."""
        assert context.days == day + 1
        self.days.append(day)

    def candidates(self, requests: Requests) -> Candidates:
        """Items 0, 1, 2, ..."""
        assert requests.context.days == self.days[-1] + 1
        assert (requests.day == self.days[-1]).all()
        assert len(np.unique(requests.user)) == len(requests)
        for row, time in zip(requests.row.tolist(), requests.time.tolist(), strict=True):
            self.seen.append((row, time, known_items(requests.history, row)))
        self.shown.extend(requests.history.shown_count[requests.row].tolist())
        return catalogue(requests)


Replayed = tuple[Spy, RankingTask, Answers, list[int]]


@pytest.fixture(scope="module")
def replayed(built: BuiltWorld, log: InteractionLog) -> Replayed:
    """A spy taken through the last three days of a small simulated log."""
    spy, ticks = Spy(NoParams(), 1), []
    asked = task(built, log, spy)
    found = rank_visits(asked, lambda: ticks.append(1))
    return spy, asked, found, ticks


def test_no_policy_sees_the_held_out_future(replayed: Replayed) -> None:
    """At a request the history holds what the user did before it and the cart bought on arrival, and nothing later."""
    spy, asked, _, _ = replayed
    log = asked.log
    assert len(spy.seen) == len(asked.visits) > 20
    held_out = 0
    for user, time, known in spy.seen:
        assert all(then <= time for then in known.values())
        past = (log.user == user) & ((log.time < time) | ((log.time == time) & ~log.on_page))
        latest = dict(zip(log.item[past].tolist(), log.time[past].tolist(), strict=True))  # last ones
        assert known == latest
        held_out += bool((log.time[past] >= SPLIT_DAY * DAY_SECONDS).any())
    assert held_out > 3  # earlier held-out visits are part of the past


def test_what_was_shown_in_vain_is_part_of_the_past(replayed: Replayed) -> None:
    """Where the log has impressions, a policy that discounts them sees all of those before the visit, and no other."""
    spy, asked, _, _ = replayed
    shown = asked.log.impressions
    assert shown is not None
    for (user, time, _), count in zip(spy.seen, spy.shown, strict=True):
        assert count == ((shown.user == user) & (shown.time < time) & ~shown.clicked).sum()
    assert np.mean(np.array(spy.shown) > 0) > 0.9


def test_days_pass_in_order(replayed: Replayed) -> None:
    """The policy is refreshed on every held-out day, in order, with or without visits, and progress is told."""
    spy, asked, _, ticks = replayed
    assert spy.days == list(range(asked.split // DAY_SECONDS, int(asked.visits.time.max() // DAY_SECONDS) + 1))
    assert len(ticks) == len(spy.days)


def test_rankings_stand_beside_what_was_known(replayed: Replayed) -> None:
    """Each visit has its ranking, and the items that its user had met before."""
    spy, asked, found, _ = replayed
    visits = asked.visits
    assert found.ranked.shape == (len(visits), min(WIDTH, asked.world.catalog.items))
    assert (found.ranked == np.arange(found.ranked.shape[1])).all()
    assert found.channels is None
    assert found.tags is None
    assert found.explanations is None
    known = {(user, time): set(items) for user, time, items in spy.seen}
    for n, (user, time) in enumerate(zip(visits.user.tolist(), visits.time.tolist(), strict=True)):
        start, end = found.seen.offsets[n : n + 2]
        assert set(found.seen.items[start:end].tolist()) == known[user, time]


def test_visits_that_are_not_asked_happen_all_the_same(
    built: BuiltWorld, log: InteractionLog, replayed: Replayed
) -> None:
    """A policy asked at some of the visits knows there what it would have known, had it been asked at all."""
    spy = Spy(NoParams(), 1)
    some = task(built, log, spy, most=25)
    found = rank_visits(some, lambda: None)
    assert len(found.ranked) == len(spy.seen) == 25
    everything = {(user, time): known for user, time, known in replayed[0].seen}
    for user, time, known in spy.seen:
        assert known == everything[user, time]
    times = some.visits.time[some.asked]
    assert sorted(time for _, time, _ in spy.seen) == sorted(times.tolist())
    sizes = np.diff(found.seen.offsets)
    assert sizes.tolist() == np.diff(replayed[2].seen.offsets)[some.asked].tolist()


def test_before_cuts_interactions_and_impressions(log: InteractionLog) -> None:
    """The part of a log before a day holds nothing of that day, shown or clicked."""
    cut = log.before(5)
    assert log.impressions is not None
    assert cut.impressions is not None
    assert cut.end_day == 5
    assert cut.time.max() < 5 * DAY_SECONDS <= log.time.max()
    assert cut.impressions.time.max() < 5 * DAY_SECONDS
    assert len(cut.impressions.user) == (log.impressions.time < 5 * DAY_SECONDS).sum()
    assert replace(log, impressions=None).before(5).impressions is None


class Looking(RegisteredPolicy):
    """The logger, with an eye on the truth at each visit."""

    knows_truth = True

    def __init__(self, logger: RegisteredPolicy | None) -> None:
        super().__init__(NoParams(), 1)
        self.logger = logger
        self.found: dict[tuple[int, int], tuple[list[int], list[float]]] = {}

    def bind_truth(self, truth: Truth) -> None:
        """Receive the truth."""
        self.truth = truth

    def candidates(self, requests: Requests) -> Candidates:
        """As the logger, or the catalogue in a replay."""
        if requests.page == 0:
            logits = self.truth.click_logits(requests.row, requests.time)
            intents = self.truth._state.intent[requests.row]
            for n, key in enumerate(zip(requests.user.tolist(), requests.visit.tolist(), strict=True)):
                self.found[key] = intents[n].tolist(), logits[n].tolist()
        return catalogue(requests) if self.logger is None else self.logger.candidates(requests)


def test_truth_of_a_replay_is_that_of_the_simulation(built: BuiltWorld) -> None:
    """A policy that knows the truth sees, at each visit, the very purposes and logits that made the log."""
    world: World = built.world
    state, impressions = opening_state(world, 0), Impressions()
    logger = make_logger(built, 5)
    logger.begin(world.users)
    truth = Looking(logger)
    truth.bind_truth(Truth(world, state))
    Simulation(world, state, truth, TopSlots(), [impressions]).run(0, DAYS)
    lived = by_arrival(join_logs([impressions.columns()], 0, DAYS))
    again = Looking(None)
    asked = task(built, lived, again)
    rank_visits(asked, lambda: None)
    assert len(again.found) == len(asked.visits) > 60
    assert again.found == {key: truth.found[key] for key in again.found}


class Thinking(RegisteredPolicy):
    """Two channels and tags, all of them functions of the user and the visit."""

    two_channels = True

    def __init__(self, clicks: bool = True) -> None:
        super().__init__(NoParams(), 1)
        self.vocabulary = type("Vocabulary", (), {"category": np.arange(9, dtype=np.int32) % 4})
        self.clicks = clicks

    def begin(self, rows: int) -> None:
        """Nothing said yet."""
        self.texts: list[str] = []

    def candidates(self, requests: Requests) -> Candidates:
        """Three utility candidates, then two cognitive ones of which one is liked best, then padding."""
        first = requests.user[:, None].astype(np.int32) % 40
        items = first + np.array([0, 1, 2, 3, 4, 0], np.int32)
        items[:, 5] = NO_ITEM
        channel = np.tile(np.array([UTILITY] * 3 + [COGNITIVE] * 3, np.int8), (len(requests), 1))
        click = np.tile([0.3, 0.2, 0.1, 0.25, 0.4, 0.0], (len(requests), 1))
        explanation = np.full(items.shape, -1, np.int32)
        explanation[:, 4] = len(self.texts) + np.arange(len(requests))
        self.texts += [f"for {user} at {time}" for user, time in zip(requests.user, requests.time, strict=True)]
        click_or_none = click if self.clicks else None
        return Candidates(items, -items * 1.0, channel, None, click_or_none, click, explanation=explanation)

    def explanations(self) -> Sequence[str]:
        """What was said."""
        return self.texts

    def thoughts(self, requests: Requests) -> Thoughts:
        """Tags of the user; batches with an odd number of requests have a part more."""
        n = len(requests)
        tags = np.stack([requests.user % 9, (requests.user + 1) % 9], axis=1).astype(np.int32)
        proposed = np.full((n, 2 + n % 2, 2), NO_TAG, np.int32)
        proposed[:, :2] = tags[:, None]
        ones: Ints = np.ones(n, np.int64)
        return Thoughts(
            tags, proposed, 4 * ones, ones, (("a", "b"),) * n, ("",) * n, requests.time, ones, ones, 7 * requests.user
        )


def test_channels_tags_and_texts_are_kept_with_their_visits(built: BuiltWorld, log: InteractionLog) -> None:
    """Whatever batches the visits came in, each has its own channels, thoughts and explanations, padded alike."""
    asked = task(built, log, Thinking())
    found = rank_visits(asked, lambda: None)
    user, time = asked.visits.user, asked.visits.time
    first = user[:, None] % 40
    assert (found.ranked[:, :5] == first + np.array([4, 0, 3, 1, 2])).all()
    assert (found.ranked[:, 5:] == NO_ITEM).all()
    assert found.channels is not None
    assert (found.channels.utility[:, :3] == first + np.arange(3)).all()
    assert (found.channels.utility[:, 3:] == NO_ITEM).all()
    assert (found.channels.cognitive[:, :2] == first + np.array([3, 4])).all()
    assert (found.channels.cognitive[:, 2:] == NO_ITEM).all()
    assert found.tags is not None
    thoughts = found.tags.thoughts
    assert (thoughts.tags[:, 0] == user % 9).all()
    assert np.array_equal(thoughts.prompt_tokens, time)
    assert np.array_equal(thoughts.flops, 7 * user)
    assert thoughts.proposed.shape == (len(user), 3, 2)
    assert (thoughts.proposed[:, 2] == NO_TAG).all()
    assert found.tags.vectors is None
    said = found.explanations
    assert said is not None
    assert (said.items[:, 4] == first[:, 0] + 4).all()
    assert [said.wording[text] for text in said.texts[:, 4]] == [
        f"for {u} at {t}" for u, t in zip(user, time, strict=True)
    ]
    assert (said.texts[:, :4] == -1).all()


def test_two_channels_need_estimates(built: BuiltWorld, log: InteractionLog) -> None:
    """Candidates of two channels cannot be ranked together without estimates of a click, and that is said."""
    with pytest.raises(PolicyFaultError, match="'Thinking': two channels and no estimates of a click"):
        rank_visits(task(built, log, Thinking(clicks=False)), lambda: None)


def test_ledgers_are_lived_as_they_are() -> None:
    """A log without impressions knows no arrivals; it comes back as it was."""
    log = log_of((0, 1, 5, 1), (1, 2, 7, 2))
    assert by_arrival(log) is log


def test_what_is_lived_is_what_was_logged(built: BuiltWorld, log: InteractionLog) -> None:
    """Entries keep user, item and kind, move back to their visit's beginning, and clicks stay beside impressions."""
    logged, _ = play_or_read_history(built, DAYS, 5, ShardPool(1), SilentProgress())
    assert logged.impressions is not None
    assert log.impressions is not None
    for one, other in ((logged, log), (logged.impressions, log.impressions)):
        assert sorted(zip(one.user.tolist(), one.item.tolist(), strict=True)) == sorted(
            zip(other.user.tolist(), other.item.tolist(), strict=True)
        )
    shown = log.impressions
    assert np.array_equal(shown.item[shown.clicked], log.item[log.on_page])
    assert np.array_equal(shown.time[shown.clicked], log.time[log.on_page])
    assert (~log.on_page).any()
    assert (np.diff(shown.time) >= 0).all()
    for user, visit in {(0, 0), *zip(shown.user[:200].tolist(), shown.visit[:200].tolist(), strict=True)}:
        mine = (shown.user == user) & (shown.visit == visit)
        assert len(np.unique(shown.time[mine])) <= 1
