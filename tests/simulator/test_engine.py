from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.popularity import Popularity, PopularityParams
from policies.registry import NoParams
from policies.uniform import Uniform
from simulator.answers import PolicyError, faults
from simulator.batches import (
    BUY,
    DAY_SECONDS,
    NO_EXPLANATION,
    NO_ITEM,
    Candidates,
    InteractionLog,
    Requests,
    Responses,
    Slates,
)
from simulator.engine import Simulation, VisitCount, opening_state
from simulator.state import NEVER, State, copy_state, join_states, take_state
from simulator.tables import Recorder
from simulator.world import World


class Nearly:
    """A policy's answer with something done to it."""

    def __init__(self, policy: Any, change: Callable[[np.ndarray], np.ndarray]) -> None:
        self._policy, self._change = policy, change
        self.begin, self.refresh = policy.begin, policy.refresh

    def candidates(self, requests: Requests) -> Candidates:
        """The answer, changed."""
        answer = self._policy.candidates(requests)
        items = self._change(answer.items.copy())
        return Candidates(items, np.zeros(items.shape), np.zeros(items.shape, np.int8))


class Telling:
    """Shows items as another policy does, each with a text out of a few, numbered in the order of first use.

    Args:
        policy: whose items.
        world: whose words.
        silent: items that come without a text.
    """

    def __init__(self, policy: Any, world: World, silent: Sequence[int] = ()) -> None:
        self._policy, self._catalog, self._silent = policy, world.catalog.observed, silent
        self.refresh = policy.refresh

    def begin(self, rows: int) -> None:
        """Forget all texts."""
        self._policy.begin(rows)
        self._number: dict[str, int] = {}

    def _text(self, user: int, item: int) -> str:
        name = self._catalog.category_names[self._catalog.category[item]]
        return f"{('Thanksgiving', 'A rainy day', 'Easter')[user % 3]} and {self._catalog.titles[item]}, a {name}"

    def candidates(self, requests: Requests) -> Candidates:
        """The items and a text for most."""
        answer = self._policy.candidates(requests)
        explanation = np.full(answer.items.shape, NO_EXPLANATION, np.int32)
        for n, user in enumerate(requests.user.tolist()):
            for k, item in enumerate(answer.items[n].tolist()):
                if item != NO_ITEM and item not in self._silent:
                    explanation[n, k] = self._number.setdefault(self._text(user, item), len(self._number))
        return replace(answer, explanation=explanation)

    def explanations(self) -> list[str]:
        """All texts so far."""
        return list(self._number)


class Times(Recorder):
    """When each (user, visit) began, and every time a page was seen."""

    def __init__(self) -> None:
        self.began: dict[tuple[int, int], int] = {}
        self.pages: list[tuple[int, int]] = []

    def page(self, requests: Requests, slates: Slates, responses: Responses) -> None:
        """Note the time."""
        if requests.page == 0:
            keys = zip(requests.user.tolist(), requests.visit.tolist(), strict=True)
            self.began |= dict(zip(keys, requests.time.tolist(), strict=True))
        self.pages += zip(requests.page + 0 * requests.day, requests.time, strict=True)


class FirstPages(Recorder):
    """What users answered on their first page, by item: clicked, carted, bought, views, value, refunded."""

    def __init__(self) -> None:
        self.answers: dict[int, dict[int, tuple[Any, ...]]] = {}

    def page(self, requests: Requests, slates: Slates, responses: Responses) -> None:
        """Keep the answers of those who are here for the first time."""
        r = responses
        for n, user in enumerate(requests.user.tolist()):
            if user not in self.answers:
                columns = (r.clicked, r.carted, r.bought, r.views, r.value, r.refunded)
                rows = zip(*(column[n].tolist() for column in columns), strict=True)
                self.answers[user] = dict(zip(slates.items[n].tolist(), rows, strict=True))


def guests(world: World) -> tuple[Uniform, Popularity]:
    """The random and the popular policy, fitted to a log in which everybody bought the best items."""
    best = np.argsort(-world.catalog.quality)[:60].astype(np.int32)
    log = InteractionLog(
        start_day=0,
        end_day=1,
        user=np.zeros(60, np.int64),
        item=best,
        time=np.arange(60),
        kind=np.full(60, BUY, np.int8),
        impressions=None,
    )
    random, popular = Uniform(NoParams(), 1), Popularity(PopularityParams(), 1)
    for policy in (random, popular):
        policy.fit(log, world.catalog.observed, world.population.observed, world.environment.observed())
    return random, popular


