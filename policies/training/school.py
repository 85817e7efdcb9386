"""From teachers to a folder that holds a language model: tokenizer, weights, embedder, adaptor, model card.

``found_school`` trains a small model from nothing; ``teach_further`` goes on from a model that exists, on another log.
A folder appears whole or not at all. Knows neither worlds nor configs: who calls it brings the teachers.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from policies.language.embedder import TitleEmbedder
from policies.language.model import Language, LanguageSettings, load_language, quiet
from policies.language.soft_tokens import save_adaptor, soft_vocabulary
from policies.recgpt.compression import ADAPTOR
from policies.recgpt.encoding import TextEncoder
from policies.registry import Say
from policies.training.adaptor import Question, align, train_adaptor
from policies.training.corpus import Corpus, Course
from policies.training.lessons import Teacher
from policies.training.packing import pack
from policies.training.scores import Scores, score_language
from policies.training.settings import CorpusParams, SchoolParams
from policies.training.sft import TrainingLog, new_model, train
from policies.training.tokenizer import END, PAD, train_tokenizer
from simulator.parameters import Parameters


@dataclass(frozen=True)
class Curriculum:
    """What is taught.

    Attributes:
        teachers: of the logs, with their catalogues.
        judge: of a log that is not taught, or None.
        sentences, questions: general knowledge.
        entity_questions: self-perception questions about the first teacher's items.
    """

    teachers: tuple[Teacher, ...]
    judge: Teacher | None
    sentences: Sequence[str]
    questions: Sequence[tuple[str, list[str]]]
    entity_questions: Sequence[Question]


@dataclass(frozen=True)
class Report:
    """What came of it: the log of both trainings and scores on the judge's shoppers (None where nobody judged)."""

    language: TrainingLog
    adaptor: TrainingLog
    full: Scores | None
    hybrid: Scores | None


def found_school(
    curriculum: Curriculum,
    params: SchoolParams,
    out: Path,
    seed: int,
    say: Say,
    minutes: float | None = None,
    card: Callable[[Report], str] | None = None,
) -> Report:
    """Train tokenizer, model, embedder and adaptor from nothing into the folder ``out``.

    Args:
        curriculum: what is taught.
        params: sizes and steps.
        out: a folder that does not exist yet.
        seed: of weights and mixtures.
        say: opens a progress stage.
        minutes: end the model's training after so many.
        card: writes the model card.
    """
    with say("training the tokenizer", 1) as stage:
        raw = _corpus(curriculum, None, params.corpus, seed)
        names = curriculum.teachers[0].evidence.catalog.category_names
        tokenizer = train_tokenizer(raw.texts(params.tokenizer_lessons), params.model.vocabulary, names)
        stage.advance()
    pad, end = (tokenizer.get_vocab()[token] for token in (PAD, END))
    model = new_model(params.model, len(tokenizer), pad, end, seed)
    return _teach(curriculum, params, tokenizer, model, out, seed, say, minutes, card)


