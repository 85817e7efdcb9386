import json
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from policies.language import embedder as module
from policies.language.embedder import (
    ARRAYS_FILE,
    WORDS_FILE,
    SentenceTransformerEmbedder,
    TitleEmbedder,
    make_embedder,
)
from policies.language.errors import LanguageError
from simulator.taxonomy import load_taxonomy
from simulator.titles import compose_titles

TAXONOMY = load_taxonomy()
CATEGORY = np.arange(1200) % 40
TITLES = compose_titles(TAXONOMY, CATEGORY, seed=3)
FITTED = TitleEmbedder.fit(TITLES[:800], width=32)


class FakeModel:
    """Stands in for a sentence-transformer: letters counted, and how it was asked."""

    def __init__(self, folder: str, **options: Any) -> None:
        self.folder, self.options = folder, options
        self.asked: list[dict[str, Any]] = []

    def get_embedding_dimension(self) -> int:
        """Letters of the alphabet."""
        return 26

    def encode(self, texts: list[str], **options: Any) -> np.ndarray[Any, Any]:
        """Letters of each text, of length 1."""
        self.asked.append(options)
        counts = np.array([[text.count(chr(97 + letter)) for letter in range(26)] for text in texts], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that looks like a sentence-transformer's."""
    made = tmp_path / "model"
    made.mkdir()
    kinds = [{"type": "sentence_transformers.models.Transformer"}, {"type": "sentence_transformers.models.Pooling"}]
    (made / "modules.json").write_text(json.dumps(kinds))
    save_file({"w": np.zeros(3, np.float32)}, made / "model.safetensors")
    return made


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra, as if installed."""
    monkeypatch.setitem(sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=FakeModel))


@given(st.lists(st.integers(0, len(TITLES) - 1), min_size=1, max_size=12), st.integers(0, 11))
@settings(max_examples=25, deadline=None)
def test_a_vector_does_not_depend_on_the_batch(rows: list[int], place: int) -> None:
    """A text alone and among any others has the same bits."""
    row = place % len(rows)
    among = FITTED.embed([TITLES[each] for each in rows])
    assert among[row].tobytes() == FITTED.embed([TITLES[rows[row]]])[0].tobytes()


def test_blocks_of_rows_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows are computed at once, the bits are the same."""
    whole = FITTED.embed(TITLES[:50])
    monkeypatch.setattr(module, "_ROWS", 7)
    assert FITTED.embed(TITLES[:50]).tobytes() == whole.tobytes()


@given(st.lists(st.text(max_size=40), max_size=8))
@settings(deadline=None)
def test_every_vector_has_length_one_or_is_zero(texts: list[str]) -> None:
    """Any text is embedded, finite, on the unit sphere or at its centre."""
    vectors = FITTED.embed(texts)
    assert vectors.shape == (len(texts), FITTED.width)
    assert vectors.dtype == np.float32
    lengths = np.linalg.norm(vectors, axis=1)
    np.testing.assert_allclose(lengths, (lengths > 0.5).astype(float), atol=1e-5)


def test_a_text_without_known_features_is_zero() -> None:
    """What shares nothing with the titles has no direction, the empty text included."""
    assert not FITTED.embed(["", "  ", "ЖЖЖ"]).any()


def test_fitting_again_gives_the_same_bytes() -> None:
    """Texts, width and seed decide every byte; another seed decides other ones."""
    again = TitleEmbedder.fit(TITLES[:800], width=32)
    assert again.fingerprint == FITTED.fingerprint
    assert TitleEmbedder.fit(TITLES[:800], width=32, seed=1).fingerprint != FITTED.fingerprint


def test_what_is_alike_lies_close() -> None:
    """Unseen titles lie nearest to titles of their own category, far more often than by chance."""
    vectors = FITTED.embed(TITLES)
    nearest = (vectors[800:] @ vectors[:800].T).argmax(axis=1)
    assert (CATEGORY[nearest] == CATEGORY[800:]).mean() > 0.8


def test_a_word_never_seen_has_a_vector_by_its_spelling() -> None:
    """A misspelled word lies close to the word."""
    word = max((word for word in FITTED.words if word.isalpha()), key=len)
    seen, misspelled = FITTED.embed([word, f"{word[:-1]}zz"])
    assert f"{word[:-1]}zz" not in FITTED.words
    assert seen @ misspelled > 0.7


def test_half_precision_hardly_moves_a_vector() -> None:
    """Components of 16 bits cost less than a thousandth of a vector's length against 64 bits."""
    matrix = module.sparse.hstack([each.transform(TITLES[:800]) for each in FITTED._vectorizers], format="csr")
    with module.threadpool_limits(1, "blas"):
        exact = module.TruncatedSVD(32, n_iter=7, random_state=0).fit(matrix).transform(matrix)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    assert np.linalg.norm(FITTED.embed(TITLES[:800]) - exact, axis=1).max() < 1e-3


def test_features_are_limited_and_files_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more features are kept than allowed, whatever the texts hold."""
    monkeypatch.setattr(module, "WORD_FEATURES", 50)
    monkeypatch.setattr(module, "CHARACTER_FEATURES", 70)
    small = TitleEmbedder.fit(TITLES[:300], width=8)
    assert (len(small.words), len(small.characters), small.components.shape) == (50, 70, (120, 8))
    small.save(tmp_path)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 6000


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    """An embedder read from its two files is the same, to the bit, and holds nothing pickled."""
    FITTED.save(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {WORDS_FILE, ARRAYS_FILE}
    loaded = make_embedder("builtin", tmp_path)
    assert loaded.fingerprint == FITTED.fingerprint
    assert loaded.width == 32
    assert loaded.embed(TITLES[:20]).tobytes() == FITTED.embed(TITLES[:20]).tobytes()


def test_the_fingerprint_covers_words_and_arrays(tmp_path: Path) -> None:
    """Another word, weight or component is another embedder."""
    other = [
        TitleEmbedder(("other", *FITTED.words[1:]), FITTED.characters, FITTED.idf, FITTED.components),
        TitleEmbedder(FITTED.words, FITTED.characters, FITTED.idf * 2, FITTED.components),
        TitleEmbedder(FITTED.words, FITTED.characters, FITTED.idf, -FITTED.components),
    ]
    assert len({FITTED.fingerprint, *(each.fingerprint for each in other)}) == 4


def test_a_copy_made_by_pickling_is_the_same_and_lean() -> None:
    """An embedder that has worked can be sent to another process without what it derived."""
    FITTED.embed(TITLES[:1])
    sent = pickle.dumps(FITTED)
    copy = pickle.loads(sent)  # noqa: S301 - made a moment ago
    assert "_vectorizers" not in copy.__dict__
    assert copy.embed(TITLES[:3]).tobytes() == FITTED.embed(TITLES[:3]).tobytes()


@pytest.mark.parametrize(
    ("texts", "width", "message"),
    [
        ([], 4, "embedder.texts: 0"),
        (["", " "], 4, "embedder.texts: 2"),
        (TITLES[:10], 11, "embedder.width: 11 (1 to 10"),
        (TITLES[:10], 0, "embedder.width: 0"),
    ],
)
def test_too_little_to_learn_from_is_refused(texts: list[str], width: int, message: str) -> None:
    """Fewer texts or features than components are an error in one line."""
    with pytest.raises(LanguageError) as error:
        TitleEmbedder.fit(texts, width)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def drop_words(folder: Path) -> None:
    """No list of words."""
    (folder / WORDS_FILE).write_text(json.dumps({"format": "title-embedder-1", "words": []}))


def another_format(folder: Path) -> None:
    """A file of something else."""
    (folder / WORDS_FILE).write_text("[]")


def no_json(folder: Path) -> None:
    """No JSON."""
    (folder / WORDS_FILE).write_text("{")


def twice(folder: Path) -> None:
    """One word two times."""
    data = json.loads((folder / WORDS_FILE).read_text())
    data["words"][1] = data["words"][0]
    (folder / WORDS_FILE).write_text(json.dumps(data))


def cut_arrays(folder: Path) -> None:
    """Half a file."""
    whole = (folder / ARRAYS_FILE).read_bytes()
    (folder / ARRAYS_FILE).write_bytes(whole[: len(whole) // 2])


def other_shape(folder: Path) -> None:
    """A component row too few."""
    arrays = load_file(folder / ARRAYS_FILE)
    save_file({"idf": arrays["idf"], "components": arrays["components"][1:].copy()}, folder / ARRAYS_FILE)


def other_type(folder: Path) -> None:
    """Components of another type."""
    arrays = load_file(folder / ARRAYS_FILE)
    save_file({"idf": arrays["idf"], "components": arrays["components"].astype("f4")}, folder / ARRAYS_FILE)


def not_finite(folder: Path) -> None:
    """A weight that is no number."""
    arrays = load_file(folder / ARRAYS_FILE)
    arrays["idf"][0] = np.nan
    save_file(arrays, folder / ARRAYS_FILE)


def no_arrays(folder: Path) -> None:
    """One file of the two."""
    (folder / ARRAYS_FILE).unlink()


@pytest.mark.parametrize(
    "harm",
    [drop_words, another_format, no_json, twice, cut_arrays, other_shape, other_type, not_finite, no_arrays],
)
def test_broken_files_are_refused(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    """Whatever is wrong with the files is said in one line."""
    FITTED.save(tmp_path)
    harm(tmp_path)
    with pytest.raises(LanguageError, match=r"^language.embedder: builtin \([^\n]*\)$"):
        make_embedder("builtin", tmp_path)


def test_a_model_without_an_embedder_takes_the_one_that_comes_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The builtin embedder is the folder's own, else the package's, else an error."""
    monkeypatch.setattr(module, "BUILTIN_FOLDER", tmp_path / "package")
    with pytest.raises(LanguageError, match=r"embedder\.json is missing"):
        make_embedder("builtin", tmp_path)
    (tmp_path / "package").mkdir()
    FITTED.save(tmp_path / "package")
    for place in (None, tmp_path):
        assert make_embedder("builtin", place).fingerprint == FITTED.fingerprint


@pytest.mark.parametrize("name", ["", "bert", "Builtin", "sentence-transformers"])
def test_an_unknown_name_is_refused(name: str) -> None:
    """The names that there are are named."""
    with pytest.raises(LanguageError, match=r"use builtin or sentence-transformers:<path or id>"):
        make_embedder(name)


def test_without_the_extra_the_remedy_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentence-transformer where the package is not installed is one line that names the extra."""
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(LanguageError, match=r"recgpt-testbed\[sentence-transformers\]"):
        make_embedder(f"sentence-transformers:{folder}")


@pytest.mark.usefixtures("installed")
def test_a_sentence_transformer_reads_local_files_and_runs_no_code_of_theirs(folder: Path) -> None:
    """The model is loaded from its folder, safetensors only, without remote code, and embeds texts one at a time."""
    made = make_embedder(f"sentence-transformers:{folder}")
    assert isinstance(made, SentenceTransformerEmbedder)
    vectors = made.embed(["abba", " ", "cab"])
    assert made.width == 26
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 0, 1], atol=1e-6)
    assert vectors[2].tobytes() == made.embed(["cab"])[0].tobytes()
    assert made.embed([]).shape == (0, 26)
    options = made._model.options
    assert (options["local_files_only"], options["trust_remote_code"]) == (True, False)
    assert options["model_kwargs"] == {"use_safetensors": True}
    assert {asked["batch_size"] for asked in made._model.asked} == {1}
    copy = pickle.loads(pickle.dumps(made))  # noqa: S301 - made a moment ago
    assert copy.embed(["abba"]).tobytes() == vectors[:1].tobytes()


@pytest.mark.usefixtures("installed")
def test_a_sentence_transformer_is_known_by_its_files(folder: Path, tmp_path: Path) -> None:
    """The same files elsewhere have the same fingerprint, other weights another one."""
    same, other = shutil.copytree(folder, tmp_path / "same"), shutil.copytree(folder, tmp_path / "other")
    save_file({"w": np.ones(3, np.float32)}, other / "model.safetensors")
    first, second, third = (
        make_embedder(f"sentence-transformers:{each}").fingerprint for each in (folder, same, other)
    )
    assert first == second != third


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("modules.json", None, "modules.json is missing"),
        ("modules.json", "{", "modules.json cannot be read"),
        ("modules.json", '[{"type": "their.Code"}]', "needs code of its own, their.Code"),
        ("model.safetensors", None, "model.bin is pickled"),
    ],
)
def test_a_folder_that_would_run_code_is_refused(folder: Path, file: str, text: str | None, message: str) -> None:
    """Modules of their own and pickled weights are refused in a line, before anything is loaded."""
    (folder / "model.bin").write_bytes(b"")
    if text is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(text)
    with pytest.raises(LanguageError, match=message):
        make_embedder(f"sentence-transformers:{folder}")


@pytest.mark.usefixtures("installed")
def test_a_model_that_is_not_there_is_not_fetched() -> None:
    """An unknown path or id is one line, without a network."""
    with pytest.raises(LanguageError, match="no such folder, nor in the hub's local cache"):
        make_embedder("sentence-transformers:nobody/no-such-model")


@pytest.mark.usefixtures("installed")
def test_a_model_that_cannot_be_loaded_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the package says is cut to a line."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no\nsuch\nthing")

    monkeypatch.setattr(sys.modules["sentence_transformers"], "SentenceTransformer", fail)
    with pytest.raises(LanguageError, match=r"cannot be loaded: no\)$"):
        make_embedder(f"sentence-transformers:{folder}")
