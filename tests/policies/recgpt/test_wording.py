"""Prompts say what is observed, oldest first, and answers read back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.recgpt.wording import (
    Entity,
    Signals,
    arbiter_task,
    events_of,
    history_text,
    how_long_ago,
    listed,
    persona_text,
    personas_answer,
    planner_task,
    read_personas,
    route_task,
)
from simulator.batches import BUY, CLICK, DAY_SECONDS
from simulator.state import new_state, observed_history, write_events

DAY = DAY_SECONDS
SIGNALS = Signals("cool, light rain, 11 C", "autumn", "Halloween in 6 days", "capybara")


def test_a_history_is_grouped_by_age_and_told_oldest_first() -> None:
    """Interactions of one day share its age; each item is one entity behind its verb."""
    text = history_text(
        np.array([3, 4, 5]), np.array([CLICK, BUY, CLICK]), np.array([1 * DAY, 1 * DAY + 9, 12 * DAY]), 13
    )
    assert text == ("History:", " 12 days ago", " viewed", Entity(3), " bought", Entity(4), "; yesterday", " viewed",
                    Entity(5), ".\n")  # fmt: skip
    assert history_text(np.zeros(0), np.zeros(0), np.zeros(0), 3) == ("History: none.\n",)


@given(st.integers(0, 150), st.integers(1, 80))
def test_the_last_events_come_in_order(events: int, most: int) -> None:
    """However often the ring has turned, the newest events are told and they ascend in time."""
    state = new_state(1, 500, 0.5)
    time = np.arange(events, dtype=np.int64) * 60
    write_events(state, np.zeros(events, np.int64), np.arange(events, dtype=np.int32), np.ones(events, np.int8), time)
    items, _, times = events_of(observed_history(state), 0, most)
    kept = min(events, most, 64)
    assert items.tolist() == list(range(events - kept, events))
    assert (np.diff(times) > 0).all()


@pytest.mark.parametrize(("days", "words"), [(0, "today"), (1, "yesterday"), (13, "13 days ago"), (20, "2 weeks ago")])
def test_ages_in_words(days: int, words: str) -> None:
    """Ages are told coarser the longer ago."""
    assert how_long_ago(days) == words


def test_each_route_is_told_its_own_signal_and_no_other() -> None:
    """The weather route hears of the weather, the trend route of trends, the habit route of nothing."""
    signals = ("light rain", "Halloween", "capybara")
    heard = {
        route: [word in route_task(route, SIGNALS) for word in signals]
        for route in ("habits", "weather", "season", "trends")
    }
    assert heard == {
        "habits": [False, False, False],
        "weather": [True, False, False],
        "season": [False, True, False],
        "trends": [False, False, True],
    }
    for task in (planner_task(SIGNALS, 3), arbiter_task(SIGNALS, ["tea"], 1)):
        assert all(word in task for word in signals)


NAME = st.text("abcdefg ", min_size=1, max_size=9).map(str.strip).filter(bool)


@given(st.lists(st.tuples(NAME, NAME, st.lists(NAME, max_size=3)), min_size=1, max_size=5, unique_by=str))
def test_personas_read_back(personas: list[tuple[str, str, list[str]]]) -> None:
    """What the planner is taught to write is read as the same personas."""
    texts = [" ".join(persona_text(*persona).split()) for persona in personas]
    assert read_personas(personas_answer(texts)) == list(dict.fromkeys(texts))


def test_lists_end_with_a_line_break() -> None:
    """An answer is its entries with commas between, and the stop."""
    assert listed(["a b", "c"]) == " a b, c\n"
    assert listed([]) == "\n"
