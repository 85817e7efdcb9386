"""A small logged world to write lessons from."""

import re
from collections.abc import Callable
from datetime import date

import pytest

from experiments.history import play_or_read_history
from experiments.progress import SilentProgress
from experiments.world_config import GeneratedWorld
from experiments.worlds import build_world
from policies.recgpt.tags import TagVocabulary
from policies.training.evidence import Evidence
from policies.training.facts import occasion_keys
from policies.training.lessons import Teacher
from simulator.shards import shard_pool
from simulator.taxonomy import load_taxonomy


def logged_evidence(users: int = 250, days: int = 60, seed: int = 5, start: date = date(2013, 9, 15)) -> Evidence:
    """The log of a generated world under the exploring logger."""
    world = GeneratedWorld(kind="generated", users=users, items=800, cities=("seattle", "new_york"), country="US")
    built = build_world(world, start=start, days=days, scenario="item", slots=10, seed=seed)
    with shard_pool(1) as pool:
        log, _ = play_or_read_history(built, days, seed, pool, SilentProgress())
    observed = built.world.environment.observed()
    return Evidence(log, built.world.catalog.observed, built.world.population.observed, observed)


@pytest.fixture(scope="session")
def evidence() -> Evidence:
    """Two autumn months of 250 shoppers."""
    return logged_evidence()


@pytest.fixture(scope="session")
def teacher(evidence: Evidence) -> Teacher:
    """A teacher on that log."""
    return Teacher(evidence, TagVocabulary.of(evidence.catalog, 12), 11, load_taxonomy())


@pytest.fixture
def figures_left() -> Callable[[str], list[str]]:
    """Figures of a text that are no temperature, no days ahead, no age band and no part of an occasion's title."""

    def left(text: str) -> list[str]:
        for title in occasion_keys():
            text = text.replace(title, "")
        return re.findall(r"\d+", re.sub(r"-?\d+ C\b|\bin \d+ days\b|\b\d\d-\d\d\b|\b65\+", "", text))

    return left
