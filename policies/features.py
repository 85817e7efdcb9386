"""What is known of a user and an item together at the start of a visit, as numbers.

One definition serves training (on logged visits) and serving (on ring buffers), so that the two cannot drift apart.
Nothing here knows the context of the visit; ``lifts`` does.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from policies.examples import Examples
from policies.ranking import SelectionRoom, select_top_in, selection_room
from policies.strength import STRENGTH
from simulator.batches import BUY, DAY_SECONDS, Floats, Ints, Ints32, ObservedHistory, ObservedUsers, Requests
from simulator.compiled import bare_kernel, inlined, kernel
from simulator.state import HISTORY_LENGTH, SHOWN_LENGTH

FEATURES: Final = (
    "similar to history",
    "category affinity",
    "department affinity",
    "item appeal",
    "own interactions with the item",
    "times shown in vain",
    "bought in the category lately",
    "profile lift",
)
NF: Final = len(FEATURES)

_SHRINK: Final = 2.0
"""Pseudo-weight added to a user's total: with one click in all, no affinity is certain."""


class Tables(NamedTuple):
    """What a fit leaves for the feature kernels.

    Attributes:
        neighbour, similarity: items most similar to each item, int32 and float64 [items, neighbours].
        appeal: float64 [items].
        category: int32 [items]; department: int32 [categories].
        category_top: best items of each category by appeal, int32 [categories, width], -1 where it has fewer.
        global_top: best items of all, int32 [width].
        gender_lift, age_lift, household_lift: log-lifts, float64 [codes + 1, categories]; the last row is "unknown".
        half_life: days in which an interaction loses half of its weight.
    """

    neighbour: Ints32
    similarity: Floats
    appeal: Floats
    category: Ints32
    department: Ints32
    category_top: Ints32
    global_top: Ints32
    gender_lift: Floats
    age_lift: Floats
    household_lift: Floats
    half_life: float


class Scratch(NamedTuple):
    """Working memory of one kernel call; all zero between visits.

    Attributes:
        item: what is known of each item, one cache line for two: float64 [items, 4], columns SIMILAR, OWN and SHOWN.
        marked: which items are in the pool, bool [items].
        pool: those items, int32 [items + 1]; the last place is never read.
        category, department, bought: float64 [categories].
        widened: categories whose best items are in the pool, bool [categories].
    """

    item: Floats
    marked: npt.NDArray[np.bool_]
    pool: Ints32
    category: Floats
    department: Floats
    bought: Floats
    widened: npt.NDArray[np.bool_]


SIMILAR: Final = 0
OWN: Final = 1
SHOWN: Final = 2


@kernel
def new_scratch(items: int, categories: int) -> Scratch:
    """Zeroed working memory."""
    return Scratch(
        np.zeros((items, 4)),
        np.zeros(items, np.bool_),
        np.empty(items + 1, np.int32),
        np.zeros(categories),
        np.zeros(categories),
        np.zeros(categories),
        np.zeros(categories, np.bool_),
    )


@inlined
def take_in(item: np.uint64, size: int, s: Scratch) -> int:
    """Put an item into the pool of ``size`` items, unless it is there; returns the size then.

    Without a branch, which would be mispredicted at every other item.
    """
    s.pool[size] = item
    size += not s.marked[item]
    s.marked[item] = True
    return size


@bare_kernel
def gather(
    event_item: Ints32,
    event_kind: npt.NDArray[np.int8],
    event_time: Ints,
    shown_item: Ints32,
    time: int,
    t: Tables,
    s: Scratch,
) -> tuple[int, float]:
    """Spread a user's history over the scratch arrays; returns the pool's size and the history's total weight."""
    size = 0
    total = _SHRINK
    for n in range(len(event_item)):
        if event_item[n] < 0:
            continue
        item = np.uint64(event_item[n])  # unsigned, here and below: no index counts from the end
        age = max(time - event_time[n], 0) / DAY_SECONDS
        kind = event_kind[n]
        weight = STRENGTH[kind] * 0.5 ** (age / t.half_life)
        total += weight
        category = np.uint64(t.category[item])
        s.category[category] += weight
        s.department[np.uint64(t.department[category])] += weight
        if kind == BUY:
            s.bought[category] += 0.5 ** (age / 14.0)
        s.item[item, OWN] += weight
        size = take_in(item, size, s)
        for k in range(t.neighbour.shape[1]):
            other = np.uint64(t.neighbour[item, k])
            s.item[other, SIMILAR] += weight * t.similarity[item, k]
            size = take_in(other, size, s)
    for n in range(len(shown_item)):
        if shown_item[n] >= 0:
            s.item[np.uint64(shown_item[n]), SHOWN] += 1.0
    return size, total


