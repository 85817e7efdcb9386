"""Examples of what was shown: whose first pages are looked at, and these pages in words for the report.

Knows worlds and what shards wrote down. Does not know how the report shows it.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import time
from typing import Any, Final

import numpy as np

from simulator.batches import BUY, CART, CLICK, COGNITIVE, DAY_SECONDS, FAVOURITE, Bools, Ints
from simulator.population import profile_words
from simulator.streams import Stream
from simulator.world import World

LOOKED_AT: Final = 60
"""Users whose first page is written down: not all of them come."""
SHOWN: Final = 4
"""Users in the report."""
_ANSWERS: Final = {0: None, CLICK: "clicked", FAVOURITE: "favourited", CART: "carted", BUY: "bought"}


def users_to_look_at(user: Ints, seed: int) -> Bools:
    """Whose first page is written down: ``LOOKED_AT`` users drawn by their numbers, or all where there are fewer."""
    draw = Stream(seed, "shown pages").uniform(user)
    chosen = np.zeros(len(user), np.bool_)
    chosen[np.argsort(draw, kind="stable")[:LOOKED_AT]] = True
    return chosen


def shown_pages(
    pages: Mapping[str, Sequence[Mapping[str, Any]]],
    under_every_arm: bool,
    world: World,
    date_of: Callable[[int], str],
) -> list[dict[str, Any]]:
    """The first pages of some users in words, in the order of their numbers.

    Args:
        pages: by arm, as ``FirstPages.told`` gives them.
        under_every_arm: whether users were played under every arm; then those are shown who have a page under each.
            Otherwise each arm's own users are shown, as many of each arm.
        world: gives words.
        date_of: the date of a day.

    Returns:
        For each user ``user``, ``profile``, ``city``, ``date``, ``hour``, ``context``, ``wanted`` and ``lately``; and
        ``arms``, for each arm the items of the page with ``title``, ``price``, ``cognitive``, ``answer`` (clicked,
        favourited, carted, bought or None) and ``explanation``.
    """
    by_user: dict[int, dict[str, Mapping[str, Any]]] = {}
    for arm, entries in pages.items():
        for entry in entries:
            if entry["page"]:
                by_user.setdefault(entry["user"], {})[arm] = entry
    if under_every_arm:
        chosen = [user for user in sorted(by_user) if len(by_user[user]) == len(pages)][:SHOWN]
    else:
        each = -(-SHOWN // len(pages))
        chosen = sorted(user for arm in pages for user in [u for u in sorted(by_user) if arm in by_user[u]][:each])
    return [_in_words(user, by_user[user], world, date_of) for user in chosen]


def _in_words(
    user: int, under: Mapping[str, Mapping[str, Any]], world: World, date_of: Callable[[int], str]
) -> dict[str, Any]:
    observed, catalog = world.population.observed, world.catalog.observed
    entry = next(iter(under.values()))
    row = int(np.flatnonzero(observed.user == user)[0])
    day, second = divmod(entry["time"], DAY_SECONDS)
    city = int(observed.city[row])
    return {
        "user": user,
        "profile": profile_words(observed, row),
        "city": world.environment.cities[city],
        "date": date_of(day),
        "hour": time(second // 3600, second % 3600 // 60).isoformat("minutes"),
        "context": _context(world, city, day),
        "wanted": [catalog.category_names[category] for category in entry["intent"]],
        "lately": [catalog.titles[item] for item in entry["lately"]],
        "arms": {
            arm: [
                {
                    "title": catalog.titles[shown["item"]],
                    "price": round(float(catalog.price[shown["item"]]), 2),
                    "cognitive": shown["channel"] == COGNITIVE,
                    "answer": _ANSWERS[shown["answer"]],
                    "explanation": shown["explanation"],
                }
                for shown in found["page"]
            ]
            for arm, found in under.items()
        },
    }


def _context(world: World, city: int, day: int) -> str:
    """The day in words; trends are left out where nobody would feel them."""
    if world.needs.trend.any():
        return world.environment.describe(city, day)
    context = world.environment.observed()
    return "; ".join(words for words in (context.weather_words(city, day), context.occasion_words(day)) if words)
