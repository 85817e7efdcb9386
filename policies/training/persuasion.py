"""Explanations as training text: a style first, then a sentence in that style (RecGPT-V2 report, section 2.6).

A style is tone, rhetoric, audience and moment in words ("warm, question, for parents, Halloween"). A sentence names a
live signal only where the taxonomy says that it calls for the thing; else what the title says, or the season. Those
weights are the ones by which ``simulator.reader`` scores texts, told here without error. Nothing is said of an item
that neither its title nor its category tells. Knows no user beyond a declared profile, and no log.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from policies.training.choices import pick
from policies.training.facts import CALLED_FOR, occasion_keys
from policies.training.nouns import article, number_of, one_of, sentence
from policies.training.title_words import read_title
from simulator.taxonomy import AGE_BANDS, GENDERS, HOUSEHOLDS, Category, Taxonomy

TONES: Final = ("warm", "lively", "calm", "practical", "witty")
RHETORICS: Final = ("question", "tip", "story", "plain", "playful")
AUDIENCES: Final = (
    "for everyone",
    "for women",
    "for men",
    "for young adults",
    "for couples",
    "for parents",
    "for older shoppers",
)
ANY_TIME: Final = "any day"
"""Moment of a style where neither season nor occasion is known."""
WORDS: Final = (8, 20)
"""Fewest and most words of an explanation."""


@dataclass(frozen=True)
class Style:
    """How something is said, to whom, and on what occasion.

    Attributes:
        tone: one of ``TONES``.
        rhetoric: one of ``RHETORICS``.
        audience: one of ``AUDIENCES``.
        moment: an occasion's title, a season, or ``ANY_TIME``.
    """

    tone: str
    rhetoric: str
    audience: str
    moment: str

    def __str__(self) -> str:
        """The style in words, as a model is asked for it."""
        return ", ".join((self.tone, self.rhetoric, self.audience, self.moment))


PLAIN: Final = Style("calm", "plain", "for everyone", ANY_TIME)
"""The style of a text that names none."""


def read_style(text: str) -> Style | None:
    """The style that a text names, or None where it is none: the inverse of ``str``."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 4:
        return None
    tone, rhetoric, audience, moment = parts
    known = tone in TONES and rhetoric in RHETORICS and audience in AUDIENCES and bool(moment)
    return Style(tone, rhetoric, audience, moment) if known else None


def style_of(gender: int, age: int, household: int, season: str, occasion: str, draw: float) -> str:
    """A style that suits a shopper and a day.

    Args:
        gender: index into ``GENDERS``, -1 if unknown.
        age: index into ``AGE_BANDS``, -1 if unknown.
        household: index into ``HOUSEHOLDS``, -1 if unknown.
        season: one of ``SEASONS``, "" if unknown.
        occasion: title of the nearest occasion, "" if none is near.
        draw: in (0, 1); chooses among what suits.

    Returns:
        For example ``warm, question, for parents, Halloween``.
    """
    young = 0 <= age < AGE_BANDS.index("35-44")
    older = age >= AGE_BANDS.index("55-64")
    tones = ("lively", "witty", "warm") if young else ("calm", "practical", "warm") if older else TONES
    rhetorics = ("question", "playful", "story", "tip") if young else ("tip", "plain", "story") if older else RHETORICS
    audiences = []
    if household >= HOUSEHOLDS.index("young_children"):
        audiences.append("for parents")
    elif older:
        audiences.append("for older shoppers")
    elif household == HOUSEHOLDS.index("couple"):
        audiences.append("for couples")
    elif young:
        audiences.append("for young adults")
    if gender >= 0:
        audiences.append("for women" if GENDERS[gender] == "female" else "for men")
    tone, draw = pick(tones, draw)
    rhetoric, draw = pick(rhetorics, draw)
    audience, _ = pick(tuple(audiences) or AUDIENCES[:1], draw)
    return str(Style(tone, rhetoric, audience, occasion or season or ANY_TIME))


