"""How a user reads the explanation beside an item: part of the truth, and of what makes a click.

A shown explanation is worth, to the user who reads it,

    timely - stale + relevant + informative - false - repeated

with every term in 0..1:

* timely: it names a context (weather, occasion, topic, season) that is live today where the user is and that calls
  for the item. The best one counts, by how far it calls times the square root of its level. An item is called for as
  the taxonomy says of its category, or wholly where its own title names the context; seasons call half. A signal
  that matters less to users (``ContextParameters``) calls for as much less, and one that is off for nothing.
* stale: it names a context that is not live, and that the title does not name either; 0 or 1. A topic that goes by
  words for a kind of thing ("retro film cameras") is never stale.
* relevant: 1 if it names a category that the visit is for, ``NEAR`` if a department of one, ``OWN`` if nothing but the
  item's own category.
* informative: ``1 - 2^(-n / 2)``, n being the true things that it says beyond the category's name: distinct words of
  the title, contexts that call for the item, and audiences that the item is meant for.
* false: ``1 - 2^(-n)``, n counting what contradicts the item: another category where its own is not named (1 within
  the department, 2 outside), an attribute that its kind never has, a material beside the one in its title, an audience
  that it is not meant for.
* repeated: how far its words are those of a text above it on the page or of the last ``READ_LENGTH`` that the user
  read: ``max(0, 2 J - 1)`` for the largest Jaccard index J of their word sets, as estimated from 64-bit filters.

All of it is a modelling choice. A text that names nothing is worth 0, like no text. Levels are those of the
environment; of a place whose weather nobody knows, weather is neither live nor stale. In a world made from a log
nothing is known of what calls for what but what titles say, nor of what attributes and audiences a kind of thing has.

The reader knows texts, items, days and users. It does not know who wrote a text.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from simulator.batches import DAY_SECONDS, Bools, Floats, Ints, Ints32, Slates
from simulator.compiled import inlined, kernel
from simulator.environment.trends import PERCEPTIBLE
from simulator.environment.weather import UNKNOWN_CONDITION
from simulator.lexicon import AUDIENCES, Lexicon
from simulator.response import Reading
from simulator.state import READ_LENGTH, State
from simulator.taxonomy import AGE_BANDS, HOUSEHOLDS, SEASONS, Category, Taxonomy, load_taxonomy
from simulator.world import World

TERMS: Final = ("timely", "stale", "relevant", "informative", "false", "repeated")
SIGNS: Final = (1.0, -1.0, 1.0, 1.0, -1.0, -1.0)
"""How each of ``TERMS`` enters what an explanation is worth."""

FELT: Final = 0.1
"""Strength from which a weather signal is live."""
SEASON_CALL: Final = 0.5
"""How far its season calls for a thing of the season."""
NEAR: Final = 0.5
"""Relevance of naming the department of what the visit is for."""
OWN: Final = 0.25
"""Relevance of naming the item's category on a visit for something else."""

_AGES: Final = {"young adults": AGE_BANDS[:2], "older people": AGE_BANDS[4:]}
_HOUSEHOLDS: Final = {"couples": HOUSEHOLDS[1:2], "families": HOUSEHOLDS[2:], "teenagers": HOUSEHOLDS[3:]}


class Sheets(NamedTuple):
    """What texts name, one after the other; entries of text t lie at ``starts[t]`` to ``starts[t + 1]``."""

    concept: Ints32
    concept_start: Ints
    word: Ints32
    word_start: Ints
    modifier: Ints32
    modifier_start: Ints
    material: Ints32
    material_start: Ints
    gist: npt.NDArray[np.uint64]


class Facts(NamedTuple):
    """What is the case, for the kernel.

    Attributes:
        level: of each context, float64 [cities, days, contexts].
        live: whether it may be named, bool likewise.
        call: how far a context calls for a category, float64 [contexts, categories].
        title_call: how far it calls for an item whose title names it, float64 [contexts].
        fit: 1 where a category is made for an audience, -1 where for others, else 0, int8 [audiences, categories].
        possible: whether a category can have an attribute that goes by a word, bool [categories, attribute words].
        category: of each item; department: of each category; city: of each row.
    """

    level: Floats
    live: Bools
    call: Floats
    title_call: Floats
    fit: npt.NDArray[np.int8]
    possible: Bools
    category: Ints32
    department: Ints32
    city: Ints32