def same_sums(one: Any, other: Any) -> bool:
    """Whether two simulations left the same user days, to the byte."""
    return all(one.user_days.sums[n].tobytes() == sums.tobytes() for n, sums in other.user_days.sums.items())


def same_state(one: State, other: State) -> bool:
    """Whether two states are the same, to the byte."""
    return all(array.tobytes() == getattr(other, name).tobytes() for name, array in one._asdict().items())


def test_the_same_policy_twice_is_the_same_run(world: World, play: Callable[..., Any]) -> None:
    """Two simulations of one policy from copies of one state give identical user days, logs and states."""
    state = play(world, days=(0, 8)).state
    for policy in guests(world):
        one, other = (play(world, policy, copy_state(state), (8, 20)) for _ in range(2))
        assert same_sums(one, other)
        assert same_state(one.state, other.state)
        assert all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(one.log, other.log, strict=True))
        assert one.user_days.sums["clicks"].sum() > 0


def test_two_arms_begin_from_one_moment(world: World, play: Callable[..., Any]) -> None:
    """Playing one arm from a copied state leaves the state that the other arm begins from untouched."""
    state = play(world, days=(0, 8)).state
    before = copy_state(state)
    play(world, guests(world)[1], copy_state(state), (8, 20))
    assert same_state(state, before)


def test_arms_share_their_candidate_visits(world: World, play: Callable[..., Any]) -> None:
    """A visit that takes place under two policies takes place at the same second, and most do."""
    times = []
    for policy in guests(world):
        record = Times()
        play(world, policy, recorders=[record])
        times.append(record.began)
    one, other = times
    common = one.keys() & other.keys()
    assert all(one[key] == other[key] for key in common)
    assert len(common) > 0.8 * max(len(one), len(other))
    assert one != other


def test_first_pages_have_the_same_luck_under_both_arms(
    make_world: Callable[..., World], play: Callable[..., Any], ranked: type
) -> None:
    """On a user's first page the items that two policies both show are answered alike, wherever they stand."""
    world = make_world({"response": {"examination_decay": 0.0, "click_base": -1.0}})
    both = list(range(8))
    answers = []
    for order in ([*both, 20, 21], [30, 31, *both[::-1]]):
        record = FirstPages()
        play(world, ranked(order), recorders=[record])
        answers.append(record)
    one, other = (record.answers for record in answers)
    assert one.keys() == other.keys()
    assert len(one) > 0.9 * world.users
    for user, answer in one.items():
        assert all(answer[item] == other[user][item] for item in both)
    assert any(clicked for answer in one.values() for clicked, *_ in answer.values())


def test_time_may_be_cut_anywhere(world: World, play: Callable[..., Any], ranked: type) -> None:
    """Played in one go or in several, with new simulations on the same state, the days are the same bytes."""
    whole = play(world, ranked(range(60)))
    state = opening_state(world, 0)
    parts = [play(world, ranked(range(60)), state, span) for span in ((0, 3), (3, 4), (4, 20))]
    for name, sums in whole.user_days.sums.items():
        assert np.concatenate([p.user_days.sums[name] for p in parts], axis=1).tobytes() == sums.tobytes(), name
    assert same_state(whole.state, state)
    assert sum(p.visits.drawn for p in parts) == whole.visits.drawn


@pytest.mark.parametrize("scenario", ["item", "feed"])
def test_every_visit_is_served_or_lost(
    make_world: Callable[..., World], play: Callable[..., Any], ranked: type, scenario: str
) -> None:
    """Visits drawn are visits served and visits lost for want of anything to show, and every one is a session."""
    world = make_world(scenario=scenario, users=80)

    def half(items: np.ndarray) -> np.ndarray:
        items[::2] = NO_ITEM
        return items

    for policy in (ranked(range(60)), ranked([]), Nearly(ranked(range(60)), half)):
        played = play(world, policy)
        visits, sums = played.visits, played.user_days.sums
        assert visits.drawn == visits.served + visits.lost == sums["sessions"].sum() > 0
        if isinstance(policy, Nearly):
            assert 0 < visits.lost < visits.drawn
        else:
            assert visits.lost == (0 if sums["impressions"].sum() else visits.drawn)


