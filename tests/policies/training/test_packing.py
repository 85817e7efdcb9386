"""Packed rows teach the same as separate ones: tasks see their prefix and themselves, and only answers are learned."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.training.packing import Document, cut_to, document, lay_out, pack, sentence_document, size_of
from policies.training.settings import TinyModelParams
from policies.training.sft import loss_of, new_model

SMALL = TinyModelParams(vocabulary=300, width=16, layers=2, heads=2, kv_heads=1, head_dim=8, ffn=32, window=256)

TOKENS = st.lists(st.integers(2, 299), min_size=1, max_size=6)
DOCUMENTS = st.builds(
    document, st.one_of(st.just([]), TOKENS), st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=3)
)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    """A model of random weights."""
    return new_model(SMALL, 300, 0, 1, 3).eval()


def alone(doc: Document) -> list[tuple[list[int], int]]:
    """Each task of a document as one plain sequence, and how many of its last tokens are learned."""
    prefix = list(doc[0].ids) if doc[0].shared else []
    return [(prefix + list(piece.ids), sum(piece.learned)) for piece in doc if not piece.shared]


@settings(max_examples=15, deadline=None)
@given(st.lists(DOCUMENTS, min_size=1, max_size=4))
def test_a_packed_loss_is_the_mean_over_tasks_on_their_own(model: torch.nn.Module, docs: list[Document]) -> None:
    """The loss of packed documents equals the loss of their tasks, each read as a sequence of its own."""
    batch = lay_out([docs], sum(map(size_of, docs)) + 3)
    total, count = 0.0, 0
    with torch.no_grad():
        packed = float(loss_of(model, batch))
        for ids, learned in itertools.chain.from_iterable(map(alone, docs)):
            logits = model(torch.tensor([ids])).logits[0]
            answer = torch.tensor(ids[len(ids) - learned :])
            before = logits[len(ids) - learned - 1 : -1] if learned < len(ids) else logits[: learned - 1]
            answer = answer[-len(before) :]
            total += float(torch.nn.functional.cross_entropy(before, answer, reduction="sum"))
            count += len(answer)
    assert packed == pytest.approx(total / count, abs=2e-5)


@given(st.lists(DOCUMENTS, min_size=1, max_size=12), st.integers(1, 3), st.integers(12, 40))
def test_nothing_is_learned_twice_or_lost(docs: list[Document], rows: int, length: int) -> None:
    """Every answer token of documents that fit a row is a target exactly once."""
    fitting = [doc for doc in docs if size_of(doc) <= length]
    if not fitting:
        return
    targets = sorted(t for batch in pack(iter(fitting), rows, length) for t in batch.target.tolist())
    wanted = [
        token for doc in fitting for piece in doc for token, learned in zip(piece.ids, piece.learned, strict=True)
        if learned
    ]  # fmt: skip
    assert targets == sorted(wanted)


def test_a_sentence_is_learned_but_for_its_first_word() -> None:
    """Of a general sentence every token but the first has something before it to be predicted from."""
    batch = lay_out([[sentence_document([5, 6, 7])]], 4)
    assert batch.target.tolist() == [6, 7]


@given(DOCUMENTS, st.integers(2, 20))
def test_what_is_too_long_is_cut(doc: Document, length: int) -> None:
    """A cut document fits, is whole where it fits anyway, and where there is room for one task keeps the first."""
    cut = cut_to(doc, length)
    assert size_of(cut) <= length
    if size_of(doc) <= length:
        assert cut == doc
    first = doc[1] if doc[0].shared else doc[0]
    if size_of((first,)) >= length:
        assert cut[-1].ids == first.ids[-length:]
