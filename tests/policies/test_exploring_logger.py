from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import chisquare

from policies.exploring_logger import ExploringLogger, ExploringLoggerParams, draw_exploring
from policies.registry import RegisteredPolicy
from simulator.batches import NO_ITEM, Floats, InteractionLog, Ints32, Requests
from simulator.streams import stream_key

CATEGORY = np.array([0, 1, 0, 2, 1, 1, 3, 2, 0, 3, 3, 3], np.int32)
MEMBERS = np.argsort(CATEGORY, kind="stable").astype(np.int32)
OFFSET = np.searchsorted(CATEGORY[MEMBERS], np.arange(5)).astype(np.int64)
HISTORY = [0, 2, 3, 0, 9]
USERS = 40_000


def drawn(history: list[int], explore: float, slots: int, users: int = USERS) -> tuple[Ints32, Floats]:
    """Pages for many users of one history on a catalogue of 12 items."""
    ring = np.array([history + [NO_ITEM] * (8 - len(history))], np.int32)
    ids = np.arange(users)
    return draw_exploring(stream_key(5, "t"), ids, ids % 3, 0, ids * 0, ring, CATEGORY, MEMBERS, OFFSET, explore, slots)


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
    assert (drawn([], 0.1, 4, 100)[1] == 1 / 12).all()


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
    assert np.array_equal(one.propensity, one.scores)


@pytest.mark.parametrize("explore", [0.0, 1.1])
def test_exploration_is_a_share_above_zero(explore: float) -> None:
    """A logger that never explores would leave items without a chance: refused."""
    with pytest.raises(ValueError, match="explore"):
        ExploringLogger.Params.model_validate({"explore": explore})
    assert ExploringLoggerParams(explore=1.0).explore == 1.0
