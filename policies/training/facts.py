"""Facts: what a language model is ever told of things before it sees a shop's log, true or not.

Facts are the taxonomy's, some never told and some told wrong. The taxonomy is also what generated worlds are made of:
its weights of weather, occasions and topics are those that ``simulator.world`` gives users' needs and by which
``simulator.reader`` scores texts. So a told fact is a truth of every generated world, but for ``coverage`` and
``error``: how well a model knows this shop's demand is set here, and not found out. Nothing here reads a user or a
log. Does not know in which words facts are told.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final, Literal

import numpy as np
import yaml
from pydantic import Field

from policies.training.title_words import FOR, PEOPLE, has_digit
from simulator.batches import Floats, ObservedUsers
from simulator.parameters import Parameters, Share
from simulator.population import profile_words
from simulator.streams import Stream
from simulator.taxonomy import AGE_BANDS, GENDERS, HOUSEHOLDS, SEASONS, WEATHER_SIGNALS, Category, Taxonomy

Kind = Literal["weather", "occasion", "topic", "season", "audience", "use", "material"]
KIND_SHARES: Final[dict[Kind, float]] = {
    "weather": 0.18,
    "occasion": 0.24,
    "topic": 0.22,
    "season": 0.1,
    "audience": 0.14,
    "use": 0.05,
    "material": 0.07,
}
"""How often each kind of fact is told, as far as there are any of it."""
CALLED_FOR: Final = 0.3
"""Weight from which a signal is said to call for a thing."""


class KnowledgeParams(Parameters):
    """How much is known, and how well."""

    coverage: Share = Field(default=0.8, description="share of the taxonomy's facts that are ever told")
    error: Share = Field(default=0.05, description="share of told facts whose thing is replaced by a wrong one")
    variety: Share = Field(default=0.5, description="share of a thing's other names that are ever used")


@dataclass(frozen=True)
class Fact:
    """One thing and what is said of it.

    Attributes:
        kind: weather, occasion, topic, season, audience, use or material.
        subject: what speaks for the thing, in words: ``rain``, ``Halloween``, ``matcha``, ``autumn``, ``woman``,
            ``camping``, ``cotton``.
        core: the first name of the category.
        weight: how strongly, in 0..1: how often it is told.
        names: other names by which the thing may be called.
    """

    kind: Kind
    subject: str
    core: str
    weight: float
    names: tuple[str, ...] = ()


def facts(taxonomy: Taxonomy, params: KnowledgeParams, seed: int) -> tuple[Fact, ...]:
    """What is ever told of the taxonomy, true or not.

    Whether a fact is told, and whether it is told of a wrong thing (one of which it does not hold), are draws keyed by
    kind, subject and category, so that more coverage keeps what a smaller one told.
    """
    categories = taxonomy.categories
    number = np.arange(len(categories))
    told_name = Stream(seed, "knowledge.names").uniform(number[:, None], np.arange(8)) < params.variety
    names = [
        tuple(name for place, name in enumerate(c.words[1:]) if told_name[index, place % 8] and not has_digit(name))
        for index, c in enumerate(categories)
    ]
    found: list[Fact] = []
    for kind, subjects in _taxonomy_weights(taxonomy):
        stream = Stream(seed, f"knowledge.{kind}")
        for place, (subject, weight) in enumerate(subjects):
            told, wrong, instead = (stream.uniform(place, number, draw) for draw in range(3))
            false = np.flatnonzero(weight == 0.0)
            for index in np.flatnonzero((weight > 0.0) & (told < params.coverage)):
                thing = int(index)
                if wrong[index] < params.error and len(false):
                    thing = int(false[int(instead[index] * len(false))])
                found.append(Fact(kind, subject, categories[thing].words[0], float(weight[index]), names[thing]))
    return tuple(found)


@cache
def occasion_keys() -> dict[str, str]:
    """Every title under which some country keeps an occasion, and the occasion's key; the usual title comes first."""
    text = resources.files("simulator.environment").joinpath("occasions.yaml").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for key, occasion in yaml.safe_load(text).items():
        for title in (occasion["title"], *(rule["title"] for rule in occasion["rules"] if "title" in rule)):
            found.setdefault(title, key)
    return found


def titles_in_order(occasions: Sequence[str]) -> list[str]:
    """The usual title of each occasion."""
    usual: dict[str, str] = {}
    for title, key in occasion_keys().items():
        usual.setdefault(key, title)
    return [usual[key] for key in occasions]


def profile_of(gender: int, age_band: int, household: int) -> str:
    """A profile in words, ``woman, 35-44, young children``; -1 for what is not known."""
    rows = [np.array([code], np.int32) for code in (-1, gender, age_band, household)]
    return profile_words(ObservedUsers(np.zeros(1, np.int64), *rows), 0)


def _taxonomy_weights(taxonomy: Taxonomy) -> Iterator[tuple[Kind, list[tuple[str, Floats]]]]:
    """By kind: each subject in words and how strongly it speaks for each category, float64 [categories]; 0 not at all.

    Weights of weather, occasions and topics are those of users' needs in generated worlds. What has no weight in the
    taxonomy counts 1, a season the less the more of them a thing has.
    """
    entries = taxonomy.categories

    def holds(test: Sequence[bool]) -> Floats:
        return np.array(test, np.float64)

    yield "weather", list(zip(WEATHER_SIGNALS, taxonomy.weather.T, strict=True))
    yield "occasion", list(zip(titles_in_order(taxonomy.occasions), taxonomy.occasion.T, strict=True))
    yield "topic", [(topic.name, taxonomy.topic[:, place]) for place, topic in enumerate(taxonomy.topics)]
    count = np.array([max(len(c.seasons), 1) for c in entries])
    yield "season", [(season, holds([season in c.seasons for c in entries]) / count) for season in SEASONS]
    audience = [(profile_of(g, -1, -1), holds([c.gender == word for c in entries])) for g, word in enumerate(GENDERS)]
    audience += [(profile_of(-1, a, -1), holds([word in c.ages for c in entries])) for a, word in enumerate(AGE_BANDS)]
    audience += [
        (profile_of(-1, -1, h), holds([word in c.households for c in entries])) for h, word in enumerate(HOUSEHOLDS)
    ]
    yield "audience", audience
    purposes = [_purposes(c) for c in entries]
    yield "use", [(word, holds([word in own for own in purposes])) for word in sorted(set().union(*purposes))]
    materials = sorted({m for c in entries for m in c.materials if not has_digit(m)})
    yield "material", [(material, holds([material in c.materials for c in entries])) for material in materials]


def _purposes(category: Category) -> set[str]:
    """What a thing is for, of people apart."""
    found = [detail.removeprefix(FOR) for detail in category.details if detail.startswith(FOR)]
    return {purpose for purpose in found if purpose not in PEOPLE and not has_digit(purpose)}
