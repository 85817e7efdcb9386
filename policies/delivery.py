"""When thoughts reach those who serve: jobs asked for and jobs done, looked up by user and moment.

Made once for all users of the platform, before anybody is served, so every shard finds the same. Knows no cluster: who
did the jobs, and why they took as long as they did, is decided elsewhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from simulator.batches import DAY_SECONDS, Bools, Floats, Ints, Requests
from simulator.environment.context import ObservedContext
from simulator.serving.counted import CountedJobs

NOTHING: Final = -1
"""Day of a user for whom nothing was asked, or done, yet."""
_HOUR: Final = 3600
_SECONDS: Final = 1 << 33
"""More than any horizon has, so that user and second make one sorted key."""


class NearLine(Protocol):
    """What a policy with near-line jobs tells a serving cluster (``RegisteredPolicy.near_line``)."""

    def grants(self, first: int, last: int, context: ObservedContext) -> Iterator[tuple[int, Ints]]:
        """Whom its schedule has on each day from ``first`` to ``last`` (exclusive): (day, ids of users).

        A pure function of the policy and of the context, over all users of the platform. On the first day it is
        everybody. Each day reads the context until then.
        """
        ...

    def count_jobs(self, requests: Requests, weight: Floats) -> CountedJobs:
        """What a job about each request asks a language model for, call by call.

        Args:
            requests: whom to think about.
            weight: share of all jobs that each stands for, float64 [requests], summing to 1.
        """
        ...


class _Table:
    """Days by user and second, rising with both."""

    def __init__(self, user: Ints, second: Ints, day: Ints) -> None:
        order = np.lexsort((day, second, user))
        self._key = user[order] * _SECONDS + second[order]
        self._user, self._day = user[order], day[order]

    def at(self, user: Ints, second: Ints) -> Ints:
        """The last day entered for each user until its second, int64 [requests], ``NOTHING`` before the first."""
        place = np.searchsorted(self._key, user * _SECONDS + second, side="right") - 1
        found = np.maximum(place, 0)
        there = (place >= 0) & (self._user[found] == user) if len(self._key) else np.zeros(len(user), np.bool_)
        return np.where(there, self._day[found] if len(self._key) else NOTHING, NOTHING)


class Deliveries:
    """Jobs of all users of the platform.

    Args:
        asked_user, asked_at, asked_day: for whom thoughts were asked, when (seconds since the horizon's start), and of
            which day, int64 [asked].
        user, ready, day: whose thoughts were done, from which second on they serve, and of which day they are: that on
            which the job was begun, since its prompt is written then; int64 [done].
    """

    def __init__(self, asked_user: Ints, asked_at: Ints, asked_day: Ints, user: Ints, ready: Ints, day: Ints) -> None:
        self._asked = _Table(asked_user, asked_at, asked_day)
        self._done = _Table(user, ready, day)

    def day_of(self, user: Ints, time: Ints) -> Ints:
        """Day of the thoughts that serve each user at its second, int64 [requests], ``NOTHING`` before the first."""
        return self._done.at(user, time)

    def overdue(self, user: Ints, time: Ints) -> Bools:
        """Whether newer thoughts than those that serve had been asked for by then, bool [requests]."""
        return self._asked.at(user, time) > self.day_of(user, time)


@dataclass
class Freshness:
    """How old the tags were that visits were served by, in whole numbers that add up over shards.

    Attributes:
        visits: by day.
        overdue: those of them served by older tags than had been asked for.
        seconds: ages summed; a day's tags speak of its first second.
        hours: visits by day and by whole hours of age.
    """

    visits: dict[int, int]
    overdue: dict[int, int]
    seconds: dict[int, int]
    hours: dict[int, dict[int, int]]

    @classmethod
    def empty(cls) -> "Freshness":
        """Nobody came yet."""
        return cls({}, {}, {}, {})

    def count(self, time: Ints, day: Ints, overdue: Bools) -> None:
        """Enter visits.

        Args:
            time: of each, seconds since the horizon's start, int64 [visits].
            day: of the tags that serve it, int64 [visits]; visits before the first tags are left out.
            overdue: see ``Deliveries.overdue``.
        """
        served = day != NOTHING
        time, day, overdue = time[served], day[served], overdue[served]
        age, today = time - day * DAY_SECONDS, time // DAY_SECONDS
        for each in np.unique(today).tolist():
            mine = today == each
            self.visits[each] = self.visits.get(each, 0) + int(mine.sum())
            self.overdue[each] = self.overdue.get(each, 0) + int(overdue[mine].sum())
            self.seconds[each] = self.seconds.get(each, 0) + int(age[mine].sum())
            tally = self.hours.setdefault(each, {})
            for hour, visits in zip(*np.unique(age[mine] // _HOUR, return_counts=True), strict=True):
                tally[int(hour)] = tally.get(int(hour), 0) + int(visits)

    def as_dict(self) -> dict[str, Any]:
        """The counts as plain values."""
        return {"visits": self.visits, "overdue": self.overdue, "seconds": self.seconds, "hours": self.hours}
