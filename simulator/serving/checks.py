"""Bounds of fields, and names that are known, said in one line."""

import math
from collections.abc import Mapping
from typing import TypeVar

from simulator.serving.errors import ServingError

_Known = TypeVar("_Known")


def named(field: str, name: str, known: Mapping[str, _Known]) -> _Known:
    """What is known under a name.

    Raises:
        ServingError: nothing is; the names that are known are listed.
    """
    if name not in known:
        raise ServingError(f"{field}: {name}; known are {', '.join(known)}")
    return known[name]


def at_least(field: str, value: float, least: float) -> None:
    """Refuse a number under ``least``, and one that is not finite."""
    if not (math.isfinite(value) and value >= least):
        raise ServingError(f"{field}: {value:g}; it must be finite and at least {least:g}")


def above_zero(field: str, value: float) -> None:
    """Refuse a number that is not finite and above 0."""
    if not (math.isfinite(value) and value > 0.0):
        raise ServingError(f"{field}: {value:g}; it must be finite and above 0")


def share(field: str, value: float) -> None:
    """Refuse a number outside (0, 1]."""
    if not 0.0 < value <= 1.0:
        raise ServingError(f"{field}: {value:g}; it must be above 0 and at most 1")
