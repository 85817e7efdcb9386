from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from policies.exploring_logger import ExploringLogger, ExploringLoggerParams, draw_exploring
from policies.foresight import exploring_propensity
from policies.registry import RegisteredPolicy
from simulator.batches import NO_ITEM, Floats, InteractionLog, Ints32, Requests
from simulator.streams import stream_key

CATEGORY = np.array([0, 1, 0, 2, 1, 1, 3, 2, 0, 3, 3, 3], np.int32)
HISTORY = [0, 2, 3, 0, 9]
USERS = 40_000


def drawn(
    history: list[int], explore: float, slots: int, users: int = USERS, category: Ints32 = CATEGORY
) -> tuple[Ints32, Floats]:
    """Items and propensities of pages for many users of one history, on a catalogue of 12 items or another."""
    ring = np.array([history + [NO_ITEM] * (8 - len(history))], np.int32)
    ids = np.arange(users)
    members = np.argsort(category, kind="stable").astype(np.int32)
    offset = np.searchsorted(category[members], np.arange(category.max() + 2)).astype(np.int64)
    key = stream_key(5, "t")
    items, single, propensity = draw_exploring(
        key, ids, ids % 3, 0, ids * 0, ring, category, members, offset, explore, slots
    )
    by_draw = exploring_propensity(np.array(history, np.int32), category, np.diff(offset), explore)
    assert np.allclose(single, np.where(items == NO_ITEM, 0.0, by_draw[items]), rtol=1e-12)
    return items, propensity


@pytest.mark.parametrize("explore", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("history", [HISTORY, []])
def test_first_place_follows_its_propensities(history: list[int], explore: float) -> None:
    """What is logged as the chance of an item in the first place is how often it comes there (chi-square)."""
    items, propensity = drawn(history, explore, 1)
    chance = np.zeros(len(CATEGORY))
    chance[items[:, 0]] = propensity[:, 0]
    assert np.allclose(propensity[:, 0], chance[items[:, 0]])
    possible = chance > 0
    assert chance.sum() == pytest.approx(1.0)
    assert chisquare(np.bincount(items[:, 0], minlength=12)[possible], chance[possible] * USERS).pvalue > 1e-4


def test_propensity_is_the_mixture_by_hand() -> None:
    """Half is uniform, half is uniform within the category of one of the five interactions."""
    items, propensity = drawn(HISTORY, 0.5, 1)
    of_category = np.array([3 / 5 / 3, 0.0, 1 / 5 / 2, 1 / 5 / 4])
    assert np.allclose(propensity[:, 0], 0.5 / 12 + 0.5 * of_category[CATEGORY[items[:, 0]]])


def test_user_without_history_is_explored_uniformly() -> None:
    """Where nothing is known of a user, every item has the same chance."""
    assert np.allclose(drawn([], 0.1, 4, 100)[1], [1 / 12, 1 / 11, 1 / 10, 1 / 9], rtol=1e-12)


@st.composite
def shops(draw: st.DrawFn) -> tuple[Ints32, list[int], float, int]:
    """Categories of a few items, a history of some of them, a share to explore, and places of a page."""
    category = draw(st.lists(st.integers(0, 3), min_size=1, max_size=9))
    history = draw(st.lists(st.integers(0, len(category) - 1), max_size=8))
    explore = draw(st.floats(0.01, 1.0))
    return np.array(category, np.int32), history, explore, draw(st.integers(1, 10))


@given(shops())
def test_propensities_of_all_that_could_stand_there_sum_to_one(shop: tuple[Ints32, list[int], float, int]) -> None:
    """At every place the propensity is the item's share of a draw of what is not yet on the page, shares of sum one."""
    category, history, explore, slots = shop
    items, propensity = drawn(history, explore, slots, 30, category)
    by_draw = exploring_propensity(np.array(history, np.int32), category, np.bincount(category), explore)
    for page, logged in zip(items, propensity, strict=True):
        possible = by_draw.copy()
        for item, chance in zip(page[page != NO_ITEM], logged, strict=False):
            there = possible / possible.sum()
            assert there.sum() == pytest.approx(1.0)
            assert chance == pytest.approx(there[item], rel=1e-9)
            possible[item] = 0.0


def test_pages_come_as_often_as_their_propensities_say() -> None:
    """Of many users, every page comes as often as the product of its propensities says, and these sum to one.

    Given the same earlier places an item's propensity is one number, and those of all that were seen there sum to one.
    """
    category, users = np.array([0, 1, 0, 2, 1], np.int32), 200_000
    items, propensity = drawn([0, 2, 1, 0], 0.4, 3, users, category)
    for place in range(3):
        seen, first = np.unique(items[:, : place + 1], axis=0, return_index=True)
        _, which = np.unique(seen[:, :place], axis=0, return_inverse=True)
        assert np.bincount(which.ravel(), weights=propensity[first, place]) == pytest.approx(1.0)
    pages, first, which, times = np.unique(items, axis=0, return_index=True, return_inverse=True, return_counts=True)
    assert len(pages) == 5 * 4 * 3
    assert np.allclose(propensity, propensity[first][which.ravel()], rtol=1e-12)
    expected = propensity[first].prod(axis=1)
    assert expected.sum() == pytest.approx(1.0)
    assert chisquare(times, expected / expected.sum() * users).pvalue > 1e-4


def test_pages_hold_distinct_items_and_the_rest_is_padding() -> None:
    """No item twice on a page; a page longer than the catalogue is padded at its end, at propensity 0."""
    items, propensity = drawn(HISTORY, 0.5, 15, 200)
    assert ((propensity > 0) == (items != NO_ITEM)).all()
    assert ((items[:, :-1] != NO_ITEM) | (items[:, 1:] == NO_ITEM)).all()
    assert all(len(set(row) - {NO_ITEM}) == sum(item != NO_ITEM for item in row) for row in items.tolist())
    assert (items[:, 12:] == NO_ITEM).all()


def test_propensities_reach_the_log(log: InteractionLog) -> None:
    """Every logged impression has the propensity it was drawn with, above 0 and at most 1."""
    assert log.impressions is not None
    assert ((log.impressions.propensity > 0) & (log.impressions.propensity <= 1)).all()


def test_pages_and_visits_are_drawn_anew(fit: Callable[..., RegisteredPolicy], ask: Callable[..., Requests]) -> None:
    """Pages of a visit are drawn independently, and equal requests are answered equally."""
    policy = fit("exploring_logger")
    one, again = (policy.candidates(ask(np.arange(50))) for _ in range(2))
    following = policy.candidates(ask(np.arange(50), page=1))
    assert np.array_equal(one.items, again.items)
    assert not (one.items == following.items).all(axis=1).any()
    assert one.propensity is not None
    assert np.array_equal(one.propensity[:, 0], one.scores[:, 0])
    assert (one.propensity[:, 1:] > one.scores[:, 1:]).all()


@pytest.mark.parametrize("explore", [0.0, 1.1])
def test_exploration_is_a_share_above_zero(explore: float) -> None:
    """A logger that never explores would leave items without a chance: refused."""
    with pytest.raises(ValueError, match="explore"):
        ExploringLogger.Params.model_validate({"explore": explore})
    assert ExploringLoggerParams(explore=1.0).explore == 1.0
