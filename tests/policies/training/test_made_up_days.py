import re

import numpy as np

from policies.training.facts import occasion_keys
from policies.training.made_up_days import COUNTRIES, WEATHER_DAYS, calendar_days, weathers
from simulator.taxonomy import OCCASIONS, SEASONS, WEATHER_SIGNALS


def test_calendars_keep_every_occasion() -> None:
    """Together the countries keep every occasion, each on days on which it lies ahead, and have every season."""
    days = calendar_days()
    assert len(days.words) == len(days.season) == len(days.near) == 366 * len(COUNTRIES)
    assert {occasion_keys()[title] for title, ahead in days.ahead.items() if ahead} == set(OCCASIONS)
    for title, rows in days.ahead.items():
        assert all(title in days.near[row] for row in rows)
    assert set(days.season) == set(range(len(SEASONS)))


def test_weather_is_told_as_it_is_felt() -> None:
    """Each day is in words with a temperature, and every signal is strong on some and hardly there on others."""
    words, felt = weathers(3)
    assert len(words) == WEATHER_DAYS
    assert felt.shape == (WEATHER_DAYS, len(WEATHER_SIGNALS))
    assert all(re.search(r"-?\d+ C", told) for told in words)
    assert (felt.max(axis=0) > 0.5).all()
    assert (felt.min(axis=0) < 1e-6).all()
    assert np.array_equal(felt, weathers(3)[1])
    assert words != weathers(4)[0]
