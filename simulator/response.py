"""How a page is answered: examine, click, look, buy or keep for later, return, ask for more, leave. The hot kernel.

All draws are keyed by (user, visit, item) or (user, visit, page, position), never by the arm or by what happened
before, so that under two policies the same user meets the same item with the same luck.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from simulator.batches import BUY, CART, CLICK, DAY_SECONDS, FAVOURITE, Bools, Floats, Ints, Ints32, Responses
from simulator.compiled import bare_kernel, inlined, kernel
from simulator.intent import contextual_need
from simulator.parameters import FeedParameters, ResponseParameters
from simulator.state import (
    HISTORY_LENGTH,
    INTENTS,
    SHOWN_LENGTH,
    State,
    drop_item,
    has_interacted,
    put_into_cart,
    write_event,
    write_read,
    write_shown,
)
from simulator.streams import mix, to_unit
from simulator.world import Items, Needs, Users

SECONDS_A_PAGE: Final = 45
"""How long a page takes: requests, and the logs written of them, tell a page by the second at which it is shown.

What users remember of a visit (history, cart, and the satiation that follows from them) carries the second at which it
began, and their days' sums are those of the day on which it began.
"""

MOST_PIECES: Final = 9

VALUE_CLICK: Final = 0.4
VALUE_KEPT: Final = 0.3
VALUE_BUY: Final = 0.9
"""Worth of a click to the user, and what a favourite or a cart, or a purchase, adds to it."""

_EXAMINE, _OTHER, _OPEN, _DISTRACT, _MORE = 0, 1, 2, 3, 4
_CLICK, _VIEWS, _CART, _BUY, _PIECES, _REFUND, _FAVOURITE = 8, 9, 10, 11, 12, 13, 14


class ResponseConstants(NamedTuple):
    """``ResponseParameters`` and ``FeedParameters`` as the kernel takes them.

    Chances that depend on nothing but whether the visit is for the item's category are worked out beforehand: first
    where it is not, then where it is.
    """

    key: np.uint64
    examination_decay: float
    click_base: float
    intent: float
    department: float
    interest: float
    need: float
    style: float
    quality: float
    price: float
    satiation: float
    satiation_seconds: float
    fatigue: float
    novelty: float
    buys: tuple[float, float]
    carts: tuple[float, float]
    favourites: tuple[float, float]
    cart_seconds: float
    checks_out: float
    buys_line: float
    extra_views: float
    extra_quantity: float
    refund_base: float
    refund_quality: float
    page_reward: float
    page_weariness: float
    other_share: float
    other_appeal: float
    other_distraction: float
    other_reward: float


class Reading(NamedTuple):
    """What users make of the explanations on their pages, before they answer them.

    Attributes:
        bonus: what each adds to the click logit of its slot, float64 [requests, slots].
        gist: what is remembered of having read it, uint64 [requests, slots]; 0 where there is none.
    """

    bonus: Floats
    gist: npt.NDArray[np.uint64]


NOTHING_TO_READ: Final = Reading(np.zeros((0, 0)), np.zeros((0, 0), np.uint64))


def response_constants(
    response: ResponseParameters, feed: FeedParameters, scenario: str, key: np.uint64
) -> ResponseConstants:
    """Bind the parameters to a stream; on an item grid no position is taken by other cards."""
    r = response

    def chances(base: float) -> tuple[float, float]:
        return float(expit(base)), float(expit(base + r.conversion_match))

    return ResponseConstants(
        key=key,
        examination_decay=r.examination_decay,
        click_base=r.click_base,
        intent=r.intent,
        department=r.department,
        interest=r.interest,
        need=r.need,
        style=r.style,
        quality=r.quality,
        price=r.price,
        satiation=r.satiation,
        satiation_seconds=r.satiation_days * DAY_SECONDS,
        fatigue=r.fatigue,
        novelty=r.novelty,
        buys=chances(r.buy_base),
        carts=chances(r.cart_base),
        favourites=chances(r.favourite_base),
        cart_seconds=r.cart_days * DAY_SECONDS,
        checks_out=float(expit(r.checkout_base)),
        buys_line=float(expit(r.line_base)),
        extra_views=r.extra_views,
        extra_quantity=r.extra_quantity,
        refund_base=r.refund_base,
        refund_quality=r.refund_quality,
        page_reward=r.page_reward,
        page_weariness=r.page_weariness,
        other_share=feed.other_share if scenario == "feed" else 0.0,
        other_appeal=feed.other_appeal,
        other_distraction=feed.other_distraction,
        other_reward=feed.other_reward,
    )


@inlined
def logistic(x: float) -> float:
    """1 / (1 + e^-x)."""
    return 1.0 / (1.0 + np.exp(-x))


@inlined
def intent_match(state: State, row: int, category: int) -> float:
    """1 if the visit is for ``category``, else 0."""
    for k in range(INTENTS):
        if state.intent[row, k] == category:
            return 1.0
    return 0.0


@inlined
def find_purchases(state: State, row: int, slots: Ints) -> int:
    """Write the history's slots that hold a purchase into ``slots`` [HISTORY_LENGTH], rising; returns how many."""
    found = 0
    for slot in range(HISTORY_LENGTH):
        found += state.event_kind[row, slot] == BUY
    if found == 0:
        return 0
    found = 0
    for slot in range(HISTORY_LENGTH):
        if state.event_kind[row, slot] == BUY:
            slots[found] = slot
            found += 1
    return found


