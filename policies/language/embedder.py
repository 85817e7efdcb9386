"""Vectors of short texts: one trained on titles here, or a sentence-transformer where that extra is installed.

A text's vector does not depend on the texts that it is embedded with. Knows no items, only their titles.
"""

import hashlib
import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from threadpoolctl import threadpool_limits

from policies.language.errors import LanguageError
from policies.language.model import BUILTIN_FOLDER

BUILTIN: Final = "builtin"
SENTENCE_TRANSFORMERS: Final = "sentence-transformers:"
WIDTH: Final = 64
WORD_FEATURES: Final = 8_000
CHARACTER_FEATURES: Final = 12_000
WORDS_FILE: Final = "embedder.json"
ARRAYS_FILE: Final = "embedder.safetensors"

_FORMAT: Final = "title-embedder-1"
_ROWS: Final = 4096
_SHARED: Final = {"lowercase": True, "sublinear_tf": True, "norm": "l2", "dtype": np.float64}
_WORDS: Final = {**_SHARED, "analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"}
_CHARACTERS: Final = {**_SHARED, "analyzer": "char_wb", "ngram_range": (3, 5)}
_PICKLED: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")

Vectors = npt.NDArray[np.float32]


class Embedder(Protocol):
    """Turns texts into vectors."""

    @property
    def width(self) -> int:
        """Components of a vector."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over everything that a vector depends on besides its text, hexadecimal."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """A vector for each text, float32 [texts, width], each of length 1 or zero."""


def make_embedder(name: str, folder: Path | None = None) -> Embedder:
    """The embedder of a name.

    Args:
        name: ``builtin``, or ``sentence-transformers:`` and a folder or the id of a model in the hub's local cache.
        folder: of a language model that may bring an embedder of its own for ``builtin``; the one that comes with this
            package is taken where it brings none.

    Raises:
        LanguageError: the name is unknown, the extra is not installed, or a file is missing or cannot be read.
    """
    if name == BUILTIN:
        brings = folder is not None and (folder / WORDS_FILE).is_file()
        return TitleEmbedder.load(folder if folder is not None and brings else BUILTIN_FOLDER)
    if name.startswith(SENTENCE_TRANSFORMERS):
        return SentenceTransformerEmbedder(name.removeprefix(SENTENCE_TRANSFORMERS))
    raise LanguageError(f"language.embedder: {name} (use {BUILTIN} or {SENTENCE_TRANSFORMERS}<path or id>)")


@dataclass(frozen=True, eq=False)
class TitleEmbedder:
    """Latent semantic analysis of titles (Deerwester et al. 1990): TF-IDF, projected by a truncated SVD.

    Features are words, pairs of words, and runs of three to five characters within a word, which tie together what is
    spelled alike and let a word that was never seen have a vector. Words and characters weigh the same. A text without
    any known feature has the zero vector; every other vector has length 1.

    Attributes:
        words: words and pairs of words, in the order of their features.
        characters: runs of characters, whose features follow those of the words.
        idf: inverse document frequency of each feature, float32 [features].
        components: what each feature adds to a vector, float16 [features, width]; half precision moves a vector by
            less than a thousandth of its length.
    """

    words: tuple[str, ...]
    characters: tuple[str, ...]
    idf: Vectors
    components: npt.NDArray[np.float16]

    @classmethod
    def fit(cls, texts: Sequence[str], width: int = WIDTH, seed: int = 0) -> "TitleEmbedder":
        """Train on texts; the same texts, width and seed give the same bytes on the same machine.

        Args:
            texts: titles and what else is to be embedded, such as tags.
            width: components of a vector.
            seed: of the randomised SVD (Halko, Martinsson and Tropp 2011).

        Raises:
            LanguageError: there are fewer texts, or fewer features in them, than components.
        """
        words = TfidfVectorizer(**_WORDS, max_features=WORD_FEATURES)
        characters = TfidfVectorizer(**_CHARACTERS, max_features=CHARACTER_FEATURES)
        try:
            matrix = sparse.hstack([words.fit_transform(texts), characters.fit_transform(texts)], format="csr")
        except ValueError:
            raise LanguageError(f"embedder.texts: {len(texts)} of them, without a word (give titles)") from None
        if not 1 <= width <= min(matrix.shape):
            texts_, features = matrix.shape
            raise LanguageError(
                f"embedder.width: {width} (1 to {min(matrix.shape)} for {texts_} texts with {features} features)"
            )
        svd = TruncatedSVD(width, n_iter=7, random_state=seed)
        with threadpool_limits(1, "blas"):
            svd.fit(matrix)
        return cls(
            words=tuple(words.get_feature_names_out().tolist()),
            characters=tuple(characters.get_feature_names_out().tolist()),
            idf=np.concatenate([words.idf_, characters.idf_]).astype(np.float32),
            components=np.ascontiguousarray(svd.components_.T.astype(np.float16)),
        )

    @classmethod
    def load(cls, folder: Path) -> "TitleEmbedder":
        """Read what ``save`` wrote.

        Raises:
            LanguageError: a file is missing, cannot be read, or does not fit the other one.
        """
        for name in (WORDS_FILE, ARRAYS_FILE):
            if not (folder / name).is_file():
                raise LanguageError(f"language.embedder: {BUILTIN} ({name} is missing in {folder})")
        try:
            data = json.loads((folder / WORDS_FILE).read_text("utf-8"))
            arrays = load_file(folder / ARRAYS_FILE)
        except (OSError, ValueError, RecursionError, SafetensorError) as error:
            raise LanguageError(f"language.embedder: {BUILTIN} (cannot be read in {folder}: {_line(error)})") from None
        wrong = _misfit(data, arrays)
        if wrong:
            raise LanguageError(f"language.embedder: {BUILTIN} (in {folder}, {wrong}; train it again)")
        return cls(tuple(data["words"]), tuple(data["characters"]), arrays["idf"], arrays["components"])

    def save(self, folder: Path) -> None:
        """Write ``embedder.json`` and ``embedder.safetensors``, 3 MB at most at the default width."""
        data = {"format": _FORMAT, "words": self.words, "characters": self.characters}
        (folder / WORDS_FILE).write_text(json.dumps(data, ensure_ascii=False, indent=0) + "\n", "utf-8")
        save_file({"idf": self.idf, "components": self.components}, folder / ARRAYS_FILE)

    @property
    def width(self) -> int:
        """Components of a vector."""
        return self.components.shape[1]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the features and the arrays, hexadecimal."""
        digest = hashlib.sha256(json.dumps([_FORMAT, self.words, self.characters, self.width]).encode())
        digest.update(self.idf.tobytes())
        digest.update(self.components.tobytes())
        return digest.hexdigest()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """A vector for each text, float32 [texts, width], each of length 1 or zero.

        Each row is a sum over its own features in their order, so it does not depend on the other rows.
        """
        vectors = np.zeros((len(texts), self.width), np.float32)
        for start in range(0, len(texts), _ROWS):
            part = texts[start : start + _ROWS]
            matrix = sparse.hstack([vectorizer.transform(part) for vectorizer in self._vectorizers], format="csr")
            vectors[start : start + len(part)] = _unit(matrix @ self._projection)
        return vectors

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone."""
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}

    @cached_property
    def _projection(self) -> npt.NDArray[np.float64]:
        return self.components.astype(np.float64)

    @cached_property
    def _vectorizers(self) -> tuple[TfidfVectorizer, ...]:
        kinds = ((_WORDS, self.words), (_CHARACTERS, self.characters))
        vectorizers = []
        for (settings, features), idf in zip(kinds, np.split(self.idf, [len(self.words)]), strict=True):
            vectorizer = TfidfVectorizer(**settings, vocabulary=list(features))
            vectorizer.idf_ = idf.astype(np.float64)
            vectorizers.append(vectorizer)
        return tuple(vectorizers)


class SentenceTransformerEmbedder:
    """A sentence-transformer from a folder or from the hub's local cache; nothing is fetched.

    Runs on the CPU, one text at a time: the rows of a batch, and padding, move the last bits of a vector.

    Args:
        name: folder of the model, or its id on the hub.

    Raises:
        LanguageError: the package is not installed, the model is not there, its weights are pickled or it needs code of
            its own.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._folder = _sentence_transformer_folder(name)
        self._model: Any = None
        self._loaded()

    def __getstate__(self) -> dict[str, Any]:
        """Without the model: another process loads its own."""
        return {**self.__dict__, "_model": None}

    @property
    def width(self) -> int:
        """Components of a vector."""
        return int(self._loaded().get_embedding_dimension())

    @property
    def fingerprint(self) -> str:
        """SHA-256 over names and contents of the model's files, hexadecimal."""
        return _folder_fingerprint(self._folder)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """A vector for each text, float32 [texts, width]: zero for a blank text, else of length 1."""
        model = self._loaded()
        vectors = np.zeros((len(texts), self.width), np.float32)
        rows = [row for row, text in enumerate(texts) if text.strip()]
        if rows:
            vectors[rows] = model.encode(
                [texts[row] for row in rows],
                batch_size=1,
                convert_to_numpy=True,
                normalize_embeddings=True,
                show_progress_bar=False,
            )
        return vectors

    def _loaded(self) -> Any:
        if self._model is None:
            package = _sentence_transformers()
            try:
                self._model = package.SentenceTransformer(
                    str(self._folder),
                    device="cpu",
                    local_files_only=True,
                    trust_remote_code=False,
                    model_kwargs={"use_safetensors": True},
                )
            except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError) as error:
                raise _refused(self.name, f"cannot be loaded: {_line(error)}") from None
        return self._model


