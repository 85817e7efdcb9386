import re
from datetime import date, timedelta
from importlib import resources

import holidays
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.environment.calendar import LOOK_AHEAD_DAYS, NEVER, Calendar, build_calendar, presence
from simulator.taxonomy import OCCASIONS

COUNTRIES = ("US", "GB", "CN", "DE", "FR", "JP", "IN", "IL", "BR", "AU", "NO")


def first_days(calendar: Calendar, occasion: str) -> list[date]:
    """Days on which the occasion begins."""
    now = calendar.days_until[:, calendar.occasions.index(occasion)] == 0
    begins = now & ~np.concatenate([[False], now[:-1]])
    return [calendar.start + timedelta(days=int(day)) for day in np.flatnonzero(begins)]


@pytest.mark.parametrize(
    ("country", "occasion", "day"),
    [
        ("US", "thanksgiving", date(2015, 11, 26)),
        ("US", "black_friday", date(2015, 11, 27)),
        ("US", "cyber_monday", date(2015, 11, 30)),
        ("CA", "thanksgiving", date(2015, 10, 12)),
        ("CN", "mid_autumn", date(2015, 9, 27)),
        ("CN", "mid_autumn", date(2020, 10, 1)),
        ("CN", "lunar_new_year", date(2015, 2, 19)),
        ("CN", "lunar_new_year", date(2024, 2, 10)),
        ("CN", "mid_year_festival", date(2015, 6, 18)),
        ("CN", "singles_day", date(2015, 11, 11)),
        ("GB", "easter", date(2011, 4, 24)),
        ("GB", "mothers_day", date(2011, 4, 3)),
        ("US", "mothers_day", date(2011, 5, 8)),
        ("FR", "mothers_day", date(2015, 5, 31)),
        ("US", "fathers_day", date(2015, 6, 21)),
        ("DE", "fathers_day", date(2015, 5, 14)),
        ("US", "hanukkah", date(2015, 12, 6)),
        ("IL", "hanukkah", date(2016, 12, 24)),
        ("IN", "diwali", date(2015, 11, 11)),
        ("IN", "independence_day", date(2015, 8, 15)),
        ("US", "halloween", date(2015, 10, 31)),
        ("US", "christmas", date(2015, 12, 25)),
    ],
)
def test_known_dates(country: str, occasion: str, day: date) -> None:
    """Occasions fall on the dates that printed calendars give (Hanukkah from its eve)."""
    assert first_days(build_calendar(country, date(day.year, 1, 2), 364), occasion) == [day]


@pytest.mark.parametrize("country", COUNTRIES)
def test_every_country_has_a_consistent_year(country: str) -> None:
    """Levels and traffic are bounded, a year's traffic has mean one, and arrays are read-only."""
    calendar = build_calendar(country, date(2015, 1, 1), 365)
    assert calendar.occasions == tuple(OCCASIONS)
    assert calendar.level.shape == calendar.days_until.shape == (365, len(OCCASIONS))
    assert np.all((calendar.level >= 0.0) & (calendar.level <= 1.0))
    assert calendar.traffic.mean() == pytest.approx(1.0)
    assert np.all((calendar.traffic > 0.4) & (calendar.traffic < 2.0))
    assert np.all(calendar.level[calendar.days_until == 0] > 0.0)
    assert calendar.weekday[0] == 3
    assert 5 <= calendar.public_holiday.sum() <= 25
    for values in (
        calendar.level,
        calendar.days_until,
        calendar.public_holiday,
        calendar.weekday,
        calendar.traffic,
    ):
        assert not values.flags.writeable


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(COUNTRIES), st.integers(0, 700), st.integers(1, 400))
def test_a_day_does_not_depend_on_the_horizon(country: str, shift: int, days: int) -> None:
    """A day's rows are the same bytes whatever day the calendar starts or ends on."""
    whole = build_calendar(country, date(2014, 1, 1), 1200)
    part = build_calendar(country, date(2014, 1, 1) + timedelta(days=shift), days)
    for name in ("level", "days_until", "public_holiday", "weekday", "traffic"):
        assert np.array_equal(getattr(part, name), getattr(whole, name)[shift : shift + days]), name


