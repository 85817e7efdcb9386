"""Explanations: RecGPT-V1's fixed template, and RecGPT-V2's two stages, a style first and then a text in that style.

The texts are numbered as they are first written; what a reader makes of them is the world's business.
"""

from typing import Final

STYLE_TOKENS: Final = 20
TEXT_TOKENS: Final = 32


def fixed_template(core: str, tag: str) -> str:
    """RecGPT-V1: one sentence for every user, from an offline table keyed by interest and item."""
    return f"Because you may like {tag}: have a look at this {core}."


class Texts:
    """Explanations by number, each distinct text once."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._number: dict[str, int] = {}

    def number(self, text: str) -> int:
        """The number of a text; a new one is added."""
        found = self._number.get(text)
        if found is None:
            found = self._number[text] = len(self.all)
            self.all.append(text)
        return found
