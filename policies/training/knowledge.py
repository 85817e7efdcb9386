"""General knowledge as text: what a language model knows of things before it ever sees a shop's log.

Facts are the taxonomy's, some never told and some told wrong, as in any text about the world. Sentences and questions
say them in many ways, also in the words of the signals with which policies are asked. Nothing here reads a user, a
log or the days of an experiment: calendars are those of ``YEAR``, weather is drawn out of thin air.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from importlib import resources
from itertools import count as counting
from typing import Final, Literal, TypeVar

import numpy as np
import yaml
from pydantic import Field

from policies.recgpt.wording import TOPICS_TOLD, WHAT, Signals, route_task, shopper
from policies.training.nouns import number_of, one_of, sentence, several
from policies.training.title_words import FOR, PEOPLE, has_digit, read_title
from simulator.batches import Floats, Ints, ObservedUsers
from simulator.environment.calendar import build_calendar
from simulator.environment.context import ObservedContext, season_of_month
from simulator.environment.trends import PERCEPTIBLE
from simulator.environment.weather import WET_MM, conditions, no_weather, weather_signals
from simulator.parameters import Parameters, Share
from simulator.population import profile_words
from simulator.streams import Stream
from simulator.taxonomy import AGE_BANDS, GENDERS, HOUSEHOLDS, SEASONS, WEATHER_SIGNALS, Category, Taxonomy

Kind = Literal["weather", "occasion", "topic", "season", "audience", "use", "material"]
_Option = TypeVar("_Option")

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
YEAR: Final = 2008
"""Whose calendars are read."""
COUNTRIES: Final = ("US", "GB", "CN", "IN", "IL", "BR", "KR")
"""Whose calendars are read: together they keep every occasion."""
MOST_THINGS: Final = 15
"""Things that an answer names at most."""
CALLED_FOR: Final = 0.3
"""Weight from which a signal is said to call for a thing."""

_SIGNAL_SHARE: Final = 0.5
_ALIAS_SHARE, _OTHER_NAME_SHARE = 0.08, 0.3
_FAINT: Final = 0.08
_NOISE: Final = 0.3
_SEASON_WEIGHT: Final = 0.3
_NEAR: Final = 0.2
_AUDIENCE_UNSAID, _AUDIENCE_MISFIT = 0.4, 0.1
_WEATHER_DAYS: Final = 1024
_DRAW_NOISE: Final = 99


class KnowledgeParams(Parameters):
    """How much is known, and how well."""

    coverage: Share = Field(default=0.8, description="share of true facts that are ever told")
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
    for kind, subjects in _true_weights(taxonomy):
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


def sentences(facts: Sequence[Fact], count: int, seed: int) -> list[str]:
    """Sentences about things, each saying one fact; how often a fact is told grows with its weight.

    Raises:
        ValueError: there are no facts.
    """
    chosen = _choose(facts, count, seed)
    draw = Stream(seed, "knowledge.sentences").uniform(np.arange(count)[:, None], np.arange(4))
    return [_say(facts[fact], row) for fact, row in zip(chosen.tolist(), draw.tolist(), strict=True)]


def questions(facts: Sequence[Fact], count: int, seed: int) -> list[tuple[str, list[str]]]:
    """Questions with the things that answer them: core words, the most wanted first but for some noise, 1 to 15.

    Half are plain ("What do people want before Halloween?"), half are the words with which a policy is asked about the
    signals of a day, or about a profile ("Weather: cold, light snow, -2 C. Tags for the weather:"). Signals come as
    they do: several occasions ahead, two or three topics at once. The weather is drawn as readings; words and felt
    strengths follow from them as they do in the world.

    Raises:
        ValueError: there are no facts.
    """
    if not facts:
        raise ValueError("facts: none (tell at least one, by a coverage above 0)")
    return list(_questions(_Told(facts), count, seed))


def entity_questions(
    titles: Sequence[str], categories: Sequence[int] | Ints, taxonomy: Taxonomy, count: int, seed: int
) -> list[tuple[int, str, str]]:
    """Self-perception questions about single items (RecGPT-V2 report, section 2.1): item, question, answer.

    An answer says what the title says, or what the taxonomy says of its category; what neither says is not asked.

    Args:
        titles: of the items.
        categories: category of each item, indices into the taxonomy, [items].
        taxonomy: gives the words.
        count: how many questions.
        seed: of the choice.

    Raises:
        ValueError: there are no titles.
    """
    if not len(titles):
        raise ValueError("titles: none (give at least one)")
    occasion = dict(zip(taxonomy.occasions, _titles_in_order(taxonomy.occasions), strict=True))
    stream = Stream(seed, "knowledge.entities")
    asked: list[tuple[int, str, str]] = []
    for number in counting():
        if len(asked) == count:
            break
        item = int(stream.integers(len(titles), number, 0))
        entry = taxonomy.categories[int(categories[item])]
        known = [(question, answer) for question, answer in _known_of(titles[item], entry, occasion) if answer]
        question, answer = known[int(stream.integers(len(known), number, 1))]
        asked.append((item, question, answer))
    return asked


@cache
def occasion_keys() -> dict[str, str]:
    """Every title under which some country keeps an occasion, and the occasion's key; the usual title comes first."""
    text = resources.files("simulator.environment").joinpath("occasions.yaml").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for key, occasion in yaml.safe_load(text).items():
        for title in (occasion["title"], *(rule["title"] for rule in occasion["rules"] if "title" in rule)):
            found.setdefault(title, key)
    return found


