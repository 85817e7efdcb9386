"""Training lowers the loss, repeats, and beats popularity after a short while."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from policies.recgpt.encoding import TextEncoder
from policies.recgpt.wording import history_text, interests_task, prefix_text
from policies.training.corpus import Corpus, Course
from policies.training.lessons import Lesson, Teacher
from policies.training.packing import Batch, document, pack
from policies.training.settings import CorpusParams, SftParams, TinyModelParams
from policies.training.sft import new_model, rate_at, train
from policies.training.tokenizer import END, PAD, train_tokenizer
from simulator.batches import DAY_SECONDS
from simulator.population import profile_words

SMALL = TinyModelParams(vocabulary=300, width=32, layers=2, heads=2, kv_heads=1, head_dim=16, ffn=64, window=512)


class Plain:
    """A tokenizer as packing wants it."""

    def __init__(self, tokenizer: object) -> None:
        self.tokenizer = tokenizer

    def encode(self, text: str) -> list[int]:
        """Ids without special tokens."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))  # type: ignore[attr-defined]


def batches() -> Iterator[Batch]:
    """A rule that can be learned: the answer to k is k + 1."""
    rng = np.random.default_rng(0)
    docs = (document((), [([5, int(k)], [int(k) + 1])]) for k in rng.integers(10, 200, 100_000))
    return pack(docs, 4, 60)


def test_a_run_repeats_and_learns() -> None:
    """Two runs of one seed end with the same bytes, and the loss falls."""
    ends = []
    for _ in range(2):
        model = new_model(SMALL, 300, 0, 1, 9)
        log = train(model, batches(), SftParams(steps=60, rows=4, length=60, learning_rate=1e-2, bfloat16=False))
        ends.append((log.loss, {name: value.clone() for name, value in model.state_dict().items()}))
    assert ends[0][0] == ends[1][0]
    assert all(torch.equal(value, ends[1][1][name]) for name, value in ends[0][1].items())
    assert ends[0][0][-1] < 0.8 * ends[0][0][0]


def test_only_the_parameters_given_move() -> None:
    """Training a part leaves the rest as it was."""
    model = new_model(SMALL, 300, 0, 1, 9)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(model, batches(), SftParams(steps=3, rows=4, length=60), parameters=list(model.model.norm.parameters()))
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"model.norm.weight"}


@given(st.floats(0, 1), st.floats(0, 0.5))
def test_the_rate_rises_then_falls_to_a_tenth(done: float, warm_up: float) -> None:
    """The learning rate's share stays within (0, 1], and ends at a tenth."""
    assert 0 < rate_at(done, warm_up) <= 1.0 + 1e-9
    assert rate_at(1.0, warm_up) == pytest.approx(0.02)


class InterestsOnly:
    """A teacher who asks for interests and nothing else."""

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher

    def lesson(self, number: int, plain: bool = False) -> Lesson:
        """The lesson of that number, cut down."""
        lesson = self.teacher.lesson(number, plain)
        return replace(lesson, tasks=tuple(task for task in lesson.tasks if task.kind == "interests"), alone=())


def test_a_short_training_beats_popularity(teacher: Teacher) -> None:
    """After some seconds of lessons, what the model thinks of first is hit more often than what is most popular.

    Late visits of the same log; categories ranked by the likelihood of their first token.
    """
    catalog = teacher.evidence.catalog
    params = CorpusParams(primer=0, knowledge=0, sentences=0, entities=0, short_names=1.0)
    lessons = InterestsOnly(teacher)
    raw = Corpus((Course(lessons, None, catalog),), (), (), (), params, 1)  # type: ignore[arg-type]
    tokenizer = train_tokenizer(raw.texts(150), 1500)
    encoder = TextEncoder(Plain(tokenizer), catalog.titles, len(tokenizer))
    corpus = Corpus((Course(lessons, encoder, catalog),), (), (), (), params, 1)
    size = TinyModelParams(width=64, layers=2, heads=2, kv_heads=2, head_dim=32, ffn=128, window=1024)
    model = new_model(size, len(tokenizer), *(tokenizer.get_vocab()[token] for token in (PAD, END)), 2)
    train(model, pack(corpus.documents(), 8, 256), SftParams(steps=130, rows=8, length=256, learning_rate=4e-3))
    evidence, names = teacher.evidence, catalog.category_names
    short = {item: names[catalog.category[item]] for item in range(catalog.items)}
    user, time = teacher.drawn_visits(150)
    first = np.array([encoder.words(f" {name}")[0] for name in names])
    popularity = np.bincount(first[evidence.category[evidence.log.item]], minlength=len(tokenizer))
    popular = set(np.argsort(-popularity, kind="stable")[:5].tolist())
    hits = []
    for who, when in zip(user.tolist(), time.tolist(), strict=True):
        day = when // DAY_SECONDS
        history = history_text(*evidence.before(who, day * DAY_SECONDS, 24), day)
        text = prefix_text(profile_words(evidence.users, who), history)
        ids = encoder.full(text, short) + encoder.words(interests_task())
        with torch.no_grad():
            likely = model(torch.tensor([ids])).logits[0, -1].argsort(descending=True)[:5].tolist()
        target = int(first[evidence.category[evidence.after(who, when, 1)[0]]])
        hits.append((target in likely, target in popular))
    model_hits, popular_hits = np.mean(hits, axis=0)
    assert model_hits > popular_hits + 0.05
