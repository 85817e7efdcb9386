from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from allocation.slates import displaced, fill_slates, is_cognitive, mean_over, realise
from simulator.batches import COGNITIVE, NO_EXPLANATION, NO_ITEM, UTILITY, Candidates
from simulator.streams import Stream

NEAREST = 1e-9


@st.composite
def pages(draw: st.DrawFn) -> tuple[Candidates, np.ndarray, int]:
    """Candidates of both channels with click estimates and a choice, and a number of slots."""
    requests, width = draw(st.integers(1, 4)), draw(st.integers(1, 12))
    slots = draw(st.integers(1, 8))
    items, channel = np.full((requests, width), NO_ITEM, np.int32), np.full((requests, width), UTILITY, np.int8)
    for n in range(requests):
        there, utility = draw(st.integers(0, width)), draw(st.integers(0, width))
        items[n, :there] = draw(st.permutations(range(40)))[:there]
        channel[n, utility:there] = COGNITIVE
    click = draw(arrays(np.float64, items.shape, elements=st.floats(0, 1)))
    chosen = draw(arrays(np.bool_, items.shape)) & (channel == COGNITIVE)
    explanation = None
    if draw(st.booleans()):
        explanation = draw(arrays(np.int32, items.shape, elements=st.integers(NO_EXPLANATION, 9)))
        explanation[(channel == UTILITY) | (items < 0)] = NO_EXPLANATION
    candidates = Candidates(items, click, channel, click=click, conversion=click, explanation=explanation)
    return candidates, chosen, slots


@settings(deadline=None)
@given(pages())
def test_page_is_the_chosen_and_the_top_of_utility(page: tuple[Candidates, np.ndarray, int]) -> None:
    """A page holds the first chosen, then utility's first, by click, padded at the end and never with an item twice."""
    candidates, chosen, slots = page
    assert candidates.click is not None
    slates = fill_slates(candidates, candidates.click, chosen, slots)
    assert slates.items.shape == slates.channel.shape == (len(candidates.items), slots)
    for n, items in enumerate(candidates.items):
        wanted = items[chosen[n] & (items >= 0)][:slots]
        utility = items[(candidates.channel[n] == UTILITY) & (items >= 0)][: slots - len(wanted)]
        found = slates.items[n][slates.items[n] >= 0]
        assert (slates.items[n, len(found) :] == NO_ITEM).all()
        assert len(set(found.tolist())) == len(found) <= slots
        assert set(found[slates.channel[n, : len(found)] == COGNITIVE]) == set(wanted)
        assert set(found[slates.channel[n, : len(found)] == UTILITY]) == set(utility)
        click = dict(zip(items.tolist(), candidates.click[n].tolist(), strict=True))
        shown = [click[item] for item in found.tolist()]
        assert shown == sorted(shown, reverse=True)


@settings(deadline=None)
@given(pages())
def test_items_keep_their_explanations(page: tuple[Candidates, np.ndarray, int]) -> None:
    """Every item shown comes with the explanation it was offered with; utility items and empty places have none."""
    candidates, chosen, slots = page
    assert candidates.click is not None
    slates = fill_slates(candidates, candidates.click, chosen, slots)
    if candidates.explanation is None:
        assert slates.explanation is None
        return
    assert slates.explanation is not None
    assert slates.explanation.dtype == np.int32
    assert slates.explanation.shape == slates.items.shape
    assert (slates.explanation[(slates.channel == UTILITY) | (slates.items < 0)] == NO_EXPLANATION).all()
    for n, items in enumerate(candidates.items):
        offered = dict(zip(items.tolist(), candidates.explanation[n].tolist(), strict=True))
        for item, text in zip(slates.items[n].tolist(), slates.explanation[n].tolist(), strict=True):
            assert item == NO_ITEM or text == offered[item]