def profile_of(gender: int, age_band: int, household: int) -> str:
    """A profile in words, ``woman, 35-44, young children``; -1 for what is not known."""
    rows = [np.array([code], np.int32) for code in (-1, gender, age_band, household)]
    return profile_words(ObservedUsers(np.zeros(1, np.int64), *rows), 0)


def pick(options: Sequence[_Option], draw: float) -> tuple[_Option, float]:
    """One of the options, and what is left of a draw from [0, 1), in [0, 1) again."""
    scaled = draw * len(options)
    place = min(int(scaled), len(options) - 1)
    return options[place], scaled - place


def _titles_in_order(occasions: Sequence[str]) -> list[str]:
    """The usual title of each occasion."""
    usual: dict[str, str] = {}
    for title, key in occasion_keys().items():
        usual.setdefault(key, title)
    return [usual[key] for key in occasions]


def _true_weights(taxonomy: Taxonomy) -> Iterator[tuple[Kind, list[tuple[str, Floats]]]]:
    """By kind: each subject in words and how strongly it speaks for each category, float64 [categories]; 0 not at all.

    What has no weight in the taxonomy counts 1, a season the less the more of them a thing has.
    """
    entries = taxonomy.categories

    def holds(test: Sequence[bool]) -> Floats:
        return np.array(test, np.float64)

    yield "weather", list(zip(WEATHER_SIGNALS, taxonomy.weather.T, strict=True))
    yield "occasion", list(zip(_titles_in_order(taxonomy.occasions), taxonomy.occasion.T, strict=True))
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


def _choose(facts: Sequence[Fact], count: int, seed: int) -> Ints:
    """Facts drawn with their weights within their kind, and the kinds with their shares, int64 [count]."""
    if not facts:
        raise ValueError("facts: none (tell at least one, by a coverage above 0)")
    weight = np.array([fact.weight for fact in facts])
    kind = np.array([list(KIND_SHARES).index(fact.kind) for fact in facts])
    share = np.array(list(KIND_SHARES.values())) / np.maximum(np.bincount(kind, weight, len(KIND_SHARES)), 1e-12)
    bound = np.cumsum(weight * share[kind])
    draw = Stream(seed, "knowledge.choice").uniform(np.arange(count)) * bound[-1]
    return np.minimum(np.searchsorted(bound, draw, side="right"), len(facts) - 1).astype(np.int64)


# Sentences. {one} "an umbrella", {some} "umbrellas"; {is1}, {s1} agree with {one}; {are}, {s} agree with {some}.

