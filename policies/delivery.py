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


@dataclass(frozen=True)
class DaysByUser:
    """Days entered by user and second, to be looked up; int64 [entries].

    Attributes:
        key: user and second as one number, ascending.
        user, day: of each entry; of one user days do not fall with seconds.
    """

    key: Ints
    user: Ints
    day: Ints

    @classmethod
    def of(cls, user: Ints, second: Ints, day: Ints) -> "DaysByUser":
        """Entries in any order."""
        order = np.lexsort((day, second, user))
        return cls(user[order] * _SECONDS + second[order], user[order], day[order])

    def only(self, users: Ints) -> "DaysByUser":
        """The entries of some users."""
        mine = np.isin(self.user, users)
        return DaysByUser(self.key[mine], self.user[mine], self.day[mine])

    def at(self, user: Ints, second: Ints) -> Ints:
        """The last day entered for each user until its second, int64 [requests], ``NOTHING`` before the first."""
        if not len(self.key):
            return np.full(len(user), NOTHING, np.int64)
        place = np.searchsorted(self.key, user * _SECONDS + second, side="right") - 1
        found = np.maximum(place, 0)
        return np.where((place >= 0) & (self.user[found] == user), self.day[found], NOTHING)


@dataclass(frozen=True)
class Deliveries:
    """Jobs of users of the platform.

    Attributes:
        asked: the days of which thoughts were asked for, by when they were (seconds since the horizon's start).
        done: the days of which thoughts are, by the second from which they serve: the day on which the job was begun,
            since its prompt is written then.
    """

    asked: DaysByUser
    done: DaysByUser

    def only(self, users: Ints) -> "Deliveries":
        """What concerns some users, as a shard is sent it; int64 [users]."""
        return Deliveries(self.asked.only(users), self.done.only(users))

    def day_of(self, user: Ints, time: Ints) -> Ints:
        """Day of the thoughts that serve each user at its second, int64 [requests], ``NOTHING`` before the first."""
        return self.done.at(user, time)

    def overdue(self, user: Ints, time: Ints) -> Bools:
        """Whether newer thoughts than those that serve had been asked for by then, bool [requests]."""
        return self.asked.at(user, time) > self.day_of(user, time)


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
