"""What the world asks of its guests. The world imports none of them; the runner brings them in."""

from typing import Protocol

from simulator.batches import Candidates, InteractionLog, ObservedCatalog, ObservedUsers, Requests, Slates
from simulator.environment.context import ObservedContext


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


class Allocator(Protocol):
    """Who decides which candidates are exposed."""

    def allocate(self, requests: Requests, candidates: Candidates) -> Slates:
        """Fill ``requests.slots`` places a request from its candidates."""
        ...
