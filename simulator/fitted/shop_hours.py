"""When a shop is busy: its hours by weekday, its holidays and its closing days, as a clock that runs while it is busy.

One unit of business time is an average day of the days fitted to. A process with a constant rate in business time then
comes when customers come, and not at all while the shop is closed. Knows no customers.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import holidays
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

HOUR: Final = 3_600
_HOURS: Final = 24
_SURELY_CLOSED: Final = 10.0
"""Visits expected on a day from which none at all means that the shop was closed (Poisson, 5 in 100,000)."""


@dataclass(frozen=True)
class ShopHours:
    """How busy a shop is.

    Attributes:
        start: day 0 of the log.
        country: ISO code whose public holidays count.
        hourly: visits expected in each hour of each weekday (Monday first) as shares of an average day, [7, 24].
        holiday: what is left of a day that is a public holiday, 0 to 1.
        closed: month and day of days without a visit that would have had many; closed every year.
    """

    start: date
    country: str
    hourly: Floats
    holiday: float
    closed: frozenset[tuple[int, int]]

    def business_time(self, days: int) -> Floats:
        """Business time gone by at the beginning of each hour of ``days`` days, and at their end, [24 days + 1]."""
        weekday = (self.start.weekday() + np.arange(days)) % 7
        busy = self.hourly[weekday] * self._open(days)[:, None]
        return np.concatenate([[0.0], np.cumsum(busy.ravel())])

    def _open(self, days: int) -> Floats:
        """What is left of each day, 0 to 1, [days]."""
        dates = [self.start + timedelta(days=day) for day in range(days)]
        return np.array(
            [
                0.0 if (day.month, day.day) in self.closed else self.holiday if free else 1.0
                for day, free in zip(dates, _public_holidays(self.start, days, self.country), strict=True)
            ]
        )


def fit_shop_hours(start: date, time: Integers, days: int, country: str) -> ShopHours:
    """Fit a shop's hours to its visits.

    Hours of a weekday are the visits counted then over the number of such days on which the shop was open. That no
    customer came between two busy hours is taken for what will be so again.

    Args:
        start: day 0.
        time: of the visits, seconds from day 0, [visits]; all within the days.
        days: days fitted to, at least 7.
        country: ISO code whose public holidays count.

    Raises:
        ValueError: there are fewer than 7 days, or no visits.
    """
    if days < 7 or not len(time):
        raise ValueError(f"shop hours: {days} days with {len(time)} visits; fit to a week at least, with visits")
    weekday = (start.weekday() + np.arange(days)) % 7
    day = time // (HOUR * _HOURS)
    visits = np.bincount(day, minlength=days).astype(np.float64)
    free = np.array(_public_holidays(start, days, country))
    usual = np.array([np.median(visits[weekday == d]) for d in range(7)])[weekday]
    shut = (visits == 0.0) & (usual >= _SURELY_CLOSED) & ~free
    plain = ~free & ~shut
    hourly = np.zeros((7, _HOURS))
    np.add.at(hourly, (weekday[day], time // HOUR % _HOURS), plain[day].astype(np.float64))
    hourly /= np.maximum(np.bincount(weekday[plain], minlength=7), 1)[:, None]
    expected = float(hourly.sum(axis=1)[weekday[free]].sum())
    holiday = min(float(visits[free].sum()) / expected, 1.0) if expected > 0.0 else 1.0
    dates = [start + timedelta(days=int(n)) for n in np.flatnonzero(shut)]
    closed = frozenset((each.month, each.day) for each in dates)
    hours = ShopHours(start, country, hourly, holiday, closed)
    average = hours.business_time(days)[-1] / days
    return ShopHours(start, country, hourly / average, holiday, closed)


def to_business(clock: Floats, time: Integers) -> Floats:
    """Business time at moments given in seconds, [moments]; ``clock`` as ``ShopHours.business_time`` gives it."""
    return np.asarray(np.interp(time / HOUR, np.arange(len(clock)), clock))


def to_seconds(clock: Floats, business: Floats) -> Integers:
    """The seconds at which moments of business time come, whole minutes, [moments].

    Raises:
        ValueError: a moment lies beyond the clock's end.
    """
    if len(business) and business.max() > clock[-1]:
        raise ValueError(f"business time: {business.max()} (the clock ends at {clock[-1]}; give it more days)")
    hour = np.searchsorted(clock, business, side="left") - 1
    hour = np.clip(hour, 0, len(clock) - 2)
    within = (business - clock[hour]) / np.maximum(clock[hour + 1] - clock[hour], 1e-300)
    minute = np.minimum((within * 60).astype(np.int64), 59)
    return hour.astype(np.int64) * HOUR + minute * 60


def _public_holidays(start: date, days: int, country: str) -> list[bool]:
    years = range(start.year, (start + timedelta(days=days)).year + 1)
    listed = holidays.country_holidays(country, years=years)
    return [start + timedelta(days=day) in listed for day in range(days)]
