"""What is kept of each user between near-line jobs: the last thoughts, by row, and the day they were had on."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from policies.thoughts import NO_TAG, Thoughts
from simulator.batches import Ints, Ints32
from simulator.snapshots import Arrays, as_array, as_value, overwrite

NEVER: Final = -1
"""Day of users who were not thought about yet."""

_COUNTS: Final = ("generated", "invalid", "prompt_tokens", "cached_tokens", "generated_tokens", "flops")


class ThoughtMemory:
    """Thoughts of the users that are served.

    Args:
        rows: how many users there are.

    Attributes:
        day: day on which each user was last thought about, int64 [rows], NEVER at first.
    """

    def __init__(self, rows: int) -> None:
        self.day: Ints = np.full(rows, NEVER, np.int64)
        self._tags: Ints32 = np.full((rows, 0), NO_TAG, np.int32)
        self._proposed: Ints32 = np.full((rows, 0, 0), NO_TAG, np.int32)
        self._counts: dict[str, Ints] = {name: np.zeros(rows, np.int64) for name in _COUNTS}
        self._parts: npt.NDArray[np.object_] = np.full(rows, None, object)
        self._style: npt.NDArray[np.object_] = np.full(rows, "", object)

    def keep(self, row: Ints, day: Ints, thoughts: Thoughts) -> None:
        """Replace what is kept of some users by what was thought on ``day``, int64 [users]."""
        self.day[row] = day
        self._tags = _wide_enough(self._tags, thoughts.tags)
        self._tags[row] = _padded(thoughts.tags, self._tags)
        self._proposed = _wide_enough(self._proposed, thoughts.proposed)
        self._proposed[row] = _padded(thoughts.proposed, self._proposed)
        for name, kept in self._counts.items():
            kept[row] = getattr(thoughts, name)
        for n, place in enumerate(row):
            self._parts[place], self._style[place] = thoughts.parts[n], thoughts.style[n]

    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """All that is kept, as arrays."""
        words = [[list(parts or ()), style] for parts, style in zip(self._parts, self._style, strict=True)]
        return {
            "day": self.day,
            "tags": self._tags,
            "proposed": self._proposed,
            "words": as_array(words),
            **self._counts,
        }

    def restore(self, kept: Arrays) -> None:
        """Go on from what ``snapshot`` of a memory of as many users gave."""
        overwrite(self.day, kept["day"])
        self._tags, self._proposed = kept["tags"], kept["proposed"]
        for name, counts in self._counts.items():
            overwrite(counts, kept[name])
        for row, (parts, style) in enumerate(as_value(kept["words"])):
            self._parts[row], self._style[row] = tuple(parts), style

    def take(self, row: Ints) -> Thoughts:
        """What is kept of some users; empty of those who were never thought about."""
        return Thoughts(
            tags=self._tags[row],
            proposed=self._proposed[row],
            parts=tuple(parts or () for parts in self._parts[row]),
            style=tuple(self._style[row]),
            **{name: kept[row] for name, kept in self._counts.items()},
        )


def _wide_enough(kept: Ints32, new: Ints32) -> Ints32:
    """``kept``, padded where ``new`` is wider behind the first axis."""
    more = [(0, 0)] + [(0, max(b - a, 0)) for a, b in zip(kept.shape[1:], new.shape[1:], strict=True)]
    return np.pad(kept, more, constant_values=NO_TAG) if any(after for _, after in more) else kept


def _padded(new: Ints32, kept: Ints32) -> Ints32:
    """``new``, padded to the widths of ``kept``."""
    more = [(0, 0)] + [(0, a - b) for a, b in zip(kept.shape[1:], new.shape[1:], strict=True)]
    return np.pad(new, more, constant_values=NO_TAG)
