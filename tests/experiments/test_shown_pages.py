from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from experiments.runner import world_of
from experiments.shown_pages import LOOKED_AT, SHOWN, shown_pages, users_to_look_at
from simulator.batches import CLICK, COGNITIVE, UTILITY
from simulator.world import World


@pytest.fixture(scope="module")
def world(finished: SimpleNamespace) -> World:
    """The world of the shared run."""
    return world_of(finished.config).world


def entry(user: int, item: int = 3, text: str | None = None) -> dict[str, Any]:
    """A page of two items."""
    page = [
        {"item": item, "channel": COGNITIVE, "answer": CLICK, "explanation": text},
        {"item": item + 1, "channel": UTILITY, "answer": 0, "explanation": None},
    ]
    return {"user": user, "time": 2 * 86_400 + 9 * 3600 + 300, "intent": [4], "lately": [7], "page": page}


def test_users_are_drawn_by_number() -> None:
    """Who is looked at does not depend on who else is asked about in the same order of draws, and few are."""
    user = np.arange(1000)
    chosen = users_to_look_at(user, 5)
    assert chosen.sum() == LOOKED_AT
    back = users_to_look_at(user[::-1], 5)[::-1]
    assert np.array_equal(chosen, back)
    assert not np.array_equal(chosen, users_to_look_at(user, 6))
    assert users_to_look_at(user[:9], 5).all()


def test_pages_are_told_in_words(world: World) -> None:
    """Titles, prices, answers and the moment are those of the world."""
    (found,) = shown_pages({"a": [entry(2, 3, "Look!")], "b": [entry(2, 5)]}, True, world, lambda day: f"day {day}")
    catalog = world.catalog.observed
    assert (found["user"], found["date"], found["hour"]) == (2, "day 2", "09:05")
    assert found["wanted"] == [catalog.category_names[4]]
    assert found["lately"] == [catalog.titles[7]]
    assert found["city"] in world.environment.cities
    assert list(found["arms"]) == ["a", "b"]
    first, second = found["arms"]["a"]
    assert first == {
        "title": catalog.titles[3],
        "price": pytest.approx(catalog.price[3], abs=0.005),
        "cognitive": True,
        "answer": "clicked",
        "explanation": "Look!",
    }
    assert (second["answer"], second["cognitive"]) == (None, False)


def test_trends_that_nobody_feels_are_not_told(world: World) -> None:
    """Where trends mean nothing, the day is told without them, and else as the environment describes it."""
    pages = {"a": [entry(2)]}
    (felt,) = shown_pages(pages, True, world, str)
    city = int(world.population.observed.city[2])
    assert felt["context"] == world.environment.describe(city, 2)
    assert "trending" in felt["context"]
    silent = replace(world, needs=world.needs._replace(trend=np.zeros_like(world.needs.trend)))
    (told,) = shown_pages(pages, True, silent, str)
    assert told["context"] == felt["context"].partition("; trending")[0]


def test_with_truth_only_whole_comparisons_are_shown(world: World) -> None:
    """A user without a page under some arm is left out, and not more are shown than fit."""
    pages = {"a": [entry(user) for user in range(20)], "b": [entry(user) for user in range(0, 20, 2)]}
    pages["b"][0] |= {"page": []}
    found = shown_pages(pages, True, world, str)
    assert [each["user"] for each in found] == [2, 4, 6, 8][:SHOWN]
    assert all(len(each["arms"]) == 2 for each in found)


def test_without_truth_every_arm_shows_its_own(world: World) -> None:
    """Each arm has users in the report, and each user one page."""
    pages = {"a": [entry(user) for user in range(9)], "b": [entry(user) for user in range(9, 12)], "c": []}
    found = shown_pages(pages, False, world, str)
    assert [list(each["arms"]) for each in found].count(["a"]) >= 1
    assert [list(each["arms"]) for each in found].count(["b"]) >= 1
    assert all(len(each["arms"]) == 1 for each in found)


def test_a_run_shows_pages(finished: SimpleNamespace) -> None:
    """With truth, some users' pages stand in the results under every arm."""
    pages = finished.results["pages"]
    assert 0 < len(pages) <= SHOWN
    for user in pages:
        assert list(user["arms"]) == list(finished.results["arms"])
        assert all(len(items) > 0 for items in user["arms"].values())