_WEATHER_WORDS: Final = {
    "rain": ("it rains", "rain", "rainy"),
    "snow": ("it snows", "snow", "snowy"),
    "heat": ("it is hot", "the heat", "hot"),
    "cold": ("it is cold", "the cold", "cold"),
    "wind": ("it is windy", "wind", "windy"),
    "sun": ("the sun shines", "sunshine", "sunny"),
}
_PEOPLE_WORDS: Final = {
    profile_of(0, -1, -1): "women",
    profile_of(1, -1, -1): "men",
    **{profile_of(-1, a, -1): f"people of {band}" for a, band in enumerate(AGE_BANDS)},
    profile_of(-1, -1, 0): "singles",
    profile_of(-1, -1, 1): "couples",
    profile_of(-1, -1, 2): "parents of young children",
    profile_of(-1, -1, 3): "parents of teenagers",
}

_TEMPLATES: Final[dict[Kind, tuple[str, ...]]] = {
    "weather": (
        "When {when} people want {some}.",
        "People reach for {one} when {when}.",
        "{some} {are} for {adjective} days.",
        "A {adjective} day is a day for {one}.",
        "Shops sell more {some} on {adjective} days.",
        "If {when}, {one} help{s1}.",
        "In {noun} people look for {some}.",
        "{some} sell{s} well when {when}.",
        "Nobody likes {noun} without {one}.",
        "Because of {noun} people buy {some}.",
        "On a {adjective} day {one} {is1} what people ask for.",
    ),
    "occasion": (
        "People buy {some} before {subject}.",
        "Before {subject} people look for {some}.",
        "{some} {are} for {subject}.",
        "With {subject} near, people want {one}.",
        "What would {subject} be without {some}?",
        "In the days before {subject} shops fill up with {some}.",
        "With {subject} ahead, {some} sell{s} well.",
        "For {subject} people get {one}.",
        "For many there is no {subject} without {some}.",
        "Many think of {some} when they think of {subject}.",
        "{one} {is1} a common buy for {subject}.",
    ),
    "topic": (
        "{subject} fans buy {one}.",
        "When {subject} trends, people want {some}.",
        "Those who love {subject} love {some}.",
        "{some} go{es} with {subject}.",
        "The {subject} trend sells {some}.",
        "Everyone who talks about {subject} looks for {one}.",
        "Because of {subject} people buy {some}.",
        "Talk of {subject} makes people want {one}.",
        "With {subject} in the news, {some} sell{s} out.",
        "Whoever is into {subject} wants {one}.",
    ),
    "season": (
        "{some} {are} for {subject}.",
        "In {subject} people want {some}.",
        "{subject} is the season for {some}.",
        "When {subject} comes people look for {one}.",
        "Shops show {some} in {subject}.",
        "{one} {is1} a thing for {subject}.",
        "People get {one} for {subject}.",
        "{some} sell{s} best in {subject}.",
        "With {subject} on its way, {some} {are} back.",
    ),
    "audience": (
        "{people} buy {some}.",
        "{some} {are} for {people}.",
        "{people} look for {some}.",
        "Among those who want {some} are many {people}.",
        "{one} {is1} made for {people}.",
        "Shops show {some} to {people}.",
        "{people} often get {one}.",
        "Ask {people}, and they say {one}.",
        "For {people} there {are} {some}.",
    ),
    "use": (
        "{some} {are} for {subject}.",
        "For {subject} people use {one}.",
        "{one} {is1} good for {subject}.",
        "Some {some} {are} for {subject}.",
        "People who think of {subject} buy {some}.",
        "Think of {one} for {subject}.",
        "There {are} {some} for {subject}.",
        "{one} for {subject} {is1} easy to find.",
        "When it comes to {subject}, {one} help{s1}.",
    ),
    "material": (
        "{some} come{s} in {subject}.",
        "There {are} {some} in {subject}.",
        "People like {some} in {subject}.",
        "{subject} is a common choice for {some}.",
        "{one} may come in {subject}.",
        "{some} in {subject} {are} well liked.",
        "People ask for {some} in {subject}.",
        "Some want {one} in {subject}.",
        "{subject} and {some} go together.",
    ),
}
_ALIASES: Final = (
    "{other} {is1} a kind of {core}.",
    "Another word for {core} is {other}.",
    "{core} and {other} mean much the same.",
    "Who asks for {other} means {core}.",
)


