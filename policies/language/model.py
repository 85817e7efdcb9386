"""Loading a causal language model and its tokenizer, from this package, a folder or the hub's local cache.

Weights are read from safetensors only and no code that comes with a model is run. Knows nothing of prompts, of
generation or of what a model is used for.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final, Literal

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, StrictDataclassError
from pydantic import Field
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

from policies.language.attention import use_steady_attention
from policies.language.errors import LanguageError
from simulator.parameters import Parameters
from simulator.serving.transformer import ModelShape, shape_of

__all__ = [
    "BUILTIN",
    "BUILTIN_FOLDER",
    "Language",
    "LanguageError",
    "LanguageSettings",
    "Tokenizer",
    "find_folder",
    "folder_fingerprint",
    "load_language",
]

BUILTIN: Final = "builtin:tiny"
BUILTIN_FOLDER: Final = Path(__file__).parent / "builtin_tiny"

_WEIGHTS: Final = "model*.safetensors"
_TOKENIZERS: Final = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
_TOKENIZER_EXTRAS: Final = ("tokenizer_config.json", "merges.txt", "special_tokens_map.json", "added_tokens.json")
_PICKLED: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_FETCHED: Final = ["config.json", "generation_config.json", "model*", *_TOKENIZERS, *_TOKENIZER_EXTRAS]
_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_ATTENTION: Final = frozenset({"full_attention", "sliding_attention"})


class LanguageSettings(Parameters):
    """Which language model is used, and how it is run."""

    model: str = Field(default=BUILTIN, description="builtin:tiny, a folder with safetensors weights, or a hub id")
    download: bool = Field(default=False, description="whether a hub id that is not in the local cache is fetched")
    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto is CUDA where there is one, else the CPU"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="of the weights; auto is float32 on the CPU and bfloat16 on CUDA"
    )
    embedder: str = Field(
        default="builtin", description="text embeddings of entities: builtin or sentence-transformers:<path or id>"
    )
    batch: int = Field(default=64, ge=1, description="most prompts computed at once")
    cache: bool = Field(default=True, description="whether answers are kept on disk and found there again")


class Tokenizer:
    """Text to token ids and back, without special tokens."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._fast = tokenizer.backend_tokenizer if getattr(tokenizer, "is_fast", False) else None

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        if self._fast is not None:
            return list(self._fast.encode(text, add_special_tokens=False).ids)
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids; special tokens are left out."""
        return str(
            self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False),
        )

    def __len__(self) -> int:
        """Number of tokens that have a text."""
        return len(self._tokenizer)


@dataclass(frozen=True)
class Language:
    """A language model, ready to be asked.

    Attributes:
        model: a transformers causal language model in evaluation mode that keeps no gradients.
        tokenizer: its words.
        vocabulary: rows of the input embedding; the first id that can stand for an entity.
        window: most positions.
        newline: the token that is a line break and nothing else.
        shape: for counting operations.
        folder: where it was read from.
    """

    model: PreTrainedModel
    tokenizer: Tokenizer
    vocabulary: int
    window: int
    newline: int
    shape: ModelShape
    folder: Path

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """In what the model computes."""
        return self.model.dtype

    @property
    def fingerprint(self) -> str:
        """SHA-256 over names and contents of the weights, the tokenizer's files and the configuration, hexadecimal."""
        return folder_fingerprint(self.folder)

    @cached_property
    def line_ends(self) -> tuple[int, ...]:
        """Every token whose text holds a line break; a large vocabulary has some that end a sentence too."""
        return tuple(token for token in range(len(self.tokenizer)) if "\n" in self.tokenizer.decode([token]))


def load_language(settings: LanguageSettings) -> Language:
    """The language model of some settings; the same object for the same model, device and type in a process.

    Raises:
        LanguageError: there is no such model, a file of it is missing, its weights are pickled, it cannot be read, it
            has layers other than attention, or CUDA is asked for where there is none.
    """
    device = _device(settings.device)
    folder = find_folder(settings)
    dtype = settings.dtype
    if dtype == "auto":
        dtype = "bfloat16" if device.startswith("cuda") else "float32"
    return _load(folder, device, dtype, _stamp(folder))


