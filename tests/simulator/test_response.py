from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.batches import BUY, CART, CLICK, DAY_SECONDS, FAVOURITE, NO_ITEM, Ints, Responses
from simulator.response import (
    MOST_PIECES,
    NOTHING_TO_READ,
    VALUE_BUY,
    VALUE_CLICK,
    VALUE_KEPT,
    Reading,
    click_logits,
    respond,
    response_constants,
)
from simulator.state import SHOWN_LENGTH, State, new_state, write_events
from simulator.streams import stream_key
from simulator.world import World

NOON = 3 * DAY_SECONDS + 43_200
SLOTS = 10
EAGER: dict[str, Any] = {"click_base": 12.0}
NEVER_CLICKS: dict[str, Any] = {"click_base": -60.0}


def constants(world: World, scenario: str = "item", feed: Any = None, **changes: Any) -> Any:
    """The world's response parameters with some of them changed."""
    return response_constants(
        world.behaviour.response.model_copy(update=changes),
        world.behaviour.feed.model_copy(update=feed or {}),
        scenario,
        stream_key(world.seed, "response"),
    )


def fresh(world: World, visit: int = 0) -> State:
    """Users on their n-th visit, for their three first interests, who have done nothing yet."""
    state = new_state(world.users, world.catalog.items, 0.25)
    state.visit[:] = visit
    state.intent[:] = world.population.interest_category[:, :3]
    return state


def logits(world: World, state: State, time: int = NOON, **changes: Any) -> np.ndarray:
    """True click logits of all users and items."""
    arrays = (world.user_arrays(), world.item_arrays(), world.needs)
    rows, times = np.arange(world.users), np.full(world.users, time, dtype=np.int64)
    return click_logits(*arrays, state, rows, times, constants(world, **changes))


def answer(
    world: World,
    state: State,
    slates: Any,
    c: Any,
    rows: Ints | None = None,
    page: int = 0,
    last: bool = False,
    reading: Reading = NOTHING_TO_READ,
) -> Responses:
    """What users do with a page; one slate may serve them all."""
    rows = np.arange(world.users) if rows is None else rows
    slates = np.asarray(slates, dtype=np.int32)
    slates = np.tile(slates, (len(rows), 1)) if slates.ndim == 1 else slates
    arrays = (world.user_arrays(), world.item_arrays(), world.needs)
    times = np.full(len(rows), NOON, dtype=np.int64)
    return respond(*arrays, state, rows, times, page, last, slates, c, reading)


def with_catalog(world: World, **changes: Any) -> World:
    """The same world with other items."""
    return replace(world, catalog=replace(world.catalog, **changes))


def with_users(world: World, **changes: Any) -> World:
    """The same world with other traits."""
    return replace(world, population=replace(world.population, **changes))


def test_better_items_are_liked_more(world: World) -> None:
    """One unit of quality adds its coefficient to the click logit, for everybody."""
    better = with_catalog(world, quality=world.catalog.quality + 1.0)
    gain = logits(better, fresh(world)) - logits(world, fresh(world))
    assert np.allclose(gain, world.behaviour.response.quality)


def test_what_the_visit_is_for_is_liked_more(world: World) -> None:
    """An intended category gains the coefficient of intent, and the rest of its department that of department."""
    r = world.behaviour.response
    idle, wanting = fresh(world), fresh(world)
    idle.intent[:] = NO_ITEM
    wanting.intent[:] = 17
    gain = logits(world, wanting) - logits(world, idle)
    category, department = world.catalog.observed.category, world.catalog.observed.department
    intended, near = category == 17, (department[category] == department[17]) & (category != 17)
    assert near.any()
    assert np.allclose(gain[:, intended], r.intent)
    assert np.allclose(gain[:, near], r.department)
    assert (gain[:, ~intended & ~near] == 0).all()