def _say(fact: Fact, draw: Sequence[float]) -> str:
    """A fact in a sentence; now and then what else the thing is called, in place of the fact or of its name."""
    name = fact.core
    if fact.names:
        other, rest = pick(fact.names, draw[0])
        if rest < _ALIAS_SHARE:
            template, _ = pick(_ALIASES, draw[1])
            return sentence(template.format(other=one_of(other), core=fact.core, is1=_is(other)))
        if rest > 1.0 - _OTHER_NAME_SHARE:
            name = other
    template, _ = pick(_TEMPLATES[fact.kind], draw[1])
    number = number_of(name)
    slots = {
        "subject": fact.subject,
        "one": one_of(name),
        "some": several(name),
        "is1": _is(name),
        "s1": "" if number == "many" else "s",
        "are": "is" if number == "mass" else "are",
        "s": "s" if number == "mass" else "",
        "es": "es" if number == "mass" else "",
    }
    if fact.kind == "weather":
        slots["when"], slots["noun"], slots["adjective"] = _WEATHER_WORDS[fact.subject]
    elif fact.kind == "audience":
        slots["people"] = _PEOPLE_WORDS[fact.subject]
    elif fact.kind == "occasion":
        same = [title for title, key in occasion_keys().items() if key == occasion_keys()[fact.subject]]
        slots["subject"] = pick(same, (draw[2] - 0.85) / 0.15)[0] if draw[2] > 0.85 else fact.subject
    return sentence(template.format(**slots))


def _is(name: str) -> str:
    return "are" if number_of(name) == "many" else "is"


class _Told:
    """Told facts as arrays: how strongly each subject speaks for each core word.

    Attributes:
        cores: the core words, in the order in which facts name them.
        weight: by kind and subject, float64 [cores].
    """

    def __init__(self, facts: Sequence[Fact]) -> None:
        self.cores = list(dict.fromkeys(fact.core for fact in facts))
        place = {core: index for index, core in enumerate(self.cores)}
        self.weight: dict[Kind, dict[str, Floats]] = {}
        for fact in facts:
            row = self.weight.setdefault(fact.kind, {}).setdefault(fact.subject, np.zeros(len(self.cores)))
            row[place[fact.core]] = max(row[place[fact.core]], fact.weight)

    def of(self, kind: Kind, subject: str) -> Floats:
        """How strongly a subject speaks for each core word; zeros where nothing was told of it."""
        return self.weight.get(kind, {}).get(subject, np.zeros(len(self.cores)))

    def audience(self, profile: str) -> Floats:
        """How well things fit a profile: the product of its parts, as in the taxonomy; only what a part is told to buy.

        A part of which nothing was told, for a thing made for others in that respect, fits worse than for a thing of
        which nothing was told at all.
        """
        fit, told = np.ones(len(self.cores)), np.zeros(len(self.cores), np.bool_)
        for part in profile.split(", "):
            wanted = self.of("audience", part) > 0.0
            others = np.zeros_like(told)
            for word in _axis_of(part):
                others |= self.of("audience", word) > 0.0
            fit *= np.where(wanted, 1.0, np.where(others, _AUDIENCE_MISFIT, _AUDIENCE_UNSAID))
            told |= wanted
        return np.where(told, fit, 0.0)


@cache
def _axis_of(part: str) -> tuple[str, ...]:
    """All the words of the axis (gender, age, household) that a word of a profile is on."""
    axes = (
        tuple(profile_of(g, -1, -1) for g in range(len(GENDERS))),
        tuple(profile_of(-1, a, -1) for a in range(len(AGE_BANDS))),
        tuple(profile_of(-1, -1, h) for h in range(len(HOUSEHOLDS))),
    )
    return next(axis for axis in axes if part in axis)


