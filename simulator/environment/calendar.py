"""The calendar of a country: which occasions are near, which days are public holidays, how busy a shop is.

Everything here is known in advance to everybody and holds no randomness. The module does not know what an
occasion makes people want (the taxonomy does), nor the rhythm of the hours and weekdays (arrivals do).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import holidays
import numpy as np
import numpy.typing as npt
import yaml

from simulator.taxonomy import OCCASIONS

Floats = npt.NDArray[np.float64]

NEVER: Final = 10_000
LOOK_AHEAD_DAYS: Final = 400
FIRST_YEAR: Final = 2002
LAST_YEAR: Final = 2033

_OCCASIONS_FILE: Final = Path(__file__).with_name("occasions.yaml")
_EVERYWHERE: Final = "*"
_WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_ONE_SEASON_DAYS: Final = 30


class Occurrence(NamedTuple):
    """One time an occasion takes place: its first day and how many days it lasts."""

    start: date
    lasts: int


@dataclass(frozen=True)
class Calendar:
    """What a country's calendar says of each day; read-only arrays.

    Attributes:
        country: ISO 3166 two-letter code.
        start: the first day.
        occasions: the keys of ``simulator.taxonomy.OCCASIONS``, in its order.
        titles: the occasions in words, as the country calls them.
        lead_days: length of each occasion's lead-up, days, [occasions].
        level: how present the occasion is in people's needs, 0 to 1, [days, occasions]; see ``presence``.
        days_until: days to the next start, 0 while the occasion lasts, ``NEVER`` if none begins within
            ``LOOK_AHEAD_DAYS`` days, [days, occasions].
        public_holiday: nationwide public holidays (those of regions are left out), [days].
        weekday: Monday 0 to Sunday 6, [days].
        traffic: multiplier of visits, with mean 1 over each calendar year, [days]; the weekday is not in it.
    """

    country: str
    start: date
    occasions: tuple[str, ...]
    titles: tuple[str, ...]
    lead_days: npt.NDArray[np.int32]
    level: Floats
    days_until: npt.NDArray[np.int32]
    public_holiday: npt.NDArray[np.bool_]
    weekday: npt.NDArray[np.int8]
    traffic: Floats

    def __post_init__(self) -> None:
        for values in (
            self.lead_days,
            self.level,
            self.days_until,
            self.public_holiday,
            self.weekday,
            self.traffic,
        ):
            values.setflags(write=False)


def build_calendar(country: str, start: date, days: int) -> Calendar:
    """The calendar of ``country`` for ``days`` days from ``start``.

    A day's rows do not depend on where the horizon begins or ends. Dates follow ``occasions.yaml``.

    Args:
        country: ISO 3166 two-letter code such as US, GB or CN.
        start: the first day, in ``FIRST_YEAR``..``LAST_YEAR`` (the years for which lunar dates are
            tabulated).
        days: how many days, at least 1.

    Raises:
        ValueError: if the country is unknown, ``days`` is under 1, or the horizon leaves the tabulated years.
    """
    if country not in holidays.list_supported_countries(include_aliases=False):
        raise ValueError(f"country: {country!r} (unknown; use an ISO 3166 two-letter code such as US, GB, CN, DE)")
    if days < 1:
        raise ValueError(f"days: {days} (must be at least 1)")
    last = start + timedelta(days=days - 1)
    if start.year < FIRST_YEAR or last.year > LAST_YEAR:
        raise ValueError(f"start: {start} with {days} days (must stay within {FIRST_YEAR}..{LAST_YEAR})")

    whole_start = date(start.year, 1, 1)
    whole_days = (date(last.year, 12, 31) - whole_start).days + 1
    year_of = np.array([(whole_start + timedelta(days=day)).year for day in range(whole_days)])
    begin = (start - whole_start).days
    window = slice(begin, begin + days)

    specification = yaml.safe_load(_OCCASIONS_FILE.read_text(encoding="utf-8"))
    years = range(start.year - 1, last.year + 3)
    titles, levels, until = [], [], []
    visits = np.ones(whole_days)
    for key in OCCASIONS:
        occasion = specification[key]
        rule, weight = _rule_of(occasion["rules"], country)
        occurrences = [] if rule is None else _occurrences(rule, years)
        spans = [((when.start - whole_start).days, when.lasts) for when in occurrences]
        present = presence(spans, whole_days, occasion["lead_days"], occasion["ready_days"], occasion["after_days"])
        visits += weight * _extra_visits(spans, present, occasion)
        levels.append(weight * present[window])
        until.append(_days_until(spans, whole_days)[window])
        titles.append((rule or {}).get("title", occasion["title"]))
    for year in np.unique(year_of):
        visits[year_of == year] /= visits[year_of == year].mean()

    listed = holidays.country_holidays(country, years=range(start.year, last.year + 1))
    horizon = [start + timedelta(days=day) for day in range(days)]
    return Calendar(
        country=country,
        start=start,
        occasions=tuple(OCCASIONS),
        titles=tuple(titles),
        lead_days=np.array([specification[key]["lead_days"] for key in OCCASIONS], dtype=np.int32),
        level=np.stack(levels, axis=1),
        days_until=np.stack(until, axis=1),
        public_holiday=np.array([day in listed for day in horizon], dtype=np.bool_),
        weekday=np.array([day.weekday() for day in horizon], dtype=np.int8),
        traffic=visits[window],
    )


@cache
def busiest_day(country: str) -> float:
    """The highest ``traffic`` of any day in ``FIRST_YEAR``..``LAST_YEAR``: a bound that no horizon can change.

    Raises:
        ValueError: if the country is unknown.
    """
    first, last = date(FIRST_YEAR, 1, 1), date(LAST_YEAR, 12, 31)
    return float(build_calendar(country, first, (last - first).days + 1).traffic.max())


def presence(spans: list[tuple[int, int]], days: int, lead_days: int, ready_days: int, after_days: int) -> Floats:
    """How present an occasion is on each day, 0 to 1, [days].

    People buy before the day. With ``n`` days to go, presence is ``(1 - (n - ready) / (lead - ready + 1)) **
    1.5`` from ``lead`` days before until ``ready`` days before, when things must be ordered to arrive; it
    stays 1 until the occasion ends, and then halves at once and falls linearly to 0 in ``after_days`` days.
    The curve is a modelling choice. Where two occurrences overlap the larger counts.

    Args:
        spans: first day (which may lie outside 0..days-1) and length of each occurrence.
        days: number of days.
        lead_days: days before the first day on which presence starts.
        ready_days: days before the first day on which it is complete.
        after_days: days after the last day until it is gone.
    """
    day = np.arange(days)
    level = np.zeros(days)
    for first, lasts in spans:
        to_go = first - day
        gone = day - (first + lasts - 1)
        rise = (1.0 - np.maximum(to_go - ready_days, 0) / (lead_days - ready_days + 1)).clip(0.0, 1.0) ** 1.5
        fade = np.where(gone > 0, 0.5 * (1.0 - gone / (after_days + 1)).clip(0.0, 1.0), 1.0)
        level = np.maximum(level, np.where(to_go > lead_days, 0.0, rise) * fade)
    return level


def _extra_visits(spans: list[tuple[int, int]], present: Floats, occasion: dict[str, Any]) -> Floats:
    """Relative extra visits by day: the lift times presence, or on the days themselves their own."""
    extra = occasion["visit_lift"] * present
    if "day_lift" in occasion:
        day = np.arange(present.size)
        for first, lasts in spans:
            extra = np.where((day >= first) & (day < first + lasts), occasion["day_lift"], extra)
    return extra


def _days_until(spans: list[tuple[int, int]], days: int) -> npt.NDArray[np.int32]:
    """Days to the next start, 0 while one lasts, ``NEVER`` beyond the look-ahead, [days]."""
    day = np.arange(days)
    until = np.full(days, NEVER, dtype=np.int32)
    for first, lasts in spans:
        ahead = np.where(day < first + lasts, np.maximum(first - day, 0), NEVER)
        until = np.minimum(until, np.where(ahead <= LOOK_AHEAD_DAYS, ahead, NEVER)).astype(np.int32)
    return until


def _rule_of(rules: list[dict[str, Any]], country: str) -> tuple[dict[str, Any] | None, float]:
    """The rule that holds in a country and its weight; (None, 0) where the occasion is not kept."""
    for name in (country, _EVERYWHERE):
        for rule in rules:
            if name in rule["countries"]:
                weight = float(rule["countries"][name])
                return (rule, weight) if weight > 0.0 else (None, 0.0)
    return None, 0.0


def _occurrences(rule: dict[str, Any], years: range) -> list[Occurrence]:
    """When a rule's occasion takes place in the given years, in order."""
    found = []
    for day in _rule_days(rule, years):
        first = day + timedelta(days=rule.get("offset_days", 0))
        lasts = rule.get("lasts_days", 1)
        if "until" in rule:
            month, month_day = rule["until"]
            end = date(first.year, month, month_day)
            end = end if end >= first else date(first.year + 1, month, month_day)
            lasts = (end - first).days + 1
        found.append(Occurrence(first, lasts))
    return found


