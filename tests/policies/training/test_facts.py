from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.training.facts import KIND_SHARES, KnowledgeParams, facts, occasion_keys, profile_of
from simulator.taxonomy import load_taxonomy

TAXONOMY = load_taxonomy()
ALL = facts(TAXONOMY, KnowledgeParams(coverage=1.0, error=0.0, variety=1.0), 0)
TRUE = {(fact.kind, fact.subject, fact.core) for fact in ALL}
BY_CORE = {entry.words[0]: entry for entry in TAXONOMY.categories}
SEEDS = st.integers(0, 2**31)


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


def test_without_coverage_nothing_is_told() -> None:
    """Coverage 0 leaves no fact."""
    assert facts(TAXONOMY, KnowledgeParams(coverage=0.0), 1) == ()


def test_profiles_are_worded_as_policies_word_them() -> None:
    """A profile is gender, age and household, as far as they are known."""
    assert profile_of(0, 1, 2) == "woman, 25-34, young children"
    assert profile_of(-1, -1, 3) == "teenagers"