_SIGNAL_FORMS: Final[tuple[tuple[Kind, float], ...]] = (
    ("weather", 0.3),
    ("occasion", 0.3),
    ("topic", 0.25),
    ("audience", 0.15),
)


def _questions(told: _Told, count: int, seed: int) -> Iterator[tuple[str, list[str]]]:
    """Questions of kinds of which something is known; where a day's signals call for nothing, another is asked."""
    stream = Stream(seed, "knowledge.questions")
    plain = [(kind, share) for kind, share in KIND_SHARES.items() if kind in told.weight]
    signals = [(kind, share) for kind, share in _SIGNAL_FORMS if kind in told.weight]
    weathers, felt = _weathers(seed)
    asked = 0
    for number in counting():
        if asked == count:
            return
        draw = stream.uniform(number, np.arange(10)).tolist()
        if draw[0] < _SIGNAL_SHARE and signals:
            kind = _drawn(signals, draw[1])
            if kind == "weather":
                day, _ = pick(range(_WEATHER_DAYS), draw[2])
                question = route_task("weather", Signals(weathers[day], "", "", ""))
                score = felt[day] @ np.stack([told.of("weather", key) for key in WEATHER_SIGNALS])
            elif kind == "occasion":
                question, score = _season_question(told, draw)
            elif kind == "topic":
                question, score = _trend_question(told, draw)
            else:
                profile = _some_profile(draw)
                question, score = f"{shopper(profile)}Tags:", told.audience(profile)
        else:
            question, score = _plain_question(told, _drawn(plain, draw[1]), draw)
        known = np.flatnonzero(score >= _FAINT)
        if len(known) == 0:
            continue
        noise = -_NOISE * np.log(-np.log(stream.uniform(number, _DRAW_NOISE, known)))
        ranked = known[np.argsort(-(np.log(score[known]) + noise), kind="stable")]
        most = MOST_THINGS if draw[8] < 0.5 else 1 + int(draw[9] * MOST_THINGS)
        asked += 1
        yield question, [told.cores[core] for core in ranked[:most]]


def _plain_question(told: _Told, kind: Kind, draw: Sequence[float]) -> tuple[str, Floats]:
    """One subject, asked for as a person would."""
    if kind == "audience":
        profile = _some_profile(draw)
        who, _ = pick(("What do {} buy?", "What do {} want?", "What are {} looking for?"), draw[7])
        return who.format(_people(profile)), told.audience(profile)
    subject, _ = pick(list(told.weight[kind]), draw[2])
    template, _ = pick(_PLAIN[kind], draw[7])
    words = {"subject": subject}
    if kind == "weather":
        words["when"], words["noun"], words["adjective"] = _WEATHER_WORDS[subject]
    return template.format(**words), told.of(kind, subject)


_PLAIN: Final[dict[Kind, tuple[str, ...]]] = {
    "weather": (
        "What do people want when {when}?",
        "What is for {adjective} days?",
        "What sells well on {adjective} days?",
        "What do people buy because of {noun}?",
    ),
    "occasion": (
        "What do people want before {subject}?",
        "What do people buy for {subject}?",
        "What sells well with {subject} ahead?",
        "What is {subject} without?",
    ),
    "topic": (
        "What do {subject} fans buy?",
        "What goes with {subject}?",
        "What do people want because of {subject}?",
        "What does the {subject} trend sell?",
    ),
    "season": (
        "What do people want in {subject}?",
        "What is for {subject}?",
        "What sells best in {subject}?",
    ),
    "use": ("What is for {subject}?", "What is good for {subject}?", "What do people use for {subject}?"),
    "material": ("What comes in {subject}?", "What do people like in {subject}?", "What is there in {subject}?"),
}


def _some_profile(draw: Sequence[float]) -> str:
    """A profile, mostly whole, at times with a part or two unknown."""
    gender = int(draw[2] * len(GENDERS)) if draw[3] > 0.15 else -1
    age = int(draw[4] * len(AGE_BANDS)) if draw[3] % 0.15 > 0.02 else -1
    household = int(draw[5] * len(HOUSEHOLDS)) if draw[6] > 0.15 or gender == age == -1 else -1
    return profile_of(gender, age, household)


