from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from policies.examples import Examples, draw_examples
from policies.features import FEATURES, NF
from policies.registry import RegisteredPolicy
from policies.utility import UtilityParams, best_of_categories, fit_blend, item_neighbours, profile_lifts
from simulator.batches import CLICK, InteractionLog, Ints, Requests
from simulator.state import State, new_state, observed_history, write_events
from simulator.world import World

APPEAL = FEATURES.index("item appeal")


def clubs(users: int, items: int, groups: int) -> InteractionLog:
    """Users of group g interact with items of group g alone (item mod groups), each with most of them."""
    rng = np.random.default_rng(0)
    user, item = np.nonzero(
        (np.arange(users)[:, None] % groups == np.arange(items)[None, :] % groups) & (rng.random((users, items)) < 0.6)
    )
    n = len(user)
    return InteractionLog(0, 9, user, item.astype(np.int32), np.arange(n), np.full(n, CLICK, np.int8), None)


def some_examples(clicked: np.ndarray, position: Ints | None = None) -> Examples:
    """Examples of which only the answers matter."""
    n = len(clicked)
    nothing = np.zeros(n, np.int64)
    return Examples(
        visit=np.arange(n),
        item=nothing.astype(np.int32),
        clicked=clicked,
        position=nothing if position is None else position,
        visit_user=nothing,
        visit_time=nothing,
        impressions=True,
        event_offset=nothing[:2],
        event_item=nothing.astype(np.int32),
        event_kind=nothing.astype(np.int8),
        event_time=nothing,
        event_known=nothing,
    )


def test_neighbours_are_of_the_same_club() -> None:
    """Items that the same users like are each other's nearest, most similar first, and none is its own."""
    params = UtilityParams(factors=8, neighbours=5)
    neighbour, similarity = item_neighbours(clubs(200, 60, 4), 200, 60, params, 1)
    assert neighbour.shape == similarity.shape == (60, 5)
    assert (neighbour != np.arange(60)[:, None]).all()
    assert (neighbour % 4 == np.arange(60)[:, None] % 4).mean() > 0.98
    assert (np.diff(similarity, axis=1) <= 1e-6).all()
    assert ((similarity >= 0) & (similarity <= 1 + 1e-5)).all()


def test_more_neighbours_than_items_are_all_others() -> None:
    """In a tiny catalogue everything is everything's neighbour, once."""
    neighbour, _ = item_neighbours(clubs(20, 6, 2), 20, 6, UtilityParams(neighbours=50), 1)
    assert [sorted(row) for row in neighbour.tolist()] == [[m for m in range(6) if m != n] for n in range(6)]


def test_best_of_categories_by_hand() -> None:
    """Each category's items by falling appeal, padded; an empty category has none."""
    best = best_of_categories(np.array([0.1, 0.9, 0.5, 0.7]), np.array([2, 0, 2, 2], np.int32), 3, 2)
    assert best.tolist() == [[1, -1], [-1, -1], [3, 2]]


def test_unknown_profile_has_no_lift(log: InteractionLog, world: World) -> None:
    """Users who declared nothing fall in a row of zeros, and no declared row is taken for it."""
    examples = draw_examples(log, world.users, world.catalog.items, 10**9, 1)
    category = world.catalog.observed.category
    codes = np.arange(world.users, dtype=np.int32) % 4 - 1
    lifts = profile_lifts(examples, codes, ("a", "b", "c"), category, world.catalog.observed.categories, 5.0)
    assert lifts.shape == (4, world.catalog.observed.categories)
    assert not lifts[-1].any()
    assert all(lifts[n].any() for n in range(3))


def test_planted_profile_lift_is_found() -> None:
    """A category that one declared group alone clicks is lifted for it and not for the others."""
    n = 30_000
    rng = np.random.default_rng(2)
    user, item = rng.integers(0, 30, n), rng.integers(0, 8, n).astype(np.int32)
    clicked = rng.random(n) < np.where((user % 3 == 1) & (item == 5), 0.3, 0.1)
    examples = replace(some_examples(clicked), item=item, visit_user=user)
    lifts = profile_lifts(
        examples, (np.arange(30) % 3).astype(np.int32), ("a", "b", "c"), np.arange(8, dtype=np.int32), 8, 20.0
    )
    assert np.unravel_index(lifts.argmax(), lifts.shape) == (1, 5)
    assert lifts[1, 5] > 0.3
    assert lifts[0, 5] < -0.2
    assert lifts[2, 5] < -0.2


