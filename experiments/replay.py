"""Held-out visits of a log played again, as they were, to a policy that is asked what it would have shown.

Nobody responds here. At the moment of each visit the policy answers from what was known just then, earlier held-out
visits included, and what really happened is written into the users' histories. Knows no metric.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from experiments.guests import blaming
from metrics.offline import ItemLists
from policies.registry import RegisteredPolicy
from policies.thoughts import NO_TAG, Thoughts
from simulator.answers import PolicyError, check_candidates, check_items
from simulator.batches import (
    COGNITIVE,
    DAY_SECONDS,
    NO_ITEM,
    UTILITY,
    Candidates,
    InteractionLog,
    Ints,
    Ints32,
    Requests,
)
from simulator.intent import draw_intents, intent_constants
from simulator.shards import Tick
from simulator.state import State, new_state, observed_history, write_all_shown, write_events
from simulator.streams import Stream, stream_key
from simulator.truth import Truth
from simulator.world import World

WIDTH = 200
"""Items ranked for each visit: deep enough to hold 30 categories in nearly every ranking."""

_GAP_SECONDS = 1800


@runtime_checkable
class Thinks(Protocol):
    """A policy that thinks in tags and tells what it thought.

    Attributes:
        vocabulary: its tags; ``vocabulary.category`` is the category of each, int32 [tags].
    """

    vocabulary: Any

    def thoughts(self, requests: Requests) -> Thoughts:
        """What the policy has in mind for each of these users, its near-line work done."""
        ...


@dataclass(frozen=True)
class Visits:
    """Held-out visits with at least one interaction on a page, in time order.

    Attributes:
        user, time: int64 [visits].
        visit: id of the visit, unique for a user, int64 [visits].
        targets: the distinct items interacted with, in the order of the log.
    """

    user: Ints
    time: Ints
    visit: Ints
    targets: ItemLists

    def __len__(self) -> int:
        """Number of visits."""
        return len(self.user)

    def take(self, rows: Ints) -> "Visits":
        """Some of the visits, in the order given."""
        offsets = self.targets.offsets
        sizes = offsets[rows + 1] - offsets[rows]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        index = np.repeat(offsets[rows] - starts[:-1], sizes) + np.arange(starts[-1])
        return Visits(self.user[rows], self.time[rows], self.visit[rows], ItemLists(starts, self.targets.items[index]))


def by_arrival(log: InteractionLog) -> InteractionLog:
    """The log as it entered the users' histories: visit after visit, each at the time at which it began.

    An impression log tells the time of each page; the simulation writes all of a visit under its arrival. A ledger
    knows no visits and is returned as it is. The interactions of the result that were on a page are its clicked
    impressions, in order.
    """
    shown = log.impressions
    if shown is None:
        return log
    _, which = np.unique(shown.user * (int(shown.visit.max(initial=0)) + 1) + shown.visit, return_inverse=True)
    arrival = np.full(int(which.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(arrival, which, shown.time)
    time = arrival[which]
    order = np.argsort(time, kind="stable")
    met = log.time.copy()  # purchases from the cart are made on arrival
    met[log.on_page] = time[shown.clicked]
    inner = np.argsort(met, kind="stable")
    return replace(
        log,
        user=log.user[inner],
        item=log.item[inner],
        time=met[inner],
        kind=log.kind[inner],
        from_cart=None if log.from_cart is None else log.from_cart[inner],
        impressions=replace(
            shown,
            user=shown.user[order],
            visit=shown.visit[order],
            item=shown.item[order],
            time=time[order],
            position=shown.position[order],
            clicked=shown.clicked[order],
            propensity=shown.propensity[order],
        ),
    )


def held_out_visits(log: InteractionLog, split: int) -> Visits:
    """Visits at or after ``split`` (seconds) of users with an interaction before it, and what they met on their pages.

    Args:
        log: as ``by_arrival`` gives it. Its impressions tell visits apart; in a ledger, whose entries of one visit
            share a time, a gap of half an hour begins a new one.
        split: seconds since the horizon's start.
    """
    returning = np.zeros(int(log.user.max(initial=-1)) + 1, np.bool_)
    returning[log.user[log.time < split]] = True
    shown = log.impressions
    identity = np.full(len(log.user), -1)
    if shown is not None:
        identity[log.on_page] = shown.visit[shown.clicked]
    chosen = np.flatnonzero((log.time >= split) & returning[log.user] & log.on_page)
    chosen = chosen[np.lexsort((log.time[chosen], log.user[chosen]))]
    user, time = log.user[chosen], log.time[chosen]
    first = np.ones(len(chosen), np.bool_)
    later = (identity[chosen][1:] != identity[chosen][:-1]) if shown else (time[1:] - time[:-1] >= _GAP_SECONDS)
    first[1:] = (user[1:] != user[:-1]) | later
    visit = np.cumsum(first) - 1
    _, once = np.unique(np.stack([visit, log.item[chosen]]), axis=1, return_index=True)
    once = np.sort(once)
    visit, chosen = visit[once], chosen[once]
    starts = np.flatnonzero(np.diff(visit, prepend=-1))
    found = Visits(
        user=log.user[chosen[starts]],
        time=log.time[chosen[starts]],
        visit=identity[chosen[starts]] if shown else np.arange(len(starts)),
        targets=ItemLists(np.append(starts, len(visit)), log.item[chosen].astype(np.int64)),
    )
    return found.take(np.lexsort((found.user, found.time)))


def draw_visits(visits: Visits, most: int | None, seed: int) -> Ints:
    """Rows of the visits at which policies are asked: all, or ``most`` drawn without replacement, in time order.

    Whether a visit is drawn depends on the seed, its user and its time, and on how the others fared.
    """
    if most is None or most >= len(visits):
        return np.arange(len(visits))
    draw = Stream(seed, "evaluation/visits").uniform(visits.user, visits.time)
    return np.sort(np.argsort(draw, kind="stable")[:most])


@dataclass(frozen=True)
class RankingTask:
    """One policy over the held-out visits.

    Attributes:
        world: the world of the log, or the one made from it.
        policy: fitted on the log before ``split``.
        name: of the policy in the evaluation.
        log: all of it, as ``by_arrival`` gives it.
        split: where the held-out days begin, seconds.
        visits: the held-out visits.
        asked: rows of those at which the policy is asked, ascending.
    """

    world: World
    policy: RegisteredPolicy
    name: str
    log: InteractionLog
    split: int
    visits: Visits
    asked: Ints


@dataclass(frozen=True)
class Channels:
    """The two channels of a policy's candidates, best first, NO_ITEM as padding: int32 [asked, candidates]."""

    utility: Ints32
    cognitive: Ints32