@dataclass(frozen=True)
class Signal:
    """Something live that calls for a thing.

    Attributes:
        subject: in the words of the context: ``rain``, ``Halloween``, ``capybara``.
        opening: how a sentence begins with it.
        purpose: what the thing is for because of it.
        weight: how strongly the taxonomy says so, ``CALLED_FOR`` to 1.
    """

    subject: str
    opening: str
    purpose: str
    weight: float


def live_signals(category: int, weather: str, occasions: str, trends: str, taxonomy: Taxonomy) -> list[Signal]:
    """The live signals that call for a category, with a weight of ``CALLED_FOR`` or more, the strongest first.

    Args:
        category: index into the taxonomy's categories.
        weather: as contexts tell it, ``cold, light rain, windy, 4 C``; "" if unknown.
        occasions: ``Halloween in 6 days, Diwali now``; "" if none.
        trends: ``capybara, matcha``; "" if none.
        taxonomy: says what calls for what.
    """
    entry = taxonomy.categories[category]
    found = [
        Signal(key, *_WEATHER[key], entry.weather[key])
        for key in felt_weather(weather)
        if entry.weather.get(key, 0.0) >= CALLED_FOR
    ]
    for title, when in _OCCASION.findall(occasions):
        weight = entry.occasions.get(occasion_keys().get(title, ""), 0.0)
        if weight >= CALLED_FOR:
            coming = {"now": f"{title} is here", "tomorrow": f"{title} is tomorrow"}.get(when, f"{title} is coming")
            found.append(Signal(title, coming, f"for {title}", weight))
    heard = trends.removeprefix("trending: ").split(", ")
    for topic in taxonomy.topics:
        weight = topic.categories.get(entry.name, 0.0)
        if topic.name in heard and weight >= CALLED_FOR:
            found.append(Signal(topic.name, f"everyone talks about {topic.name}", f"for {topic.name} fans", weight))
    return sorted(found, key=lambda signal: -signal.weight)


def felt_weather(words: str) -> tuple[str, ...]:
    """Weather signals that are surely felt when a context tells the weather in these words.

    What is only faint is left out: a drizzle, a warm day, a cool one.
    """
    told = set(words.split(", "))
    felt = [key for key, said in _FELT.items() if told & said]
    return tuple(felt)


def explanation(
    title: str, category: int, style: str, weather: str, occasions: str, trends: str, taxonomy: Taxonomy, draw: float
) -> str:
    """One sentence, mostly of 8 to 20 words, that speaks for an item on a day in a style.

    Args:
        title: of the item.
        category: of the item, index into the taxonomy's categories.
        style: in words; what is no style counts as ``PLAIN``.
        weather: what is live, as for ``live_signals``.
        occasions: likewise.
        trends: likewise.
        taxonomy: says what calls for what.
        draw: in (0, 1); chooses among signals, templates and adjectives.
    """
    chosen = read_style(style) or PLAIN
    entry = taxonomy.categories[category]
    words = read_title(title, entry)
    signals = live_signals(category, weather, occasions, trends, taxonomy)
    told = " ".join((*words.modifiers[:2], *words.materials[:1]))
    nice, draw = pick(_NICE[chosen.tone], draw)
    many = number_of(words.name) == "many"
    slots = {
        "one": one_of(words.name, told),
        "one_nice": one_of(words.name, f"{nice} {told}".strip()),
        "is": "are" if many else "is",
        "it": "them" if many else "it",
        "nice": nice,
        "a_nice": f"{article(nice)} {nice}",
        "readers": _READERS[chosen.audience] if _suits(chosen.audience, entry) else _READERS["for everyone"],
    }
    if signals:
        of_the_moment = [signal for signal in signals if signal.subject == chosen.moment]
        signal, draw = _weighted(of_the_moment or signals, draw)
        slots["opening"], slots["purpose"] = signal.opening, signal.purpose
        templates = SIGNAL_TEMPLATES[chosen.rhetoric]
    else:
        slots["season"] = f" for {chosen.moment}" if chosen.moment in entry.seasons else ""
        templates = TITLE_TEMPLATES[chosen.rhetoric]
    first = int(draw * len(templates))
    texts = [sentence(template.format(**slots)) for template in (*templates[first:], *templates[:first])]
    fitting = (text for text in texts if WORDS[0] <= len(text.split()) <= WORDS[1])
    return next(fitting, texts[0])


