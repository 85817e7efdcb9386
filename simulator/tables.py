"""What a run writes: one row a user and day with a visit, and the log of impressions."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from simulator.batches import (
    BUY,
    CART,
    CLICK,
    ImpressionLog,
    InteractionLog,
    Ints,
    Requests,
    Responses,
    Slates,
)
from simulator.response import SECONDS_A_PAGE
from simulator.snapshots import Arrays, overwrite

COUNTS: Final = ("sessions", "pages", "impressions", "clicks", "ipv", "atc", "orders", "novel_impressions")
AMOUNTS: Final = ("gmv", "tv")

USER_DAY_SCHEMA: Final = pl.Schema(
    {
        "user": pl.Int64(),
        "arm": pl.String(),
        "day": pl.Int32(),
        "phase": pl.String(),
        **{name: pl.Int64() for name in COUNTS},
        **{name: pl.Float64() for name in AMOUNTS},
    }
)
"""user_days: ``arm`` is the arm the user is assigned to, ``day`` whole days since the horizon's start, ``phase`` one of
warmup, experiment, follow_up. ``ipv`` item-page views, ``atc`` add-to-carts, ``gmv`` paid, ``tv`` paid net of refunds;
a refund counts on the day of its order."""

IMPRESSION_COLUMNS: Final = ("user", "visit", "item", "time", "position", "kind", "propensity")

PHASES: Final = ("warmup", "experiment", "follow_up")


class Recorder:
    """What the engine reports to; this one forgets everything."""

    def page(self, requests: Requests, slates: Slates, responses: Responses) -> None:
        """One page was shown to each request and answered."""

    def snapshot(self) -> Arrays:
        """What it has written so far, as arrays; valid until the next page."""
        return {}

    def restore(self, kept: Arrays) -> None:
        """Go on from what ``snapshot`` gave, in a recorder made with the same arguments."""


class UserDays(Recorder):
    """Sums by user and day.

    Args:
        rows: users of the shard.
        start_day, end_day: days that will be played, end exclusive.
    """

    a_day = 1

    def __init__(self, rows: int, start_day: int, end_day: int) -> None:
        self.start_day = start_day
        shape = (rows, (end_day - start_day) * self.a_day)
        self.sums: dict[str, npt.NDArray[Any]] = {name: np.zeros(shape, np.int32) for name in COUNTS}
        self.sums |= {name: np.zeros(shape) for name in AMOUNTS}

    def page(self, requests: Requests, slates: Slates, responses: Responses) -> None:
        """Add a page to its users' days."""
        where = (requests.row, self._column(requests))
        gross = responses.value.sum(axis=1)
        for name, amount in (
            ("sessions", requests.page == 0),
            ("pages", 1),
            ("impressions", responses.shown.sum(axis=1)),
            ("clicks", responses.clicked.sum(axis=1)),
            ("ipv", responses.views.sum(axis=1)),
            ("atc", responses.carted.sum(axis=1)),
            ("orders", responses.bought.sum(axis=1)),
            ("novel_impressions", responses.novel.sum(axis=1)),
            ("gmv", gross),
            ("tv", gross - responses.refunded.sum(axis=1)),
        ):
            self.sums[name][where] += amount

    def _column(self, requests: Requests) -> Ints:
        return requests.day - self.start_day

    def snapshot(self) -> Arrays:
        """The sums."""
        return self.sums

    def restore(self, kept: Arrays) -> None:
        """See ``Recorder``."""
        for name, sums in self.sums.items():
            overwrite(sums, kept[name])

    def table(self, user: Ints, arm: npt.NDArray[np.str_], phase: Sequence[str]) -> pl.DataFrame:
        """The rows with at least one visit, by user and then day, in USER_DAY_SCHEMA.

        Args:
            user: user id of each row.
            arm: arm of each row.
            phase: phase of each day played.
        """
        row, column = np.nonzero(self.sums["sessions"])
        return pl.DataFrame(
            {
                "user": user[row],
                "arm": arm[row],
                "day": (column + self.start_day).astype(np.int32),
                "phase": np.asarray(phase)[column],
                **{name: self.sums[name][row, column] for name in (*COUNTS, *AMOUNTS)},
            },
            schema_overrides=USER_DAY_SCHEMA,
        ).select(list(USER_DAY_SCHEMA))


