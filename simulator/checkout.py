"""How a visit begins for a user with something in the cart: at the checkout, where some of it is bought, or elsewhere.

Draws are keyed by (user, visit, item), apart from those of pages. Knows the cart; no page, and not what the visit is
for, which is drawn after it.
"""

from typing import Final

import numpy as np

from simulator.batches import BUY, Checkouts, Floats, Ints, Ints32
from simulator.compiled import bare_kernel
from simulator.response import VALUE_BUY, ResponseConstants, is_returned, paid_for
from simulator.state import State, drop_line, write_event
from simulator.streams import mix, to_unit
from simulator.world import Items, Users

_CHECKOUT: Final = 1 << 32
"""Where a page's key has its number; no visit has so many pages."""
_GOES, _BUYS = 0, 1


@bare_kernel
def _check_out(
    users: Users,
    items: Items,
    state: State,
    row: Ints,
    time: Ints,
    c: ResponseConstants,
    entry: Ints,
    item_bought: Ints32,
    value: Floats,
    refunded: Floats,
) -> int:
    """Write what is bought, with the entry of ``row`` that it belongs to; returns how many lines."""
    lines = 0
    for n in range(len(row)):
        r = row[n]
        while state.cart_count[r] > 0 and time[n] - state.cart_time[r, 0] > c.cart_seconds:
            drop_line(state, r, 0)
        if state.cart_count[r] == 0:
            continue
        key = mix(mix(mix(c.key, users.user[r]), state.visit[r]), _CHECKOUT)
        if to_unit(mix(key, _GOES)) >= c.checks_out:
            continue
        line = 0
        while line < state.cart_count[r]:
            item = state.cart_item[r, line]
            item_key = mix(key, -1 - item)
            if to_unit(mix(item_key, _BUYS)) >= c.buys_line:
                line += 1
                continue
            entry[lines], item_bought[lines] = n, item
            value[lines] = paid_for(items, item, item_key, c)
            if is_returned(items, item, item_key, c):
                refunded[lines] = value[lines]
            lines += 1
            state.visit_value[r] += VALUE_BUY
            write_event(state, r, item, BUY, time[n])
            drop_line(state, r, line)
    return lines


def check_out(
    users: Users, items: Items, state: State, row: Ints, time: Ints, constants: ResponseConstants
) -> Checkouts | None:
    """Let users with something in the cart begin their visits at the checkout, if they care to.

    A visit begins there with the chance of ``checkout_base``; each item of the cart is then bought with that of
    ``line_base``. Items older than ``cart_days`` are gone before.
    Carts, histories and the visit's value move on in ``state``.

    Args:
        users: their truth.
        items: their truth.
        state: moving state of the same rows.
        row: rows whose visits begin, int64 [requests], each at most once.
        time: of arrival, seconds since the horizon's start, int64 [requests].
        constants: parameters and stream.

    Returns:
        What was bought, by entry of ``row`` and age in the cart; None if nothing was.
    """
    most = int(state.cart_count[row].sum())
    if most == 0:
        return None
    entry, item = np.zeros(most, np.int64), np.zeros(most, np.int32)
    value, refunded = np.zeros((2, most))
    lines = _check_out(users, items, state, row, time, constants, entry, item, value, refunded)
    if lines == 0:
        return None
    entry = entry[:lines]
    whose, when = row[entry], time[entry]
    return Checkouts(
        row=whose,
        user=users.user[whose],
        visit=state.visit[whose],
        time=when,
        item=item[:lines],
        value=value[:lines],
        refunded=refunded[:lines],
    )
