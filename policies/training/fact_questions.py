"""Questions that facts answer: plain ones, and the words of the signals with which policies are asked.

Knows facts and made-up days. Does not know a shop's log, nor any real day of it.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import count as counting
from typing import Final

import numpy as np

from policies.recgpt.wording import TOPICS_TOLD, Signals, route_task, shopper
from policies.training.choices import drawn, pick
from policies.training.fact_sentences import PEOPLE_WORDS, WEATHER_WORDS
from policies.training.facts import KIND_SHARES, Fact, Kind, profile_of
from policies.training.made_up_days import WEATHER_DAYS, calendar_days, weathers
from simulator.batches import Floats
from simulator.environment.trends import PERCEPTIBLE
from simulator.streams import Stream
from simulator.taxonomy import AGE_BANDS, GENDERS, HOUSEHOLDS, SEASONS, WEATHER_SIGNALS

MOST_THINGS: Final = 15
"""Things that an answer names at most."""

_SIGNAL_SHARE: Final = 0.5
_FAINT: Final = 0.08
_NOISE: Final = 0.3
_SEASON_WEIGHT: Final = 0.3
_AUDIENCE_UNSAID, _AUDIENCE_MISFIT = 0.4, 0.1
_DRAW_NOISE: Final = 99


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
    outside, felt = weathers(seed)
    asked = 0
    for number in counting():
        if asked == count:
            return
        draw = stream.uniform(number, np.arange(10)).tolist()
        if draw[0] < _SIGNAL_SHARE and signals:
            kind = drawn(signals, draw[1])
            if kind == "weather":
                day, _ = pick(range(WEATHER_DAYS), draw[2])
                question = route_task("weather", Signals(outside[day], "", "", ""))
                score = felt[day] @ np.stack([told.of("weather", key) for key in WEATHER_SIGNALS])
            elif kind == "occasion":
                question, score = _season_question(told, draw)
            elif kind == "topic":
                question, score = _trend_question(told, draw)
            else:
                profile = _some_profile(draw)
                question, score = f"{shopper(profile)}Tags:", told.audience(profile)
        else:
            question, score = _plain_question(told, drawn(plain, draw[1]), draw)
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
        words["when"], words["noun"], words["adjective"] = WEATHER_WORDS[subject]
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
    noun = next((PEOPLE_WORDS[part] for part in parts if part in _axis_of(profile_of(0, -1, -1))), "people")
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
    days = calendar_days()
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
