import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.offline import (
    PAD,
    ItemLists,
    category_hit_at_k,
    ndcg_at_k,
    novelty_at_k,
    paired_bootstrap,
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
    ranked = ranking([0, 1, 2, 4], [0, 1, 4], [5, 3])
    targets = lists([4, 0], [4], [4])
    assert category_hit_at_k(ranked, targets, category, 2).tolist() == [0.0, 1.0, 0.0]
    assert category_hit_at_k(ranked, targets, category, 3).tolist() == [1.0, 1.0, 0.0]
    assert category_hit_at_k(ranked, targets, category, 30).tolist() == [1.0, 1.0, 0.0]


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
    perfect = ranking(*(list(dict.fromkeys(row)) for row in wanted))
    assert (ndcg_at_k(perfect, targets, k) == 1.0).all()
    assert (recall_at_k(perfect, targets, 6) == 1.0).all()
    for i, (row, want) in enumerate(zip(rows, wanted, strict=True)):
        assert recall_at_k(ranked, targets, k)[i] == len(set(row[:k]) & set(want)) / len(set(want))
        distinct = list(dict.fromkeys(category[row].tolist()))[:k]
        hit = category_hit_at_k(ranked, targets, category, k)[i]
        assert hit == float(category[want[0]] in distinct)


def test_equal_policies_differ_by_exactly_nothing() -> None:
    """The same values under two names have an effect and an interval of 0 and a p-value of 1."""
    values = np.random.default_rng(1).random(500)
    cluster = np.repeat(np.arange(100), 5)
    found = paired_bootstrap({"a": values, "b": values.copy()}, cluster, replicates=200, seed=4)
    assert found["comparisons"] == [{"a": "a", "b": "b", "effect": 0.0, "ci": [0.0, 0.0], "p_value": 1.0}]
    assert found["policies"]["a"]["value"] == pytest.approx(values.mean())
    assert found["policies"]["a"] == found["policies"]["b"]


def test_bootstrap_resamples_users_and_not_requests() -> None:
    """When users are constant the interval has the width for that many users, not for all their requests."""
    rng = np.random.default_rng(2)
    of_user = rng.normal(size=200)
    cluster = np.repeat(np.arange(200), 10)
    found = paired_bootstrap({"a": of_user[cluster], "b": np.zeros(2000)}, cluster, replicates=2000, seed=0)
    lower, upper = found["comparisons"][0]["ci"]
    assert upper - lower == pytest.approx(2 * 1.96 * of_user.std() / math.sqrt(200), rel=0.1)
    assert found["comparisons"][0]["effect"] == pytest.approx(-of_user.mean())


def test_bootstrap_finds_a_constant_gain_and_is_reproducible() -> None:
    """Pairing removes what policies share: a constant gain is certain, with a p-value at its floor."""
    values = np.random.default_rng(3).random(300)
    arguments: dict[str, Any] = {"cluster": np.arange(300) // 3, "replicates": 99, "seed": 8, "alpha": 0.1}
    policies = {"base": values, "better": values + 0.25, "worse": values - 0.25}
    found = paired_bootstrap(policies, **arguments)
    gain = found["comparisons"][0]
    assert (gain["a"], gain["b"]) == ("base", "better")
    assert gain["ci"] == pytest.approx([0.25, 0.25])
    assert gain["p_value"] == pytest.approx(2 / 100)
    assert [(row["a"], row["b"]) for row in found["comparisons"]] == [
        ("base", "better"),
        ("base", "worse"),
        ("better", "worse"),
    ]
    assert found == paired_bootstrap(policies, **arguments)


def test_wrong_arguments_are_refused() -> None:
    """Depths, shapes, requests without targets and values that are not finite raise with the field's name."""
    ranked, targets = ranking([1, 2]), lists([1])
    with pytest.raises(ValueError, match="k: 0"):
        recall_at_k(ranked, targets, 0)
    with pytest.raises(ValueError, match="ranked: shape"):
        ndcg_at_k(ranked, lists([1], [2]), 1)
    with pytest.raises(ValueError, match="targets: request 1 has none"):
        category_hit_at_k(ranking([1], [2]), lists([1], []), np.arange(3), 1)
    with pytest.raises(ValueError, match="offsets: from 0 to 2"):
        ItemLists(np.array([0, 2]), np.array([1]))
    values, cluster = np.ones(3), np.arange(3)
    with pytest.raises(ValueError, match=r"values_by_policy\.a: holds NaN"):
        paired_bootstrap({"a": values * np.nan}, cluster)
    with pytest.raises(ValueError, match=r"values_by_policy\.a: shape"):
        paired_bootstrap({"a": values}, np.arange(2))
    with pytest.raises(ValueError, match="replicates: 0"):
        paired_bootstrap({"a": values}, cluster, replicates=0)
    with pytest.raises(ValueError, match="alpha: 0"):
        paired_bootstrap({"a": values}, cluster, alpha=0.0)
    with pytest.raises(ValueError, match="cluster: no request"):
        paired_bootstrap({}, np.array([]))
