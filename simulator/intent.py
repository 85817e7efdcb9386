"""What a user wants on this visit: long-term interest, recent intent, and what the context calls for."""

from typing import NamedTuple

import numpy as np

from simulator.batches import BUY, CART, DAY_SECONDS, FAVOURITE, Floats, Ints
from simulator.compiled import bare_kernel, inlined
from simulator.parameters import IntentParameters
from simulator.state import HISTORY_LENGTH, INTENTS, State
from simulator.streams import mix, to_unit
from simulator.world import Baskets, Items, Needs, Users


class IntentConstants(NamedTuple):
    """``IntentParameters`` as the kernels take them; times in seconds."""

    key: np.uint64
    recent_seconds: float
    kept: float
    context_half: float


def intent_constants(parameters: IntentParameters, key: np.uint64) -> IntentConstants:
    """Bind the parameters to a stream."""
    return IntentConstants(key, parameters.recent_days * DAY_SECONDS, parameters.kept, parameters.context_half)


@inlined
def contextual_need(users: Users, needs: Needs, row: int, city: int, day: int, category: int) -> float:
    """How much today's context calls for ``category`` in this user's eyes, 0 or more."""
    return needs.audience[users.segment[row], category] * (
        users.sensitivity[row, 0] * needs.weather[city, day, category]
        + users.sensitivity[row, 1] * needs.occasion[day, category]
        + users.sensitivity[row, 2] * needs.trend[day, users.age_band[row], category]
    )


@inlined
def _recent_weight(state: State, row: int, slot: int, time: int, constants: IntentConstants) -> float:
    kind = state.event_kind[row, slot]
    if state.event_item[row, slot] < 0 or kind == BUY:
        return 0.0  # what was bought is no longer looked for
    weight = np.exp((state.event_time[row, slot] - time) / constants.recent_seconds)
    return constants.kept * weight if kind in (CART, FAVOURITE) else weight


@bare_kernel
def _draw_intents(
    users: Users,
    items: Items,
    needs: Needs,
    baskets: Baskets,
    state: State,
    row: Ints,
    time: Ints,
    constants: IntentConstants,
    weights: Floats,
) -> None:
    recorded = len(baskets.first) > 1
    for n in range(len(row)):
        r = row[n]
        day = time[n] // DAY_SECONDS
        city = users.city[r]
        segment = users.segment[r]
        base = mix(mix(constants.key, users.user[r]), state.visit[r])
        if recorded:
            visit = baskets.first[r] + state.visit[r]
            begin, size = baskets.offset[visit], baskets.offset[visit + 1] - baskets.offset[visit]
            for k in range(INTENTS):
                pick = int(to_unit(mix(base, k)) * size)
                state.intent[r, k] = baskets.category[begin + pick]
            continue
        recent = 0.0
        for slot in range(HISTORY_LENGTH):
            weights[slot] = _recent_weight(state, r, slot, time[n], constants)
            recent += weights[slot]
        mass = (
            users.sensitivity[r, 0] * needs.weather_mass[city, day, segment]
            + users.sensitivity[r, 1] * needs.occasion_mass[day, segment]
            + users.sensitivity[r, 2] * needs.trend_mass[day, users.age_band[r], segment]
        )
        interest = 0.0
        for m in range(users.interest_category.shape[1]):
            if users.interest_weight[r, m] > 0.0:
                interest += users.interest_weight[r, m] * needs.season[day, users.interest_category[r, m]]
        weight_long = users.intent_weight[r, 0]
        weight_recent = users.intent_weight[r, 1] if recent > 0.0 else 0.0
        weight_context = users.intent_weight[r, 2] * mass / (mass + constants.context_half)
        total = weight_long + weight_recent + weight_context
        for k in range(INTENTS):
            source = to_unit(mix(base, 2 * k)) * total
            left = to_unit(mix(base, 2 * k + 1))
            chosen = users.interest_category[r, 0]
            if source < weight_long or total == 0.0:
                left *= interest
                for m in range(users.interest_category.shape[1]):
                    if users.interest_weight[r, m] > 0.0:
                        left -= users.interest_weight[r, m] * needs.season[day, users.interest_category[r, m]]
                    if left <= 0.0:
                        chosen = users.interest_category[r, m]
                        break
            elif source < weight_long + weight_recent:
                left *= recent
                for slot in range(HISTORY_LENGTH):
                    if weights[slot] > 0.0:
                        left -= weights[slot]
                        chosen = items.category[state.event_item[r, slot]]
                        if left <= 0.0:
                            break
            else:
                left *= mass
                for category in range(needs.audience.shape[1]):
                    need = contextual_need(users, needs, r, city, day, category)
                    if need > 0.0:
                        left -= need
                        chosen = category
                        if left <= 0.0:
                            break
            state.intent[r, k] = chosen


def draw_intents(
    users: Users,
    items: Items,
    needs: Needs,
    baskets: Baskets,
    state: State,
    row: Ints,
    time: Ints,
    constants: IntentConstants,
) -> None:
    """Draw what each starting visit is for, into ``state.intent``.

    Every one of a visit's INTENTS categories is drawn from the mixture

        P(c) ~ w_long interest(c) + w_recent recent(c) + w_context M / (M + half) need(c) / M,

    M being the sum of need over categories, so that contexts take hold of a visit as far as there is something to
    them. Interest in what is out of season is smaller. In a world with recorded baskets the categories are drawn from
    the basket that the visit ended with.
    """
    _draw_intents(users, items, needs, baskets, state, row, time, constants, np.empty(HISTORY_LENGTH))
