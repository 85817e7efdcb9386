import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.training.fact_sentences import sentences
from policies.training.facts import KIND_SHARES, Fact, KnowledgeParams, facts
from simulator.taxonomy import load_taxonomy

ALL = facts(load_taxonomy(), KnowledgeParams(coverage=1.0, error=0.0, variety=1.0), 0)
SAID = sentences(ALL, 4000, 5)


def test_sentences_are_sentences(figures_left: Callable[[str], list[str]]) -> None:
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


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 2**31))
def test_sentences_are_a_function_of_the_seed(seed: int) -> None:
    """The same seed gives the same text, and asking for more leaves the first as it was."""
    assert sentences(ALL, 30, seed) == sentences(ALL, 60, seed)[:30]
    assert sentences(ALL, 30, seed) != sentences(ALL, 30, seed + 1)


def test_nothing_known_gives_no_sentences() -> None:
    """Without facts, asking for text about them is refused in one line."""
    with pytest.raises(ValueError, match="facts: none"):
        sentences((), 1, 0)