@dataclass(frozen=True)
class Tags:
    """What a policy thought, and what its tags are.

    Attributes:
        thoughts: of the asked visits.
        category: of each tag, int32 [tags].
        vectors: embedding of each tag, float [tags, width], or None where the policy has none.
    """

    thoughts: Thoughts
    category: Ints32
    vectors: npt.NDArray[np.floating[Any]] | None


@dataclass(frozen=True)
class Explanations:
    """What was said of candidates.

    Attributes:
        items: the candidates, int32 [asked, candidates].
        texts: id of each one's explanation, -1 where it has none, likewise.
        wording: the texts by id.
    """

    items: Ints32
    texts: Ints32
    wording: tuple[str, ...]


@dataclass(frozen=True)
class Answers:
    """What a policy answered at the asked visits.

    Attributes:
        ranked: its ranking, int32 [asked, width]; of two channels, all candidates by estimated click.
        seen: the items each user had met before.
        channels: None for a policy with one channel.
        tags: None for a policy that does not think in tags.
        explanations: None where nothing was explained.
    """

    ranked: Ints32
    seen: ItemLists
    channels: Channels | None
    tags: Tags | None
    explanations: Explanations | None


def rank_visits(task: RankingTask, tick: Tick) -> Answers:
    """Replay the held-out days: let what a user did before a visit happen, then ask the policy.

    A policy with one channel ranks ``WIDTH`` items. One with two is asked for what the pages of a visit can hold, as
    when it serves: how long its utility channel is decides which cognitive candidates are twins.

    A policy that knows the truth is shown it: the purpose of a visit is drawn again from the stream it was drawn from
    when the log was simulated, on the same visit id and history, so it is the purpose that visit had.

    Raises:
        PolicyFaultError: a policy that is not of this project failed, or gave what cannot be judged.
    """
    with blaming({f"policies.{task.name}": task.policy}):
        return _replay(task, tick)


