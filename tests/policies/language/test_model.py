import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from transformers.utils import logging

from policies.language.model import (
    BUILTIN_FOLDER,
    Language,
    LanguageError,
    LanguageSettings,
    folder_fingerprint,
    load_language,
)


@pytest.fixture
def copied(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the model's folder that a test may spoil."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "copied"))


def test_a_loaded_model_is_ready_to_be_asked(tiny_language: Language, tiny_folder: Path) -> None:
    """It must be in evaluation mode without gradients, in float32 on the CPU, and know its own sizes."""
    assert not tiny_language.model.training
    assert not any(parameter.requires_grad for parameter in tiny_language.model.parameters())
    assert (tiny_language.vocabulary, tiny_language.window) == (400, 512)
    assert (tiny_language.device.type, tiny_language.dtype) == ("cpu", torch.float32)
    assert tiny_language.folder == tiny_folder.resolve()
    assert tiny_language.tokenizer.decode([tiny_language.newline]) == "\n"
    assert tiny_language.newline in tiny_language.line_ends


@given(st.text(alphabet="abc ,;/.\n'-ABC1239é水"))
def test_text_survives_its_tokens(tiny_language: Language, text: str) -> None:
    """Decoding what was encoded must give the text back."""
    ids = tiny_language.tokenizer.encode(text)
    assert tiny_language.tokenizer.decode(ids) == text
    assert all(0 <= token < len(tiny_language.tokenizer) for token in ids)


def test_the_same_settings_give_the_same_object(tiny_language: Language, tiny_folder: Path) -> None:
    """A process must load a model once for each device and type, whatever else is set."""
    settings = LanguageSettings(model=str(tiny_folder), device="cpu", batch=3, cache=False)
    assert load_language(settings) is tiny_language
    half = load_language(settings.model_copy(update={"dtype": "bfloat16"}))
    assert half is not tiny_language
    assert half.dtype == torch.bfloat16
    assert half.fingerprint == tiny_language.fingerprint


def test_a_fingerprint_follows_the_files(copied: Path, tiny_language: Language) -> None:
    """It must be the same for a copy, not notice other files, and change with weights, tokenizer or configuration."""
    found = {folder_fingerprint(copied)}
    assert found == {tiny_language.fingerprint}
    (copied / "README.md").write_text("A model card.")
    (copied / "embedder.safetensors").write_bytes(b"of something else")
    assert folder_fingerprint(copied) in found
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        with (copied / name).open("ab") as file:
            file.write(b" ")
        assert folder_fingerprint(copied) not in found
        found.add(folder_fingerprint(copied))


def test_new_weights_in_a_folder_are_read(copied: Path) -> None:
    """A folder whose files changed must be loaded again."""
    settings = LanguageSettings(model=str(copied), device="cpu")
    before = load_language(settings)
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 1024}))
    assert load_language(settings).window == 1024
    assert before.window == 512


def test_loading_leaves_the_librarys_settings(copied: Path) -> None:
    """Its verbosity and progress bars must be as before."""
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load_language(LanguageSettings(model=str(copied), device="cpu"))
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _other_layers(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    types = ["full_attention", "full_attention", "chunked_attention"]
    (folder / "config.json").write_text(json.dumps(config | {"layer_types": types}))


def _another_kind(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "mamba"}))


def _fewer_weights(folder: Path) -> None:
    weights = load_file(str(folder / "model.safetensors"))
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})


def _windowless(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 0}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors is missing"),
        (_pickled, "its weights are pickled"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"broken"), "cannot be loaded"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be loaded"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "unheard_of"}'), "cannot be loaded"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "cannot be loaded"),
        (_other_layers, "layers of type chunked_attention"),
        (_another_kind, "cannot be loaded"),
        (_fewer_weights, r"lack model\.layers\.1\.mlp\.up_proj\.weight"),
        (_windowless, "max_position_embeddings"),
    ],
)
def test_what_a_folder_lacks_is_said_in_one_line(copied: Path, spoil: Callable[[Path], None], message: str) -> None:
    """A folder without a needed file, with pickled weights or with unreadable ones must be refused in one line."""
    spoil(copied)
    with pytest.raises(LanguageError, match=rf"^language\.model: [^\n]*({message})[^\n]*$"):
        load_language(LanguageSettings(model=str(copied), device="cpu"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("builtin:huge", "builtin:tiny is the only one"),
        ("/no/such/folder", "no such folder"),
        ("nobody/no-such-model", "language.download: true"),
    ],
)
def test_a_model_that_is_not_there_is_said_in_one_line(name: str, message: str) -> None:
    """A missing model must be refused with what would help, and nothing be fetched unasked."""
    with pytest.raises(LanguageError, match=rf"^language\.model: {name} [^\n]*{message}[^\n]*$"):
        load_language(LanguageSettings(model=name))


def test_a_missing_checkpoint_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the built-in checkpoint the error must say how to train one."""
    monkeypatch.setattr("policies.language.model.BUILTIN_FOLDER", tmp_path / BUILTIN_FOLDER.name)
    with pytest.raises(LanguageError, match=r"^language\.model: builtin:tiny \([^\n]*testbed train language\)$"):
        load_language(LanguageSettings())


def test_cuda_that_is_not_there_is_refused(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CUDA device asked for and absent must be refused in one line, while auto takes the CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(LanguageError, match=r"^language\.device: cuda:1 [^\n]*$"):
        load_language(LanguageSettings(model=str(tiny_folder), device="cuda:1"))
    assert load_language(LanguageSettings(model=str(tiny_folder))).device.type == "cpu"


@pytest.mark.parametrize("bad", [{"device": "gpu"}, {"dtype": "int8"}, {"batch": 0}, {"modle": "x"}])
def test_settings_refuse_what_they_do_not_know(bad: dict[str, object]) -> None:
    """Unknown devices, types, numbers out of range and misspelt keys must be refused."""
    with pytest.raises(ValidationError):
        LanguageSettings.model_validate(bad)