def test_an_empty_policy_loses_every_visit(world: World, play: Callable[..., Any], ranked: type) -> None:
    """With nothing ever to show all visits are lost, nothing happens on them, and users come less for it."""
    empty, full = play(world, ranked([])), play(world, ranked(np.argsort(-world.catalog.quality)[:60]))
    sums = empty.user_days.sums
    assert empty.visits.lost == empty.visits.drawn > 0
    assert empty.visits.served == 0
    assert not any(values.any() for name, values in sums.items() if name not in ("sessions", "pages"))
    assert np.array_equal(sums["pages"], sums["sessions"])
    assert empty.visits.drawn < full.visits.drawn
    assert len(empty.log[0]) == 0


@pytest.mark.parametrize("scenario", ["item", "feed"])
def test_nothing_appears_from_nowhere(
    make_world: Callable[..., World], play: Callable[..., Any], scenario: str
) -> None:
    """On each user's each day carts <= clicks <= views and impressions, refunds <= payments; orders follow clicks."""
    world = make_world({"response": {"click_base": -1.5, "cart_base": 0.0}}, scenario=scenario)
    sums = play(world).user_days.sums
    clicks, orders = (sums[name].cumsum(axis=1) for name in ("clicks", "orders"))
    assert (orders <= clicks).all()
    assert (sums["orders"] > sums["clicks"]).any()  # a cart is bought on another day
    chain = ["atc", "clicks", "impressions"]
    for less, more in [*pairwise(chain), ("clicks", "ipv"), ("novel_impressions", "impressions")]:
        assert (sums[less] <= sums[more]).all(), (less, more)
        assert 0 < sums[less].sum() < sums[more].sum(), (less, more)
    assert (sums["tv"] <= sums["gmv"]).all()
    assert 0 < sums["tv"].sum() < sums["gmv"].sum()
    assert np.array_equal(sums["gmv"] > 0, sums["orders"] > 0)
    assert (sums["sessions"] <= sums["pages"]).all()
    assert (sums["pages"] <= sums["sessions"] * world.behaviour.response.max_pages).all()
    assert (sums["impressions"] <= sums["pages"] * world.slots).all()
    if scenario == "item":
        assert np.array_equal(sums["impressions"], sums["pages"] * world.slots)


@pytest.mark.parametrize("scenario", ["item", "feed"])
def test_a_visit_remembers_what_it_has_shown(
    make_world: Callable[..., World], play: Callable[..., Any], ranked: type, scenario: str
) -> None:
    """A page is asked for with what earlier pages of the visit have shown, and not with what they had no room for."""

    class Memory(Recorder):
        def __init__(self) -> None:
            self.shown: dict[tuple[int, int], list[int]] = {}
            self.laid_out = self.asked = 0

        def page(self, requests: Requests, slates: Slates, responses: Responses) -> None:
            for n, visit in enumerate(zip(requests.user.tolist(), requests.visit.tolist(), strict=True)):
                before = self.shown.setdefault(visit, [])
                assert [item for item in requests.already[n].tolist() if item != NO_ITEM] == before
                before += slates.items[n][responses.shown[n]].tolist()
                self.laid_out += int((slates.items[n] != NO_ITEM).sum())
                self.asked += requests.page > 0

    memory = Memory()
    play(make_world(scenario=scenario), ranked(range(60)), recorders=[memory])
    shown = sum(len(items) for items in memory.shown.values())
    assert memory.asked > 100
    assert shown == memory.laid_out if scenario == "item" else shown < 0.8 * memory.laid_out


def test_pages_follow_each_other_within_the_visit(world: World, play: Callable[..., Any], ranked: type) -> None:
    """A visit's pages come one after another, 45 seconds apart, and no visit begins outside the days played."""
    record = Times()
    play(world, ranked(range(60)), days=(2, 9), recorders=[record])
    begun = set(record.began.values())
    assert min(begun) >= 2 * DAY_SECONDS
    assert max(begun) < 9 * DAY_SECONDS
    assert all(int(time - 45 * page) in begun for page, time in record.pages)
    assert max(page for page, _ in record.pages) == world.behaviour.response.max_pages - 1


def test_a_visit_begins_with_an_empty_account(world: World, play: Callable[..., Any], ranked: type) -> None:
    """What the visit before was worth is not counted again: the same days follow from any sum that was left there."""
    plain, rich = opening_state(world, 0), opening_state(world, 0)
    rich.visit_value[:] = 1e6
    one, other = (play(world, ranked(range(60)), state=state, days=(0, 10)) for state in (plain, rich))
    assert same_sums(one, other)
    assert one.visits.drawn > 0


