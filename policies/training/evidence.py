"""What a log says users did next, and how much of it the day explains: the raw material of lessons.

Reads logged clicks, impressions and what could be observed on the days; knows no truth and writes no words. The share
of a category's clicks that a signal explains is the attributable fraction 1 - 1/lift of epidemiology (Rothman,
Greenland and Lash 2008, chapter 4), from the same lifts that the contextual policy counts.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from policies.contextual import context_levels
from policies.lifts import cells, log_lifts
from simulator.batches import (
    DAY_SECONDS,
    Floats,
    InteractionLog,
    Ints,
    ObservedCatalog,
    ObservedUsers,
)
from simulator.environment.context import ObservedContext

LIFT_PRIOR = 10.0
NEAR_AGE = 0.35
OTHER_GENDER = 0.2
OTHER_HOUSEHOLD = 0.5


@dataclass(frozen=True)
class Likes:
    """Clicks of people like a user in the same city over some days: items int64 and weights float64, [clicks]."""

    item: Ints
    weight: Floats


class Evidence:
    """A log, sorted for looking things up.

    Args:
        log: what was done; with impressions if there are any.
        catalog, users, context: what is observed, the context up to the log's end.
    """

    def __init__(
        self, log: InteractionLog, catalog: ObservedCatalog, users: ObservedUsers, context: ObservedContext
    ) -> None:
        self.log, self.catalog, self.users, self.context = log, catalog, users, context
        order = np.lexsort((log.time, log.user))
        self._user = log.user[order]
        self._item = log.item[order].astype(np.int64)
        self._time = log.time[order]
        self._kind = log.kind[order].astype(np.int64)
        self._first = np.searchsorted(self._user, np.arange(len(users.user) + 1))
        city = np.maximum(users.city[self._user], 0).astype(np.int64)
        day = self._time // DAY_SECONDS
        self._cell_order = np.lexsort((day, city))
        self._cell = (city * log.end_day + day)[self._cell_order]

    @property
    def category(self) -> Ints:
        """Category of each item, int64 [items]."""
        return self.catalog.category.astype(np.int64)

    @cached_property
    def visits(self) -> tuple[Ints, Ints]:
        """User and time of the first interaction of each user's day, int64 [visits] each."""
        day = self._time // DAY_SECONDS
        first = np.ones(len(day), np.bool_)
        first[1:] = (self._user[1:] != self._user[:-1]) | (day[1:] != day[:-1])
        return self._user[first], self._time[first]

    def before(self, user: int, time: int, most: int) -> tuple[Ints, Ints, Ints]:
        """The last ``most`` interactions before ``time``, oldest first: items, kinds, times."""
        begin = self._first[user]
        end = begin + np.searchsorted(self._time[begin : self._first[user + 1]], time)
        span = slice(max(begin, end - most), end)
        return self._item[span], self._kind[span], self._time[span]

    def after(self, user: int, time: int, days: int) -> Ints:
        """Items of the interactions from ``time`` on for some days, in time order."""
        begin, end = self._first[user], self._first[user + 1]
        first, last = np.searchsorted(self._time[begin:end], [time, time + days * DAY_SECONDS])
        return self._item[begin + first : begin + last]

    def likes(self, user: int, day: int, days: int, most: int, rng: np.random.Generator) -> Likes:
        """Clicks of other users of the same city on some days from ``day`` on, weighted by likeness of profile."""
        users = self.users
        city = max(int(users.city[user]), 0)
        last = min(day + days, self.log.end_day)
        begin, end = np.searchsorted(self._cell, [city * self.log.end_day + day, city * self.log.end_day + last])
        if end <= begin:
            return Likes(np.zeros(0, np.int64), np.zeros(0))
        chosen = self._cell_order[begin + rng.integers(0, end - begin, min(6 * most, 6 * (end - begin)))]
        chosen = np.unique(chosen[self._user[chosen] != user])
        who = self._user[chosen]
        weight = np.where(users.gender[who] == users.gender[user], 1.0, OTHER_GENDER)
        weight *= np.where(users.household[who] == users.household[user], 1.0, OTHER_HOUSEHOLD)
        apart = np.abs(users.age_band[who] - users.age_band[user])
        weight *= np.where(apart == 0, 1.0, np.where(apart == 1, NEAR_AGE, NEAR_AGE**2))
        nearest = np.argsort(-weight, kind="stable")[:most]
        return Likes(self._item[chosen[nearest]], weight[nearest])

    @cached_property
    def _lifts(self) -> list[Floats]:
        """Log-lifts of categories under each level of weather, occasions and trends."""
        shown = self.log.impressions
        if shown is None:
            return self._ledger_lifts()
        city = np.maximum(self.users.city[shown.user], 0).astype(np.int64)
        span, categories = self.log.end_day, self.catalog.categories
        day = np.minimum(shown.time // DAY_SECONDS, span - 1)
        where, group, total = cells(
            self.catalog.category[shown.item],
            shown.clicked.astype(np.float64),
            city * span + day,
            span * (int(city.max()) + 1),
            categories,
        )
        levels = context_levels(self.context, group // span, group % span)
        return [log_lifts(where, total, level, categories, LIFT_PRIOR) for level in levels]

    def _ledger_lifts(self) -> list[Floats]:
        """Lifts where nothing is known of what was shown: a category's share of sales under a level, over its share."""
        categories = self.catalog.categories
        sold = np.zeros((self.log.end_day, categories))
        day = np.minimum(self._time // DAY_SECONDS, self.log.end_day - 1)
        np.add.at(sold, (day, self.category[self._item]), 1.0)
        share = sold.sum(axis=0) / max(sold.sum(), 1.0)
        found = []
        for level in context_levels(self.context, np.zeros(len(sold), np.int64), np.arange(len(sold))):
            clicks = level.T @ sold
            expected = clicks.sum(axis=1, keepdims=True) * share
            found.append(np.log((clicks + LIFT_PRIOR) / (expected + LIFT_PRIOR)))
        return found

    def explained(self, city: int, day: int) -> Floats:
        """Share of each category's clicks that weather, occasions and trends explain, float64 [3, categories]."""
        levels = context_levels(self.context, np.array([max(city, 0)]), np.array([day]))
        total = [(level @ lifts)[0] for level, lifts in zip(levels, self._lifts, strict=True)]
        return np.stack([-np.expm1(-np.maximum(lift, 0.0)) for lift in total])

    def strongest(self, signal: int, city: int, day: int, categories: Ints) -> int:
        """Which level of a signal (0 weather, 1 occasions, 2 trends) speaks most for some categories; -1 for none."""
        level = context_levels(self.context, np.array([max(city, 0)]), np.array([day]))[signal][0]
        force = level * np.maximum(self._lifts[signal][:, categories], 0.0).sum(axis=1)
        return int(np.argmax(force)) if len(force) and force.max() > 0.0 else -1
