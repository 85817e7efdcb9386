"""The words in which language policies are asked: histories, signals and tasks, the same in training.

Everything here is text about observed things. An ``Entity`` stands for an item: written out as its title, or as one
soft token (RecGPT-V2 report, section on hybrid representation inference). What users declare is worded by
``simulator.population``. Knows no model and no tokenizer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from simulator.batches import BUY, CART, CLICK, DAY_SECONDS, FAVOURITE, NO_ITEM, Ints, ObservedHistory
from simulator.environment.context import ObservedContext

HISTORY_EVENTS: Final = 16
"""Last interactions that a prompt tells of."""
HEAD: Final = 2
"""First parts of a prefix, ahead of the interactions: who it is about, and that a history follows."""
TOPICS_TOLD: Final = 6
"""Strongest trends that a prompt tells of."""

SEPARATOR: Final = ","
PART: Final = " /"
FIELD: Final = ";"
STOP: Final = "\n"

ROUTES: Final = ("habits", "weather", "season", "trends")
"""RecGPT-V1's routes: general behaviour, weather, season and holidays, trends."""
EVERYDAY: Final = "everyday"

_VERB: Final = {CLICK: " viewed", FAVOURITE: " carted", CART: " carted", BUY: " bought"}
"""One verb for both ways of keeping something for later: the shipped model was taught these three."""


@dataclass(frozen=True)
class Entity:
    """An item in a prompt."""

    item: int


Text = tuple[str | Entity, ...]


def shopper(profile: str) -> str:
    """The line that says who it is about."""
    return f"Shopper: {profile}.\n"


def how_long_ago(days: int) -> str:
    """Whole days in words, coarser the longer ago."""
    if days <= 0:
        return "today"
    if days == 1:
        return "yesterday"
    return f"{days} days ago" if days < 14 else f"{days // 7} weeks ago"


def events_of(history: ObservedHistory, row: int, most: int = HISTORY_EVENTS) -> tuple[Ints, Ints, Ints]:
    """Last interactions of a row, oldest first: items, kinds and times, int64 [events]."""
    length = history.item.shape[1]
    count = int(history.count[row])
    column = np.arange(max(count - min(most, length), 0), count) % length
    item = history.item[row, column].astype(np.int64)
    there = item != NO_ITEM
    return item[there], history.kind[row, column].astype(np.int64)[there], history.time[row, column][there]


def history_text(items: Ints, kinds: Ints, times: Ints, day: int) -> Text:
    """The behaviour of a user as of the morning of ``day``, oldest first, grouped by age and then by item.

    Two-level compression as in RecGPT-V1: a day's interactions share one time, and the verb is all that is left of
    the behaviour. ``History: 12 days ago viewed T bought T; yesterday viewed T.``
    """
    if len(items) == 0:
        return ("History: none.\n",)
    parts: list[str | Entity] = ["History:"]
    told = ""
    for item, kind, time in zip(items.tolist(), kinds.tolist(), times.tolist(), strict=True):
        ago = how_long_ago(day - time // DAY_SECONDS)
        if ago != told:
            parts.append((FIELD if told else "") + f" {ago}")
            told = ago
        parts += [_VERB[kind], Entity(item)]
    parts.append(".\n")
    return tuple(parts)


def prefix_text(profile: str, history: Text) -> Text:
    """What every call about a user begins with."""
    return (shopper(profile), *history)


@dataclass(frozen=True)
class Signals:
    """The day's contexts in words; empty where there is nothing to say."""

    weather: str
    season: str
    occasions: str
    trends: str

    @classmethod
    def of(cls, context: ObservedContext, city: int, day: int) -> "Signals":
        """What can be observed in a city on a day."""
        trends = context.trend_words(day).split(", ")[:TOPICS_TOLD]
        return cls(
            context.weather_words(city, day) if city >= 0 else "",
            context.season_words(day),
            context.occasion_words(day),
            ", ".join(trends),
        )

    def line(self) -> str:
        """All of them in one line, for the planner and the arbiter."""
        parts = [f"Weather: {self.weather}."] if self.weather else []
        parts.append(f"Season: {self.season}.")
        parts.append(f"Ahead: {self.occasions or 'nothing'}.")
        parts.append(f"Trending: {self.trends or 'nothing'}.")
        return " ".join(parts)


def route_task(route: str, signals: Signals) -> str:
    """What a route of RecGPT-V1 is asked: its own signal, and tags for it."""
    if route == "habits":
        return "Tags for habits:"
    if route == "weather":
        return f"Weather: {signals.weather or 'unknown'}. Tags for the weather:"
    if route == "season":
        return f"Season: {signals.season}. Ahead: {signals.occasions or 'nothing'}. Tags for the season:"
    return f"Trending: {signals.trends or 'nothing'}. Tags for the trends:"


def planner_task(signals: Signals, experts: int | None) -> str:
    """What the planner is asked; without a number it decides how many personas the user needs."""
    return f"{signals.line()} Plan {experts} personas:" if experts else f"{signals.line()} Plan personas:"


def expert_task(profile: str, persona: str) -> str:
    """What an expert is asked: a persona, and nothing of the history."""
    return f"{shopper(profile)}Persona: {persona}.\nTags:"


def arbiter_task(signals: Signals, proposed: Sequence[str], wanted: int) -> str:
    """What the arbiter is asked: the union of what experts proposed, and how many to keep."""
    return f"{signals.line()} Proposed: {', '.join(proposed)}. Choose {wanted}:"


def interests_task() -> str:
    """Interest mining: the categories that matter to the user in the long run."""
    return "Interests:"


def style_task(signals: Signals) -> str:
    """First stage of an explanation: its style."""
    return f"{signals.line()} Style:"


def explanation_task(style: str, signals: Signals, item: int) -> Text:
    """Second stage: the text, given the style, the day and the item."""
    return (f"Style: {style}. {signals.line()} Item:", Entity(item), ". Say:")


def listed(texts: Sequence[str]) -> str:
    """An answer that is a list: `` a, b, c`` and the stop."""
    return "".join(f"{SEPARATOR if place else ''} {text}" for place, text in enumerate(texts)) + STOP


def persona_text(theme: str, reason: str, hints: Sequence[str]) -> str:
    """A persona: what it is about, why now, and what the user is known for there."""
    return f"{theme}{FIELD} {reason}{FIELD} {', '.join(hints)}"


def personas_answer(personas: Sequence[str]) -> str:
    """The planner's answer."""
    return "".join(f"{PART if place else ''} {persona}" for place, persona in enumerate(personas)) + STOP


def read_personas(text: str) -> list[str]:
    """The personas of a planner's answer, each in words; empty ones are dropped, repeated ones told once."""
    found = [" ".join(part.split()) for part in text.strip().split(PART.strip())]
    return list(dict.fromkeys(part for part in found if part))


WHAT: Final = "What is it?"
"""The question about an item whose answer is the name of its category."""


def entity_question(item: int, asked: str) -> Text:
    """A question about one item, for self-perception."""
    return ("Item:", Entity(item), f". {asked}")