def _sentence_transformers() -> Any:
    try:
        return importlib.import_module("sentence_transformers")
    except ModuleNotFoundError:
        raise LanguageError(
            "language.embedder: sentence-transformers (not installed; run: pip install "
            "'recgpt-testbed[sentence-transformers]', or use builtin)"
        ) from None


def _sentence_transformer_folder(name: str) -> Path:
    """The folder of a model that consists of the package's own modules and of safetensors."""
    _sentence_transformers()
    folder = Path(name).expanduser()
    if not folder.is_dir():
        try:
            folder = Path(snapshot_download(name, local_files_only=True))
        except (LocalEntryNotFoundError, HFValidationError, OSError):
            raise _refused(name, "no such folder, nor in the hub's local cache; fetch it first") from None
    modules = folder / "modules.json"
    if not modules.is_file():
        raise _refused(name, "modules.json is missing")
    try:
        kinds = [str(module["type"]) for module in json.loads(modules.read_text("utf-8"))]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _refused(name, f"modules.json cannot be read: {_line(error)}") from None
    for kind in kinds:
        if not kind.startswith("sentence_transformers."):
            raise _refused(name, f"needs code of its own, {kind}, which is not run; use another model")
    for pattern in _PICKLED:
        for path in folder.rglob(pattern):
            if not any(path.parent.glob("*.safetensors")):
                raise _refused(name, f"{path.name} is pickled; convert it to safetensors")
    return folder.resolve()


