"""Bounds of fields, said in one line."""

import math

from simulator.serving.errors import ServingError


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
