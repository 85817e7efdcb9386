"""Choices made with a draw from [0, 1)."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

_Option = TypeVar("_Option")


def pick(options: Sequence[_Option], draw: float) -> tuple[_Option, float]:
    """One of the options, and what is left of a draw from [0, 1), in [0, 1) again."""
    scaled = draw * len(options)
    place = min(int(scaled), len(options) - 1)
    return options[place], scaled - place


def drawn(shares: Sequence[tuple[_Option, float]], draw: float) -> _Option:
    """One of the options, drawn by its share."""
    bound = np.cumsum([share for _, share in shares])
    return shares[int(np.searchsorted(bound, draw * bound[-1], side="right"))][0]
