"""The stream of documents: what comes first, and that a place's document is always the same."""

import re

import pytest

from policies.recgpt.encoding import TextEncoder
from policies.recgpt.wording import interests_task
from policies.training.corpus import Corpus, Course
from policies.training.lessons import Teacher
from policies.training.packing import Document
from policies.training.settings import CorpusParams

FACTS = ("umbrellas are for rain",)
QUESTIONS = [("What is rain for?", ["umbrella", "rain boots"])]
ABOUT = [(3, "What is it?", "a thing"), (5, "Which season?", "winter")]


class Words:
    """Whole words and marks as tokens, numbered as they come."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}
        self.words: list[str] = []

    def encode(self, text: str) -> list[int]:
        """One id for each word with the blank before it."""
        out = []
        for word in re.findall(r"\s?[^\s]+|\s", text):
            if word not in self.ids:
                self.ids[word] = len(self.words)
                self.words.append(word)
            out.append(self.ids[word])
        return out

    def text(self, document: Document) -> str:
        """A document's text, its pieces one after another."""
        return "".join(self.words[token] for piece in document for token in piece.ids)


def corpus_of(teacher: Teacher, words: Words, **shares: float) -> Corpus:
    """A corpus of one course."""
    catalog = teacher.evidence.catalog
    params = CorpusParams.model_validate({"primer": 40, **shares})
    course = Course(teacher, TextEncoder(words, catalog.titles, 10**6), catalog)
    return Corpus((course,), FACTS, QUESTIONS, ABOUT, params, 3)


def test_first_come_questions_that_a_history_answers(teacher: Teacher) -> None:
    """The primer holds interests and habits and questions about items, in short names alone in its first half."""
    words = Words()
    corpus = corpus_of(teacher, words, primer_entities=0.3, short_names=0.0)
    texts = [[words.text(document) for document in corpus.document(number)] for number in range(40)]
    asked = ["Item:" in text for place in texts for text in place]
    assert 0 < sum(asked) < len(asked)
    told = [(number, text) for number, place in enumerate(texts) for text in place if "History:" in text]
    assert told
    assert not any("Persona" in text or "Plan" in text or "Weather" in text for _, text in told)
    assert all(interests_task() in text or "Tags for habits:" in text for _, text in told)
    titles = teacher.evidence.catalog.titles
    titled = [(number, any(f" {title}" in text for title in titles)) for number, text in told]
    assert any(found for number, found in titled if number >= 20)
    short = set(teacher.evidence.catalog.category_names)
    assert not any(found for number, found in titled if number < 20 and not short & set(titles))


def test_later_come_all_kinds(teacher: Teacher) -> None:
    """Behind the primer there are lessons of every kind, general questions, sentences and questions about items."""
    words = Words()
    corpus = corpus_of(teacher, words)
    text = "\n".join(words.text(document) for number in range(40, 200) for document in corpus.document(number))
    for part in ("What is rain for?", FACTS[0], "What is it?", "Plan", "Persona:", "Choose", "Weather:"):
        assert part in text


@pytest.mark.parametrize("number", [0, 30, 41, 77])
def test_a_place_has_one_document(teacher: Teacher, number: int) -> None:
    """What stands at a place does not depend on what was read before."""
    one, other = (corpus_of(teacher, Words()) for _ in range(2))
    other.document(5)
    first = [[piece.learned for piece in document] for document in one.document(number)]
    assert first == [[piece.learned for piece in document] for document in other.document(number)]