@bare_kernel
def widen(event_item: Ints32, size: int, t: Tables, s: Scratch) -> int:
    """Put the best items of the categories met and the best of all into the pool; returns its size then."""
    for n in range(len(event_item)):
        if event_item[n] < 0:
            continue
        category = np.uint64(t.category[np.uint64(event_item[n])])
        if s.widened[category]:
            continue
        s.widened[category] = True
        for k in range(t.category_top.shape[1]):
            if t.category_top[category, k] >= 0:
                size = take_in(np.uint64(t.category_top[category, k]), size, s)
    for n in range(len(t.global_top)):
        size = take_in(np.uint64(t.global_top[n]), size, s)
    return size


@bare_kernel
def release(event_item: Ints32, shown_item: Ints32, size: int, t: Tables, s: Scratch) -> None:
    """Zero what ``gather`` and ``widen`` touched."""
    for n in range(size):
        item = np.uint64(s.pool[n])
        s.item[item, SIMILAR] = 0.0
        s.item[item, OWN] = 0.0
        s.marked[item] = False
    for n in range(len(event_item)):
        if event_item[n] >= 0:
            category = np.uint64(t.category[np.uint64(event_item[n])])
            s.category[category] = 0.0
            s.bought[category] = 0.0
            s.widened[category] = False
            s.department[np.uint64(t.department[category])] = 0.0
    for n in range(len(shown_item)):
        if shown_item[n] >= 0:
            s.item[np.uint64(shown_item[n]), SHOWN] = 0.0


@inlined
def fill(
    item: int, total: float, gender: int, age_band: int, household: int, t: Tables, s: Scratch, out: Floats
) -> None:
    """Write the features of one item into ``out[:NF]``; the order is that of FEATURES."""
    category = t.category[item]
    out[0] = np.sqrt(max(s.item[item, SIMILAR], 0.0) / total)
    out[1] = np.sqrt(s.category[category] / total)
    out[2] = np.sqrt(s.department[t.department[category]] / total)
    out[3] = t.appeal[item]
    out[4] = np.sqrt(s.item[item, OWN] / total)
    out[5] = s.item[item, SHOWN]
    out[6] = s.bought[category]
    out[7] = t.gender_lift[gender, category] + t.age_lift[age_band, category] + t.household_lift[household, category]


@kernel
def _logged_features(
    visit_of: Ints,
    visit_user: Ints,
    visit_time: Ints,
    example_item: Ints32,
    example_clicked: npt.NDArray[np.bool_],
    impressions: bool,
    event_offset: Ints,
    event_item: Ints32,
    event_kind: npt.NDArray[np.int8],
    event_time: Ints,
    event_known: Ints,
    gender: Ints32,
    age_band: Ints32,
    household: Ints32,
    t: Tables,
    out: Floats,
) -> None:
    s = new_scratch(len(t.category), len(t.department))
    shown = np.full(SHOWN_LENGTH, -1, np.int32)
    shown_count = 0
    n = 0
    last_user = -1
    while n < len(visit_of):
        visit = visit_of[n]
        user = visit_user[visit]
        if user != last_user:
            shown[:] = -1
            shown_count = 0
            last_user = user
        end = n
        while end < len(visit_of) and visit_of[end] == visit:
            end += 1
        begin_event = event_offset[user]
        stop = begin_event
        while stop < event_offset[user + 1] and event_known[stop] <= visit_time[visit]:
            stop += 1
        first = max(begin_event, stop - HISTORY_LENGTH)
        items = event_item[first:stop]
        size, total = gather(items, event_kind[first:stop], event_time[first:stop], shown, visit_time[visit], t, s)
        for m in range(n, end):
            fill(example_item[m], total, gender[user], age_band[user], household[user], t, s, out[m])
        release(items, shown, size, t, s)
        if impressions:
            for m in range(n, end):
                if not example_clicked[m]:
                    shown[shown_count % SHOWN_LENGTH] = example_item[m]
                    shown_count += 1
        n = end


def logged_features(examples: Examples, users: ObservedUsers, tables: Tables) -> Floats:
    """Features of logged examples as they stood at the start of each visit, float64 [examples, NF].

    Args:
        examples: visits in (user, time) order with the users' own events.
        users: profiles, row = user id.
        tables: of the fit.
    """
    out = np.empty((len(examples.item), NF))
    _logged_features(
        examples.visit,
        examples.visit_user,
        examples.visit_time,
        examples.item,
        examples.clicked,
        examples.impressions,
        examples.event_offset,
        examples.event_item,
        examples.event_kind,
        examples.event_time,
        examples.event_known,
        users.gender,
        users.age_band,
        users.household,
        tables,
        out,
    )
    return out


