import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from allocation.top_slots import TopSlots
from policies.features import rank_requests
from policies.recgpt.base import TagPolicyParams
from policies.recgpt.tags import TagVocabulary
from policies.thoughts import NO_TAG, Thoughts
from simulator.batches import COGNITIVE, DAY_SECONDS, UTILITY, Candidates, InteractionLog, Requests
from simulator.engine import Simulation
from simulator.state import State, copy_state, take_state
from simulator.world import World

HISTORY_DAYS = 16

FitPolicy = Callable[..., Any]


@pytest.fixture(scope="module")
def fitted(fit_arithmetic: FitPolicy) -> Any:
    """The stand-in, fitted; tests begin it anew."""
    return fit_arithmetic()


@pytest.fixture
def policy(fitted: Any, world: World) -> Any:
    """The stand-in on the morning after the log."""
    fitted.begin(world.users)
    fitted.refresh(HISTORY_DAYS, world.environment.observed().until(HISTORY_DAYS))
    return fitted


@pytest.fixture
def requests(ask: Callable[..., Requests], world: World) -> Requests:
    """First pages of everybody."""
    return ask(np.arange(world.users))


def held(found: Candidates, channel: int) -> np.ndarray:
    """Which places hold a candidate of a channel."""
    return (found.channel == channel) & (found.items >= 0)


def same(one: Candidates, other: Candidates, rows: np.ndarray) -> None:
    """The rows of one are the other, to the byte."""
    for field in ("items", "scores", "channel", "click", "conversion"):
        assert getattr(one, field)[rows].tobytes() == getattr(other, field).tobytes(), field


def test_candidates_keep_their_promises(policy: Any, requests: Requests, world: World) -> None:
    """Utility first, then cognitive ones by click, distinct items of the catalogue, padding last, sound estimates."""
    found = policy.candidates(requests)
    there = found.items >= 0
    assert found.items.shape == (world.users, requests.slots * requests.max_pages + policy.params.cognitive)
    assert found.items.max() < world.catalog.items
    assert not (there[:, 1:] & ~there[:, :-1]).any()
    cognitive, utility = held(found, COGNITIVE), held(found, UTILITY)
    assert not (cognitive[:, :-1] & utility[:, 1:]).any()
    assert cognitive.sum() > 5 * world.users
    ordered = np.sort(np.where(there, found.items, -1 - np.arange(found.items.shape[1])), axis=1)
    assert (np.diff(ordered, axis=1) != 0).all()
    assert (np.diff(found.click, axis=1)[cognitive[:, 1:] & cognitive[:, :-1]] <= 0).all()
    assert ((found.click[there] > 0) & (found.click[there] < 1)).all()
    assert ((found.conversion[there] > 0) & (found.conversion[there] < found.click[there])).all()
    assert not found.click[~there].any()
    assert (found.scores[~there] == -np.inf).all()


def test_utility_channel_is_the_established_ranking(policy: Any, requests: Requests) -> None:
    """Tags do not touch the utility channel: it holds what the blend ranks, in its order."""
    found = policy.candidates(requests)
    items, _, _ = rank_requests(
        requests,
        policy.tables,
        policy.weight,
        requests.slots * requests.max_pages,
        extra=np.zeros((len(requests), 0), np.int32),
        bonus_row=np.zeros(len(requests), np.int32),
        bonus=np.zeros((1, len(policy.tables.department))),
        keep_features=False,
    )
    for n in range(len(requests)):
        assert np.array_equal(found.items[n][held(found, UTILITY)[n]], items[n][items[n] >= 0])


