"""The Global Planner of RecGPT-V2: one call that decomposes a user's context into complementary personas."""

from collections.abc import Sequence
from typing import Final, Protocol

from policies.language.asking import Beginning, Prompt
from policies.recgpt.wording import EVERYDAY, Signals, planner_task, read_personas

PERSONA_TOKENS: Final = 28
MOST_PERSONAS: Final = 5


class Words(Protocol):
    """Text to ids."""

    def words(self, text: str) -> tuple[int, ...]:
        """Token ids of plain text."""
        ...


def planner_prompts(
    prefixes: Sequence[Beginning], signals: Sequence[Signals], experts: int | None, encoder: Words
) -> list[Prompt]:
    """What the planner is asked for each user; without a number it decides itself how many personas there are."""
    return [
        prefix.asked(encoder.words(planner_task(signal, experts)))
        for prefix, signal in zip(prefixes, signals, strict=True)
    ]


def planned(answers: Sequence[str], experts: int | None) -> list[list[str]]:
    """Personas of each answer; an answer that names none gets the one persona that fits everybody."""
    most = experts if experts is not None else MOST_PERSONAS
    return [read_personas(answer)[:most] or [EVERYDAY] for answer in answers]
