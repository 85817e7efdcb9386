"""Users as they stood at moments of a log: what a policy would have been asked then.

Reads a log and writes the same ring buffers that a simulation keeps, so that what is learned at logged moments and
what is served cannot differ in form. Knows no policy and no model.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

from simulator.batches import (
    DAY_SECONDS,
    InteractionLog,
    Ints,
    Ints32,
    ObservedUsers,
    Requests,
    read_only,
)
from simulator.environment.context import ObservedContext
from simulator.state import State, new_state, observed_history, write_event, write_shown

_PROFILE: Final = ("city", "gender", "age_band", "household")


@njit(cache=True)
def _replay(
    state: State,
    user: Ints,
    time: Ints,
    event_offset: Ints,
    event_item: Ints32,
    event_kind: npt.NDArray[np.int8],
    event_time: Ints,
    event_known: Ints,
    shown_offset: Ints,
    shown_item: Ints32,
    shown_time: Ints,
) -> None:
    """Write what each moment's user had done and been shown by then."""
    for n in range(len(user)):
        for m in range(event_offset[user[n]], event_offset[user[n] + 1]):
            if event_known[m] > time[n]:
                break
            write_event(state, n, event_item[m], event_kind[m], event_time[m])
        for m in range(shown_offset[user[n]], shown_offset[user[n] + 1]):
            if shown_time[m] >= time[n]:
                break
            write_shown(state, n, shown_item[m])


def requests_at(
    log: InteractionLog, users: ObservedUsers, items: int, context: ObservedContext, user: Ints, time: Ints
) -> Requests:
    """First pages asked for at logged moments, each with the history before it; row i is moment i.

    Unlike the requests of a simulation, these may hold one user at several moments, and their days differ: whoever
    reads ``context`` must read each request's own day and none after it. A log with impressions tells the time of each
    page, where a simulation's buffers have that of the visit. About 1.4 KiB a moment plus one bit an item.

    Args:
        log: what was done, and shown where it holds impressions.
        users: profiles, row = user id.
        items: size of the catalogue.
        context: what could be observed until the log's end.
        user: user ids, int64 [moments].
        time: seconds since the horizon's start, int64 [moments]; a moment past the last day of ``context`` is given
            that day.
    """
    user, time = np.asarray(user, np.int64), np.asarray(time, np.int64)
    asked = np.zeros(len(users.user), np.bool_)
    asked[user] = True
    log = log.of_users(asked)
    bounds = np.arange(len(users.user) + 1)
    order = np.lexsort((log.time, log.user))
    if log.impressions is not None:
        unclicked = np.flatnonzero(~log.impressions.clicked)
        shown = log.impressions
        by = unclicked[np.lexsort((shown.position[unclicked], shown.time[unclicked], shown.user[unclicked]))]
        shown_user, shown_item, shown_time = shown.user[by], shown.item[by], shown.time[by]
    else:
        shown_user = shown_time = np.zeros(0, np.int64)
        shown_item = np.zeros(0, np.int32)
    state = new_state(len(user), items, 0.0)
    _replay(
        state,
        user,
        time,
        np.searchsorted(log.user[order], bounds),
        log.item[order],
        log.kind[order],
        log.time[order],
        log.known_from[order],
        np.searchsorted(shown_user, bounds),
        shown_item,
        shown_time,
    )
    rows = ObservedUsers(users.user[user], *(getattr(users, name)[user] for name in _PROFILE))
    moments = np.arange(len(user), dtype=np.int64)
    return Requests(
        row=read_only(moments),
        user=read_only(user),
        visit=read_only(moments),
        page=0,
        slots=1,
        max_pages=1,
        time=read_only(time),
        day=read_only(np.minimum(time // DAY_SECONDS, context.days - 1)),
        city=rows.city,
        users=rows,
        history=observed_history(state),
        context=context,
        already=np.zeros((len(user), 0), np.int32),
    )
