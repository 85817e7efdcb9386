"""Training examples from a log: what was shown and whether it was clicked, visit by visit.

A log without impressions (a sales ledger) gives its purchases as positives and uniformly drawn items as negatives.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simulator.batches import InteractionLog, Ints, Ints32
from simulator.streams import Stream

NEGATIVES = 6
"""Drawn negatives for each positive where a log has no impressions."""


@dataclass(frozen=True)
class Examples:
    """Examples in (user, visit, position) order, with the events of all users beside them.

    Attributes:
        visit: index of the visit of each example, int64 [examples], ascending.
        item, clicked, position: [examples]; position is 0 where unknown.
        visit_user, visit_time: user id and start (seconds) of each visit, int64 [visits].
        impressions: whether examples are true impressions.
        event_offset: where a user's events begin, int64 [users + 1].
        event_item, event_kind, event_time: all interactions of the log by (user, time).
        event_known: the first second at which a visit may begin that knows of each, int64 [interactions].
    """

    visit: Ints
    item: Ints32
    clicked: npt.NDArray[np.bool_]
    position: Ints
    visit_user: Ints
    visit_time: Ints
    impressions: bool
    event_offset: Ints
    event_item: Ints32
    event_kind: npt.NDArray[np.int8]
    event_time: Ints
    event_known: Ints


def draw_examples(log: InteractionLog, users: int, items: int, most: int, seed: int) -> Examples:
    """All examples of as many users as give about ``most`` of them; users are drawn, never single impressions.

    Args:
        log: the history.
        users: how many there are.
        items: how many there are.
        most: examples wanted at the most, roughly.
        seed: of the draw.
    """
    order = np.lexsort((log.time, log.user))
    event_user = log.user[order]
    offset = np.searchsorted(event_user, np.arange(users + 1)).astype(np.int64)
    if log.impressions is not None:
        shown = log.impressions
        user, visit, item, time = shown.user, shown.visit, shown.item, shown.time
        clicked, position = shown.clicked, shown.position.astype(np.int64)
    else:
        positives = len(log.user)
        drawn = Stream(seed, "examples/negatives").integers(
            items, np.arange(positives)[:, None], np.arange(NEGATIVES)[None, :]
        )
        item = np.concatenate([log.item, drawn.ravel().astype(np.int32)])
        user = np.concatenate([log.user, np.repeat(log.user, NEGATIVES)])
        time = np.concatenate([log.time, np.repeat(log.time, NEGATIVES)])
        visit = time
        clicked = np.arange(len(item)) < positives
        position = np.zeros(len(item), np.int64)
    share = min(1.0, most / max(len(item), 1))
    chosen = (Stream(seed, "examples/users").uniform(np.arange(users)) < share)[user]
    user, visit, item, time = user[chosen], visit[chosen], item[chosen], time[chosen]
    clicked, position = clicked[chosen], position[chosen]
    by = np.lexsort((position, time, visit, user))
    user, visit, item, time = user[by], visit[by], item[by], time[by]
    clicked, position = clicked[by], position[by]
    first = np.ones(len(user), np.bool_)
    first[1:] = (user[1:] != user[:-1]) | (visit[1:] != visit[:-1])
    return Examples(
        visit=np.cumsum(first) - 1,
        item=item,
        clicked=clicked,
        position=position,
        visit_user=user[first],
        visit_time=time[first],
        impressions=log.impressions is not None,
        event_offset=offset,
        event_item=log.item[order],
        event_kind=log.kind[order],
        event_time=log.time[order],
        event_known=log.known_from[order],
    )


def halves(users: int, seed: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Two random halves of the users, bool [users] each.

    What is counted on one half is judged on the other: a click rate that already holds the click it is to explain would
    be believed far too much.
    """
    first = Stream(seed, "examples/halves").uniform(np.arange(users)) < 0.5
    return first, ~first
