import re
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.training.fact_questions import MOST_THINGS, questions
from policies.training.facts import KnowledgeParams, facts, occasion_keys
from simulator.taxonomy import OCCASIONS, load_taxonomy

TAXONOMY = load_taxonomy()
ALL = facts(TAXONOMY, KnowledgeParams(coverage=1.0, error=0.0, variety=1.0), 0)
TRUE = {(fact.kind, fact.subject, fact.core) for fact in ALL}
ASKED = questions(ALL, 2500, 4)
BY_CORE = {entry.words[0]: entry for entry in TAXONOMY.categories}


def test_answers_are_things_that_are_known(figures_left: Callable[[str], list[str]]) -> None:
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


def test_women_are_not_told_of_mens_clothing() -> None:
    """What is made for the other gender does not lead the answers about women."""
    for question, answer in questions([fact for fact in ALL if fact.kind == "audience"], 300, 1):
        if re.match(r"Shopper: woman\b", question):
            assert BY_CORE[answer[0]].gender != "male"


def test_profiles_stand_alone() -> None:
    """Where a profile is asked about in the words of policies, it is all that is told."""
    asked = [question for question, _ in ASKED if question.startswith("Shopper: ")]
    assert asked
    assert all(re.fullmatch(r"Shopper: [^.]+\.\nTags:", question) for question in asked)


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 2**31))
def test_questions_are_a_function_of_the_seed(seed: int) -> None:
    """The same seed gives the same text, and asking for more leaves the first as it was."""
    assert questions(ALL, 30, seed) == questions(ALL, 60, seed)[:30]
    assert questions(ALL, 30, seed) != questions(ALL, 30, seed + 1)


def test_nothing_known_gives_no_questions() -> None:
    """Without facts, asking for text about them is refused in one line."""
    with pytest.raises(ValueError, match="facts: none"):
        questions((), 1, 0)