class UserPeriods(UserDays):
    """Sums by user and period of a day; a visit belongs to the period in which it begins.

    Args:
        rows: users of the shard.
        start_day: first day that will be played.
        end_day: the day after the last.
        hours: of a period; they divide the day.
    """

    def __init__(self, rows: int, start_day: int, end_day: int, hours: int) -> None:
        if hours < 1 or 24 % hours:
            raise ValueError(f"hours: {hours} (must divide 24)")
        self.hours, self.a_day = hours, 24 // hours
        super().__init__(rows, start_day, end_day)

    def _column(self, requests: Requests) -> Ints:
        begun = requests.time - requests.page * SECONDS_A_PAGE
        return begun // (self.hours * 3600) - self.start_day * self.a_day

    def table(self, user: Ints, arm: npt.NDArray[np.str_], phase: Sequence[str]) -> pl.DataFrame:
        """As of ``UserDays``, a row for each period with a visit, with its first ``hour`` of the day (Int32)."""
        by_period = super().table(user, arm, np.repeat(np.asarray(phase, dtype=np.str_), self.a_day).tolist())
        period = by_period["day"] - self.start_day  # a column of the sums, in place of a day
        return by_period.with_columns(
            (self.start_day + period // self.a_day).cast(pl.Int32).alias("day"),
            (period % self.a_day * self.hours).cast(pl.Int32).alias("hour"),
        )


class Impressions(Recorder):
    """Every impression, for the history that policies learn from. About 40 bytes an impression."""

    def __init__(self) -> None:
        self._parts: list[tuple[npt.NDArray[np.generic], ...]] = []

    def page(self, requests: Requests, slates: Slates, responses: Responses) -> None:
        """Keep what was shown on a page."""
        n, position = np.nonzero(responses.shown)
        kind = np.zeros(responses.shown.shape, np.int8)
        kind[responses.clicked] = CLICK
        kind[responses.carted] = CART
        kind[responses.bought] = BUY
        propensity = slates.propensity
        self._parts.append(
            (
                requests.user[n],
                requests.visit[n],
                slates.items[n, position],
                requests.time[n],
                position.astype(np.int16),
                kind[n, position],
                np.full(len(n), np.nan) if propensity is None else propensity[n, position],
            )
        )

    def snapshot(self) -> Arrays:
        """The impressions so far, by column."""
        self._parts = [self.columns()]
        return dict(zip(IMPRESSION_COLUMNS, self._parts[0], strict=True))

    def restore(self, kept: Arrays) -> None:
        """See ``Recorder``."""
        self._parts = [tuple(kept[name] for name in IMPRESSION_COLUMNS)]

    def columns(self) -> tuple[npt.NDArray[np.generic], ...]:
        """user, visit, item, time, position, kind (0 where not clicked) and propensity of all impressions."""
        if not self._parts:
            empty = (np.int64, np.int64, np.int32, np.int64, np.int16, np.int8, np.float64)
            return tuple(np.zeros(0, dtype) for dtype in empty)
        return tuple(np.concatenate(column) for column in zip(*self._parts, strict=True))


def join_logs(parts: Sequence[tuple[npt.NDArray[np.generic], ...]], start_day: int, end_day: int) -> InteractionLog:
    """The logs of all shards as one, in an order that does not depend on how users were cut into shards."""
    user, visit, item, time, position, kind, propensity = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    order = np.lexsort((position, user, time))
    user, visit, item, time, position, kind, propensity = (
        a[order] for a in (user, visit, item, time, position, kind, propensity)
    )
    interacted = kind > 0
    return InteractionLog(
        start_day=start_day,
        end_day=end_day,
        user=user[interacted],
        item=item[interacted],
        time=time[interacted],
        kind=kind[interacted],
        impressions=ImpressionLog(user, visit, item, time, position, interacted, propensity),
    )
