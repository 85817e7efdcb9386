import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.offline import (
    PAD,
    ItemLists,
    categories_of,
    category_hit_at_k,
    exclusive_recall_at_k,
    ndcg_at_k,
    novelty_at_k,
    primary_categories,
    recall_at_k,
)


def lists(*rows: list[int]) -> ItemLists:
    """Item lists from Python lists."""
    offsets = np.cumsum([0, *map(len, rows)])
    return ItemLists(offsets, np.array([item for row in rows for item in row], dtype=np.int32))


def ranking(*rows: list[int]) -> np.ndarray:
    """A ranking padded to its longest row."""
    width = max(map(len, rows))
    return np.array([row + [PAD] * (width - len(row)) for row in rows], dtype=np.int32)


def test_recall_by_hand() -> None:
    """Hits among the first k over distinct targets; repeats and padding never count."""
    ranked = ranking([5, 3, 9, 1], [2, 2, 7], [4])
    targets = lists([3, 1, 3], [2, 8], [0])
    assert recall_at_k(ranked, targets, 2).tolist() == [0.5, 0.5, 0.0]
    assert recall_at_k(ranked, targets, 10).tolist() == [1.0, 0.5, 0.0]


def test_ndcg_by_hand() -> None:
    """Hits at ranks 2 and 4 of two targets gain 1/log2(3) + 1/log2(5) of 1 + 1/log2(3)."""
    ranked, targets = ranking([5, 3, 9, 1]), lists([3, 1])
    ideal = 1 + 1 / math.log2(3)
    assert ndcg_at_k(ranked, targets, 4)[0] == pytest.approx((1 / math.log2(3) + 1 / math.log2(5)) / ideal)
    assert ndcg_at_k(ranked, targets, 2)[0] == pytest.approx(1 / math.log2(3) / ideal)
    assert ndcg_at_k(ranked, targets, 1)[0] == 0.0


def test_category_hit_by_hand() -> None:
    """Only the first k distinct categories count, and only the first target's category is looked for."""
    category = np.array([0, 0, 1, 1, 2, 3])
    ranked = categories_of(ranking([0, 1, 2, 4], [0, 1, 4], [5, 3]), category)
    targets = lists([4, 0], [4], [4])
    assert category_hit_at_k(ranked, targets, category, 2).tolist() == [0.0, 1.0, 0.0]
    assert category_hit_at_k(ranked, targets, category, 3).tolist() == [1.0, 1.0, 0.0]
    assert category_hit_at_k(ranked, targets, category, 30).tolist() == [1.0, 1.0, 0.0]


def test_categories_of_ids_by_hand() -> None:
    """Each id becomes its category, and padding stays padding though it could index the last one."""
    category = np.array([4, 4, 7])
    assert categories_of(ranking([2, 0], [1]), category).tolist() == [[7, 4], [4, PAD]]
    assert primary_categories(lists([2, 0], [1]), category).tolist() == [7, 4]


def test_exclusive_recall_by_hand() -> None:
    """A target counts if the first k of the one channel hold it and the first k of the other do not."""
    cognitive = ranking([1, 2, 3], [4, 4, 5], [6])
    utility = ranking([2, 9, 1], [8], [6, 7])
    targets = lists([1, 2], [4, 5, 4], [6])
    assert exclusive_recall_at_k(cognitive, utility, targets, 1).tolist() == [0.5, 0.5, 0.0]
    assert exclusive_recall_at_k(cognitive, utility, targets, 2).tolist() == [0.5, 0.5, 0.0]
    assert exclusive_recall_at_k(cognitive, utility, targets, 3).tolist() == [0.0, 1.0, 0.0]


def test_novelty_by_hand() -> None:
    """Share of shown items never met before; an empty ranking shows nothing new."""
    ranked = ranking([1, 2, 3, 4], [1, 2], [])
    seen = lists([2, 9], [], [1])
    assert novelty_at_k(ranked, seen, 3).tolist() == [2 / 3, 1.0, 0.0]
    assert novelty_at_k(ranked, seen, 1).tolist() == [1.0, 1.0, 0.0]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), k=st.integers(1, 8))
def test_properties_of_rankings(data: st.DataObject, k: int) -> None:
    """Values stay in [0, 1], perfect rankings score 1, and what stands below k does not matter."""
    item = st.integers(0, 12)
    rows = data.draw(st.lists(st.lists(item, min_size=1, max_size=12), min_size=1, max_size=6))
    wanted = data.draw(st.lists(st.lists(item, min_size=1, max_size=6), min_size=len(rows), max_size=len(rows)))
    ranked, targets = ranking(*rows), lists(*wanted)
    category = np.arange(13) // 3
    below = np.concatenate([ranked[:, :k], ranked[:, k:][:, ::-1]], axis=1)
    for metric in (recall_at_k, ndcg_at_k, novelty_at_k):
        values = metric(ranked, targets, k)
        assert ((values >= 0) & (values <= 1)).all()
        assert np.array_equal(values, metric(below, targets, k))
    turned = ranked[:, ::-1].copy()
    turned[turned == PAD] = 99  # what the other channel holds and nobody wants
    exclusive = exclusive_recall_at_k(ranked, turned, targets, k)
    assert (exclusive <= recall_at_k(ranked, targets, k)).all()
    assert not exclusive_recall_at_k(ranked, ranked, targets, k).any()
    perfect = ranking(*(list(dict.fromkeys(row)) for row in wanted))
    assert (ndcg_at_k(perfect, targets, k) == 1.0).all()
    assert (recall_at_k(perfect, targets, 6) == 1.0).all()
    for i, (row, want) in enumerate(zip(rows, wanted, strict=True)):
        assert recall_at_k(ranked, targets, k)[i] == len(set(row[:k]) & set(want)) / len(set(want))
        distinct = list(dict.fromkeys(category[row].tolist()))[:k]
        hit = category_hit_at_k(categories_of(ranked, category), targets, category, k)[i]
        assert hit == float(category[want[0]] in distinct)


def test_wrong_arguments_are_refused() -> None:
    """Depths, shapes and requests without targets raise with the field's name."""
    ranked, targets = ranking([1, 2]), lists([1])
    with pytest.raises(ValueError, match="k: 0"):
        recall_at_k(ranked, targets, 0)
    with pytest.raises(ValueError, match="ranked: shape"):
        ndcg_at_k(ranked, lists([1], [2]), 1)
    with pytest.raises(ValueError, match="targets: request 1 has none"):
        category_hit_at_k(ranking([1], [2]), lists([1], []), np.arange(3), 1)
    with pytest.raises(ValueError, match="offsets: from 0 to 2"):
        ItemLists(np.array([0, 2]), np.array([1]))
    with pytest.raises(ValueError, match="k: 0"):
        exclusive_recall_at_k(ranked, ranked, targets, 0)
    with pytest.raises(ValueError, match="ranked: shape"):
        exclusive_recall_at_k(ranked, ranking([1], [2]), targets, 1)
    with pytest.raises(ValueError, match="targets: request 0 has none"):
        primary_categories(lists([]), np.arange(3))