@bare_kernel
def _rank_requests(
    row: Ints,
    time: Ints,
    event_item: Ints32,
    event_kind: npt.NDArray[np.int8],
    event_time: Ints,
    shown_item: Ints32,
    gender: Ints32,
    age_band: Ints32,
    household: Ints32,
    extra: Ints32,
    bonus_row: Ints32,
    bonus: Floats,
    weight: Floats,
    t: Tables,
    items: Ints32,
    scores: Floats,
    features: npt.NDArray[np.float32],
    s: Scratch,
    room: SelectionRoom,
    score: Floats,
    near: Floats,
    profile: Floats,
    x: Floats,
    departments: int,
) -> None:
    keep = features.shape[1] > 0
    for n in range(len(row)):
        r = row[n]
        events, shown = event_item[r], shown_item[r]
        size, total = gather(events, event_kind[r], event_time[r], shown, time[n], t, s)
        size = widen(events, size, t, s)
        for k in range(extra.shape[1]):
            if extra[n, k] >= 0:
                size = take_in(np.uint64(extra[n, k]), size, s)
        g, a, h = gender[r], age_band[r], household[r]
        # What ``fill`` says of an item, summed in the same order; what depends on its category alone is said once.
        for k in range(len(profile)):
            near[0, k] = weight[1] * np.sqrt(s.category[k] / total)
            profile[k] = weight[7] * (t.gender_lift[g, k] + t.age_lift[a, k] + t.household_lift[h, k])
        for k in range(departments):
            near[1, k] = weight[2] * np.sqrt(s.department[k] / total)
        for m in range(size):
            score[m] = s.item[np.uint64(s.pool[m]), SIMILAR]
        for m in range(size):
            score[m] = weight[0] * np.sqrt(max(score[m], 0.0) / total)
        for m in range(size):
            item = np.uint64(s.pool[m])
            category = np.uint64(t.category[item])
            value = bonus[bonus_row[n], category] + score[m]
            value += near[0, category]
            value += near[1, np.uint64(t.department[category])]
            value += weight[3] * t.appeal[item]
            if s.item[item, OWN] > 0.0:  # else the feature is 0, and adds nothing
                value += weight[4] * np.sqrt(s.item[item, OWN] / total)
            value += weight[5] * s.item[item, SHOWN]
            value += weight[6] * s.bought[category]
            score[m] = value + profile[category]
        select_top_in(room, s.pool, score, size, items[n], scores[n])
        if keep:
            for k in range(items.shape[1]):
                if items[n, k] >= 0:
                    fill(items[n, k], total, g, a, h, t, s, x)
                    for f in range(NF):
                        features[n, k, f] = x[f]
        release(events, shown, size, t, s)


def rank_requests(
    requests: Requests,
    tables: Tables,
    weight: Floats,
    width: int,
    extra: Ints32,
    bonus_row: Ints32,
    bonus: Floats,
    keep_features: bool,
) -> tuple[Ints32, Floats, npt.NDArray[np.float32]]:
    """The best ``width`` items by the score ``weight . features + bonus``, over each user's own pool.

    The pool holds what is similar to the user's history, the best of the categories met there, the best of all, and
    ``extra``. Cost grows with history length x neighbours, not with the catalogue.

    Args:
        requests: who asks.
        tables: of the fit.
        weight: of the fit, float64 [NF].
        width: items wanted.
        extra: further items to consider, int32 [requests, any], -1 as padding.
        bonus_row: which row of ``bonus`` is a request's, int32 [requests].
        bonus: what is added to the score of each category's items, float64 [any, categories].
        keep_features: whether the features of the chosen items are wanted.

    Returns:
        items int32 [requests, width] padded with -1; scores float64 [requests, width];
        features float32 [requests, width, NF], or [requests, 0, NF].
    """
    history: ObservedHistory = requests.history
    users = requests.users
    size, categories = len(tables.category), len(tables.department)
    items = np.empty((len(requests), width), np.int32)
    scores = np.empty((len(requests), width))
    features = np.zeros((len(requests), width if keep_features else 0, NF), np.float32)
    _rank_requests(
        requests.row,
        requests.time,
        history.item,
        history.kind,
        history.time,
        history.shown,
        users.gender,
        users.age_band,
        users.household,
        extra,
        bonus_row,
        bonus,
        weight,
        tables,
        items,
        scores,
        features,
        new_scratch(size, categories),
        selection_room(size),
        np.empty(size),
        np.empty((2, categories)),
        np.empty(categories),
        np.empty(NF),
        int(tables.department.max()) + 1,
    )
    return items, scores, features
