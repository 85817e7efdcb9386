"""A school leaves a folder that can be loaded and served from, whole or not at all."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from policies.language.embedder import make_embedder
from policies.language.model import LanguageSettings, load_language
from policies.language.soft_tokens import load_adaptor
from policies.recgpt.compression import entity_tokens
from policies.registry import Listener, silent
from policies.training.further import train_on_log
from policies.training.item_questions import entity_questions
from policies.training.lessons import Teacher
from policies.training.school import Curriculum, Report, found_school
from policies.training.settings import (
    AdaptorParams,
    AdaptorSftParams,
    CorpusParams,
    FurtherSftParams,
    SchoolParams,
    SftParams,
    TinyModelParams,
    TrainOnLog,
)
from simulator.taxonomy import load_taxonomy

QUICK: dict[str, Any] = {"steps": 3, "rows": 2, "length": 256, "bfloat16": False}
PARAMS = SchoolParams(
    model=TinyModelParams(vocabulary=700, width=32, layers=2, heads=2, kv_heads=1, head_dim=16, ffn=48, window=1024),
    corpus=CorpusParams(short_names=1.0),
    sft=SftParams(**QUICK),
    adaptor=AdaptorParams(hidden=16, lessons=8, sft=AdaptorSftParams(**QUICK)),
    tokenizer_lessons=40,
    embedding_width=16,
    judged=4,
)


@pytest.fixture(scope="module")
def curriculum(teacher: Teacher) -> Curriculum:
    """One log, judged by itself, with a little general knowledge."""
    catalog = teacher.evidence.catalog
    about = entity_questions(catalog.titles, catalog.category, load_taxonomy(), 20, 1)
    return Curriculum((teacher,), teacher, ["Rain boots are for rain."], [("What is for rain?", ["rain boots"])], about)


@pytest.fixture(scope="module")
def founded(curriculum: Curriculum, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    """A school's folder after a few steps, and what it reports."""
    out = tmp_path_factory.mktemp("school") / "model"
    report = found_school(curriculum, PARAMS, out, 3, silent, card=lambda report: f"{report.language.steps} steps\n")
    return out, report


def test_what_a_school_leaves_can_serve(founded: tuple[Path, Report], teacher: Teacher) -> None:
    """The folder loads as a language model with its embedder and an adaptor that fit together, and has a card."""
    out, report = founded
    settings = LanguageSettings(model=str(out), device="cpu")
    language = load_language(settings)
    soft = entity_tokens(language, teacher.evidence.catalog, settings)
    assert soft.vectors.shape == (teacher.evidence.catalog.items, language.shape.width)
    assert load_adaptor(out / "adaptor.safetensors").first.in_features == make_embedder("builtin", out).width
    assert (out / "README.md").read_text(encoding="utf-8") == "3 steps\n"
    assert report.full is not None
    assert report.hybrid is not None
    assert report.hybrid.prompt_tokens < report.full.prompt_tokens
    assert all(0 <= value <= 1 for value in (*report.full.model, *report.hybrid.model))


def test_the_same_seed_founds_the_same_school(
    founded: tuple[Path, Report], curriculum: Curriculum, tmp_path: Path
) -> None:
    """Weights, words and adaptor are functions of the curriculum, the parameters and the seed."""
    found_school(curriculum, PARAMS, tmp_path / "again", 3, silent)
    for name in ("model.safetensors", "tokenizer.json", "adaptor.safetensors", "embedder.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (founded[0] / name).read_bytes()


def test_an_interrupted_training_leaves_nothing(curriculum: Curriculum, tmp_path: Path) -> None:
    """Whatever stops a training, the folder is not there and neither is half of it."""

    def interrupt(name: str, steps: int) -> AbstractContextManager[Listener]:
        if name == "training the adaptor":
            raise KeyboardInterrupt
        return silent(name, steps)

    with pytest.raises(KeyboardInterrupt):
        found_school(curriculum, PARAMS, tmp_path / "model", 3, interrupt)
    assert list(tmp_path.iterdir()) == []


def test_going_on_from_a_model_on_a_log(founded: tuple[Path, Report], teacher: Teacher) -> None:
    """A model taught further on a log is another model, found again on the second run without training."""
    evidence = teacher.evidence
    params = TrainOnLog(sft=FurtherSftParams(**QUICK), adaptor=PARAMS.adaptor, embedding_width=8)
    settings = LanguageSettings(model=str(founded[0]), device="cpu")
    told: list[str] = []

    def say(name: str, steps: int) -> AbstractContextManager[Listener]:
        told.append(name)
        return silent(name, steps)

    arguments = (
        params,
        settings,
        evidence.log,
        evidence.catalog,
        evidence.users,
        evidence.context,
        teacher.vocabulary,
        4,
        say,
    )
    taught = train_on_log(*arguments)
    assert load_language(taught).fingerprint != load_language(settings).fingerprint
    assert "training the language model" in told
    told.clear()
    assert train_on_log(*arguments) == taught
    assert told == []