def test_ties_keep_the_candidates_order() -> None:
    """Among equal click estimates utility, which comes first, stays first."""
    items = np.array([[5, 3, 8, 9]], np.int32)
    channel = np.array([[UTILITY, UTILITY, COGNITIVE, COGNITIVE]], np.int8)
    click = np.full((1, 4), 0.2)
    slates = fill_slates(Candidates(items, click, channel), click, np.array([[False, False, True, True]]), 4)
    assert slates.items.tolist() == items.tolist()


exposures = st.integers(1, 12).flatmap(
    lambda width: arrays(np.float64, (3, width), elements=st.floats(0, 1, allow_subnormal=False))
)
draws = arrays(np.float64, 3, elements=st.floats(0, 1 - 1e-12))


@settings(deadline=None)
@given(exposures, draws)
def test_realised_number_is_within_one(x: np.ndarray, uniform: np.ndarray) -> None:
    """The number shown is the sum of exposures rounded up or down, and certain candidates are shown for certain."""
    shown = realise(x, uniform)
    count, total = shown.sum(axis=1), x.sum(axis=1)
    assert (count >= np.floor(total + NEAREST) - (np.abs(total - np.round(total)) < 2 * NEAREST)).all()
    assert (count <= np.ceil(total - NEAREST) + (np.abs(total - np.round(total)) < 2 * NEAREST)).all()
    assert not shown[x == 0].any()
    assert np.array_equal(shown, realise(x, uniform))


@settings(deadline=None)
@given(st.integers(0, 6), st.integers(1, 12), st.integers(0, 2**31), draws)
def test_whole_budgets_are_kept_exactly(budget: int, spare: int, seed: int, uniform: np.ndarray) -> None:
    """Where exposures add up to a whole number, as they do at Q or P, exactly so many are shown."""
    width = budget + spare
    weight = 0.05 + Stream(seed, "test/weights").uniform(np.arange(3)[:, None], np.arange(width)[None])
    x = np.zeros((3, width))
    for _ in range(60):  # water-filling to the budget, none above 1
        free = x < 1
        rest = budget - x.sum(axis=1, keepdims=True)
        x = np.minimum(x + np.where(free, weight, 0) * rest / np.maximum((weight * free).sum(axis=1), 1e-9)[:, None], 1)
    assert x.sum(axis=1) == pytest.approx(budget, abs=1e-10)
    assert (realise(x, uniform).sum(axis=1) == budget).all()


def test_each_is_shown_with_its_exposure() -> None:
    """Over draws spread evenly each candidate is shown as often as its exposure says."""
    x = np.array([0.1, 0.9, 0.35, 0.0, 1.0, 0.65, 0.2, 0.123])
    count = 20_000
    uniform = (np.arange(count) + 0.5) / count
    rate = realise(np.tile(x, (count, 1)), uniform).mean(axis=0)
    assert rate == pytest.approx(x, abs=2 / count)
    drawn = realise(np.tile(x, (count, 1)), Stream(3, "test/realise").uniform(np.arange(count))).mean(axis=0)
    assert (np.abs(drawn - x) <= 4 * np.sqrt(x * (1 - x) / count)).all()


@settings(deadline=None)
@given(pages(), st.integers(1, 10))
def test_displaced_are_the_last_of_utilitys_page(page: tuple[Candidates, np.ndarray, int], most: int) -> None:
    """What cognitive candidates displace are the last ``most`` places of the page that utility alone would show."""
    candidates, _, slots = page
    found = displaced(candidates, slots, most)
    for n, items in enumerate(candidates.items):
        utility = np.flatnonzero((candidates.channel[n] == UTILITY) & (items >= 0))
        places: Any = np.arange(len(utility))
        assert np.flatnonzero(found[n]).tolist() == utility[(places < slots) & (places >= slots - most)].tolist()
    assert not (found & is_cognitive(candidates)).any()


def test_mean_of_nothing_is_nothing() -> None:
    """The mean is over the chosen alone, and 0 where none is."""
    values = np.array([[1.0, 3.0, np.nan], [1.0, 3.0, 5.0]])
    assert mean_over(values, np.array([[True, True, False], [False] * 3])).tolist() == [2.0, 0.0]
