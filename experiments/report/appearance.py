"""How an arm looks: the same colour and marker in every figure. Knows the order of arms and nothing else of a run."""

from collections.abc import Mapping
from typing import Any

from experiments.report import drawing, words


def look(results: Mapping[str, Any], arm: str) -> tuple[str, str]:
    """Colour and marker of an arm, the same in every figure; the control, which has none in some, is muted."""
    arms = words.treatments(results)
    if arm not in arms:
        return "@muted", "x"
    return f"@series{arms.index(arm) % drawing.SERIES}", drawing.symbol(arms.index(arm))
