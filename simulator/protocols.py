"""What the world asks of its guests. The world imports none of them; the runner brings them in."""

from collections.abc import Sequence
from typing import Any, Protocol

from simulator.batches import (
    Candidates,
    InteractionLog,
    ObservedCatalog,
    ObservedUsers,
    Requests,
    Responses,
    Slates,
)
from simulator.environment.context import ObservedContext
from simulator.snapshots import Arrays


class Policy(Protocol):
    """Who recommends.

    A policy is fitted once on the logged history of all users and then serves shards of them, so nothing it learns
    while serving may pass from one user to another: what it answers for a user is a function of the fit and of that
    user's own requests.
    """

    def fit(
        self, log: InteractionLog, catalog: ObservedCatalog, users: ObservedUsers, context: ObservedContext
    ) -> None:
        """Learn from the log. ``users`` holds every user, row = user id; ``context`` ends with the log."""
        ...

    def begin(self, rows: int) -> None:
        """Serving starts for ``rows`` users: forget whatever was kept for earlier requests."""
        ...

    def refresh(self, day: int, context: ObservedContext) -> None:
        """Near-line work at the start of a day, once that day's context is known."""
        ...

    def candidates(self, requests: Requests) -> Candidates:
        """Rank items for each request; at least ``requests.slots`` of them."""
        ...

    def explanations(self) -> Sequence[str]:
        """Texts by the ids that candidates carry; only ever appended to between one ``begin`` and the next."""
        ...

    def snapshot(self) -> Arrays | None:
        """At the end of a day: what ``begin`` would forget and later days depend on. None if it cannot say.

        Arrays of numbers or texts, none of objects; they may be those that go on being written to.
        """
        ...

    def restore(self, kept: Arrays) -> None:
        """Just begun, with the same fit: go on from what ``snapshot`` gave. ``refresh`` comes next."""
        ...


class Allocator(Protocol):
    """Who decides which candidates are exposed.

    An allocator may learn from the responses it is shown. One that lets what it learns from a user reach another must
    be given all of its users in one simulation.
    """

    def refresh(self, day: int, context: ObservedContext) -> None:
        """Daily work at the start of a day, once that day's context is known."""
        ...

    def observe(self, requests: Requests, slates: Slates, responses: Responses) -> None:
        """One page was shown to each request and answered."""
        ...

    def diary(self) -> dict[str, Any] | None:
        """What it wrote down, as plain values for the report; None if nothing."""
        ...

    def snapshot(self) -> Arrays | None:
        """As for ``Policy``: what it learned and wrote down so far."""
        ...

    def restore(self, kept: Arrays) -> None:
        """Newly made, with the same arguments: go on from what ``snapshot`` gave. ``refresh`` comes next."""
        ...

    def allocate(self, requests: Requests, candidates: Candidates) -> Slates:
        """Fill ``requests.slots`` places a request from its candidates; each keeps what came with it."""
        ...
