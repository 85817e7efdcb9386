from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from policies.popularity import item_appeal
from policies.registry import RegisteredPolicy
from simulator.batches import ImpressionLog, InteractionLog, Requests
from simulator.state import SHOWN_LENGTH, new_state, observed_history
from simulator.world import World


def log_of(shown: list[int], clicks: list[int], impressions: bool = True) -> InteractionLog:
    """Item n shown ``shown[n]`` times, of which ``clicks[n]`` were clicked."""
    item = np.repeat(np.arange(len(shown)), shown).astype(np.int32)
    clicked = np.concatenate([np.arange(s) < c for s, c in zip(shown, clicks, strict=True)])
    n = len(item)
    nothing = np.zeros(n, np.int64)
    seen = ImpressionLog(nothing, nothing, item, np.arange(n), nothing.astype(np.int16), clicked, np.ones(n))
    c = int(clicked.sum())
    return InteractionLog(
        0, 1, nothing[:c], item[clicked], np.arange(n)[clicked], np.ones(c, np.int8), seen if impressions else None
    )


def test_appeal_is_the_shrunken_click_rate() -> None:
    """Appeal is log((clicks + prior) / (expected clicks + prior)), expected at the mean rate of the log."""
    appeal = item_appeal(log_of([100, 100, 200, 0], [20, 5, 15, 0]), 4, prior=5.0)
    assert appeal == pytest.approx(np.log([25 / 15, 10 / 15, 20 / 25, 1.0]))


def test_item_shown_rarely_is_neither_first_nor_last() -> None:
    """One click in one impression does not beat a proven item, nor does one failure lose to a proven flop."""
    appeal = item_appeal(log_of([1000, 1, 1, 1000], [150, 1, 0, 20]), 4, prior=5.0)
    assert appeal[0] > appeal[1] > appeal[2] > appeal[3]


def test_ledger_is_counted() -> None:
    """Without impressions, appeal rises with interactions, and an average item has appeal 0."""
    appeal = item_appeal(log_of([9, 6, 3, 6], [9, 6, 3, 6], impressions=False), 4, prior=2.0)
    assert appeal == pytest.approx(np.log([11 / 8, 1.0, 5 / 8, 1.0]))


def test_strangers_get_the_same_ranking(
    fit: Callable[..., RegisteredPolicy], ask: Callable[..., Requests], log: InteractionLog, world: World
) -> None:
    """Users to whom nothing was shown get the items of highest appeal, all alike."""
    fresh = observed_history(new_state(world.users, world.catalog.items, 0.5))
    found = fit("popularity").candidates(ask(np.arange(50), history=fresh))
    appeal = item_appeal(log, world.catalog.items, 5.0)
    assert (found.items == np.argsort(-appeal, kind="stable")[: found.items.shape[1]]).all()
    assert found.scores[0] == pytest.approx(np.sort(appeal)[::-1][: found.scores.shape[1]])


def test_what_was_shown_in_vain_sinks(
    fit: Callable[..., RegisteredPolicy], ask: Callable[..., Requests], world: World
) -> None:
    """An item shown again and again without a click leaves the first page of that user, and of nobody else."""
    state = new_state(world.users, world.catalog.items, 0.5)
    policy = fit("popularity")
    best = policy.candidates(ask(np.array([0, 1]), history=observed_history(state))).items[0, 0]
    state.shown_item[0, : SHOWN_LENGTH // 2] = best
    requests = ask(np.array([0, 1]), history=observed_history(state))
    found = policy.candidates(requests)
    assert best not in found.items[0]
    assert found.items[1, 0] == best
    assert fit("popularity", impression_discount=0.0).candidates(requests).items[0, 0] == best


def test_pool_bounds_the_ranking(fit: Callable[..., RegisteredPolicy], ask: Callable[..., Requests]) -> None:
    """No more items are ranked than the pool holds; further places are padding."""
    found = fit("popularity", pool=8).candidates(ask(np.arange(4)))
    assert (found.items[:, :8] >= 0).all()
    assert (found.items[:, 8:] == -1).all()


def test_popularity_knows_nobody(
    fit: Callable[..., RegisteredPolicy], ask: Callable[..., Requests], world: World
) -> None:
    """Interactions, profile and context of a user change nothing."""
    policy = fit("popularity")
    requests = ask(np.arange(20))
    fresh = new_state(world.users, world.catalog.items, 0.5)
    fresh.shown_item[:] = requests.history.shown
    elsewhere = replace(requests, history=observed_history(fresh), city=1 - requests.city)
    assert np.array_equal(policy.candidates(requests).items, policy.candidates(elsewhere).items)
