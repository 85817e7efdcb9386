"""Open-loop metrics of what a policy thought: its tags and its explanations, before and beside any ranking.

Arrays in, one value for each request out, NaN where a request gives nothing to measure. Does not know which model
wrote the tags or the texts, nor what users did. Tags and texts are padded with -1.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rapidfuzz.distance import LCSseq
from rapidfuzz.process import cdist

Ids = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.float64]

PAD: Final = -1

_WORD: Final = re.compile(r"\w+")


def valid_share(generated: Ids, invalid: Ids) -> Floats:
    """Share of the tags a model wrote that name a category of the shop, NaN where it wrote none: [n].

    Args:
        generated: tags written, valid or not: [n].
        invalid: those of them that map to no category: [n].
    """
    return 1.0 - _ratio(invalid, generated)


def distinct_share(categories: Ids) -> Floats:
    """Distinct categories of a request's tags over its tags, NaN where it has none: [n].

    Args:
        categories: the category of each tag, -1 for padding: [n, m].
    """
    ordered = np.sort(categories, axis=1)
    new = ordered != PAD
    new[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
    return _ratio(new.sum(axis=1), (categories != PAD).sum(axis=1))


def mean_distance(tags: Ids, vectors: npt.NDArray[np.floating[Any]]) -> Floats:
    """Mean cosine distance between the pairs of a request's tags, NaN where it has fewer than two: [n].

    The diversity reward of the RecGPT-V2 report (section 2.4). With unit vectors v_i and s their sum, the sum of the
    similarities of all ordered pairs is |s|^2 - m, so no pair is looked at.

    Args:
        tags: distinct tag ids, -1 for padding: [n, m].
        vectors: embedding of each tag, of any length but 0: [tags, width].
    """
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    out = np.full(len(tags), np.nan)
    for row, own in enumerate(tags):  # row by row: the sum of one request must not depend on its neighbours
        chosen = unit[own[own != PAD]].astype(np.float64)
        count = len(chosen)
        if count > 1:
            total = chosen.sum(axis=0)
            out[row] = 1.0 - (float((total * total).sum()) - float((chosen * chosen).sum())) / (count * (count - 1))
    return out


def explanation_diversity(items: Ids, texts: Ids, wording: Sequence[str]) -> Floats:
    """How differently the same item is explained to one request and to the others, NaN where nothing compares: [n].

    For each item that a request explains: 1 - the mean ROUGE-L (``rouge_l``) of its text with the texts that the other
    requests got for the same item; averaged over the request's items. The RecGPT-V2 report (section 2.6) measures
    the same over all pairs at once; here every request has its own value, so that policies can be compared in pairs.

    Args:
        items: explained items, distinct within a request: [n, m].
        texts: id of each explanation, -1 where the item has none: [n, m].
        wording: the texts by id.
    """
    request, place = np.nonzero(texts != PAD)
    item, text = items[request, place], texts[request, place]
    likeness = np.full(len(item), np.nan)
    order = np.argsort(item, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(item[order])) + 1):
        if len(group) < 2:
            continue
        distinct, which, times = np.unique(text[group], return_inverse=True, return_counts=True)
        # A text is as like the texts of all requests as it is, less itself, among the others.
        likeness[group] = ((rouge_l([wording[t] for t in distinct]) @ times - 1.0) / (len(group) - 1))[which]
    compared = np.isfinite(likeness)
    total = np.bincount(request[compared], 1.0 - likeness[compared], minlength=len(items))
    return _ratio(total, np.bincount(request[compared], minlength=len(items)))


def rouge_l(texts: Sequence[str]) -> Floats:
    """ROUGE-L F1 of each pair of texts: 2 LCS / (words of one + words of the other), in [0, 1]: [texts, texts].

    LCS is the length of the longest common subsequence of words (Lin 2004, "ROUGE: A Package for Automatic Evaluation
    of Summaries"); case and punctuation are ignored. Two texts without a word are alike.
    """
    words = [_WORD.findall(text.lower()) for text in texts]
    sizes = np.array([len(each) for each in words], np.float64)
    common = cdist(words, words, scorer=LCSseq.similarity, dtype=np.int32).astype(np.float64)
    both = sizes[:, None] + sizes[None, :]
    return np.where(both > 0, 2.0 * common / np.maximum(both, 1.0), 1.0)


def _ratio(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> Floats:
    """The quotient, NaN where the whole is 0."""
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)
