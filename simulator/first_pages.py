"""The first page that some users were shown, with their answers, written down for people to look at.

Under every arm a user's first visit falls on the same moment, so that the pages beside each other differ by what the
arms make of it and by nothing else. Knows what the visit was for, which no policy does.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from simulator.batches import (
    BUY,
    CART,
    CLICK,
    FAVOURITE,
    NO_EXPLANATION,
    NO_ITEM,
    Bools,
    Ints,
    Requests,
    Responses,
    Slates,
)
from simulator.snapshots import Arrays, as_array, as_value, overwrite
from simulator.state import HISTORY_LENGTH, INTENTS, State
from simulator.tables import Recorder

LATELY: Final = 5
"""How many of a user's last interactions are written down."""
NO_TIME: Final = -1


class FirstPages(Recorder):
    """The first page of each chosen user's first visit.

    Args:
        chosen: whether to look at a row, bool [rows].
        user: user id of each row, int64 [rows].
        slots: positions on a page.
        state: the moving state of the same rows, which the engine writes to.
        explanations: the policy's texts, by the numbers that slates hold. Words are written down at once: a policy that
            goes on from a snapshot numbers its texts anew.
    """

    def __init__(
        self, chosen: Bools, user: Ints, slots: int, state: State, explanations: Callable[[], Sequence[str]]
    ) -> None:
        self._place = np.where(chosen, np.cumsum(chosen) - 1, -1)
        self._state = state
        self._explanations = explanations
        n = int(chosen.sum())
        self._waiting = np.array(n)
        self._user = user[chosen]
        self.time = np.full(n, NO_TIME, np.int64)
        self.intent = np.full((n, INTENTS), NO_ITEM, np.int32)
        self.lately = np.full((n, LATELY), NO_ITEM, np.int32)
        self.items = np.full((n, slots), NO_ITEM, np.int32)
        self.channel = np.zeros((n, slots), np.int8)
        self.words: list[list[str | None]] = [[None] * slots for _ in range(n)]
        self.shown = np.zeros((n, slots), np.bool_)
        self.answer = np.zeros((n, slots), np.int8)

    def page(self, requests: Requests, slates: Slates, responses: Responses) -> None:
        """Write down the pages of those who are seen for the first time."""
        if requests.page > 0 or self._waiting == 0:
            return
        at = self._place[requests.row]
        for n in np.flatnonzero(at >= 0):
            k = at[n]
            if self.time[k] != NO_TIME:
                continue
            self._waiting -= 1
            row = int(requests.row[n])
            self.time[k] = requests.time[n]
            self.intent[k] = self._state.intent[row]
            lately = self._lately(row, int(requests.time[n]))
            self.lately[k, : len(lately)] = lately
            self.items[k], self.channel[k] = slates.items[n], slates.channel[n]
            if slates.explanation is not None:
                texts = self._explanations()
                numbers = slates.explanation[n].tolist()
                self.words[k] = [None if number == NO_EXPLANATION else texts[number] for number in numbers]
            self.shown[k] = responses.shown[n]
            answers = {
                CLICK: responses.clicked,
                FAVOURITE: responses.favourited,
                CART: responses.carted,
                BUY: responses.bought,
            }
            for kind, answered in answers.items():
                self.answer[k, answered[n]] = kind

    def snapshot(self) -> Arrays:
        """What was written down so far."""
        return self._arrays() | {"words": as_array(self.words)}

    def restore(self, kept: Arrays) -> None:
        """See ``Recorder``."""
        for name, array in self._arrays().items():
            overwrite(array, kept[name])
        self.words = as_value(kept["words"])

    def told(self) -> list[dict[str, Any]]:
        """What was written down, as plain values, one entry a chosen user who came.

        Returns:
            Entries with ``user``, ``time`` (seconds since the horizon's start), ``intent`` (categories that the visit
            was for, each once, the most frequent first), ``lately`` (items, the latest first) and ``page``: for each
            item shown its ``item``, ``channel``, ``answer`` (0 or a kind) and ``explanation`` or None.
        """
        return [self._entry(k) for k in np.flatnonzero(self.time != NO_TIME).tolist()]

    def _entry(self, k: int) -> dict[str, Any]:
        wanted = [category for category in self.intent[k].tolist() if category >= 0]
        page = [
            {
                "item": int(self.items[k, slot]),
                "channel": int(self.channel[k, slot]),
                "answer": int(self.answer[k, slot]),
                "explanation": self.words[k][slot],
            }
            for slot in np.flatnonzero(self.shown[k]).tolist()
        ]
        return {
            "user": int(self._user[k]),
            "time": int(self.time[k]),
            "intent": sorted(dict.fromkeys(wanted), key=lambda category: -wanted.count(category)),
            "lately": [item for item in self.lately[k].tolist() if item != NO_ITEM],
            "page": page,
        }

    def _lately(self, row: int, now: int) -> list[int]:
        """The last items that the user met before ``now``, each once, the latest first."""
        state = self._state
        count = int(state.event_count[row])
        columns = np.arange(count - 1, max(count - HISTORY_LENGTH, 0) - 1, -1) % HISTORY_LENGTH
        before = columns[state.event_time[row, columns] < now]
        return list(dict.fromkeys(state.event_item[row, before].tolist()))[:LATELY]

    def _arrays(self) -> dict[str, np.ndarray]:
        names = ("time", "intent", "lately", "items", "channel", "shown", "answer")
        return {name: getattr(self, name) for name in names} | {"waiting": self._waiting}
