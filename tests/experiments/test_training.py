"""`testbed train language`: a small model from a small world, with its card."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments.cli import app
from experiments.training_config import UNSEEN_OCCASIONS, UNSEEN_TOPICS, TrainingConfig
from policies.language.model import LanguageSettings, load_language
from simulator.taxonomy import OCCASIONS, load_taxonomy

SMALL = """
kind: training
worlds:
  - seed: 91
    start: 2013-09-01
    days: 40
    world: { kind: generated, users: 80, items: 300, cities: [seattle], country: US, unseen: [halloween] }
judge:
  seed: 92
  start: 2013-09-01
  days: 40
  world: { kind: generated, users: 60, items: 300, cities: [seattle], country: US }
sentences: 50
questions: 50
entity_questions: 20
school:
  model: { vocabulary: 600, width: 32, layers: 2, heads: 2, kv_heads: 1, head_dim: 16, ffn: 48, window: 1024 }
  sft: { steps: 2, rows: 2, length: 256 }
  adaptor: { hidden: 16, lessons: 8, sft: { steps: 2, rows: 2, length: 256 } }
  tokenizer_lessons: 30
  embedding_width: 16
  judged: 4
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A trained folder, and what the command printed."""
    folder = tmp_path_factory.mktemp("train")
    (folder / "small.yaml").write_text(SMALL, encoding="utf-8")
    out = folder / "model"
    result = CliRunner().invoke(app, ["train", "language", str(folder / "small.yaml"), "--out", str(out), "--quiet"])
    assert result.exit_code == 0, result.output
    return out, result.output


def test_the_folder_is_a_language_model_with_a_card(trained: tuple[Path, str]) -> None:
    """What the command leaves can be named by language.model, and its card says data, seed and scores."""
    out, said = trained
    assert load_language(LanguageSettings(model=str(out), device="cpu")).shape.layers == 2
    card = (out / "README.md").read_text(encoding="utf-8")
    for words in ("seed 91", "halloween", "2 of 2 x 256 tokens", "history in soft tokens", "testbed"):
        assert words in card
    assert "2 steps" in said
    assert str(out) in said


def test_a_wrong_key_is_one_line(tmp_path: Path) -> None:
    """An unknown key, and a config of another kind, end with exit code 2 and one line."""
    config = tmp_path / "wrong.yaml"
    for text in ("kind: training\nsteps: 3\n", "kind: training\nschool: { sft: { steps: 0 } }\n"):
        config.write_text(text, encoding="utf-8")
        result = CliRunner().invoke(app, ["train", "language", str(config), "--out", str(tmp_path / "out")])
        assert result.exit_code == 2
        assert result.output.startswith("error: ")
        assert result.output.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_recipe_keeps_its_unseen_out_of_every_log() -> None:
    """All worlds of the shipped recipe lack the same occasions and topics, which exist, and share no seed."""
    config = TrainingConfig()
    topics = {topic.key for topic in load_taxonomy().topics}
    assert set(UNSEEN_OCCASIONS) <= set(OCCASIONS)
    assert set(UNSEEN_TOPICS) <= topics
    worlds = (*config.worlds, config.judge)
    assert all(set(world.world.unseen) == {*UNSEEN_OCCASIONS, *UNSEEN_TOPICS} for world in worlds if world)
    assert len({world.seed for world in worlds if world}) == len(worlds)


def test_the_shipped_model_was_made_by_the_recipe() -> None:
    """The architecture of builtin:tiny is that of the default recipe, and its files stay under 20 MB."""
    from policies.language.model import BUILTIN_FOLDER

    config = json.loads((BUILTIN_FOLDER / "config.json").read_text(encoding="utf-8"))
    recipe = TrainingConfig().school.model
    assert (config["hidden_size"], config["num_hidden_layers"]) == (recipe.width, recipe.layers)
    assert config["model_type"] == "qwen3"
    assert sum(path.stat().st_size for path in BUILTIN_FOLDER.iterdir()) < 20e6
    assert not [path for path in BUILTIN_FOLDER.iterdir() if path.suffix in {".bin", ".pt", ".pkl"}]