def test_long_term_interests_are_liked_more(world: World) -> None:
    """The click logit rises with the weight of the interest, the strongest giving the whole coefficient."""
    p = world.population
    none = with_users(world, interest_category=np.full_like(p.interest_category, -1))
    state = fresh(world)
    gain = logits(world, state) - logits(none, state)
    category = world.catalog.observed.category
    for rank in (0, 1, 5):
        here = category[None, :] == p.interest_category[:, [rank]]
        season = world.needs.season[NOON // DAY_SECONDS][p.interest_category[:, rank]]
        expected = world.behaviour.response.interest * season * p.interest_weight[:, rank] / p.interest_weight[:, 0]
        assert here.any()
        assert np.allclose(gain[here], np.broadcast_to(expected[:, None], here.shape)[here])


def test_what_the_context_calls_for_is_liked_more(world: World) -> None:
    """The click logit rises with today's contextual need, in proportion to the user's sensitivity."""
    numb = with_users(world, sensitivity=np.zeros_like(world.population.sensitivity))
    double = with_users(world, sensitivity=2.0 * world.population.sensitivity)
    state = fresh(world)
    gain = logits(world, state) - logits(numb, state)
    assert gain.min() >= 0.0
    assert gain.max() > 0.1
    assert np.allclose(logits(double, state) - logits(numb, state), 2.0 * gain)


def test_taste_and_price_fit(world: World) -> None:
    """Taste enters as a dot product, and a price off the user's level costs by the user's own sensitivity."""
    r, p, c = world.behaviour.response, world.population, world.catalog
    state = fresh(world)
    tasteless = logits(with_users(world, style=np.zeros_like(p.style)), state)
    assert np.allclose(logits(world, state) - tasteless, r.style * p.style @ c.style.T)
    careless = logits(with_users(world, price_sensitivity=np.zeros(world.users)), state)
    misfit = np.abs(p.price_level[:, None] - c.price_level[None, :]) * p.price_sensitivity[:, None]
    assert np.allclose(careless - logits(world, state), r.price * misfit)


def test_satiation_lowers_and_fades(world: World, rows: Ints) -> None:
    """A purchase lowers its category's logits by the coefficient times its decay, less for what is bought again."""
    r = world.behaviour.response
    category = world.catalog.observed.category
    crowded = int(np.argmax(np.bincount(category)))
    bought = int(np.flatnonzero(category == crowded)[0])
    item, count = np.full(len(rows), bought, np.int32), len(rows)
    same = category == crowded
    same[bought] = False  # the item itself is moreover not new any more
    assert same.any()
    for kind, age, expected in ((BUY, 0.0, 1.0), (BUY, 1.0, np.exp(-1.0)), (CART, 0.0, 0.0), (CLICK, 0.0, 0.0)):
        state = fresh(world)
        when = NOON - int(age * r.satiation_days * DAY_SECONDS)
        write_events(state, rows, item, np.full(count, kind, np.int8), np.full(count, when))
        drop = logits(world, fresh(world)) - logits(world, state)
        hunger = 1.0 - world.catalog.repeat[crowded]
        assert np.allclose(drop[:, same], r.satiation * hunger * expected, atol=1e-5)
        assert (drop[:, category != crowded] == 0).all()


def test_seeing_the_same_again_tires(world: World) -> None:
    """Each time an item was lately shown in vain takes the coefficient of fatigue off its logit alone."""
    state = fresh(world)
    state.shown_item[:, :3] = [8, 8, 9]
    drop = logits(world, fresh(world)) - logits(world, state)
    assert np.allclose(drop[:, 8], 2 * world.behaviour.response.fatigue)
    assert np.allclose(drop[:, 9], world.behaviour.response.fatigue)
    assert (drop[:, 10:] == 0).all()


def test_new_items_please_those_who_seek_them(world: World, rows: Ints) -> None:
    """An item met before loses the novelty term: its logit falls for seekers and rises for those who avoid the new."""
    state = fresh(world)
    write_events(
        state, rows, np.full(len(rows), 11, np.int32), np.full(len(rows), CLICK, np.int8), np.full(len(rows), 0)
    )
    drop = logits(world, fresh(world)) - logits(world, state)
    assert np.allclose(drop[:, 11], world.behaviour.response.novelty * world.population.novelty)
    assert (np.delete(drop, 11, axis=1) == 0).all()


@given(st.permutations(range(40)), st.integers(0, 5))
@settings(max_examples=15, deadline=None)
def test_luck_belongs_to_the_item(world: World, order: list[int], page: int) -> None:
    """With equal logits an examined item is clicked, kept, bought and returned alike wherever and beside whatever."""
    equal = dict.fromkeys(("examination_decay", "click_base", "buy_base", "cart_base", "favourite_base"), 0.0)
    c = constants(world, **equal, refund_base=0.0)
    reference = answer(world, fresh(world), range(40), c)
    moved = answer(world, fresh(world), order[:25], c, page=page)
    assert 0.1 < reference.clicked.mean() < 0.99
    for name in ("clicked", "favourited", "carted", "bought", "views", "value", "refunded", "novel"):
        assert np.array_equal(getattr(moved, name), getattr(reference, name)[:, order[:25]]), name


def test_luck_does_not_depend_on_who_else_answers(world: World, rows: Ints) -> None:
    """A user answers the same alone, in a batch, and in a batch in another order."""
    c = constants(world)
    reference = answer(world, fresh(world), range(SLOTS), c)
    back = rows[::-1].copy()
    reversed_ = answer(world, fresh(world), range(SLOTS), c, back)
    alone = answer(world, fresh(world), range(SLOTS), c, np.array([60]))
    for name, values in vars(reference).items():
        assert np.array_equal(getattr(reversed_, name), values[back]), name
        assert np.array_equal(getattr(alone, name), values[[60]]), name


def test_visits_have_luck_of_their_own(world: World) -> None:
    """On another visit the same page is answered by other draws."""
    c = constants(world, click_base=0.0)
    one, other = (answer(world, fresh(world, visit), range(SLOTS), c).clicked for visit in (0, 1))
    assert not np.array_equal(one, other)


@given(st.floats(-3.0, 3.0), st.floats(0.0, 3.0))
@settings(max_examples=15, deadline=None)
def test_a_higher_logit_never_loses_a_click(world: World, base: float, more: float) -> None:
    """On the same draws everything clicked at some logit is clicked at a higher one."""
    low = answer(world, fresh(world), range(SLOTS), constants(world, click_base=base)).clicked
    high = answer(world, fresh(world), range(SLOTS), constants(world, click_base=base + more)).clicked
    assert (high | ~low).all()


def test_examination_decays_with_position(world: World) -> None:
    """Where everything examined is clicked, the share clicked at position k is (1 + k)^-decay."""
    c = constants(world, **EAGER, fatigue=0.0)
    clicked = np.concatenate([answer(world, fresh(world, visit), range(SLOTS), c).clicked for visit in range(40)])
    expected = (1.0 + np.arange(SLOTS)) ** -c.examination_decay
    error = np.sqrt(np.maximum(expected * (1 - expected), 1e-6) / len(clicked))
    assert (np.abs(clicked.mean(axis=0) - expected) < 4.5 * error + 1e-4).all()


def test_no_decay_means_all_is_examined(world: World) -> None:
    """Without position bias every item that is liked enough is clicked, at every position."""
    assert answer(world, fresh(world), range(SLOTS), constants(world, **EAGER, examination_decay=0.0)).clicked.all()


def test_an_item_page_shows_every_slot(world: World) -> None:
    """On an item grid all items of the slate are displayed, and nothing where the slate ends."""
    slates = np.tile(np.arange(SLOTS, dtype=np.int32), (world.users, 1))
    length = np.arange(world.users) % (SLOTS + 1)
    slates[np.arange(SLOTS) >= length[:, None]] = NO_ITEM
    shown = answer(world, fresh(world), slates, constants(world)).shown
    assert np.array_equal(shown, slates != NO_ITEM)


def test_a_feed_shows_fewer_items_than_slots(world: World) -> None:
    """On a feed other cards take their share of the places; the items displayed are the first of the slate."""
    c = constants(world, "feed")
    shown = np.concatenate([answer(world, fresh(world, visit), range(SLOTS), c).shown for visit in range(20)])
    assert (np.diff(shown.astype(int), axis=1) <= 0).all()
    share = world.behaviour.feed.other_share
    assert abs(shown.mean() - (1 - share)) < 4 * np.sqrt(share * (1 - share) / shown.size)


def test_other_cards_distract_from_items(world: World) -> None:
    """The more an opened card holds attention, the fewer items are clicked, and none is clicked for it."""
    calm, distracting = (
        answer(
            world,
            fresh(world),
            range(SLOTS),
            constants(world, "feed", {"other_appeal": 1.0, "other_distraction": distraction}, **EAGER),
        ).clicked
        for distraction in (0.0, 1.0)
    )
    assert (calm | ~distracting).all()
    assert distracting.sum() < 0.7 * calm.sum()


def test_opened_cards_are_worth_something(world: World) -> None:
    """On a feed where nothing is clicked, a visit's value is a whole number of opened cards."""
    state = fresh(world)
    c = constants(world, "feed", {"other_appeal": 0.8}, **NEVER_CLICKS)
    answer(world, state, range(SLOTS), c)
    cards = state.visit_value / c.other_reward
    assert np.allclose(cards, np.round(cards))
    assert cards.max() > 1


@pytest.fixture(scope="module")
def busy(world: World) -> tuple[Responses, np.ndarray, State]:
    """A page with many clicks, favourites, carts, orders and refunds, answered by everybody, and the state after it."""
    state = fresh(world)
    c = constants(world, click_base=1.0, buy_base=0.0, cart_base=0.0, favourite_base=0.0, refund_base=0.0)
    slates = np.tile(np.arange(SLOTS, dtype=np.int32), (world.users, 1))
    return answer(world, state, slates, c), slates, state


def test_the_funnel_narrows(busy: tuple[Responses, np.ndarray, State]) -> None:
    """Of what is shown some is clicked; of that some is bought, some carted, some made a favourite, nothing twice."""
    page, _, _ = busy
    after = np.stack([page.bought, page.carted, page.favourited])
    assert (page.shown | ~page.clicked).all()
    assert (after.sum(axis=0) <= page.clicked).all()
    assert 0 < after.sum() < page.clicked.sum() < page.shown.sum()
    assert (after.sum(axis=(1, 2)) > 0).all()


def test_amounts_belong_to_orders(world: World, busy: tuple[Responses, np.ndarray, State]) -> None:
    """An order is worth one to nine pieces at the item's price and is returned whole or not at all."""
    page, slates, _ = busy
    pieces = page.value / world.catalog.observed.price[slates]
    assert np.array_equal(page.value > 0, page.bought)
    assert np.allclose(pieces, np.round(pieces))
    assert pieces.max() <= MOST_PIECES + 1e-9
    assert np.isin(np.round(pieces[page.bought]), [2, 3]).any()
    assert ((page.refunded == 0) | (page.refunded == page.value)).all()
    assert 0 < (page.refunded > 0).sum() < page.bought.sum()
    assert np.array_equal(page.views > 0, page.clicked)


def test_extra_views_and_pieces_are_geometric(world: World) -> None:
    """Item-page views of a click and pieces of an order have the means of their geometric laws."""
    c = constants(world, **EAGER, examination_decay=0.0, buy_base=30.0, extra_views=0.3)
    pages = [answer(world, fresh(world, visit), range(SLOTS), c) for visit in range(8)]
    views = np.concatenate([p.views.ravel() for p in pages])
    value = np.concatenate([p.value / world.catalog.observed.price[:SLOTS] for p in pages]).ravel()
    assert abs(views.mean() - 1 / 0.7) < 4 * views.std() / np.sqrt(len(views))
    assert abs(value.mean() - 1 / (1 - c.extra_quantity)) < 4 * value.std() / np.sqrt(len(value))
    none = constants(world, **EAGER, buy_base=30.0, extra_views=0.0, extra_quantity=0.0)
    single = answer(world, fresh(world), range(SLOTS), none)
    assert single.views.max() == 1
    assert np.allclose(single.value.max(axis=0), world.catalog.observed.price[:SLOTS])


def test_better_items_are_returned_less(world: World) -> None:
    """On the same draws a better item's order is never returned where a worse one's was not."""
    c = constants(world, **EAGER, buy_base=30.0, refund_base=0.0, quality=0.0)
    better = with_catalog(world, quality=world.catalog.quality + 2.0)
    worse_back, better_back = (answer(w, fresh(w), range(SLOTS), c).refunded > 0 for w in (world, better))
    assert (worse_back | ~better_back).all()
    assert better_back.sum() < worse_back.sum()


def test_intended_items_convert_better(world: World) -> None:
    """On the same draws an item that the visit is for is bought, or at least kept, where any other would be."""
    c = constants(world, **EAGER, buy_base=0.0, cart_base=0.0, favourite_base=0.0)
    wanting, idle = fresh(world), fresh(world)
    wanting.intent[:, 0], idle.intent[:] = world.catalog.observed.category[0], NO_ITEM
    one, other = (answer(world, state, [0], c) for state in (wanting, idle))
    assert (one.bought | ~other.bought).all()
    assert (one.bought | one.carted | ~other.carted).all()
    assert (one.bought | one.carted | one.favourited | ~other.favourited).all()
    assert one.bought.sum() > other.bought.sum()


def test_a_page_is_written_into_the_history(busy: tuple[Responses, np.ndarray, State]) -> None:
    """Clicked items enter the history with what came of them, carted ones the cart, those in vain the other buffer."""
    page, slates, state = busy
    kind = np.select([page.bought, page.carted, page.favourited], [BUY, CART, FAVOURITE], CLICK)
    for row in range(len(slates)):
        mine = page.clicked[row]
        count = int(state.event_count[row])
        assert count == mine.sum()
        assert np.array_equal(state.event_item[row, :count], slates[row][mine])
        assert np.array_equal(state.event_kind[row, :count], kind[row][mine])
        assert (state.event_time[row, :count] == NOON).all()
        carted = slates[row][page.carted[row]]
        assert np.array_equal(state.cart_item[row, : state.cart_count[row]], carted)
        vain = page.shown[row] & ~mine
        assert state.shown_count[row] == vain.sum()
        assert np.array_equal(state.shown_item[row, : vain.sum()], slates[row][vain])


def test_a_page_is_worth_its_answers(busy: tuple[Responses, np.ndarray, State]) -> None:
    """The visit's value is the sum of what clicks, what is kept and orders are worth."""
    page, _, state = busy
    kept = page.carted | page.favourited
    worth = VALUE_CLICK * page.clicked + VALUE_KEPT * kept + VALUE_BUY * page.bought
    assert np.allclose(state.visit_value, worth.sum(axis=1))


def test_shown_in_vain_keeps_the_last(world: World) -> None:
    """The buffer of items shown in vain holds the last ones and no more."""
    state = fresh(world)
    c = constants(world, **NEVER_CLICKS)
    for page in range(9):
        answer(world, state, range(page * SLOTS, (page + 1) * SLOTS), c, page=page)
    assert (state.shown_count == 9 * SLOTS).all()
    assert (np.sort(state.shown_item, axis=1) == np.arange(9 * SLOTS - SHOWN_LENGTH, 9 * SLOTS)).all()


def test_novel_means_never_met(world: World) -> None:
    """An item is novel until the page after the user first clicks it; being shown in vain leaves it novel."""
    state = fresh(world)
    first = answer(world, state, range(SLOTS), constants(world))
    again = answer(world, state, range(SLOTS), constants(world), page=1)
    assert first.novel.all()
    assert first.clicked.any()
    assert np.array_equal(again.novel, ~first.clicked)


def test_a_page_counts_as_one_moment(world: World) -> None:
    """Clicks on a page do not change what the user thinks of its other items: histories move after the page."""
    c = constants(world, **EAGER, examination_decay=0.0, buy_base=30.0, satiation=100.0)
    category = world.catalog.observed.category
    same = np.flatnonzero(category == np.argmax(np.bincount(category)))
    assert 1 < len(same) <= 400
    assert answer(world, fresh(world), same, c).clicked.all()


def test_patience_and_clicks_keep_users(world: World) -> None:
    """On the same draws the more patient and the better served stay, and nobody stays after the last page."""
    c = constants(world, **NEVER_CLICKS)
    patient = with_users(world, patience=world.population.patience + 1.0)
    leaves = answer(world, fresh(world), range(SLOTS), c).leaves
    assert (leaves | ~answer(patient, fresh(world), range(SLOTS), c).leaves).all()
    pleased = answer(world, fresh(world), range(SLOTS), constants(world, **EAGER))
    assert (leaves | ~pleased.leaves).all()
    assert pleased.leaves.sum() < leaves.sum()
    assert answer(world, fresh(world), range(SLOTS), c, last=True).leaves.all()


def test_patience_is_a_probability(world: World) -> None:
    """Without clicks users ask for page p + 1 with probability logistic(patience - weariness p)."""
    c = constants(world, **NEVER_CLICKS)
    for page in (0, 3):
        stays = np.mean([~answer(world, fresh(world, v), range(SLOTS), c, page=page).leaves for v in range(30)], axis=0)
        expected = 1 / (1 + np.exp(-(world.population.patience - c.page_weariness * page)))
        error = np.sqrt((expected * (1 - expected) / 30).sum())
        assert abs(stays.sum() - expected.sum()) < 4 * error


def test_an_empty_page_is_answered_by_nothing(world: World) -> None:
    """Where there is nothing to show nothing happens: no impression, no click, no history."""
    state = fresh(world)
    page = answer(world, state, [NO_ITEM] * SLOTS, constants(world, **EAGER))
    assert not any(array.any() for name, array in vars(page).items() if name != "leaves")
    assert not state.event_count.any()
    assert not state.shown_count.any()


def reads(world: World, bonus: float, gist: int) -> Reading:
    """The same explanation everywhere on everybody's page."""
    shape = (world.users, SLOTS)
    return Reading(np.full(shape, bonus), np.full(shape, gist, np.uint64))


@pytest.mark.parametrize("scenario", ["item", "feed"])
def test_explanations_worth_nothing_change_nothing(world: World, scenario: str) -> None:
    """Pages without explanations and pages with such as add nothing to the logit are answered alike, to the byte."""
    c = constants(world, scenario)
    plain = answer(world, fresh(world), range(SLOTS), c)
    read = answer(world, fresh(world), range(SLOTS), c, reading=reads(world, 0.0, 5))
    for name, values in vars(plain).items():
        assert values.tobytes() == getattr(read, name).tobytes(), name


def test_a_better_explanation_loses_no_click(world: World) -> None:
    """With the same luck, whoever clicks an item clicks it too when its explanation adds more, and some do so anew."""
    c = constants(world, examination_decay=0.0)
    clicks = [
        answer(world, fresh(world), range(SLOTS), c, reading=reads(world, bonus, 5)).clicked
        for bonus in (-2.0, 0.0, 0.5, 2.0)
    ]
    for less, more in pairwise(clicks):
        assert (less <= more).all()
        assert less.sum() < more.sum()


def test_only_what_was_examined_was_read(world: World, rows: Ints) -> None:
    """Where all is examined all is remembered, where next to nothing is next to nothing; a slot without text never."""
    for decay, expected in ((0.0, SLOTS), (60.0, 1)):
        state = fresh(world)
        answer(world, state, range(SLOTS), constants(world, examination_decay=decay), reading=reads(world, 0.0, 5))
        assert (state.read_count == expected).all()
        assert (state.read_gist[:, :expected] == 5).all()
    for reading in (reads(world, 0.0, 0), NOTHING_TO_READ):
        state = fresh(world)
        answer(world, state, range(SLOTS), constants(world), reading=reading)
        assert not state.read_count.any()
    some = reads(world, 0.0, 0)
    some.gist[:, 2] = 9
    state = fresh(world)
    answer(world, state, range(SLOTS), constants(world, examination_decay=0.0), reading=some)
    assert (state.read_count == 1).all()
    assert (state.read_gist[:, 0] == 9).all()