_OCCASION: Final = re.compile(r"(?:^|, )(.+?) (now|tomorrow|in \d+ days)(?=, |$)")

_WEATHER: Final = {
    "rain": ("it is a rainy day", "for the rain"),
    "snow": ("it is a snowy day", "for the snow"),
    "heat": ("it is a hot day", "for the heat"),
    "cold": ("it is a cold day", "for the cold"),
    "wind": ("it is a windy day", "for the wind"),
    "sun": ("it is a sunny day", "for the sun"),
}
_FELT: Final = {
    "rain": {"light rain", "rain", "heavy rain"},
    "snow": {"light snow", "snow", "heavy snow"},
    "heat": {"hot"},
    "cold": {"cold", "freezing"},
    "wind": {"windy"},
    "sun": {"sunny"},
}
"""Words of ``ObservedContext`` under which a signal is felt; the wind from 7 m/s, heat from 28 C, cold under 8 C."""

_NICE: Final = {
    "warm": ("lovely", "charming", "delightful"),
    "lively": ("great", "striking", "exciting"),
    "calm": ("good", "fine", "pleasing"),
    "practical": ("handy", "useful", "sensible"),
    "witty": ("clever", "nifty", "crafty"),
}
"""What anything may be called, by tone: a liking, no property."""

_READERS: Final = {
    "for everyone": "people",
    "for women": "women",
    "for men": "men",
    "for young adults": "young adults",
    "for couples": "couples",
    "for parents": "parents",
    "for older shoppers": "older shoppers",
}


# {one} "a hooded raincoat", {one_nice} "a handy hooded raincoat", {is} and {it} agree with them; {readers} "parents".
SIGNAL_TEMPLATES: Final[dict[str, tuple[str, ...]]] = {
    "question": (
        "{opening}, so why not have a look at {one_nice}?",
        "{opening}, and do you have {one} at home yet?",
        "Have you thought of {one_nice} {purpose} yet?",
        "What would {readers} choose {purpose} if not {one}?",
        "All set {purpose}, or {is} {one} still missing?",
        "Are you looking for something {nice} {purpose}, like {one}?",
        "How about {one_nice} now that {opening}?",
        "Do {readers} know a better choice {purpose} than {one}?",
    ),
    "tip": (
        "{opening}, so better keep {one_nice} at hand.",
        "Here is a tip {purpose}: take {one} with you.",
        "Now that {opening}, think of {one_nice} first.",
        "A hint to {readers} who plan: get {one} {purpose}.",
        "Put {one_nice} on your list, since {opening}.",
        "Do yourself a favour and get {one} {purpose} now.",
        "When you shop {purpose}, look at {one_nice} first.",
        "Before anything else {purpose}, go and find {one_nice}.",
    ),
    "story": (
        "{opening}, and somewhere {one} {is} about to be unwrapped.",
        "First somebody said that {opening}, then somebody found {one}.",
        "Picture this: {opening}, and {one_nice} {is} already yours.",
        "{opening}, and some {readers} remember where they once saw {one}.",
        "{opening}, and so a long search ends with {one_nice}.",
        "First came the news that {opening}, then came {one}.",
        "An old friend would say: {opening}, take {one_nice}.",
        "The story is short: {opening}, and here {is} {one}.",
    ),
    "plain": (
        "{opening}, and here {is} {one_nice} for it.",
        "Here {is} {one} {purpose}, as {nice} as one could wish.",
        "Chosen {purpose} and nothing else: {one_nice}.",
        "Here {is} {one_nice} {purpose}, with {readers} in mind.",
        "Because {opening}, we would like to show you {one}.",
        "We think that {one} would be {a_nice} choice {purpose}.",
        "We picked {one_nice} for you, since {opening}.",
        "{opening}, which is a reason to get {one}.",
    ),
    "playful": (
        "{opening}, and {one_nice} would like a word with you.",
        "Psst, {opening}, and {one} can hardly wait.",
        "{opening}, so it is your move, says {one_nice}.",
        "Somebody told {one} that {opening}, and now look.",
        "{opening}, and your basket is whispering about {one}.",
        "No drumroll needed: {opening}, so enter {one_nice}.",
        "Rumour has it that {opening}, and that {one} {is} in.",
        "If {opening}, then {one_nice} had to turn up here.",
    ),
}
"""What to say where something live calls for the thing, by rhetoric."""