class _Lists:
    """Lists of small integers that grow in number, as flat arrays."""

    def __init__(self) -> None:
        self._values = np.zeros(1024, np.int32)
        self._starts = np.zeros(256, np.int64)
        self._count = 0

    def append(self, values: Sequence[int]) -> None:
        """One more list."""
        begin = self._starts[self._count]
        end = begin + len(values)
        while end > len(self._values):
            self._values = np.concatenate([self._values, np.zeros_like(self._values)])
        if self._count + 2 > len(self._starts):
            self._starts = np.concatenate([self._starts, np.zeros_like(self._starts)])
        self._values[begin:end] = values
        self._count += 1
        self._starts[self._count] = end

    def arrays(self) -> tuple[Ints32, Ints]:
        """All values, and where each list starts."""
        starts = self._starts[: self._count + 1]
        return self._values[: starts[-1]], starts


class _Library:
    """Texts as they are read for the first time."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self._lists = tuple(_Lists() for _ in range(4))
        self._gists = np.zeros(256, np.uint64)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, texts: Iterable[str], every_word: bool = False) -> None:
        """Read more texts; of titles every word counts, of explanations those that are not part of a name."""
        for text in texts:
            named = self._lexicon.read(text)
            words = named.all_words if every_word else named.words
            for kept, values in zip(
                self._lists, (named.concepts, words, named.modifiers, named.materials), strict=True
            ):
                kept.append(values)
            if self._count == len(self._gists):
                self._gists = np.concatenate([self._gists, np.zeros_like(self._gists)])
            self._gists[self._count] = named.gist
            self._count += 1

    def sheets(self) -> Sheets:
        """What they name."""
        concepts, words, modifiers, materials = (kept.arrays() for kept in self._lists)
        return Sheets(*concepts, *words, *modifiers, *materials, self._gists[: self._count])


class Reader:
    """What the users of a world make of the explanations that one policy shows them.

    Every distinct text is read once, and so is the title of every item that comes with one.

    Args:
        world: the truth.
    """

    def __init__(self, world: World) -> None:
        taxonomy = load_taxonomy()
        catalog, environment = world.catalog.observed, world.environment
        calendar = environment.calendar
        shelved = catalog.category_names == tuple(category.words[0] for category in taxonomy.categories)
        self._lexicon = Lexicon(
            catalog.category_names,
            catalog.department_names,
            calendar.occasions,
            calendar.titles,
            environment.topic_names,
            taxonomy,
            shelved,
        )
        self._worth = world.behaviour.response.explanation
        self._titles = catalog.titles
        self._place = np.full(catalog.items, -1, np.int64)
        self._items, self._texts = _Library(self._lexicon), _Library(self._lexicon)
        self._facts = _facts(world, taxonomy, self._lexicon, shelved)

    def learn(self, texts: Sequence[str]) -> None:
        """Read what was not read before of an append-only list of texts."""
        self._texts.add(texts[len(self._texts) :])

    def terms(self, state: State, row: Ints, time: Ints, slates: Slates) -> Floats:
        """The terms of what each explanation on a page is worth, in the order of ``TERMS``.

        Args:
            state: moving state of the world's users.
            row: who reads, int64 [requests].
            time: when the visit began, seconds since the horizon's start, int64 [requests].
            slates: the pages; their explanations must have been learned.

        Returns:
            float64 [requests, slots, terms], each in 0..1; 0 where there is no explanation.
        """
        texts = slates.explanation
        assert texts is not None
        new = np.unique(slates.items[texts >= 0])
        new = new[self._place[new] < 0]
        self._place[new] = len(self._items) + np.arange(len(new))
        self._items.add((self._titles[item] for item in new.tolist()), every_word=True)
        out = np.zeros((*texts.shape, len(TERMS)))
        _judge(
            np.ascontiguousarray(texts, np.int32),
            np.ascontiguousarray(slates.items, np.int32),
            row,
            time // DAY_SECONDS,
            self._texts.sheets(),
            self._items.sheets(),
            self._place,
            self._facts,
            self._lexicon.categories,
            self._lexicon.departments,
            self._lexicon.audiences,
            state,
            out,
        )
        return out

    def read(self, state: State, row: Ints, time: Ints, slates: Slates) -> Reading:
        """What the explanations of a page add to click logits; arguments as for ``terms``."""
        texts = slates.explanation
        assert texts is not None
        gist = np.where(texts >= 0, self._texts.sheets().gist[texts], np.uint64(0))
        return Reading(self._worth * worth(self.terms(state, row, time, slates)), gist)


def worth(terms: Floats) -> Floats:
    """What explanations are worth, the signed sum of their terms over the last axis."""
    total = np.zeros(terms.shape[:-1])
    for n, sign in enumerate(SIGNS):  # term by term, so that a sum does not depend on the batch
        total += sign * terms[..., n]
    return total


def _facts(world: World, taxonomy: Taxonomy, lexicon: Lexicon, shelved: bool) -> Facts:
    """What the reader must know of a world."""
    environment, catalog = world.environment, world.catalog.observed
    contexts, categories = lexicon.categories, catalog.categories
    cities, days = len(environment.cities), environment.days
    level = np.zeros((cities, days, contexts))
    live = np.zeros((cities, days, contexts), np.bool_)
    weather, occasions = slice(0, lexicon.occasions), slice(lexicon.occasions, lexicon.topics)
    topics, seasons = slice(lexicon.topics, lexicon.seasons), slice(lexicon.seasons, contexts)
    unknown = environment.weather.condition == UNKNOWN_CONDITION
    level[:, :, weather] = np.where(unknown[:, :, None], 0.0, environment.weather.signals)
    live[:, :, weather] = (level[:, :, weather] >= FELT) | unknown[:, :, None]
    level[:, :, occasions] = environment.calendar.level
    live[:, :, occasions] = environment.calendar.level > 0.0
    level[:, :, topics] = environment.trends.level
    live[:, :, topics] = environment.trends.level > PERCEPTIBLE
    live[:, :, list(lexicon.ambiguous)] = True
    level[:, :, seasons] = np.eye(len(SEASONS))[[environment.season_of(day) for day in range(days)]]
    live[:, :, seasons] = level[:, :, seasons] > 0.0

    call = np.zeros((contexts, categories))
    fit = np.zeros((len(AUDIENCES), categories), np.int8)
    possible = np.ones((categories, lexicon.attribute_words), np.bool_)
    if shelved:
        call[weather], call[occasions], call[topics] = taxonomy.weather.T, taxonomy.occasion.T, taxonomy.topic.T
        possible[:] = False
        for n, category in enumerate(taxonomy.categories):
            listed = [season in category.seasons for season in SEASONS]
            call[seasons, n] = SEASON_CALL * np.array(listed)
            fit[:, n] = [_fit(audience, category) for audience in AUDIENCES]
            words = lexicon.words_of((*category.modifiers, *category.materials, *category.words, *category.details))
            possible[n, [word for word in words if word < lexicon.attribute_words]] = True
    title_call = np.ones(contexts)
    title_call[seasons] = SEASON_CALL
    felt = world.contexts
    for signal, strength in (
        (weather, felt.weather),
        (occasions, felt.holidays),
        (topics, felt.trends),
        (seasons, felt.seasons),
    ):
        call[signal] *= min(strength, 1.0)
        title_call[signal] *= min(strength, 1.0)
    city = world.population.observed.city.copy()  # a copy is writable: the kernel is compiled for one kind of array
    return Facts(level, live, call, title_call, fit, possible, catalog.category.copy(), catalog.department.copy(), city)


def _fit(audience: str, category: Category) -> int:
    """1 if a category is made for an audience, -1 if for others, 0 if it is for all."""
    if audience in ("women", "men"):
        if category.gender == "any":
            return 0
        return 1 if (category.gender == "female") == (audience == "women") else -1
    listed: Sequence[str] = category.ages if audience in _AGES else category.households
    wanted: Sequence[str] = _AGES[audience] if audience in _AGES else _HOUSEHOLDS[audience]
    if not listed:
        return 0
    return 1 if set(listed) & set(wanted) else -1


@inlined
def _holds(values: Ints32, begin: int, end: int, value: int) -> bool:
    for k in range(begin, end):  # noqa: SIM110 - the kernel cannot compile any()
        if values[k] == value:
            return True
    return False


@inlined
def _bits(x: np.uint64) -> np.uint64:
    """How many bits are set (Warren 2013, "Hacker's Delight", 5-1)."""
    x -= (x >> np.uint64(1)) & np.uint64(0x5555555555555555)
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (x * np.uint64(0x0101010101010101)) >> np.uint64(56)


@kernel
def _alike(one: np.uint64, other: np.uint64) -> float:
    """How far two texts repeat each other, 0 to 1."""
    both = _bits(one & other)
    if both == np.uint64(0):
        return 0.0
    return max(0.0, 2.0 * both / _bits(one | other) - 1.0)


@kernel
def _judge(
    text: Ints32,
    item: Ints32,
    row: Ints,
    day: Ints,
    texts: Sheets,
    titles: Sheets,
    place: Ints,
    facts: Facts,
    categories: int,
    departments: int,
    audiences: int,
    state: State,
    out: Floats,
) -> None:
    for n in range(len(row)):
        r = row[n]
        city = facts.city[r]
        for k in range(text.shape[1]):
            t = text[n, k]
            if t < 0:
                continue
            own = facts.category[item[n, k]]
            p = place[item[n, k]]
            first, last = titles.concept_start[p], titles.concept_start[p + 1]
            first_word, last_word = titles.word_start[p], titles.word_start[p + 1]
            timely, stale, relevant, told, wrong = 0.0, 0.0, 0.0, 0.0, 0.0
            names_own, farthest = False, 0.0
            for x in range(texts.concept_start[t], texts.concept_start[t + 1]):
                concept = texts.concept[x]
                titled = _holds(titles.concept, first, last, concept)
                if concept < categories:
                    call = facts.call[concept, own]
                    if titled:
                        call = max(call, facts.title_call[concept])
                    if call > 0.0:
                        told += 1.0
                    timely = max(timely, call * np.sqrt(facts.level[city, day[n], concept]))
                    if not titled and not facts.live[city, day[n], concept]:
                        stale = 1.0
                elif concept < departments:
                    category = concept - categories
                    if category == own:
                        relevant = max(relevant, OWN)
                    if category == own or titled:
                        names_own = True
                    elif facts.department[category] != facts.department[own]:
                        farthest = 2.0
                    else:
                        farthest = max(farthest, 1.0)
                    for i in range(state.intent.shape[1]):
                        wanted = state.intent[r, i]
                        if wanted == category:
                            relevant = 1.0
                        elif wanted >= 0 and facts.department[wanted] == facts.department[category]:
                            relevant = max(relevant, NEAR)
                elif concept < audiences:
                    for i in range(state.intent.shape[1]):
                        wanted = state.intent[r, i]
                        if wanted >= 0 and facts.department[wanted] == concept - departments:
                            relevant = max(relevant, NEAR)
                else:
                    fit = facts.fit[concept - audiences, own]
                    if titled or fit > 0:
                        told += 1.0
                    elif fit < 0:
                        wrong += 1.0
            if not names_own:
                wrong += farthest
            for x in range(texts.word_start[t], texts.word_start[t + 1]):
                if _holds(titles.word, first_word, last_word, texts.word[x]):
                    told += 1.0
            for x in range(texts.modifier_start[t], texts.modifier_start[t + 1]):
                word = texts.modifier[x]
                if not facts.possible[own, word] and not _holds(titles.word, first_word, last_word, word):
                    wrong += 1.0
            made_of = titles.material_start[p + 1] > titles.material_start[p]
            for x in range(texts.material_start[t], texts.material_start[t + 1]):
                word = texts.material[x]
                if (made_of or not facts.possible[own, word]) and not _holds(titles.word, first_word, last_word, word):
                    wrong += 1.0
            repeated = 0.0
            for slot in range(READ_LENGTH):
                repeated = max(repeated, _alike(texts.gist[t], state.read_gist[r, slot]))
            for above in range(k):
                if text[n, above] >= 0:
                    repeated = max(repeated, _alike(texts.gist[t], texts.gist[text[n, above]]))
            out[n, k, 0] = timely
            out[n, k, 1] = stale
            out[n, k, 2] = relevant
            out[n, k, 3] = 1.0 - 2.0 ** (-0.5 * told)
            out[n, k, 4] = 1.0 - 2.0**-wrong
            out[n, k, 5] = repeated