def _people(profile: str) -> str:
    """A profile as one speaks of people: ``women of 25-34 with young children``."""
    parts = profile.split(", ")
    noun = next((_PEOPLE_WORDS[part] for part in parts if part in _axis_of(profile_of(0, -1, -1))), "people")
    for part in parts:
        if part in AGE_BANDS:
            noun += f" of {part}"
    household = next((h for h in range(len(HOUSEHOLDS)) if profile_of(-1, -1, h) in parts), -1)
    return noun + {-1: "", 0: " who are single", 1: " in a couple"}.get(household, f" with {parts[-1]}")


def _trend_question(told: _Told, draw: Sequence[float]) -> tuple[str, Floats]:
    """One to ``TOPICS_TOLD`` topics trend, mostly one to three; the strongest first, as contexts tell them."""
    topics = list(told.weight["topic"])
    many = int(np.searchsorted([0.3, 0.6, 0.85], draw[2])) + 1
    if draw[2] > 0.95:
        many = TOPICS_TOLD
    level: dict[str, float] = {}
    for turn in range(many):
        topic, _ = pick(topics, (draw[3] + turn * draw[4]) % 1.0)
        level.setdefault(topic, PERCEPTIBLE + (1.0 - PERCEPTIBLE) * ((draw[5] + turn * draw[6]) % 1.0))
    names = sorted(level, key=lambda topic: -level[topic])
    score = sum((level[topic] * told.of("topic", topic) for topic in names), np.zeros(len(told.cores)))
    return route_task("trends", Signals("", "", "", ", ".join(names))), score


def _season_question(told: _Told, draw: Sequence[float]) -> tuple[str, Floats]:
    """A day of some country's calendar: mostly one on which an occasion of which something is known lies ahead."""
    days = _calendar_days()
    subjects = [subject for subject in told.weight["occasion"] if days.ahead[subject]]
    if draw[2] < 0.15 or not subjects:
        row, _ = pick(range(len(days.words)), draw[3])
    else:
        subject, _ = pick(subjects, draw[3])
        row, _ = pick(days.ahead[subject], draw[4])
    season = SEASONS[days.season[row]]
    score = _SEASON_WEIGHT * told.of("season", season)
    for subject, level in days.near[row].items():
        score = score + level * told.of("occasion", subject)
    return route_task("season", Signals("", season, days.words[row], "")), score


@dataclass(frozen=True)
class _Days:
    """Days of calendars.

    Attributes:
        words: what lies ahead, as contexts tell it, by day.
        season: index into ``SEASONS``, by day.
        near: by day, the usual titles of occasions within their lead-up with how present they are, ``_NEAR`` at least.
        ahead: by usual title, the days on which it lies ahead, of countries that keep it.
    """

    words: tuple[str, ...]
    season: tuple[int, ...]
    near: tuple[dict[str, float], ...]
    ahead: dict[str, tuple[int, ...]]


@cache
def _calendar_days() -> _Days:
    words: list[str] = []
    season: list[int] = []
    near: list[dict[str, float]] = []
    ahead: dict[str, list[int]] = {}
    for country in COUNTRIES:
        context = _calendar_context(country)
        titles = _titles_in_order(context.occasions)
        kept = context.occasion_level.max(axis=0) >= 0.5
        for day in range(context.days):
            there = np.flatnonzero(context.days_until[day] <= context.lead_days).tolist()
            for occasion in there:
                ahead.setdefault(titles[occasion], [])
                if kept[occasion]:
                    ahead[titles[occasion]].append(len(words))
            words.append(context.describe(0, day))
            season.append(int(context.season[day]))
            near.append({titles[o]: max(float(context.occasion_level[day, o]), _NEAR) for o in there})
    return _Days(tuple(words), tuple(season), tuple(near), {title: tuple(rows) for title, rows in ahead.items()})