def _replay(task: RankingTask, tick: Tick) -> Answers:
    world, visits, policy = task.world, task.visits, task.policy
    state = new_state(world.users, world.catalog.items, world.behaviour.returning.neutral)
    ahead = _Ahead(task.log, state)
    ahead.happen(np.full(world.users, task.split))
    reveal = _revealing(policy, world, state)
    history, context = observed_history(state), world.environment.observed()
    asked = np.zeros(len(visits), np.bool_)
    asked[task.asked] = True
    place = np.cumsum(asked) - 1
    heard = _Heard(policy, world.catalog.items)
    day_of = visits.time // DAY_SECONDS
    policy.begin(world.users)
    for day in range(int(task.split // DAY_SECONDS), int(day_of.max()) + 1):
        today = context.until(int(day))
        policy.refresh(int(day), today)
        waiting = np.flatnonzero(day_of == day)
        while len(waiting):
            _, first = np.unique(visits.user[waiting], return_index=True)
            batch = waiting[np.sort(first)]  # each user's next visit; a later one of the day waits for it
            now = np.full(world.users, -1)
            now[visits.user[batch]] = visits.time[batch]
            ahead.happen(now)
            chosen = batch[asked[batch]]
            if len(chosen):
                reveal(visits.user[chosen], visits.visit[chosen], visits.time[chosen])
                user = visits.user[chosen]
                requests = Requests(
                    row=user,
                    user=user,
                    visit=visits.visit[chosen],
                    page=0,
                    slots=world.slots if policy.two_channels else min(WIDTH, world.catalog.items),
                    max_pages=world.behaviour.response.max_pages if policy.two_channels else 1,
                    time=visits.time[chosen],
                    day=np.full(len(chosen), day),
                    city=world.population.observed.city[user],
                    users=world.population.observed,
                    history=history,
                    context=today,
                    already=np.zeros((len(chosen), 0), np.int32),
                )
                heard.ask(requests, place[chosen], state)
            waiting = np.setdiff1d(waiting, batch)
        tick()
    return heard.answers()


class _Ahead:
    """The part of a log that is not yet in the users' histories.

    Args:
        log: as ``by_arrival`` gives it.
        state: what it is written into.
    """

    def __init__(self, log: InteractionLog, state: State) -> None:
        self._state = state
        self._done = log.user, log.item, log.kind, log.time, log.known_from
        self._vain: tuple[Ints, Ints32, Ints] | None = None
        if log.impressions is not None:
            shown = log.impressions
            vain = ~shown.clicked
            self._vain = shown.user[vain], shown.item[vain], shown.time[vain]

    def happen(self, until: Ints) -> None:
        """Write what each user did, and was shown in vain, of which a visit at ``until`` knows, int64 [users]."""
        user, item, kind, time, known = self._done
        due = known <= until[user]
        write_events(self._state, user[due], item[due], kind[due], time[due])
        self._done = user[~due], item[~due], kind[~due], time[~due], known[~due]
        if self._vain is not None:
            user, item, time = self._vain
            due = time < until[user]
            write_all_shown(self._state, user[due], item[due])
            self._vain = user[~due], item[~due], time[~due]


def _revealing(policy: RegisteredPolicy, world: World, state: State) -> Callable[[Ints, Ints, Ints], None]:
    """What is done before a batch (user, visit, time) so that a policy which knows the truth sees that of now."""
    if not policy.knows_truth:
        return lambda user, visit, time: None
    policy.bind_truth(Truth(world, state))  # type: ignore[attr-defined]
    users, items = world.user_arrays(), world.item_arrays()
    constants = intent_constants(world.behaviour.intent, stream_key(world.seed, "intent"))

    def reveal(user: Ints, visit: Ints, time: Ints) -> None:
        state.visit[user] = visit
        draw_intents(users, items, world.needs, world.baskets, state, user, time, constants)

    return reveal


class _Heard:
    """Collects a policy's answers, batch by batch.

    Args:
        policy: who answers.
        items: how many there are.
    """

    def __init__(self, policy: RegisteredPolicy, items: int) -> None:
        self._policy = policy
        self._items = items
        self._rows: list[Ints] = []
        self._parts: dict[str, list[npt.NDArray[Any]]] = {}
        self._seen: list[Ints] = []
        self._thoughts: list[Thoughts] = []

    def ask(self, requests: Requests, rows: Ints, state: State) -> None:
        """Ask for one batch, whose answers belong in these rows.

        Raises:
            PolicyError: an answer is none, or holds an unknown item or one twice.
        """
        answer = self._policy.candidates(requests)
        check_candidates(self._policy, answer, requests)
        check_items(self._policy, answer.items, self._items)
        self._rows.append(rows)
        if self._policy.two_channels:
            self._keep("ranked", _by_click(answer, type(self._policy).__name__))
            self._keep("utility", _of_channel(answer, UTILITY))
            self._keep("cognitive", _of_channel(answer, COGNITIVE))
        else:
            self._keep("ranked", answer.items[:, : requests.slots])
        if answer.explanation is not None:
            self._keep("items", answer.items)
            self._keep("texts", answer.explanation)
        if isinstance(self._policy, Thinks):
            self._thoughts.append(self._policy.thoughts(requests))
        known = np.unpackbits(state.interacted[requests.user].view(np.uint8), axis=1, bitorder="little")
        self._seen += [np.flatnonzero(each) for each in known]

    def answers(self) -> Answers:
        """All answers, in the order of the asked visits."""
        order = np.argsort(np.concatenate(self._rows), kind="stable")
        seen = [self._seen[row] for row in order]
        whole = {name: _joined(parts, NO_ITEM)[order] for name, parts in self._parts.items()}
        policy = self._policy
        tags = None
        if isinstance(policy, Thinks):
            vectors = getattr(policy, "tag_vectors", None)
            tags = Tags(_joined_thoughts(self._thoughts).take(order), policy.vocabulary.category, vectors)
        offsets = np.concatenate([[0], np.cumsum([len(each) for each in seen])]).astype(np.int64)
        return Answers(
            ranked=whole["ranked"],
            seen=ItemLists(offsets, np.concatenate([*seen, np.zeros(0, np.int64)])),
            channels=Channels(whole["utility"], whole["cognitive"]) if policy.two_channels else None,
            tags=tags,
            explanations=Explanations(whole["items"], whole["texts"], tuple(policy.explanations()))
            if "texts" in whole
            else None,
        )

    def _keep(self, name: str, part: npt.NDArray[Any]) -> None:
        self._parts.setdefault(name, []).append(part.copy())


def _by_click(answer: Candidates, name: str) -> Ints32:
    """The candidates of both channels, the likeliest click first; ties as the policy has them."""
    if answer.click is None:
        raise PolicyError(f"{name}: two channels and no estimates of a click to rank their candidates by")
    order = np.argsort(np.where(answer.items != NO_ITEM, -answer.click, np.inf), axis=1, kind="stable")
    return np.take_along_axis(answer.items, order, axis=1)


def _of_channel(answer: Candidates, channel: int) -> Ints32:
    """The candidates of one channel in their order, padded to the width of all."""
    mine = (answer.channel == channel) & (answer.items != NO_ITEM)
    order = np.argsort(~mine, axis=1, kind="stable")
    return np.take_along_axis(np.where(mine, answer.items, NO_ITEM).astype(np.int32), order, axis=1)


def _joined(parts: Sequence[npt.NDArray[Any]], fill: int) -> npt.NDArray[Any]:
    """Arrays one below the other, filled up to the widest."""
    shape = np.max([part.shape[1:] for part in parts], axis=0)
    out = np.full((sum(map(len, parts)), *shape), fill, parts[0].dtype)
    begin = 0
    for part in parts:
        out[(slice(begin, begin + len(part)), *map(slice, part.shape[1:]))] = part
        begin += len(part)
    return out


def _joined_thoughts(parts: Sequence[Thoughts]) -> Thoughts:
    """The thoughts of several batches, one after the other."""
    return Thoughts(
        tags=_joined([part.tags for part in parts], NO_TAG),
        proposed=_joined([part.proposed for part in parts], NO_TAG),
        generated=np.concatenate([part.generated for part in parts]),
        invalid=np.concatenate([part.invalid for part in parts]),
        parts=tuple(each for part in parts for each in part.parts),
        style=tuple(each for part in parts for each in part.style),
        prompt_tokens=np.concatenate([part.prompt_tokens for part in parts]),
        cached_tokens=np.concatenate([part.cached_tokens for part in parts]),
        generated_tokens=np.concatenate([part.generated_tokens for part in parts]),
        flops=np.concatenate([part.flops for part in parts]),
    )
