"""The ``assignment`` block of an experiment: what is randomised, users or whole cities.

Knows keys and bounds, and what a design asks of the rest of a config. Assigns nobody.
"""

from collections.abc import Mapping
from math import ceil
from typing import Annotated, Final, Literal

from pydantic import Field

from experiments.analysis_config import Analysis
from metrics.clusters import FEWEST
from simulator.parameters import Parameters

MOST: Final = 200
"""Cities of one climate."""
FEWEST_USERS: Final = 10
"""Users of a city, on average, below which a city could be without anybody."""


class ByUser(Parameters):
    """Each user meets one arm."""

    unit: Literal["user"] = Field(default="user", description="users are randomised one by one")


class ByCity(Parameters):
    """All users of a city meet one arm."""

    unit: Literal["city"] = Field(description="whole cities are randomised")


Assignment = Annotated[ByUser | ByCity, Field(discriminator="unit")]


def check_cities(cities: int, per_climate: int, users: int, shares: Mapping[str, float]) -> None:
    """Refuse so few cities that an arm could have too few for an error, or so many that one could be empty.

    Raises:
        ValueError: naming the key, and the value that would do.
    """
    for name, share in shares.items():
        if (count := int(cities * share + 1e-9)) < FEWEST:
            wanted = ceil(FEWEST / share / (cities // per_climate) - 1e-9)
            remedy = f"set world.cities_per_climate to {wanted} or more" if wanted <= MOST else "give it a larger share"
            raise ValueError(
                f"assignment.unit: city, but of {cities} cities arm {name!r} (share {share:g}) gets {count}, and an "
                f"error needs at least {FEWEST}; {remedy}"
            )
    if users < cities * FEWEST_USERS:
        raise ValueError(
            f"assignment.unit: city, with {users} users in {cities} cities; "
            f"set world.users to {cities * FEWEST_USERS} or more"
        )


def check_analysis(unit: str, analysis: Analysis, days: int) -> None:
    """Refuse readings of the test that hold for users alone.

    Raises:
        ValueError: naming the key and what would do.
    """
    looks = analysis.sequential.days_of(days)
    if len(looks) > 1:
        raise ValueError(
            f"analysis.sequential: {len(looks)} looks with assignment.unit {unit}; bounds of looks are for users "
            "randomised one by one, so use looks: 1 and a method that spends, such as obrien_fleming"
        )
