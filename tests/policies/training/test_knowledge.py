"""General knowledge as text."""

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.training.knowledge import (
    KIND_SHARES,
    MOST_THINGS,
    Fact,
    KnowledgeParams,
    entity_questions,
    facts,
    occasion_keys,
    profile_of,
    questions,
    sentences,
)
from simulator.taxonomy import OCCASIONS, SEASONS, WEATHER_SIGNALS, load_taxonomy
from simulator.titles import compose_titles

TAXONOMY = load_taxonomy()
ALL = facts(TAXONOMY, KnowledgeParams(coverage=1.0, error=0.0, variety=1.0), 0)
TRUE = {(fact.kind, fact.subject, fact.core) for fact in ALL}
ASKED = questions(ALL, 2500, 4)
SAID = sentences(ALL, 4000, 5)
CATEGORY = np.arange(520) % len(TAXONOMY.categories)
TITLES = compose_titles(TAXONOMY, CATEGORY, 3)
BY_CORE = {entry.words[0]: entry for entry in TAXONOMY.categories}
SEEDS = st.integers(0, 2**31)


def figures_left(text: str) -> list[str]:
    """Figures that are no temperature, no days ahead, no age band and no part of an occasion's title."""
    for title in occasion_keys():
        text = text.replace(title, "")
    text = re.sub(r"-?\d+ C\b|\bin \d+ days\b|\b\d\d-\d\d\b|\b65\+", "", text)
    return re.findall(r"\d+", text)


@settings(max_examples=5, deadline=None)
@given(SEEDS, st.floats(0.1, 1.0), st.floats(0.0, 0.6))
def test_coverage_and_error_come_out_as_asked(seed: int, coverage: float, error: float) -> None:
    """The shares of facts told, and of told facts that are wrong, lie within five standard errors of what was asked."""
    told = facts(TAXONOMY, KnowledgeParams(coverage=coverage, error=error), seed)
    wrong = sum((fact.kind, fact.subject, fact.core) not in TRUE for fact in told)
    for count, of, share in ((len(told), len(TRUE), coverage), (wrong, len(told), error)):
        assert abs(count - of * share) <= 5.0 * np.sqrt(of * share * (1.0 - share)) + 1e-6


def test_facts_without_error_are_the_taxonomys() -> None:
    """Every fact agrees with the taxonomy, and none of its weights is left out."""
    for fact in ALL:
        entry = BY_CORE[fact.core]
        if fact.kind == "weather":
            assert entry.weather[fact.subject] == fact.weight
        elif fact.kind == "occasion":
            assert entry.occasions[occasion_keys()[fact.subject]] == fact.weight
        elif fact.kind == "season":
            assert fact.subject in entry.seasons
        elif fact.kind == "material":
            assert fact.subject in entry.materials
        elif fact.kind == "use":
            assert f"for {fact.subject}" in entry.details
    count = Counter(fact.kind for fact in ALL)
    assert count["weather"] == np.count_nonzero(TAXONOMY.weather)
    assert count["occasion"] == np.count_nonzero(TAXONOMY.occasion)
    assert count["topic"] == np.count_nonzero(TAXONOMY.topic)
    assert set(count) == set(KIND_SHARES)


@settings(max_examples=3, deadline=None)
@given(SEEDS)
def test_more_coverage_keeps_what_less_told(seed: int) -> None:
    """What is told at a coverage is told at any larger one."""
    less, more = (
        {(f.kind, f.subject, f.core) for f in facts(TAXONOMY, KnowledgeParams(coverage=c, error=0.0), seed)}
        for c in (0.4, 0.8)
    )
    assert less < more


def test_nothing_known_says_nothing() -> None:
    """Without coverage there are no facts, and asking for text about them is refused in one line."""
    none = facts(TAXONOMY, KnowledgeParams(coverage=0.0), 1)
    assert none == ()
    for write in (sentences, questions):
        with pytest.raises(ValueError, match="facts: none"):
            write(none, 1, 0)