# {season} " for autumn" or "".
TITLE_TEMPLATES: Final[dict[str, tuple[str, ...]]] = {
    "question": (
        "Could {one_nice}{season} be just what you look for?",
        "Have you thought of getting {one_nice}{season} lately?",
        "What would {readers} say to {one_nice}{season} at home?",
        "Is there still some room at home for {one}{season}?",
        "How about a closer look at {one_nice}{season} today?",
        "Why not treat yourself to {one_nice}{season} this time?",
    ),
    "tip": (
        "A small tip: have a closer look at {one_nice}{season}.",
        "If you are in doubt, begin with {one_nice}{season}.",
        "A hint to {readers} who like to compare: try {one}{season}.",
        "Look around a little, then come back to {one_nice}{season}.",
        "Put {one}{season} aside now and decide about {it} later.",
        "Keep it {nice} this time and go for {one}{season}.",
    ),
    "story": (
        "It started with a look around and ended with {one}{season}.",
        "Every home has its story, and {one_nice}{season} may join yours.",
        "Somebody once wished for {one_nice}{season}, and look what came.",
        "Imagine a parcel at your door with {one}{season} inside.",
        "One evening, one click, and {one_nice}{season} {is} yours.",
        "Long after today you may still remember {one_nice}{season}.",
    ),
    "plain": (
        "Here {is} {one_nice}{season} that you may well like.",
        "Here {is} {one}{season}, {nice} and good to have.",
        "We picked {one_nice}{season} for you to look at.",
        "Something that might suit you today: {one_nice}{season}.",
        "We think that {one}{season} would be {a_nice} choice for {readers}.",
        "From our shelves to your home today: {one_nice}{season}.",
    ),
    "playful": (
        "Careful now, {one_nice}{season} may cause a little joy.",
        "Nobody told {one}{season} to be modest, so look twice.",
        "Guess what: {one_nice}{season} came in and asked for you.",
        "Say hello to {one_nice}{season}, as your basket already did.",
        "Plot twist: {one}{season} would love to meet your basket.",
        "Eyes here, please: {one_nice}{season} would like some attention.",
    ),
}
"""What to say where nothing live calls for the thing, by rhetoric."""


def _suits(audience: str, entry: Category) -> bool:
    """Whether a thing may be called one for an audience: nothing in the taxonomy speaks against it."""
    if audience in ("for women", "for men"):
        return entry.gender in ("any", "female" if audience == "for women" else "male")
    bands = {"for young adults": AGE_BANDS[:2], "for older shoppers": AGE_BANDS[4:]}.get(audience, ())
    if bands:
        return not entry.ages or bool(set(bands) & set(entry.ages))
    homes = {"for couples": HOUSEHOLDS[1:2], "for parents": HOUSEHOLDS[2:]}.get(audience, ())
    return not homes or not entry.households or bool(set(homes) & set(entry.households))


def _weighted(signals: Sequence[Signal], draw: float) -> tuple[Signal, float]:
    """One of the signals, drawn by weight, and what is left of the draw."""
    left = draw * sum(signal.weight for signal in signals)
    for signal in signals[:-1]:
        if left < signal.weight:
            return signal, left / signal.weight
        left -= signal.weight
    return signals[-1], min(left / signals[-1].weight, 1.0 - 1e-9)
