"""Thinking: how fast the shipped language model reads and writes, and how many users it thinks about a CPU-second.

Reading is the prefill of distinct prompts; writing is one token for each row of a batch whose context is already read.
A job is one user thought about, from the history to the tags that are kept: V1's four routes, or V2's planner, three
experts, arbiter and style, on users of a generated world with six weeks of history, answers computed and not found in
the prompt cache. All is CPU time of one process with as many threads as the machine gives; the figures depend on the
machine, their ratios hardly. Explanations are left out. Run from the repository's root:

    python benchmarks/language.py --json benchmarks/results/language.json
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from collections.abc import Callable
from datetime import date

import numpy as np

from benchmarks._bench import Case, arguments, cpu_seconds, finish, machine
from experiments.history import play_or_read_history
from experiments.progress import SilentProgress
from experiments.world_config import GeneratedWorld
from experiments.worlds import build_world
from policies.language.asking import Decoding, Prompt
from policies.language.generation import Generator
from policies.language.ledger import Ledger
from policies.language.model import LanguageSettings, load_language
from policies.recgpt.agent import Agent
from policies.recgpt.moments import requests_at
from policies.registry import policy_class
from simulator.batches import DAY_SECONDS, InteractionLog, Requests
from simulator.shards import shard_pool
from simulator.world import World

ROWS, CONTEXT, WRITTEN = 64, 384, 32
USERS, DAYS = 256, 42


def model_cases() -> list[Case]:
    """Reading and writing."""
    language = load_language(LanguageSettings(device="cpu"))
    rng = np.random.default_rng(0)
    prompts = [
        Prompt(tuple(rng.integers(300, language.vocabulary, CONTEXT).tolist()), (int(rng.integers(300, 400)),))
        for _ in range(ROWS)
    ]

    def ask(tokens: int) -> Callable[[], object]:
        def work() -> object:
            generator = Generator(language, Ledger(language.shape), batch=ROWS)
            return generator.complete(prompts, Decoding(max_tokens=tokens, stop=()), "benchmark")

        return work

    cpu_seconds(ask(1))  # the first time, libraries set themselves up
    one, many = cpu_seconds(ask(1)), cpu_seconds(ask(1 + WRITTEN))
    return [
        Case("reading", "prompt tokens a CPU-second", ROWS * CONTEXT / one, "tokens/CPU-s"),
        Case("writing", f"tokens a CPU-second, {ROWS} rows", ROWS * WRITTEN / max(many - one, 1e-9), "tokens/CPU-s"),
    ]


def logged() -> tuple[World, InteractionLog, Requests]:
    """A world, its log, and its users on the morning after."""
    config = GeneratedWorld(kind="generated", users=USERS, items=3000, cities=("seattle", "new_york"), country="US")
    built = build_world(config, start=date(2015, 9, 20), days=DAYS + 1, scenario="item", slots=10, seed=3)
    with shard_pool(1) as pool:
        log, _ = play_or_read_history(built, DAYS, 3, pool, SilentProgress())
    world = built.world
    morning = np.full(USERS, DAYS * DAY_SECONDS, np.int64)
    context = world.environment.observed()
    users = world.population.observed
    return world, log, requests_at(log, users, world.catalog.items, context, users.user, morning)


def job_cases() -> list[Case]:
    """Users thought about a CPU-second, by design."""
    world, log, requests = logged()
    cases = []
    for name, title, params in (
        ("recgpt_v1", "V1, four routes", {}),
        ("recgpt_v2", "V2, three experts", {}),
        ("recgpt_v2", "V2, histories in titles", {"compression": False}),
    ):
        chosen = policy_class(name)
        policy = chosen(chosen.Params.model_validate({**params, "language": {"cache": False}}), 3)
        assert isinstance(policy, Agent)
        policy.prepare(log, world.catalog.observed, world.population.observed, world.environment.observed())
        policy.open_ledger()

        def work(policy: Agent = policy) -> object:
            policy.generator.forget()
            return policy.reason(requests)

        work()
        cases.append(Case(title, "users a CPU-second", USERS / cpu_seconds(work), "users/CPU-s"))
    return cases


def main() -> None:
    """Measure, print, write."""
    options = arguments(__doc__).parse_args()
    where = machine()
    finish("language", model_cases() + job_cases(), where, options.json)


if __name__ == "__main__":
    main()
