"""Trends: topics that are born, spread, and are forgotten.

A birth gives a topic a curve of attention: logistic growth over some days (the diffusion of an innovation;
Rogers 1962), then exponential forgetting, up to a peak that is heavy-tailed, so that most fashions stay small
and a few are everywhere. The rates and times below are modelling choices, not measurements.

The module knows topics by key only. It does not know what they make people want, nor who follows them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from simulator.streams import Stream

Floats = npt.NDArray[np.float64]

PERCEPTIBLE: Final = 0.2

_BURN_IN_DAYS: Final = 365
_REST_DAYS: Final = 30
_PEAK_SCALE: Final = 0.3
_PEAK_TAIL: Final = 1.2
_RISE_DAYS: Final = (2.0, 8.0)
_HALF_LIFE_DAYS: Final = (3.0, 10.0)
_DRAW_BIRTH, _DRAW_PEAK, _DRAW_RISE, _DRAW_HALF_LIFE = range(4)


class Birth(NamedTuple):
    """A topic's outbreak: when it begins (negative: before the horizon) and how high it goes."""

    topic: str
    day: int
    peak: float


@dataclass(frozen=True)
class Trends:
    """Attention to every topic on every day.

    Attributes:
        topics: the topics' keys.
        level: attention, 0 to 1, read-only, [days, topics]; perceptible from ``PERCEPTIBLE``.
        births: the outbreaks that began before the horizon's end, by day and topic.
    """

    topics: tuple[str, ...]
    level: Floats
    births: tuple[Birth, ...]

    def __post_init__(self) -> None:
        self.level.setflags(write=False)


def simulate_trends(
    topic_keys: Sequence[str],
    recurring: npt.ArrayLike,
    days: int,
    seed: int,
    births_per_day: float = 1.0 / 50.0,
) -> Trends:
    """Attention to topics over ``days`` days.

    A recurring topic may have been born before the horizon (a year of burn-in) and may be born again from
    ``_REST_DAYS`` days after its last birth. A new topic is unheard of at the start and is born once, if at
    all. A draw depends on (seed, topic key, day) and nothing else, so neither the horizon's length nor the
    other topics change a topic's story.

    Args:
        topic_keys: names of the topics, all different, [topics].
        recurring: whether each topic can come again, [topics].
        days: length of the horizon, at least 1.
        seed: the run's seed.
        births_per_day: rate at which one resting topic is born (a Poisson process), a day.

    Raises:
        ValueError: if keys repeat, ``recurring`` has another length, ``days`` is under 1 or the rate is
            negative.
    """
    again = np.asarray(recurring, dtype=np.bool_)
    if len(set(topic_keys)) < len(topic_keys):
        raise ValueError("topic_keys: a key occurs twice (keys must differ, since they key a topic's draws)")
    if again.shape != (len(topic_keys),):
        raise ValueError(f"recurring: shape {again.shape} (must have one entry for each of {len(topic_keys)} topics)")
    if days < 1:
        raise ValueError(f"days: {days} (must be at least 1)")
    if not births_per_day >= 0.0:
        raise ValueError(f"births_per_day: {births_per_day} (must be 0 or more)")

    level = np.zeros((days, len(topic_keys)))
    births: list[Birth] = []
    for column, (key, may_return) in enumerate(zip(topic_keys, again.tolist(), strict=True)):
        stream = Stream(seed, f"trends/{key}")
        for day in _birth_days(stream, days, births_per_day, may_return):
            peak = float(_peak(stream.uniform(_DRAW_PEAK, day)))
            births.append(Birth(key, day, peak))
            level[:, column] = np.maximum(level[:, column], peak * _attention(stream, day, np.arange(days) - day))
    return Trends(tuple(topic_keys), level, tuple(sorted(births, key=lambda birth: (birth.day, birth.topic))))


def _birth_days(stream: Stream, days: int, births_per_day: float, may_return: bool) -> list[int]:
    """Days on which one topic is born, ascending."""
    first = -_BURN_IN_DAYS if may_return else 0
    day = np.arange(first, days, dtype=np.int64)
    candidates = day[stream.uniform(_DRAW_BIRTH, day) < -np.expm1(-births_per_day)].tolist()
    if not may_return:
        return candidates[:1]
    born: list[int] = []
    for candidate in candidates:
        if not born or candidate - born[-1] >= _REST_DAYS:
            born.append(candidate)
    return born


def _peak(draw: Floats) -> Floats:
    """Peak attention: ``1 - exp(-x)`` of a Pareto draw, heavy-tailed while small and bounded by 1."""
    return -np.expm1(-_PEAK_SCALE * draw ** (-1.0 / _PEAK_TAIL))


def _attention(stream: Stream, born: int, age: npt.NDArray[np.int64]) -> Floats:
    """Share of its peak that an outbreak has at each age in days (0 before birth), [days]."""
    rise = _between(_RISE_DAYS, stream.uniform(_DRAW_RISE, born))
    half_life = _between(_HALF_LIFE_DAYS, stream.uniform(_DRAW_HALF_LIFE, born))
    growth = 1.0 / (1.0 + np.exp(-8.0 * (age / rise - 0.5).clip(-10.0, 10.0)))
    forgetting = np.exp2(-np.maximum(age - rise, 0.0) / half_life)
    return np.where(age >= 0, growth * forgetting, 0.0)


def _between(limits: tuple[float, float], draw: Floats) -> Floats:
    """A uniform draw stretched to the limits."""
    low, high = limits
    return low + (high - low) * draw
