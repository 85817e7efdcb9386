from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.datasets.interactions import PurchaseLog
from simulator.fitted.shop_hours import ShopHours, fit_shop_hours, to_business, to_seconds

DAY = 86_400


def shop(log: PurchaseLog) -> ShopHours:
    """The hours of the log's shop."""
    return fit_shop_hours(log.start, log.visits()[1], log.days, "US")


def test_business_time_is_a_day_a_day(long_log: PurchaseLog) -> None:
    """Over the days fitted to, business time runs as fast as days do, and never backwards."""
    clock = shop(long_log).business_time(long_log.days)
    assert len(clock) == 24 * long_log.days + 1
    assert clock[-1] == pytest.approx(long_log.days)
    assert (np.diff(clock) >= 0).all()


def test_a_closed_shop_has_no_time(long_log: PurchaseLog) -> None:
    """Nothing passes on Sundays, before eight and from noon on."""
    hours = np.diff(shop(long_log).business_time(140)).reshape(140, 24)
    sunday = (np.arange(140) + 2) % 7 == 6
    assert not hours[sunday].any()
    assert not hours[:, :8].any()
    assert not hours[:, 12:].any()
    assert (hours[7:][~sunday[7:], 8:12].sum(axis=1) > 0).mean() > 0.9


def test_holidays_and_closing_days_come_again() -> None:
    """A weekday without a visit among busy ones is closed every year; on public holidays as many come as came."""
    start = date(2013, 6, 3)
    minutes = np.arange(8 * 60, 18 * 60, 10) * 60
    days = [n for n in range(365) if (start + timedelta(n)) not in {date(2013, 7, 4), date(2013, 10, 22)}]
    time = np.concatenate([n * DAY + minutes for n in days])
    hours = fit_shop_hours(start, time, 365, "US")
    assert hours.closed == {(10, 22)}
    assert 0.8 < hours.holiday < 1.0  # one of some eleven holidays was closed
    next_year = (date(2014, 10, 22) - start).days
    clock = hours.business_time(next_year + 2)
    assert clock[24 * next_year] == clock[24 * (next_year + 1)]
    assert clock[24 * (next_year + 1)] < clock[24 * (next_year + 2)]


@given(st.lists(st.floats(0.0, 90.0, exclude_min=True), min_size=1, max_size=30))
def test_seconds_come_back_as_business_time(moments: list[float]) -> None:
    """A moment of business time turned into seconds and back is at most a minute of business early."""
    hourly = np.zeros((7, 24))
    hourly[:6, 9:17] = 7 / 48
    hours = ShopHours(date(2014, 1, 1), "US", hourly, 1.0, frozenset())
    clock = hours.business_time(140)
    business = np.array(moments)
    seconds = to_seconds(clock, business)
    back = to_business(clock, seconds)
    assert (seconds % 60 == 0).all()
    assert (back <= business + 1e-9).all()
    assert (back >= business - hourly.max() / 60 - 1e-9).all()
    hour, weekday = seconds // 3600 % 24, (seconds // DAY + 2) % 7
    assert ((hour >= 9) & (hour < 17) & (weekday != 6)).all()


def test_what_cannot_be_fitted_is_refused(long_log: PurchaseLog) -> None:
    """Less than a week, no visits, and moments beyond the clock are named."""
    time = long_log.visits()[1]
    with pytest.raises(ValueError, match="a week at least"):
        fit_shop_hours(long_log.start, time[time < DAY], 1, "US")
    with pytest.raises(ValueError, match="0 visits"):
        fit_shop_hours(long_log.start, time[:0], 50, "US")
    hours = shop(long_log)
    with pytest.raises(ValueError, match="more days"):
        to_seconds(hours.business_time(3), np.array([50.0]))
    assert replace(hours, holiday=0.0).business_time(1)[-1] == 0.0  # New Year