@inlined
def satiation_of(
    items: Items, state: State, row: int, time: int, category: int, seconds: float, slots: Ints, found: int
) -> float:
    """Recent purchases in ``category``, each fading with time, of those that ``find_purchases`` found."""
    total = 0.0
    for n in range(found):
        slot = slots[n]
        if items.category[state.event_item[row, slot]] == category:
            total += np.exp((state.event_time[row, slot] - time) / seconds)
    return total


@inlined
def paid_for(items: Items, item: int, key: np.uint64, c: ResponseConstants) -> float:
    """What is paid for an order of ``item``: pieces times price."""
    pieces = 1
    if c.extra_quantity > 0.0:
        pieces += int(np.log(to_unit(mix(key, _PIECES))) / np.log(c.extra_quantity))
    return min(pieces, MOST_PIECES) * items.price[item]


@inlined
def is_returned(items: Items, item: int, key: np.uint64, c: ResponseConstants) -> bool:
    """Whether an order of ``item`` is sent back."""
    return to_unit(mix(key, _REFUND)) < logistic(c.refund_base - c.refund_quality * items.quality[item])


@inlined
def category_logit(
    users: Users,
    items: Items,
    needs: Needs,
    state: State,
    row: int,
    time: int,
    category: int,
    purchases: Ints,
    purchased: int,
    c: ResponseConstants,
) -> float:
    """The part of the click logit that all items of a category share; purchases are those of ``find_purchases``."""
    day = time // DAY_SECONDS
    match = intent_match(state, row, category)
    logit = c.click_base + c.intent * match
    if match == 0.0:
        for k in range(INTENTS):
            wanted = state.intent[row, k]
            if wanted >= 0 and items.department[wanted] == items.department[category]:
                logit += c.department
                break
    for m in range(users.interest_category.shape[1]):
        if users.interest_category[row, m] == category:
            share = users.interest_weight[row, m] / users.interest_weight[row, 0]
            logit += c.interest * share * needs.season[day, category]
            break
    logit += c.need * contextual_need(users, needs, row, users.city[row], day, category)
    satiation = satiation_of(items, state, row, time, category, c.satiation_seconds, purchases, purchased)
    return logit - c.satiation * (1.0 - items.repeat[category]) * satiation


@inlined
def item_logit(users: Users, items: Items, state: State, row: int, item: int, c: ResponseConstants) -> float:
    """The part of the click logit that is the item's own."""
    taste = 0.0
    for d in range(users.style.shape[1]):
        taste += users.style[row, d] * items.style[item, d]
    misfit = abs(items.price_level[item] - users.price_level[row]) * users.price_sensitivity[row]
    times_shown = 0
    for slot in range(SHOWN_LENGTH):
        if state.shown_item[row, slot] == item:
            times_shown += 1
    logit = c.style * taste + c.quality * items.quality[item] - c.price * misfit - c.fatigue * times_shown
    if not has_interacted(state.interacted, row, item):
        logit += c.novelty * users.novelty[row]
    return logit


@kernel
def click_logits(
    users: Users, items: Items, needs: Needs, state: State, row: Ints, time: Ints, c: ResponseConstants
) -> Floats:
    """Click logit, given examination, of every item for each row: the truth, float64 [rows, items]."""
    out = np.empty((len(row), len(items.category)))
    shared = np.empty(needs.audience.shape[1])
    purchases = np.empty(HISTORY_LENGTH, np.int64)
    for n in range(len(row)):
        purchased = find_purchases(state, row[n], purchases)
        for category in range(len(shared)):
            shared[category] = category_logit(
                users, items, needs, state, row[n], time[n], category, purchases, purchased, c
            )
        for item in range(out.shape[1]):
            own = item_logit(users, items, state, row[n], item, c)
            out[n, item] = shared[items.category[item]] + own
    return out


