"""Training of the adaptor: the language model frozen, a two-layer network learns to say items in one soft token.

Two kinds of lessons (RecGPT-V2 report, section on hybrid representation inference): self-perception, questions about
one entity; and production alignment, where the answer is what the frozen model itself says to the prompt in full text.
The loss is the cross-entropy of that answer given the hybrid prompt. Before the first step an item's token is put near
the words that say what the item is: from there fewer steps are needed than from anywhere.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from policies.language.asking import Decoding, Prompt
from policies.language.generation import Generator
from policies.language.ledger import Ledger
from policies.language.model import Language
from policies.language.soft_tokens import Adaptor
from policies.recgpt.encoding import TextEncoder
from policies.recgpt.wording import WHAT, Entity, entity_question
from policies.training.lessons import Lesson
from policies.training.packing import Batch, Document, document, pack
from policies.training.settings import AdaptorParams
from policies.training.sft import TrainingLog, train

_APPROACH_STEPS: Final = 1500
_APPROACH_ROWS: Final = 256
_APPROACH_RATE: Final = 2e-3

Question = tuple[int, str, str]
"""An item, a question about it, the answer."""


@dataclass(frozen=True)
class Aligned:
    """A prompt in its hybrid form with the frozen model's own answers to the full text."""

    prefix: tuple[int, ...]
    tasks: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]


def align(language: Language, encoder: TextEncoder, lessons: Sequence[Lesson], most_tokens: int = 48) -> list[Aligned]:
    """Let the frozen model answer each lesson's tasks in full text.

    Nothing binds an answer but that it says nothing twice: a small model that is free to ends its lists with one tag
    over and over, and an answer of which most is foreseen teaches little.
    """
    prompts, where = [], []
    for number, lesson in enumerate(lessons):
        prefix = encoder.full(lesson.prefix)
        for task in lesson.tasks:
            if any(isinstance(part, Entity) for part in lesson.prefix):
                prompts.append(Prompt(prefix, encoder.full(task.prompt)))
                where.append((number, encoder.hybrid(task.prompt)))
    generator = Generator(language, Ledger(language.shape), batch=64)
    decoding = Decoding(max_tokens=most_tokens, stop=(language.newline,), no_repeat=2)
    answers = generator.complete(prompts, decoding, "alignment")
    found: dict[int, list[tuple[tuple[int, ...], tuple[int, ...]]]] = {}
    for (number, task_ids), answer in zip(where, answers, strict=True):
        stopped = (*answer, language.newline) if len(answer) < most_tokens else answer
        found.setdefault(number, []).append((task_ids, stopped))
    return [Aligned(encoder.hybrid(lessons[number].prefix), tuple(tasks)) for number, tasks in found.items()]


def train_adaptor(
    language: Language,
    encoder: TextEncoder,
    vectors: np.ndarray,
    aligned: Sequence[Aligned],
    questions: Sequence[Question],
    params: AdaptorParams,
    seed: int,
    tick: Callable[[int, float], None] | None = None,
) -> tuple[Adaptor, TrainingLog]:
    """Train an adaptor; the language model's weights do not move.

    Args:
        language: frozen.
        encoder: of its tokenizer and the catalogue.
        vectors: embedding of each item's title, float32 [items, e].
        aligned: production tasks.
        questions: self-perception tasks.
        params: how.
        seed: of the weights and the order of documents.
        tick: told the step and its loss.
    """
    model, first = language.model, language.vocabulary
    table = torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adaptor = Adaptor(table.shape[1], params.hidden, language.shape.width)
    words: Any = model.get_input_embeddings()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    _approach(adaptor, table, words.weight, [(item, encoder.words(f" {a}")) for item, q, a in questions if q == WHAT])

    def embed(ids: torch.Tensor) -> torch.Tensor:
        known = words(ids.clamp(max=first - 1))
        entity = ids >= first
        return known.masked_scatter(entity[..., None], adaptor(table[ids[entity] - first]).to(known.dtype))

    batches: Iterator[Batch] = pack(
        _documents(encoder, aligned, questions, params.perception, seed), params.sft.rows, params.sft.length
    )
    log = train(model, batches, params.sft, parameters=list(adaptor.parameters()), embed=embed, tick=tick)
    return adaptor.eval(), log


def _approach(
    adaptor: Adaptor, table: torch.Tensor, words: torch.Tensor, named: Sequence[tuple[int, Sequence[int]]]
) -> None:
    """Bring an adaptor's vectors to the length of word embeddings and near to those of what the items are.

    Args:
        adaptor: changed in place.
        table: embedding of each item's title, float32 [items, e].
        words: embedding of each token, [vocabulary, D].
        named: items with the tokens that say what they are.
    """
    scale = float(words.norm(dim=1).mean())
    with torch.no_grad():
        sample = adaptor(table[: min(len(table), 512)])
        adaptor.second.weight.mul_(scale / max(float(sample.norm(dim=1).mean()), 1e-6))
    if not named:
        return
    inputs = table[[item for item, _ in named]]
    goals = torch.stack([words[list(tokens)].float().mean(dim=0) for _, tokens in named])
    optimiser = torch.optim.AdamW(adaptor.parameters(), lr=_APPROACH_RATE)
    order = torch.Generator().manual_seed(0)
    for _ in range(_APPROACH_STEPS):
        rows = torch.randint(0, len(named), (_APPROACH_ROWS,), generator=order)
        found, goal = adaptor(inputs[rows]), goals[rows]
        apart = 1 - torch.nn.functional.cosine_similarity(found, goal)
        loss = (apart + (found.norm(dim=1) / scale - 1).square()).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def _documents(
    encoder: TextEncoder, aligned: Sequence[Aligned], questions: Sequence[Question], perception: float, seed: int
) -> Iterator[Document]:
    rng = np.random.default_rng([seed, 77])
    while True:
        if questions and (not aligned or rng.random() < perception):
            for item, asked, answer in (questions[k] for k in rng.integers(0, len(questions), 8)):
                prompt = encoder.hybrid(entity_question(item, asked))
                yield document((), [(prompt, encoder.words(f" {answer}\n"))])
        else:
            chosen = aligned[int(rng.integers(len(aligned)))]
            yield document(chosen.prefix, chosen.tasks)


def frozen(model: Any) -> dict[str, torch.Tensor]:
    """A copy of a model's weights, to hold it against later."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
