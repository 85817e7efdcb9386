"""Questions about single items (RecGPT-V2 report, section 2.1), answered by titles and the taxonomy.

Knows titles and categories. Does not know facts: what neither title nor taxonomy says is not asked.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count as counting

from policies.recgpt.wording import WHAT
from policies.training.fact_sentences import PEOPLE_WORDS
from policies.training.facts import CALLED_FOR, profile_of, titles_in_order
from policies.training.title_words import read_title
from simulator.batches import Ints
from simulator.streams import Stream
from simulator.taxonomy import GENDERS, HOUSEHOLDS, Category, Taxonomy


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
    occasion = dict(zip(taxonomy.occasions, titles_in_order(taxonomy.occasions), strict=True))
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


def _known_of(title: str, entry: Category, occasion: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Questions about an item with answers, "" where neither title nor taxonomy tells."""
    words = read_title(title, entry)
    yield WHAT, entry.words[0]
    yield "What kind is it?", ", ".join(words.modifiers)
    yield "Which season is it for?", ", ".join(entry.seasons)
    yield "What is it made of?", ", ".join(words.materials)
    made_for = [PEOPLE_WORDS[profile_of(g, -1, -1)] for g, word in enumerate(GENDERS) if entry.gender == word]
    made_for += [PEOPLE_WORDS[profile_of(-1, -1, h)] for h, word in enumerate(HOUSEHOLDS) if word in entry.households]
    yield "Who is it for?", words.whom or ", ".join(made_for)
    yield "Which weather is it for?", ", ".join(_called_for(entry.weather))
    yield "Which occasion is it for?", ", ".join(occasion[key] for key in _called_for(entry.occasions))


def _called_for(weights: Mapping[str, float]) -> list[str]:
    """Signals that call for a category, the strongest first."""
    return sorted((key for key, weight in weights.items() if weight >= CALLED_FOR), key=lambda key: -weights[key])
