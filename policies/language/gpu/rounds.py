"""How often works are run and in what order: warm-up, rounds in turn, and windows long enough for an energy counter.

Works of one call are run in turn, A B A B, so that a card that slows down slows all of them. A work that does not fit
in memory is left out with its reason and the others go on. Knows no shapes and no peaks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import torch

from policies.language.errors import LanguageError
from policies.language.gpu.cards import Card
from policies.language.gpu.engine import Phases, Sample
from policies.language.gpu.nvml import Reading
from policies.language.gpu.works import Work

WINDOW: Final = 2.0
"""Seconds over which energy is counted at least: a driver refreshes its counter some ten times a second."""

LONGEST: Final = 160
"""Characters of an error's line that are kept."""

Clock = Callable[[], float]
_Name = TypeVar("_Name")


@dataclass(frozen=True)
class Energy:
    """What a window of equal runs took.

    Attributes:
        joules: of the whole card, idle parts too.
        seconds: of the window.
        parts: passes or refreshes within it.
    """

    joules: float
    seconds: float
    parts: int


@dataclass
class Outcome:
    """What became of a work.

    Attributes:
        parts: equal parts of a sample.
        samples: in the order of the rounds, without the one that warmed up.
        clocks: what the driver told after each sample.
        energy: of a window, None where it was not counted.
        why_not: why there are no samples.
        memory: whether it was for lack of memory.
    """

    parts: int
    samples: list[Sample]
    clocks: list[Reading]
    energy: Energy | None = None
    why_not: str | None = None
    memory: bool = False


def in_rounds(
    card: Card,
    works: Mapping[_Name, Callable[[], Work]],
    rounds: int,
    clock: Clock,
    window: float = WINDOW,
    advance: Callable[[], None] = lambda: None,
) -> dict[_Name, Outcome]:
    """Run works in turn, once to warm up and then ``rounds`` times, and count energy last.

    A single work is made once. Several are made anew for each turn, since the memory of all may not fit at once.

    Args:
        card: the device.
        works: by name; each call makes the work.
        rounds: samples of each.
        clock: seconds of the host.
        window: seconds over which energy is counted; 0 for no counting.
        advance: is called after each run of a work, ``rounds + 1`` times for each, and once for its energy.
    """
    found = {name: Outcome(1, [], []) for name in works}
    made: dict[_Name, Work] = {}
    for turn in range(rounds + 2):
        for name, make in works.items():
            outcome = found[name]
            if outcome.why_not is None:
                _turn(card, made, name, make, outcome, clock, turn, rounds, window)
            if len(works) > 1 or outcome.why_not is not None:
                made.clear()
                card.free()
            advance()
    made.clear()
    card.free()
    return found


def _turn(
    card: Card,
    made: dict[_Name, Work],
    name: _Name,
    make: Callable[[], Work],
    outcome: Outcome,
    clock: Clock,
    turn: int,
    rounds: int,
    window: float,
) -> None:
    """One turn of one work: turn 0 warms up, the one after the last round counts energy."""
    if turn > rounds and (window <= 0.0 or card.meter is None):
        return
    try:
        if name not in made:
            made[name] = make()
        work = made[name]
        outcome.parts = work.parts
        work.prepare()
        if turn > rounds:
            outcome.energy = _energy(card, work, clock, window)
            return
        phases = Phases(card, clock)
        work.run(phases)
        sample = phases.read()
    except (torch.OutOfMemoryError, LanguageError, RuntimeError, ValueError) as error:
        if turn > rounds:
            return  # the samples stand; there is no energy beside them
        outcome.samples.clear()
        outcome.clocks.clear()
        outcome.memory = isinstance(error, torch.OutOfMemoryError)
        outcome.why_not = "it does not fit in the card's memory" if outcome.memory else in_one_line(error)
        return
    if turn:
        outcome.samples.append(sample)
        outcome.clocks.append(card.meter.reading() if card.meter else {})


def _energy(card: Card, work: Work, clock: Clock, window: float) -> Energy | None:
    assert card.meter is not None
    card.synchronise()
    before, begun, runs = card.meter.joules(), clock(), 0
    while clock() - begun < window:
        work.run(Phases(card, clock))
        card.synchronise()
        runs += 1
    seconds, after = clock() - begun, card.meter.joules()
    return None if before is None or after is None else Energy(after - before, seconds, runs * work.parts)


def in_one_line(error: Exception) -> str:
    """An error's kind and the beginning of the first line of what it says, which a library may draw out to pages."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:LONGEST]}"
