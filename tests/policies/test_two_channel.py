from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from allocation.channels import UtilityOnly
from allocation.top_slots import TopSlots
from policies.features import NF, rank_requests
from policies.registry import RegisteredPolicy, policy_class
from policies.two_channel import TwoChannel
from simulator.batches import BUY, COGNITIVE, NO_ITEM, UTILITY, Candidates, InteractionLog, Requests, Responses, Slates
from simulator.engine import Simulation
from simulator.state import State, copy_state
from simulator.world import World

WIDTH = 20
HISTORY_DAYS = 16


@pytest.fixture(scope="module")
def policy(fit: Callable[..., RegisteredPolicy]) -> TwoChannel:
    """The policy on the morning after the log."""
    assert policy_class("two_channel") is TwoChannel
    found = fit("two_channel")
    assert isinstance(found, TwoChannel)
    return found


@pytest.fixture
def requests(ask: Callable[..., Requests], world: World) -> Requests:
    """First pages of everybody."""
    return ask(np.arange(world.users))


def held(candidates: Candidates, channel: int) -> np.ndarray:
    """Which places hold a candidate of a channel."""
    return (candidates.channel == channel) & (candidates.items >= 0)


def interacted(requests: Requests, items: np.ndarray) -> np.ndarray:
    """Whether each request's user ever interacted with each item; False on padding."""
    known = np.maximum(items, 0)
    word = requests.history.interacted[requests.row[:, None], known // 64]
    return ((word >> (known % 64).astype(np.uint64)) & np.uint64(1)).astype(bool) & (items >= 0)


def test_utility_channel_ranks_without_context(policy: TwoChannel, requests: Requests) -> None:
    """The utility channel is the blend's own ranking: features weighed, today's context and its items left out."""
    found = policy.candidates(requests)
    items, _, _ = rank_requests(
        requests,
        policy.tables,
        policy.weight[:NF],
        requests.slots * requests.max_pages,
        extra=np.zeros((len(requests), 0), np.int32),
        bonus_row=np.zeros(len(requests), np.int32),
        bonus=np.zeros((1, len(policy.tables.department))),
        keep_features=False,
    )
    for n in range(len(requests)):
        utility = found.items[n][held(found, UTILITY)[n]]
        assert np.array_equal(utility, items[n][items[n] >= 0])


def test_context_moves_only_the_cognitive_channel(policy: TwoChannel, requests: Requests, world: World) -> None:
    """On another day's context the utility items stay as they are, and the cognitive ones change."""
    today = policy.candidates(requests)
    policy.refresh(3, world.environment.observed().until(3))
    other = policy.candidates(requests)
    policy.refresh(HISTORY_DAYS, world.environment.observed().until(HISTORY_DAYS))
    width = requests.slots * requests.max_pages
    assert np.array_equal(today.items[:, :width], other.items[:, :width])
    assert not np.array_equal(today.items[:, width:], other.items[:, width:])


def test_candidates_keep_their_promises(policy: TwoChannel, requests: Requests) -> None:
    """Utility first, then at most so many cognitive ones by click, all distinct, padding at the end with estimate 0."""
    found = policy.candidates(requests)
    there = found.items >= 0
    assert found.click is not None
    assert found.conversion is not None
    assert not (there[:, 1:] & ~there[:, :-1]).any()
    cognitive = held(found, COGNITIVE)
    assert (cognitive.sum(axis=1) <= WIDTH).all()
    assert cognitive.sum() > len(requests)
    assert not (cognitive[:, :-1] & held(found, UTILITY)[:, 1:]).any()
    ordered = np.sort(np.where(there, found.items, -1 - np.arange(found.items.shape[1])), axis=1)
    assert (np.diff(ordered, axis=1) != 0).all()
    both = cognitive[:, :-1] & cognitive[:, 1:]
    assert (np.diff(found.click, axis=1)[both] <= 0).all()
    assert not found.click[~there].any()
    assert not found.conversion[~there].any()
    assert (found.scores[~there] == -np.inf).all()


def test_estimates_are_probabilities(policy: TwoChannel, requests: Requests) -> None:
    """Clicks are estimated strictly between 0 and 1, and orders strictly below clicks."""
    found = policy.candidates(requests)
    there = found.items >= 0
    assert found.click is not None
    assert found.conversion is not None
    assert ((found.click[there] > 0) & (found.click[there] < 1)).all()
    assert ((found.conversion[there] > 0) & (found.conversion[there] < found.click[there])).all()


def test_order_rate_is_counted_by_category(policy: TwoChannel, log: InteractionLog, world: World) -> None:
    """Orders a click, carts bought later too, are the log's by category, pulled to the mean where clicks are few."""
    category = world.catalog.observed.category[log.item]
    mean = ((log.kind == BUY).sum() + 1) / (log.on_page.sum() + 2)
    rates = policy._order_rate
    assert ((rates > 0) & (rates < 1)).all()
    for c in range(len(rates)):
        orders, clicks = (int(np.sum(those & (category == c))) for those in (log.kind == BUY, log.on_page))
        observed = orders / clicks if clicks else mean
        assert min(observed, mean) - 1e-12 <= rates[c] <= max(observed, mean) + 1e-12


def test_cognitive_items_were_never_interacted_with(policy: TwoChannel, requests: Requests) -> None:
    """Nothing in the cognitive channel is known to the user, however long ago."""
    found = policy.candidates(requests)
    cognitive = held(found, COGNITIVE)
    assert not (interacted(requests, found.items) & cognitive).any()
    assert (interacted(requests, found.items) & held(found, UTILITY)).any()


def test_forgotten_items_are_still_known(policy: TwoChannel, requests: Requests) -> None:
    """An item the user met before all that the recent history holds is no cognitive one."""
    first = policy.candidates(requests)
    row = int(np.flatnonzero(held(first, COGNITIVE).any(axis=1))[0])
    met = int(first.items[row][held(first, COGNITIVE)[row]][0])
    bits = requests.history.interacted.copy()
    bits[row, met // 64] |= np.uint64(1) << np.uint64(met % 64)
    later = replace(requests, history=replace(requests.history, interacted=bits))
    found = policy.candidates(later)
    assert met not in found.items[row][held(found, COGNITIVE)[row]]


def test_usual_categories_are_left_to_utility(
    fit: Callable[..., RegisteredPolicy], requests: Requests, world: World
) -> None:
    """Without tolerance for familiar categories, a cognitive item's category is none of the recent history's."""
    found = fit("two_channel", familiar_share=0.0).candidates(requests)
    category = world.catalog.observed.category
    for n in range(len(requests)):
        met = requests.history.item[requests.row[n]]
        cognitive = found.items[n][held(found, COGNITIVE)[n]]
        assert not set(category[cognitive]) & set(category[met[met >= 0]])


@pytest.mark.parametrize("count", [1, 7])
def test_number_of_cognitive_candidates_can_be_set(
    fit: Callable[..., RegisteredPolicy], requests: Requests, count: int
) -> None:
    """A visit has at most so many cognitive candidates; those that utility ranks too are not among them."""
    found = held(fit("two_channel", cognitive=count).candidates(requests), COGNITIVE).sum(axis=1)
    assert 0 < found.max() <= count


def test_later_pages_leave_out_what_was_shown(policy: TwoChannel, requests: Requests) -> None:
    """Every page of a visit has the first page's candidates less those already shown, in the same order."""
    first = policy.candidates(requests)
    cognitive = np.where(held(first, COGNITIVE), np.arange(first.items.shape[1])[None], 10**6)
    place = np.argmin(cognitive, axis=1)
    shown = np.column_stack([first.items[:, :4], first.items[np.arange(len(requests)), place]])
    later = policy.candidates(replace(requests, page=1, already=shown.astype(np.int32)))
    for n in range(len(requests)):
        kept = ~np.isin(first.items[n], shown[n]) & (first.items[n] >= 0)
        assert np.array_equal(later.items[n][later.items[n] >= 0], first.items[n][kept])
        assert np.array_equal(later.channel[n][later.items[n] >= 0], first.channel[n][kept])
        assert first.click is not None
        assert later.click is not None
        assert np.array_equal(later.click[n][later.items[n] >= 0], first.click[n][kept])


def test_company_changes_no_answer(policy: TwoChannel, ask: Callable[..., Requests]) -> None:
    """A user's candidates are the same alone and among others."""
    together = policy.candidates(ask(np.arange(40)))
    for row in (0, 17):
        alone = policy.candidates(ask(np.array([row])))
        assert np.array_equal(alone.items[0], together.items[row])
        assert alone.click is not None
        assert together.click is not None
        assert np.array_equal(alone.click[0], together.click[row])


class Watched(UtilityOnly):
    """Utility's pages, with what is predicted of all shown items and their answers kept."""

    def __init__(self, users: int) -> None:
        super().__init__(1, np.ones(users, np.bool_))
        self.predicted: list[np.ndarray] = []
        self.clicked: list[np.ndarray] = []
        self.repeats = 0

    def allocate(self, requests: Requests, candidates: Candidates) -> Slates:
        """Remember what is predicted of each place."""
        slates = super().allocate(requests, candidates)
        assert candidates.click is not None
        place = np.argmax(candidates.items[:, None, :] == slates.items[:, :, None], axis=2)
        assert (slates.items != NO_ITEM).all()
        self.predicted.append(np.take_along_axis(candidates.click, place, axis=1))
        same = (slates.items[:, :, None] == requests.already[:, None, :]) & (slates.items[:, :, None] != NO_ITEM)
        self.repeats += int(same.sum())
        return slates

    def observe(self, requests: Requests, slates: Slates, responses: Responses) -> None:
        """Remember what each place brought."""
        self.clicked.append(responses.clicked)


@pytest.fixture(scope="module")
def watched(fit_on_many: tuple[World, Callable[..., RegisteredPolicy], State]) -> Watched:
    """What was predicted of all places in play, and what they brought."""
    world, fit, state = fit_on_many  # of a few hundred users the best estimates are too much luck
    policy = fit("two_channel")
    assert isinstance(policy, TwoChannel)
    watched = Watched(world.users)
    policy.begin(world.users)
    Simulation(world, copy_state(state), policy, watched).run(world.days - 4, world.days)
    return watched


def test_first_places_are_clicked_as_predicted(watched: Watched) -> None:
    """In play, the mean prediction of the first place, which is always examined, is near its click rate."""
    predicted, clicked = (np.concatenate(found)[:, 0] for found in (watched.predicted, watched.clicked))
    assert len(clicked) > 500
    assert predicted.mean() == pytest.approx(clicked.mean(), rel=0.15)
    high = predicted > np.median(predicted)
    assert clicked[high].mean() > clicked[~high].mean()
    assert watched.repeats == 0


def test_every_place_is_clicked_as_predicted(watched: Watched, fit_on_many: tuple[World, Any, State]) -> None:
    """With how often a place is examined, predictions are near the click rate further down too, not only at the top."""
    world, _, _ = fit_on_many
    predicted, clicked = np.concatenate(watched.predicted), np.concatenate(watched.clicked)
    examined = (1.0 + np.arange(world.slots)) ** -world.behaviour.response.examination_decay
    assert (predicted * examined).mean(axis=0) == pytest.approx(clicked.mean(axis=0), rel=0.25)
    assert (predicted * examined).mean() == pytest.approx(clicked.mean(), rel=0.15)


def test_one_channel_allocator_shows_utility_first(policy: TwoChannel, requests: Requests) -> None:
    """Shown from the top, as in the warm-up, a page is utility's."""
    slates = TopSlots().allocate(requests, policy.candidates(requests))
    assert (slates.channel == UTILITY).all()
