"""Facts told in sentences, each in many ways.

Knows facts and English. Does not know who reads.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from policies.training.choices import pick
from policies.training.facts import KIND_SHARES, Fact, Kind, occasion_keys, profile_of
from policies.training.nouns import number_of, one_of, sentence, several
from simulator.batches import Ints
from simulator.streams import Stream
from simulator.taxonomy import AGE_BANDS

_ALIAS_SHARE, _OTHER_NAME_SHARE = 0.08, 0.3

# In templates {one} is "an umbrella" and {some} "umbrellas"; {is1}, {s1} agree with {one}, and {are}, {s} with {some}.

WEATHER_WORDS: Final = {
    "rain": ("it rains", "rain", "rainy"),
    "snow": ("it snows", "snow", "snowy"),
    "heat": ("it is hot", "the heat", "hot"),
    "cold": ("it is cold", "the cold", "cold"),
    "wind": ("it is windy", "wind", "windy"),
    "sun": ("the sun shines", "sunshine", "sunny"),
}
"""Of a weather signal: when it is felt, what it is, and such days."""
PEOPLE_WORDS: Final = {
    profile_of(0, -1, -1): "women",
    profile_of(1, -1, -1): "men",
    **{profile_of(-1, a, -1): f"people of {band}" for a, band in enumerate(AGE_BANDS)},
    profile_of(-1, -1, 0): "singles",
    profile_of(-1, -1, 1): "couples",
    profile_of(-1, -1, 2): "parents of young children",
    profile_of(-1, -1, 3): "parents of teenagers",
}
"""Of a word of a profile: people of whom it holds."""
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


def sentences(facts: Sequence[Fact], count: int, seed: int) -> list[str]:
    """Sentences about things, each saying one fact; how often a fact is told grows with its weight.

    Raises:
        ValueError: there are no facts.
    """
    chosen = _choose(facts, count, seed)
    draw = Stream(seed, "knowledge.sentences").uniform(np.arange(count)[:, None], np.arange(4))
    return [_say(facts[fact], row) for fact, row in zip(chosen.tolist(), draw.tolist(), strict=True)]


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
        slots["when"], slots["noun"], slots["adjective"] = WEATHER_WORDS[fact.subject]
    elif fact.kind == "audience":
        slots["people"] = PEOPLE_WORDS[fact.subject]
    elif fact.kind == "occasion":
        same = [title for title, key in occasion_keys().items() if key == occasion_keys()[fact.subject]]
        slots["subject"] = pick(same, (draw[2] - 0.85) / 0.15)[0] if draw[2] > 0.85 else fact.subject
    return sentence(template.format(**slots))


def _is(name: str) -> str:
    return "are" if number_of(name) == "many" else "is"