def teach_further(curriculum: Curriculum, params: SchoolParams, start: Path, out: Path, seed: int, say: Say) -> Report:
    """Go on from the model in ``start``; embedder and adaptor are made anew for the new titles."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(start, local_files_only=True)
    from transformers import AutoModelForCausalLM

    with quiet():
        model = AutoModelForCausalLM.from_pretrained(
            start, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
        )
    return _teach(curriculum, params, tokenizer, model, out, seed, say, None, None)


def adapt(curriculum: Curriculum, params: SchoolParams, start: Path, out: Path, seed: int, say: Say) -> Report:
    """Give a model that exists an embedder of the titles and an adaptor; its own weights stay as they are."""
    with _whole_or_absent(out) as folder:
        for file in start.iterdir():
            if file.is_file():
                shutil.copy2(file, folder / file.name)
        embedder = _embedder(curriculum, params)
        embedder.save(folder)
        nothing = TrainingLog(0, 0, 0.0, (float("nan"),))
        return _finish(curriculum, params, folder, nothing, embedder, seed, say)


@contextmanager
def _whole_or_absent(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that takes its place when all went well, and vanishes otherwise."""
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        yield folder
        if out.exists():
            shutil.rmtree(out)
        folder.chmod(0o755)
        folder.rename(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _embedder(curriculum: Curriculum, params: SchoolParams) -> TitleEmbedder:
    titles = [title for teacher in curriculum.teachers for title in teacher.evidence.catalog.titles]
    return TitleEmbedder.fit(titles, params.embedding_width)


def _teach(
    curriculum: Curriculum,
    params: SchoolParams,
    tokenizer: Any,
    model: Any,
    out: Path,
    seed: int,
    say: Say,
    minutes: float | None,
    card: Callable[[Report], str] | None,
) -> Report:
    with _whole_or_absent(out) as folder:
        corpus = _corpus(curriculum, tokenizer, params.corpus, seed)
        model.train()
        with say("training the language model", params.sft.steps) as stage:
            log = train(
                model,
                pack(corpus.documents(), params.sft.rows, params.sft.length),
                params.sft,
                minutes=minutes,
                tick=lambda step, loss: stage.advance(),
            )
        with quiet():
            model.eval().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        embedder = _embedder(curriculum, params)
        embedder.save(folder)
        report = _finish(curriculum, params, folder, log, embedder, seed, say)
        if card is not None:
            (folder / "README.md").write_text(card(report), encoding="utf-8")
    return report


def _finish(
    curriculum: Curriculum,
    params: SchoolParams,
    folder: Path,
    log: TrainingLog,
    embedder: TitleEmbedder,
    seed: int,
    say: Say,
) -> Report:
    """Train the adaptor of a model that lies in a folder, and score both ways of writing a history."""
    language = load_language(LanguageSettings(model=str(folder), device="cpu"))
    teacher = curriculum.teachers[0]
    encoder = encoder_of(language, teacher)
    with say("asking the frozen model", 1) as stage:
        lessons = [teacher.lesson(1_000_000 + k) for k in range(params.adaptor.lessons)]
        aligned = align(language, encoder, lessons)
        stage.advance()
    vectors = embedder.embed(list(teacher.evidence.catalog.titles))
    with say("training the adaptor", params.adaptor.sft.steps) as stage:
        adaptor, adapted = train_adaptor(
            language,
            encoder,
            vectors,
            aligned,
            curriculum.entity_questions,
            params.adaptor,
            seed,
            lambda step, loss: stage.advance(),
        )
    save_adaptor(adaptor, folder / ADAPTOR)
    full = hybrid = None
    if curriculum.judge is not None and params.judged:
        with say("scoring", 2) as stage:
            judge = curriculum.judge
            judging = encoder_of(language, judge)
            full = score_language(language, judging, judge, params.judged, None)
            stage.advance()
            soft = soft_vocabulary(adaptor, embedder.embed(list(judge.evidence.catalog.titles)))
            hybrid = score_language(language, judging, judge, params.judged, soft)
            stage.advance()
    return Report(log, adapted, full, hybrid)


def encoder_of(language: Language, teacher: Teacher) -> TextEncoder:
    """Texts of a teacher's catalogue in the tokens of a model."""
    return TextEncoder(language.tokenizer, teacher.evidence.catalog.titles, language.vocabulary)


class _Plain:
    """A transformers tokenizer that adds no special tokens."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def encode(self, text: str) -> list[int]:
        """Ids of a text."""
        return list(self._tokenizer.encode(text, add_special_tokens=False))


def _corpus(curriculum: Curriculum, tokenizer: Any, params: CorpusParams, seed: int) -> Corpus:
    courses = []
    for teacher in curriculum.teachers:
        catalog = teacher.evidence.catalog
        first = 0 if tokenizer is None else len(tokenizer)
        courses.append(Course(teacher, TextEncoder(_Plain(tokenizer), catalog.titles, first), catalog))
    return Corpus(tuple(courses), curriculum.sentences, curriculum.questions, curriculum.entity_questions, params, seed)


def digest_of(params: Parameters, arrays: Sequence[np.ndarray], *words: str) -> str:
    """A short name for what a training depends on."""
    digest = hashlib.sha256(json.dumps(params.model_dump(mode="json"), sort_keys=True).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    for word in words:
        digest.update(word.encode())
    return digest.hexdigest()[:24]


def as_json(report: Report) -> dict[str, Any]:
    """A report as plain values."""
    return asdict(report)
