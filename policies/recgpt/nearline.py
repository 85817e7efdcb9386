"""When users are thought about again: by age, or because the day is no longer the one they were thought about on.

Thinking is near line (RecGPT-V1 report, section on near-line serving): tags are kept for each user, jobs refresh them
between visits, and stale tags serve meanwhile. The schedule is a pure function of the parameters, of every user's
city, of the context until the day and of the seed. Every shard computes it for all users of the platform and finds
the same one. Knows no history, no tag and no model, and not whether a scheduled user ever comes back.
"""

from typing import Annotated, Any, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from simulator.batches import Bools, Floats, Ints, Ints32
from simulator.environment.context import ObservedContext
from simulator.environment.trends import PERCEPTIBLE
from simulator.parameters import Parameters
from simulator.snapshots import Arrays, as_array, as_value, overwrite
from simulator.streams import Stream

FELT: Final = 0.5
"""Strength from which a weather signal can be the class of a day."""
NO_CLASS: Final = -1
"""Class of a day without a signal that strong, or without weather."""


class RefreshParams(Parameters):
    """When a user's tags are thought of anew."""

    max_age_days: Annotated[int, Field(ge=1, description="age at which tags are due, days")] = 7
    on: Annotated[
        tuple[Literal["weather", "holiday", "trend"], ...],
        Field(description="changes of context that make tags due before their time"),
    ] = ("weather", "holiday", "trend")
    budget: Annotated[
        float | None, Field(ge=0, description="jobs for each user of the platform and day; without one nobody waits")
    ] = None


def weather_class(context: ObservedContext) -> npt.NDArray[np.int8]:
    """The strongest signal of each city and day if it reaches ``FELT``, else ``NO_CLASS``: int8 [cities, days]."""
    signals = np.nan_to_num(context.weather_signals)
    return np.where(signals.max(axis=2) >= FELT, signals.argmax(axis=2), NO_CLASS).astype(np.int8)


def oldest_first(last: Ints, draw: Floats, places: int) -> Ints:
    """The entries that get one of ``places`` places: those of the smallest ``last``, ties by the smaller ``draw``.

    Args:
        last: day of each entry's last refresh, int64 [entries].
        draw: in (0, 1), [entries].
        places: how many there are.

    Returns:
        Indices of the entries, int64 [min(entries, places)], the oldest first.
    """
    return np.lexsort((draw, last))[:places]


