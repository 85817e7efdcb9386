"""The ``assignment`` block of an experiment: what is randomised, users, whole cities, or cities by the hour.

Knows keys and bounds, and what a design asks of the rest of a config. Assigns nobody.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationInfo, field_validator

from experiments.analysis_config import Analysis
from metrics.clusters import FEWEST
from metrics.definitions import resolve
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


class ByCityHours(Parameters):
    """A switchback: each city changes arms by blocks of hours."""

    unit: Literal["city_hours"] = Field(description="blocks of a city's hours are randomised (switchback)")
    hours: int = Field(ge=1, le=168, description="of a block: a divisor of 24, or whole days")
    burn_in_hours: int = Field(
        default=0, ge=0, description="hours at the beginning of each block whose visits are not counted"
    )

    @field_validator("hours")
    @classmethod
    def _fit_days(cls, hours: int) -> int:
        if (24 % hours if hours < 24 else hours % 24) != 0:
            raise ValueError(f"{hours} (blocks begin at midnight: use 1, 2, 3, 4, 6, 8, 12, 24, 48, 72, ...)")
        return hours

    @field_validator("burn_in_hours")
    @classmethod
    def _leave_something(cls, burn_in: int, info: ValidationInfo) -> int:
        hours = info.data.get("hours")
        if hours is not None and burn_in >= min(hours, 24):
            raise ValueError(
                f"{burn_in} of the {hours} hours of a block; count at least one, and leave out less than a day"
            )
        return burn_in


Assignment = Annotated[ByUser | ByCity | ByCityHours, Field(discriminator="unit")]


def city_mistakes(cities: int, per_climate: int, users: int, shares: Mapping[str, float]) -> Iterator[str]:
    """So few cities that an arm could have too few for an error, or so many that one could be empty, a line each."""
    for name, share in shares.items():
        if (count := int(cities * share + 1e-9)) < FEWEST:
            wanted = ceil(FEWEST / share / (cities // per_climate) - 1e-9)
            remedy = f"set world.cities_per_climate to {wanted} or more" if wanted <= MOST else "give it a larger share"
            yield (
                f"assignment.unit: city, but of {cities} cities arm {name!r} (share {share:g}) gets {count}, and an "
                f"error needs at least {FEWEST}; {remedy}"
            )
    if users < cities * FEWEST_USERS:
        yield (
            f"assignment.unit: city, with {users} users in {cities} cities; "
            f"set world.users to {cities * FEWEST_USERS} or more"
        )


def look_mistakes(unit: str, analysis: Analysis, days: int) -> Iterator[str]:
    """Readings of the test that hold for users alone, a line each; looks that no days have are not its business."""
    try:
        looks = analysis.sequential.days_of(days)
    except ValueError:
        return
    if len(looks) > 1:
        yield (
            f"analysis.sequential: {len(looks)} looks with assignment.unit {unit}; bounds of looks are for users "
            "randomised one by one, so use looks: 1 and a method that spends, such as obrien_fleming"
        )


def block_mistakes(
    design: ByCityHours,
    cities: int,
    days: int,
    follow_up_days: int,
    metrics: Sequence[str],
    shares: Mapping[str, float],
) -> Iterator[str]:
    """Blocks that do not fill the days or are too few, and what no block can tell, a line each."""
    hours = design.hours
    fill = days * 24 % hours == 0
    if not fill:
        whole = -(-days * 24 // hours) * hours // 24
        yield f"assignment.hours: {hours} does not divide the {days} days; set horizon.days to {whole}"
    if follow_up_days:
        yield (
            f"horizon.follow_up_days: {follow_up_days} with assignment.unit city_hours; users have no arm in which "
            "they could be watched, so use 0"
        )
    for metric in resolve(metrics):
        if metric.window is not None:
            yield (
                f"analysis.metrics: {metric.name!r} with assignment.unit city_hours; a user who meets all arms "
                "returns to none of them, so leave it out"
            )
    blocks = days * 24 // hours
    for name, share in shares.items() if fill else ():
        if (count := cities * int(blocks * share + 1e-9)) < FEWEST:
            yield (
                f"assignment.hours: {hours}, but of {blocks} blocks in {cities} cities arm {name!r} (share {share:g}) "
                f"gets {count}, and an error needs at least {FEWEST}; use shorter blocks or more days"
            )
