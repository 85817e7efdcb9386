"""What a run writes: one row a user and day with a visit, and the log of impressions and carts bought."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from simulator.batches import (
    BUY,
    CART,
    CLICK,
    DAY_SECONDS,
    FAVOURITE,
    Bools,
    Checkouts,
    Floats,
    ImpressionLog,
    InteractionLog,
    Ints,
    Ints32,
    Requests,
    Responses,
    Slates,
)
from simulator.compiled import bare_kernel
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

FROM_CART: Final = -1
"""In place of a position: bought from the cart."""

PHASES: Final = ("warmup", "experiment", "follow_up")


class Recorder:
    """What the engine reports to; this one forgets everything."""

    def page(self, requests: Requests, slates: Slates, responses: Responses) -> None:
        """One page was shown to each request and answered."""

    def checkouts(self, checkouts: Checkouts) -> None:
        """Visits begin with purchases from the cart; told before their first pages."""

    def snapshot(self) -> Arrays:
        """What it has written so far, as arrays; valid until the next page."""
        return {}

    def restore(self, kept: Arrays) -> None:
        """Go on from what ``snapshot`` gave, in a recorder made with the same arguments."""


@bare_kernel
def _add_page(
    row: Ints,
    day: Ints,
    first: bool,
    shown: Bools,
    novel: Bools,
    clicked: Bools,
    carted: Bools,
    bought: Bools,
    views: Ints,
    paid: Floats,
    refunded: Floats,
    counts: Ints32,
    amounts: Floats,
) -> None:
    """Add a page to counts [rows, days, COUNTS] and amounts [rows, days, AMOUNTS], which are in that order."""
    for n in range(len(row)):
        impressions = clicks = ipv = atc = orders = novel_impressions = 0
        for k in range(shown.shape[1]):
            impressions += shown[n, k]
            clicks += clicked[n, k]
            ipv += views[n, k]
            atc += carted[n, k]
            orders += bought[n, k]
            novel_impressions += novel[n, k]
        r, d = row[n], day[n]
        counts[r, d, 0] += first
        counts[r, d, 1] += 1
        counts[r, d, 2] += impressions
        counts[r, d, 3] += clicks
        counts[r, d, 4] += ipv
        counts[r, d, 5] += atc
        counts[r, d, 6] += orders
        counts[r, d, 7] += novel_impressions
        amounts[r, d, 0] += paid[n]
        amounts[r, d, 1] += paid[n] - refunded[n]


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
        # What belongs to one user and day lies together, since a page adds to all of it.
        self._counts = np.zeros((*shape, len(COUNTS)), np.int32)
        self._amounts = np.zeros((*shape, len(AMOUNTS)))
        self.sums: dict[str, npt.NDArray[Any]] = {name: self._counts[:, :, n] for n, name in enumerate(COUNTS)}
        self.sums |= {name: self._amounts[:, :, n] for n, name in enumerate(AMOUNTS)}

    def page(self, requests: Requests, slates: Slates, responses: Responses) -> None:
        """Add a page to its users' days."""
        r = responses
        _add_page(
            requests.row,
            self._column(requests),
            requests.page == 0,
            r.shown,
            r.novel,
            r.clicked,
            r.carted,
            r.bought,
            r.views,
            r.value.sum(axis=1),
            r.refunded.sum(axis=1),
            self._counts,
            self._amounts,
        )

    def checkouts(self, checkouts: Checkouts) -> None:
        """Add orders from the cart to their users' days."""
        at = checkouts.row, self._place(checkouts.time)
        np.add.at(self.sums["orders"], at, 1)
        np.add.at(self.sums["gmv"], at, checkouts.value)
        np.add.at(self.sums["tv"], at, checkouts.value - checkouts.refunded)

    def _column(self, requests: Requests) -> Ints:
        return self._place(requests.time - requests.page * SECONDS_A_PAGE)

    def _place(self, begun: Ints) -> Ints:
        """The column of visits that begin at some times."""
        return begun // DAY_SECONDS - self.start_day

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

    def _place(self, begun: Ints) -> Ints:
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
    """Every impression and purchase from the cart, for the history that policies learn from. About 40 bytes each."""

    def __init__(self) -> None:
        self._parts: list[tuple[npt.NDArray[np.generic], ...]] = []

    def page(self, requests: Requests, slates: Slates, responses: Responses) -> None:
        """Keep what was shown on a page."""
        n, position = np.nonzero(responses.shown)
        kind = np.zeros(responses.shown.shape, np.int8)
        kind[responses.clicked] = CLICK
        kind[responses.favourited] = FAVOURITE
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

    def checkouts(self, checkouts: Checkouts) -> None:
        """Keep what was bought from the cart, at a position in front of all pages."""
        bought, lines = checkouts, len(checkouts)
        position, kind = np.full(lines, FROM_CART, np.int16), np.full(lines, BUY, np.int8)
        nowhere = np.full(lines, np.nan)
        self._parts.append((bought.user, bought.visit, bought.item, bought.time, position, kind, nowhere))

    def snapshot(self) -> Arrays:
        """The impressions so far, by column."""
        self._parts = [self.columns()]
        return dict(zip(IMPRESSION_COLUMNS, self._parts[0], strict=True))

    def restore(self, kept: Arrays) -> None:
        """See ``Recorder``."""
        self._parts = [tuple(kept[name] for name in IMPRESSION_COLUMNS)]

    def columns(self) -> tuple[npt.NDArray[np.generic], ...]:
        """user, visit, item, time, position, kind (0 where not clicked) and propensity of all impressions.

        A purchase from the cart has the position FROM_CART and no propensity.
        """
        if not self._parts:
            empty = (np.int64, np.int64, np.int32, np.int64, np.int16, np.int8, np.float64)
            return tuple(np.zeros(0, dtype) for dtype in empty)
        return tuple(np.concatenate(column) for column in zip(*self._parts, strict=True))


def by_time_user_position(
    time: npt.NDArray[np.generic], user: npt.NDArray[np.generic], position: npt.NDArray[np.generic]
) -> Ints:
    """What ``np.lexsort((position, user, time))`` gives, int64 [rows]; one key, sorted once, takes a third of its time.

    Args:
        time: seconds, none below 0, [rows].
        user: ids, none below 0, [rows].
        position: none below FROM_CART, [rows].

    Raises:
        OverflowError: the keys do not fit into 63 bits; those of ten million users in ten years do.
    """
    if len(time) == 0:
        return np.zeros(0, np.int64)
    place = position.astype(np.int64) - FROM_CART
    users, positions = int(user.max()) + 1, int(place.max()) + 1
    if (int(time.max()) + 1) * users * positions > 1 << 63:
        raise OverflowError(f"log: {users} users and {positions} positions (too many to sort by one key)")
    key = (time.astype(np.int64) * users + user.astype(np.int64)) * positions + place
    return np.argsort(key, kind="stable")


def join_logs(parts: Sequence[tuple[npt.NDArray[np.generic], ...]], start_day: int, end_day: int) -> InteractionLog:
    """The logs of all shards as one, in an order that does not depend on how users were cut into shards."""
    user, visit, item, time, position, kind, propensity = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    order = by_time_user_position(time, user, position)
    interacted, shown = order[kind[order] > 0], order[position[order] != FROM_CART]
    return InteractionLog(
        start_day=start_day,
        end_day=end_day,
        user=user[interacted],
        item=item[interacted],
        time=time[interacted],
        kind=kind[interacted],
        impressions=ImpressionLog(
            *(column[shown] for column in (user, visit, item, time, position, kind > 0, propensity))
        ),
        from_cart=position[interacted] == FROM_CART,
    )