def test_cognitive_items_are_new_to_the_user(policy: Any, requests: Requests) -> None:
    """By default nothing in the cognitive channel was ever interacted with."""
    found = policy.candidates(requests)
    known = np.maximum(found.items, 0)
    word = requests.history.interacted[requests.row[:, None], known // 64]
    met = ((word >> (known % 64).astype(np.uint64)) & np.uint64(1)).astype(bool)
    assert not (met & held(found, COGNITIVE)).any()
    assert (met & held(found, UTILITY)).any()


def test_cognitive_items_belong_to_the_tags(
    fit_arithmetic: FitPolicy, requests: Requests, world: World, vocabulary: TagVocabulary
) -> None:
    """With few items a tag, the cognitive channel lies in the categories of the user's tags, utility's does not."""
    policy = fit_arithmetic(retrieval={"shortlist": 2, "per_tag": 1}, towers={"epochs": 4})
    policy.begin(world.users)
    policy.refresh(HISTORY_DAYS, requests.context)
    found = policy.candidates(requests)
    category = world.catalog.observed.category
    named = vocabulary.category[policy.thoughts(requests).tags]
    share = []
    for channel in (UTILITY, COGNITIVE):
        items, rows = found.items[held(found, channel)], np.nonzero(held(found, channel))[0]
        share.append(np.mean([category[item] in named[row] for item, row in zip(items, rows, strict=True)]))
    assert share[1] > 0.6 > 2 * share[0]


def test_two_halves_are_answered_as_the_whole(policy: Any, requests: Requests, world: World, state: State) -> None:
    """Served in two shards with rows of their own, users have the candidates, and shards the diary, of the whole."""
    whole = policy.candidates(requests)
    diary = policy.diary()
    halves = []
    for rows in (np.arange(0, world.users, 2), np.arange(1, world.users, 2)):
        policy.begin(len(rows))
        policy.refresh(HISTORY_DAYS, requests.context)
        users = requests.users
        part = take_state(state, rows)
        asked = replace(
            requests,
            **{name: getattr(requests, name)[rows] for name in ("user", "visit", "time", "day", "city", "already")},
            row=np.arange(len(rows)),
            users=type(users)(*(getattr(users, field)[rows] for field in users.__dataclass_fields__)),
            history=replace(
                requests.history,
                item=part.event_item,
                kind=part.event_kind,
                time=part.event_time,
                count=part.event_count,
                shown=part.shown_item,
                shown_count=part.shown_count,
                interacted=part.interacted,
            ),
        )
        same(whole, policy.candidates(asked), rows)
        halves.append(policy.diary())
    assert all(half["refreshes"] == diary["refreshes"] for half in halves)
    assert sum(half["executed"][HISTORY_DAYS] for half in halves) == diary["executed"][HISTORY_DAYS] == world.users
    samples = sorted(halves[0]["samples"] + halves[1]["samples"], key=lambda sample: sample["user"])
    assert samples == diary["samples"]


def test_company_changes_no_answer(policy: Any, ask: Callable[..., Requests], world: World) -> None:
    """A user is answered the same to the byte in a batch, alone, and in another order."""
    rows = np.arange(0, world.users, 9)
    batch = policy.candidates(ask(rows))
    for chosen in (rows[::-1], rows[3:4]):
        policy.begin(world.users)
        policy.refresh(HISTORY_DAYS, world.environment.observed().until(HISTORY_DAYS))
        same(batch, policy.candidates(ask(chosen)), np.searchsorted(rows, chosen))


def test_tags_are_refreshed_when_due_and_not_before(
    fit_arithmetic: FitPolicy, ask: Callable[..., Requests], world: World
) -> None:
    """With refreshes by age alone a user is thought about on the scheduled days, and asked for their context."""
    policy = fit_arithmetic(refresh={"max_age_days": 2, "on": []})
    everybody = np.arange(world.users)
    policy.begin(world.users)
    last = np.full(world.users, -1)
    for day in range(HISTORY_DAYS, world.days):
        policy.refresh(day, world.environment.observed().until(day))
        due = policy._schedule.last > last
        last = policy._schedule.last.copy()
        policy.asked.clear()
        policy.candidates(ask(everybody, day=day))
        assert sorted(policy.asked) == [(user, day) for user in np.flatnonzero(due)]
        policy.asked.clear()
        policy.candidates(ask(everybody, day=day))
        policy.candidates(ask(everybody, day=day, page=1))
        assert not policy.asked
        assert policy.diary()["executed"][day] == due.sum() > 0
    assert policy.diary()["ledger"]["roles"]["thinker"]["calls"] == sum(policy.diary()["executed"].values())


def test_jobs_are_executed_for_the_day_they_were_scheduled_for(
    fit_arithmetic: FitPolicy, ask: Callable[..., Requests], world: World
) -> None:
    """A user who comes late has the tags of the scheduled day, and who never comes costs nothing."""
    policy = fit_arithmetic(refresh={"max_age_days": 7, "on": []})
    rows = np.arange(10)
    found = {}
    for first_visit in (HISTORY_DAYS, HISTORY_DAYS + 1):
        policy.begin(world.users)
        for day in range(HISTORY_DAYS, first_visit + 1):
            policy.refresh(day, world.environment.observed().until(day))
        unscheduled = rows[policy._schedule.last[rows] == HISTORY_DAYS]
        found[first_visit] = policy.thoughts(ask(unscheduled, day=first_visit)).tags
        assert {day for _, day in policy.asked} == {HISTORY_DAYS}
        assert (policy.thought_on(ask(unscheduled, day=first_visit)) == HISTORY_DAYS).all()
        assert policy.diary()["executed"] == {HISTORY_DAYS: len(unscheduled)}
        found[first_visit] = dict(zip(unscheduled.tolist(), found[first_visit].tolist(), strict=True))
    later = found[HISTORY_DAYS + 1]
    assert later
    assert all(found[HISTORY_DAYS][user] == tags for user, tags in later.items())


def test_later_pages_leave_out_what_was_shown(policy: Any, requests: Requests) -> None:
    """Every page of a visit has the first page's candidates less those shown, with their estimates and explanations."""
    first = policy.candidates(requests)
    shown = np.column_stack([first.items[:, :3], first.items[:, 21:22]])
    later = policy.candidates(replace(requests, page=1, already=shown.astype(np.int32)))
    for n in range(len(requests)):
        kept = ~np.isin(first.items[n], shown[n]) & (first.items[n] >= 0)
        for field in ("items", "channel", "click", "conversion", "explanation"):
            there = later.items[n] >= 0
            assert np.array_equal(getattr(later, field)[n][there], getattr(first, field)[n][kept]), field


def test_best_cognitive_candidates_carry_explanations(policy: Any, requests: Requests) -> None:
    """The first so many of the cognitive channel have a text of the tag that brought them; utility has none."""
    found = policy.candidates(requests)
    texts = policy.explanations()
    cognitive = held(found, COGNITIVE)
    place = np.cumsum(cognitive, axis=1) - 1
    explained = found.explanation >= 0
    assert np.array_equal(explained, cognitive & (place < policy.params.explained))
    assert found.explanation.max() == len(texts) - 1
    named = [{policy.vocabulary.texts[tag] for tag in tags if tag != NO_TAG} for tags in policy.thoughts(requests).tags]
    for n, k in zip(*np.nonzero(explained), strict=True):
        assert texts[found.explanation[n, k]].removeprefix("for ") in named[n]


def test_policy_without_explanations_offers_none(fit_arithmetic: FitPolicy, requests: Requests, world: World) -> None:
    """With ``explained: 0`` nothing is asked for, and candidates carry no ids."""
    policy = fit_arithmetic(explained=0)
    policy.begin(world.users)
    policy.refresh(HISTORY_DAYS, requests.context)
    assert policy.candidates(requests).explanation is None
    assert not policy.explanations()


@pytest.mark.parametrize(("cognitive", "pool"), [(1, 40), (70, 5)])
def test_number_of_cognitive_candidates_can_be_set(
    fit_arithmetic: FitPolicy, requests: Requests, world: World, cognitive: int, pool: int
) -> None:
    """A visit has at most so many cognitive candidates; a small pool does not keep them fewer."""
    policy = fit_arithmetic(cognitive=cognitive, retrieval={"pool": pool})
    policy.begin(world.users)
    policy.refresh(HISTORY_DAYS, requests.context)
    count = held(policy.candidates(requests), COGNITIVE).sum(axis=1)
    assert min(cognitive, pool + 1) <= count.max() <= cognitive


def test_samples_tell_the_last_job_in_words(policy: Any, requests: Requests, world: World) -> None:
    """Sampled users are drawn once; each is told of with profile, day, parts, choice and texts, all plain values."""
    assert not policy.diary()["samples"]
    policy.candidates(requests)
    samples = policy.diary()["samples"]
    assert len(samples) == policy.params.sample_users
    assert [sample["user"] for sample in samples] == sorted(policy._sampled)
    texts = set(policy.vocabulary.texts)
    for sample in samples:
        assert sample["day"] == HISTORY_DAYS
        assert sample["profile"]
        assert "Season:" in sample["context"]
        assert [part["name"] for part in sample["parts"]] == ["met", "drawn"]
        proposed = {tag for part in sample["parts"] for tag in part["tags"]}
        assert set(sample["chosen"]) <= texts
        assert set(sample["dropped"]) == proposed - set(sample["chosen"])
        assert sample["style"] == "plain"
        assert 0 < len(sample["explanations"]) <= policy.params.explained
        for entry in sample["explanations"]:
            assert entry["item"] in world.catalog.observed.titles
            assert entry["text"] in policy.explanations()


def test_begin_forgets(policy: Any, requests: Requests, world: World) -> None:
    """A new simulation starts without thoughts, jobs, samples or accounts of the last one, and ends the same."""
    first = policy.candidates(requests)
    diary = policy.diary()
    policy.begin(world.users)
    assert policy.diary() is None
    policy.refresh(HISTORY_DAYS, requests.context)
    assert policy.diary()["executed"] == {}
    assert policy.diary()["ledger"]["roles"] == {}
    same(first, policy.candidates(requests), np.arange(len(requests)))
    assert policy.diary() == diary


def test_fitting_and_serving_have_accounts_of_their_own(policy: Any, requests: Requests) -> None:
    """What calibration cost is in the fit's ledger, what serving costs in the other."""
    spent = policy.fit_ledger.as_dict()["roles"]["thinker"]["calls"]
    assert 0 < spent <= policy.params.calibration_visits
    policy.candidates(requests)
    assert policy.fit_ledger.as_dict()["roles"]["thinker"]["calls"] == spent
    assert policy.ledger.as_dict()["roles"]["thinker"]["calls"] == len(requests)
    assert policy.seconds() == {}


def test_pickled_policy_answers_the_same(fitted: Any, requests: Requests, world: World) -> None:
    """A fitted policy sent to another process serves as the one that stayed."""
    other = pickle.loads(pickle.dumps(fitted))  # noqa: S301 - its own bytes
    for each in (fitted, other):
        each.begin(world.users)
        each.refresh(HISTORY_DAYS, requests.context)
    same(fitted.candidates(requests), other.candidates(requests), np.arange(len(requests)))
    assert fitted.diary() == other.diary()


def test_refit_gives_the_same_bytes(fit_arithmetic: FitPolicy, fitted: Any, requests: Requests, world: World) -> None:
    """A fit is a pure function of log and seed."""
    other = fit_arithmetic()
    answers = []
    for each in (fitted, other):
        each.begin(world.users)
        each.refresh(HISTORY_DAYS, requests.context)
        answers.append(each.candidates(requests))
    same(*answers, np.arange(len(requests)))


def test_telling_tags_are_believed(
    fit_arithmetic: FitPolicy, arithmetic: type, log: InteractionLog, world: World
) -> None:
    """Tags that name what users go on to click weigh in the estimates; tags of nowhere weigh next to nothing."""
    category = world.catalog.observed.category

    class Foreseeing(arithmetic):  # type: ignore[misc]
        """Knows the categories of a user's clicks of the next three days, which no honest policy could."""

        def reason(self, requests: Requests) -> Thoughts:
            thoughts = super().reason(requests)
            for n in range(len(requests)):
                ahead = log.time - requests.time[n]
                mine = (log.user == requests.user[n]) & (ahead >= 0) & (ahead < 3 * DAY_SECONDS)
                named = np.unique(category[log.item[mine]])[: self.params.tags]
                thoughts.tags[n] = NO_TAG
                thoughts.tags[n, : len(named)] = self.vocabulary.core_tag[named]
            return thoughts

    plain, foreseeing = (fit_arithmetic(thinker)._calibration.weight for thinker in (arithmetic, Foreseeing))
    assert foreseeing[1:4].sum() > 2.0
    assert foreseeing[1:4].sum() > 3 * plain[1:4].sum()


def test_log_without_impressions_or_clicks_suffices(
    fit_arithmetic: FitPolicy, sales_log: InteractionLog, requests: Requests, world: World
) -> None:
    """A ledger of sales is enough to learn from, and so is next to nothing."""
    one = sales_log.where(np.arange(len(sales_log.user)) < 1, None)
    for log in (sales_log, one):
        policy = fit_arithmetic(log=log)
        policy.begin(world.users)
        policy.refresh(HISTORY_DAYS, requests.context)
        found = policy.candidates(requests)
        assert held(found, COGNITIVE).any()
        assert np.isfinite(found.click).all()


def test_student_serves_in_place_of_the_model(fit_arithmetic: FitPolicy, requests: Requests, world: World) -> None:
    """Distilled, the model thinks while fitting and never while serving; the diary holds the student's fidelity."""
    policy = fit_arithmetic(reasoner="distilled", distill_users=60, distilled={"iterations": 20})
    policy.begin(world.users)
    policy.refresh(HISTORY_DAYS, requests.context)
    found = policy.candidates(requests)
    assert held(found, COGNITIVE).any()
    assert not policy.asked
    assert policy.fit_ledger.as_dict()["roles"]["thinker"]["calls"] == 60
    assert 0 <= policy.diary()["fidelity"]["overlap"] <= 1


def test_play_is_served_whatever_comes(fitted: Any, world: World, state: State) -> None:
    """In a simulation of the last days every visit is served, and jobs are executed on scheduled days alone."""
    simulation = Simulation(world, copy_state(state), fitted, TopSlots())
    simulation.run(HISTORY_DAYS, world.days)
    assert simulation.visits.lost == 0
    diary = fitted.diary()
    assert [entry["day"] for entry in diary["refreshes"]] == list(range(HISTORY_DAYS, world.days))
    assert set(diary["executed"]) <= set(range(HISTORY_DAYS, world.days))
    for entry in diary["refreshes"]:
        assert diary["executed"].get(entry["day"], 0) <= entry["granted"]


def test_parameters_survive_a_round_trip() -> None:
    """Defaults are valid, and every parameter that is a number or a word of this policy's own is described."""
    defaults = TagPolicyParams()
    assert TagPolicyParams.model_validate(defaults.model_dump(mode="json")) == defaults
    for name, field in TagPolicyParams.model_fields.items():
        assert field.description or isinstance(getattr(defaults, name), type(defaults).__mro__[1]), name
