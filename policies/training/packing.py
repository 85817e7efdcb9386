"""From lessons to rows of tokens that one pass can learn from.

A lesson's prefix is read once for all of its tasks: a task sees the prefix and itself, never another task, by a block
mask, and positions go on from the prefix. Several lessons share a row in the same way. Only answers are learned from,
or else the model learns little but what is popular; general sentences are learned whole. Knows no model.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from policies.recgpt.encoding import TextEncoder
from policies.training.lessons import Lesson
from simulator.batches import Bools, Ints


@dataclass(frozen=True)
class Piece:
    """A run of tokens: ids, which of them are learned, whether others of its document may see it."""

    ids: tuple[int, ...]
    learned: tuple[bool, ...]
    shared: bool


Document = tuple[Piece, ...]


@dataclass(frozen=True)
class Batch:
    """Rows of tokens.

    Attributes:
        ids, position: int64 [rows, length].
        mask: may attend, bool [rows, 1, length, length].
        rows, columns: where the next token is learned, int64 [learned]; target: that token.
    """

    ids: torch.Tensor
    position: torch.Tensor
    mask: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    target: torch.Tensor


def document(prefix: Sequence[int], tasks: Iterable[tuple[Sequence[int], Sequence[int]]]) -> Document:
    """A prefix with the prompts and answers that follow it."""
    pieces = [Piece(tuple(prefix), (False,) * len(prefix), True)] if prefix else []
    for prompt, answer in tasks:
        learned = (False,) * len(prompt) + (True,) * len(answer)
        pieces.append(Piece((*prompt, *answer), learned, False))
    return tuple(pieces)


def lesson_documents(lesson: Lesson, encoder: TextEncoder, short: Mapping[int, str] | None = None) -> list[Document]:
    """A lesson written out: one document of the calls that share the prefix, one for each that stands alone.

    Items may go by short names, but not where an explanation speaks of what the title says.
    """
    documents = [
        document(
            encoder.full(lesson.prefix, short),
            [(encoder.full(task.prompt, short), encoder.words(task.answer)) for task in lesson.tasks],
        )
    ]
    documents += [
        document(
            (),
            [
                (
                    encoder.full(task.prompt, None if task.kind == "explain" else short),
                    encoder.words(task.answer),
                )
            ],
        )
        for task in lesson.alone
    ]
    return documents


def sentence_document(ids: Sequence[int]) -> Document:
    """A general sentence, learned whole."""
    return (Piece(tuple(ids), (True,) * len(ids), False),)


def size_of(doc: Document) -> int:
    """Tokens of a document."""
    return sum(len(piece.ids) for piece in doc)


def cut_to(doc: Document, length: int) -> Document:
    """A document that fits a row: tasks are dropped from the end, then the oldest tokens of what is left."""
    tasks = 2 if doc[0].shared else 1
    while size_of(doc) > length and len(doc) > tasks:
        doc = doc[:-1]
    excess = size_of(doc) - length
    pieces = []
    for piece in doc:
        cut = min(max(excess, 0), len(piece.ids))
        excess -= cut
        if cut < len(piece.ids):
            pieces.append(Piece(piece.ids[cut:], piece.learned[cut:], piece.shared))
    return tuple(pieces)


def pack(documents: Iterator[Document], rows: int, length: int) -> Iterator[Batch]:
    """Fill batches of ``rows`` x ``length`` with documents, each row in turn as far as it has room.

    Documents longer than a row are cut. Padding sees only itself and is never learned.
    """
    waiting: list[list[Document]] = [[]]
    room = length
    for doc in documents:
        doc = cut_to(doc, length)
        size = size_of(doc)
        if size > room:
            if len(waiting) == rows:
                yield lay_out(waiting, length)
                waiting = []
            waiting.append([])
            room = length
        waiting[-1].append(doc)
        room -= size
    if waiting[0]:
        yield lay_out(waiting, length)


def lay_out(rows: Sequence[Sequence[Document]], length: int) -> Batch:
    """Tokens, positions, mask and targets of rows of documents that fit."""
    shape = (len(rows), length)
    ids, position = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    part, shared_of = np.full(shape, -1, np.int64), np.full(shape, -2, np.int64)
    own_doc = np.full(shape, -1, np.int64)
    learned: Bools = np.zeros(shape, np.bool_)
    for row, documents in enumerate(rows):
        at = number = 0
        for index, doc in enumerate(documents):
            start = len(doc[0].ids) if doc[0].shared else 0
            for piece in doc:
                span = slice(at, at + len(piece.ids))
                ids[row, span] = piece.ids
                position[row, span] = (0 if piece.shared else start) + np.arange(len(piece.ids))
                part[row, span] = number
                own_doc[row, span] = index
                if piece.shared:
                    shared_of[row, span] = index
                learned[row, span] = piece.learned
                at += len(piece.ids)
                number += 1
    mask = (part[:, :, None] == part[:, None, :]) | (own_doc[:, :, None] == shared_of[:, None, :])
    mask &= np.tri(length, dtype=np.bool_)
    mask |= np.eye(length, dtype=np.bool_)
    where, column, target = _targets(ids, part, position, own_doc, learned)
    return Batch(
        torch.from_numpy(ids),
        torch.from_numpy(position),
        torch.from_numpy(mask[:, None]),
        torch.from_numpy(where),
        torch.from_numpy(column),
        torch.from_numpy(target),
    )


def _targets(ids: Ints, part: Ints, position: Ints, own_doc: Ints, learned: Bools) -> tuple[Ints, Ints, Ints]:
    """Where each learned token is predicted from: the token before it in its own part."""
    row, column = np.nonzero(learned[:, 1:] & (part[:, 1:] == part[:, :-1]))
    return row, column, ids[row, column + 1]