def test_days_close_in_order(world: World, straight: type, ranked: type) -> None:
    """Each day played is closed once, in order, the last one too."""
    closed: list[int] = []
    Simulation(world, opening_state(world, 3), ranked(range(60)), straight(), [], closed.append).run(3, 9)
    assert closed == list(range(3, 9))


def test_a_run_ends_with_nobody_waiting(world: World, play: Callable[..., Any], ranked: type) -> None:
    """After a run every next visit lies beyond the days played, and those who left for good have none."""
    state = play(world, ranked([]), days=(0, 10)).state
    assert (state.next_time >= 10 * DAY_SECONDS).all()
    assert (state.next_time[~state.present] == NEVER).all()
    assert (~state.present).any()


def test_users_who_left_have_no_more_days(make_world: Callable[..., World], play: Callable[..., Any]) -> None:
    """Once a user has left for good there is no later day with a visit."""
    world = make_world({"returning": {"churn_base": -2.0}})
    first = play(world, days=(0, 10))
    gone = ~first.state.present
    later = play(world, state=first.state, days=(10, 20))
    assert gone.sum() > 10
    assert not later.user_days.sums["sessions"][gone].any()
    assert later.user_days.sums["sessions"][~gone].any()


def test_better_policies_are_returned_to(make_world: Callable[..., World], play: Callable[..., Any]) -> None:
    """The effect on clicks and on visits comes out of the answers: the popular policy beats chance at both."""
    world = make_world({"returning": {"sensitivity": 2.0}}, users=400)
    random, popular = (play(world, policy) for policy in guests(world))
    rates = [p.user_days.sums["clicks"].sum() / p.user_days.sums["impressions"].sum() for p in (random, popular)]
    assert rates[1] > rates[0]
    assert popular.visits.drawn > random.visits.drawn


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda items: items[:, :-1], "shape"),
        (lambda items: items[:-1], "shape"),
        (lambda items: np.where(items == 3, 400, items), r"outside 0\.\.399"),
        (lambda items: np.where(items == 3, -2, items), r"outside 0\.\.399"),
        (lambda items: np.where(items == 3, 4, items), "twice"),
    ],
)
def test_a_wrong_answer_is_refused(
    world: World, play: Callable[..., Any], ranked: type, change: Callable[[np.ndarray], np.ndarray], message: str
) -> None:
    """Slates of a wrong shape, with an unknown item or one item twice, are an error that names the policy."""
    with pytest.raises(PolicyError, match=message) as caught:
        play(world, Nearly(ranked(range(10)), change))
    assert "Nearly" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("hole", [0, 4])
def test_a_hole_in_a_page_is_refused(world: World, play: Callable[..., Any], ranked: type, hole: int) -> None:
    """Padding before an item is refused, since the item would be dropped, and with a leading hole the visit lost."""

    def pierce(items: np.ndarray) -> np.ndarray:
        items[:, hole] = NO_ITEM
        return items

    with pytest.raises(PolicyError):
        play(world, Nearly(ranked(range(60)), pierce))


@settings(max_examples=200, deadline=None)
@given(
    slates=st.lists(st.lists(st.integers(-2, 6), min_size=4, max_size=4), max_size=4),
)
def test_faults_of_a_page_are_found(slates: list[list[int]]) -> None:
    """What is looked for in slates is found exactly where it is: nowhere, in one row, behind padding."""
    items = np.array(slates, np.int32).reshape(-1, 4)
    outside = any(item < NO_ITEM or item >= 5 for row in slates for item in row)
    behind = any(a == NO_ITEM != b for row in slates for a, b in pairwise(row))
    shown = [[item for item in row if item != NO_ITEM] for row in slates]
    twice = any(len(set(row)) < len(row) for row in shown)
    assert faults(items, 5) == (outside, behind, twice)


def test_padding_may_follow_the_items(world: World, play: Callable[..., Any], ranked: type) -> None:
    """A policy with too few items for a page shows those it has."""
    sums = play(world, ranked(range(4))).user_days.sums
    assert np.array_equal(sums["impressions"], 4 * sums["sessions"])


