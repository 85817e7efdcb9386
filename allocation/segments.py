"""Which segment a request is in: how active its user is, the city, and whether the weather is rough.

Made from what is observed. The world's own traits are not looked at.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simulator.batches import Ints, Requests
from simulator.environment.context import ObservedContext
from simulator.taxonomy import WEATHER_SIGNALS

TIERS = ("light", "medium", "heavy")
TIER_BOUNDS = (20, 60)
"""Interactions ever made at which a user counts as medium, and as heavy."""

ROUGH = 0.5
"""Level of rain, snow, heat, cold or wind from which a day counts as rough weather."""

_ROUGH_SIGNALS = [n for n, signal in enumerate(WEATHER_SIGNALS) if signal != "sun"]

CONTEXTS = ("fair weather", "rough weather")


@dataclass(frozen=True)
class Segments:
    """Activity tier x city x context.

    Attributes:
        cities: names of the cities.
    """

    cities: tuple[str, ...]

    @property
    def count(self) -> int:
        """Number of segments."""
        return len(TIERS) * len(self.cities) * len(CONTEXTS)

    @property
    def names(self) -> list[str]:
        """The segments in words, in order."""
        return [
            f"{tier} users, {city.replace('_', ' ').title()}, {context}"
            for tier in TIERS
            for city in self.cities
            for context in CONTEXTS
        ]

    def of_tier_and_city(self, value: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Values of tiers in cities, float64 [tiers, cities], as values of segments, alike in all contexts."""
        return np.repeat(value.reshape(-1), len(CONTEXTS))

    def rough_weather(self, context: ObservedContext) -> npt.NDArray[np.bool_]:
        """Whether the last day that ``context`` knows has rough weather, bool [cities]."""
        today = np.nan_to_num(context.weather_signals[:, -1, _ROUGH_SIGNALS])
        return np.asarray(today.max(axis=1) >= ROUGH)

    def of(self, requests: Requests) -> Ints:
        """Segment of each request, int64 [requests]; all of a batch lie on one day, as the engine plays them."""
        tier = np.digitize(requests.history.count[requests.row], TIER_BOUNDS)
        rough = self.rough_weather(requests.context)[requests.city]
        return (tier * len(self.cities) + requests.city) * len(CONTEXTS) + rough