def find_folder(settings: LanguageSettings) -> Path:
    """The folder that holds a model's files.

    Raises:
        LanguageError: there is none, or it lacks a file that is needed.
    """
    name = settings.model
    if name.startswith("builtin:"):
        if name != BUILTIN:
            raise LanguageError(f"language.model: {name} ({BUILTIN} is the only one that is built in)")
        if not BUILTIN_FOLDER.is_dir():
            raise LanguageError(f"language.model: {name} (its checkpoint is missing; run: testbed train language)")
        folder = BUILTIN_FOLDER
    elif Path(name).expanduser().is_dir():
        folder = Path(name).expanduser().resolve()
    elif _HUB_ID.fullmatch(name):
        folder = _from_hub(name, settings.download)
    else:
        raise LanguageError(f"language.model: {name} (no such folder)")
    _check(name, folder)
    return folder


def folder_fingerprint(folder: Path) -> str:
    """SHA-256 over names and contents of a model's files, hexadecimal; read again only when one has changed."""
    return _fingerprint(folder, _stamp(folder))


def _from_hub(name: str, download: bool) -> Path:
    try:
        return Path(snapshot_download(name, allow_patterns=_FETCHED, local_files_only=not download))
    except LocalEntryNotFoundError:
        remedy = "it cannot be fetched now" if download else "set language.download: true to fetch it"
        raise LanguageError(f"language.model: {name} (no such folder, not in the hub's cache; {remedy})") from None
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise LanguageError(f"language.model: {name} (cannot be fetched: {_line(error)})") from None


def _check(name: str, folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise LanguageError(f"language.model: {name} (config.json is missing in {folder})")
    if not any(folder.glob(_WEIGHTS)):
        if any(path for pattern in _PICKLED for path in folder.glob(pattern)):
            raise LanguageError(f"language.model: {name} (its weights are pickled; convert them to safetensors)")
        raise LanguageError(f"language.model: {name} (model.safetensors is missing in {folder})")
    if not any((folder / file).is_file() for file in _TOKENIZERS):
        raise LanguageError(f"language.model: {name} (tokenizer.json is missing in {folder})")


def _device(asked: str) -> str:
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked.startswith("cuda"):
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(asked.partition(":")[2] or 0) >= there:
            raise LanguageError(f"language.device: {asked} ({there} CUDA devices are available; use auto or cpu)")
    return asked


def _files(folder: Path) -> list[Path]:
    named = [folder / name for name in ("config.json", *_TOKENIZERS, *_TOKENIZER_EXTRAS)]
    return sorted([*folder.glob(_WEIGHTS), *(path for path in named if path.is_file())])


def _stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of a model's files: another stamp, another model."""
    stats = [(path.name, path.stat()) for path in _files(folder)]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


@lru_cache(maxsize=16)
def _fingerprint(folder: Path, stamp: tuple[tuple[str, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for name, size, _ in stamp:
        digest.update(f"{name}:{size}:".encode())
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


@lru_cache(maxsize=4)
def _load(folder: Path, device: str, dtype: str, stamp: tuple[tuple[str, int, int], ...]) -> Language:
    """Read a model; ``stamp`` is part of the key alone."""
    name = BUILTIN if folder == BUILTIN_FOLDER else str(folder)
    try:
        with quiet():
            tokenizer = Tokenizer(AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False))
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=getattr(torch, dtype),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RuntimeError,
        ImportError,
        SafetensorError,
        StrictDataclassError,
    ) as error:
        raise LanguageError(f"language.model: {name} (cannot be loaded: {_line(error)})") from None
    model, report = loaded
    absent = sorted(report["missing_keys"])
    if absent:
        raise LanguageError(f"language.model: {name} (its weights lack {absent[0]}; is it a causal language model?)")
    text = model.config.get_text_config()
    other = set(getattr(text, "layer_types", None) or ()) - _ATTENTION
    if other:
        raise LanguageError(f"language.model: {name} (layers of type {', '.join(sorted(other))} are not supported)")
    window = getattr(text, "max_position_embeddings", None)
    if not window:
        raise LanguageError(f"language.model: {name} (config.json must name max_position_embeddings)")
    model = model.to(device).eval().requires_grad_(False)
    use_steady_attention(model)
    return Language(
        model=model,
        tokenizer=tokenizer,
        vocabulary=int(model.get_input_embeddings().weight.shape[0]),
        window=int(window),
        newline=_newline(name, tokenizer),
        shape=shape_of(model.config),
        folder=folder,
    )


def _newline(name: str, tokenizer: Tokenizer) -> int:
    """The line break's token, as it stands behind a word."""
    before, after = tokenizer.encode("a"), tokenizer.encode("a\n")
    if after[:-1] != before or not after:
        raise LanguageError(f"language.model: {name} (its tokenizer has no token for a line break alone)")
    return after[-1]


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep a library's progress bars and advice from the user's terminal, and leave it as it was."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