def _rule_days(rule: dict[str, Any], years: range) -> Iterator[date]:
    """The days a rule names, before its offset."""
    if "holiday" in rule:
        yield from _holiday_days(years, **rule["holiday"])
        return
    for year in years:
        if "fixed" in rule:
            yield date(year, *rule["fixed"])
        else:
            nth, weekday, month = rule["weekday"]
            yield _nth_weekday(year, month, _WEEKDAYS.index(weekday), nth)


def _nth_weekday(year: int, month: int, weekday: int, nth: int) -> date:
    """The nth weekday of a month (nth -1: the last)."""
    if nth > 0:
        first = date(year, month, 1)
        return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (nth - 1))
    last = date(year + month // 12, month % 12 + 1, 1) - timedelta(days=1)
    return last - timedelta(days=(last.weekday() - weekday) % 7 + 7 * (-nth - 1))


def _holiday_days(years: range, country: str, name: str, categories: tuple[str, ...] = ("public",)) -> Iterator[date]:
    """The first day of each run that a country lists under an English name (a regular expression)."""
    listed = holidays.country_holidays(country, years=years, language="en_US", categories=tuple(categories))
    previous = date.min
    for day in sorted(listed):
        if any(re.fullmatch(name, label) for label in listed[day].split("; ")):
            if (day - previous).days > _ONE_SEASON_DAYS:
                yield day
            previous = day
