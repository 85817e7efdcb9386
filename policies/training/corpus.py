"""The stream of documents a language model is trained on: lessons from logs, general knowledge, and manners.

Mixes what the other modules write in settable shares (RecGPT-V2 report, section on training the experts, mixes
behaviour, contexts and general text). Knows no model; the n-th document is the same whatever was read before.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np

from policies.recgpt.encoding import TextEncoder
from policies.recgpt.wording import STOP, entity_question, listed
from policies.training.lessons import Lesson
from policies.training.packing import Document, document, lesson_documents, sentence_document
from policies.training.settings import CorpusParams
from simulator.batches import ObservedCatalog


class Teaches(Protocol):
    """What the corpus needs of a teacher."""

    def lesson(self, number: int, plain: bool = False) -> Lesson:
        """The lesson of that number; plain: tags without modifiers."""
        ...


@dataclass(frozen=True)
class Course:
    """A log's teacher with the encoder of its catalogue."""

    teacher: Teaches
    encoder: TextEncoder
    catalog: ObservedCatalog


PRIMER: Final = ("interests", "route/habits")
"""Tasks of the first lessons: those that a history answers."""


@dataclass(frozen=True)
class Corpus:
    """What documents are made of.

    Attributes:
        courses: logs, taken in turn.
        sentences: general sentences.
        questions: general questions with their answers, as lists of words.
        entity_questions: an item of the first course, a question, the answer.
        params: shares.
        seed: of the mixture.
    """

    courses: tuple[Course, ...]
    sentences: Sequence[str]
    questions: Sequence[tuple[str, list[str]]]
    entity_questions: Sequence[tuple[int, str, str]]
    params: CorpusParams
    seed: int

    def documents(self, first: int = 0) -> Iterator[Document]:
        """Documents without end, from the ``first`` on."""
        number = first
        while True:
            yield from self.document(number)
            number += 1

    def document(self, number: int) -> list[Document]:
        """What stands at a place of the stream: a lesson's documents, or one of general text."""
        rng = np.random.default_rng([self.seed, number])
        course = self.courses[number % len(self.courses)]
        kind, params, encoder = rng.random(), self.params, course.encoder
        if number < params.primer:
            if kind < params.primer_entities and self.entity_questions:
                return self._asked(rng)
            return self._lesson(course, number, rng, 1.0 if number < params.primer // 2 else params.short_names, PRIMER)
        if kind < params.knowledge and self.questions:
            chosen = rng.integers(0, len(self.questions), params.signals_a_document)
            pairs = [self.questions[k] for k in chosen]
            return [document((), [(encoder.words(asked), encoder.words(listed(found)))]) for asked, found in pairs]
        if kind < params.knowledge + params.sentences and self.sentences:
            chosen = rng.integers(0, len(self.sentences), params.signals_a_document)
            return [sentence_document(encoder.words(self.sentences[k] + STOP)) for k in chosen]
        if kind < params.knowledge + params.sentences + params.entities and self.entity_questions:
            return self._asked(rng)
        return self._lesson(course, number, rng, params.short_names)

    def _lesson(
        self, course: Course, number: int, rng: np.random.Generator, short: float, kinds: tuple[str, ...] = ()
    ) -> list[Document]:
        """A lesson, items by short names with that probability, else by titles; some kinds of its tasks, or all."""
        plain = bool(rng.random() < short)
        lesson = course.teacher.lesson(number, plain=plain)
        if kinds:
            lesson = replace(lesson, tasks=tuple(task for task in lesson.tasks if task.kind in kinds), alone=())
        return lesson_documents(lesson, course.encoder, ShortNames(course.catalog) if plain else None)

    def _asked(self, rng: np.random.Generator) -> list[Document]:
        """Questions about items of the first course."""
        chosen = rng.integers(0, len(self.entity_questions), self.params.signals_a_document)
        return [self._about(*self.entity_questions[k]) for k in chosen]

    def _about(self, item: int, asked: str, answer: str) -> Document:
        encoder = self.courses[0].encoder
        return document((), [(encoder.full(entity_question(item, asked)), encoder.words(f" {answer}{STOP}"))])

    def texts(self, count: int) -> Iterator[str]:
        """Raw text of the first documents, for a tokenizer."""
        yield from self.sentences
        for asked, found in self.questions:
            yield asked + listed(found)
        for _, asked, answer in self.entity_questions:
            yield f"{asked} {answer}"
        for number in range(count):
            course = self.courses[number % len(self.courses)]
            lesson = course.teacher.lesson(number)
            yield "".join(part for part in lesson.prefix if isinstance(part, str))
            for task in (*lesson.tasks, *lesson.alone):
                yield "".join(part for part in task.prompt if isinstance(part, str)) + task.answer
        for course in self.courses:
            yield from (f" {title}" for title in course.catalog.titles)


class ShortNames(dict[int, str]):
    """Every item under its category's name."""

    def __init__(self, catalog: ObservedCatalog) -> None:
        super().__init__()
        self._catalog = catalog

    def __contains__(self, item: object) -> bool:
        return True

    def __getitem__(self, item: int) -> str:
        return self._catalog.category_names[self._catalog.category[item]]