def _refused(name: str, why: str) -> LanguageError:
    return LanguageError(f"language.embedder: {SENTENCE_TRANSFORMERS}{name} ({why})")


@lru_cache(maxsize=16)
def _folder_fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    names = {path for pattern in ("*.json", "*.safetensors", "*.txt", "*.model") for path in folder.rglob(pattern)}
    for path in sorted(names):
        with path.open("rb") as file:
            digest.update(f"{path.relative_to(folder)}\n".encode())
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _unit(vectors: npt.NDArray[np.float64]) -> Vectors:
    """Rows of length 1; a zero row stays."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return (vectors / np.where(lengths > 0, lengths, 1.0)[:, None]).astype(np.float32)


def _misfit(data: Any, arrays: dict[str, npt.NDArray[Any]]) -> str:
    """What is wrong with an embedder's files; empty where nothing is."""
    if not isinstance(data, dict) or data.get("format") != _FORMAT:
        return f"{WORDS_FILE} is not of the format {_FORMAT}"
    count = 0
    for features in (data.get("words"), data.get("characters")):
        if not (isinstance(features, list) and features and all(isinstance(word, str) for word in features)):
            return f"{WORDS_FILE} lacks a list of words"
        if len(set(features)) < len(features):
            return f"{WORDS_FILE} names a feature twice"
        count += len(features)
    idf, components = arrays.get("idf"), arrays.get("components")
    if idf is None or components is None or idf.dtype != np.float32 or components.dtype != np.float16:
        return f"{ARRAYS_FILE} lacks idf (float32) or components (float16)"
    if idf.shape != (count,) or components.ndim != 2 or len(components) != count or not components.shape[1]:
        return f"{ARRAYS_FILE} has the shapes {idf.shape} and {components.shape} for {count} features"
    if not (np.isfinite(idf).all() and np.isfinite(components).all()):
        return f"{ARRAYS_FILE} holds numbers that are not finite"
    return ""


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