@settings(max_examples=3, deadline=None)
@given(SEEDS)
def test_text_is_a_function_of_the_seed(seed: int) -> None:
    """The same seed gives the same text, and asking for more leaves the first as it was."""
    for write in (sentences, questions):
        assert write(ALL, 30, seed) == write(ALL, 60, seed)[:30]
        assert write(ALL, 30, seed) != write(ALL, 30, seed + 1)


def test_sentences_are_sentences() -> None:
    """Each begins with a capital or a figure of an occasion, ends with a stop, leaves no slot open and tells no id."""
    for text in SAID:
        assert text[0].isupper() or text[0].isdigit()
        assert text[-1] in ".?"
        assert not re.search(r"[{}]|  | ,", text)
        assert not figures_left(text)


def test_articles_agree_with_what_follows() -> None:
    """No "a umbrella" and no "an travel mug"."""
    said = " ".join(SAID)
    assert not re.search(r"\b[Aa] (?:umbrella|air|electric|office|e-reader|ice|external|adult|instant)", said)
    assert not re.search(r"\b[Aa]n (?:[bcdfgjkpqtvwyz]|universal|USB)", said)


@pytest.mark.parametrize("kind", KIND_SHARES)
def test_a_fact_is_told_in_many_ways(kind: str) -> None:
    """One fact has at least eight wordings, and each of them names the thing."""
    fact = next(fact for fact in ALL if fact.kind == kind)
    told = set(sentences([Fact(fact.kind, fact.subject, "umbrella", 1.0)], 200, 1))
    assert len(told) >= 8
    assert all("umbrella" in text.lower() for text in told)


def test_stronger_facts_are_told_more_often() -> None:
    """How often a fact is told grows in proportion to its weight, and its weight is never told."""
    strong, weak = Fact("topic", "matcha", "travel mug", 0.9), Fact("topic", "matcha", "umbrella", 0.3)
    told = sentences([strong, weak], 4000, 2)
    share = sum("travel mug" in text.lower() for text in told) / len(told)
    assert abs(share - 0.75) < 0.04


def test_answers_are_things_that_are_known() -> None:
    """Each answer names 1 to 15 different core words, and a question ends as questions do."""
    for question, answer in ASKED:
        assert 1 <= len(answer) <= MOST_THINGS
        assert len(set(answer)) == len(answer)
        assert all(core in BY_CORE for core in answer)
        assert question[-1] in "?:"
        assert not figures_left(question)


def test_both_forms_are_asked() -> None:
    """About half of the questions are in the words of signals, with nobody in particular but for a bare profile."""
    forms = Counter(question.split(" ")[0] for question, _ in ASKED)
    signals = sum(forms[word] for word in ("Weather:", "Season:", "Trending:", "Shopper:"))
    assert 0.4 < signals / len(ASKED) < 0.6
    assert forms["What"] == len(ASKED) - signals
    assert not any("History" in question for question, _ in ASKED)


def test_plain_answers_are_true() -> None:
    """Without error, what is asked of one topic or one season is answered by things of which it holds."""
    checked = 0
    for question, answer in ASKED:
        found = re.fullmatch(r"What goes with (.+)\?", question)
        if found:
            checked += 1
            assert all(("topic", found[1], core) in TRUE for core in answer)
    assert checked > 10


def test_several_signals_come_together() -> None:
    """Some questions have two occasions ahead, some two or more topics trending."""
    ahead = [question for question, _ in ASKED if re.search(r"Ahead: [^.]*(?:days|now|tomorrow), ", question)]
    trends = [question for question, _ in ASKED if re.search(r"Trending: [^.]*, ", question)]
    assert len(ahead) > 20
    assert len(trends) > 20


def test_knowledge_leaves_no_occasion_or_topic_out() -> None:
    """Every occasion and every topic is asked about in the words of signals."""
    text = "\n".join(question for question, _ in ASKED if not question.startswith("What"))
    assert {key for title, key in occasion_keys().items() if title in text} == set(OCCASIONS)
    assert all(topic.name in text for topic in TAXONOMY.topics)