def test_days_until_counts_down() -> None:
    """Away from an occasion its countdown falls by one a day; what is not kept is never near."""
    calendar = build_calendar("US", date(2015, 1, 1), 700)
    until = calendar.days_until
    running = until[:-1] > 0
    kept = until[:-1] < NEVER
    assert np.all((until[:-1] - until[1:])[running & kept] == 1)
    assert np.all((until <= LOOK_AHEAD_DAYS) | (until == NEVER))
    assert np.all(until[:, calendar.occasions.index("mid_year_festival")] == NEVER)
    assert not calendar.level[:, calendar.occasions.index("mid_year_festival")].any()


def test_shops_are_full_on_black_friday_and_empty_at_christmas() -> None:
    """In the United States the busiest day of 2015 is Black Friday and the quietest is Christmas."""
    calendar = build_calendar("US", date(2015, 1, 1), 365)
    assert calendar.start + timedelta(days=int(calendar.traffic.argmax())) == date(2015, 11, 27)
    assert calendar.start + timedelta(days=int(calendar.traffic.argmin())) == date(2015, 12, 25)


@given(st.integers(0, 60), st.integers(1, 20), st.integers(0, 30), st.integers(0, 10), st.integers(0, 10))
def test_presence_rises_holds_and_fades(first: int, lasts: int, lead: int, ready: int, after: int) -> None:
    """Presence is 0 outside its window, rises to 1 until ready, holds to the end, then never rises."""
    ready = min(ready, lead)
    level = presence([(first, lasts)], 120, lead, ready, after)
    last = first + lasts - 1
    assert not level[: max(first - lead, 0)].any()
    assert not level[last + after + 1 :].any()
    assert np.all(np.diff(level[: first + 1]) >= 0.0)
    assert np.all(level[max(first - ready, 0) : last + 1] == 1.0)
    assert np.all(np.diff(level[last:]) <= 0.0)
    assert np.all(level[max(first - lead, 0) : first] > 0.0)


def test_titles_follow_the_country() -> None:
    """The same occasion is called as the country calls it."""
    index = OCCASIONS.index("independence_day")
    assert build_calendar("US", date(2015, 1, 1), 1).titles[index] == "Independence Day"
    assert build_calendar("FR", date(2015, 1, 1), 1).titles[index] == "Bastille Day"


def test_the_occasions_file_is_whole() -> None:
    """Each key has one entry, a country stands in one rule of it, and every code and weight is valid."""
    text = resources.files("simulator.environment").joinpath("occasions.yaml").read_text(encoding="utf-8")
    entries = yaml.safe_load(text)
    assert set(entries) == set(OCCASIONS)
    known = {*holidays.list_supported_countries(include_aliases=False), "*"}
    for entry in entries.values():
        named = [country for rule in entry["rules"] for country in rule["countries"]]
        assert len(named) == len(set(named))
        assert set(named) <= known
        assert all(0.0 <= weight <= 1.0 for rule in entry["rules"] for weight in rule["countries"].values())
        assert all(len({"fixed", "weekday", "holiday"} & set(rule)) == 1 for rule in entry["rules"])
        assert entry["ready_days"] <= entry["lead_days"]
    assert len(re.findall(r"^\w+:$", text, flags=re.MULTILINE)) == len(entries)


def test_bad_requests_are_refused() -> None:
    """An unknown country, an empty horizon and an untabulated year raise an error that says what is right."""
    with pytest.raises(ValueError, match=r"'XX' \(unknown; use an ISO 3166"):
        build_calendar("XX", date(2015, 1, 1), 3)
    with pytest.raises(ValueError, match="at least 1"):
        build_calendar("US", date(2015, 1, 1), 0)
    with pytest.raises(ValueError, match=r"2002\.\.2033"):
        build_calendar("US", date(1999, 1, 1), 3)