def test_blend_recovers_weights_under_position_bias() -> None:
    """On answers drawn from a logistic model with position bias, its weights and its position come back."""
    rng = np.random.default_rng(5)
    n = 60_000
    features = np.zeros((n, NF))
    features[:, :4] = rng.normal(size=(n, 4))
    features[:, 4] = features[:, 1]
    features[:, 5] = 2.5
    position = rng.integers(0, 10, n)
    # Better items stand higher, as a ranker would put them.
    features[:, 0] -= 0.2 * position
    true = np.array([1.0, -0.5, 0.25, 0.0])
    logit = features[:, :4] @ true - 1.0 - 0.8 * np.log1p(position)
    clicked = rng.random(n) < 1 / (1 + np.exp(-logit))
    blend = fit_blend(features, some_examples(clicked, position))
    assert blend.weight.shape == (NF,)
    assert blend.weight[:4] == pytest.approx(true, abs=0.07)
    assert blend.intercept == pytest.approx(-1.0, abs=0.1)
    assert blend.position == pytest.approx(-0.8, abs=0.07)
    assert not blend.weight[4:].any()
    found = expit(blend.log_odds(features, position))
    for column in (np.ones(n), np.log1p(position)):  # the score equations of the most likely weights
        assert found @ column == pytest.approx(clicked @ column, rel=0.01)


@pytest.mark.parametrize("clicked", [np.zeros(9, np.bool_), np.ones(9, np.bool_), np.zeros(0, np.bool_)])
def test_blend_of_equal_answers_is_appeal(clicked: np.ndarray) -> None:
    """Where all answers are the same there is nothing to tell apart, and appeal alone ranks."""
    blend = fit_blend(np.random.default_rng(0).normal(size=(len(clicked), NF)), some_examples(clicked))
    assert np.flatnonzero(blend.weight).tolist() == [APPEAL]
    assert blend.weight[APPEAL] == 1.0
    assert (blend.intercept, blend.position) == (0.0, 0.0)


@pytest.mark.parametrize("dependent", [True, False])
def test_blend_of_few_examples_is_finite(dependent: bool) -> None:
    """Features that depend on each other, or tell so few answers apart perfectly, still get finite weights."""
    for seed in range(100):
        rng = np.random.default_rng(seed)
        features = rng.integers(0, 3, (6, NF)).astype(float)
        if dependent:
            features[:, 2] = features[:, 0] + features[:, 1]
            features[:, 3:] = 0.0
        blend = fit_blend(features, some_examples(rng.random(6) < 0.4))
        assert np.isfinite([*blend.weight, blend.intercept, blend.position]).all()


def someone(world: World, items: list[int], kind: int = CLICK) -> State:
    """A state in which user 0 has just interacted with these items."""
    state = new_state(world.users, world.catalog.items, 0.5)
    n = len(items)
    write_events(
        state, np.zeros(n, np.int64), np.array(items, np.int32), np.full(n, kind, np.int8), np.full(n, 15 * 86_400)
    )
    return state


def test_click_made_a_minute_ago_counts(
    fit: Callable[..., RegisteredPolicy], ask: Callable[..., Requests], world: World
) -> None:
    """A fresh interaction lifts items like it without a refit, for that user and nobody else."""
    policy = fit("utility")
    before = policy.candidates(ask(np.array([0, 1]), history=observed_history(someone(world, []))))
    after = policy.candidates(ask(np.array([0, 1]), history=observed_history(someone(world, [123, 123]))))
    category = world.catalog.observed.category
    assert (category[after.items[0]] == category[123]).sum() > (category[before.items[0]] == category[123]).sum()
    assert np.array_equal(before.items[1], after.items[1])


def test_utility_is_blind_to_context(
    fit: Callable[..., RegisteredPolicy], ask: Callable[..., Requests], world: World
) -> None:
    """Another city's and another day's weather, calendar and trends change nothing."""
    policy = fit("utility")
    requests = ask(np.arange(60))
    found = policy.candidates(requests)
    context = world.environment.observed().until(2)
    policy.refresh(2, context)
    again = policy.candidates(replace(requests, context=context, city=1 - requests.city))
    assert found.items.tobytes() == again.items.tobytes()
    assert found.scores.tobytes() == again.scores.tobytes()