def _calendar_context(country: str) -> ObservedContext:
    """A year of a country in which nobody knows of weather or trends."""
    start = date(YEAR, 1, 1)
    calendar = build_calendar(country, start, 366)
    weather, days = no_weather(1, 366), np.arange(366)
    month = (np.datetime64(start, "D") + days).astype("datetime64[M]").astype(np.int64) % 12 + 1
    return ObservedContext(
        start=start,
        cities=("anywhere",),
        occasions=calendar.occasions,
        occasion_titles=calendar.titles,
        topics=(),
        topic_names=(),
        temp_max=weather.temp_max,
        temp_min=weather.temp_min,
        precipitation=weather.precipitation,
        wind=weather.wind,
        condition=weather.condition,
        weather_signals=weather.signals,
        occasion_level=calendar.level,
        days_until=calendar.days_until,
        lead_days=calendar.lead_days,
        public_holiday=calendar.public_holiday,
        weekday=calendar.weekday,
        season=np.array([season_of_month(int(m)) for m in month], np.int8),
        trend_level=np.zeros((366, 0)),
    )


@cache
def _weathers(seed: int) -> tuple[tuple[str, ...], Floats]:
    """Days of weather out of thin air: as contexts tell them, and how strongly each signal is felt [days, signals]."""
    stream, day = Stream(seed, "knowledge.weather"), np.arange(_WEATHER_DAYS)
    high = np.round(-10.0 + 48.0 * stream.uniform(day, 0), 1)
    low = np.round(high - 3.0 - 13.0 * stream.uniform(day, 1), 1)
    wet = stream.uniform(day, 2) < 0.5
    rain = np.round(wet * (WET_MM + 7.0 * stream.exponential(day, 3)), 1)
    wind = np.round(np.exp(np.log(3.8) + 0.5 * stream.normal(day, 4)), 1)
    signals = weather_signals(rain, high, low, wind)
    calendar = _calendar_context(COUNTRIES[0])
    words = []
    blank = replace(
        calendar.until(0),
        occasions=(),
        occasion_titles=(),
        occasion_level=np.zeros((1, 0)),
        days_until=np.zeros((1, 0), np.int32),
        lead_days=np.zeros(0, np.int32),
    )
    condition = conditions(rain, high, low)
    for number in range(_WEATHER_DAYS):
        cell = np.s_[number : number + 1]
        context = replace(
            blank,
            temp_max=high[None, cell],
            temp_min=low[None, cell],
            precipitation=rain[None, cell],
            wind=wind[None, cell],
            condition=condition[None, cell],
            weather_signals=signals[None, cell],
        )
        words.append(context.describe(0, 0))
    return tuple(words), signals


def _drawn(shares: Sequence[tuple[Kind, float]], draw: float) -> Kind:
    """One of the kinds, drawn by share."""
    bound = np.cumsum([share for _, share in shares])
    return shares[int(np.searchsorted(bound, draw * bound[-1], side="right"))][0]


def _known_of(title: str, entry: Category, occasion: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Questions about an item with answers, "" where neither title nor taxonomy tells."""
    words = read_title(title, entry)
    yield WHAT, entry.words[0]
    yield "What kind is it?", ", ".join(words.modifiers)
    yield "Which season is it for?", ", ".join(entry.seasons)
    yield "What is it made of?", ", ".join(words.materials)
    made_for = [_PEOPLE_WORDS[profile_of(g, -1, -1)] for g, word in enumerate(GENDERS) if entry.gender == word]
    made_for += [_PEOPLE_WORDS[profile_of(-1, -1, h)] for h, word in enumerate(HOUSEHOLDS) if word in entry.households]
    yield "Who is it for?", words.whom or ", ".join(made_for)
    yield "Which weather is it for?", ", ".join(_called_for(entry.weather))
    yield "Which occasion is it for?", ", ".join(occasion[key] for key in _called_for(entry.occasions))


def _called_for(weights: Mapping[str, float]) -> list[str]:
    """Signals that call for a category, the strongest first."""
    return sorted((key for key, weight in weights.items() if weight >= CALLED_FOR), key=lambda key: -weights[key])
