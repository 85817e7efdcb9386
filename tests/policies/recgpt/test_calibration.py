import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from policies.recgpt.calibration import (
    INPUTS,
    Calibration,
    design,
    draw_moments,
    fit_calibration,
    uncalibrated,
)
from policies.recgpt.retrieval import Match
from simulator.batches import DAY_SECONDS, InteractionLog
from simulator.world import World


def drawn(rng: np.random.Generator, size: int) -> np.ndarray:
    """Inputs of some impressions."""
    named = rng.random(size) < 0.4
    return np.column_stack(
        [rng.normal(size=size), named, named * rng.random(size), rng.random(size), rng.uniform(-1, 1, size)]
    )


def test_weights_that_made_the_clicks_are_found() -> None:
    """From many clicks drawn by known weights and examined less by position, the weights come back."""
    rng = np.random.default_rng(1)
    truth = np.array([0.8, 0.6, 0.4, 1.1, 0.5])
    inputs, position = drawn(rng, 200_000), rng.integers(0, 10, 200_000)
    clicked = rng.random(len(inputs)) < expit(inputs @ truth - 1.5 - 0.4 * np.log1p(position))
    found = fit_calibration(inputs, clicked, position, 0.0)
    assert found.weight == pytest.approx(truth, abs=0.07)
    assert found.intercept == pytest.approx(-1.5, abs=0.05)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 300), against=st.booleans())
def test_estimates_never_fall_as_an_input_rises(seed: int, size: int, against: bool) -> None:
    """Whatever the clicks, an item with more of any input is estimated at least as high, between 0 and 1."""
    rng = np.random.default_rng(seed)
    inputs = drawn(rng, size)
    slope = -2.0 if against else 1.0
    clicked = rng.random(size) < expit(slope * inputs.sum(axis=1))
    found = fit_calibration(inputs, clicked, rng.integers(0, 5, size), -2.0)
    assert (found.weight >= 0).all()

    def estimate(x: np.ndarray) -> np.ndarray:
        return found.click(x[:, 0], Match(*(x[:, k] for k in range(1, 5))))

    base = estimate(inputs)
    assert ((base > 0) & (base < 1)).all()
    for column in range(len(INPUTS)):
        more = inputs.copy()
        more[:, column] += 0.5
        assert (estimate(more) >= base).all()


@pytest.mark.parametrize("clicked", [[], [False, False], [True]])
def test_nothing_to_tell_apart_leaves_the_utility_score(clicked: list[bool]) -> None:
    """Without clicks, or with nothing else, the estimate is that of the utility channel."""
    inputs = drawn(np.random.default_rng(0), len(clicked))
    found = fit_calibration(inputs, np.array(clicked, bool), np.zeros(len(clicked), int), -1.25)
    assert np.array_equal(found.weight, uncalibrated(-1.25).weight)
    assert found.intercept == -1.25
    nothing = Match(*(np.zeros(2) for _ in range(4)))
    assert found.click(np.array([0.0, 1.0]), nothing) == pytest.approx(expit([-1.25, -0.25]))


def test_design_keeps_the_order_of_pairs() -> None:
    """Requests times items become rows, one column an input, and estimates come back in the same shape."""
    rng = np.random.default_rng(2)
    shape = (3, 4)
    match = Match(*(rng.random(shape) for _ in range(4)))
    score = rng.normal(size=shape)
    rows = design(score.ravel(), match)
    assert rows.shape == (12, len(INPUTS))
    weight = np.arange(1.0, 6.0)
    expected = expit(score + 2 * match.named + 3 * match.rank + 4 * match.tag + 5 * match.user - 7)
    assert Calibration(weight, -7.0).click(score, match) == pytest.approx(expected)


@pytest.mark.parametrize("sales", [False, True])
def test_moments_are_mornings_of_late_visits(
    world: World, log: InteractionLog, sales_log: InteractionLog, sales: bool
) -> None:
    """One moment a user, among those allowed, at a day of the last third on which the user was there."""
    source = sales_log if sales else log
    allowed = np.arange(world.users) % 2 == 0
    found = draw_moments(source, allowed, 40, 9, "any")
    assert len(found.user) == 40
    assert (np.diff(found.user) > 0).all()
    assert allowed[found.user].all()
    assert (found.day >= log.end_day - 5).all()
    user, time = (
        (source.user, source.time) if source.impressions is None else (source.impressions.user, source.impressions.time)
    )
    seen = set(zip(user.tolist(), (time // DAY_SECONDS).tolist(), strict=True))
    assert set(zip(found.user.tolist(), found.day.tolist(), strict=True)) <= seen
    again = draw_moments(source, allowed, 40, 9, "any")
    assert np.array_equal(again.user, found.user)
    assert np.array_equal(again.day, found.day)
    of_user = found.of_users(world.users)
    assert np.array_equal(found.user[of_user[found.user]], found.user)
    assert (of_user >= 0).sum() == 40


def test_few_users_give_few_moments(world: World, log: InteractionLog) -> None:
    """No more moments are drawn than users were there, and none where none may be."""
    assert len(draw_moments(log, np.ones(world.users, bool), 10**6, 9, "any").user) <= world.users
    assert len(draw_moments(log, np.zeros(world.users, bool), 10, 9, "any").user) == 0
