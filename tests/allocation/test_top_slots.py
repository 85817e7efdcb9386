from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from allocation.top_slots import TopSlots
from simulator.batches import COGNITIVE, NO_EXPLANATION, NO_ITEM, UTILITY, Candidates, Requests


def asked(slots: int) -> Requests:
    """Requests of which only the number of slots matters."""
    return SimpleNamespace(slots=slots)  # type: ignore[return-value]


def ranked(width: int, propensity: bool) -> Candidates:
    """Three rankings with both channels in them."""
    items = np.arange(3 * width, dtype=np.int32).reshape(3, width)
    channel = np.where(items % 2 == 0, UTILITY, COGNITIVE).astype(np.int8)
    return Candidates(items, -items.astype(float), channel, items / 100.0 if propensity else None)


@pytest.mark.parametrize("propensity", [False, True])
@pytest.mark.parametrize("width", [5, 8])
def test_first_places_are_shown_as_ranked(width: int, propensity: bool) -> None:
    """The page is the top of the ranking, with its channels and propensities."""
    candidates = ranked(width, propensity)
    slates = TopSlots().allocate(asked(5), candidates)
    assert slates.items.tolist() == candidates.items[:, :5].tolist()
    assert slates.channel.tolist() == candidates.channel[:, :5].tolist()
    if propensity:
        assert slates.propensity is not None
        assert slates.propensity.tolist() == candidates.propensity[:, :5].tolist()  # type: ignore[index]
    else:
        assert slates.propensity is None


@pytest.mark.parametrize("propensity", [False, True])
def test_short_ranking_leaves_slots_empty(propensity: bool) -> None:
    """Where there are fewer candidates than slots, the rest of the page holds nothing, at propensity 0."""
    candidates = ranked(2, propensity)
    slates = TopSlots().allocate(asked(4), candidates)
    assert slates.items.shape == slates.channel.shape == (3, 4)
    assert slates.items[:, :2].tolist() == candidates.items.tolist()
    assert (slates.items[:, 2:] == NO_ITEM).all()
    assert slates.items.dtype == np.int32
    assert slates.channel.dtype == np.int8
    if propensity:
        assert slates.propensity is not None
        assert not slates.propensity[:, 2:].any()
    else:
        assert slates.propensity is None


@pytest.mark.parametrize("width", [2, 8])
def test_items_keep_their_explanations(width: int) -> None:
    """Shown items come with the explanations they were ranked with, and places without an item have none."""
    candidates = ranked(width, False)
    assert TopSlots().allocate(asked(5), candidates).explanation is None
    texts = np.where(candidates.channel == COGNITIVE, candidates.items + 50, NO_EXPLANATION).astype(np.int32)
    slates = TopSlots().allocate(asked(5), replace(candidates, explanation=texts))
    assert slates.explanation is not None
    assert slates.explanation.dtype == np.int32
    assert slates.explanation[:, :width].tolist() == texts[:, :5].tolist()
    assert (slates.explanation[:, width:] == NO_EXPLANATION).all()