@pytest.mark.parametrize(
    ("signal", "fits"), [("heat", lambda high: high >= 25), ("cold", lambda high: high <= 17), ("snow", None)]
)
def test_weather_words_agree_with_what_is_felt(signal: str, fits: object) -> None:
    """Where all that is known concerns one signal, it is asked only on days whose words speak of it."""
    known = [fact for fact in ALL if fact.kind == "weather" and fact.subject == signal]
    asked = [question for question, _ in questions(known, 200, 3) if question.startswith("Weather:")]
    assert asked
    for question in asked:
        found = re.search(r"(-?\d+) C", question)
        assert found
        if callable(fits):
            assert fits(int(found[1]))
        else:
            assert re.search("snow|rain", question)


def test_signals_rank_things_by_strength() -> None:
    """On average a thing that a trend lifts more stands before one that it lifts less."""
    known = [fact for fact in ALL if fact.kind == "topic"]
    above = []
    for question, answer in questions(known, 600, 8):
        found = re.fullmatch(r"Trending: ([^,]+)\. Tags for the trends:", question)
        if found and len(answer) > 1:
            weight = {fact.core: fact.weight for fact in known if fact.subject == found[1]}
            above.append(weight[answer[0]] - weight[answer[-1]])
    assert len(above) > 20
    assert np.mean(above) > 0.2


def test_profiles_are_worded_as_policies_word_them() -> None:
    """A profile is gender, age and household, as far as they are known."""
    assert profile_of(0, 1, 2) == "woman, 25-34, young children"
    assert profile_of(-1, -1, 3) == "teenagers"
    asked = [question for question, _ in ASKED if question.startswith("Shopper: ")]
    assert asked
    assert all(re.fullmatch(r"Shopper: [^.]+\.\nTags:", question) for question in asked)


def test_women_are_not_told_of_mens_clothing() -> None:
    """What is made for the other gender does not lead the answers about women."""
    for question, answer in questions([fact for fact in ALL if fact.kind == "audience"], 300, 1):
        if re.match(r"Shopper: woman\b", question):
            assert BY_CORE[answer[0]].gender != "male"


@settings(max_examples=5, deadline=None)
@given(SEEDS)
def test_entity_answers_say_what_title_and_taxonomy_say(seed: int) -> None:
    """Answers about an item are in its title or hold of its category, and there is never a guess or a figure."""
    asked = entity_questions(TITLES, CATEGORY, TAXONOMY, 150, seed)
    assert asked == entity_questions(TITLES, CATEGORY, TAXONOMY, 150, seed)
    assert len(asked) == 150
    for item, question, answer in asked:
        entry, title = TAXONOMY.categories[CATEGORY[item]], TITLES[item].lower()
        assert answer
        assert question.endswith("?")
        assert "unknown" not in answer
        parts = answer.split(", ")
        if question == "What is it?":
            assert answer == entry.words[0]
        elif question == "Which season is it for?":
            assert set(parts) <= set(SEASONS)
            assert tuple(parts) == entry.seasons
        elif question == "Which weather is it for?":
            assert set(parts) <= set(WEATHER_SIGNALS)
            assert all(entry.weather[part] >= 0.3 for part in parts)
        elif question == "Which occasion is it for?":
            assert all(entry.occasions[occasion_keys()[part]] >= 0.3 for part in parts)
        elif question in ("What is it made of?", "What kind is it?"):
            assert all(part.lower() in title for part in parts)
            assert not figures_left(answer)


def test_every_kind_of_entity_question_is_asked() -> None:
    """All seven kinds of question come up, and no titles at all is refused in one line."""
    asked = {question for _, question, _ in entity_questions(TITLES, CATEGORY, TAXONOMY, 800, 1)}
    assert len(asked) == 7
    with pytest.raises(ValueError, match="titles: none"):
        entity_questions([], [], TAXONOMY, 1, 1)