@bare_kernel
def _respond(
    users: Users,
    items: Items,
    needs: Needs,
    state: State,
    row: Ints,
    time: Ints,
    page: int,
    last: bool,
    slates: Ints32,
    reading: Reading,
    c: ResponseConstants,
    shown: Bools,
    novel: Bools,
    clicked: Bools,
    favourited: Bools,
    carted: Bools,
    bought: Bools,
    views: Ints,
    value: Floats,
    refunded: Floats,
    leaves: Bools,
    examine: Floats,
    seen: Bools,
    purchases: Ints,
) -> None:
    slots = slates.shape[1]
    for position in range(slots):
        examine[position] = (1.0 + position) ** -c.examination_decay
    explained = reading.bonus.size > 0
    for n in range(len(row)):
        r = row[n]
        purchased = find_purchases(state, r, purchases)
        visit_key = mix(mix(c.key, users.user[r]), state.visit[r])
        page_key = mix(visit_key, page)
        clicks = 0
        seen[:] = False
        attentive = True
        k = 0
        for position in range(slots):
            position_key = mix(page_key, position)
            examined = attentive and to_unit(mix(position_key, _EXAMINE)) < examine[position]
            if c.other_share > 0.0 and to_unit(mix(position_key, _OTHER)) < c.other_share:
                if examined and to_unit(mix(position_key, _OPEN)) < c.other_appeal:
                    state.visit_value[r] += c.other_reward
                    attentive = to_unit(mix(position_key, _DISTRACT)) >= c.other_distraction
                continue
            item = slates[n, k]
            if item < 0:
                break
            shown[n, k] = True
            novel[n, k] = not has_interacted(state.interacted, r, item)
            if examined:
                seen[k] = True
                item_key = mix(visit_key, -1 - item)
                category = items.category[item]
                logit = category_logit(users, items, needs, state, r, time[n], category, purchases, purchased, c)
                logit += item_logit(users, items, state, r, item, c)
                if explained:
                    logit += reading.bonus[n, k]
                clicked[n, k] = to_unit(mix(item_key, _CLICK)) < logistic(logit)
                if clicked[n, k]:
                    clicks += 1
                    views[n, k] = 1
                    if c.extra_views > 0.0:
                        views[n, k] += int(np.log(to_unit(mix(item_key, _VIEWS))) / np.log(c.extra_views))
                    wanted = int(intent_match(state, r, category))
                    state.visit_value[r] += VALUE_CLICK
                    if to_unit(mix(item_key, _BUY)) < c.buys[wanted]:
                        bought[n, k] = True
                        value[n, k] = paid_for(items, item, item_key, c)
                        if is_returned(items, item, item_key, c):
                            refunded[n, k] = value[n, k]
                        state.visit_value[r] += VALUE_BUY
                    elif to_unit(mix(item_key, _CART)) < c.carts[wanted]:
                        carted[n, k] = True
                        state.visit_value[r] += VALUE_KEPT
                    elif to_unit(mix(item_key, _FAVOURITE)) < c.favourites[wanted]:
                        favourited[n, k] = True
                        state.visit_value[r] += VALUE_KEPT
            k += 1
            if k == slots:
                break
        # Histories are written after the page has been answered: a page is seen as a whole.
        for k in range(slots):
            if clicked[n, k]:
                kind = CLICK
                if bought[n, k]:
                    kind = BUY
                    drop_item(state, r, slates[n, k])
                elif carted[n, k]:
                    kind = CART
                    put_into_cart(state, r, slates[n, k], time[n])
                elif favourited[n, k]:
                    kind = FAVOURITE
                write_event(state, r, slates[n, k], kind, time[n])
            elif shown[n, k]:
                write_shown(state, r, slates[n, k])
            if explained and seen[k] and reading.gist[n, k] != np.uint64(0):
                write_read(state, r, reading.gist[n, k])
        more = users.patience[r] + c.page_reward * clicks - c.page_weariness * page
        leaves[n] = last or to_unit(mix(page_key, -1 - _MORE)) >= logistic(more)


def respond(
    users: Users,
    items: Items,
    needs: Needs,
    state: State,
    row: Ints,
    time: Ints,
    page: int,
    last: bool,
    slates: Ints32,
    constants: ResponseConstants,
    reading: Reading = NOTHING_TO_READ,
) -> Responses:
    """Show one page to each row and let its user answer; histories and the visit's value move on in ``state``.

    Args:
        users: their truth.
        items: their truth.
        needs: what contexts call for.
        state: moving state of the same rows.
        row: rows answering, int64 [requests], each at most once.
        time: seconds since the horizon's start, int64 [requests].
        page: page of the visit, from 0.
        last: whether no further page is possible.
        slates: items shown, int32 [requests, slots], padded with -1 at the end.
        constants: parameters and stream.
        reading: of the explanations shown with them, if any are.
    """
    shape = slates.shape
    shown, novel, clicked, favourited, carted, bought = np.zeros((6, *shape), np.bool_)
    value, refunded = np.zeros((2, *shape))
    views, leaves = np.zeros(shape, np.int64), np.zeros(len(slates), np.bool_)
    _respond(
        users,
        items,
        needs,
        state,
        row,
        time,
        page,
        last,
        slates,
        reading,
        constants,
        shown,
        novel,
        clicked,
        favourited,
        carted,
        bought,
        views,
        value,
        refunded,
        leaves,
        np.empty(shape[1]),
        np.empty(shape[1], np.bool_),
        np.empty(HISTORY_LENGTH, np.int64),
    )
    return Responses(shown, novel, clicked, favourited, carted, bought, views, value, refunded, leaves)
