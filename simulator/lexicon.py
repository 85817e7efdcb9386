"""What the words of a short text name: categories, contexts, audiences, attributes.

A phrase index over a shop's own names, the taxonomy's words and the calendar's titles. It matches the longest phrase
at every place, so that "rain boots" are boots and no weather. It does not know what is true, of an item or of a day:
that is for ``reader``. Nothing here is a language model, and no policy sees it.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from zlib import crc32

from simulator.taxonomy import SEASONS, WEATHER_SIGNALS, Taxonomy

AUDIENCES: Final = ("women", "men", "young adults", "older people", "couples", "families", "teenagers")

_WEATHER_WORDS: Final = {
    "rain": ("rain", "rainy", "raining", "rainfall", "drizzle", "shower", "wet day", "wet weather"),
    "snow": ("snow", "snowy", "snowing", "snowfall"),
    "heat": ("heat", "hot", "heatwave", "scorching"),
    "cold": ("cold", "chilly", "freezing", "frost", "frosty", "icy"),
    "wind": ("wind", "windy", "breezy", "gusty", "stormy"),
    "sun": ("sun", "sunny", "sunshine"),
}
_SEASON_WORDS: Final = {"autumn": ("autumn", "fall season")}
_AUDIENCE_WORDS: Final = {
    "women": ("women", "woman", "lady"),
    "men": ("men", "man", "gentleman"),
    "young adults": ("young adult", "young people", "student"),
    "older people": ("older shopper", "older people", "senior"),
    "couples": ("couple",),
    "families": ("family", "parent", "kid", "child", "children", "toddler", "baby"),
    "teenagers": ("teenager", "teen"),
}

_FILLERS: Final = (
    "a about after again all also an and any are as at away back be because been before but by can come could day do "
    "down else every first for from get go good had has have here how i if in into is it its just keep let like look "
    "make may me more most much my need new no not nothing now of off on once one only or other our out over own "
    "ready right set size so some still take than that the their them then there these they thing think this those "
    "time to today too try under until up us use very want was way we well were what when where which while who why "
    "will with would yet you your"
)
_STOP_WORDS: Final = frozenset(_FILLERS.split())
"""Words that say nothing of an item."""

_TOKEN: Final = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")

_Phrase = tuple[str, ...]


@dataclass(frozen=True)
class Named:
    """What a text names.

    Attributes:
        concepts: contexts, categories, departments and audiences as the lexicon numbers them, ascending.
        words: content words outside of phrases that name a concept, as the lexicon numbers words, ascending.
        all_words: content words wherever they stand, ascending.
        modifiers: words of attributes standing directly before a category's name.
        materials: words of what a thing is made of or tastes of, wherever they stand.
        gist: one bit for each distinct word, fillers included: a Bloom filter by which texts can be compared.
    """

    concepts: tuple[int, ...]
    words: tuple[int, ...]
    all_words: tuple[int, ...]
    modifiers: tuple[int, ...]
    materials: tuple[int, ...]
    gist: int


class Lexicon:
    """An index of phrases, and numbers for what they name.

    Contexts come first, in the order weather signals, occasions, topics, seasons; then categories, departments and
    audiences. Words are numbered as they are met; those of attributes come first.

    Attributes:
        weather, occasions, topics, seasons, categories, departments, audiences: number of the first concept of each
            kind; the contexts are the ones before the first category.
        attribute_words: how many words, the first ones, are of attributes.
        ambiguous: contexts that also go by words for a kind of thing, such as the topic of dinosaurs.

    Args:
        category_names: of the shop.
        department_names: of the shop.
        occasions: keys of the occasions.
        occasion_titles: the occasions in words.
        topic_names: the topics in words.
        taxonomy: gives the words of attributes.
        shelved: whether the shop's categories are the taxonomy's, so that its other names for them count too.
    """

    def __init__(
        self,
        category_names: Sequence[str],
        department_names: Sequence[str],
        occasions: Sequence[str],
        occasion_titles: Sequence[str],
        topic_names: Sequence[str],
        taxonomy: Taxonomy,
        shelved: bool,
    ) -> None:
        self.weather = 0
        self.occasions = len(WEATHER_SIGNALS)
        self.topics = self.occasions + len(occasions)
        self.seasons = self.topics + len(topic_names)
        self.categories = self.seasons + len(SEASONS)
        self.departments = self.categories + len(category_names)
        self.audiences = self.departments + len(department_names)
        self._concepts: dict[_Phrase, set[int]] = {}
        self._modifiers: set[_Phrase] = set()
        self._materials: set[_Phrase] = set()
        self._longest: dict[str, int] = {}
        self._numbers: dict[str, int] = {}

        for n, signal in enumerate(WEATHER_SIGNALS):
            self._name(self.weather + n, _WEATHER_WORDS[signal])
        for n, (key, title) in enumerate(zip(occasions, occasion_titles, strict=True)):
            self._name(self.occasions + n, (title, key.replace("_", " ")))
        for n, name in enumerate(topic_names):
            self._name(self.topics + n, (name,))
        for n, season in enumerate(SEASONS):
            self._name(self.seasons + n, _SEASON_WORDS.get(season, (season,)))
        for n, name in enumerate(category_names):
            self._name(self.categories + n, (name, *(taxonomy.categories[n].words if shelved else ())))
        for n, name in enumerate(department_names):
            self._name(self.departments + n, (name,))
        for n, audience in enumerate(AUDIENCES):
            self._name(self.audiences + n, _AUDIENCE_WORDS[audience])
        for category in taxonomy.categories:
            for known, phrases in ((self._modifiers, category.modifiers), (self._materials, category.materials)):
                for text in phrases:
                    known.update(self._index(text))
                    self.words_of((text,))
        self.attribute_words = len(self._numbers)
        self.ambiguous = tuple(
            sorted(
                concept
                for phrase, named in self._concepts.items()
                for concept in named
                if concept < self.categories and self._says_a_thing(phrase)
            )
        )

    def _index(self, text: str) -> list[_Phrase]:
        """The phrase that a text is, if it says anything, ready to be found."""
        phrase = _tokens(text)
        if not phrase or all(token in _STOP_WORDS for token in phrase):
            return []
        self._longest[phrase[0]] = max(self._longest.get(phrase[0], 0), len(phrase))
        return [phrase]

    def _says_a_thing(self, phrase: _Phrase) -> bool:
        """Whether a phrase is made of attributes and names of categories, one after the other."""
        if not phrase:
            return True
        heads = (phrase[:length] for length in range(1, len(phrase) + 1))
        return any(
            (
                head in self._modifiers
                or head in self._materials
                or any(self.categories <= concept < self.departments for concept in self._concepts.get(head, ()))
            )
            and self._says_a_thing(phrase[len(head) :])
            for head in heads
        )

    def _name(self, concept: int, texts: Iterable[str]) -> None:
        for text in texts:
            for phrase in self._index(text):
                self._concepts.setdefault(phrase, set()).add(concept)

    def numbers(self, tokens: Iterable[str]) -> list[int]:
        """Numbers of content words; new ones get the next."""
        return [self._numbers.setdefault(t, len(self._numbers)) for t in tokens if t not in _STOP_WORDS]

    def words_of(self, texts: Iterable[str]) -> list[int]:
        """Numbers of all content words of some texts."""
        return [number for text in texts for number in self.numbers(_tokens(text))]

    def read(self, text: str) -> Named:
        """What a text names."""
        tokens = _tokens(text)
        concepts: set[int] = set()
        free: set[int] = set()
        everything: set[int] = set()
        modifiers: set[int] = set()
        materials: set[int] = set()
        before: list[int] = []  # attributes that a category's name may be about to follow
        at = 0
        while at < len(tokens):
            phrase = self._phrase_at(tokens, at)
            words = self.numbers(phrase)
            everything.update(words)
            named = self._concepts.get(phrase)
            attribute = phrase in self._modifiers or phrase in self._materials
            if named:
                concepts |= named
                if any(self.categories <= concept < self.departments for concept in named):
                    modifiers.update(before)
            else:
                free.update(words)
            if phrase in self._materials:
                materials.update(words)
            before = [*before, *words] if attribute and not named else []
            at += len(phrase)
        gist = 0
        for token in tokens:
            gist |= _bit(token)
        return Named(
            tuple(sorted(concepts)),
            tuple(sorted(free)),
            tuple(sorted(everything)),
            tuple(sorted(modifiers - materials)),
            tuple(sorted(materials)),
            gist,
        )

    def _phrase_at(self, tokens: _Phrase, at: int) -> _Phrase:
        """The longest known phrase that begins here, or a single word."""
        for length in range(min(self._longest.get(tokens[at], 1), len(tokens) - at), 0, -1):
            phrase = tokens[at : at + length]
            if phrase in self._concepts or phrase in self._modifiers or phrase in self._materials:
                return phrase
        return tokens[at : at + 1]


def _tokens(text: str) -> _Phrase:
    """Words in lower case, without possessives and plurals; hyphens part words."""
    return tuple(_singular(token) for token in _TOKEN.findall(text.lower()))


@lru_cache(maxsize=100_000)
def _bit(token: str) -> int:
    """The bit that a word sets in a gist, the same in every process."""
    return 1 << (crc32(token.encode()) & 63)


@lru_cache(maxsize=100_000)
def _singular(token: str) -> str:
    token = re.sub(r"['\u2019](s|$)", "", token)
    if len(token) > 4 and token.endswith("ies"):
        return token[:-3] + "y"
    if len(token) > 4 and token.endswith(("sses", "xes", "ches", "shes")):
        return token[:-2]
    if len(token) > 3 and token.endswith("s") and not token.endswith(("ss", "us", "is")):
        return token[:-1]
    return token