def test_visit_counts_add_up() -> None:
    """Counts of shards add up to those of the whole."""
    total = VisitCount()
    for count in (VisitCount(5, 4, 1), VisitCount(2, 2, 0)):
        total.add(count)
    assert total == VisitCount(7, 6, 1)


@pytest.mark.parametrize("scenario", ["item", "feed"])
def test_explanations_that_do_not_matter_change_no_byte(
    make_world: Callable[..., World], play: Callable[..., Any], ranked: type, scenario: str
) -> None:
    """With explanations that nobody reads, or that no item has, days are those without any; else they are others."""
    world = make_world(scenario=scenario, users=60)
    deaf = make_world({"response": {"explanation": 0.0}}, scenario=scenario, users=60)
    plain = play(world, ranked(range(60)))
    assert same_sums(plain, play(deaf, Telling(ranked(range(60)), deaf)))
    assert same_sums(plain, play(world, Telling(ranked(range(60)), world, silent=range(60))))
    assert not same_sums(plain, play(world, Telling(ranked(range(60)), world)))


def test_explained_items_have_the_same_luck(
    make_world: Callable[..., World], play: Callable[..., Any], ranked: type
) -> None:
    """On first pages what comes without a text is answered as under a silent policy, and what has one is not worse."""
    behaviour = {"response": {"examination_decay": 0.0, "click_base": -1.0, "explanation": 1.0}}
    world = make_world(behaviour)
    answers = []
    for policy in (ranked(range(10)), Telling(ranked(range(10)), world, silent=(1, 4, 7))):
        record = FirstPages()
        play(world, policy, recorders=[record])
        answers.append(record.answers)
    silent, telling = answers
    assert silent.keys() == telling.keys()
    for user, answer in silent.items():
        assert all(telling[user][item] == answer[item] for item in (1, 4, 7))
    gained = sum(t[i][0] > s[i][0] for t, s in zip(telling.values(), silent.values(), strict=True) for i in range(10))
    lost = sum(t[i][0] < s[i][0] for t, s in zip(telling.values(), silent.values(), strict=True) for i in range(10))
    assert gained > 5 * lost


def test_shards_read_alike(world: World, play: Callable[..., Any], ranked: type) -> None:
    """Explanations numbered in another order by each shard leave the same days and the same memory of texts."""
    whole = play(world, Telling(ranked(range(60)), world))
    parts = []
    for rows in (np.arange(0, 70), np.arange(70, world.users)):
        shard = world.take(rows)
        parts.append(play(shard, Telling(ranked(range(60)), shard)))
    for name, sums in whole.user_days.sums.items():
        assert np.concatenate([part.user_days.sums[name] for part in parts]).tobytes() == sums.tobytes(), name
    assert same_state(join_states([part.state for part in parts]), whole.state)
    assert whole.state.read_count.sum() > 0


def test_arms_do_not_share_what_was_read(world: World, play: Callable[..., Any], ranked: type) -> None:
    """What one arm's explanations leave in its users' memory is not in the state that the other arm begins from."""
    state = play(world, Telling(ranked(range(60)), world), days=(0, 8)).state
    before = copy_state(state)
    after = play(world, Telling(ranked(range(60)), world), copy_state(state), (8, 20)).state
    assert same_state(state, before)
    assert (after.read_count > before.read_count).any()
    rows = np.arange(3, 9)
    assert np.array_equal(take_state(state, rows).read_gist, state.read_gist[rows])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda texts: texts[:, :-1], "shape"),
        (lambda texts: np.where(texts >= 0, texts + 10_000, texts), r"explanation 10\d+ \(explanations\(\) holds"),
        (lambda texts: texts - 5, "below -1"),
        (lambda texts: np.zeros_like(texts), "empty place"),
    ],
)
def test_a_wrong_explanation_is_refused(
    world: World, play: Callable[..., Any], ranked: type, change: Callable[[np.ndarray], np.ndarray], message: str
) -> None:
    """Explanations of a wrong shape, unknown ones and ones of nothing are an error that names the policy."""

    class Wrong(Telling):
        def candidates(self, requests: Requests) -> Candidates:
            answer = super().candidates(requests)
            assert answer.explanation is not None
            return replace(answer, explanation=change(answer.explanation))

    with pytest.raises(PolicyError, match=message) as caught:
        play(world, Wrong(ranked(range(4)), world))
    assert "Wrong" in str(caught.value)
    assert "\n" not in str(caught.value)