class Schedule:
    """Who is due on which day, for all users of the platform.

    On the first day everybody is thought about, outside the budget. From then on a user is due

    - by age, ``max_age_days`` after the last refresh; the first time earlier, on a day drawn evenly from the first
      ``max_age_days`` ones, so that the jobs of the first day do not come back all at once;
    - by weather, when the class of the day (``weather_class``) is the same as yesterday's and another than that of
      the day of the last refresh: a single day of rain changes nothing, nor does a day without a class;
    - by a holiday, when an occasion is within its lead-up that was not on the day of the last refresh;
    - by a trend, when a topic is perceptible that was not on the day of the last refresh.

    The budget allows ``budget x users`` jobs a day, the fractions of a job adding up over days; what is not used is
    lost. Who is over it waits, the oldest going first; a user whose day has turned back is no longer due. A change that
    reaches everybody brings all ages into step: it is the budget that spreads such a day's jobs. Cost grows with users
    and, for the table of the days to compare with, with days x (occasions + topics + cities): 100,000 users take some
    ten milliseconds a day.

    Args:
        params: when to refresh.
        city: city of every user of the platform, int32 [users], -1 where unknown (no weather then); row = user id.
        seed: of the policy.

    Attributes:
        last: day of each user's last scheduled refresh, int64 [users].
        waiting: due on the day of the last step, but over the budget, bool [users].
    """

    def __init__(self, params: RefreshParams, city: Ints32, seed: int) -> None:
        self.params = params
        self._city = np.asarray(city, np.int64)
        self._ids = np.arange(len(city))
        self._phase = Stream(seed, "nearline.phase")
        self._tie = Stream(seed, "nearline.tie")
        self._day: int | None = None
        self.last: Ints = np.zeros(len(city), np.int64)
        self.waiting: Bools = np.zeros(len(city), np.bool_)

    def begin(self, day: int, context: ObservedContext) -> None:
        """Schedule everybody on ``day``, the first one, and forget whatever was scheduled before.

        Raises:
            ValueError: if the day is not in the context, or a user's city is not.
        """
        self._check(day, context)
        users = len(self._city)
        self._first = self._day = day
        self.last = np.full(users, day, np.int64)
        self.waiting = np.zeros(users, np.bool_)
        self._due_day = day + 1 + self._phase.integers(self.params.max_age_days, self._ids)
        self._counters: dict[int, dict[str, int | float]] = {}
        nobody = np.zeros(users, np.bool_)
        self._count(day, ~nobody, {"weather": nobody, "holiday": nobody, "trend": nobody})

    def step(self, day: int, context: ObservedContext) -> None:
        """Schedule the day after the last one that was scheduled.

        Args:
            day: the day.
            context: what can be observed until then; later days are not read.

        Raises:
            ValueError: if the day is not the next one, or not in the context.
        """
        if self._day is None:
            raise ValueError(f"day: {day} (begin first)")
        if day != self._day + 1:
            raise ValueError(f"day: {day} (must be {self._day + 1}, the day after the last step)")
        self._check(day, context)
        self._day = day
        by_age = self._due_day <= day
        changed = self._changed(day, context)
        due = by_age | changed["weather"] | changed["holiday"] | changed["trend"]
        granted = rows = np.flatnonzero(due)
        places = self._places(day)
        if places is not None and len(rows) > places:
            granted = rows[oldest_first(self.last[rows], self._tie.uniform(rows, day), places)]
        self.last[granted] = day
        self._due_day[granted] = day + self.params.max_age_days
        self.waiting = due
        self.waiting[granted] = False
        self._count(day, by_age, changed)

    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """The schedule so far, once begun."""
        return {
            "last": self.last,
            "waiting": self.waiting,
            "due_day": self._due_day,
            "days": as_array({"first": self._first, "last": self._day, "counters": self._counters}),
        }

    def restore(self, kept: Arrays) -> None:
        """Go on from what ``snapshot`` of a schedule with the same arguments gave, in place of ``begin``."""
        overwrite(self.last, kept["last"])
        overwrite(self.waiting, kept["waiting"])
        self._due_day = kept["due_day"]
        days = as_value(kept["days"])
        self._first, self._day, self._counters = days["first"], days["last"], days["counters"]

    def counters(self, day: int) -> dict[str, int | float]:
        """What was scheduled on a day, in users.

        ``due_age`` (on the first day everybody) and ``due_change`` (by a change and not by age) add up to those due,
        as do ``granted`` and ``waiting``; ``due_weather``, ``due_holiday`` and ``due_trend`` count each cause on its
        own, and a user may have several. ``mean_age_days`` and ``p90_age_days`` are the age of all users' tags after
        the day's refreshes, as if every job ran on its day (NaN without users).

        Raises:
            ValueError: if the day was not scheduled.
        """
        if self._day is None or day not in self._counters:
            raise ValueError(f"day: {day} (not scheduled)")
        return dict(self._counters[day])

    def _changed(self, day: int, context: ObservedContext) -> dict[str, Bools]:
        """Whose context changed since the last refresh, by cause, bool [users] each."""
        changed = {cause: np.zeros(len(self._city), np.bool_) for cause in ("weather", "holiday", "trend")}
        if "weather" in self.params.on:
            today = weather_class(context)[:, : day + 1]
            known = np.flatnonzero(self._city >= 0)
            city = self._city[known]
            lasting = (today[:, day] == today[:, day - 1]) & (today[:, day] != NO_CLASS)
            changed["weather"][known] = lasting[city] & (today[city, self.last[known]] != today[city, day])
        if "holiday" in self.params.on:
            near = context.days_until[: day + 1] <= context.lead_days
            changed["holiday"] = _anything_new(near)[self.last]
        if "trend" in self.params.on:
            changed["trend"] = _anything_new(context.trend_level[: day + 1] > PERCEPTIBLE)[self.last]
        return changed

    def _places(self, day: int) -> int | None:
        """Jobs that the budget allows on a day: whole jobs that became affordable since the day before."""
        if self.params.budget is None:
            return None
        daily = self.params.budget * len(self._city)
        by_now, before = (int(daily * days + 1e-9) for days in (day - self._first, day - self._first - 1))
        return by_now - before

    def _count(self, day: int, by_age: Bools, changed: dict[str, Bools]) -> None:
        age = day - self.last
        by_change = changed["weather"] | changed["holiday"] | changed["trend"]
        self._counters[day] = {
            "due_age": int(by_age.sum()),
            "due_change": int((by_change & ~by_age).sum()),
            **{f"due_{cause}": int(rows.sum()) for cause, rows in changed.items()},
            "granted": int((age == 0).sum()),
            "waiting": int(self.waiting.sum()),
            "mean_age_days": float(age.mean()) if len(age) else float("nan"),
            "p90_age_days": float(np.quantile(age, 0.9, method="inverted_cdf")) if len(age) else float("nan"),
        }

    def _check(self, day: int, context: ObservedContext) -> None:
        if not 0 <= day < context.days:
            raise ValueError(f"day: {day} (must be 0..{context.days - 1}, what the context covers)")
        highest, cities = int(self._city.max(initial=-1)), len(context.cities)
        if highest >= cities:
            raise ValueError(f"city: {highest} (must be -1..{cities - 1})")


def _anything_new(there: Bools) -> Bools:
    """Whether anything is there on the last day that was not on each day: bool [days, things] -> [days]."""
    return (there[-1] & ~there).any(axis=1)
