"""How well a language model says what shoppers do next, beside what needs no model.

Judged on shoppers of a log that was not taught: 30 tags of the habit, weather, season and trend tasks, joined in turn,
against the category of the next interaction (HR@30; RecGPT-V2 report, table of experts), and against two baselines.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from policies.language.asking import Decoding, Prompt
from policies.language.constraint import ListConstraint, Trie
from policies.language.generation import Generator
from policies.language.ledger import Ledger
from policies.language.model import Language
from policies.language.soft_tokens import SoftVocabulary
from policies.recgpt.encoding import TextEncoder
from policies.recgpt.wording import ROUTES, Signals, history_text, prefix_text, route_task
from policies.training.lessons import Teacher
from simulator.batches import DAY_SECONDS
from simulator.population import profile_words

DEPTHS = (10, 30)


@dataclass(frozen=True)
class Scores:
    """Hit rates by depth.

    Attributes:
        shoppers: how many were judged.
        model: HR@10 and HR@30 of the language model.
        popularity: of the categories most interacted with.
        by_day: of those most interacted with in the city on the last two days.
        prompt_tokens: mean tokens of a prompt.
    """

    shoppers: int
    model: tuple[float, ...]
    popularity: tuple[float, ...]
    by_day: tuple[float, ...]
    prompt_tokens: float


def score_language(
    language: Language, encoder: TextEncoder, judge: Teacher, shoppers: int, soft: SoftVocabulary | None
) -> Scores:
    """Score a model on shoppers of the judge's log; with soft tokens, histories are written in them."""
    evidence = judge.evidence
    category = evidence.category
    user, time = judge.drawn_visits(shoppers)
    day = time // DAY_SECONDS
    write = encoder.full if soft is None else encoder.hybrid
    prompts = []
    for who, today in zip(user.tolist(), day.tolist(), strict=True):
        profile = profile_words(evidence.users, who)
        history = history_text(*evidence.before(who, today * DAY_SECONDS, judge.most_events), today)
        prefix = write(prefix_text(profile, history))
        signals = Signals.of(evidence.context, int(evidence.users.city[who]), today)
        prompts += [Prompt(prefix, encoder.words(route_task(route, signals))) for route in ROUTES]
    names = evidence.catalog.category_names
    trie = Trie([encoder.words(f" {name}") for name in names])
    most = max(DEPTHS) // len(ROUTES) + 3
    constraint = ListConstraint(trie, encoder.words(",")[0], language.newline, most=most, least=most)
    generator = Generator(language, Ledger(language.shape), None, soft)
    answers = generator.complete(
        prompts, Decoding(max_tokens=8 * most, stop=(language.newline,), constraint=constraint), "judge"
    )
    by_name = {name.lower(): index for index, name in enumerate(names)}
    lists = []
    for answer in answers:
        parts = (part.strip().lower() for part in language.tokenizer.decode(list(answer)).split(","))
        lists.append([by_name[part] for part in parts if part in by_name])
    ranked = [_in_turn(lists[k : k + len(ROUTES)]) for k in range(0, len(lists), len(ROUTES))]
    truth = [int(category[evidence.after(w, t, 1)[0]]) for w, t in zip(user.tolist(), time.tolist(), strict=True)]
    counts = np.bincount(category[evidence.log.item], minlength=len(names))
    popular = np.argsort(-counts, kind="stable")
    lately = []
    rng = np.random.default_rng(judge.seed)
    for who, today in zip(user.tolist(), day.tolist(), strict=True):
        likes = evidence.likes(who, max(today - 2, 0), 2, 400, rng)
        near = np.bincount(category[likes.item], likes.weight, len(names)) + 1e-6 * counts
        lately.append(np.argsort(-near, kind="stable"))
    return Scores(
        shoppers=len(user),
        model=tuple(_hits(ranked, truth, depth) for depth in DEPTHS),
        popularity=tuple(_hits([popular] * len(user), truth, depth) for depth in DEPTHS),
        by_day=tuple(_hits(lately, truth, depth) for depth in DEPTHS),
        prompt_tokens=float(np.mean([len(p.prefix) + len(p.suffix) for p in prompts])),
    )


def _in_turn(lists: Sequence[Sequence[int]]) -> list[int]:
    longest = max(map(len, lists))
    return list(dict.fromkeys(each[k] for k in range(longest) for each in lists if k < len(each)))


def _hits(ranked: Sequence[Any], truth: Sequence[int], depth: int) -> float:
    return float(np.mean([target in list(order[:depth]) for order, target in zip(ranked, truth, strict=True)]))
