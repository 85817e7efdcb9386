import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.intents import PAD, distinct_share, explanation_diversity, mean_distance, rouge_l, valid_share

SENTENCES = st.lists(st.sampled_from(["warm", "dry", "cat", "Cat,", "for", "you"]), max_size=6).map(" ".join)


def test_valid_share_by_hand() -> None:
    """Of four tags one names nothing in the shop; a request without a tag has no share."""
    found = valid_share(np.array([4, 3, 0]), np.array([1, 0, 0]))
    assert found[:2].tolist() == [0.75, 1.0]
    assert np.isnan(found[2])


def test_distinct_share_by_hand() -> None:
    """Two categories of three tags; padding is no category; nothing is no share."""
    found = distinct_share(np.array([[5, 2, 5, PAD], [0, 1, 2, 3], [PAD] * 4]))
    assert found[:2].tolist() == [2 / 3, 1.0]
    assert np.isnan(found[2])


def test_mean_distance_by_hand() -> None:
    """Tags at right angles are 1 apart, opposite ones 2, the same direction 0, whatever the lengths of vectors."""
    vectors = np.array([[2.0, 0.0], [0.0, 1.0], [-3.0, 0.0], [5.0, 0.0]])
    found = mean_distance(np.array([[0, 1, PAD], [0, 2, PAD], [0, 3, PAD], [0, 1, 2], [0, PAD, PAD]]), vectors)
    assert found[:4] == pytest.approx([1.0, 2.0, 0.0, (1 + 1 + 2) / 3])
    assert np.isnan(found[4])


@settings(max_examples=50, deadline=None)
@given(data=st.data(), rows=st.integers(1, 4), tags=st.integers(2, 6))
def test_mean_distance_is_that_of_all_pairs(data: st.DataObject, rows: int, tags: int) -> None:
    """The sum over pairs and the closed form agree, and no other request changes a value."""
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    vectors = rng.normal(size=(9, 4))
    chosen = np.array([rng.permutation(9)[:tags] for _ in range(rows)])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    found = mean_distance(chosen, vectors)
    for row, own in enumerate(chosen):
        pairs = [1 - unit[a] @ unit[b] for n, a in enumerate(own) for b in own[n + 1 :]]
        assert found[row] == pytest.approx(np.mean(pairs))
        assert found[row] == mean_distance(chosen[row : row + 1], vectors)[0]


def test_rouge_l_by_hand() -> None:
    """Of "police killed the gunman" and "the gunman killed police" two words are common in order: F1 is 2/4."""
    found = rouge_l(["police killed the gunman", "the gunman killed police", "Police killed the gunman!", ""])
    assert found[0].tolist() == [1.0, 0.5, 1.0, 0.0]
    assert found[3].tolist() == [0.0, 0.0, 0.0, 1.0]


@settings(max_examples=50, deadline=None)
@given(st.lists(SENTENCES, min_size=1, max_size=5))
def test_likeness_is_a_likeness(texts: list[str]) -> None:
    """It is symmetric, within 0 and 1, 1 with oneself, and 0 where no word is shared."""
    found = rouge_l([*texts, string.ascii_lowercase])
    assert np.array_equal(found, found.T)
    assert ((found >= 0) & (found <= 1)).all()
    assert (np.diag(found) == 1).all()
    assert not found[-1, :-1].any()


def test_explanation_diversity_by_hand() -> None:
    """An item explained alike to all is 0, in other words 1; what is explained once or not at all has no value."""
    wording = ["warm and dry", "a treat today", "warm and soft"]
    items = np.array([[7, 8], [7, 9], [8, 7], [9, 1]])
    texts = np.array([[0, 1], [0, PAD], [1, 2], [1, 0]])
    found = explanation_diversity(items, texts, wording)
    of_seven = 1 - (1 + 2 / 3) / 2  # with the same text once and with one that shares two words of three
    assert found[0] == pytest.approx((of_seven + 0) / 2)
    assert found[1] == pytest.approx(of_seven)
    assert found[2] == pytest.approx((0 + 1 / 3) / 2)
    assert np.isnan(found[3])  # item 9 is explained to nobody else, item 1 neither


@settings(max_examples=50, deadline=None)
@given(data=st.data(), rows=st.integers(2, 6))
def test_explanation_diversity_is_that_of_all_pairs(data: st.DataObject, rows: int) -> None:
    """With one item, the mean over requests is 1 - the mean over all pairs of texts: the report's own definition."""
    wording = data.draw(st.lists(SENTENCES, min_size=3, max_size=3))
    texts = np.array(data.draw(st.lists(st.integers(0, 2), min_size=rows, max_size=rows)))
    found = explanation_diversity(np.zeros((rows, 1), np.int32), texts[:, None], wording)
    likeness = rouge_l([wording[text] for text in texts])
    pairs = [likeness[a, b] for a in range(rows) for b in range(a)]
    assert found.mean() == pytest.approx(1 - np.mean(pairs))
    assert (found >= -1e-12).all()


def test_nothing_explained_has_no_value() -> None:
    """Requests without explanations, and no request at all, give no value."""
    empty = np.full((3, 2), PAD)
    assert np.isnan(explanation_diversity(empty, empty, [])).all()
    assert explanation_diversity(empty[:0], empty[:0], []).shape == (0,)
