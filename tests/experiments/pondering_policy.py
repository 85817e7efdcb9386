"""A policy that keeps a diary without any model; a module of its own, so that worker processes can import it."""

from typing import Any, ClassVar

import numpy as np

from policies.popularity import Popularity, PopularityParams
from policies.registry import register_policy
from simulator.batches import Floats, InteractionLog, Ints32, ObservedCatalog, ObservedUsers, Requests
from simulator.environment.context import ObservedContext
from simulator.parameters import Parameters

EVERY = 40
"""Users between two whose thoughts are kept."""


class PonderingParams(PopularityParams):
    """Parameters of ``pondering``."""

    prompt: int = 100


@register_policy("pondering")
class Pondering(Popularity):
    """Popularity that thinks once about each user, at the first visit, and pays for it by the user's number."""

    Params: ClassVar[type[Parameters]] = PonderingParams

    def fit(
        self, log: InteractionLog, catalog: ObservedCatalog, users: ObservedUsers, context: ObservedContext
    ) -> None:
        """Count, and remember how many users there are."""
        super().fit(log, catalog, users, context)
        self._users = len(users.user)

    def begin(self, rows: int) -> None:
        """Forget everything."""
        super().begin(rows)
        self._known = np.zeros(rows, np.bool_)
        self._days: list[dict[str, Any]] = []
        self._executed: dict[int, int] = {}
        self._samples: list[dict[str, Any]] = []
        self._read = 0

    def refresh(self, day: int, context: ObservedContext) -> None:
        """Everybody is due on the first day."""
        age = float(len(self._days))
        counts = {"due_age": self._users if not self._days else 0, "due_change": 0, "granted": 0, "waiting": 0}
        self._days.append({"day": day, **counts, "mean_age_days": age, "p90_age_days": age})

    def rank(self, requests: Requests, width: int) -> tuple[Ints32, Floats]:
        """Think about whom was not thought about, then rank by popularity."""
        for n in np.flatnonzero(~self._known[requests.row]):
            user, day = int(requests.user[n]), int(requests.day[n])
            self._executed[day] = self._executed.get(day, 0) + 1
            self._read += self.params.prompt + user
            if user % EVERY == 0:
                self._samples.append(
                    {
                        "user": user,
                        "day": day,
                        "profile": f"user number {user}",
                        "context": "rain",
                        "parts": [{"name": "habits", "tags": ["dog food", "dog leash"]}],
                        "chosen": ["dog food"],
                        "dropped": ["dog leash"],
                        "style": "plain",
                        "explanations": [{"item": "Leash", "text": "For the dog."}],
                    }
                )
        self._known[requests.row] = True
        return super().rank(requests, width)

    def diary(self) -> dict[str, Any] | None:
        """See ``RegisteredPolicy``."""
        jobs = sum(self._executed.values())
        counts = {"prompt_tokens": self._read, "cached_tokens": 0, "generated_tokens": jobs, "flops": 7 * jobs}
        return {
            "ledger": {
                "roles": {"route": {"calls": jobs, **counts}} if jobs else {},
                "jobs": {"refresh": {"jobs": jobs, "depth_calls": jobs, "depth_tokens": jobs}} if jobs else {},
                "truncated": 0,
            },
            "refreshes": self._days,
            "executed": self._executed,
            "samples": self._samples,
            "fidelity": None,
        }

    def seconds(self) -> dict[str, float]:
        """See ``RegisteredPolicy``."""
        return {"route": 1.5}
