"""The clock: simpy drives days, near-line refreshes and day closes; a traffic pump plays the visits in between.

Between two events all the visits that fall due are played as struct-of-arrays batches.

One Python process a user would cost more than everything else together, so users are not processes: they are rows.
The engine knows one policy and no arm. Playing two arms is playing two simulations from copies of one state.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
import simpy

from simulator.answers import PolicyError, check_candidates, check_items
from simulator.arrivals import Traffic, traffic_of
from simulator.batches import DAY_SECONDS, NO_EXPLANATION, NO_ITEM, Ints, Ints32, Requests, Slates, read_only, sealed
from simulator.checkout import check_out
from simulator.environment.context import ObservedContext
from simulator.intent import draw_intents, intent_constants
from simulator.protocols import Allocator, Policy
from simulator.reader import Reader
from simulator.response import NOTHING_TO_READ, SECONDS_A_PAGE, Reading, respond, response_constants
from simulator.snapshots import Arrays, overwrite, prefixed, under
from simulator.state import State, new_state, observed_history
from simulator.streams import stream_key
from simulator.tables import Recorder
from simulator.world import World

Events = Generator[simpy.Event, None, None]


@dataclass
class VisitCount:
    """Every visit that fell due was served, or was lost because there was nothing to show."""

    drawn: int = 0
    served: int = 0
    lost: int = 0

    def add(self, other: "VisitCount") -> None:
        """Count what another simulation counted."""
        self.drawn += other.drawn
        self.served += other.served
        self.lost += other.lost


class Simulation:
    """Users of one shard, served by one policy.

    Args:
        world: the truth, already cut to the shard's users.
        state: their moving state, rows in the same order; written in place.
        policy, allocator: the guests.
        recorders: what is told of every checkout and page.
        day_closed: called after each day, before anything of the next one; the moment for a ``snapshot``.
    """

    def __init__(
        self,
        world: World,
        state: State,
        policy: Policy,
        allocator: Allocator,
        recorders: Sequence[Recorder] = (),
        day_closed: Callable[[int], None] | None = None,
    ) -> None:
        self.world = world
        self.state = state
        self.visits = VisitCount()
        self._policy = policy
        self._allocator = allocator
        self._recorders = recorders
        self._day_closed = day_closed
        self._users = world.user_arrays()
        self._items = world.item_arrays()
        self._traffic: Traffic = traffic_of(world)
        self._history = observed_history(state)
        self._observed: ObservedContext = world.environment.observed()
        self._context = self._observed
        behaviour = world.behaviour
        self._intent = intent_constants(behaviour.intent, stream_key(world.seed, "intent"))
        self._response = response_constants(
            behaviour.response, behaviour.feed, world.scenario, stream_key(world.seed, "response")
        )
        self._max_pages = behaviour.response.max_pages
        self._reader: Reader | None = None
        self._failure: Exception | None = None

    def run(self, start_day: int, end_day: int, kept: Arrays | None = None) -> None:
        """Play the days from ``start_day`` to ``end_day`` (exclusive).

        Args:
            start_day: the first day.
            end_day: the day after the last one.
            kept: the ``snapshot`` of another simulation like this one, taken when the day before ``start_day`` closed;
                what follows is then what would have followed there. None begins from the state as it is.

        Raises:
            PolicyError: an answer was no answer or of another shape or type, or held an unknown item or explanation,
                one item twice on a page, or something behind an empty place.
        """
        self._policy.begin(self.world.users)
        self._reader = None  # the policy may number its texts anew
        if kept is not None:
            self._restore(kept)
        clock = simpy.Environment(initial_time=start_day * DAY_SECONDS)
        for events in (self._days(clock), self._allocation(clock), self._pump(clock)):
            clock.process(self._overheard(events))
        try:
            clock.run(until=end_day * DAY_SECONDS)
        except Exception:
            if self._failure is None:
                raise
        if self._failure is not None:
            raise self._failure
        self._close(end_day - 1)

    def _overheard(self, events: Events) -> Events:
        """The same events; what fails in them is kept, since simpy raises a copy that does not say where."""
        try:
            yield from events
        except Exception as error:
            self._failure = error
            raise

    def snapshot(self) -> dict[str, np.ndarray] | None:
        """All that later days depend on: state, visits, recorders and guests. None if a guest cannot say.

        The arrays are those that are written to as play goes on: use them before ``day_closed`` returns.
        """
        policy, allocator = self._policy.snapshot(), self._allocator.snapshot()
        if policy is None or allocator is None:
            return None
        visits = self.visits
        arrays = {"visits": np.array([visits.drawn, visits.served, visits.lost], np.int64)}
        arrays |= prefixed("state", self.state._asdict())
        arrays |= prefixed("policy", policy) | prefixed("allocator", allocator)
        for n, recorder in enumerate(self._recorders):
            arrays |= prefixed(f"recorder{n}", recorder.snapshot())
        return arrays

    def _restore(self, kept: Arrays) -> None:
        for name, array in self.state._asdict().items():
            overwrite(array, kept[f"state/{name}"])
        self.visits = VisitCount(*kept["visits"].tolist())
        self._policy.restore(under("policy", kept))
        self._allocator.restore(under("allocator", kept))
        for n, recorder in enumerate(self._recorders):
            recorder.restore(under(f"recorder{n}", kept))

    def _days(self, clock: simpy.Environment) -> Events:
        """Each midnight: close yesterday, show the policy today's context for its near-line work."""
        first = True
        while True:
            today = int(clock.now) // DAY_SECONDS
            if not first:
                self._close(today - 1)
            first = False
            self._context = self._observed.until(today)  # the future is not there to be read
            self._policy.refresh(today, self._context)
            yield clock.timeout(DAY_SECONDS)

    def _allocation(self, clock: simpy.Environment) -> Events:
        """Each midnight: let the allocator decide anew, from what it has seen."""
        while True:
            today = int(clock.now) // DAY_SECONDS
            self._allocator.refresh(today, self._observed.until(today))
            yield clock.timeout(DAY_SECONDS)

    def _close(self, day: int) -> None:
        if self._day_closed is not None:
            self._day_closed(day)

    def _pump(self, clock: simpy.Environment) -> Events:
        """Play the visits due before the next event of any other process."""
        while True:
            while clock.peek() <= clock.now:
                yield clock.timeout(0)  # let everything else that happens now happen first
            until = int(clock.peek())
            while True:
                due = np.flatnonzero(self.state.next_time < until)
                if len(due) == 0:
                    break
                self._play(due)
            yield clock.timeout(until - clock.now)

    def _play(self, row: Ints) -> None:
        """Play one visit of each row: the checkout of its cart, then page by page."""
        arrival = self.state.next_time[row]
        self.state.visit_value[row] = 0.0
        checkouts = check_out(self._users, self._items, self.state, row, arrival, self._response)
        if checkouts is not None:
            for recorder in self._recorders:
                recorder.checkouts(checkouts)
        draw_intents(
            self._users,
            self._items,
            self.world.needs,
            self.world.baskets,
            self.state,
            row,
            arrival,
            self._intent,
        )
        self.visits.drawn += len(row)
        here, since = row, arrival
        budget = self._traffic.pages(row, arrival)
        already = np.zeros((len(row), 0), np.int32)
        for page in range(self._max_pages):
            time = since + page * SECONDS_A_PAGE
            requests = self._requests(here, time, since // DAY_SECONDS, page, already)
            candidates = self._policy.candidates(requests)
            check_candidates(self._policy, candidates, requests)
            slates = self._allocator.allocate(requests, candidates)
            self._check(slates, requests)
            something = slates.items[:, 0] != NO_ITEM
            if page == 0:
                self.visits.lost += len(something) - int(np.count_nonzero(something))
            responses = respond(
                self._users,
                self._items,
                self.world.needs,
                self.state,
                here,
                since,
                page,
                page + 1 == self._max_pages,
                slates.items,
                self._response,
                self._read(slates, here, since),
            )
            if budget is not None:
                responses.leaves[page + 1 >= budget] = True
            self._allocator.observe(requests, slates, responses)
            for recorder in self._recorders:
                recorder.page(requests, slates, responses)
            stays = (something & ~responses.leaves).nonzero()[0]
            if len(stays) == 0:
                break
            here, since = here[stays], since[stays]
            budget = None if budget is None else budget[stays]
            seen = np.where(responses.shown[stays], slates.items[stays], NO_ITEM)
            already = np.concatenate([already[stays], seen], axis=1)
        self.visits.served = self.visits.drawn - self.visits.lost
        self._traffic.close_visits(self.state, row, arrival)

    def _requests(self, row: Ints, time: Ints, day: Ints, page: int, already: Ints32) -> Requests:
        observed = self.world.population.observed
        return Requests(
            row=read_only(row),
            user=sealed(observed.user[row]),
            visit=sealed(self.state.visit[row]),
            page=page,
            slots=self.world.slots,
            max_pages=self._max_pages,
            time=sealed(time),
            day=sealed(day),
            city=sealed(observed.city[row]),
            users=observed,
            history=self._history,
            context=self._context,
            already=already,
        )

    def _read(self, slates: Slates, row: Ints, since: Ints) -> Reading:
        """What users make of the explanations on their pages, if there are any."""
        texts = slates.explanation
        if texts is None or texts.size == 0 or texts.max() == NO_EXPLANATION:
            return NOTHING_TO_READ
        known = self._policy.explanations()
        if texts.max() >= len(known):
            raise PolicyError(
                f"{type(self._policy).__name__}: explanation {texts.max()} (explanations() holds {len(known)} texts)"
            )
        if self.world.behaviour.response.explanation == 0.0:
            return NOTHING_TO_READ
        if self._reader is None:
            self._reader = Reader(self.world)
        self._reader.learn(known)
        return self._reader.read(self.state, row, since, slates)

    def _check(self, slates: Slates, requests: Requests) -> None:
        items = slates.items
        name = type(self._policy).__name__
        if items.shape != (len(requests), requests.slots):
            raise PolicyError(f"{name}: slates of shape {items.shape}, wanted {(len(requests), requests.slots)}")
        check_items(self._policy, items, self.world.catalog.items)
        texts = slates.explanation
        if texts is None:
            return
        if texts.shape != items.shape:
            raise PolicyError(f"{name}: explanations of shape {texts.shape}, wanted {items.shape}")
        if texts.size and (texts.min() < NO_EXPLANATION or (texts[items == NO_ITEM] != NO_EXPLANATION).any()):
            raise PolicyError(f"{name}: an explanation below {NO_EXPLANATION}, or one of an empty place")


def opening_state(world: World, start_day: int) -> State:
    """Users who have done nothing yet, with their first visits at or after ``start_day`` set."""
    state = new_state(world.users, world.catalog.items, world.behaviour.returning.neutral, start_day * DAY_SECONDS)
    traffic_of(world).open(state, start_day * DAY_SECONDS)
    return state
