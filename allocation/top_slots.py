"""The plainest allocation: a policy's own order, from the top."""

import numpy as np

from simulator.batches import NO_EXPLANATION, NO_ITEM, UTILITY, Candidates, Requests, Responses, Slates
from simulator.environment.context import ObservedContext
from simulator.snapshots import Arrays


class TopSlots:
    """Shows the first ``requests.slots`` candidates as ranked, whatever channel they come from."""

    def refresh(self, day: int, context: ObservedContext) -> None:
        """Nothing to decide."""

    def observe(self, requests: Requests, slates: Slates, responses: Responses) -> None:
        """Nothing to learn."""

    def diary(self) -> None:
        """Nothing to tell."""

    def snapshot(self) -> Arrays:
        """Nothing to keep."""
        return {}

    def restore(self, kept: Arrays) -> None:
        """Nothing was kept."""

    def allocate(self, requests: Requests, candidates: Candidates) -> Slates:
        """See ``simulator.protocols.Allocator``."""
        slots = requests.slots
        missing = slots - candidates.items.shape[1]
        propensity, explanation = candidates.propensity, candidates.explanation
        if missing <= 0:
            return Slates(
                candidates.items[:, :slots],
                candidates.channel[:, :slots],
                None if propensity is None else propensity[:, :slots],
                None if explanation is None else explanation[:, :slots],
            )
        pad = ((0, 0), (0, missing))
        return Slates(
            np.pad(candidates.items, pad, constant_values=NO_ITEM),
            np.pad(candidates.channel, pad, constant_values=UTILITY),
            None if propensity is None else np.pad(propensity, pad),
            None if explanation is None else np.pad(explanation, pad, constant_values=NO_EXPLANATION),
        )
