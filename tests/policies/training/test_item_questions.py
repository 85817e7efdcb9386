from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policies.training.facts import occasion_keys
from policies.training.item_questions import entity_questions
from simulator.taxonomy import SEASONS, WEATHER_SIGNALS, load_taxonomy
from simulator.titles import compose_titles

TAXONOMY = load_taxonomy()
CATEGORY = np.arange(520) % len(TAXONOMY.categories)
TITLES = compose_titles(TAXONOMY, CATEGORY, 3)
SEEDS = st.integers(0, 2**31)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=SEEDS)
def test_entity_answers_say_what_title_and_taxonomy_say(seed: int, figures_left: Callable[[str], list[str]]) -> None:
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
