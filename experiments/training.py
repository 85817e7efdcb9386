"""`testbed train`: worlds to learn from, their logs, and a language model taught on them.

The worlds of training are not the worlds of experiments: other seeds, other users, earlier days, and some occasions and
topics that never happen in them, so that what is known of those can only come from general sentences. The taxonomy
is the same everywhere, and so are its weights, from which the sentences are written.
"""

from pathlib import Path

from experiments.history import play_or_read_history
from experiments.progress import Progress
from experiments.training_config import TrainingConfig, TrainingWorld
from experiments.worlds import build_world
from policies.recgpt.tags import TagVocabulary
from policies.training.evidence import Evidence
from policies.training.fact_questions import questions
from policies.training.fact_sentences import sentences
from policies.training.facts import facts
from policies.training.item_questions import entity_questions
from policies.training.lessons import Teacher
from policies.training.school import Curriculum, Report, adapt, found_school
from simulator.shards import shard_pool
from simulator.taxonomy import load_taxonomy


def train_language(
    config: TrainingConfig, out: Path, minutes: float | None, command: str, progress: Progress
) -> Report:
    """Play the worlds, write the lessons, train, and leave a folder that ``language.model`` can name.

    Args:
        config: what and how.
        out: folder; replaced whole when everything is done.
        minutes: end the language model's training after so many.
        command: what the user typed, for the model card.
        progress: is told how far things are.
    """
    taxonomy = load_taxonomy()
    told = facts(taxonomy, config.knowledge, config.seed)
    teachers = tuple(_teacher(world, config, progress) for world in config.worlds)
    catalog = teachers[0].evidence.catalog
    curriculum = Curriculum(
        teachers=teachers,
        judge=_teacher(config.judge, config, progress) if config.judge is not None else None,
        sentences=sentences(told, config.sentences, config.seed),
        questions=questions(told, config.questions, config.seed),
        entity_questions=entity_questions(
            catalog.titles, catalog.category.tolist(), taxonomy, config.entity_questions, config.seed
        ),
    )
    return found_school(
        curriculum,
        config.school,
        out,
        config.seed,
        progress.stage,
        minutes,
        card=lambda report: model_card(config, report, command),
    )


def train_adaptor_for(config: TrainingConfig, model: Path, out: Path, progress: Progress) -> Report:
    """Leave a copy of a model with an embedder and an adaptor trained on the first world of a recipe.

    Args:
        config: of the world, the questions and the adaptor.
        model: the folder of any causal language model.
        out: folder; replaced whole when everything is done.
        progress: is told how far things are.
    """
    teacher = _teacher(config.worlds[0], config, progress)
    catalog = teacher.evidence.catalog
    about = entity_questions(
        catalog.titles, catalog.category.tolist(), load_taxonomy(), config.entity_questions, config.seed
    )
    judge = _teacher(config.judge, config, progress) if config.judge is not None else None
    curriculum = Curriculum((teacher,), judge, (), (), about)
    return adapt(curriculum, config.school, model, out, config.seed, progress.stage)


def _teacher(world: TrainingWorld, config: TrainingConfig, progress: Progress) -> Teacher:
    built = build_world(world.world, start=world.start, days=world.days, scenario="item", slots=10, seed=world.seed)
    with shard_pool(1) as pool:
        log, _ = play_or_read_history(built, world.days, world.seed, pool, progress)
    observed = built.world.environment.observed()
    evidence = Evidence(log, built.world.catalog.observed, built.world.population.observed, observed)
    vocabulary = TagVocabulary.of(built.world.catalog.observed, config.modifiers)
    return Teacher(evidence, vocabulary, config.seed + world.seed, load_taxonomy())


def model_card(config: TrainingConfig, report: Report, command: str) -> str:
    """The README of a trained folder: data, command, seed, scores."""
    model, language = config.school.model, report.language
    unseen = sorted({name for world in config.worlds for name in world.world.unseen})
    lines = [
        "# A tiny language model of a shop",
        "",
        f"A Qwen3 architecture: {model.layers} layers of width {model.width}, {model.heads} query and "
        f"{model.kv_heads} key-value heads of {model.head_dim}, SwiGLU of {model.ffn}, window {model.window}, "
        "tied embeddings, byte-level BPE. It serves the testbed's own worlds and nothing else.",
        "",
        "## How it was made",
        f"Command: `{command}` (seed {config.seed}).",
        f"Steps: {language.steps} of {config.school.sft.rows} x {config.school.sft.length} tokens, "
        f"{language.tokens:,} in all, {language.seconds:.0f} s; last loss {language.loss[-1]:.3f}.",
        f"Adaptor: {report.adaptor.steps} steps, {report.adaptor.seconds:.0f} s, the language model frozen; last loss "
        f"{report.adaptor.loss[-1]:.3f}.",
        "",
        "## Data",
        *(
            f"- a log of {world.world.users} made-up shoppers of a generated world, seed {world.seed}, "
            f"{world.days} days from {world.start}, under the exploring logger"
            for world in config.worlds
        ),
        f"- general sentences and questions written from the taxonomy (coverage {config.knowledge.coverage}, error "
        f"{config.knowledge.error}), whose weights are those by which users of generated worlds want things",
        "",
        f"Occasions and topics that never happen in those logs, of which only general sentences tell: "
        f"{', '.join(unseen) or 'none'}.",
        "",
    ]
    if report.full is not None and report.hybrid is not None:
        lines += [
            "## Scores",
            f"Category of the next interaction of {report.full.shoppers} shoppers of a world that was not taught:",
            "",
            "| | HR@10 | HR@30 | tokens of a prompt |",
            "|---|---|---|---|",
            _row("history in full text", report.full.model, report.full.prompt_tokens),
            _row("history in soft tokens", report.hybrid.model, report.hybrid.prompt_tokens),
            _row("popularity", report.full.popularity, None),
            _row("popularity in the city on the last two days", report.full.by_day, None),
            "",
        ]
    return "\n".join(lines)


def _row(name: str, values: tuple[float, ...], tokens: float | None) -> str:
    return f"| {name} | {values[0]:.3f} | {values[1]:.3f} | {'' if tokens is None else f'{tokens:.0f}'} |"
